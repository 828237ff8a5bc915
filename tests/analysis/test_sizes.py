"""The rule of theory.md, Strides against measurement in float64, on every size of a range."""

import pytest
import torch
from torch import nn

import sepgconv
import sepgconv.nn as snn
from sepgconv.analysis import equivariance_error, sizes


def measured(model, least, most, group, channels=1):
    model = model.double().eval()
    exact = []
    for side in range(least, most + 1):
        x = torch.randn(2, channels, side, side, dtype=torch.float64)
        try:
            errors = equivariance_error(model, group, x)
        except (ValueError, RuntimeError):
            continue
        assert not 1e-10 < max(errors.values()) < 1e-4, "neither rounding nor a fault"
        if max(errors.values()) < 1e-10:
            exact.append(side)
    return tuple(exact)


def head(channels):
    return nn.Sequential(snn.GroupMeanPool(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4))


def group_network(*middle, group="p4"):
    return nn.Sequential(snn.LiftingConv2d(1, 3, 3, group, padding=1), *middle, head(3))


def conv(kernel, stride, padding=0, dilation=1, group="p4", **options):
    return snn.GroupConv2d(3, 3, kernel, group, stride=stride, padding=padding, dilation=dilation, **options)


class Folded(nn.Module):
    """A pool of torch, which has what ours lacks, on poses folded into the channels."""

    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def forward(self, x):
        return self.pool(x.flatten(1, 2)).unflatten(1, (x.shape[1], x.shape[2]))


CASES = {
    "k3 s2 p1": (lambda: group_network(conv(3, 2, 1)), tuple(range(5, 25, 2))),
    "k4 s2 p1": (lambda: group_network(conv(4, 2, 1)), tuple(range(6, 25, 2))),
    "k1 s3": (lambda: group_network(conv(1, 3)), (7, 10, 13, 16, 19, 22)),
    "k3 s2 d2": (lambda: group_network(conv(3, 2, dilation=2)), tuple(range(5, 25, 2))),
    "k2 s3 p1 d3": (lambda: group_network(conv(2, 3, 1, 3)), (5, 8, 11, 14, 17, 20, 23)),
    "circular": (lambda: group_network(conv(3, 2, 1, padding_mode="circular")), tuple(range(5, 25, 2))),
    "two strides": (lambda: group_network(conv(3, 2, 1), conv(3, 2, 1)), (5, 9, 13, 17, 21)),
    "pool, then stride": (lambda: group_network(snn.MaxPool2d(2), conv(3, 3, 1)), (8, 14, 20)),
    "max pool 3 2 1": (lambda: group_network(snn.MaxPool2d(3, 2, 1)), tuple(range(5, 25, 2))),
    "dilated pool": (lambda: group_network(snn.MaxPool2d(2, 2, dilation=3)), tuple(range(6, 25, 2))),
    "gc": (lambda: group_network(snn.SeparableGroupConv2d(3, 3, 3, "p4", stride=2)), tuple(range(5, 25, 2))),
    "ceil": (lambda: group_network(Folded(nn.MaxPool2d(3, 2, ceil_mode=True))), tuple(range(5, 25, 2))),
    "ceil average": (lambda: group_network(Folded(nn.AvgPool2d(2, 2, ceil_mode=True))), tuple(range(6, 25, 2))),
    # One window that sees the whole map is symmetric whatever the remainder: 5 by ceil_mode; 5 and 6 by padding.
    "one window": (lambda: group_network(Folded(nn.MaxPool2d(6, 7, ceil_mode=True))), (5, 6, 13, 20)),
    "one padded window": (lambda: group_network(Folded(nn.AvgPool2d(7, 9, 1))), (5, 6, 14, 23)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_rule_is_what_is_measured_on_every_size(name):
    build, expected = CASES[name]
    model = build()
    found = sizes(model, 5, 24)
    assert found == measured(model, 5, 24, "p4")
    assert found == expected


def test_mirrors_alone_ask_for_the_width_and_nothing_of_the_height():
    layer = snn.GroupConv2d(3, 3, (3, 2), "pm", stride=2)
    model = group_network(layer, group="pm")
    assert sizes(model, 5, 24) == measured(model, 5, 24, "pm") == tuple(range(6, 25, 2))
    assert sizes(model, 5, 24, group="p1") == tuple(range(5, 25))


@pytest.mark.parametrize("group", ["p2", "p4"])
def test_rotmnist_networks(group):
    model = sepgconv.create_model("gc_p4cnn", width=3, group=group)
    assert sizes(model, 26, 33) == measured(model, 26, 33, group) == (28, 30, 32)


@pytest.mark.parametrize(("downsampling", "expected"), [("paper", (13, 17, 21)), ("exact", (12, 16, 20))])
@pytest.mark.usefixtures("shallow_resnets")
def test_resnets(downsampling, expected):
    """With the head of the paper the network is exact on no size; the sizes are those on which its strides are."""
    options = {"widths": (2, 2, 3), "group": "p4", "downsampling": downsampling}
    model = sepgconv.create_model("gc_p4m_resnet44", head="invariant", **options)
    assert sizes(model, 11, 22) == measured(model, 11, 22, "p4", channels=3) == expected
    flattening = sepgconv.create_model("gc_p4m_resnet44", head="paper", **options)
    assert sizes(flattening, 12, 13) == tuple(side for side in expected if side <= 13)
    assert measured(flattening, 12, 13, "p4", channels=3) == ()


def test_the_model_is_not_touched_and_channels_may_be_given():
    model = nn.Sequential(nn.Identity(), nn.AvgPool2d(2)).train()
    assert sizes(model, 4, 7, group="p4", channels=2) == (4, 6)
    assert model.training
    assert not model[1]._forward_hooks


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"smallest": 0, "largest": 5}, "expected 1 <= smallest <= largest, got 0 and 5"),
        ({"smallest": 9, "largest": 5}, "got 9 and 5"),
        ({"smallest": 10, "largest": 20}, "the network runs on no size from 10 to 20: .*the smallest size is 28 x 28"),
        ({"smallest": 28, "largest": 29, "group": "p5"}, "unknown group 'p5'"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        sizes(sepgconv.create_model("p4cnn", width=2), **arguments)


def test_unknown_channels_are_asked_for():
    with pytest.raises(ValueError, match="give channels="):
        sizes(nn.AvgPool2d(2), 4, 7)
