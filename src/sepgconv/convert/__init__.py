"""Networks made of networks: as ordinary layers, separated, rebuilt on a group, from e2cnn and escnn."""

from sepgconv.convert.plain.files import Export
from sepgconv.convert.plain.network import to_plain
from sepgconv.convert.plain.onnx import to_onnx
from sepgconv.convert.plain.program import to_program
from sepgconv.convert.rebuild.network import equivariant
from sepgconv.convert.separation import SeparatedLayer, Separation, separate
from sepgconv.interop import fields_to_maps, from_e2cnn, from_escnn, maps_to_fields

__all__ = [
    "Export",
    "SeparatedLayer",
    "Separation",
    "equivariant",
    "fields_to_maps",
    "from_e2cnn",
    "from_escnn",
    "maps_to_fields",
    "separate",
    "to_onnx",
    "to_plain",
    "to_program",
]
