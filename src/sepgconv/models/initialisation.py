"""How the weights of a network are drawn: as its layers draw them, or as the paper's authors did."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from sepgconv._messages import unknown_name
from sepgconv.nn import GroupConvLayer


def _as_layers_do(network: nn.Module) -> None:
    """Leave the weights as the layers drew them."""


def _as_published(network: nn.Module) -> None:
    # Of the full convolutions the paper says nothing; torch draws its own by the same rule.
    for layer in network.modules():
        if isinstance(layer, GroupConvLayer):
            bound = 1 / math.sqrt(layer.spec.kind.filter_channels(layer.spec) * layer.spec.kernel_energy)
            for name in layer.weights():
                nn.init.uniform_(getattr(layer, name), -bound, bound)


INITIALISATIONS: Mapping[str, Callable[[nn.Module], None]] = MappingProxyType(
    {"sepgconv": _as_layers_do, "published": _as_published}
)


def initialise(network: nn.Module, name: str) -> None:
    """Draw the weights of a new network.

    Args:
        network: as `create_model` made it; it is changed in place.
        name: "sepgconv" leaves the weights as its layers drew them: filters, of separable layers the composed ones,
            have the variance of He et al. (2015), for every group, so that a network without normalisation learns
            too. "published" draws the weights of every convolution, and both factors of separable ones, uniformly in
            ±1 / sqrt(c k^2), where c is the number of channels that a filter reads. So the paper's authors drew both
            factors (theory.md, Initialisation); of full convolutions the paper says nothing, and torch has the same
            rule. It ignores the group's order: the output of a separable layer of 32 channels is about 30 times too
            small. Batch norm hides that, but a step of Adam of the same size changes the direction of smaller weights
            more; and in the ResNets, whose blocks add their last convolution unnormalised, separable blocks begin near
            the identity.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> import sepgconv
        >>> network = sepgconv.create_model("gc_p4cnn", width=4)
        >>> initialise(network, "published")
        >>> bool((network.features[1].conv.depthwise.abs() <= 1 / 3).all())  # 1 / sqrt(k^2)
        True
    """
    if name not in INITIALISATIONS:
        raise ValueError(unknown_name("initialisation", name, INITIALISATIONS))
    INITIALISATIONS[name](network)
