import itertools

import pytest
import torch

from sepgconv.analysis import pose_correlation


def pearson(a, b):
    a, b = [x - sum(a) / len(a) for x in a], [x - sum(b) / len(b) for x in b]
    return sum(x * y for x, y in zip(a, b, strict=True)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


def test_the_correlations_are_those_of_the_loop(group, float64):
    weight = torch.randn(3, 2, group.order, 3, 3)
    found = pose_correlation(weight)
    poses = range(group.order)
    strong, weak = [], []
    for g, h in itertools.product(poses, poses):
        values = [
            pearson(weight[n, c, g].flatten().tolist(), weight[n, c, h].flatten().tolist())
            for n, c in itertools.product(range(3), range(2))
        ]
        assert found.per_filter[..., g, h].flatten().tolist() == pytest.approx(values)
        assert float(found.mean[g, h]) == pytest.approx(sum(values) / 6)
        assert float(found.mean_absolute[g, h]) == pytest.approx(sum(map(abs, values)) / 6)
        if g < h:
            strong += [value >= 0.8 for value in values]
            weak += [value <= -0.8 for value in values]
    assert found.positive == pytest.approx(sum(strong) / max(1, len(strong)))
    assert found.negative == pytest.approx(sum(weak) / max(1, len(weak)))


def test_negated_kernels_are_inverse(float64):
    kernel = torch.randn(4, 2, 1, 3, 3)
    signs = torch.tensor([1.0, -2, 3, -0.5])
    found = pose_correlation(kernel * signs.view(4, 1, 1) + 0.3)
    expected = torch.outer(signs.sign(), signs.sign())
    torch.testing.assert_close(found.mean, expected)
    torch.testing.assert_close(found.mean_absolute, torch.ones(4, 4))
    assert found.negative == pytest.approx(4 / 6)
    assert found.positive == pytest.approx(2 / 6)


def test_random_kernels_are_not(float64):
    found = pose_correlation(torch.randn(20, 10, 4, 3, 3))
    off = found.mean - torch.eye(4)
    assert off.abs().max() < 0.1
    assert found.positive + found.negative < 0.05


def test_constant_kernels_are_left_out(float64):
    weight = torch.randn(1, 2, 2, 3, 3)
    weight[0, 0, 0] = 0.7
    found = pose_correlation(weight)
    assert found.per_filter[0, 0, 0].isnan().all()
    assert float(found.mean[0, 1]) == pytest.approx(float(found.per_filter[0, 1, 0, 1]))
    nothing = pose_correlation(torch.ones(1, 1, 2, 3, 3))
    assert nothing.mean.isnan().all()
    assert (nothing.positive, nothing.negative) == (0, 0)


def test_a_wrong_rank_is_refused():
    with pytest.raises(ValueError, match=r"expected a filter bank \(out, in, \|G\|, k, k\), got \(2, 2, 3, 3\)"):
        pose_correlation(torch.randn(2, 2, 3, 3))
