"""The pre-activation ResNet44 of Table 2 (arXiv:2106.04914; theory.md, ResNet44), on any group and factorisation."""

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from sepgconv._messages import one_of
from sepgconv.models.blocks import NetworkSharing, Rank, convolution_ranks, group_convolution, name_options
from sepgconv.models.network import Network, plain_config
from sepgconv.models.registry import register_model
from sepgconv.models.renaming import takes_old_options
from sepgconv.nn import AvgPool2d, GroupBatchNorm2d, GroupConv2d, GroupMaxPool, LiftingConv2d, NormActConv
from sepgconv.ops.dispatch import Execution
from sepgconv.symmetry.kernels import Kernel

Downsampling = Literal["paper", "exact"]
Head = Literal["paper", "invariant"]
BLOCKS_PER_STAGE = 7


@takes_old_options
@dataclass(frozen=True, kw_only=True)
class ResNet44Config:
    """What a ResNet44 is built from.

    Attributes:
        widths: channels of the three stages.
        group: name of the group; p1 gives the ordinary network.
        sharing: how the 3x3 convolutions in the blocks are factored (see `sepgconv.models.group_convolution`).
        downsampling: "paper", convolutions of stride 2, which break the symmetry on even maps; "exact", the same
            convolutions with stride 1, then 2x2 average pools, equivariant on even maps.
        head: "paper" flattens channels and poses into the linear layer and is not invariant; "invariant" takes the
            maximum over poses first, and the linear layer has |G| times fewer inputs.
        in_channels: channels of the image.
        num_classes: outputs; 0 for none, so that the network gives its pooled features.
        rank: of separable convolutions, the number of their terms: one for all, or a tuple with one for each of the 42
            in the blocks in order, where 0 keeps it a full `GroupConv2d`. With a tuple every one has a bias, as in
            the full network, whose weights such a network can therefore take over one by one.
        execution: of separable convolutions.
        recompute: whether separable convolutions keep only their input for backward; None: where that costs little.
        kernel: "pixel", "steerable", or "auto", pixels where the group keeps the pixel grid.

    Example:
        >>> ResNet44Config(widths=(4, 8, 16), group="p4m", sharing="gc", downsampling="exact").head
        'paper'
    """

    widths: tuple[int, int, int]
    group: str
    sharing: NetworkSharing
    downsampling: Downsampling = "paper"
    head: Head = "paper"
    in_channels: int = 3
    num_classes: int = 10
    rank: Rank = 1
    execution: Execution = "auto"
    recompute: bool | None = None
    kernel: Kernel = "auto"


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv3x3-BN-ReLU-conv3x3 beside a shortcut, which is a full 1x1 group convolution where sizes differ.

    Full convolutions have a bias. Separable ones have none: the 1.88 M parameters that the paper prints for gc leave no
    room for them, and the batch norm that follows every path takes any constant away again. Where each has
    a rank of its own, they have one all the same, so that a trained full network can become such a one as it is.

    Args:
        in_channels: channels of the maps that come in.
        out_channels: channels of the maps that go out.
        config: of the network.
        ranks: of the two convolutions.
        halve: whether the maps that go out have half the sides.
    """

    def __init__(
        self, in_channels: int, out_channels: int, config: ResNet44Config, ranks: tuple[int, ...], *, halve: bool
    ) -> None:
        super().__init__()
        group, pooled = config.group, halve and config.downsampling == "exact"
        stride = 2 if halve and not pooled else 1

        def half_block(channels: int, stride: int, rank: int) -> NormActConv:
            return NormActConv(
                channels,
                out_channels,
                3,
                group,
                conv_layer=partial(group_convolution, config.sharing),
                stride=stride,
                padding=1,
                bias=config.sharing == "full" or isinstance(config.rank, tuple),
                rank=rank,
                execution=config.execution,
                recompute=config.recompute,
                kernel=config.kernel,
            )

        self.residual = nn.Sequential(half_block(in_channels, stride, ranks[0]))
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != 1:
            self.shortcut = GroupConv2d(in_channels, out_channels, 1, group, stride=stride)
        if pooled:
            self.residual.append(AvgPool2d(2))
            self.shortcut = nn.Sequential(AvgPool2d(2), self.shortcut)
        self.residual.append(half_block(out_channels, 1, ranks[1]))

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b o g y2 x2"]:
        """Return the sum of the two paths."""
        return self.residual(x) + self.shortcut(x)


class ResNet44(Network):
    """3x3 stem, three stages of seven pre-activation blocks, BN-ReLU, mean over positions, linear classifier.

    The first block of the second and third stage halves the maps. Shapes: (batch, in_channels, height, width) ->
    (batch, num_classes). With downsampling "exact" and head "invariant" the output is invariant under the group
    wherever height and width are multiples of 4.

    Raises:
        ValueError: an unknown downsampling or head, a rank out of range, or not 42; in `forward`, an input that is no
            image of `in_channels` channels, or smaller than 4 x 4.

    Example:
        >>> import torch
        >>> config = ResNet44Config(widths=(1, 1, 1), group="p1", sharing="full")
        >>> ResNet44(config)(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 10])
    """

    min_input_size, input_size = 4, 32

    def __init__(self, config: ResNet44Config) -> None:
        super().__init__()
        one_of("downsampling", config.downsampling, ("paper", "exact"))
        head = one_of("head", config.head, ("paper", "invariant"))
        if len(config.widths) != 3:
            raise ValueError(
                f"ResNet44: widths must be three positive integers, one for each stage, got {config.widths}"
            )
        self.config, self.in_channels = plain_config(config), config.in_channels
        widths = [width for width in config.widths for _ in range(BLOCKS_PER_STAGE)]
        self.stem = LiftingConv2d(config.in_channels, widths[0], 3, config.group, padding=1, kernel=config.kernel)
        pairs = list(itertools.pairwise([widths[0], *widths]))
        channels = [width for pair in pairs for width in pair]  # a block's convolutions take those before and after
        sizes = [3] * len(channels)
        ranks = convolution_ranks(config.rank, config.sharing, config.group, channels, sizes, "ResNet44", config.kernel)
        self.blocks = nn.Sequential(
            *(
                PreActivationBlock(
                    *pair, config, ranks[2 * index : 2 * index + 2], halve=index > 0 and index % BLOCKS_PER_STAGE == 0
                )
                for index, pair in enumerate(pairs)
            )
        )
        self.norm = nn.Sequential(GroupBatchNorm2d(widths[-1]), nn.ReLU())
        self.pool: nn.Module = GroupMaxPool() if head == "invariant" else nn.Flatten(1, 2)
        self.num_features = widths[-1] * (self.stem.group.order if head == "paper" else 1)
        self._build_classifier(config.num_classes)

    def forward_features(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b w g y2 x2"]:
        """Return the maps of the last block, after norm and ReLU."""
        self.check_images(x)
        return self.norm(self.blocks(self.stem(x)))

    def pool_features(self, maps: Float[Tensor, "b w g y x"]) -> Float[Tensor, "b features"]:
        """Return the mean over positions, of the maximum over poses or of each pose, as the head says."""
        return self.pool(maps.mean((-2, -1), keepdim=True)).flatten(1)


# The presets are the networks of Table 2.
for _name, _summary, _widths, _sharing, _group in (
    ("resnet44", "ordinary ResNet44", (32, 64, 128), "full", "p1"),
    ("p4m_resnet44", "group ResNet44", (11, 23, 45), "full", "p4m"),
    ("g_p4m_resnet44", "group ResNet44, g-separable", (19, 38, 76), "g", "p4m"),
    ("gc_p4m_resnet44", "group ResNet44, gc-separable", (28, 56, 112), "gc", "p4m"),
):
    register_model(
        _name, config=ResNet44Config, summary=_summary, **name_options(_sharing, _group, {"widths": _widths})
    )(ResNet44)
