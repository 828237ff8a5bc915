"""Redundancy reports as one HTML file with its images inside. Needs the extra "train"."""

from sepgconv.analysis.redundancy.report.page import render_redundancy

__all__ = ["render_redundancy"]
