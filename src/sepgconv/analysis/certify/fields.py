"""Geometric tensors of e2cnn and escnn: recognised by their attributes, so that neither library is imported."""

import itertools
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv._gspaces import match_elements
from sepgconv._modules import home
from sepgconv.analysis.certify.actions import Action
from sepgconv.functional import act
from sepgconv.symmetry import FiniteGroup


def is_field(value: object) -> bool:
    """Return whether a value is a `GeometricTensor`: a tensor with a field type."""
    return (
        type(value).__name__ == "GeometricTensor"
        and isinstance(getattr(value, "tensor", None), Tensor)
        and hasattr(getattr(value, "type", None), "gspace")
    )


def is_of_fields(module: nn.Module) -> bool:
    """Return whether a module is of e2cnn or escnn."""
    return home(type(module)) in ("e2cnn", "escnn")


def wrap(model: nn.Module, x: Tensor) -> Any:
    """Return the input as the model takes it: as a geometric tensor where its class is of e2cnn or escnn.

    Args:
        model: a network.
        x: (batch, channels, height, width).
    """
    if not is_of_fields(model) or not hasattr(model, "in_type"):
        return x
    return sys.modules[f"{home(type(model))}.nn"].GeometricTensor(x, model.in_type)


def field_action(group: FiniteGroup, field_type: Any) -> Action | None:
    """Return how a group moves a geometric tensor, or None if the field type does not have all its elements.

    Args:
        group: the group.
        field_type: of e2cnn or escnn.
    """
    matching = match_elements(field_type.gspace, group)
    if matching is None:
        return None
    # Fields of one kind that stand side by side are mixed by one small matrix.
    runs = [
        (representation, len(list(fields)))
        for representation, fields in itertools.groupby(field_type.representations, key=lambda one: one)
    ]
    matrices = [
        [torch.as_tensor(one(element), dtype=torch.float64) for one, _ in runs] for element in matching.elements
    ]
    sizes = [count * len(matrix) for (_, count), matrix in zip(runs, matrices[0], strict=True)]

    def move(g: int, x: Tensor) -> Tensor:
        return (
            act(group, g, _mix(x.split(sizes, 1), matrices[g])) if x.ndim == 4 else _mix(x.split(sizes, 1), matrices[g])
        )

    scalar_only = all(len(matrix) == 1 for matrix in matrices[0])
    return Action(f"{'scalar ' if scalar_only else ''}fields of {field_type.gspace.name}", move, natural=True)


def _mix(runs: Sequence[Tensor], matrices: Sequence[Tensor]) -> Tensor:
    mixed = [
        torch.einsum("oi,bfi...->bfo...", matrix, run.unflatten(1, (-1, len(matrix)))).flatten(1, 2)
        for run, matrix in zip(runs, matrices, strict=True)
    ]
    return torch.cat(mixed, 1)
