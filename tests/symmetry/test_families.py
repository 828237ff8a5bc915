"""C_n and D_n for every n from 1 to 64: elements, irreps, the mixing in them, and names."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch

import sepgconv
from sepgconv.ops.mixing import mix
from sepgconv.symmetry import block_tables, element_names, list_groups, planar_group, register_group
from tests.covering import each, named

LARGEST = 64
EVERY = [f"{letter}{n}" for n in range(1, LARGEST + 1) for letter in "CD"]
# All small ones, and of the larger ones, whose tables are large, those of every kind: odd, even, prime, powers of two.
NAMES = [f"{letter}{n}" for n in (*range(1, 17), 24, 31, 45, 60, 63, LARGEST) for letter in "CD"]


def parts_of(name):
    """Whether there are mirrors, and the number of rotations."""
    return name[0] == "D", int(name[1:])


def right_goes_to(degrees):
    """Where a rotation by so many degrees, counter-clockwise on the screen, takes the pixel (y, x) = (0, 1)."""
    return np.array([-math.sin(math.radians(degrees)), math.cos(math.radians(degrees))])


@each("name", NAMES)
def test_element_m_n_plus_t_is_the_mirror_m_times_after_t_rotations(name):
    group, (mirrored, turns) = sepgconv.group(name), parts_of(name)
    assert (group.name, group.order, group.dimension) == (name, turns * (1 + mirrored), 2)
    matrices = np.array(group.matrices, dtype=float)
    for g in range(group.order):
        m, t = divmod(g, turns)
        # The columns are where the pixel below the middle and the one at the right of it go.
        right, down = right_goes_to(360 * t / turns), right_goes_to(360 * t / turns - 90)
        expected = np.diag([1, -1] if m else [1, 1]) @ np.stack([down, right], 1)
        assert np.abs(matrices[g] - expected).max() < 1e-14
        whole = 4 * t % turns == 0
        assert (g in group.grid_elements) == whole
        entries = [entry for row in group.matrices[g] for entry in row]
        assert all(isinstance(entry, int) == whole for entry in entries)
    assert group.keeps_grid == (turns in (1, 2, 4))
    # The table is the one of these matrices, of which no two are equal.
    rows = matrices.reshape(-1, 4)
    assert (rows @ rows.T + 3 * np.eye(group.order) < 2 - 1e-3).sum() == group.order * (group.order - 1)
    table = np.array(group.table)
    for g in range(group.order):
        assert np.abs(matrices[g] @ matrices - matrices[table[g]]).max() < 1e-13


@each("name", NAMES)
def test_irreps_are_all_and_irreducible_and_form_an_orthogonal_matrix(name):
    group, (mirrored, turns) = sepgconv.group(name), parts_of(name)
    even = turns % 2 == 0
    planes = (turns - 1) // 2
    names = [f"{letter}{digit}" for letter in ("A", "B")[: 1 + even] for digit in (("1", "2") if mirrored else ("",))]
    assert [irrep.name for irrep in group.irreps] == names + (
        ["E"] if planes == 1 else [f"E{k}" for k in range(1, planes + 1)]
    )
    squares = [group.table[g][g] for g in range(group.order)]
    generators = {turns if mirrored else 0, 1 % turns}
    characters = []
    for irrep in group.irreps:
        matrices = np.array(irrep.matrices, dtype=float)
        for g in generators:
            assert np.abs(matrices[g] @ matrices - matrices[list(group.table[g])]).max() < 1e-13
        chi = np.trace(matrices, axis1=1, axis2=2)
        commuting = irrep.dimension // irrep.multiplicity  # 1 of real type; 2 of complex type, as without mirrors
        assert commuting == (2 if irrep.dimension == 2 and not mirrored else 1)
        assert math.isclose(chi @ chi, commuting * group.order)
        assert math.isclose(chi[squares].sum(), {1: group.order, 2: 0}[commuting], abs_tol=1e-10)
        characters.append(chi)
    gram = np.array(characters) @ np.array(characters).T
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-10
    assert np.abs(group.fourier @ group.fourier.T - np.eye(group.order)).max() < 1e-13


def definition(group, w, x):
    """out[n, h] = sum_c sum_g w[n, c, h^-1 g] x[c, g]"""
    inverse, table = np.array(group.inverses), np.array(group.table)
    return np.einsum("nchg,cg->nh", w[:, :, table[inverse]], x)


def transformed(group, w, x):
    """The same by the transform of the group, as the layers run it, at a single position."""
    n, c, order = w.shape
    weights = []
    for (copies, length), table in zip(group.fft.blocks, block_tables(group.table, group.fft), strict=True):
        block = np.einsum("siju,ncu->sinjc", table, w).reshape(copies * length * n, length * c)
        weights.append(torch.tensor(block)[..., None, None])
    rows = torch.tensor(x.T.reshape(1, order * c, 1, 1)).contiguous(memory_format=torch.channels_last)
    out = mix(rows, weights, group.fft, order, group.fft.copies, in_place=False)
    return out.reshape(order, n).T.numpy()


@each("name", NAMES)
def test_mixing_in_irreps_takes_the_multiplications_of_theory_and_is_the_definition(name):
    group, (mirrored, turns) = sepgconv.group(name), parts_of(name)
    assert group.fft.products == (4 if mirrored else 2) * turns - (2 if turns % 2 == 0 else 1) * (1 + mirrored)
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(2, 3, group.order)), rng.normal(size=(3, group.order))
    expected = definition(group, w, x)
    assert np.abs(transformed(group, w, x) - expected).max() < 1e-12 * np.abs(w).sum()


def test_multiplications_in_examples():
    found = {name: sepgconv.group(name).fft.products for name in ("C3", "C4", "C6", "C8", "C16", "D4", "D6", "D8")}
    assert found == {"C3": 5, "C4": 6, "C6": 10, "C8": 14, "C16": 30, "D4": 12, "D6": 20, "D8": 28}


@each("name", ["C8", "D6", "C5"])
def test_the_definition_sees_a_wrong_block(name):
    """Negative control: other weights for one element, and poses in another order."""
    group = sepgconv.group(name)
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(2, 3, group.order)), rng.normal(size=(3, group.order))
    other = w.copy()
    other[..., -1] += 1e-6
    assert np.abs(transformed(group, other, x) - definition(group, w, x)).max() > 1e-8
    assert np.abs(transformed(group, w, x) - definition(group, w, np.roll(x, 1, 1))).max() > 1e-3


def test_every_name_is_a_group_of_its_own_and_one_value():
    groups = [sepgconv.group(name) for name in EVERY]
    assert len(set(groups)) == len(EVERY)
    for name, group in zip(EVERY, groups, strict=True):
        with named(name=name):
            assert sepgconv.group(name) is group is copy.copy(group) is copy.deepcopy(group)
            if group.order < 12:
                again = pickle.loads(pickle.dumps(group))
                assert (again, hash(again), again.name, again.fft) == (group, hash(group), name, group.fft)
    # The groups that keep the grid are the registered ones, under another name.
    assert all(sepgconv.group(name) == sepgconv.group(plane) for name, plane in [("C4", "p4"), ("D4", "p4m")])
    assert all(group.name not in EVERY for group in list_groups())


@pytest.mark.usefixtures("unchecked")
@each(
    ("name", "sentence"),
    [("C65", "C65: a group of the plane has 1 to 64 rotations, got 65"), ("D100", "D100: .* got 100"),
     *((name, "unknown group .*C{n}, D{n} with n from 1 to 64")
       for name in ("C0", "D0", "c8", "d8", "C08", "C8 ", " C8", "C8\n", "C-1", "C8.0", "C", "C٨", "", 8, None))],
)  # fmt: skip
def test_other_names_are_refused(name, sentence):
    with pytest.raises(ValueError, match=sentence):
        sepgconv.group(name)


def test_the_name_of_a_family_cannot_be_taken():
    with pytest.raises(ValueError, match="the name 'C8' stands for another group already"):
        register_group(planar_group("C8", turns=4))
    assert sepgconv.group("C8").order == 8


@pytest.mark.usefixtures("unchecked")
@each("turns", [0, -1, 65, 8.0, "8"])
def test_other_numbers_of_rotations_are_refused(turns):
    with pytest.raises(ValueError, match="mine: a group of the plane has 1 to 64 rotations"):
        planar_group("mine", turns=turns)


@each("name", NAMES)
def test_names_of_elements_say_what_their_matrices_do(name):
    group, (_, turns) = sepgconv.group(name), parts_of(name)
    names = element_names(group)
    assert len(set(names)) == group.order
    for g, (said, matrix) in enumerate(zip(names, group.matrices, strict=True)):
        if g in group.grid_elements:
            continue  # in words, tested with the groups that have no other elements
        verb, degrees = said.rsplit(" ", 1)
        degrees = float(degrees.rstrip("°"))
        matrix = np.array(matrix)
        # Four digits are given: half a unit of the last is at most 0.05 degrees.
        if g < turns:
            assert verb == "turn by"
            assert np.abs(matrix @ [0, 1] - right_goes_to(degrees)).max() < 1e-3
        else:
            assert verb == "mirror at the axis of"
            assert np.abs(matrix @ right_goes_to(degrees) - right_goes_to(degrees)).max() < 2e-3
