"""Cost of ordinary networks of torch, against counts by hand and torch's own counter; what is unknown is named."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sepgconv.analysis import LayerCost, cost, macs


def counted_by_torch(model, *shape):
    """Multiply-accumulates of convolutions and matrix products that torch sees running."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


def test_an_ordinary_network():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # (8, 8, 8)
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False),  # (8, 8, 8)
        nn.MaxPool2d(2),
        nn.Conv2d(8, 6, (1, 3), dilation=(1, 1)),  # (6, 4, 2)
        nn.Flatten(),
        nn.Linear(48, 10),
    )
    report = cost(model, (3, 16, 16))
    by_hand = {
        "0": ("Conv2d", (8, 8, 8), 3 * 8 * 9 + 8, 3 * 9 * 8 * 64),
        "1": ("BatchNorm2d", (8, 8, 8), 16, 0),
        "3": ("Conv2d", (8, 8, 8), 2 * 8 * 9, 2 * 9 * 8 * 64),
        "5": ("Conv2d", (6, 4, 2), 8 * 6 * 3 + 6, 8 * 3 * 6 * 8),
        "7": ("Linear", (10,), 480 + 10, 480),
    }
    assert report.layers == tuple(LayerCost(name, *values, values[-1]) for name, values in by_hand.items())
    assert report.parameters == sum(values[2] for values in by_hand.values())
    assert report.nominal_macs == report.executed_macs == sum(values[3] for values in by_hand.values())
    assert report.executed_macs == counted_by_torch(model, 3, 16, 16)
    assert report.uncounted == ()


def test_convolutions_in_one_and_three_dimensions_and_linear_layers_on_sequences():
    model = nn.Sequential(
        nn.Flatten(2),  # (2, 36)
        nn.Conv1d(2, 4, 3),  # (4, 34)
        nn.Linear(34, 5),  # (4, 5)
        nn.Unflatten(2, (5, 1, 1)),
        nn.Conv3d(4, 3, (2, 1, 1)),  # (3, 4, 1, 1)
    )
    report = cost(model, (2, 6, 6))
    assert [layer.executed_macs for layer in report.layers] == [2 * 3 * 4 * 34, 34 * 5 * 4, 4 * 2 * 3 * 4]
    assert report.executed_macs == counted_by_torch(model, 2, 6, 6)


def test_a_subclass_counts_as_its_class():
    class Scaled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    report = cost(nn.Sequential(Scaled(1, 2, 3)), (1, 5, 5))
    assert [(layer.kind, layer.executed_macs) for layer in report.layers] == [("Scaled", 9 * 2 * 9)]


class Gate(nn.Module):
    """A layer that the library has no rule for."""

    def __init__(self, size):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return x * self.scale


def test_an_unknown_layer_with_parameters_is_named():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(Gate(6), nn.ReLU()), nn.ConvTranspose2d(2, 2, 2))
    report = cost(model, (1, 8, 6 + 2))
    assert report.uncounted == ("1.0", "2")
    assert report.parameters == 20 + 6 + 18
    assert [(layer.name, layer.parameters, layer.executed_macs) for layer in report.layers] == [
        ("0", 20, 9 * 2 * 36),
        ("1.0", 6, 0),
        ("2", 18, 0),
    ]


class Attention(nn.Module):
    """Self-attention over the rows of a picture of one channel; the layer gives two tensors."""

    def __init__(self):
        super().__init__()
        self.layer = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.layer(x[:, 0], x[:, 0], x[:, 0])[0]


class Recurrent(nn.Module):
    """A recurrence over the rows of a picture of one channel; the layer gives a tensor and a tuple."""

    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x):
        return self.layer(x[:, 0])[0]


@pytest.mark.parametrize("model", [Attention, Recurrent])
def test_an_unknown_layer_that_gives_several_tensors_is_named_too(model):
    report = cost(model(), (1, 3, 4))
    assert "layer" in report.uncounted
    assert report.parameters == sum(p.numel() for p in model().parameters())


def test_parameters_of_a_container_are_named():
    class WithToken(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(2, 1, 1))
            self.conv = nn.Conv2d(1, 2, 1)

        def forward(self, x):
            return self.conv(x) + self.token

    report = cost(nn.Sequential(WithToken()), (1, 4, 4))
    assert report.uncounted == ("0",)
    assert {layer.name: layer.parameters for layer in report.layers} == {"0.conv": 4, "0": 2}


def test_a_layer_called_with_a_keyword_is_counted():
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x):
            return self.conv(input=x)

    assert cost(Keyword(), (1, 5, 5)).executed_macs == 9 * 2 * 9


def test_a_layer_that_runs_twice_is_counted_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return self.conv(self.conv(x))

    report = cost(Twice(), (2, 4, 4))
    assert report.executed_macs == 2 * 2 * 2 * 16
    assert report.parameters == 6


def test_a_layer_shared_under_two_names_is_counted_as_often_as_it_runs():
    shared = nn.Conv2d(2, 2, 1)
    model = nn.Sequential(nn.Sequential(shared), nn.Sequential(shared))
    assert cost(model, (2, 4, 4)).executed_macs == counted_by_torch(model, 2, 4, 4) == 2 * 2 * 2 * 16


def test_a_rule_for_a_layer_of_ones_own():
    class Squared(Gate):
        pass

    @macs.register
    def _(module: Squared, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> tuple[int, int]:
        return 7, 11

    report = cost(nn.Sequential(Squared(4), Gate(4)), (1, 4, 4))
    assert (report.nominal_macs, report.executed_macs) == (7, 11)
    assert report.uncounted == ("1",)
