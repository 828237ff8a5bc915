"""Where the pixels of the maps within a network lie on its image, by the windows of its layers."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from sepgconv.analysis.certify.band_limited import Point
from sepgconv.analysis.certify.tracing import Call, Value
from sepgconv.analysis.certify.windows import find_window


@dataclass(frozen=True, slots=True)
class Grid:
    """The positions of the pixels of a map, in pixels of the image from its middle, as (y, x).

    Attributes:
        sides: (height, width) of the map.
        first: the position of pixel (0, 0).
        step: the distance of neighbours.
    """

    sides: tuple[int, int]
    first: Point
    step: Point

    @classmethod
    def of_image(cls, sides: tuple[int, int]) -> "Grid":
        """Return the grid of the image itself."""
        return cls(sides, (-(sides[0] - 1) / 2, -(sides[1] - 1) / 2), (1.0, 1.0))

    @property
    def middle_pixel(self) -> Point:
        """The position of the pixel in the middle; of the first of two where a side is even."""
        y, x = (round(self.first[axis] + self.step[axis] * ((self.sides[axis] - 1) // 2), 6) for axis in (0, 1))
        return y, x

    def through(self, module: nn.Module, sides: tuple[int, int]) -> "Grid":
        """Return the grid of what a layer makes of a map on this one.

        Layers without a window that change the sides, as those that resize, keep the middle where it is.

        Args:
            module: the layer.
            sides: of the map that goes out.
        """
        window = find_window(module)
        if window is None:
            return self if sides == self.sides else self.resized(sides)
        first, step = [0.0, 0.0], [0.0, 0.0]
        for axis in (0, 1):
            kernel, stride, padding, dilation = window.along(axis)
            first[axis] = self.first[axis] + self.step[axis] * (dilation * (kernel - 1) / 2 - padding)
            step[axis] = self.step[axis] * stride
        return Grid(sides, (first[0], first[1]), (step[0], step[1]))

    def resized(self, sides: tuple[int, int]) -> "Grid":
        """Return a grid of other sides with the same middle, its step larger or smaller by a whole factor."""
        first, step = [0.0, 0.0], [0.0, 0.0]
        for axis in (0, 1):
            before, after = self.sides[axis], max(sides[axis], 1)
            factor = before // after if before >= after else 1 / (after // before)
            step[axis] = self.step[axis] * factor
            first[axis] = self.first[axis] + (self.step[axis] * (before - 1) - step[axis] * (after - 1)) / 2
        return Grid(sides, (first[0], first[1]), (step[0], step[1]))


def middle_pixels(calls: Sequence[Call], sides: tuple[int, int]) -> dict[int, Point]:
    """Return where the middle pixel of each value of a network lies on the image, by the `id` of the value.

    Vectors, which have no pixels, belong to the middle of the image.

    Args:
        calls: of the network, in the order in which they began.
        sides: of the image.
    """
    image = Grid.of_image(sides)
    found: dict[int, Grid] = {}
    latest = {sides: image}  # of values that no module made, the map of the same sides that came last

    def grid_of(value: Value) -> Grid:
        shape = _sides(value)
        return found.get(id(value)) or latest.get(shape) or image.resized(shape)

    def keep(value: Value, grid: Grid) -> None:
        latest[grid.sides] = found.setdefault(id(value), grid)

    inner: dict[int, list[int]] = {}
    for index, call in enumerate(calls):
        inner.setdefault(call.parent, []).append(index)

    def visit(index: int) -> None:
        for value in calls[index].inputs:
            if len(value.shape) >= 4:
                keep(value, grid_of(value))
        for child in inner.get(index, []):
            visit(child)
        output = calls[index].output
        if output is None or len(output.shape) < 4:
            return
        maps = [value for value in calls[index].inputs if len(value.shape) >= 4]
        if index in inner or not maps:
            keep(output, grid_of(output))
        else:
            keep(output, grid_of(maps[0]).through(calls[index].module, _sides(output)))

    visit(0)
    return {key: grid.middle_pixel for key, grid in found.items()}


def _sides(value: Value) -> tuple[int, int]:
    return value.shape[-2], value.shape[-1]
