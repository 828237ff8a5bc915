"""Operators and who runs them: one file for each operator, and `dispatch`, which alone chooses."""
