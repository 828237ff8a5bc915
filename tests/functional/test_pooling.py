"""Pools against loops over poses and windows; ties; when a planar pool is exact."""

import itertools
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sepgconv
from sepgconv.functional import (
    act,
    adaptive_avg_pool2d,
    avg_pool2d,
    group_max_pool,
    group_mean_pool,
    max_pool2d,
)
from tests.covering import named

pytestmark = pytest.mark.usefixtures("float64")


def maps(group, *size):
    return torch.randn(2, 3, group.order, *size)


@pytest.mark.parametrize("group", ["p1", "p4m"], indirect=True)
def test_pools_over_poses(group):
    x = maps(group, 4, 5)
    highest, total = x[:, :, 0], x[:, :, 0]
    for g in range(1, group.order):
        highest, total = torch.maximum(highest, x[:, :, g]), total + x[:, :, g]
    assert torch.equal(group_max_pool(x), highest)
    torch.testing.assert_close(group_mean_pool(x), total / group.order, rtol=1e-14, atol=1e-14)


def test_pools_over_poses_turn_like_images(group):
    x = maps(group, 4, 5)
    for g in range(group.order):
        assert torch.equal(group_max_pool(act(group, g, x)), act(group, g, group_max_pool(x)))
        torch.testing.assert_close(
            group_mean_pool(act(group, g, x)), act(group, g, group_mean_pool(x)), rtol=1e-14, atol=1e-14
        )


def test_tied_poses_share_the_gradient(group):
    x = torch.ones(1, 1, group.order, 2, 2, requires_grad=True)
    group_max_pool(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 1 / group.order))


def window_pool(x, reduce, kernel, stride, padding, dilation, fill):
    """Every window of every pose, cut out one by one."""
    padded = torch.nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]), value=fill)
    size = [(padded.shape[i - 2] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    out = x.new_empty(*x.shape[:3], *size)
    for i, j in itertools.product(*map(range, size)):
        rows, columns = (
            slice(s * n, s * n + d * (k - 1) + 1, d)
            for s, n, d, k in zip(stride, (i, j), dilation, kernel, strict=True)
        )
        out[..., i, j] = reduce(padded[..., rows, columns].flatten(-2))
    return out


def biggest(window):
    return window.max(-1).values


def average(window):
    return window.mean(-1)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((2, 2), (2, 2), (0, 0), (1, 1)),
        ((3, 3), (1, 1), (1, 1), (1, 1)),
        ((3, 2), (2, 1), (1, 0), (1, 1)),
        ((2, 3), (1, 2), (1, 1), (2, 1)),
    ],
)
@pytest.mark.covering(1)
def test_planar_pools_take_every_pose_alone(group, kernel, stride, padding, dilation):
    x = maps(group, 6, 7)
    expected = window_pool(x, biggest, kernel, stride, padding, dilation, -torch.inf)
    assert torch.equal(max_pool2d(x, kernel, stride, padding, dilation), expected)
    expected = window_pool(x, average, kernel, stride, [min(1, p) for p in padding], (1, 1), 0.0)
    torch.testing.assert_close(avg_pool2d(x, kernel, stride, padding), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("group", ["p1", "p4m"], indirect=True)
def test_stride_is_the_window_if_not_given(group):
    x = maps(group, 6, 7)
    assert torch.equal(max_pool2d(x, 2), max_pool2d(x, 2, 2))
    assert torch.equal(avg_pool2d(x, 3), avg_pool2d(x, 3, 3))


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 5), (6, 7)])
@pytest.mark.covering(1)
def test_adaptive_pool_averages_the_windows_between_the_cuts(group, size):
    x = maps(group, 6, 7)
    result = adaptive_avg_pool2d(x, size)
    for i, j in itertools.product(*map(range, size)):
        rows = slice(i * 6 // size[0], -((i + 1) * -6 // size[0]))
        columns = slice(j * 7 // size[1], -((j + 1) * -7 // size[1]))
        torch.testing.assert_close(result[..., i, j], x[..., rows, columns].mean((-2, -1)), rtol=1e-13, atol=1e-13)


@given(
    name=st.sampled_from(["p2", "p4", "pm", "pmm", "p4m"]),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 1),
    dilation=st.integers(1, 2),
    output=st.integers(1, 4),
)
def test_planar_pools_are_exact_where_the_stride_divides_what_is_left(
    name, size, kernel, stride, padding, dilation, output
):
    group, dilation = sepgconv.group(name), dilation if dilation * (kernel - 1) < min(size) else 1
    # Beside a dilated window, padding can hide a shift: taps are alike, and one of two is then outside the picture.
    padding = min(padding, kernel // 2) if dilation == 1 else 0
    torch.manual_seed(0)
    x = maps(group, *size)
    rest = [(side + 2 * padding - dilation * (kernel - 1) - 1) % stride for side in size]
    rest_avg = [(side + 2 * padding - kernel) % stride for side in size]
    pools = {
        "max": (lambda x: max_pool2d(x, kernel, stride, padding, dilation), rest),
        "avg": (lambda x: avg_pool2d(x, kernel, stride, padding), rest_avg),
        "adaptive": (lambda x: adaptive_avg_pool2d(x, output), [0, 0]),
    }
    for (pool, left), g in itertools.product(pools.values(), range(group.order)):
        reversed_axes = {axis for row in group.matrices[g] for axis, entry in enumerate(row) if entry == -1}
        error = (pool(act(group, g, x)) - act(group, g, pool(x))).abs().max()
        assert (error < 1e-12) == all(left[axis] == 0 for axis in reversed_axes)


@pytest.mark.parametrize(
    "pool",
    [
        group_max_pool,
        group_mean_pool,
        lambda x: max_pool2d(x, 2),
        lambda x: avg_pool2d(x, 2),
        lambda x: adaptive_avg_pool2d(x, 2),
    ],
    ids=["group_max_pool", "group_mean_pool", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"],
)
class TestEveryPool:
    def test_gradients(self, pool):
        x = torch.randperm(1 * 2 * 4 * 4 * 5).double().view(1, 2, 4, 4, 5).requires_grad_()
        assert torch.autograd.gradcheck(pool, x)

    def test_empty_batch(self, pool):
        assert pool(torch.zeros(0, 2, 4, 4, 4)).shape == (0, *pool(torch.zeros(1, 2, 4, 4, 4)).shape[1:])

    @pytest.mark.usefixtures("unchecked")
    def test_refuses_images(self, pool):
        message = "expected feature maps (batch, channels, poses, height, width), got (2, 3, 4, 4); lift images"
        with pytest.raises(ValueError, match=re.escape(message)):
            pool(torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
def test_maps_smaller_than_the_window_are_refused_with_the_smallest_size(pool):
    with pytest.raises(ValueError, match=rf"{pool.__name__}: maps of 2 x 5 are too small.*smallest size is 3 x 3"):
        pool(torch.zeros(1, 1, 4, 2, 5), 3)


def kept_by(run):
    """Storages that torch is asked to keep for backward: address -> bytes."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = run()
    assert y.requires_grad
    return y, storages


class TestMaxPoolKeepsIndicesOnly:
    @pytest.mark.parametrize(("size", "width"), [((8, 6), 2), ((128, 256), 2), ((129, 256), 4)])
    def test_two_bytes_for_every_output_and_four_on_large_maps(self, size, width):
        x = torch.randn(1, 1, 2, *size, requires_grad=True)
        y, storages = kept_by(lambda: max_pool2d(x, 2))
        assert sum(storages.values()) == width * y.numel()

    def test_torch_keeps_the_input(self):
        """Negative control."""
        x = torch.randn(1, 2, 8, 6, requires_grad=True)
        y, storages = kept_by(lambda: torch.nn.functional.max_pool2d(x, 2))
        assert sum(storages.values()) == 8 * x.numel() + 8 * y.numel()

    @pytest.mark.parametrize("size", [(128, 256), (256, 129), (300, 300)], ids=str)
    def test_the_last_pixels_of_large_maps_are_found(self, size):
        """2^15 - 1 is the largest index in two bytes."""
        x = torch.zeros(1, 1, 1, *size)
        x[..., -1, -1] = 1
        x.requires_grad_()
        max_pool2d(x, 2, stride=1).sum().backward()
        assert x.grad[..., -1, -1] == 1
        assert x.grad.sum() == (size[0] - 1) * (size[1] - 1)

    @pytest.mark.parametrize(
        "window", [(2,), (3, 1, 1), (3, 2, 1), (2, 3), (2, 1, 1, 2), ((3, 2), (2, 1), (1, 0))], ids=str
    )
    @pytest.mark.covering(1)
    def test_is_the_pool_of_torch_with_its_gradients(self, group, window):
        for layout in [torch.contiguous_format, torch.channels_last_3d]:
            with named(layout=layout):
                x = maps(group, 7, 6).contiguous(memory_format=layout).requires_grad_()
                y = max_pool2d(x, *window)
                expected = torch.nn.functional.max_pool2d(x.flatten(1, 2), *window).unflatten(1, x.shape[1:3])
                assert torch.equal(y, expected)
                grad = torch.randn_like(y)
                found, wanted = (torch.autograd.grad(out, x, grad)[0] for out in (y, expected))
                torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)

    def test_overlapping_windows_that_tie_give_to_the_first(self):
        x = torch.ones(1, 1, 2, 4, 4, requires_grad=True)
        found = torch.autograd.grad(max_pool2d(x, 3, 1, 1).sum(), x)[0]
        expected = torch.autograd.grad(torch.nn.functional.max_pool2d(x.flatten(1, 2), 3, 1, 1).sum(), x)[0]
        assert torch.equal(found, expected)

    def test_nan_passes_as_in_torch(self):
        x = maps(sepgconv.group("p2"), 4, 4)
        x[0, 0, 0, 1, 1] = torch.nan
        assert max_pool2d(x.requires_grad_(), 2)[0, 0, 0, 0, 0].isnan()

    def test_second_derivatives_are_those_of_torch(self):
        x, found = torch.randn(1, 2, 4, 5, 6, requires_grad=True), []
        assert torch.autograd.gradgradcheck(lambda x: max_pool2d(x, 3, 2, 1).pow(3), x, fast_mode=True)
        for pool in (max_pool2d, lambda x, *window: torch.nn.functional.max_pool2d(x[0], *window)[None]):
            (first,) = torch.autograd.grad(pool(x, 3, 1, 1).pow(3).sum(), x, create_graph=True)
            found.append((first, torch.autograd.grad(first.sin().sum(), x)[0]))
        torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)

    def test_results_may_be_changed_in_place_and_the_graph_used_twice(self):
        x = torch.randn(1, 2, 4, 4, 4, requires_grad=True)
        y = max_pool2d(x, 2)
        first = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
        assert torch.equal(first, torch.autograd.grad(y.sum(), x)[0])
        z = torch.relu_(max_pool2d(x, 2))
        torch.testing.assert_close(torch.autograd.grad(z.sum(), x)[0], first * (x > 0))

    @pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
    def test_vmap_jacobians_and_forward_mode(self):
        x = torch.randn(3, 1, 2, 4, 4, 4)

        def pool(x):
            return max_pool2d(x, 2)

        torch.testing.assert_close(torch.vmap(pool)(x), torch.stack([pool(part) for part in x]))
        gradients = torch.vmap(torch.func.grad(lambda x: pool(x).pow(2).sum()))(x)
        expected = torch.stack([torch.func.grad(lambda x: pool(x).pow(2).sum())(part) for part in x])
        torch.testing.assert_close(gradients, expected)
        jacobian = torch.autograd.functional.jacobian(pool, x[0])
        torch.testing.assert_close(torch.func.jacfwd(pool)(x[0]), jacobian)
        torch.testing.assert_close(torch.func.jacrev(pool)(x[0]), jacobian)
