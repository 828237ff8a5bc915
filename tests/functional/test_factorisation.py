"""Sums of separable terms: nearest to the bank, exact at full rank, refused where they mean nothing."""

import pytest
import torch

import sepgconv
from sepgconv.functional import full_rank, separable_spectrum, separate_kernel
from sepgconv.symmetry import SteerableBasis
from sepgconv.symmetry.circular_filters import Ring
from tests.covering import each

SHAPES = [(3, 2, 4, 3, 3), (2, 5, 8, 2, 2), (4, 1, 4, 4, 4), (3, 2, 2, 3, 5), (2, 3, 1, 3, 3)]


def bank(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def composed(mixing, planar, sharing):
    """F from its factors, in loops from the definition."""
    out, rank, channels, order = mixing.shape
    weight = torch.zeros(out, channels, order, *planar.shape[-2:], dtype=torch.float64)
    for n in range(out):
        for c in range(channels):
            for g in range(order):
                for r in range(rank):
                    weight[n, c, g] += mixing[n, r, c, g] * (planar[n, r] if sharing == "gc" else planar[n, r, c])
    return weight


@pytest.mark.parametrize("sharing", ["gc", "g"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_error_is_the_tail_of_the_spectrum_and_zero_at_full_rank(shape, sharing):
    weight = bank(shape)
    spectrum = separable_spectrum(weight, sharing)
    most = full_rank(shape[1], shape[2], shape[3:], sharing)
    assert spectrum.shape == ((shape[0], most) if sharing == "gc" else (*shape[:2], most))
    for rank in range(1, most + 1):
        factors = separate_kernel(weight, sharing, rank)
        lost = (weight - composed(*factors, sharing)).square().sum()
        torch.testing.assert_close(lost, spectrum[..., rank:].square().sum(), atol=1e-24, rtol=1e-9)
    torch.testing.assert_close(composed(*factors, sharing), weight)
    torch.testing.assert_close(spectrum.square().sum(), weight.square().sum())


@pytest.mark.parametrize("sharing", ["gc", "g"])
def test_no_neighbour_of_the_factors_is_nearer(sharing):
    weight = bank((3, 2, 4, 3, 3))
    factors = [part.requires_grad_() for part in separate_kernel(weight, sharing, 2)]
    (weight - composed(*factors, sharing)).square().sum().backward()
    for part in factors:
        assert part.grad.abs().max() < 1e-12
    factors[1].data[0] += 0.1
    factors[1].grad = None
    (weight - composed(*factors, sharing)).square().sum().backward()
    assert factors[1].grad.abs().max() > 1e-3


@pytest.mark.parametrize("sharing", ["gc", "g"])
def test_the_factors_share_their_scale_and_a_sign(sharing):
    mixing, planar = separate_kernel(bank((3, 2, 4, 3, 3)), sharing, 2)
    axes = (-2, -1) if sharing == "gc" else -1
    torch.testing.assert_close(mixing.square().sum(axes), planar.square().sum((-2, -1)))
    largest = planar.flatten(-2).gather(-1, planar.flatten(-2).abs().argmax(-1, keepdim=True))
    assert (largest > 0).all()


def test_a_product_is_found_again():
    mixing, planar = bank((2, 1, 3, 4)), bank((2, 1, 3, 3), seed=1)
    weight = composed(mixing, planar, "gc")
    assert (separable_spectrum(weight, "gc")[:, 1:] < 1e-12).all()
    torch.testing.assert_close(composed(*separate_kernel(weight, "gc", 1), "gc"), weight)
    assert (separable_spectrum(bank((2, 3, 4, 3, 3)), "gc")[:, 1:] > 1e-3).all()


@pytest.mark.parametrize("sharing", ["gc", "g"])
@each(
    ("name", "size", "family"), [("C8", 5, "optimal"), ("C8", 5, "rings"), ("D3", 4, "optimal"), ("p4", 3, "optimal")]
)
def test_weights_of_a_basis_are_separated_in_the_metric_of_their_filters(sharing, name, size, family):
    """The distance is that of the filters of all poses; that of the weights alone is larger: its factors are others."""
    basis = SteerableBasis(sepgconv.group(name), (size, size), family)
    order, weights = basis.group.order, basis.weight_shape[0]
    weight = bank((3, 2, order, weights))
    spectrum = separable_spectrum(weight, sharing, basis=basis)
    most = full_rank(2, order, (weights,), sharing)
    assert spectrum.shape == ((3, most) if sharing == "gc" else (3, 2, most))

    def distance(mixing, planar):
        """From the definition: the pixels of the differing filters, moved to every pose."""
        factored = torch.einsum("nrcg,nri->ncgi" if sharing == "gc" else "nrcg,nrci->ncgi", mixing, planar)
        moved = torch.einsum("hti,ncgi->nchgt", torch.from_numpy(basis.matrix), weight - factored)
        return moved.square().sum() / order

    for rank in range(1, most + 1):
        lost = distance(*separate_kernel(weight, sharing, rank, basis=basis))
        torch.testing.assert_close(lost, spectrum[..., rank:].square().sum(), atol=1e-22, rtol=1e-9)
        # Negative control: the decomposition of the weights themselves. Optimal filters are nearly orthonormal.
        if family == "rings" and rank < most:
            mixing, planar = separate_kernel(weight.unsqueeze(-1), sharing, rank)
            assert distance(mixing, planar.squeeze(-1)) > 1.001 * lost
    with pytest.raises(ValueError, match=rf"expected weights \(out, in, \|G\|, {weights}\) for this basis, got"):
        separable_spectrum(weight[..., 1:], sharing, basis=basis)


@pytest.mark.parametrize("sharing", ["gc", "g"])
def test_filters_that_depend_on_each_other_are_separated_too(sharing):
    """A ring twice: the metric has no inverse, and the smaller rank holds all."""
    group = sepgconv.group("C8")
    twice = (Ring(1.0, 0.4, (0, 1, 2)), Ring(1.0, 0.4, (0, 1, 2)), Ring(0.0, 0.005, (0,)))
    basis = SteerableBasis(group, (3, 3), twice)
    assert basis.weight_shape == (11,)
    weight = bank((2, 3, 8, 11))
    spectrum = separable_spectrum(weight, sharing, basis=basis)
    assert spectrum[..., 5].min() > 1e-3
    assert spectrum[..., 6:].max() < 1e-6
    mixing, planar = separate_kernel(weight, sharing, 6, basis=basis)
    factored = torch.einsum("nrcg,nri->ncgi" if sharing == "gc" else "nrcg,nrci->ncgi", mixing, planar)
    torch.testing.assert_close(basis.expand(factored), basis.expand(weight), atol=1e-6, rtol=0)


def test_zero_filters_and_single_precision():
    weight = torch.zeros(2, 3, 4, 3, 3)
    mixing, planar = separate_kernel(weight, "g", 2)
    assert mixing.dtype == planar.dtype == torch.float32
    assert not mixing.any()
    assert not planar.any()


@pytest.mark.parametrize(
    ("weight", "sharing", "rank", "message"),
    [
        (torch.zeros(2, 3, 3, 3), "gc", 1, r"expected a filter bank \(out, in, \|G\|, k, k\), got \(2, 3, 3, 3\)"),
        (torch.full((2, 3, 4, 3, 3), torch.nan), "gc", 1, "expected finite weights, got NaN or infinity"),
        (torch.zeros(2, 3, 4, 3, 3), "gc", 0, "rank must be from 1 to 9 for this weight, got 0"),
        (torch.zeros(2, 3, 4, 3, 3), "g", 5, "rank must be from 1 to 4 for this weight, got 5"),
        (torch.zeros(2, 3, 4, 3, 3), "cg", 1, "sharing"),
    ],
)
def test_what_means_nothing_is_refused(unchecked, weight, sharing, rank, message):
    with pytest.raises(ValueError, match=message):
        separate_kernel(weight, sharing, rank)
    if rank == 1:
        with pytest.raises(ValueError, match=message):
            separable_spectrum(weight, sharing)
