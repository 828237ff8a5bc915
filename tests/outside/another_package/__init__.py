"""A package that is not ours: it adds a group, a kernel basis, layers, a model family, a data set and a task.

It uses public names of the library only, and changes nothing in it.
"""

from another_package import basis, convolution, data, family, group, layer, task

__all__ = ["basis", "convolution", "data", "family", "group", "layer", "task"]
