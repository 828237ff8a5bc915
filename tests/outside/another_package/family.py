"""A family of networks with those layers in it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

import sepgconv
from another_package.convolution import EvenSeparableConv2d, PosewiseConv2d
from another_package.layer import RingConv2d
from sepgconv.models import Network, initialise, register_model
from sepgconv.nn import GroupBatchNorm2d, GroupMaxPool, LiftingConv2d, SeparableGroupConv2d


@dataclass(frozen=True, kw_only=True)
class RingNetConfig:
    """What a network of rings is built from."""

    width: int
    group: str
    in_channels: int = 1
    num_classes: int = 10
    initialisation: str = "sepgconv"


@register_model("ring_net", config=RingNetConfig, preset={"width": 4, "group": "updown"}, summary="rings on a mirror")
class RingNet(Network):
    """A lifting convolution, one of each new layer, a gc-separable one, the mean over positions, the largest pose."""

    min_input_size, input_size = 8, 16

    def __init__(self, config: RingNetConfig) -> None:
        super().__init__()
        self.config: dict[str, Any] = dict(vars(config))
        self.in_channels, width, group = config.in_channels, config.width, config.group
        self.features = nn.Sequential(
            LiftingConv2d(config.in_channels, width, 3, group, padding=1),
            GroupBatchNorm2d(width),
            nn.ReLU(),
            RingConv2d(width),
            EvenSeparableConv2d(width, 2 * width, 3, sepgconv.group(group)),
            GroupBatchNorm2d(2 * width),
            nn.ReLU(),
            PosewiseConv2d(2 * width, width, 3, group, padding=1, groups=2),
            SeparableGroupConv2d(width, width, 3, group, padding=1),
            GroupBatchNorm2d(width),
            nn.ReLU(),
        )
        self.pool = GroupMaxPool()
        self.num_features = width
        self._build_classifier(config.num_classes)
        initialise(self, config.initialisation)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature maps."""
        return self.features(x)

    def pool_features(self, maps: Tensor) -> Tensor:
        """Return what the classifier reads."""
        return self.pool(maps).mean((-2, -1))
