"""Elements that take pixels between pixels: what they change in a network, measured without interpolating anything.

The images are functions of the plane, so they are written down rotated (`WaveImages`). What a layer gives is compared
at the pixel in the middle of its map, about which the image was rotated: there the rotation moves poses alone. The
middle pixels of maps of even and odd sides, and of strided ones, lie at different points, so the network runs once for
each point. A layer alone runs on such images in place of the maps that it is given.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sepgconv.analysis.certify import diagnosis
from sepgconv.analysis.certify.actions import Action
from sepgconv.analysis.certify.band_limited import Point, WaveImages
from sepgconv.analysis.certify.errors import mean_relative_error
from sepgconv.analysis.certify.grids import Grid, middle_pixels
from sepgconv.analysis.certify.kernel_error import kernel_error
from sepgconv.analysis.certify.sizes import UNFIT
from sepgconv.analysis.certify.tracing import Call, Value, entry_action, holding_groups, trace_images
from sepgconv.analysis.certify.windows import find_window
from sepgconv.symmetry import FiniteGroup

IMAGES = 8  # random ones, on which every layer of the network is compared
OWN_IMAGES = 4  # on which it is compared alone
MIDDLE: Point = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class LayerBetween:
    """What elements between the pixels change in one call of a layer.

    Attributes:
        errors: of what it gives, for each element; what the layers before it lost is in it.
        alone: the worst error of the layer alone, on band-limited maps that are moved exactly; None where it takes
            something else than one tensor.
        filters: the worst error of its rotated filters in the frequency domain; None without such filters.
    """

    errors: tuple[float, ...]
    alone: float | None
    filters: float | None


@dataclass(frozen=True, slots=True)
class _Setting:
    """What is measured: a group, some of its elements, how many random images."""

    group: FiniteGroup
    known: tuple[FiniteGroup, ...]  # on which maps may be: a layer alone, as a ReLU, does not say on which they are
    elements: tuple[int, ...]
    images: int
    generator: torch.Generator


def measure_between(
    twin: nn.Module,
    shape: tuple[int, ...],
    group: FiniteGroup,
    elements: Sequence[int],
    generator: torch.Generator,
    *,
    exact: Collection[int] = (0,),
) -> dict[int, LayerBetween]:
    """Measure the network and every layer, on random band-limited images.

    Where a network is exact under h, its error at h g is that at g, on the same images; it is measured once.

    Args:
        twin: the network, a copy made by `float64_copy`.
        shape: of one image, (channels, height, width), or of a feature map, (channels, poses, height, width).
        group: the group.
        elements: which of its elements; they may take pixels between pixels.
        generator: of the random images.
        exact: a subgroup under which the network and its layers are exact.

    Returns:
        For the network, call 0, and each call within which no other runs, by its index: errors (root mean square,
        relative) at the elements.

    Raises:
        ValueError: the network runs other layers on moved images.
    """
    first = {g: min(group.table[h][g] for h in exact) for g in elements}  # of each coset H g
    known = holding_groups(twin, group, (group,))
    setting, own = (
        _Setting(group, known, tuple(sorted(set(first.values()))), images, generator) for images in (IMAGES, OWN_IMAGES)
    )
    passes = _Passes(twin, shape, entry_action(twin, (1, *shape), group, (group,)), setting)
    found: dict[int, LayerBetween] = {}
    for index in sorted({0, *diagnosis.leaves(passes.calls)}):
        output = passes.value(lambda calls, index=index: calls[index].output)
        if output is None:
            continue
        measured = output.best_errors(natural=index == 0)
        errors = tuple(measured[first[element]] for element in elements)
        alone = None if index == 0 and len(passes.calls) > 1 else _alone(passes, index, own)
        kernels = [kernel_error(passes.calls[index].module, group, element) for element in setting.elements]
        filters = max((error for error in kernels if error is not None), default=None)
        found[index] = LayerBetween(errors, alone, filters)
    return found


def output_errors(
    twin: nn.Module, shape: tuple[int, ...], group: FiniteGroup, elements: Sequence[int], generator: torch.Generator
) -> tuple[float, ...]:
    """Return the error of the output of a network or layer alone at each element; see `measure_between`."""
    setting = _Setting(group, holding_groups(twin, group, (group,)), tuple(elements), IMAGES, generator)
    passes = _Passes(twin, shape, entry_action(twin, (1, *shape), group, (group,)), setting)
    output = passes.value(lambda calls: calls[0].output)
    if output is None:
        return tuple(math.inf for _ in elements)
    errors = output.best_errors(natural=True)
    return tuple(errors[element] for element in elements)


class _Passes:
    """A network on images whose middle lies at the middle pixel of one map or another."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...], entry: Action, setting: _Setting) -> None:
        waves = _draw(shape, setting)

        def run(middle: Point) -> list[Call]:
            return _run(model, waves, shape, entry, middle, setting)

        self.calls = run(MIDDLE)
        self._points = middle_pixels(self.calls, _sides(shape))
        self._at = {MIDDLE: self.calls}
        self._run = run

    def value(self, pick: Callable[[list[Call]], Value | None]) -> Value | None:
        """Return a value, compared at the middle pixel of its own map."""
        first = pick(self.calls)
        if first is None:
            return None
        point = self._points.get(id(first), MIDDLE)
        if point not in self._at:
            self._at[point] = self._run(point)
        return pick(self._at[point])


def _alone(passes: _Passes, index: int, setting: _Setting) -> float | None:
    call = passes.calls[index]
    given = passes.value(lambda calls: calls[index].inputs[0]) if len(call.inputs) == 1 else None
    if given is None or call.output is None:
        return None
    shape, point = given.shape[1:], MIDDLE
    if len(shape) >= 3 and len(call.output.shape) >= 4:
        output = call.output.shape
        point = Grid.of_image(_sides(shape)).through(call.module, (output[-2], output[-1])).middle_pixel
    try:
        in_disc = find_window(call.module) is None  # else it sees a part of the map only
        calls = _run(call.module, _draw(shape, setting), shape, given.best, point, setting, in_disc=in_disc)
    except (*UNFIT, TypeError):  # a layer that needs more than the tensor it was given
        return None
    output = calls[0].output
    return None if output is None else output.error()


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (height, width) of maps; a vector is one pixel."""
    return (shape[-2], shape[-1]) if len(shape) >= 3 else (1, 1)


def _draw(shape: tuple[int, ...], setting: _Setting) -> WaveImages:
    channels = shape[:-2] if len(shape) >= 3 else shape
    return WaveImages.draw(setting.images, int(torch.Size(channels).numel()), setting.generator)


def _run(
    model: nn.Module,
    waves: WaveImages,
    shape: tuple[int, ...],
    entry: Action,
    middle: Point,
    setting: _Setting,
    *,
    in_disc: bool = True,
) -> list[Call]:
    sides, matrices = _sides(shape), setting.group.matrices

    def images() -> Iterator[tuple[int | None, Tensor]]:
        for element in (None, *setting.elements):
            pixels = waves.at(matrices[element or 0], sides, middle, in_disc=in_disc).reshape(-1, *shape)
            yield element, pixels if element is None else _move_poses(entry, element, pixels)

    known = setting.known
    return trace_images(model, images(), setting.group, known=known, part=_middle_pixel, distance=mean_relative_error)


def _move_poses(action: Action, element: int, x: Tensor) -> Tensor:
    """Apply an action to images whose pixels have been moved already: to each pixel as an image of its own."""
    if x.ndim < 4:
        return action.move(element, x)
    pixels = x.movedim((-2, -1), (1, 2)).flatten(0, 2)[..., None, None]
    moved = action.move(element, pixels)[..., 0, 0]
    return moved.unflatten(0, (x.shape[0], *x.shape[-2:])).movedim((1, 2), (-2, -1))


def _middle_pixel(x: Tensor) -> Tensor:
    """Return the pixel in the middle of maps, as maps of one pixel; vectors as they are."""
    if x.ndim < 4:
        return x
    y, x_ = ((side - 1) // 2 for side in x.shape[-2:])
    return x[..., y : y + 1, x_ : x_ + 1]
