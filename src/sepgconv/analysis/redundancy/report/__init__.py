"""Findings as pages for people: one HTML file with its pictures inside. Needs the extra "train"."""

from sepgconv.analysis.redundancy.report.page import render_redundancy

__all__ = ["render_redundancy"]
