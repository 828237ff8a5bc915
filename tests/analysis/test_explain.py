"""explain: what ran for each layer, why, and what would change it; the network and the random numbers stay."""

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv import explain
from sepgconv.conv.cost import CostModel
from sepgconv.nn import GroupConv2d, LiftingConv2d, SeparableGroupConv2d


def layer(**options):
    return SeparableGroupConv2d(4, 4, 3, "p4", padding=1, **options)


def only(report):
    (row,) = report.layers
    return row


def test_the_execution_is_the_one_that_is_taken():
    x = torch.rand(1, 4, 4, 9, 9)
    for execution in ("separable", "fourier", "composed"):
        row = only(explain(layer(execution=execution), x))
        assert (row.execution, row.kind, row.name) == (execution, "SeparableGroupConv2d", "")
        assert row.why.startswith("asked for")
    row = only(explain(layer(), x))
    assert row.execution == layer().selected_execution(9, 9)
    assert all(word in row.why for word in ("least cost of", "separable", "fourier", "composed"))


@pytest.mark.parametrize(
    ("options", "grad", "implementation", "change"),
    [
        ({"execution": "separable"}, True, "torch", "recompute=True"),
        ({"execution": "separable", "recompute": True}, True, "chunks", ""),
        ({"execution": "separable"}, False, "chunks", ""),
        ({"execution": "fourier"}, True, "chunks", ""),
        ({"execution": "composed"}, True, "torch", ""),
    ],
)
def test_the_implementation_follows_the_mode(options, grad, implementation, change):
    with torch.set_grad_enabled(grad):
        row = only(explain(layer(**options), torch.rand(1, 4, 4, 9, 9)))
    assert row.implementation == implementation
    assert change in row.change
    assert bool(row.change) == bool(change)


def test_half_precision_is_named():
    row = only(explain(layer(execution="fourier").bfloat16(), torch.rand(1, 4, 4, 9, 9).bfloat16()))
    assert row.implementation == "checkpoint"
    with torch.no_grad():
        row = only(explain(layer(execution="fourier").bfloat16(), torch.rand(1, 4, 4, 9, 9).bfloat16()))
    assert row.implementation == "torch"
    assert "float32 or float64" in row.change


def test_a_network_has_its_layers_in_order_and_stays():
    model = sepgconv.create_model("gc_p4cnn", width=4)
    state, seed = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    report = explain(model, torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), seed)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    names = [row.name for row in report.layers]
    assert names[0] == "features.0.0"
    assert set(names) <= {name for name, _ in model.named_modules()}
    convolutions = [name for name, m in model.named_modules() if isinstance(m, SeparableGroupConv2d)]
    assert [name for name in names if name in convolutions] == convolutions
    assert "What runs, and why" in str(report)
    assert "<table" in report._repr_html_()


def test_other_networks_say_that_there_is_nothing():
    assert str(explain(nn.Linear(2, 2), torch.rand(1, 2))) == "No layer of sepgconv.nn ran."


def test_layers_with_one_way_have_one():
    row = only(explain(GroupConv2d(2, 2, 3, "p4"), torch.rand(1, 2, 4, 5, 5)))
    assert (row.execution, row.implementation, row.change) == ("direct", "torch", "")


def test_cost_counts_as_another_machine_would_choose():
    """Where grouped products cost nothing, the separable execution wins; the built-in costs take another one."""
    module = nn.Sequential(LiftingConv2d(1, 4, 3, "p4"), SeparableGroupConv2d(4, 4, 3, "p4", sharing="g", padding=1))
    built_in = sepgconv.analysis.cost(module, (1, 9, 9))
    other = sepgconv.analysis.cost(module, (1, 9, 9), cost_model=CostModel(grouped_mac=0.1))
    assert other.executed_macs < built_in.executed_macs
    assert other.nominal_macs == built_in.nominal_macs
    assert sepgconv.analysis.cost(module, (1, 9, 9)) == built_in
