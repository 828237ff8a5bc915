"""Kernel size, stride, padding, dilation: checked once, with an error where they break the symmetry.

Sides are tuples, one entry for each axis of space: (y, x) in the plane, (z, y, x) in a volume.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from sepgconv._messages import one_of
from sepgconv.conv.checks import is_integer
from sepgconv.symmetry import FiniteGroup

Pair = tuple[int, int]
Sides = tuple[int, ...]
PaddingMode = Literal["zeros", "circular", "reflect", "replicate"]
LARGEST = 2**31 - 1  # along an axis; torch's kernels count in four bytes
MOST = 2**48  # pixels; more than the memory of any machine holds
PADDING_MODES: tuple[PaddingMode, ...] = ("zeros", "circular", "reflect", "replicate")


def as_sides(value: int | Sides, name: str, *, least: int, dimension: int = 2) -> Sides:
    """Return a value for each axis from an integer, which counts for all, or from a tuple.

    Raises:
        ValueError: it is neither, smaller than `least`, or too large for torch.
    """
    sides = tuple(value) if isinstance(value, tuple | list) else (value,) * dimension
    if len(sides) != dimension or any(not is_integer(side) or side.__index__() < least for side in sides):
        several = "a pair" if dimension == 2 else f"{dimension}"
        raise ValueError(f"{name} must be an integer, or {several} of them, of at least {least}; got {value!r}")
    if any(side.__index__() > LARGEST for side in sides):
        raise ValueError(f"{name} must be at most 2^31 - 1, got {value!r}")
    return tuple(side.__index__() for side in sides)


def as_pair(value: int | Pair, name: str, *, least: int) -> Pair:
    """Return (value along y, value along x); see `as_sides`."""
    along_y, along_x = as_sides(value, name, least=least)
    return along_y, along_x


def planar_size(kernel: Tensor) -> Pair:
    """Return (height, width) of a kernel (..., height, width)."""
    return int(kernel.shape[-2]), int(kernel.shape[-1])


def by(sides: Sides) -> str:
    """Return sides as people write them: "28 x 28"."""
    return " x ".join(map(str, sides))


def check_equal_sides(group: FiniteGroup, **sides: Sides) -> None:
    """Raise if sides differ under a group that exchanges the axes.

    Raises:
        ValueError: the group exchanges the axes and a tuple has different values.
    """
    for name, along in sides.items():
        if len(set(along)) > 1 and group.exchanges_axes:
            raise ValueError(
                f"{name}={along} breaks the equivariance to {group.name}, which exchanges the two "
                f"axes; give both axes the same {name}, or use a group that keeps each axis (p2, pm, pmm)"
            )


@dataclass(frozen=True, slots=True)
class Geometry:
    """The checked arguments of a convolution in space, each with an entry for every axis; `conv_geometry` builds it.

    Attributes:
        kernel_size: sides of the kernel in pixels, as (height, width).
        stride: steps in pixels.
        padding: pixels on either side.
        dilation: distances of kernel pixels.
        padding_mode: how the padding is filled, "zeros", "circular", "reflect" or "replicate".
        pads_first: whether the maps are padded in a step of their own, because torch's convolutions fill with zeros
            only.

    Example:
        >>> import sepgconv
        >>> geometry = conv_geometry(sepgconv.group("p4"), 3, stride=2, padding=1)
        >>> geometry.output_size(29, 29), geometry.smallest_size
        ((15, 15), (1, 1))
    """

    kernel_size: Sides
    stride: Sides
    padding: Sides
    dilation: Sides
    padding_mode: PaddingMode
    # Whether maps are padded in a step of their own, as torch's convolutions fill with zeros only.
    pads_first: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        first = self.padding_mode != "zeros" and max(self.padding) > 0
        object.__setattr__(self, "pads_first", first)  # frozen for everybody else

    @property
    def taps(self) -> int:
        """Number of pixels of the kernel."""
        return math.prod(self.kernel_size)

    def output_size(self, *sides: int) -> Sides:
        """Return the size of the output map; a side below 1 means that the input is too small."""
        along = zip(sides, self.padding, self.dilation, self.kernel_size, self.stride, strict=True)
        return tuple((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, p, d, k, s in along)

    @property
    def smallest_size(self) -> Sides:
        """The smallest size of input that has an output."""
        reach = zip(self.kernel_size, self.dilation, self.padding, strict=True)
        return tuple(max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in reach)

    def check_size(self, sides: Sides, caller: str) -> None:
        """Raise if maps are too small.

        Raises:
            ValueError: they have no pixel, or are smaller than the kernel or than the padding mode needs; the smallest
                size is named.
        """
        # One side after the other: the smallest one would say which of two free sizes of a traced program is smaller.
        if any(side < 1 for side in sides):  # which padding could make large enough
            raise ValueError(f"{caller}: maps of {by(sides)} have no pixel")
        if any(side < 1 for side in self.output_size(*sides)):
            least = self.smallest_size
            what = f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}"
        elif self.padding_mode in ("reflect", "circular"):
            # Reflecting needs one pixel more than it mirrors; wrapping goes round once at most.
            more = 1 if self.padding_mode == "reflect" else 0
            least = tuple(max(1, padding + more) for padding in self.padding)
            what = f"{self.padding_mode} padding of {self.padding}"
            if all(side >= smallest for side, smallest in zip(sides, least, strict=True)):
                return
        else:
            return
        raise ValueError(f"{caller}: maps of {by(sides)} are too small for {what}; the smallest size is {by(least)}")

    def check_windows(self, sides: Sides, caller: str) -> None:
        """Raise if a window would see padding only, which has no maximum: torch would read outside the maps.

        Raises:
            ValueError: there is such a window; the smallest size without one is named.
        """
        windows = self.output_size(*sides)
        along = zip(sides, self.padding, self.dilation, self.stride, windows, strict=True)
        # As padding is at most half of the window, every window that begins before the map reaches beyond its first
        # pixel. One that begins at -a comes to it in steps of the dilation, at -a mod dilation: beyond it only where
        # the map is smaller than a step. Asked for last, so that programs with free sizes do not learn of it.
        if any(
            padding > 0 and dilation > 1 and side < dilation and _misses(side, padding, dilation, stride, count)
            for side, padding, dilation, stride, count in along
        ):
            raise ValueError(
                f"{caller}: on maps of {by(sides)} a window with padding={self.padding} and "
                f"dilation={self.dilation} lies in the padding whole and has no maximum; on maps of at least "
                f"{by(self.dilation)} none does"
            )


def _misses(side: int, padding: int, dilation: int, stride: int, windows: int) -> bool:
    """Return whether one of the windows that begin in the padding sees no pixel of a side."""
    return any(-before % dilation >= side for before in range(padding, 0, -stride)[:windows])


def conv_geometry(
    group: FiniteGroup,
    kernel_size: int | Sides,
    stride: int | Sides = 1,
    padding: int | Sides | str = 0,
    dilation: int | Sides = 1,
    padding_mode: str = "zeros",
) -> Geometry:
    """Check the arguments of a convolution in the space of a group and write them out, an entry for each axis.

    Args:
        group: the group.
        kernel_size: sides of the kernel in pixels.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".

    Raises:
        ValueError: a value is out of range or of the wrong kind; sides differ under a group that exchanges the axes;
            "same" padding together with a stride, or with an even kernel, which could only be padded on one side.

    Example:
        >>> import sepgconv
        >>> conv_geometry(sepgconv.group("p4"), 5, padding="same").padding
        (2, 2)
    """
    axes = group.dimension
    kernel = as_sides(kernel_size, "kernel_size", least=1, dimension=axes)
    strides = as_sides(stride, "stride", least=1, dimension=axes)
    dilations = as_sides(dilation, "dilation", least=1, dimension=axes)
    mode: PaddingMode = one_of("padding_mode", padding_mode, PADDING_MODES)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"padding must be 'same', 'valid', an integer or a pair of them; got {padding!r}")
        zeros = (0,) * axes
        total = zeros if padding == "valid" else tuple(d * (k - 1) for d, k in zip(dilations, kernel, strict=True))
        if padding == "same" and max(strides) > 1:
            raise ValueError(f"padding='same' needs stride 1, got stride={strides}; give the padding as an integer")
        if any(side % 2 for side in total):
            raise ValueError(
                f"padding='same' with the even kernel {kernel} would pad one side more than the other and break the "
                f"equivariance; use an odd kernel_size, or give the padding as an integer"
            )
        paddings = tuple(side // 2 for side in total)
    else:
        paddings = as_sides(padding, "padding", least=0, dimension=axes)
    if math.prod([2 * side + 1 for side in paddings]) > MOST:
        raise ValueError(f"padding={paddings} would make maps of more than 2^48 pixels, which no memory holds")
    check_equal_sides(group, kernel_size=kernel, stride=strides, padding=paddings, dilation=dilations)
    return Geometry(kernel, strides, paddings, dilations, mode)
