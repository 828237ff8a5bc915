"""The butterflies of a group: found from its table alone, one block for every irrep, whatever the order of elements."""

import dataclasses

import numpy as np
import pytest

import sepgconv
from sepgconv.symmetry import D4, FiniteGroup, GroupFFT, Irrep, block_tables
from sepgconv.symmetry.group_fft import find_group_fft, runs
from tests.covering import each, named

# theory.md, Mixing in irreps. (levels, blocks as (copies, length), multiplications, additions)
FORMS = {
    "p1": ((), ((1, 1),), 1, 0),
    "p2": ((True,), ((2, 1),), 2, 2),
    "pm": ((True,), ((2, 1),), 2, 2),
    "pmm": ((True, True), ((4, 1),), 4, 8),
    "cm": ((True,), ((2, 1),), 2, 2),
    "cmm": ((True, True), ((4, 1),), 4, 8),
    "p4": ((False, True), ((1, 2), (2, 1)), 6, 6),
    "p4m": ((True, False, True), ((2, 2), (4, 1)), 12, 20),
}
# Groups whose irreps no butterflies take apart alone: even and odd numbers of turns, with mirrors and without.
TURNED = ("C3", "C5", "C6", "C8", "C12", "C16", "D3", "D5", "D6", "D8", "D16", "C64", "D64")


def transform(form, order):
    """The transform as one matrix: rows are poses' coefficients, block by block."""
    segments, finished = [np.eye(order)], []
    for further in form.levels:
        halves = [np.split(segment, 2) for segment in segments]
        sums, differences = ([op(*pair) for pair in halves] for op in (np.add, np.subtract))
        if further:
            segments = [half for pair in zip(sums, differences, strict=True) for half in pair]
        else:
            finished.append(differences)
            segments = sums
    rows = []
    for found, parts, turns in zip([*finished, segments], form.parts, form.turns, strict=True):
        if not parts:
            rows += found
            continue
        turned, start = [np.array(turn) @ segment for turn, segment in zip(turns, found, strict=True)], 0
        for length, count in runs(parts):  # blocks of one length lie together, segment by segment
            rows += [segment[start : start + length * count] for segment in turned]
            start += length * count
    return np.concatenate(rows)


def mixing(table, weights):
    """M[h, g] = w[h^-1 g]"""
    order = len(table)
    inverse = [row.index(0) for row in table]
    return np.array([[weights[table[inverse[h]][g]] for g in range(order)] for h in range(order)])


def diagonal(tables, weights):
    """The blocks on the diagonal of one matrix."""
    blocks = [block for table in tables for block in table @ weights]
    out = np.zeros((sum(len(b) for b in blocks),) * 2)
    at = 0
    for block in blocks:
        out[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return out


def shuffled(group, order):
    """The same group with its elements in another order."""
    place = {old: new for new, old in enumerate(order)}
    table = tuple(tuple(place[group.table[a][b]] for b in order) for a in order)
    irreps = tuple(Irrep(i.name, tuple(i.matrices[a] for a in order), i.multiplicity) for i in group.irreps)
    return FiniteGroup("shuffled", table, tuple(group.matrices[a] for a in order), irreps)


def assert_blocks_are_the_mixing(group):
    form = group.fft
    change = transform(form, group.order)
    rng = np.random.default_rng(0)
    for _ in range(3):
        weights = rng.integers(-9, 9, group.order).astype(float)  # integers: no rounding, and zero is zero
        dense = mixing(group.table, weights)
        blocks = diagonal(block_tables(group.table, form), weights)
        if any(form.parts):
            np.testing.assert_allclose(change.T @ blocks @ change, dense, rtol=0, atol=1e-11)
        else:
            assert np.array_equal(change.T @ blocks @ change, dense)
        # Outside of the blocks nothing was cut away: the whole of the transformed mixing is in them.
        inverse = np.linalg.inv(change)
        np.testing.assert_allclose(inverse.T @ dense @ inverse, blocks, rtol=0, atol=1e-11)


def test_levels_blocks_and_costs(group):
    levels, blocks, products, additions = FORMS[group.name]
    assert group.fft == GroupFFT(levels, blocks)
    assert (group.fft.products, group.fft.additions, group.fft.turned) == (products, additions, 0)
    assert find_group_fft(group.table) == group.fft


def test_mixing_is_exactly_block_diagonal(group):
    assert_blocks_are_the_mixing(group)


def test_the_check_sees_a_wrong_block(group):
    """Negative control: another entry of the tables is another mixing."""
    tables = [table.copy() for table in block_tables(group.table, group.fft)]
    tables[-1][-1, -1, -1, -1] += 1
    weights, change = np.arange(1.0, group.order + 1), transform(group.fft, group.order)
    wrong = change.T @ diagonal(tables, weights) @ change
    assert not np.array_equal(wrong, mixing(group.table, weights))


@each("name", TURNED)
def test_mixing_in_irreps_of_any_angle(name):
    """The blocks are the mixing, as small as the irreps allow, and those alone: theory.md, Mixing in irreps."""
    group = sepgconv.group(name)
    assert_blocks_are_the_mixing(group)
    turns, mirrored = int(name[1:]), name[0] == "D"
    planes, lines = (turns - 1) // 2, (2 - turns % 2) * (2 if mirrored else 1)
    assert group.fft.products == planes * (8 if mirrored else 4) + lines
    assert sum(copies * length for copies, length in group.fft.blocks) == group.order


def test_a_matrix_that_takes_nothing_apart_is_noticed():
    """Negative control: C8 by a matrix in which a row of one block is exchanged with one of another."""
    group = sepgconv.group("C8")
    form = group.fft
    assert (form.levels, form.segments, form.parts, form.turned) == ((), ((1, 8),), ((1, 1, 2, 2, 2),), 8)
    rows = list(form.turns[0][0])
    rows[3], rows[4] = rows[4], rows[3]
    wrong = GroupFFT(form.levels, form.segments, form.parts, ((tuple(rows),),))
    weights, change = np.arange(1.0, 9), transform(wrong, 8)
    blocks = diagonal(block_tables(group.table, wrong), weights)
    assert not np.allclose(change.T @ blocks @ change, mixing(group.table, weights), atol=0.1)


def test_blocks_are_those_of_the_irreps(group):
    """A real irrep of dimension d gives a block of d x d as often as it occurs."""
    lengths = sorted(irrep.dimension for irrep in group.irreps for _ in range(irrep.multiplicity))
    found = sorted(length for copies, length in group.fft.blocks for _ in range(copies))
    assert found == lengths


def test_blocks_of_one_irrep_are_the_same_up_to_a_turn(group):
    """They have the same singular values, and no others do."""
    weights = np.random.default_rng(1).normal(size=group.order)
    tables = block_tables(group.table, group.fft)
    values = {tuple(np.round(np.linalg.svd(b, compute_uv=False), 9)) for t in tables for b in t @ weights}
    assert len(values) == len(group.irreps)


@pytest.mark.parametrize("name", ["p4", "pmm", "p4m", "C6", "C8", "D3", "D8"])
def test_elements_in_another_order_give_the_same_mixing(name):
    """Fewer levels at worst, never other numbers."""
    for seed in range(12):
        with named(seed=seed):
            group = sepgconv.group(name)
            rest = np.random.default_rng(seed).permutation(np.arange(1, group.order))
            other = shuffled(group, [0, *(int(e) for e in rest)])
            assert group.fft.products <= other.fft.products <= group.order**2
            assert_blocks_are_the_mixing(other)


def test_some_order_of_elements_has_fewer_levels():
    """Negative control of the above: among the orders there are some that do not split as p4m does."""
    counts = set()
    for seed in range(12):
        rest = np.random.default_rng(seed).permutation(np.arange(1, 8))
        counts.add(find_group_fft(shuffled(D4, [0, *(int(e) for e in rest)]).table).levels)
    assert len(counts) > 1


def test_an_odd_number_of_elements_is_one_block_without_irreps():
    """A group of three turns, as in p3, has no halves; its irreps, which are not given here, take it apart."""
    table = tuple(tuple((a + b) % 3 for b in range(3)) for a in range(3))
    form = find_group_fft(table)
    assert form == GroupFFT((), ((1, 3),))
    assert (form.products, form.additions) == (9, 0)
    weights = np.arange(1.0, 4)
    assert np.array_equal(block_tables(table, form)[0][0] @ weights, mixing(table, weights))


def test_butterflies_belong_to_the_table_not_to_the_name():
    again = dataclasses.replace(D4, name="another name")
    assert (again, hash(again), again.fft) == (D4, hash(D4), D4.fft)
