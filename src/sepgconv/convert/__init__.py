"""Networks made of networks: separated, rebuilt on a group, taken over from e2cnn and escnn."""

from sepgconv.convert.rebuild.network import equivariant
from sepgconv.convert.separation import SeparatedLayer, Separation, separate
from sepgconv.convert.steerable.fields import fields_to_maps, maps_to_fields
from sepgconv.convert.steerable.models import from_e2cnn, from_escnn

__all__ = [
    "SeparatedLayer",
    "Separation",
    "equivariant",
    "fields_to_maps",
    "from_e2cnn",
    "from_escnn",
    "maps_to_fields",
    "separate",
]
