import numpy as np
import pytest
import torch

from sepgconv.analysis import separability
from sepgconv.functional import compose_kernel, separate_kernel


def lost_by_trying(weight, sharing, rank):
    """Energy of what the nearest sum of separable terms leaves, by building it."""
    pointwise, planar = separate_kernel(weight, sharing, rank)
    near = sum(compose_kernel(pointwise[:, r], planar[:, r], sharing) for r in range(rank))
    axes = (1, 2, 3, 4) if sharing == "gc" else (2, 3, 4)
    return (weight - near).square().sum(axes), weight.square().sum(axes)


@pytest.mark.parametrize("sharing", ["gc", "g"])
def test_the_energy_lost_is_what_the_nearest_sum_leaves(group, sharing, float64):
    weight = torch.randn(3, 2, group.order, 3, 3)
    found = separability(weight, sharing)
    ranks = range(1, len(found.lost) + 1)
    for rank in ranks:
        left, whole = lost_by_trying(weight, sharing, rank)
        torch.testing.assert_close(found.lost_per_filter[..., rank - 1], left / whole, atol=1e-12, rtol=1e-9)
        assert found.lost_at(rank) == pytest.approx(float(left.sum() / whole.sum()), abs=1e-12)
    assert found.lost_at(len(ranks)) == 0 == found.lost_at(99)


def test_the_spectrum_is_that_of_numpy(float64):
    weight = torch.randn(2, 3, 4, 3, 3)
    for n in range(2):
        values = np.linalg.svd(weight[n].reshape(12, 9).numpy(), compute_uv=False)
        np.testing.assert_allclose(separability(weight, "gc").singular_values[n], values)
        for c in range(3):
            values = np.linalg.svd(weight[n, c].reshape(4, 9).numpy(), compute_uv=False)
            np.testing.assert_allclose(separability(weight, "g").singular_values[n, c], values)


@pytest.mark.parametrize("sharing", ["gc", "g"])
def test_a_product_loses_nothing_at_rank_one(group, sharing, float64):
    planar = torch.randn(3, 3, 3) if sharing == "gc" else torch.randn(3, 2, 3, 3)
    bank = compose_kernel(torch.randn(3, 2, group.order), planar, sharing)
    assert separability(bank, sharing).lost_at(1) < 1e-12
    assert separability(torch.randn_like(bank), "gc").lost_at(1) > 0.1  # negative control


def test_a_sum_of_two_products_loses_nothing_at_rank_two(float64):
    bank = sum(compose_kernel(torch.randn(3, 2, 4), torch.randn(3, 3, 3), "gc") for _ in range(2))
    found = separability(bank, "gc")
    assert found.lost_at(1) > 0.01
    assert found.lost_at(2) < 1e-12


def test_layers_weigh_their_filters_by_energy(float64):
    weight = torch.randn(2, 1, 4, 3, 3)
    weight[0] *= 1000
    found = separability(weight, "gc")
    assert found.lost_at(1) == pytest.approx(float(found.lost_per_filter[0, 0]), rel=1e-4)


def test_zeros_lose_nothing():
    found = separability(torch.zeros(2, 1, 4, 3, 3), "gc")
    assert found.lost.tolist() == [0] * 4
    assert found.lost_per_filter.sum() == 0


def test_what_is_refused(unchecked):
    with pytest.raises(ValueError, match="unknown sharing"):
        separability(torch.randn(1, 1, 4, 3, 3), "cg")
    with pytest.raises(ValueError, match="a rank is 1 or more, got 0"):
        separability(torch.randn(1, 1, 4, 3, 3), "gc").lost_at(0)
