"""The networks of Table 1 (arXiv:2106.04914; theory.md, Rotated MNIST), on any group and in any factorisation."""

from dataclasses import dataclass
from functools import partial

from jaxtyping import Float
from torch import Tensor

from sepgconv.models.blocks import NetworkSharing, Rank, convolution_ranks, group_convolution, name_options
from sepgconv.models.network import Network, plain_config
from sepgconv.models.registry import register_model
from sepgconv.models.renaming import takes_old_options
from sepgconv.nn import ConvNormAct, ConvNormActSequential, GroupMaxPool, LiftingConv2d, MaxPool2d
from sepgconv.ops.dispatch import Execution
from sepgconv.symmetry.kernels import Kernel


@takes_old_options
@dataclass(frozen=True, kw_only=True)
class RotMNISTCNNConfig:
    """What a Rotated MNIST network is built from.

    Attributes:
        width: channels of every convolution.
        group: name of the group; p1 gives the ordinary network.
        sharing: how the six convolutions after the first are factored (see `sepgconv.models.group_convolution`).
        in_channels: channels of the image.
        num_classes: outputs; 0 for none, so that the network gives its pooled features.
        rank: of separable convolutions, the number of their terms: one for all, or a tuple with one for each of the six
            in order, where 0 keeps it a full `GroupConv2d`.
        execution: of separable convolutions.
        recompute: whether separable convolutions keep only their input for backward; None: where that costs little.
        kernel: "pixel", "steerable", or "auto", pixels where the group keeps the pixel grid.

    Example:
        >>> RotMNISTCNNConfig(width=8, group="p4", sharing="gc").num_classes
        10
    """

    width: int
    group: str
    sharing: NetworkSharing
    in_channels: int = 1
    num_classes: int = 10
    rank: Rank = 1
    execution: Execution = "auto"
    recompute: bool | None = None
    kernel: Kernel = "auto"


class RotMNISTCNN(Network):
    """Seven convolutions (six 3x3, one 4x4) without padding, each with batch norm and ReLU; linear classifier.

    A 2x2 max pool follows the second. 28 x 28 images shrink as 28-26-24-(12)-10-8-6-4-1; the maximum over poses is
    invariant then. Larger images are averaged over the positions that remain. The output is invariant under the group
    for images of even sides; an odd side does not survive the pool. Shapes: (batch, in_channels, height, width) ->
    (batch, num_classes).

    Raises:
        ValueError: a rank out of range, or not six; in `forward`, an input that is no image of `in_channels` channels
            or smaller than 28 x 28.

    Example:
        >>> import torch
        >>> network = RotMNISTCNN(RotMNISTCNNConfig(width=4, group="p4", sharing="gc"))
        >>> network(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    min_input_size, input_size = 28, 28

    def __init__(self, config: RotMNISTCNNConfig) -> None:
        super().__init__()
        self.config, self.in_channels = plain_config(config), config.in_channels
        width, group = config.width, config.group
        sizes = (3, 3, 3, 3, 3, 4)
        ranks = convolution_ranks(
            config.rank, config.sharing, group, [width] * len(sizes), sizes, "RotMNISTCNN", config.kernel
        )
        convolution = partial(
            group_convolution,
            config.sharing,
            execution=config.execution,
            recompute=config.recompute,
            kernel=config.kernel,
        )
        blocks = [
            ConvNormAct(config.in_channels, width, 3, group, conv_layer=LiftingConv2d, kernel=config.kernel),
            *(
                ConvNormAct(width, width, kernel_size, group, conv_layer=convolution, rank=rank)
                for kernel_size, rank in zip(sizes, ranks, strict=True)
            ),
        ]
        self.features = ConvNormActSequential(*blocks[:2], MaxPool2d(2), *blocks[2:])
        self.pool = GroupMaxPool()
        self.num_features = width
        self._build_classifier(config.num_classes)

    def forward_features(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b w g y2 x2"]:
        """Return the maps of the seventh convolution, after its ReLU."""
        self.check_images(x)
        return self.features(x)

    def pool_features(self, maps: Float[Tensor, "b w g y x"]) -> Float[Tensor, "b w"]:
        """Return the maximum over poses, averaged over positions."""
        return self.pool(maps).mean((-2, -1))


# The presets are the networks of about 25,000 parameters in Table 1.
for _name, _summary, _width, _sharing, _group in (
    ("z2cnn", "ordinary CNN", 20, "full", "p1"),
    ("c_z2cnn", "ordinary CNN, depthwise-separable", 57, "two-step", "p1"),
    ("p4cnn", "group CNN", 10, "full", "p4"),
    ("g_p4cnn", "group CNN, g-separable", 17, "g", "p4"),
    ("gc_p4cnn", "group CNN, gc-separable", 30, "gc", "p4"),
):
    register_model(
        _name, config=RotMNISTCNNConfig, summary=_summary, **name_options(_sharing, _group, {"width": _width})
    )(RotMNISTCNN)
