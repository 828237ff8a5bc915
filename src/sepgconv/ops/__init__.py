"""Operators and who runs them: one file for each operator, and `dispatch`, which alone chooses."""

from sepgconv.ops.convolution import convolve
from sepgconv.ops.dispatch import Choice, Context, CostModel, recording

__all__ = ["Choice", "Context", "CostModel", "convolve", "recording"]
