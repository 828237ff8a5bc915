"""Modules of e2cnn and escnn as layers of this library: field types, rules for layers, whole models."""

from sepgconv.interop.e2cnn.fields import fields_to_maps, maps_to_fields
from sepgconv.interop.e2cnn.models import from_e2cnn, from_escnn

__all__ = ["fields_to_maps", "from_e2cnn", "from_escnn", "maps_to_fields"]
