"""Windows that slide over a map with a stride, and the sizes on which they are exact (theory.md, Strides)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from sepgconv.conv.geometry import Pair

# Layers with a kernel and a stride that do not slide over their input, or whose output is no map.
NOT_SLIDING = (nn.ConvTranspose2d, nn.MaxUnpool2d, nn.Unfold, nn.Fold, nn.FractionalMaxPool2d)


@dataclass(frozen=True, slots=True)
class Window:
    """The planar arguments of a convolution or pool, each a pair (y, x).

    Attributes:
        kernel_size: pixels of the window.
        stride: step.
        padding: pixels on every side.
        dilation: distance of the window's pixels.
        pools: whether it is a pool, which ignores pixels beyond the map; a convolution takes them as zeros.
    """

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    pools: bool

    def remainder(self, side: int, axis: int) -> int:
        """Return (S + 2 padding - dilation (k - 1) - 1) mod stride for a side S."""
        k, s, p, d = self.along(axis)
        return (side + 2 * p - d * (k - 1) - 1) % s

    def is_exact(self, side: int, positions: int, axis: int) -> bool:
        """Return whether a rotation moves the grid of windows onto itself.

        It does if and only if the remainder is 0; a pool is exact as well where what its windows see of the map is
        symmetric, as one window that sees all of it (with padding, or with `ceil_mode`).

        Args:
            side: of the map that comes in.
            positions: side of the map that goes out.
            axis: 0 for y, 1 for x.
        """
        if self.remainder(side, axis) == 0:
            return True
        if not self.pools:
            return False
        k, s, p, d = self.along(axis)
        seen = [{i * s - p + d * j for j in range(k)} & set(range(side)) for i in range(positions)]
        return seen == [{side - 1 - pixel for pixel in pixels} for pixels in reversed(seen)]

    def along(self, axis: int) -> tuple[int, int, int, int]:
        """Return (kernel size, stride, padding, dilation) along an axis."""
        return self.kernel_size[axis], self.stride[axis], self.padding[axis], self.dilation[axis]

    def replacements(self, side: int, positions: int, axis: int) -> tuple["Window", ...]:
        """Return windows of the same stride that are exact on a side and keep the map's size, most similar first."""
        k, _, p, d = self.along(axis)
        found: list[tuple[int, Window]] = []
        for kernel in range(max(1, k - 1), k + 2):
            for padding in range(max(0, p - 1), min(p + 1, kernel // 2) + 1):
                other = replace(self, kernel_size=(kernel, kernel), padding=(padding, padding))
                _, s, _, _ = other.along(axis)
                reach = side + 2 * padding - d * (kernel - 1) - 1
                if kernel > 1 and reach >= 0 and reach % s == 0 and reach // s + 1 == positions:
                    found.append((abs(kernel - k) + abs(padding - p), other))
        return tuple(other for _, other in sorted(found, key=lambda pair: pair[0]))

    def __str__(self) -> str:
        (ky, kx), (sy, sx), (py, px) = self.kernel_size, self.stride, self.padding
        stride = f"{sy}" if sy == sx else f"({sy}, {sx})"
        padding = f"{py}" if py == px else f"({py}, {px})"
        dilation = "" if self.dilation == (1, 1) else f" and dilation {self.dilation[0]}"
        return f"{ky} x {kx} window of stride {stride} and padding {padding}{dilation}"


def find_window(module: nn.Module) -> Window | None:
    """Return the window of a layer of this library, of torch, of e2cnn or of escnn; None for a layer without one."""
    kernel_size = _pair(getattr(module, "kernel_size", None))
    if kernel_size is None or isinstance(module, NOT_SLIDING) or "Transpose" in type(module).__name__:
        return None
    stride = _pair(getattr(module, "stride", None)) or kernel_size
    dilation = _pair(getattr(module, "dilation", 1)) or (1, 1)
    padding: Any = getattr(module, "padding", 0)
    if isinstance(padding, str):  # torch takes "same" with stride 1 only, where nothing depends on the size
        total = [0 if padding == "valid" else d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
        padding = (total[0] // 2, total[1] // 2)
    pools = not any(hasattr(module, name) for name in ("in_channels", "weight", "weights", "filter"))
    return Window(kernel_size, stride, _pair(padding) or (0, 0), dilation, pools)


def strided_windows(model: nn.Module) -> Iterator[tuple[str, nn.Module, Window]]:
    """Yield the layers of a network whose window has a stride above 1."""
    for name, module in model.named_modules():
        window = find_window(module)
        if window is not None and max(window.stride) > 1:
            yield name, module, window


def _pair(value: Any) -> Pair | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    if isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return value[0], value[1]
    return None
