"""Filters move under the group as images and feature maps do; separable factors multiply out to a filter bank."""

import itertools

import pytest
import torch

from sepgconv.functional import act, compose_kernel, filter_action, pixel_action, pose_action, transform_kernel
from sepgconv.symmetry import C4

KERNELS = [(3, 3), (2, 2), (1, 1), (4, 4)]
OBLONG = [(3, 2), (1, 3)]


def kernels(group):
    return KERNELS if group.exchanges_axes else KERNELS + OBLONG


def test_planar_kernels_are_transformed_as_images(group):
    for size in kernels(group):
        table = pixel_action(group, size)
        per_pair, per_channel = torch.randn(2, 3, *size), torch.randn(2, *size)
        assert transform_kernel(per_pair, table).shape == (2, group.order, 3, *size)
        for h in range(group.order):
            assert torch.equal(transform_kernel(per_pair, table)[:, h], act(group, h, per_pair))
            assert torch.equal(transform_kernel(per_channel, table)[:, h], act(group, h, per_channel[None])[0])


def test_filters_over_poses_are_transformed_as_feature_maps(group):
    for size in kernels(group):
        weight = torch.randn(2, 3, group.order, *size)
        moved = transform_kernel(weight, filter_action(group, size))
        assert moved.shape == (2, group.order, 3, group.order, *size)
        for h in range(group.order):
            assert torch.equal(moved[:, h], act(group, h, weight))


def test_pointwise_weights_are_read_at_the_relative_pose(group):
    weight = torch.randn(2, 3, group.order)
    moved = transform_kernel(weight, pose_action(group))
    assert moved.shape == (2, group.order, 3, group.order)
    for h, g in itertools.product(range(group.order), repeat=2):
        assert torch.equal(moved[:, h, :, g], weight[:, :, group.table[group.inverses[h]][g]])


def test_tables_are_made_on_the_device_asked_for(group):
    assert pose_action(group, device="meta").is_meta
    assert pixel_action(group, (3, 3), device="meta").is_meta
    assert filter_action(group, (3, 3), device="meta").is_meta


def test_composed_filter_is_the_product_of_the_factors(group):
    pointwise, gc, g = torch.randn(2, 3, group.order), torch.randn(2, 4, 3), torch.randn(2, 3, 4, 3)
    for n, c, pose in itertools.product(range(2), range(3), range(group.order)):
        assert torch.equal(compose_kernel(pointwise, gc, "gc")[n, c, pose], pointwise[n, c, pose] * gc[n])
        assert torch.equal(compose_kernel(pointwise, g, "g")[n, c, pose], pointwise[n, c, pose] * g[n, c])


@pytest.mark.usefixtures("float64")
def test_gradients():
    pointwise = torch.randn(2, 2, 4, requires_grad=True)
    gc, g = torch.randn(2, 3, 3, requires_grad=True), torch.randn(2, 2, 3, 3, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, k: compose_kernel(w, k, "gc"), (pointwise, gc))
    assert torch.autograd.gradcheck(lambda w, k: compose_kernel(w, k, "g"), (pointwise, g))
    table = pixel_action(C4, (3, 3))
    assert torch.autograd.gradcheck(lambda k: transform_kernel(k, table), g)
