"""Operators and who runs them: one file for each operator, and `dispatch`, which alone chooses."""

from sepgconv.conv.cost import CostModel
from sepgconv.ops.choices import Choice, Context
from sepgconv.ops.convolution import convolve
from sepgconv.ops.dispatch import recording

__all__ = ["Choice", "Context", "CostModel", "convolve", "recording"]
