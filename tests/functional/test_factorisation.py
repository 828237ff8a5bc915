"""Sums of separable terms: nearest to the bank, exact at full rank, refused where they mean nothing."""

import pytest
import torch

from sepgconv.functional import full_rank, separable_spectrum, separate_kernel

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
