"""Invariance of kernels and agreement of maps, against loops over pixels and poses, and on planted symmetries."""

import itertools
import math

import pytest
import torch

import sepgconv
from sepgconv.analysis import chance_invariance, kernel_invariance, map_agreement
from sepgconv.functional import act, group_conv2d, lift_conv2d
from sepgconv.symmetry import SteerableBasis, pixel_permutation, pose_division
from tests.covering import each


def cosine(a, b):
    a, b = list(a), list(b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def symmetric(kernels, group):
    """The mean of kernels over the group, which no element changes."""
    flat = kernels.flatten(0, -3).unsqueeze(1)
    return torch.stack([act(group, g, flat) for g in range(group.order)]).mean(0).view_as(kernels)


@each("size", [1, 2, 3, 4])
def test_invariance_is_that_of_the_loop(group, size, float64):
    weight = torch.randn(2, 3, group.order, size, size)
    found = kernel_invariance(weight, group)
    assert found.shape == (2, 3, group.order)
    source = pixel_permutation(group, size, size).reshape(group.order, -1)
    for n, c, g in itertools.product(range(2), range(3), range(group.order)):
        kernels = weight[n, c].flatten(1).tolist()
        moved = [[kernel[source[g][v]] for v in range(size * size)] for kernel in kernels]
        expected = cosine(itertools.chain(*kernels), itertools.chain(*moved))
        assert float(found[n, c, g]) == pytest.approx(expected, abs=1e-12)


def test_invariance_of_kernels_without_poses(group, float64):
    weight = torch.randn(2, 3, 3, 3)
    torch.testing.assert_close(kernel_invariance(weight, group), kernel_invariance(weight.unsqueeze(2), group))


def test_symmetric_kernels_are_found(group, float64):
    weight = torch.randn(2, 3, group.order, 3, 3)
    ones = torch.ones(2, 3, group.order)
    torch.testing.assert_close(kernel_invariance(symmetric(weight, group), group), ones)
    if group.order > 1:
        assert kernel_invariance(weight, group)[..., 1:].max() < 0.99  # negative control


def test_a_kernel_that_becomes_its_negative(float64):
    edge = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])[None, None]
    found = kernel_invariance(edge, "p4m")[0, 0].tolist()
    assert found == pytest.approx([1, 0, -1, 0, -1, 0, 1, 0])


def test_chance_is_the_mean_of_random_kernels(group, float64):
    chance = chance_invariance(group, (3, 3))
    kernels = torch.randn(4000, 1, 3, 3)
    moved = torch.stack([act(group, g, kernels) for g in range(group.order)])
    found = (moved * kernels).mean((1, 2, 3, 4)) / kernels.square().mean()
    torch.testing.assert_close(chance, found, atol=0.03, rtol=0)
    assert chance[0] == 1


def test_agreement_is_that_of_the_loop(group, float64):
    weight = torch.randn(3, 2, group.order, 3, 3)
    found = map_agreement(weight, group)
    assert found.shape == (3, group.order)
    source, divide = pixel_permutation(group, 3, 3).reshape(group.order, -1), pose_division(group)
    for n, h in itertools.product(range(3), range(group.order)):
        filters, moved = [], []
        for c, g, v in itertools.product(range(2), range(group.order), range(9)):
            filters.append(float(weight[n, c, g].flatten()[v]))
            moved.append(float(weight[n, c, divide[h][g]].flatten()[source[h][v]]))
        assert float(found[n, h]) == pytest.approx(cosine(filters, moved), abs=1e-12)


def test_what_agrees_by_its_filter_has_identical_maps(group, float64):
    """Planted: the first channel's filter is left as it is by the group; the maps of the layer say the same."""
    weight = torch.randn(2, 3, group.order, 3, 3)
    weight[0] = torch.stack([act(group, g, weight[:1])[0] for g in range(group.order)]).mean(0)
    found = map_agreement(weight, group)
    torch.testing.assert_close(found[0], torch.ones(group.order))
    maps = group_conv2d(torch.randn(2, 3, group.order, 6, 6), weight, group)
    torch.testing.assert_close(maps[:, 0], maps[:, 0, :1].expand_as(maps[:, 0]))
    if group.order > 1:
        assert found[1, 1:].max() < 0.9  # negative controls: a random filter, in numbers and in maps
        assert (maps[:, 1] - maps[:, 1, :1]).abs().max() > 0.1


def test_a_filter_that_becomes_its_negative_has_negative_maps(float64):
    weight = torch.randn(1, 2, 4, 3, 3)
    signs = (1, -1, 1, -1)
    weight = torch.stack([s * act("p4", g, weight)[0] for g, s in enumerate(signs)]).mean(0)[None]
    assert map_agreement(weight, "p4")[0].tolist() == pytest.approx(signs)
    maps = group_conv2d(torch.randn(1, 2, 4, 5, 5), weight, "p4")
    torch.testing.assert_close(maps[:, :, 1], -maps[:, :, 0])


def test_agreement_of_a_lifting_convolution(group, float64):
    weight = symmetric(torch.randn(2, 3, 3, 3), group)
    torch.testing.assert_close(map_agreement(weight, group), torch.ones(2, group.order))
    maps = lift_conv2d(torch.randn(1, 3, 5, 5), weight, group)
    torch.testing.assert_close(maps, maps[:, :, :1].expand_as(maps))


@each(
    ("name", "size", "family"), [("C8", 5, "optimal"), ("D6", 4, "optimal"), ("C16", 3, "rings"), ("p4m", 3, "optimal")]
)
def test_kernels_of_a_steerable_basis(float64, name, size, family):
    """Against the matrix of the basis, on random weights and on those of the filters that no rotation changes."""
    basis = SteerableBasis(sepgconv.group(name), (size, size), family)
    group, (weights,), matrix = basis.group, basis.weight_shape, torch.from_numpy(basis.matrix)
    frequencies = [m for m in basis.filters.frequencies for _ in range(1 if m == 0 else 2)]
    round_kernels = torch.tensor([float(m == 0) for m in frequencies])
    weight, divide = torch.randn(2, 3, group.order, weights), pose_division(group)
    invariance, agreement = kernel_invariance(weight, basis), map_agreement(weight, basis)
    for n, g in itertools.product(range(2), range(group.order)):
        for c in range(3):
            kernels = [(matrix[h] @ weight[n, c].T).flatten().tolist() for h in (0, g)]
            assert float(invariance[n, c, g]) == pytest.approx(cosine(*kernels), abs=1e-12)
        filters = [(matrix[h] @ weight[n][:, divide[h]].mT).flatten().tolist() for h in (0, g)]
        assert float(agreement[n, g]) == pytest.approx(cosine(*filters), abs=1e-12)
    torch.testing.assert_close(kernel_invariance(weight * round_kernels, basis), torch.ones(2, 3, group.order))
    lifting = (weight * round_kernels)[:, :, 0]
    torch.testing.assert_close(map_agreement(lifting, basis), torch.ones(2, group.order))
    assert kernel_invariance(weight, basis)[..., 1:].max() < 0.999  # negative control
    chance, many = chance_invariance(basis), torch.randn(4000, weights)
    moved = torch.einsum("hti,ni->hnt", matrix, many)
    found = (moved * moved[0]).sum((1, 2)) / (moved.square().sum((1, 2)) * moved[0].square().sum()).sqrt()
    torch.testing.assert_close(chance, found, atol=0.03, rtol=0)


def test_a_filter_of_zeros_has_no_value():
    weight = torch.zeros(1, 1, 4, 3, 3)
    assert kernel_invariance(weight, "p4").isnan().all()
    assert map_agreement(weight, "p4").isnan().all()


@pytest.mark.parametrize("function", [kernel_invariance, map_agreement])
def test_a_wrong_rank_is_refused(function):
    with pytest.raises(ValueError, match=r"got \(3, 3\)"):
        function(torch.randn(3, 3), "p4")


def test_a_wrong_number_of_poses_is_refused():
    with pytest.raises(ValueError, match="chance_invariance: expected the size of the kernels beside a group"):
        chance_invariance("p4")
    with pytest.raises(ValueError, match=r"\(out, in, 4, k, k\) or \(out, in, k, k\) for p4, got \(1, 1, 8, 3, 3\)"):
        map_agreement(torch.randn(1, 1, 8, 3, 3), "p4")
