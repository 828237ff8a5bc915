"""SeparableGroupConv2d: a group convolution factored into a mixing of channels and poses and a planar filtering."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sepgconv._messages import one_of
from sepgconv.functional import NormRelu, compose_kernel, full_rank
from sepgconv.functional.checks import is_integer
from sepgconv.functional.execution import EXECUTIONS, Execution, check_fourier, choose_execution
from sepgconv.functional.geometry import Pair
from sepgconv.functional.kernels import SHARINGS, Sharing
from sepgconv.functional.separable import convolve_separable
from sepgconv.nn._base import GroupConvLayer
from sepgconv.symmetry import FiniteGroup


class SeparableGroupConv2d(GroupConvLayer):
    """Separable group convolution (Lengyel & van Gemert 2021, arXiv:2106.04914, section 3.3; theory.md, Convolutions).

    A group convolution whose filters are products, `F[n,c,g] = w[n,c,g] K[n]` (gc) or `F[n,c,g] = w[n,c,g] K[n,c]` (g):
    fewer parameters and multiplications, the same symmetry. With `rank` r > 1 the filters are sums of r such products;
    `sepgconv.functional.separate_kernel` finds the nearest ones to trained filters. Shapes:
    (batch, in_channels, |G|, height, width) -> (batch, out_channels, |G|, height', width').

    Args:
        in_channels: channels of the feature map that comes in.
        out_channels: channels of the feature map that goes out.
        kernel_size: side of the kernel in pixels, odd or even; a pair (y, x) where the group keeps each axis.
        group: a `FiniteGroup` or its name.
        sharing: what shares one spatial kernel: "gc" all poses and input channels, "g" all poses.
        rank: number of separable terms, 1 for the layer of the paper. At the full rank, the smaller one of k^2 and
            in_channels |G| (gc) or |G| (g), every group convolution can be written so; more is refused.
        execution: "separable" (mix, then filter), "fourier" (the same, mixing in the irreps of the group; gc only),
            "composed" (build the filter bank, then one dense convolution), or "auto", which takes the cheapest one for
            the size at hand (`sepgconv.functional.select_execution`). The numbers agree to rounding.
        recompute: whether to keep only the input for the backward pass, which then mixes once more (theory.md,
            Recomputation); None: where that costs little, in execution "fourier".
        stride: step in pixels. On a map of side S equivariance is exact only where
            (S + 2 padding - dilation (kernel_size - 1) - 1) is a multiple of it.
        padding: pixels on every side, "same" (stride 1, odd kernel) or "valid".
        dilation: distance of kernel pixels.
        bias: whether to add a bias per channel, shared over poses.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        device: of the parameters.
        dtype: of the parameters.

    Attributes:
        pointwise: w, (out_channels, in_channels, |G|); with rank > 1 (out_channels, rank, in_channels, |G|).
        depthwise: K, (out_channels, k, k) for gc, (out_channels, in_channels, k, k) for g; with rank > 1
            (out_channels, rank, k, k) and (out_channels, rank, in_channels, k, k).
        bias: (out_channels,), zero at first, or None.

    Raises:
        ValueError: an unknown group, sharing or execution, "fourier" with sharing "g", a rank below 1 or above the full
            one, or other arguments that are out of range or break equivariance; in `forward`, an input with another
            number of axes, channels or poses, or too small.
    """

    pointwise: nn.Parameter
    depthwise: nn.Parameter
    sharing: Sharing
    execution: Execution

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        group: FiniteGroup | str,
        *,
        sharing: Sharing = "gc",
        rank: int = 1,
        execution: Execution = "auto",
        recompute: bool | None = None,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            group,
            stride=stride,
            padding=padding,
            dilation=dilation,
            padding_mode=padding_mode,
        )
        self.sharing = one_of("sharing", sharing, SHARINGS)
        self.execution = one_of("execution", execution, EXECUTIONS)
        if self.execution == "fourier":
            check_fourier(self.sharing)
        self.recompute = recompute
        self.rank = self._checked_rank(rank)
        lead = (out_channels,) if self.rank == 1 else (out_channels, self.rank)
        planar = (*lead, *self.kernel_size) if sharing == "gc" else (*lead, in_channels, *self.kernel_size)
        mixing = (*lead, in_channels, self.group.order)
        self._add_parameters({"pointwise": mixing, "depthwise": planar}, bias=bias, device=device, dtype=dtype)

    def _checked_rank(self, rank: int) -> int:
        most = full_rank(self.in_channels, self.group.order, self.kernel_size, self.sharing)
        if not is_integer(rank) or not 1 <= rank.__index__() <= most:
            raise ValueError(
                f"{type(self).__name__}: rank must be an integer from 1 to {most}, the full rank of these filters, got "
                f"{rank!r}"
            )
        return rank.__index__()

    def reset_parameters(self) -> None:
        """Draw the factors so that each keeps the variance: E[y^2] = 2 E[x^2] before a ReLU, with |G| in the fan-in.

        The mixing has the fan-in in_channels |G| (gc) or |G| (g), the filtering k^2 (gc) or in_channels k^2 (g). The
        composed filter then has the variance 2 / (in_channels |G| k^2) that He et al. (2015) ask for, and the maps
        between the factors are neither small nor large. With several terms the filtering, which adds them up, has rank
        times the fan-in.
        """
        super().reset_parameters()
        fan_pointwise = self.group.order * (self.in_channels if self.sharing == "gc" else 1)
        nn.init.normal_(self.pointwise, std=math.sqrt(2 / fan_pointwise))
        nn.init.normal_(self.depthwise, std=math.sqrt(1 / self.depthwise[0].numel()))

    def compose(self) -> Float[Tensor, "o c g k l"]:
        """Return the full filter bank F, (out, in, |G|, k, k): the weight of the equal `GroupConv2d`."""
        return compose_kernel(self.pointwise, self.depthwise, self.sharing)

    def selected_execution(self, height: int, width: int) -> str:
        """Return how maps of a size are run: "separable", "fourier" or "composed".

        Maps that are too small for the kernel count as the smallest that are not.

        Args:
            height: rows of the maps that come in.
            width: columns.
        """
        reach = (d * (k - 1) + 1 - 2 * p for k, d, p in zip(self.kernel_size, self.dilation, self.padding, strict=True))
        size = tuple(max(side, least) for side, least in zip((height, width), reach, strict=True))
        sizes = (self.sharing, self.in_channels, self.out_channels, self.group, self.geometry, (size[0], size[1]))
        return choose_execution(self.execution, *sizes, device=self.pointwise.device.type, rank=self.rank)

    def forward(self, x: Float[Tensor, "b c g y x"], before: NormRelu | None = None) -> Float[Tensor, "b o g y2 x2"]:
        """Convolve feature maps on the group, after `before` where `sepgconv.nn.Sequential` gives it."""
        return convolve_separable(
            x,
            self.pointwise,
            self.depthwise,
            self.group,
            self.bias,
            self.geometry,
            self._get_name(),
            sharing=self.sharing,
            execution=self.execution,
            recompute=self.recompute,
            before=before,
        )

    def extra_repr(self) -> str:
        """Return the arguments, the sharing and the execution; what "auto" is on maps of 32 x 32 is in brackets."""
        execution = repr(self.execution)
        if self.execution == "auto":
            execution += f" ({self.selected_execution(32, 32)} at 32 x 32)"
        kept = "" if self.recompute is None else f", recompute={self.recompute}"
        rank = "" if self.rank == 1 else f", rank={self.rank}"
        return f"{super().extra_repr()}, sharing={self.sharing!r}{rank}, execution={execution}{kept}"
