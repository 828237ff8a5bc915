"""What the layers share: memory for parameters; of convolutions planar arguments, bias, printing, memory formats."""

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv.functional.checks import NUMBERS, check_channels
from sepgconv.functional.geometry import Pair, conv_geometry
from sepgconv.nn._hooks import ObservableModule
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as find_group


def check_dtype(dtype: torch.dtype | None, caller: str, allowed: tuple[torch.dtype, ...]) -> None:
    """Refuse a dtype in which a layer does not work: integers, and complex numbers but for convolutions.

    Raises:
        ValueError: neither None nor one of those allowed.
    """
    if dtype is not None and dtype not in allowed:
        words = "torch.float32, float64, float16 or bfloat16"
        raise ValueError(f"{caller}: dtype must be a floating point type of torch ({words}), got {dtype!r}")


def empty_parameter(
    layer: nn.Module, name: str, shape: tuple[int, ...], device: torch.device | str | None, dtype: torch.dtype | None
) -> nn.Parameter:
    """Return memory for a parameter of a layer.

    Raises:
        ValueError: a dtype that no layer works in, or more numbers than there is memory for.
    """
    caller = type(layer).__name__
    check_dtype(dtype, caller, NUMBERS)
    with memory_for(caller, name, shape):
        return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))


@contextmanager
def memory_for(caller: str, name: str, shape: tuple[int, ...]) -> Generator[None]:
    """Say which layer asks for more numbers than there is memory for.

    Raises:
        ValueError: torch could not make a parameter of that shape.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise  # of an accelerator, where tools look for it by its class
    except (RuntimeError, OverflowError) as error:
        if math.prod(shape) < 2**24:
            raise  # not for its size
        raise ValueError(f"{caller}: there is no memory for {name} of {shape}, {math.prod(shape):,} numbers") from error


class GroupConvLayer(ObservableModule):
    """Abstract: a convolution on a group; subclasses add weights, `reset_parameters` and `forward`.

    Arguments and attributes are those of `torch.nn.Conv2d`, and `group`, the `FiniteGroup`. The only tensors of a layer
    are its parameters; the tables by which the group moves filters are constants of the library.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        group: FiniteGroup | str,
        *,
        stride: int | Pair,
        padding: int | Pair | str,
        dilation: int | Pair,
        padding_mode: str,
    ) -> None:
        super().__init__()
        check_channels(type(self).__name__, in_channels=in_channels, out_channels=out_channels)
        self.in_channels, self.out_channels, self.group = in_channels, out_channels, find_group(group)
        self.geometry = conv_geometry(self.group, kernel_size, stride, padding, dilation, padding_mode)

    def _add_parameters(
        self,
        shapes: dict[str, tuple[int, ...]],
        *,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        """Register weights by name and shape, then the bias, and draw them."""
        for name, shape in shapes.items():
            self.register_parameter(name, empty_parameter(self, name, shape, device, dtype))
        shape = (self.out_channels,)
        self.register_parameter("bias", empty_parameter(self, "bias", shape, device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the bias to zero; subclasses then draw their weights."""
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        # `.to(memory_format=torch.channels_last)` converts every parameter of rank 4 and 5 and fails on rank 5. A
        # memory format is a hint for maps; weights are shown with their last axes folded, so that they move and cast as
        # they are.
        def keep_layout(t: Tensor) -> Tensor:
            return fn(t.flatten(2)).view(t.shape) if t.ndim > 3 else fn(t)

        return super()._apply(keep_layout, recurse)

    @property
    def kernel_size(self) -> Pair:
        """(height, width) of the planar kernel."""
        return self.geometry.kernel_size

    @property
    def stride(self) -> Pair:
        """Step in pixels along (y, x)."""
        return self.geometry.stride

    @property
    def padding(self) -> Pair:
        """Pixels added on either side along (y, x); "same" and "valid" are written out."""
        return self.geometry.padding

    @property
    def dilation(self) -> Pair:
        """Distance of kernel pixels along (y, x)."""
        return self.geometry.dilation

    @property
    def padding_mode(self) -> str:
        """How the padding is filled."""
        return self.geometry.padding_mode

    def extra_repr(self) -> str:
        """Return the arguments, those at their defaults left out, in the style of torch."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, group={self.group.name!r}"]
        defaults: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "padding_mode": "zeros"}
        parts += [f"{name}={getattr(self, name)!r}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join(parts + (["bias=False"] if self.bias is None else []))
