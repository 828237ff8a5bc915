"""How the weights of a new network are drawn: as the layers do, or as the paper's authors did."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from sepgconv.nn import SeparableGroupConv2d


def draw_as_published(model: nn.Module) -> None:
    """Draw both factors of every separable layer as the paper did: fan-in c k^2, the group order ignored.

    Uniform in ±1 / sqrt(c k^2), the usual bound of torch's convolutions (METHOD section 6: the output of such a layer
    is about 30 times too small at 32 channels). The other parameters stay.
    """
    for layer in model.modules():
        if isinstance(layer, SeparableGroupConv2d):
            bound = 1 / math.sqrt(layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1])
            nn.init.uniform_(layer.pointwise, -bound, bound)
            nn.init.uniform_(layer.depthwise, -bound, bound)


def _leave(model: nn.Module) -> None:
    """Leave the weights as the layers drew them."""


INITIALISATIONS: Mapping[str, Callable[[nn.Module], None]] = MappingProxyType(
    {"sepgconv": _leave, "published": draw_as_published}
)
