"""Models of other libraries as models of this one, a folder for each library."""

from sepgconv.interop.e2cnn import fields_to_maps, from_e2cnn, from_escnn, maps_to_fields

__all__ = ["fields_to_maps", "from_e2cnn", "from_escnn", "maps_to_fields"]
