"""Targets as text: what a list of images says of each."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from sepgconv.data.column import Column

SEPARATOR = "|"  # between several labels, and between several numbers, of one image


def target_texts(targets: Shaped[Tensor, "n ..."] | Column, classes: Sequence[str]) -> list[str]:
    """Return the target of each image: its class, its labels or its numbers; "" for a mask.

    Args:
        targets: int64 (n,) indices of classes; floats (n,) or (n, k): numbers, or 1 for each label that an image has.
        classes: names of classes or labels; () for numbers.

    Example:
        >>> import torch
        >>> target_texts(torch.tensor([1, 0]), ("cat", "dog"))
        ['dog', 'cat']
        >>> target_texts(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), ("cat", "dog")), target_texts(torch.tensor([0.5]), ())
        (['cat|dog', 'dog'], ['0.5'])
    """
    if not isinstance(targets, Tensor) or targets.ndim > 2 or (targets.ndim == 2 and not targets.is_floating_point()):
        return [""] * len(targets)
    if not targets.is_floating_point():
        return [str(classes[label]) for label in targets.tolist()]
    rows = targets.reshape(len(targets), -1).numpy()
    if classes:
        return [SEPARATOR.join(name for name, value in zip(classes, row, strict=True) if value) for row in rows]
    return [SEPARATOR.join(str(np.format_float_positional(value, trim="-")) for value in row) for row in rows]
