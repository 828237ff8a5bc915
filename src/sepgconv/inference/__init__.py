"""Networks made ready to be run: filters computed once, batch norm folded in."""

from sepgconv.inference.compilation import compile_for_inference, freeze
from sepgconv.inference.layers import FrozenConv2d, FrozenNorm2d

__all__ = ["FrozenConv2d", "FrozenNorm2d", "compile_for_inference", "freeze"]
