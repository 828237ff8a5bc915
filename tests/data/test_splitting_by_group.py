"""Cuts and folds by group: no group is divided, classes are balanced as groups allow, everybody gets the same."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray
from sklearn.model_selection import StratifiedGroupKFold

from sepgconv.data import SplitRule
from sepgconv.data.split_rule import strata_of
from sepgconv.data.splitting import group_cut, group_folds, stratified_folds


def patients(seed: int, *, groups: int = 30) -> tuple[ndarray, ndarray]:
    """Patients of 1 to 20 images, most of one class each."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 21, groups)
    group = np.repeat(np.arange(groups), sizes)
    label = np.where(generator.random(len(group)) < 0.8, group % 3, generator.integers(0, 3, len(group)))
    return label, group


def deviation(labels: ndarray, parts: list[ndarray], shares: list[float]) -> float:
    """The largest distance of a part's share of a class from the share that it should have."""
    return max(
        abs((labels[part] == label).sum() / (labels == label).sum() - share)
        for part, share in zip(parts, shares, strict=True)
        for label in np.unique(labels)
    )


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=30, max_size=120),
    st.integers(0, 3),
    st.booleans(),
)
def test_no_group_is_in_two_parts_and_no_part_is_empty(rows: list[tuple[int, int]], seed: int, folds: bool):
    labels, groups = map(np.array, zip(*rows, strict=True))
    number = len(np.unique(groups))
    if number < 3:
        with pytest.raises(ValueError, match=f"^{number} groups cannot be divided into 3 parts$"):
            group_cut(labels, groups, [0.15, 0.15], seed)
        return
    parts = group_folds(labels, groups, 3, seed) if folds else group_cut(labels, groups, [0.15, 0.15], seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert all(len(part) and (np.diff(part) > 0).all() for part in parts)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not set(groups[parts[first]]) & set(groups[parts[second]])


def test_groups_are_balanced_as_well_as_scikit_learn_balances_them():
    ours, theirs = 0.0, 0.0
    for seed in range(8):
        labels, groups = patients(seed)
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, groups)
        theirs += deviation(labels, [test for _, test in folds], [0.2] * 5)
        ours += deviation(labels, group_folds(labels, groups, 5, seed), [0.2] * 5)
        assert deviation(labels, group_cut(labels, groups, [0.15, 0.15], seed), [0.7, 0.15, 0.15]) < 0.06
    assert ours < theirs


def test_a_cut_by_group_is_as_near_as_any_division_of_few_groups():
    labels, groups = patients(1, groups=7)
    best = min(
        deviation(labels, [np.flatnonzero(np.array(places)[groups] == part) for part in range(3)], [0.5, 0.25, 0.25])
        for places in product(range(3), repeat=7)
    )
    assert deviation(labels, group_cut(labels, groups, [0.25, 0.25], 0), [0.5, 0.25, 0.25]) < best + 0.1


def test_folds_without_groups_deal_out_every_class():
    labels = np.array([0] * 11 + [1] * 7 + [2] * 5)
    folds = stratified_folds(labels, 4, 0)
    assert sorted(np.concatenate(folds)) == list(range(23))
    assert {len(fold) for fold in folds} == {5, 6}
    for label in range(3):
        counts = [int((labels[fold] == label).sum()) for fold in folds]
        assert max(counts) - min(counts) <= 1
    assert [fold.tolist() for fold in stratified_folds(labels, 4, 0)] == [fold.tolist() for fold in folds]
    assert stratified_folds(labels, 4, 1)[0].tolist() != folds[0].tolist()


@pytest.mark.parametrize("grouped", [False, True])
def test_every_image_is_in_the_test_part_of_one_fold(grouped: bool):
    labels, groups = patients(2)
    seen: list[int] = []
    for fold in range(1, 5):
        rule = SplitRule(folds=4, fold=fold)
        parts = rule.divide(labels, groups if grouped else None, ("validation", "test"))
        assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
        assert list(parts) == ["train", "validation", "test"]
        assert 0.08 < len(parts["validation"]) / (len(labels) - len(parts["test"])) < 0.22
        if grouped:
            assert not set(groups[parts["test"]]) & set(groups[parts["train"]])
            assert not set(groups[parts["validation"]]) & set(groups[parts["train"]])
        seen += parts["test"].tolist()
    assert sorted(seen) == list(range(len(labels)))


def test_splits_by_group_are_the_same_for_everybody():
    labels, groups = patients(0)
    cut = group_cut(labels, groups, [0.15, 0.15], 20210919)
    assert [np.unique(groups[part]).tolist() for part in cut[1:]] == [[1, 3, 7, 12, 17, 20, 23], [5, 8, 10, 16, 18, 24]]
    names = np.array([f"patient {group:02}" for group in groups])  # only what belongs together counts, not its name
    assert [part.tolist() for part in group_cut(labels, names, [0.15, 0.15], 20210919)] == [p.tolist() for p in cut]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"validation": 0.0}, "must be above 0 and leave images to learn from, got 0 and 0.15"),
        ({"validation": 0.5, "test": 0.5}, "got 0.5 and 0.5"),
        ({"folds": 1}, "folds must be 2 or more, got 1"),
        ({"fold": 2}, "fold=2 needs folds, the number of folds"),
        ({"folds": 3, "fold": 4}, "fold must be from 1 to 3, got 4"),
        ({"seed": -1}, "seed of a split must be 0 or more, got -1"),
    ],
)
def test_a_rule_that_is_none_is_an_error(values: dict[str, float], said: str):
    with pytest.raises(ValueError, match=said):
        SplitRule(**values)


def test_what_a_split_balances():
    assert strata_of(np.array([2, 0, 1])).tolist() == [2, 0, 1]
    assert strata_of(np.linspace(5, 0, 20).astype(np.float32)).tolist() == [1] * 10 + [0] * 10
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1], [1, 1, 0]], np.float32)
    assert strata_of(labels).tolist() == [1, 0, 3, 2, 1]  # the rarest label of each, and one more for none
    masks = np.zeros((4, 3, 3), np.int64)
    masks[:3, 1, 1], masks[1, 2, 2] = 5, 7
    assert strata_of(masks).tolist() == [1, 2, 1, 0]
