"""A small network for images without an up or down, on groups of any angle: gc_c8cnn and its like."""

from dataclasses import dataclass
from functools import partial

from jaxtyping import Float
from torch import Tensor

from sepgconv.models.blocks import NetworkSharing, group_convolution, name_options
from sepgconv.models.network import Network, plain_config
from sepgconv.models.registry import register_model
from sepgconv.nn import AvgPool2d, ConvNormAct, ConvNormActSequential, GroupDropout, GroupMaxPool, LiftingConv2d
from sepgconv.ops.dispatch import Execution
from sepgconv.symmetry.kernels import Kernel


@dataclass(frozen=True, kw_only=True)
class AngleCNNConfig:
    """What an `AngleCNN` is built from.

    Attributes:
        width: channels of every convolution.
        group: name of the group; p1 gives the ordinary network.
        sharing: how the convolutions after the first are factored (see `sepgconv.models.group_convolution`).
        kernel_size: side of the kernels in pixels, odd; of the first two more.
        in_channels: channels of the image.
        num_classes: outputs; 0 for none, so that the network gives its pooled features.
        dropout: probability of a channel to be dropped before the classifier.
        rank: of separable convolutions, the number of their terms.
        execution: of separable convolutions.
        recompute: whether separable convolutions keep only their input for backward; None: where that costs little.
        kernel: "pixel", "steerable", or "auto", pixels where the group keeps the pixel grid.

    Example:
        >>> AngleCNNConfig(width=8, group="C8", sharing="gc").kernel_size
        5
    """

    width: int
    group: str
    sharing: NetworkSharing
    kernel_size: int = 5
    in_channels: int = 1
    num_classes: int = 10
    dropout: float = 0.0
    rank: int = 1
    execution: Execution = "auto"
    recompute: bool | None = None
    kernel: Kernel = "auto"


class AngleCNN(Network):
    """Seven convolutions with padding, each with batch norm and ReLU; 2x2 average pools after the first and fourth.

    28 x 28 images shrink as 28-(14)-(7), and the last convolution, without padding, leaves 3 x 3. The features are the
    maximum over poses, averaged over positions. The output is invariant, to rounding, under the elements of the group
    that keep the pixel grid, for images whose sides are multiples of 4; under the others nearly (`sepgconv.certify`).
    Shapes: (batch, in_channels, height, width) -> (batch, num_classes).

    Raises:
        ValueError: an even kernel size; in `forward`, an input that is no image of `in_channels` channels, or too
            small.

    Example:
        >>> import torch
        >>> network = AngleCNN(AngleCNNConfig(width=4, group="C8", sharing="gc"))
        >>> network(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    min_input_size, input_size = 20, 28

    def __init__(self, config: AngleCNNConfig) -> None:
        super().__init__()
        if config.kernel_size % 2 == 0:
            raise ValueError(f"AngleCNN: kernel_size must be odd, got {config.kernel_size}")
        self.config, self.in_channels = plain_config(config), config.in_channels
        width, group, side = config.width, config.group, config.kernel_size
        # The last maps, a quarter of the image, must hold a kernel; that of 5 x 5 is the class's own.
        vars(self)["min_input_size"] = 4 * side
        convolution = partial(
            group_convolution,
            config.sharing,
            rank=config.rank,
            execution=config.execution,
            recompute=config.recompute,
            kernel=config.kernel,
        )

        def block(padding: int) -> ConvNormAct:
            return ConvNormAct(width, width, side, group, conv_layer=convolution, padding=padding)

        first = ConvNormAct(
            config.in_channels,
            width,
            side + 2,
            group,
            conv_layer=LiftingConv2d,
            padding=side // 2 + 1,
            kernel=config.kernel,
        )
        same = side // 2
        self.features = ConvNormActSequential(
            first, AvgPool2d(2), *(block(same) for _ in range(3)), AvgPool2d(2), block(same), block(same), block(0)
        )
        self.pool = GroupMaxPool()
        self.drop = GroupDropout(config.dropout)
        self.num_features = width
        self._build_classifier(config.num_classes)

    def forward_features(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b w g y2 x2"]:
        """Return the maps of the seventh convolution, after its ReLU."""
        self.check_images(x)
        return self.features(x)

    def pool_features(self, maps: Float[Tensor, "b w g y x"]) -> Float[Tensor, "b w"]:
        """Return the maximum over poses, averaged over positions; channels are dropped in training."""
        return self.pool(self.drop(maps)).mean((-2, -1))


for _name, _summary, _width, _sharing, _group in (
    ("c8cnn", "group CNN of any angle", 7, "full", "C8"),
    ("gc_c8cnn", "group CNN of any angle, gc-separable", 21, "gc", "C8"),
):
    register_model(_name, config=AngleCNNConfig, summary=_summary, **name_options(_sharing, _group, {"width": _width}))(
        AngleCNN
    )
