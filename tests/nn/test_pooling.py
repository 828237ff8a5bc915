"""The pools as modules: their functions with the arguments kept, checked when built."""

import itertools
import math
import re

import pytest
import torch

import sepgconv
from sepgconv import functional
from sepgconv.nn import AdaptiveAvgPool2d, AntialiasedMaxPool2d, AvgPool2d, GroupMaxPool, GroupMeanPool, MaxPool2d
from sepgconv.testing import assert_equivariant
from tests.covering import each, named


@pytest.mark.parametrize("group", ["p1", "p4m"], indirect=True)
def test_modules_are_their_functions(group):
    x = torch.randn(2, 3, group.order, 7, 6)
    assert torch.equal(GroupMaxPool()(x), functional.group_max_pool(x))
    assert torch.equal(GroupMeanPool()(x), functional.group_mean_pool(x))
    assert torch.equal(MaxPool2d(2)(x), functional.max_pool2d(x, 2))
    assert torch.equal(MaxPool2d(3, 2, 1, 2)(x), functional.max_pool2d(x, 3, 2, 1, 2))
    assert torch.equal(AntialiasedMaxPool2d(2)(x), functional.antialiased_max_pool2d(x, 2))
    assert torch.equal(AntialiasedMaxPool2d(3, 2, 1, blur_size=5)(x), functional.antialiased_max_pool2d(x, 3, 2, 1, 5))
    assert torch.equal(AvgPool2d(2)(x), functional.avg_pool2d(x, 2))
    assert torch.equal(AvgPool2d(3, 1, 1)(x), functional.avg_pool2d(x, 3, 1, 1))
    assert torch.equal(AdaptiveAvgPool2d(4)(x), functional.adaptive_avg_pool2d(x, 4))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "pool",
    [
        MaxPool2d(3, 2),
        MaxPool2d(3, 1, 1),
        AvgPool2d(3, 2, 1),
        AvgPool2d(1, 2),
        AdaptiveAvgPool2d(2),
        AntialiasedMaxPool2d(3, 2),
        AntialiasedMaxPool2d(3, 2, 1, blur_size=5),
    ],
    ids=repr,
)
@pytest.mark.covering(1)
def test_planar_pools_are_equivariant_where_the_windows_fit(group, pool):
    for size in [(7, 5), (9, 9)]:
        with named(size=size):
            assert_equivariant(pool, group, torch.randn(2, 3, group.order, *size))


@pytest.mark.usefixtures("float64")
@each(("window", "blur"), [((2, 2, 0), None), ((3, 2, 1), None), ((3, 1, 1), 3), ((3, 3, 0), None), ((2, 2, 1), 7)])
def test_an_antialiased_pool_is_a_maximum_at_every_pixel_and_then_a_blur(window, blur):
    """By the definition, number by number; the sizes are those of the plain pool, and a constant stays as it is."""
    (k, step, padding), pool = window, AntialiasedMaxPool2d(*window, blur_size=blur)
    side = 2 * step - 1 if blur is None else blur
    along = [math.comb(side - 1, i) / 2 ** (side - 1) for i in range(side)]
    for height, width in ((6, 7), (5, 5)):
        x = torch.randn(1, 2, 3, height, width)
        maxima = {
            (y, z): x[..., max(0, y - padding) : y - padding + k, max(0, z - padding) : z - padding + k].amax((3, 4))
            for y in range(height + 2 * padding - k + 1)
            for z in range(width + 2 * padding - k + 1)
        }
        last_y, last_z = max(maxima)
        found = pool(x)
        assert found.shape == MaxPool2d(*window)(x).shape
        for y, z in itertools.product(range(found.shape[3]), range(found.shape[4])):
            seen = [
                along[i] * along[j] * maxima[min(max(y * step + i - side // 2, 0), last_y),
                                             min(max(z * step + j - side // 2, 0), last_z)]
                for i, j in itertools.product(range(side), range(side))
            ]  # fmt: skip
            torch.testing.assert_close(found[..., y, z], torch.stack(seen).sum(0), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(pool(torch.full_like(x, 3.0)), torch.full_like(found, 3.0))


@pytest.mark.usefixtures("float64")
def test_pools_over_poses_are_equivariant(group):
    for pool in (GroupMaxPool(), GroupMeanPool()):
        assert_equivariant(pool, group, torch.randn(2, 3, group.order, 4, 5))


@pytest.mark.parametrize("name", ["p2", "p4", "pm", "pmm", "p4m"])
@pytest.mark.parametrize("pool", [MaxPool2d(2), AvgPool2d(2), AntialiasedMaxPool2d(2)], ids=repr)
def test_a_row_left_over_is_noticed(pool, name):
    x = torch.randn(2, 3, sepgconv.group(name).order, 7, 7)
    with pytest.raises(AssertionError, match="Pool2d is not equivariant"):
        assert_equivariant(pool, name, x)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda group: MaxPool2d((2, 1), group=group), "kernel_size"),
        (lambda group: MaxPool2d(2, (2, 1), group=group), "stride"),
        (lambda group: MaxPool2d(2, padding=(0, 1), group=group), "padding"),
        (lambda group: MaxPool2d(2, dilation=(2, 1), group=group), "dilation"),
        (lambda group: AntialiasedMaxPool2d(2, (2, 1), group=group), "stride"),
        (lambda group: AvgPool2d((2, 1), group=group), "kernel_size"),
        (lambda group: AvgPool2d(2, (2, 1), group=group), "stride"),
        (lambda group: AvgPool2d(2, padding=(0, 1), group=group), "padding"),
        (lambda group: AdaptiveAvgPool2d((2, 1), group=group), "output_size"),
    ],
)
@pytest.mark.parametrize("group", ["pmm", "p4m"], indirect=True)
def test_unequal_sides_need_a_group_without_quarter_turns(build, name, group):
    if group.exchanges_axes:
        with pytest.raises(ValueError, match=rf"{name}=\(\d, \d\) breaks the equivariance to {group.name}"):
            build(group)
    else:
        pool = build(group)
        assert getattr(pool, name)[0] != getattr(pool, name)[1]
        assert pool(torch.zeros(1, 1, group.order, 6, 6)).ndim == 5
    with pytest.raises(ValueError, match=f"{name}=.*exchange the two axes"):
        build(None)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MaxPool2d(0), "kernel_size must be an integer, or a pair of them, of at least 1; got 0"),
        (lambda: MaxPool2d(2, 0), "stride must be an integer, or a pair of them, of at least 1; got 0"),
        (lambda: MaxPool2d(2, padding=-1), "padding must be an integer, or a pair of them, of at least 0; got -1"),
        (lambda: AdaptiveAvgPool2d(0), "output_size must be an integer, or a pair of them, of at least 1; got 0"),
        (lambda: AvgPool2d(2, group="p5"), "unknown group 'p5'; did you mean"),
        (lambda: MaxPool2d(2, padding=2), "padding"),
        (lambda: AvgPool2d(3, padding=2), "padding"),
        (lambda: AntialiasedMaxPool2d(2, blur_size=2), "blur_size must be an odd number from 1 to 31, got 2"),
    ],
)
def test_arguments_out_of_range_are_refused_when_the_pool_is_built(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()


@pytest.mark.parametrize("pool", [MaxPool2d(3), AvgPool2d(3)], ids=repr)
def test_maps_smaller_than_the_window_are_refused_with_the_smallest_size(pool):
    with pytest.raises(ValueError, match=r"maps of 2 x 5 are too small.*smallest size is 3 x 3"):
        pool(torch.zeros(1, 1, 4, 2, 5))


def test_repr():
    assert repr(MaxPool2d(2)) == "MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1))"
    assert repr(AvgPool2d(3, 1)) == "AvgPool2d(kernel_size=(3, 3), stride=(1, 1), padding=(0, 0))"
    assert repr(AdaptiveAvgPool2d(1)) == "AdaptiveAvgPool2d(output_size=(1, 1))"
