import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sepgconv.data.splitting import permutation, stratified_cut


def test_a_permutation_is_one_and_is_the_same_for_everybody():
    order = permutation(10, np.random.default_rng(0))
    assert order.tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]  # the committed splits depend on these
    assert sorted(permutation(1000, np.random.default_rng(1))) == list(range(1000))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(0, 3))
def test_a_stratified_cut_partitions_in_proportion(labels: list[int], seed: int):
    classes = np.array(labels)
    parts = stratified_cut(classes, [0.2, 0.1], seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert all((np.diff(part) > 0).all() for part in parts)
    for label in set(labels):
        total = labels.count(label)
        rest, first, second = [int((classes[part] == label).sum()) for part in parts]
        if total >= 3:
            assert (first, second) == (max(1, round(0.2 * total)), max(1, round(0.1 * total)))
        assert rest >= 1


def test_a_stratified_cut_depends_on_the_seed_alone():
    labels = np.arange(60) % 3
    first, again, other = (stratified_cut(labels, [0.25], seed)[1].tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("fractions", [[], [0.5]])
def test_small_classes_stay_whole(fractions: list[float]):
    parts = stratified_cut(np.array([0, 1]), fractions, 0)
    assert parts[0].tolist() == [0, 1]
    assert [len(part) for part in parts[1:]] == [0] * len(fractions)
