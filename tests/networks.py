"""A network of three convolutions, for tests of what is done to any network; the package has seven and more."""

from dataclasses import dataclass
from types import ModuleType

SMALL = "small_cnn"  # its name


def register_small(package: ModuleType) -> None:
    """Register the network in the package, which may be the one as installed: full convolutions, or gc-separable ones.

    Args:
        package: `sepgconv`, checked or not.
    """
    nn, models = package.nn, package.models
    layers = {"full": nn.GroupConv2d, "gc": nn.SeparableGroupConv2d}

    @dataclass(frozen=True, kw_only=True)
    class SmallConfig:
        width: int
        group: str
        sharing: str
        in_channels: int = 1
        num_classes: int = 10

    preset = {"width": 2, "group": "p4", "sharing": "gc"}

    @models.register_model(SMALL, config=SmallConfig, preset=preset, summary="three convolutions")
    class SmallCNN(models.Network):
        min_input_size, input_size = 10, 28

        def __init__(self, config):
            super().__init__()
            self.in_channels = config.in_channels
            width, group, layer = config.width, config.group, layers[config.sharing]
            self.features = nn.ConvNormActSequential(
                nn.ConvNormAct(config.in_channels, width, 3, group, conv_layer=nn.LiftingConv2d),
                nn.ConvNormAct(width, width, 3, group, conv_layer=layer),
                nn.MaxPool2d(2),
                nn.ConvNormAct(width, width, 3, group, conv_layer=layer),
            )
            self.pool, self.num_features = nn.GroupMaxPool(), width
            self._build_classifier(config.num_classes)

        def forward_features(self, x):
            self.check_images(x)
            return self.features(x)

        def pool_features(self, maps):
            return self.pool(maps).mean((-2, -1))
