"""Networks of the library as networks of ordinary layers, to be run where this package is not installed."""

from sepgconv.convert.files import Export
from sepgconv.convert.onnx import to_onnx
from sepgconv.convert.plain import to_plain
from sepgconv.convert.program import to_program

__all__ = ["Export", "to_onnx", "to_plain", "to_program"]
