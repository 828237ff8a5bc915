"""Every group is a group, an immutable value, and represented by its matrices; anything else is refused."""

import copy
import dataclasses
import itertools
import pickle

import numpy as np
import pytest

from sepgconv.symmetry import C2, C4, D1, FiniteGroup
from tests.covering import each


def elements(group):
    return range(group.order)


def test_group_axioms(group):
    table = group.table
    for a, b, c in itertools.product(elements(group), repeat=3):
        assert table[table[a][b]][c] == table[a][table[b][c]]
    for a in elements(group):
        assert table[0][a] == a == table[a][0]
        assert table[a][group.inverses[a]] == 0 == table[group.inverses[a]][a]
        assert sorted(table[a]) == list(elements(group)) == sorted(row[a] for row in table)


def test_matrices_represent_the_table_faithfully(group):
    matrices = np.array(group.matrices)
    assert matrices.shape == (group.order, 2, 2)
    assert np.issubdtype(matrices.dtype, np.integer)
    assert len(set(group.matrices)) == group.order
    assert np.array_equal(matrices[0], np.eye(2))
    for a, b in itertools.product(elements(group), repeat=2):
        assert np.array_equal(matrices[a] @ matrices[b], matrices[group.table[a][b]])


def test_quarter_turns_and_diagonal_mirrors_exchange_the_axes(group):
    assert group.exchanges_axes == (group.name in ("p4", "p4m", "cm", "cmm"))
    assert group.dimension == 2


def test_the_former_name_of_exchanges_axes_still_answers():
    with pytest.warns(DeprecationWarning, match="now called exchanges_axes"):
        assert C4.has_quarter_turns


@pytest.mark.parametrize("group", ["p4m"], indirect=True)
def test_is_immutable(group):
    for name, value in (("name", "other"), ("table", ()), ("anything", 1), ("order", 3)):
        with pytest.raises(AttributeError):
            setattr(group, name, value)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda group: pickle.loads(pickle.dumps(group))])
@pytest.mark.covering(1)
def test_copies_are_equal_and_hash_alike(group, make):
    twin = make(group)
    assert twin == group
    assert hash(twin) == hash(group)
    assert twin.name == group.name
    assert {group: "found"}[twin] == "found"


def test_groups_with_the_same_table_but_other_matrices_differ():
    assert C2.table == D1.table
    assert C2 != D1


@pytest.mark.parametrize("group", ["p4m"], indirect=True)
def test_repr_names_the_group(group):
    assert repr(group) == f"FiniteGroup({group.name!r}, order={group.order})"


def altered(**changes) -> FiniteGroup:
    return dataclasses.replace(C4, **changes)


IDENTITY, TURN, HALF, BACK = C4.matrices
# The identity is there, rows and columns permute, but (1 1) 2 = 2 and 1 (1 2) = 4: a loop, not a group.
LOOP = ((0, 1, 2, 3, 4), (1, 0, 3, 4, 2), (2, 4, 0, 1, 3), (3, 2, 4, 0, 1), (4, 3, 1, 2, 0))


@each(
    ("changes", "message"),
    [
        ({"table": ((0, 1, 2, 3), (1, 1, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2))}, "row of the Cayley table must permute"),
        ({"table": ((0, 1, 2, 3), (1, 2, 3), (2, 3, 0, 1), (3, 0, 1, 2))}, "row of the Cayley table must permute"),
        ({"table": ((1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2), (0, 1, 2, 3))}, "element 0 must be the identity"),
        ({"table": LOOP}, "not associative"),
        ({"matrices": (IDENTITY, TURN, HALF, ((1, 1), (0, 1)))}, "must be orthogonal"),
        ({"matrices": (IDENTITY, HALF, TURN, BACK)}, "the matrices do not multiply"),
        ({"matrices": (IDENTITY,)}, "the matrices do not multiply"),
        ({"irreps": C4.irreps[:2]}, "do not span"),
        ({"irreps": (*C4.irreps, C4.irreps[0])}, "do not span"),
        ({"irreps": C2.irreps}, "irrep A do not multiply"),
        ({"irreps": ()}, "irreps"),
        ({"table": (), "matrices": (), "irreps": ()}, "Cayley table"),
    ],
)
def test_refuses_what_is_no_group(changes, message):
    with pytest.raises(ValueError, match=message):
        altered(**changes)
