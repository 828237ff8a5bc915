"""A family of networks with that layer in it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from another_package.layer import RingConv2d
from sepgconv.models import MODELS, Entry, Network
from sepgconv.nn import GroupBatchNorm2d, GroupMaxPool, LiftingConv2d, SeparableGroupConv2d


@dataclass(frozen=True, kw_only=True)
class RingNetConfig:
    """What a network of rings is built from."""

    width: int
    group: str
    in_channels: int = 1
    num_classes: int = 10


class RingNet(Network):
    """A lifting convolution, rings, a gc-separable convolution, then the mean over positions and the largest pose."""

    smallest, typical = 8, 16

    def __init__(self, config: RingNetConfig) -> None:
        super().__init__()
        self.config: dict[str, Any] = dict(vars(config))
        self.in_channels, width, group = config.in_channels, config.width, config.group
        self.features = nn.Sequential(
            LiftingConv2d(config.in_channels, width, 3, group, padding=1),
            GroupBatchNorm2d(width),
            nn.ReLU(),
            RingConv2d(width),
            SeparableGroupConv2d(width, width, 3, group, padding=1),
            GroupBatchNorm2d(width),
            nn.ReLU(),
        )
        self.pool = GroupMaxPool()
        self.num_features = width
        self._build_classifier(config.num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature maps."""
        return self.features(x)

    def pool_features(self, maps: Tensor) -> Tensor:
        """Return what the classifier reads."""
        return self.pool(maps).mean((-2, -1))


# The table itself, until there is a function that adds to it.
MODELS["ring_net"] = Entry(
    RingNet, RingNetConfig, fixed={}, preset={"width": 4, "group": "updown"}, summary="rings on a mirror"
)
