"""Irreps are irreducible orthogonal representations, and their Fourier matrix block-diagonalises correlations."""

import itertools

import numpy as np
import pytest

import sepgconv
from sepgconv.symmetry import fourier_matrix


def characters(irrep):
    return np.array([np.trace(np.array(matrix)) for matrix in irrep.matrices])


def test_irreps_are_orthogonal_representations(group):
    for irrep in group.irreps:
        matrices = np.array(irrep.matrices)
        assert matrices.shape == (group.order, irrep.dimension, irrep.dimension)
        for a, b in itertools.product(range(group.order), repeat=2):
            assert np.array_equal(matrices[a] @ matrices[b], matrices[group.table[a][b]])
            assert np.array_equal(matrices[a] @ matrices[a].T, np.eye(irrep.dimension))


def test_irreps_are_irreducible(group):
    """<chi, chi> is 1 and the Frobenius-Schur indicator 1 for real type, 2 and 0 for complex type."""
    for irrep in group.irreps:
        chi = characters(irrep)
        commutant = irrep.dimension // irrep.multiplicity
        squares = [group.table[g][g] for g in range(group.order)]
        assert chi @ chi == commutant * group.order
        assert chi[squares].sum() == {1: group.order, 2: 0}[commutant]


def test_irreps_are_different_and_complete(group):
    for one, other in itertools.combinations(group.irreps, 2):
        assert one.name != other.name
        assert characters(one) @ characters(other) == 0
    assert sum(irrep.dimension * irrep.multiplicity for irrep in group.irreps) == group.order


def test_names_tell_how_turns_and_mirrors_act(group):
    turns = next(
        (
            m
            for m in range(1, group.order)
            if group.matrices[m] == ((1, 0), (0, -1)) or group.matrices[m] == ((0, 1), (1, 0))
        ),
        group.order,
    )
    for irrep in (irrep for irrep in group.irreps if irrep.dimension == 1):
        turn = irrep.matrices[1 % turns][0][0]
        assert irrep.name[0] == {1: "A", -1: "B"}[turn]
        if turns == group.order:
            assert irrep.name in ("A", "B")
        else:
            assert irrep.name[1] == {1: "1", -1: "2"}[irrep.matrices[turns][0][0]]
    assert {irrep.name for irrep in group.irreps if irrep.dimension == 2} <= {"E"}


def test_fourier_matrix_is_orthogonal(group):
    assert np.array_equal(group.fourier, fourier_matrix(group.irreps))
    assert np.allclose(group.fourier @ group.fourier.T, np.eye(group.order), atol=1e-15)


def correlation(group, w):
    """The matrix of `out[h] = sum_g w[h^-1 g] x[g]`."""
    return np.array([[w[group.table[group.inverses[h]][g]] for g in range(group.order)] for h in range(group.order)])


@pytest.mark.parametrize(("name", "count"), [("p1", 1), ("p2", 2), ("p4", 6), ("pm", 2), ("pmm", 4), ("p4m", 12)])
def test_correlation_is_block_diagonal_in_the_irreps(name, count):
    """What is left to multiply is theory.md, Mixing in irreps: 6 instead of 16 on C4, 12 instead of 64 on D4."""
    group = sepgconv.group(name)
    w = np.random.default_rng(0).normal(size=group.order)
    hat = group.fourier @ correlation(group, w) @ group.fourier.T
    sizes = [irrep.dimension * irrep.multiplicity for irrep in group.irreps]
    block = np.repeat(np.arange(len(sizes)), sizes)
    assert np.abs(hat[block[:, None] != block]).max(initial=0) < 1e-14
    assert (np.abs(hat) > 1e-14).sum() == count
    assert (np.abs(correlation(group, w)) > 1e-14).sum() == group.order**2


def test_coefficients_are_the_first_columns_of_the_matrix_valued_transform(group):
    """And a correlation is `out^ = x^ w^T` in the full matrices `f^ = sum_g f(g) irrep(g)`."""
    w, x = np.random.default_rng(0).normal(size=(2, group.order))
    transforms = []
    for irrep in group.irreps:
        w_hat, x_hat, out_hat = (
            np.einsum("g,gij->ij", f, np.array(irrep.matrices)) for f in (w, x, correlation(group, w) @ x)
        )
        assert np.allclose(out_hat, x_hat @ w_hat.T, atol=1e-13)
        transforms.append(np.sqrt(irrep.dimension / group.order) * x_hat[:, : irrep.multiplicity].T.ravel())
    assert np.allclose(group.fourier @ x, np.concatenate(transforms), atol=1e-13)
