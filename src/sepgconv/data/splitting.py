"""Fixed splits: permutations and class-balanced cuts that depend on a seed and on nothing else."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

Indices = Int[ndarray, "_"]


def permutation(n: int, generator: np.random.Generator) -> Int[ndarray, "{n}"]:
    """Return a random order of 0..n-1.

    It sorts uniform doubles, because NumPy may change `Generator.permutation` between releases, while the doubles of
    PCG64 stay: the splits must be the same for everybody.
    """
    return np.argsort(generator.random(n), kind="stable")


def stratified_cut(labels: Int[ndarray, " n"], fractions: Sequence[float], seed: int) -> list[Indices]:
    """Cut parts off a labelled set at random, class by class, so that each part has every class in proportion.

    Each part takes `round(fraction * images of the class)` images of a class, and at least one if the class has an
    image for every part and one more; the rest stays.

    Args:
        labels: the class of every image.
        fractions: share of each part to cut off.
        seed: seed of the choice.

    Returns:
        Ascending indices: first the rest, then the parts in the order of `fractions`.
    """
    generator = np.random.default_rng(seed)
    chosen: list[list[Indices]] = [[] for _ in range(1 + len(fractions))]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[permutation(len(members), generator)]
        start = 0
        for part, fraction in zip(chosen[1:], fractions, strict=True):
            count = max(1, round(fraction * len(members))) if len(members) > len(fractions) else 0
            part.append(members[start : start + count])
            start += count
        chosen[0].append(members[start:])
    return [np.sort(np.concatenate(part)) for part in chosen]
