"""Fixed splits: cuts and folds, balanced over the classes, that depend on a seed and on nothing else.

Images of one group (a patient, a slide) are alike, so they go into one part: a network that was trained on some of them
would know the others.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

Indices = Int[ndarray, "_"]

_PASSES = 20  # over all groups, to move those that balance better elsewhere; it ends by itself after a few


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


def stratified_folds(labels: Int[ndarray, " n"], folds: int, seed: int) -> list[Indices]:
    """Deal a labelled set into folds at random, class by class; sizes of classes and of folds differ by one at most.

    Args:
        labels: the class of every image.
        folds: how many.
        seed: seed of the choice.

    Returns:
        Ascending indices of every fold.
    """
    generator = np.random.default_rng(seed)
    dealt = [
        members[permutation(len(members), generator)]
        for members in (np.flatnonzero(labels == label) for label in np.unique(labels))
    ]
    order = np.concatenate(dealt)  # one class after the other: the next begins where the one before it ended
    return [np.sort(order[fold::folds]) for fold in range(folds)]


def group_cut(
    labels: Int[ndarray, " n"], groups: Shaped[ndarray, " n"], fractions: Sequence[float], seed: int
) -> list[Indices]:
    """Cut parts off a labelled set so that all images of a group are in one part.

    The shares that the parts have of each class come as near to `fractions` as whole groups allow: the groups, the
    largest first and those of one size in a random order, go where the sum of squared deviations falls most; then
    single groups move while that sum falls.

    Args:
        labels: the class of every image.
        groups: the group of every image.
        fractions: share of each part to cut off.
        seed: seed of the choice.

    Returns:
        Ascending indices: first the rest, then the parts in the order of `fractions`. No part is empty.

    Raises:
        ValueError: fewer groups than parts.
    """
    return _divided(labels, groups, [1 - sum(fractions), *fractions], seed)


def group_folds(labels: Int[ndarray, " n"], groups: Shaped[ndarray, " n"], folds: int, seed: int) -> list[Indices]:
    """Deal a labelled set into folds so that all images of a group are in one fold, balanced as `group_cut` says.

    Args:
        labels: the class of every image.
        groups: the group of every image.
        folds: how many.
        seed: seed of the choice.

    Returns:
        Ascending indices of every fold, none of which is empty.

    Raises:
        ValueError: fewer groups than folds.
    """
    return _divided(labels, groups, [1 / folds] * folds, seed)


def _divided(
    labels: Int[ndarray, " n"], groups: Shaped[ndarray, " n"], shares: Sequence[float], seed: int
) -> list[Indices]:
    names, group_of = np.unique(groups, return_inverse=True)
    if len(names) < len(shares):
        raise ValueError(f"{len(names)} groups cannot be divided into {len(shares)} parts")
    classes, class_of = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (group_of, class_of), 1)
    # Besides the classes, the images as a whole: a part without a rare class should not be small for it.
    weights = np.column_stack((counts / counts.sum(0), counts.sum(1) / counts.sum()))
    part_of_group = _balanced(weights, np.array(shares), np.random.default_rng(seed))
    return [np.flatnonzero(part_of_group[group_of] == part) for part in range(len(shares))]


def _balanced(
    weights: Float[ndarray, "groups columns"], shares: Float[ndarray, " parts"], generator: np.random.Generator
) -> Int[ndarray, " groups"]:
    """Return the part of every group, such that the weights of the parts are near the shares in every column."""
    shuffled = permutation(len(weights), generator)
    order = shuffled[np.argsort(-weights[shuffled].max(1), kind="stable")]
    part = np.full(len(weights), -1)
    excess = np.repeat(-shares[:, None], weights.shape[1], axis=1)  # what each part has beyond its share
    members = np.zeros(len(shares), int)
    for done, group in enumerate(order):
        growth = _growth(excess, weights[group])
        if len(order) - done <= int((members == 0).sum()):  # the last ones fill the parts that are empty
            growth = np.where(members == 0, growth, np.inf)
        chosen = int(growth.argmin())
        part[group], excess[chosen], members[chosen] = chosen, excess[chosen] + weights[group], members[chosen] + 1
    for _ in range(_PASSES):
        moved = False
        for group in order:
            now = part[group]
            if members[now] == 1:
                continue
            excess[now] -= weights[group]
            growth = _growth(excess, weights[group])
            best = int(growth.argmin())
            chosen = best if growth[best] < growth[now] - 1e-12 else now
            excess[chosen] += weights[group]
            members[now] -= 1
            members[chosen] += 1
            part[group], moved = chosen, moved or chosen != now
        if not moved:
            break
    return part


def _growth(excess: Float[ndarray, "parts columns"], weight: Float[ndarray, " columns"]) -> Float[ndarray, " parts"]:
    """Return by how much the sum of squares grows with a group in each of the parts."""
    return ((excess + weight) ** 2 - excess**2).sum(1)
