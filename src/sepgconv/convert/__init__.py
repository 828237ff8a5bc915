"""From and to other libraries: e2cnn and escnn models as layers of this one, ordinary CNNs rebuilt on a group."""

from sepgconv.convert.rebuild.network import equivariant
from sepgconv.convert.steerable.fields import fields_to_maps, maps_to_fields
from sepgconv.convert.steerable.models import from_e2cnn, from_escnn

__all__ = ["equivariant", "fields_to_maps", "from_e2cnn", "from_escnn", "maps_to_fields"]
