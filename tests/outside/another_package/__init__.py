"""A package that is not ours: importing it registers a group, a layer, a model family, a data set and a task.

It uses public names of the library only, and changes nothing in it.
"""

from another_package import data, family, group, layer, task

__all__ = ["data", "family", "group", "layer", "task"]
