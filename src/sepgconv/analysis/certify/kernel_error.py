"""How far the filters of a layer are from being rotated, by their responses to plane waves."""

from typing import cast

from torch import Tensor, nn

from sepgconv.conv import ConvSpec
from sepgconv.symmetry import FiniteGroup, filter_error
from sepgconv.symmetry.subgroups import find_elements


def kernel_error(layer: nn.Module, group: FiniteGroup, element: int) -> float | None:
    """Return the relative error of the filters of a layer that an element has moved (`sepgconv.symmetry.filter_error`).

    Args:
        layer: any module.
        group: the group.
        element: number of the element.

    Returns:
        The error over all filters; None for a layer without a `ConvSpec`, without the element, or with filters that are
        not square.
    """
    spec, read_weights = getattr(layer, "spec", None), getattr(layer, "weights", None)
    if not isinstance(spec, ConvSpec) or not callable(read_weights):
        return None
    places = find_elements(spec.group, group)
    if places is None or len(set(spec.basis.size)) > 1:
        return None
    bank = spec.kind.bank(spec, cast("dict[str, Tensor]", read_weights()))
    return filter_error(spec.basis, places[element], bank)
