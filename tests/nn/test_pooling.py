"""The pools as modules: their functions with the arguments kept, checked when built."""

import re

import pytest
import torch

import sepgconv
from sepgconv import functional
from sepgconv.nn import AdaptiveAvgPool2d, AvgPool2d, GroupMaxPool, GroupMeanPool, MaxPool2d
from sepgconv.testing import assert_equivariant
from tests.covering import named


@pytest.mark.parametrize("group", ["p1", "p4m"], indirect=True)
def test_modules_are_their_functions(group):
    x = torch.randn(2, 3, group.order, 7, 6)
    assert torch.equal(GroupMaxPool()(x), functional.group_max_pool(x))
    assert torch.equal(GroupMeanPool()(x), functional.group_mean_pool(x))
    assert torch.equal(MaxPool2d(2)(x), functional.max_pool2d(x, 2))
    assert torch.equal(MaxPool2d(3, 2, 1, 2)(x), functional.max_pool2d(x, 3, 2, 1, 2))
    assert torch.equal(AvgPool2d(2)(x), functional.avg_pool2d(x, 2))
    assert torch.equal(AvgPool2d(3, 1, 1)(x), functional.avg_pool2d(x, 3, 1, 1))
    assert torch.equal(AdaptiveAvgPool2d(4)(x), functional.adaptive_avg_pool2d(x, 4))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "pool",
    [MaxPool2d(3, 2), MaxPool2d(3, 1, 1), AvgPool2d(3, 2, 1), AvgPool2d(1, 2), AdaptiveAvgPool2d(2)],
    ids=repr,
)
@pytest.mark.covering(1)
def test_planar_pools_are_equivariant_where_the_windows_fit(group, pool):
    for size in [(7, 5), (9, 9)]:
        with named(size=size):
            assert_equivariant(pool, group, torch.randn(2, 3, group.order, *size))


@pytest.mark.usefixtures("float64")
def test_pools_over_poses_are_equivariant(group):
    for pool in (GroupMaxPool(), GroupMeanPool()):
        assert_equivariant(pool, group, torch.randn(2, 3, group.order, 4, 5))


@pytest.mark.parametrize("name", ["p2", "p4", "pm", "pmm", "p4m"])
@pytest.mark.parametrize("pool", [MaxPool2d(2), AvgPool2d(2)], ids=repr)
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
