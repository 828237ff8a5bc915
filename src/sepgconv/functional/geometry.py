"""Kernel size, stride, padding, dilation of a planar convolution: checked, refused where they break the symmetry."""

from dataclasses import dataclass
from typing import Literal

from sepgconv._messages import one_of
from sepgconv.functional.checks import is_integer
from sepgconv.symmetry import FiniteGroup

Pair = tuple[int, int]
PaddingMode = Literal["zeros", "circular", "reflect", "replicate"]
LARGEST = 2**31 - 1  # along an axis; torch's kernels count in four bytes
MOST = 2**48  # pixels; more than the memory of any machine holds
PADDING_MODES: tuple[PaddingMode, ...] = ("zeros", "circular", "reflect", "replicate")


def as_pair(value: int | Pair, name: str, *, least: int) -> Pair:
    """Return (value along y, value along x) from an integer or a pair.

    Raises:
        ValueError: it is neither, smaller than `least`, or too large for torch.
    """
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or any(not is_integer(side) or side.__index__() < least for side in pair):
        raise ValueError(f"{name} must be an integer, or a pair of them, of at least {least}; got {value!r}")
    if any(side.__index__() > LARGEST for side in pair):
        raise ValueError(f"{name} must be at most 2^31 - 1, got {value!r}")
    return pair[0].__index__(), pair[1].__index__()


def check_equal_sides(group: FiniteGroup, **sides: Pair) -> None:
    """Refuse unequal sides under a group that exchanges the axes.

    Raises:
        ValueError: the group exchanges the axes and a pair has two different values.
    """
    for name, (along_y, along_x) in sides.items():
        if along_y != along_x and group.exchanges_axes:
            raise ValueError(
                f"{name}={(along_y, along_x)} breaks the equivariance to {group.name}, which exchanges the two "
                f"axes; give both axes the same {name}, or use a group that keeps each axis (p2, pm, pmm)"
            )


@dataclass(frozen=True, slots=True)
class Geometry:
    """A checked set of planar arguments, each as a pair (y, x); build it with `conv_geometry`."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    padding_mode: PaddingMode

    def output_size(self, height: int, width: int) -> Pair:
        """Return the size of the output map; a side below 1 means that the input is too small."""
        sides = zip((height, width), self.padding, self.dilation, self.kernel_size, self.stride, strict=True)
        along_y, along_x = ((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, p, d, k, s in sides)
        return along_y, along_x

    def check_size(self, height: int, width: int, caller: str) -> None:
        """Refuse maps that are too small.

        Raises:
            ValueError: without a pixel, smaller than the kernel, or than the padding mode needs; the smallest size is
                named.
        """
        if height < 1 or width < 1:  # which padding could make large enough
            raise ValueError(f"{caller}: maps of {height} x {width} have no pixel")
        if min(self.output_size(height, width)) < 1:
            reach = zip(self.kernel_size, self.dilation, self.padding, strict=True)
            least = tuple(max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in reach)
            what = f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}"
        elif self.padding_mode in ("reflect", "circular"):
            # Reflecting needs one pixel more than it mirrors; wrapping goes round once at most.
            more = 1 if self.padding_mode == "reflect" else 0
            least = tuple(max(1, padding + more) for padding in self.padding)
            what = f"{self.padding_mode} padding of {self.padding}"
            if height >= least[0] and width >= least[1]:
                return
        else:
            return
        raise ValueError(
            f"{caller}: maps of {height} x {width} are too small for {what}; "
            f"the smallest size is {least[0]} x {least[1]}"
        )

    def check_windows(self, height: int, width: int, caller: str) -> None:
        """Refuse maps on which a window would see padding only, which has no maximum: torch reads beside the maps.

        Raises:
            ValueError: there is such a window; the smallest size without one is named.
        """
        windows = self.output_size(height, width)
        sides = zip((height, width), self.padding, self.dilation, self.stride, windows, strict=True)
        # As padding is at most half of the window, every window that begins before the map reaches beyond its first
        # pixel. One that begins at -a comes to it in steps of the dilation, at -a mod dilation: beyond it only where
        # the map is smaller than a step. Asked for last, so that programs with free sizes do not learn of it.
        if any(
            padding > 0 and dilation > 1 and side < dilation and _misses(side, padding, dilation, stride, count)
            for side, padding, dilation, stride, count in sides
        ):
            raise ValueError(
                f"{caller}: on maps of {height} x {width} a window with padding={self.padding} and "
                f"dilation={self.dilation} lies in the padding whole and has no maximum; on maps of at least "
                f"{self.dilation[0]} x {self.dilation[1]} none does"
            )


def _misses(side: int, padding: int, dilation: int, stride: int, windows: int) -> bool:
    """Tell whether one of the windows that begin in the padding sees no pixel of a side."""
    return any(-before % dilation >= side for before in range(padding, 0, -stride)[:windows])


def conv_geometry(
    group: FiniteGroup,
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    padding_mode: str = "zeros",
) -> Geometry:
    """Check the planar arguments of a convolution and write them out as pairs.

    Raises:
        ValueError: a value is out of range or of the wrong kind; sides differ under a group that exchanges the axes;
            "same" padding together with a stride, or with an even kernel, which could only be padded on one side.
    """
    kernel, strides = as_pair(kernel_size, "kernel_size", least=1), as_pair(stride, "stride", least=1)
    dilations = as_pair(dilation, "dilation", least=1)
    mode: PaddingMode = one_of("padding_mode", padding_mode, PADDING_MODES)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"padding must be 'same', 'valid', an integer or a pair of them; got {padding!r}")
        total = (0, 0) if padding == "valid" else tuple(d * (k - 1) for d, k in zip(dilations, kernel, strict=True))
        if padding == "same" and strides != (1, 1):
            raise ValueError(f"padding='same' needs stride 1, got stride={strides}; give the padding as an integer")
        if any(side % 2 for side in total):
            raise ValueError(
                f"padding='same' with the even kernel {kernel} would pad one side more than the other and break the "
                f"equivariance; use an odd kernel_size, or give the padding as an integer"
            )
        paddings = (total[0] // 2, total[1] // 2)
    else:
        paddings = as_pair(padding, "padding", least=0)
    if (2 * paddings[0] + 1) * (2 * paddings[1] + 1) > MOST:
        raise ValueError(f"padding={paddings} would make maps of more than 2^48 pixels, which no memory holds")
    check_equal_sides(group, kernel_size=kernel, stride=strides, padding=paddings, dilation=dilations)
    return Geometry(kernel, strides, paddings, dilations, mode)
