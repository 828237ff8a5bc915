"""Steerable kernels: weights turn exactly, filters are the best ones there are, and the same ones everywhere."""

import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
import torch

import sepgconv
from sepgconv.symmetry import KernelBasis, PixelBasis, SteerableBasis, circular_filters, kernel_basis
from sepgconv.symmetry.basis import kernel_energy
from sepgconv.symmetry.circular_filters import optimal_filters
from sepgconv.symmetry.steerable import BAND, TOLERANCE
from sepgconv.symmetry.waves import RADII, Waves
from tests.covering import each

DIMENSIONS = {1: 1, 2: 3, 3: 6, 4: 10, 5: 15, 6: 21, 7: 30, 8: 40, 9: 51}
TOLERANCES = (0.003, 0.01, 0.1)


def basis(name, side, family="optimal", **options):
    return SteerableBasis(sepgconv.group(name), (side, side), family, **options)


def turned_weights(made, matrix):
    """D, (n, n): the weights of the filters that an element moves, from the definition.

    Weights (a, b) of a pair stand for Re((a - i b) K). A rotation by t multiplies K by exp(-i m t); a reflection that
    takes the direction to the right to the angle t takes K to exp(i m t) conj(K).
    """
    (m00, m01), (m10, m11) = matrix
    t = math.atan2(-m01, m11)  # where the direction to the right goes; y points down
    blocks = []
    for m in made.filters.frequencies:
        c, s = math.cos(m * t), math.sin(m * t)
        if m == 0:
            blocks.append(np.eye(1))
        elif m00 * m11 - m01 * m10 > 0:
            blocks.append(np.array([[c, -s], [s, c]]))
        else:
            blocks.append(np.array([[c, s], [s, -c]]))
    out, at = np.zeros(made.weight_shape * 2), 0
    for block in blocks:
        out[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return out


CASES = [("C3", 2), ("C8", 5), ("C16", 4), ("D8", 3), ("D6", 6), ("D5", 7), ("p4m", 5), ("cmm", 3), ("C8", 1)]
CASES = [(name, side, "optimal") for name, side in CASES] + [("C8", 5, "rings"), ("D12", 7, "rings")]


@each(("name", "side", "family"), CASES)
def test_weights_turn_exactly_and_grid_elements_move_pixels(name, side, family):
    made = basis(name, side, family)
    group, matrix = made.group, made.matrix  # (g, taps, n)
    assert isinstance(made, KernelBasis)
    assert matrix.shape == (group.order, side**2, *made.weight_shape)
    for g, h in itertools.product(range(group.order), repeat=2):
        moved = matrix[g] @ turned_weights(made, group.matrices[h])
        assert np.abs(moved - matrix[group.table[g][h]]).max() < 1e-13
    middle = (side - 1) / 2
    for g in group.grid_elements:
        for y, x in itertools.product(range(side), repeat=2):
            u, v = np.array(group.matrices[g]).T @ (y - middle, x - middle) + middle
            source = matrix[0, int(u) * side + int(v)]
            assert np.abs(matrix[g, y * side + x] - source).max() < 1e-14


@each(("name", "side"), [("C8", 3), ("D6", 4), ("D4", 3)])
def test_expand_is_the_matrix_times_the_weight_and_moves_poses(name, side):
    made = basis(name, side)
    group, matrix = made.group, torch.tensor(made.matrix)
    weight = torch.randn(2, group.order, *made.weight_shape, dtype=torch.float64)
    expected = torch.einsum("gtn,apn->apgt", matrix, weight).unflatten(-1, (side, side))
    assert torch.allclose(made.expand(weight), expected, atol=1e-13)
    found = made.expand(weight, over_poses=True)
    assert found.shape == (2, group.order, group.order, side, side)
    for h, g in itertools.product(range(group.order), repeat=2):
        (pose,) = (p for p in range(group.order) if group.table[h][p] == g)  # h^-1 g
        assert torch.allclose(found[:, h, g], expected[:, pose, h], atol=1e-13)
    assert not torch.allclose(found[:, 1, 1], expected[:, 1, 1])  # negative control: the poses do move


def test_the_definition_sees_a_rotation_the_other_way():
    """Negative control: the inverse of an element turns weights by other numbers."""
    made = basis("C8", 3)
    wrong = made.matrix[0] @ turned_weights(made, made.group.matrices[7])
    assert np.abs(wrong - made.matrix[1]).max() > 0.1


# What the filters are.


def share_outside(kernel, m, band, count=40):
    """The energy of a response that is not of frequency m, by Bessel functions; natural spectrum."""
    special = pytest.importorskip("scipy.special")
    side = len(kernel)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    radius, angle = np.hypot(y, x), np.arctan2(-y, x)
    energies = []
    for circle in (np.arange(RADII) + 0.5) / RADII * band * np.pi:
        orders = np.arange(-count, count + 1)
        # exp(i w.v) = sum_m i^m J_m(|w| |v|) exp(i m (angle of w - angle of v))
        terms = special.jv(orders[:, None, None], circle * radius) * np.exp(-1j * orders[:, None, None] * angle)
        energies.append(np.abs((kernel * terms).sum((1, 2))) ** 2 / circle)
    total = np.sum(energies, 0)
    return 1 - total[count + m] / total.sum()


@each(("side", "tolerance", "band"), [(3, 0.01, 0.75), (4, 0.1, 0.5), (5, 0.01, 0.75), (6, 0.003, 1.0)])
def test_each_filter_has_its_angular_frequency(side, tolerance, band):
    found = optimal_filters(side, tolerance, band)
    for m, kernel, outside in zip(found.frequencies, found.filters, found.outside, strict=True):
        assert share_outside(kernel, m, band) == pytest.approx(outside, abs=1e-9)
        assert outside < tolerance
        assert np.linalg.norm(kernel) == pytest.approx(1 if m == 0 else math.sqrt(2))
        assert np.array_equal(kernel[::-1], kernel.conj())
        # Negative control: it has not the next one.
        assert share_outside(kernel, m + 1, band) > 0.99


def test_there_are_as_many_filters_as_written_and_the_frequencies_have_no_gaps():
    found = {side: optimal_filters(side, TOLERANCE, BAND) for side in DIMENSIONS}
    assert {side: filters.dimension for side, filters in found.items()} == DIMENSIONS
    for filters in found.values():
        assert list(filters.frequencies) == sorted(filters.frequencies)
        assert set(filters.frequencies) == set(range(max(filters.frequencies) + 1))
    assert [optimal_filters(5, tolerance, BAND).dimension for tolerance in TOLERANCES] == [13, 15, 17]


def test_the_side_of_1_and_the_first_derivative_are_known():
    assert optimal_filters(1, 0.01, 0.75).filters.tolist() == [[[1]]]
    # m = 1 on 3 x 3 pixels is Scharr's stencil, 3 : 10, nearly; the first of its large pixels is positive.
    found = optimal_filters(3, 0.01, 0.75)
    (derivative,) = (kernel for m, kernel in zip(found.frequencies, found.filters, strict=True) if m == 1)
    assert (derivative.real / derivative.real.max()).round(3)[:, 0].tolist() == [0.324, 1, 0.324]


def same_spans(one, other):
    """The sine of the largest angle between the spans of rows."""
    q, r = (np.linalg.qr(rows.T)[0] for rows in (one, other))
    return np.linalg.norm(q - r @ (r.T @ q), 2) if q.shape == r.shape else 1.0


@pytest.mark.parametrize("side", [3, 5, 7])
def test_rings_span_the_filters_of_e2cnn(side):
    pytest.importorskip("e2cnn")
    import e2cnn.gspaces as gspaces
    import e2cnn.nn as enn

    warnings.filterwarnings("ignore", category=UserWarning, module="e2cnn")
    space = gspaces.Rot2dOnR2(8)
    trivial, regular = (enn.FieldType(space, [r]) for r in (space.trivial_repr, space.regular_repr))
    layer = enn.R2Conv(trivial, regular, side, bias=False).double()
    weights = torch.eye(layer.weights.numel(), dtype=torch.float64)
    with torch.no_grad():
        theirs = np.stack([layer.basisexpansion(weight)[0, 0].flatten().numpy() for weight in weights])
    theirs = np.linalg.svd(theirs)[2][: np.linalg.matrix_rank(theirs, tol=1e-6)]
    ours = basis("C8", side, "rings")
    assert ours.weight_shape == ({3: 6, 5: 11, 7: 18}[side],)
    assert same_spans(ours.matrix[0].T, theirs) < 1e-6
    assert same_spans(basis("C8", side).matrix[0].T, theirs) > 0.1  # negative control: the optimal ones


# The same filters everywhere: whatever the eigenvectors of the linear algebra are.

EIGH = np.linalg.eigh


def shuffled(matrix):
    """Eigenvectors with other signs and, where eigenvalues are equal to rounding, others of the same space."""
    values, vectors = EIGH(matrix)
    rng, scale = np.random.default_rng(1), np.abs(values).max()
    starts = [0, *(np.flatnonzero(np.diff(values) > 1e-12 * scale) + 1), len(values)]
    for start, stop in itertools.pairwise(starts):
        mixed = np.linalg.qr(rng.normal(size=(stop - start,) * 2))[0]
        vectors[:, start:stop] = vectors[:, start:stop] @ mixed * rng.choice([-1, 1])
    return values, vectors


def of_scipy(driver):
    def solve(matrix):
        return pytest.importorskip("scipy.linalg").eigh(matrix, driver=driver)

    return solve


SOLVERS = {"shuffled": shuffled, **{driver: of_scipy(driver) for driver in ("ev", "evr", "evx")}}


def filters_by(monkeypatch, solver, side, tolerance, band=BAND):
    with monkeypatch.context() as patch:
        patch.setattr(np.linalg, "eigh", solver)
        return optimal_filters.__wrapped__(side, tolerance, band)


@pytest.mark.parametrize("solver", SOLVERS)
def test_filters_do_not_depend_on_the_eigenvectors_of_a_library(monkeypatch, solver):
    for side, tolerance in itertools.product(range(1, 10), TOLERANCES):
        expected = optimal_filters(side, tolerance, BAND)
        found = filters_by(monkeypatch, SOLVERS[solver], side, tolerance)
        assert found.frequencies == expected.frequencies, (side, tolerance)
        assert np.abs(found.filters - expected.filters).max(initial=0) < 1e-9, (side, tolerance)


def test_filters_do_not_depend_on_the_last_digits_of_a_machine(monkeypatch):
    """Every energy is off by some units in the last place, as another order of summation makes it."""
    rng, energy = np.random.default_rng(2), Waves.energy

    def noisy(waves, responses):
        found = energy(waves, responses)
        noise = rng.normal(size=found.shape) * 1e-15 * np.abs(found).max()
        return found + noise + noise.T

    expected = {case: optimal_filters(*case, BAND) for case in itertools.product((2, 3, 4, 5, 7, 9, 11), TOLERANCES)}
    monkeypatch.setattr(Waves, "energy", noisy)
    monkeypatch.setattr(circular_filters, "_spaces", circular_filters._spaces.__wrapped__)

    def differences():
        for case, filters in expected.items():
            found = optimal_filters.__wrapped__(*case, BAND)
            same = found.frequencies == filters.frequencies
            yield np.abs(found.filters - filters.filters).max() if same else 1.0

    assert max(differences()) < 1e-7
    # Negative control: without noise in the eigenproblem, filters that hardly respond would change.
    monkeypatch.setattr(circular_filters, "NOISE", 1e-12)
    expected = {(11, 0.01): optimal_filters.__wrapped__(11, 0.01, BAND)}
    assert max(differences()) > 1e-6


def test_without_the_written_rule_they_would(monkeypatch):
    """Negative control: eigenvectors as they come."""
    monkeypatch.setattr(circular_filters, "_sign", lambda kernel: 1)
    found = [filters_by(monkeypatch, solver, 5, 0.01).filters for solver in (EIGH, shuffled)]
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_no_choice_hangs_by_a_hair(monkeypatch):
    """With limits that are a little higher or lower, the filters are the same ones, for sides of 1 to 15 pixels."""
    for side, tolerance in itertools.product((*range(1, 12), 13, 15), TOLERANCES):
        expected = optimal_filters(side, tolerance, BAND).frequencies
        for factor in (0.999, 1.001):
            with monkeypatch.context() as patch:
                patch.setattr(circular_filters, "LEAST_NEW", circular_filters.LEAST_NEW * factor)
                found = optimal_filters.__wrapped__(side, tolerance * factor, BAND).frequencies
            assert found == expected, (side, tolerance, factor)


# The basis as a value.


def test_project_finds_the_weights_again_and_the_nearest_filter():
    for family, side in (("optimal", 4), ("optimal", 5), ("rings", 5)):
        made = basis("D8", side, family)
        weight = torch.randn(2, 3, *made.weight_shape, dtype=torch.float64)
        assert torch.allclose(made.project(made.expand(weight)[..., 0, :, :]), weight)
        kernels = torch.randn(2, side, side, dtype=torch.float64)
        rest = kernels - made.expand(made.project(kernels))[:, 0]
        assert torch.allclose(made.project(rest), torch.zeros(1, dtype=torch.float64), atol=1e-12)
    with pytest.raises(ValueError, match=r"project: expected kernels of shape \(\.\.\., 5, 5\), got \(2, 3, 3\)"):
        made.project(torch.zeros(2, 3, 3))


@each("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_precision_is_that_of_the_weights(dtype):
    made, weight = basis("C8", 5), torch.randn(4, 15, dtype=torch.float64).to(dtype)
    exact = torch.einsum("gtn,an->agt", torch.tensor(made.matrix), weight.double()).unflatten(-1, (5, 5))
    found = made.expand(weight)
    assert found.dtype == dtype
    # Rounded once, not once for each filter of the sum.
    assert (found - exact).abs().max() <= 1.1 * torch.finfo(dtype).eps * exact.abs().max()
    assert made.project(found[:, 0]).dtype == dtype
    assert torch.allclose(made.project(found[:, 0]), weight, atol=16 * torch.finfo(dtype).eps)


@each(("name", "side", "family"), [*CASES, ("D16", 7, "optimal"), ("C64", 3, "optimal")])
def test_independent_weights_give_the_same_variance_at_every_pose(name, side, family):
    """White images through filters of independent weights: the weights count as many pixels as they are."""
    made = basis(name, side, family)
    variances = (made.matrix**2).sum((1, 2))
    assert np.abs(variances - made.weight_shape[0]).max() < 1e-12 * side**2
    assert kernel_energy(made) == pytest.approx(made.weight_shape[0])


@each(
    ("name", "side", "family"), [("C8", 5, "optimal"), ("D6", 4, "optimal"), ("C3", 2, "optimal"), ("C16", 3, "rings")]
)
def test_layers_begin_with_the_variance_of_he_et_al(name, side, family):
    """E[y^2] = 2 E[x^2] before a ReLU, through the basis and both factors."""
    maps = torch.randn(4, 24, sepgconv.group(name).order, side + 5, side + 5)
    for layer, x in (
        (sepgconv.nn.LiftingConv2d(24, 96, side, name, basis=family, bias=False), maps[:, :, 0]),
        (sepgconv.nn.GroupConv2d(24, 96, side, name, basis=family, bias=False), maps),
        (sepgconv.nn.SeparableGroupConv2d(24, 96, side, name, basis=family, bias=False), maps),
    ):
        with torch.no_grad():
            assert layer(x).square().mean() == pytest.approx(2, rel=0.2), type(layer).__name__


@pytest.mark.usefixtures("unchecked")
def test_it_is_a_value():
    made = SteerableBasis(sepgconv.group("C8"), [5, 5], tolerance=0.1)
    assert made == basis("C8", 5, tolerance=0.1) == pickle.loads(pickle.dumps(made))
    assert made != basis("C8", 5)
    assert len({made, basis("C8", 5), basis("C8", 5, "rings"), basis("D4", 5), basis("p4m", 5)}) == 4


@pytest.mark.usefixtures("unchecked")
@each(
    ("options", "sentence"),
    [
        ({"size": (3, 5)}, "a steerable kernel is square, with sides of 1 to 31 pixels, got 3 x 5"),
        ({"size": (3,)}, "is square, .* got 3"),
        ({"size": (0, 0)}, "got 0 x 0"),
        ({"size": (33, 33)}, "got 33 x 33"),
        ({"tolerance": 0}, "tolerance must be above 0 and below 1, got 0"),
        ({"tolerance": 1e-9}, "no kernel of 3 x 3 pixels has less than 1e-09 of its energy at other"),
        ({"tolerance": math.nan}, "tolerance must be above 0 and below 1, got nan"),
        ({"band": 1.01}, r"band must be above 0 and at most 1 \(in units of pi per pixel\), got 1.01"),
        ({"family": "ring"}, "unknown basis 'ring'; did you mean 'rings'"),
        ({"family": "rings", "size": (4, 4)}, 'basis="rings" needs an odd kernel_size, got 4'),
    ],
)
def test_wrong_arguments_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        SteerableBasis(**{"group": sepgconv.group("C8"), "size": (3, 3), **options})


@pytest.mark.usefixtures("unchecked")
def test_the_kind_of_kernel_is_chosen_by_name():
    p4, eighths, size = sepgconv.group("p4"), sepgconv.group("C8"), (3, 3)
    assert kernel_basis(p4, size) == PixelBasis(p4, size)
    assert kernel_basis(p4, size, "steerable") == SteerableBasis(p4, size) == kernel_basis(p4, size, basis="optimal")
    assert kernel_basis(eighths, size) == SteerableBasis(eighths, size)
    assert kernel_basis(eighths, size, basis="rings") == SteerableBasis(eighths, size, "rings")
    mine = SteerableBasis(eighths, size, tolerance=0.1)
    assert kernel_basis(eighths, size, "steerable", mine) is mine
    for arguments, sentence in [
        ((eighths, size, "pixel"), "C8 has elements that do not take pixels to pixels"),
        ((eighths, size, "pixels"), "unknown kernel 'pixels'; did you mean 'pixel'"),
        ((p4, size, "pixel", "rings"), "basis='rings' is one of steerable kernels; leave it out"),
        ((p4, size, "pixel", mine), "the basis is that of C8"),
        ((eighths, size, "pixel", mine), "kernel='pixel' and a SteerableBasis contradict each other"),
        ((p4, size, "steerable", PixelBasis(p4, size)), "and a PixelBasis contradict each other"),
        ((eighths, size, "auto", "ringz"), "unknown basis 'ringz'"),
        ((eighths, size, "auto", 5), "basis must be 'optimal' or 'rings' or a KernelBasis, got 5"),
        ((eighths, (3, 5)), "kernel_basis: a steerable kernel is square"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            kernel_basis(*arguments)
