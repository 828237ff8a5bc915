"""Ordinary CNNs rebuilt with layers on a group: tracing, rules, the search for widths, assembling."""
