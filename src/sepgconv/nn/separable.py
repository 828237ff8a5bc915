"""SeparableGroupConv2d: a group convolution factored into a mixing of channels and poses and a planar filtering."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sepgconv._messages import one_of
from sepgconv.conv import SEPARABLE, SHARINGS
from sepgconv.conv.geometry import Sides
from sepgconv.conv.kinds import Sharing
from sepgconv.nn import GroupConvLayer
from sepgconv.ops.batch_norm import NormRelu
from sepgconv.ops.convolution import convolve
from sepgconv.ops.dispatch import EXECUTIONS, Execution, requested
from sepgconv.symmetry import FiniteGroup, KernelBasis
from sepgconv.symmetry.kernels import Kernel
from sepgconv.symmetry.steerable import FilterFamily


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
        stride: step in pixels. On a map of side S equivariance is exact only where
            (S + 2 padding - dilation (kernel_size - 1) - 1) is a multiple of it.
        padding: pixels on every side, "same" (stride 1, odd kernel) or "valid".
        dilation: distance of kernel pixels.
        groups: channel groups that do not mix, as in `torch.nn.Conv2d`; execution "fourier" needs 1.
        bias: whether to add a bias per channel, shared over poses.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        device: of the parameters.
        dtype: of the parameters.
        sharing: what shares one spatial kernel: "gc" all poses and input channels, "g" all poses.
        rank: number of separable terms, 1 for the layer of the paper. At the full rank, the smaller one of k^2 (or the
            number of steerable filters) and in_channels |G| (gc) or |G| (g), every group convolution can be written so;
            more raises an error.
        execution: "separable" (mix, then filter), "fourier" (the same, mixing in the irreps of the group; gc only),
            "composed" (build the filter bank, then one dense convolution), or "auto", which takes the cheapest one for
            the size at hand (`sepgconv.functional.select_execution`). The numbers agree to rounding.
        recompute: whether to keep only the input for the backward pass, which then mixes once more (theory.md,
            Recomputation); None: where that costs little, in execution "fourier".
        kernel: "pixel", a weight for each pixel, for groups that keep the pixel grid; "steerable", a weight for each
            filter of one angular frequency, which turns by any angle; "auto", the first where it is possible.
        basis: of steerable kernels, "optimal" (the default) or "rings"; or a basis (`sepgconv.symmetry.KernelBasis`) of
            the same group and kernel size, as `SteerableBasis` with another tolerance.

    Attributes:
        pointwise: w, (out_channels, in_channels / groups, |G|); with rank > 1
            (out_channels, rank, in_channels / groups, |G|).
        depthwise: K, (out_channels, k, k) for gc, (out_channels, in_channels, k, k) for g; with rank > 1
            (out_channels, rank, k, k) and (out_channels, rank, in_channels, k, k). A steerable kernel has its filters
            in place of k, k.
        bias: (out_channels,), zero at first, or None.

    Raises:
        ValueError: an unknown group, sharing or execution, "fourier" with sharing "g", a rank below 1 or above the full
            one, or other arguments that are out of range or break equivariance; in `forward`, an input with another
            number of axes, channels or poses, or too small.

    Example:
        >>> import torch
        >>> layer = SeparableGroupConv2d(16, 32, 3, "p4", padding=1)
        >>> layer(torch.rand(2, 16, 4, 28, 28)).shape
        torch.Size([2, 32, 4, 28, 28])
        >>> layer.selected_execution(28, 28)
        'separable'
    """

    pointwise: nn.Parameter
    depthwise: nn.Parameter

    def __init__(
        self,
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
        sharing: Sharing = "gc",
        rank: int = 1,
        execution: Execution = "auto",
        recompute: bool | None = None,
        kernel: Kernel = "auto",
        basis: KernelBasis | FilterFamily | None = None,
    ) -> None:
        kind = SEPARABLE[one_of("sharing", sharing, SHARINGS)]
        super().__init__(
            kind,
            in_channels,
            out_channels,
            kernel_size,
            group,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
            rank=rank,
            kernel=kernel,
            basis=basis,
        )
        self.execution = one_of("execution", execution, EXECUTIONS)
        if self.execution != "auto":
            requested(self.spec, self.execution)
        self.recompute = recompute

    @property
    def sharing(self) -> Sharing:
        """What shares a spatial kernel, "gc" or "g"."""
        return SHARINGS[0] if self.spec.kind.name == SHARINGS[0] else SHARINGS[1]

    @property
    def rank(self) -> int:
        """Number of separable terms."""
        return self.spec.rank

    def compose(self) -> Float[Tensor, "o c g k l"]:
        """Return the full filter bank F, (out, in / groups, |G|, k, k): the weight of the equal `GroupConv2d`."""
        return self.filter_bank()

    def forward(
        self, x: Float[Tensor, "b c g y x"], pre_norm_act: NormRelu | None = None
    ) -> Float[Tensor, "b o g y2 x2"]:
        """Convolve feature maps on the group, after batch norm and ReLU where `NormActConv` gives them."""
        return convolve(
            self.spec,
            x,
            {"pointwise": self.pointwise, "depthwise": self.depthwise},
            self.bias,
            self._get_name(),
            execution=self.execution,
            recompute=self.recompute,
            pre_norm_act=pre_norm_act,
        )

    def extra_repr(self) -> str:
        """Return the arguments, the sharing and the execution."""
        kept = "" if self.recompute is None else f", recompute={self.recompute}"
        rank = "" if self.rank == 1 else f", rank={self.rank}"
        return f"{super().extra_repr()}, sharing={self.sharing!r}{rank}, execution={self.execution!r}{kept}"
