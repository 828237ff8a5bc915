"""The error of filters off the pixel grid: against its definition as a loop, and against what was measured before."""

import math

import numpy as np
import pytest
import torch

import sepgconv
from sepgconv.symmetry import PixelBasis, SteerableBasis, filter_error, worst_filter_error
from sepgconv.symmetry.filter_error import error_forms
from sepgconv.symmetry.waves import RADII
from tests.covering import each

# Errors of random filters, |w| < 0.75 pi: at 45 degrees natural and white, at 22.5 degrees natural and white; the worst
# filter at 45 degrees. From a program of its own, written before the library had steerable kernels.
MEASURED = [
    (3, "rings", 6, (0.043, 0.140, 0.031, 0.100), 0.22),
    (3, "optimal", 6, (0.028, 0.075, 0.020, 0.055), 0.15),
    (5, "rings", 11, (0.040, 0.135, 0.030, 0.103), 0.24),
    (5, "optimal", 15, (0.012, 0.033, 0.012, 0.034), 0.13),
    (7, "rings", 18, (0.031, 0.102, 0.023, 0.077), 0.44),
    (7, "optimal", 30, (0.007, 0.019, 0.009, 0.024), 0.12),
]
# Of rings whose filters of m > 0 have the norm sqrt(1/2): natural and white at 45 degrees.
MEASURED_PAIRS = [(3, (0.030, 0.116)), (5, (0.026, 0.112)), (7, (0.018, 0.084))]


def basis(name, side, family="optimal"):
    return SteerableBasis(sepgconv.group(name), (side, side), family)


@each(("side", "family", "filters", "errors", "worst"), MEASURED)
def test_filters_have_the_errors_that_were_measured(side, family, filters, errors, worst):
    made = basis("C16", side, family)  # element 2: 45 degrees, element 1: 22.5
    assert made.weight_shape == (filters,)
    # Random filters of the span: their coordinates in an orthonormal basis are independent.
    _, triangle = np.linalg.qr(made.matrix[0])
    weight = torch.tensor(np.linalg.inv(triangle).T)
    found = [filter_error(made, g, weight, spectrum=spectrum) for g in (2, 1) for spectrum in ("natural", "white")]
    assert np.abs(np.array(found) - errors).max() < 0.0006
    assert abs(worst_filter_error(made, 2) - worst) < 0.006


@each(("side", "errors"), MEASURED_PAIRS)
def test_rings_with_other_norms_have_the_errors_that_were_measured(side, errors):
    made = basis("C8", side, "rings")
    norms = [norm for m in made.filters.frequencies for norm in ([1.0] if m == 0 else [0.5**0.5] * 2)]
    found = [filter_error(made, 1, torch.diag(torch.tensor(norms)), spectrum=name) for name in ("natural", "white")]
    assert np.abs(np.array(found) - errors).max() < 0.0006


def by_loops(kernels, moved, matrix, band, spectrum):
    """The definition: over 96 circles of waves, each at 80 angles."""
    side = kernels.shape[-1]
    pixels = np.array([(y - (side - 1) / 2, x - (side - 1) / 2) for y in range(side) for x in range(side)])
    off = whole = 0.0
    for step in range(RADII):
        radius = (step + 0.5) / RADII * band * math.pi
        share = radius * (1 / radius**2 if spectrum == "natural" else 1)
        for turn in range(80):
            wave = radius * np.array([math.sin(2 * math.pi * turn / 80), math.cos(2 * math.pi * turn / 80)])
            before = kernels.reshape(len(kernels), -1) @ np.exp(1j * pixels @ wave)
            after = moved.reshape(len(moved), -1) @ np.exp(1j * pixels @ (np.array(matrix) @ wave))
            off += share * (abs(after - before) ** 2).sum()
            whole += share * (abs(before) ** 2).sum()
    return math.sqrt(off / whole)


@each(
    ("name", "element", "side", "band", "spectrum"),
    [
        ("C8", 1, 5, 0.75, "natural"),
        ("D8", 11, 4, 0.5, "white"),
        ("C3", 2, 3, 1.0, "natural"),
        ("D4", 6, 4, 1.0, "white"),
    ],
)
def test_the_error_is_its_definition(name, element, side, band, spectrum):
    found = basis(name, side)
    weight = torch.randn(2, 3, *found.weight_shape, dtype=torch.float64)
    filters = found.expand(weight).flatten(0, 1).numpy()
    expected = by_loops(filters[:, 0], filters[:, element], found.group.matrices[element], band, spectrum)
    assert filter_error(found, element, weight, band=band, spectrum=spectrum) == pytest.approx(expected, abs=1e-9)
    # Negative control: the filters of another element.
    other = filters[:, (element + 1) % found.group.order]
    assert by_loops(filters[:, 0], other, found.group.matrices[element], band, spectrum) > 0.2


def test_random_filters_are_many_filters():
    found, weight = basis("C8", 5), torch.randn(20000, 15)
    assert filter_error(found, 1, weight) == pytest.approx(filter_error(found, 1), rel=0.03)
    assert filter_error(found, 1, weight.bfloat16()) == pytest.approx(filter_error(found, 1, weight), rel=0.01)
    single = [filter_error(found, 1, row) for row in torch.eye(15)]
    assert min(single) < filter_error(found, 1) < max(single) <= worst_filter_error(found, 1)
    assert filter_error(found, 1, torch.zeros(4, 15)) == 0


def test_no_filter_is_worse_than_the_worst():
    found = basis("C8", 5)
    filters, matrix = found.expand(torch.eye(15, dtype=torch.float64)).numpy(), found.group.matrices[1]
    error, response = error_forms(filters[:, 0], filters[:, 1], matrix)
    values, vectors = np.linalg.eig(np.linalg.solve(response, error))
    worst = vectors[:, np.argmax(values.real)].real
    assert worst_filter_error(found, 1) == pytest.approx(filter_error(found, 1, torch.tensor(worst)), rel=1e-6)


@each("made", [basis("D8", 4), basis("D12", 3, "rings"), PixelBasis(sepgconv.group("p4m"), (5, 5))])
def test_elements_that_keep_the_grid_have_no_error(made):
    grid = made.group.grid_elements
    assert max(worst_filter_error(made, g, band=1.0, spectrum="white") for g in grid) < 1e-6
    assert max(filter_error(made, g) for g in grid) < 1e-13
    others = [filter_error(made, g) for g in range(made.group.order) if g not in grid]
    assert min(others, default=1) > 1e-3


def test_wrong_arguments_are_refused(unchecked):
    made = basis("C8", 3)
    for arguments, options, sentence in [
        ((made, 8), {}, "C8 has the elements 0 to 7, got 8"),
        ((made, -1), {}, "got -1"),
        ((made, 1), {"band": 0.0}, "band must be above 0"),
        ((made, 1), {"band": 1.5}, "band must be above 0 and at most 1"),
        ((made, 1), {"spectrum": "pink"}, "unknown spectrum 'pink'"),
        ((made, 1, torch.zeros(3, 3)), {}, r"expected a weight of shape \(\.\.\., 6\)"),
        ((PixelBasis(sepgconv.group("p2"), (3, 5)), 1), {}, "expected square filters, got 3 x 5"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            filter_error(*arguments, **options)
