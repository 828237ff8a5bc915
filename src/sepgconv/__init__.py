"""Separable group-equivariant convolutions for PyTorch.

`group` names a symmetry, `nn` holds the layers, `functional` their functions, `create_model` the networks of the paper,
`save` and `load` their storage, `analysis` their cost, exactness and redundancy. `sepgconv.convert`, which makes other
networks of networks, is imported on first use, as are `sepgconv.interop`, `sepgconv.data`, `sepgconv.tasks` and
`sepgconv.cli`, of which the last three need the extra "train".
"""

import importlib
from types import ModuleType

from sepgconv import analysis, functional, inference, models, nn, symmetry
from sepgconv._allocator import tune_allocator
from sepgconv.analysis import explain
from sepgconv.inference import compile_for_inference
from sepgconv.models import create_model, list_models, load, save
from sepgconv.symmetry import FiniteGroup, group

__version__ = "0.1.0"

__all__ = [
    "FiniteGroup",
    "analysis",
    "compile_for_inference",
    "create_model",
    "explain",
    "functional",
    "group",
    "inference",
    "list_models",
    "load",
    "models",
    "nn",
    "save",
    "symmetry",
    "tune_allocator",
]


# The last three are old names.
_ON_FIRST_USE = ("cli", "convert", "data", "interop", "tasks", "testing", "groups", "report", "training")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_FIRST_USE})


def __getattr__(name: str) -> ModuleType:
    if name in _ON_FIRST_USE:
        return importlib.import_module(f"sepgconv.{name}")
    raise AttributeError(f"module 'sepgconv' has no attribute {name!r}")
