"""What timm imports of torchvision, without torchvision: its compiled operators need the torch they were built with."""

import enum
import sys
import types
from importlib.machinery import ModuleSpec

from torch import nn


class FrozenBatchNorm2d(nn.Module):
    """Named by timm's checks of classes; no network here has one."""


class InterpolationMode(enum.Enum):
    """Resampling of images, which timm keeps tables of."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


class _Names(types.ModuleType):
    """A module that has every name asked of it, as a class of its own."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {})
        setattr(self, name, made)
        return made


def install():
    """Put the stand-in where timm looks for torchvision. Returns the names of the modules, to take them out again."""
    names = ["torchvision", *(f"torchvision.{part}" for part in (
        "datasets", "models", "models.feature_extraction", "ops", "ops.misc", "transforms", "transforms.functional",
        "utils",
    ))]  # fmt: skip
    for name in names:
        module = _Names(name)
        module.__path__ = []
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        sys.modules[name] = module
    for name in names[1:]:
        parent, _, child = name.rpartition(".")
        setattr(sys.modules[parent], child, sys.modules[name])
    sys.modules["torchvision.ops.misc"].FrozenBatchNorm2d = FrozenBatchNorm2d
    sys.modules["torchvision.transforms.functional"].InterpolationMode = InterpolationMode
    sys.modules["torchvision.transforms"].InterpolationMode = InterpolationMode
    return names
