"""What the layers share: memory for parameters, and the one module behind every convolution on a group."""

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv.conv import ConvKind, Geometry, conv_spec
from sepgconv.conv.geometry import Sides
from sepgconv.nn._hooks import ObservableModule
from sepgconv.ops.checks import NUMBERS
from sepgconv.ops.convolution import convolve
from sepgconv.ops.dispatch import Execution, choose_execution
from sepgconv.symmetry import FiniteGroup, KernelBasis
from sepgconv.symmetry import group as get_group
from sepgconv.symmetry.kernels import Kernel
from sepgconv.symmetry.steerable import FilterFamily, SteerableBasis


def check_dtype(dtype: torch.dtype | None, caller: str, allowed: tuple[torch.dtype, ...]) -> None:
    """Raise if a layer does not work in a dtype: integers, and complex numbers except in convolutions.

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
    """Within the block, name the layer in the error if its parameters do not fit into memory.

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
    """A convolution on a group as a module: parameters, and a call of `sepgconv.ops.convolution.convolve`.

    The layers of `sepgconv.nn` are thin fronts of it, one for each kind; a layer of your own is a front for a kind of
    yours (`sepgconv.conv.ConvKind`), and cost, export, inference, initialisation and analysis work with it. Arguments
    and attributes are those of `torch.nn.Conv2d`, and `group`, the `FiniteGroup`. The only tensors of a layer are its
    parameters; the tables by which the group moves filters are constants of the library.

    Args:
        kind: what distinguishes the convolution from others.
        in_channels: channels of what comes in.
        out_channels: channels of what goes out.
        kernel_size: sides of the kernel in pixels.
        group: a `FiniteGroup` or its name.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        groups: channel groups that do not mix.
        bias: whether to add a bias per channel, shared over poses.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        device: of the parameters.
        dtype: of the parameters.
        rank: number of separable terms, for kinds that have them.
        kernel: "pixel", a weight for each pixel, for groups that keep the pixel grid; "steerable", a weight for each
            filter of one angular frequency, which turns by any angle; "auto", the first where it is possible.
        basis: of steerable kernels, "optimal" (the default) or "rings"; or a basis (`sepgconv.symmetry.KernelBasis`) of
            the same group and kernel size, as `SteerableBasis` with another tolerance.

    Attributes:
        spec: everything about the convolution that is a matter of shapes (`sepgconv.conv.ConvSpec`).
        bias: (out_channels,), zero at first, or None.
        execution: how it runs, "auto" for the cheapest way.
        recompute: whether to keep only the input for the backward pass; None: where that costs little.

    Raises:
        ValueError: an argument is out of range or breaks equivariance.

    Example:
        >>> import torch
        >>> from sepgconv.conv import FULL
        >>> class MyConv2d(GroupConvLayer):
        ...     def __init__(self, in_channels, out_channels, kernel_size, group, *args, **options):
        ...         super().__init__(FULL, in_channels, out_channels, kernel_size, group, *args, **options)
        >>> layer = MyConv2d(8, 16, 3, "p4", 1, 1)  # stride 1, padding 1
        >>> layer(torch.rand(2, 8, 4, 9, 9)).shape
        torch.Size([2, 16, 4, 9, 9])
        >>> layer
        MyConv2d(8, 16, kernel_size=(3, 3), group='p4', padding=(1, 1))
    """

    bias: nn.Parameter | None
    execution: Execution = "auto"
    recompute: bool | None = None

    def __init__(
        self,
        kind: ConvKind,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sides,
        group: FiniteGroup | str,
        stride: int | Sides = 1,
        padding: int | Sides | str = 0,
        dilation: int | Sides = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        rank: int = 1,
        kernel: Kernel = "auto",
        basis: KernelBasis | FilterFamily | None = None,
    ) -> None:
        super().__init__()
        self.spec = conv_spec(
            kind,
            in_channels,
            out_channels,
            kernel_size,
            get_group(group),
            stride=stride,
            padding=padding,
            dilation=dilation,
            padding_mode=padding_mode,
            groups=groups,
            rank=rank,
            kernel=kernel,
            basis=basis,
            caller=type(self).__name__,
        )
        kind.check(self.spec, type(self).__name__)
        for name, shape in self.spec.shapes:
            self.register_parameter(name, empty_parameter(self, name, shape, device, dtype))
        shape = (self.out_channels,)
        self.register_parameter("bias", empty_parameter(self, "bias", shape, device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the bias to zero and draw the weights so that E[y^2] = 2 E[x^2] before a ReLU (He et al. 2015)."""
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        for name, deviation in self.spec.kind.deviations(self.spec).items():
            nn.init.normal_(getattr(self, name), std=deviation)

    def weights(self) -> dict[str, Tensor]:
        """Return the weights by name, without the bias."""
        return {name: getattr(self, name) for name, _ in self.spec.shapes}

    def filter_bank(self) -> Tensor:
        """Return the filters before the group moves them, (out, in, [|G|,] *kernel_size); separable ones composed."""
        basis = self.spec.basis
        # Element 0, the identity, leaves filters as they are.
        return basis.expand(self.spec.kind.bank(self.spec, self.weights())).select(-len(basis.size) - 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve images or feature maps."""
        return convolve(
            self.spec,
            x,
            self.weights(),
            self.bias,
            self._get_name(),
            execution=self.execution,
            recompute=self.recompute,
        )

    def selected_execution(self, height: int, width: int) -> str:
        """Return how maps of a size are run: "separable", "fourier" or "composed"; "direct" where there is one way.

        Maps that are too small for the kernel count as the smallest that are not.

        Args:
            height: rows of the maps that come in.
            width: columns.
        """
        sides, device = self.spec.at_least((height, width)), next(iter(self.weights().values())).device
        return choose_execution(self.spec, sides, self.execution, device)[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        # `.to(memory_format=torch.channels_last)` converts every parameter of rank 4 and 5 and fails on rank 5. A
        # memory format is a hint for maps; weights are shown with their last axes folded, so that they move and cast as
        # they are.
        def keep_layout(t: Tensor) -> Tensor:
            return fn(t.flatten(2)).view(t.shape) if t.ndim > 3 else fn(t)

        return super()._apply(keep_layout, recurse)

    @property
    def geometry(self) -> Geometry:
        """Kernel size, stride, padding and dilation, written out for each axis."""
        return self.spec.geometry

    @property
    def group(self) -> FiniteGroup:
        """The group."""
        return self.spec.group

    @property
    def in_channels(self) -> int:
        """Channels of what comes in."""
        return self.spec.in_channels

    @property
    def out_channels(self) -> int:
        """Channels of what goes out."""
        return self.spec.out_channels

    @property
    def groups(self) -> int:
        """Channel groups that do not mix."""
        return self.spec.groups

    @property
    def kernel_size(self) -> Sides:
        """(height, width) of the planar kernel."""
        return self.spec.geometry.kernel_size

    @property
    def stride(self) -> Sides:
        """Step in pixels along (y, x)."""
        return self.spec.geometry.stride

    @property
    def padding(self) -> Sides:
        """Pixels added on either side along (y, x); "same" and "valid" are written out."""
        return self.spec.geometry.padding

    @property
    def dilation(self) -> Sides:
        """Distance of kernel pixels along (y, x)."""
        return self.spec.geometry.dilation

    @property
    def padding_mode(self) -> str:
        """How the padding is filled."""
        return self.spec.geometry.padding_mode

    def extra_repr(self) -> str:
        """Return the arguments, those at their defaults left out, in the style of torch."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, group={self.group.name!r}"]
        ones = (1,) * len(self.kernel_size)
        defaults: dict[str, Any] = {
            "stride": ones,
            "padding": tuple(0 for _ in ones),
            "dilation": ones,
            "groups": 1,
            "padding_mode": "zeros",
        }
        parts += [f"{name}={getattr(self, name)!r}" for name, value in defaults.items() if getattr(self, name) != value]
        basis = self.spec.basis
        if isinstance(basis, SteerableBasis):
            family = f"{len(basis.family)} rings" if isinstance(basis.family, tuple) else repr(basis.family)
            parts.append("kernel='steerable'" if basis.family == "optimal" else f"basis={family}")
        return ", ".join(parts + (["bias=False"] if self.bias is None else []))
