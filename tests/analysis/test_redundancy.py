"""The report as a whole: which layers it looks at, what it says of planted structures, and what it refuses."""

import json

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.analysis import RedundancyReport, cost, pose_components, redundancy, render_redundancy
from sepgconv.functional import act, compose_kernel
from sepgconv.nn import (
    DepthwiseGroupConv2d,
    DepthwiseSeparableGroupConv2d,
    GroupConv2d,
    LiftingConv2d,
    SeparableGroupConv2d,
)


def every_kind(group="p4"):
    return nn.Sequential(
        nn.Conv2d(1, 2, 3),
        LiftingConv2d(2, 4, 3, group),
        GroupConv2d(4, 5, 3, group),
        SeparableGroupConv2d(5, 4, 3, group, sharing="gc"),
        SeparableGroupConv2d(4, 4, 3, group, sharing="g"),
        DepthwiseGroupConv2d(4, 3, group),
        DepthwiseSeparableGroupConv2d(4, 3, 3, group),
    )


def test_every_convolution_is_looked_at_once():
    report = redundancy(every_kind(), input_shape=(1, 20, 20))
    assert [(layer.name, layer.kind, layer.role) for layer in report.layers] == [
        ("0", "Conv2d", "planar"),
        ("1", "LiftingConv2d", "planar"),
        ("2", "GroupConv2d", "group"),
        ("3", "SeparableGroupConv2d", "separable"),
        ("4", "SeparableGroupConv2d", "separable"),
        ("5", "DepthwiseGroupConv2d", "planar"),
        ("6.0", "GroupConv2d", "group"),
        ("6.1", "DepthwiseGroupConv2d", "planar"),
    ]
    for layer in report.layers:
        poses = layer.role != "planar"
        assert (layer.components is not None) == poses == (layer.correlation is not None)
        assert [energy.sharing for energy in layer.energies] == (["gc", "g"] if poses else ["gc"])
        assert layer.bank.shape[2] == (4 if poses else 1)
        assert (layer.agreement is not None) == (layer.name != "0")
        assert layer.measured is None is layer.measured_identical_maps
        assert bool(layer.options) == (layer.name == "2")
        assert layer.group == "p4"
        assert layer.elements[1] == "turn by 90°"


def test_the_numbers_of_a_layer_are_those_of_the_functions(group):
    model = every_kind(group)
    for layer in redundancy(model).group_layers:
        module = model.get_submodule(layer.name)
        weight = module.compose() if isinstance(module, SeparableGroupConv2d) else module.weight
        torch.testing.assert_close(layer.bank, weight.double())
        torch.testing.assert_close(layer.components, pose_components(weight), equal_nan=True)
        shares = layer.components[:, 0]
        if layer.component_spread[0] is not None:
            assert layer.component_spread[0].mean == pytest.approx(float(shares[~shares.isnan()].mean()))


def test_separable_layers_lose_nothing_in_their_own_factorisation():
    first, second = (layer for layer in redundancy(every_kind()).layers if layer.role == "separable")
    assert first.energy("gc").lost_at(1) < 1e-10
    assert second.energy("g").lost_at(1) < 1e-10 < 0.05 < second.energy("gc").lost_at(1)


def test_planted_structures_are_found():
    """A separable bank, negated poses, and a channel that the group leaves alone; the layer beside has none of them."""
    planted, plain = GroupConv2d(4, 6, 3, "p4"), GroupConv2d(6, 6, 3, "p4")
    signs = torch.tensor([1.0, -1, 1, -1]) * (0.5 + torch.rand(6, 4, 4))
    with torch.no_grad():
        planted.weight.copy_(compose_kernel(signs, torch.randn(6, 3, 3), "gc"))
        equal = torch.randn(1, 6, 4, 3, 3)
        plain.weight[2] = torch.stack([act("p4", g, equal)[0] for g in range(4)]).mean(0)
    report = redundancy(nn.Sequential(LiftingConv2d(1, 4, 3, "p4"), planted, plain), inputs=torch.randn(3, 1, 9, 9))
    _, first, second = report.layers
    assert first.energy("gc").lost_at(1) < 1e-10
    assert first.component_spread[0].mean == pytest.approx(1)
    assert float(first.correlation.mean[0, 1]) == pytest.approx(-1)
    assert first.correlation.negative == pytest.approx(4 / 6)
    assert second.energy("gc").lost_at(1) > 0.3
    assert second.correlation.negative < 0.1
    assert second.identical_maps == (2,) == second.measured_identical_maps
    assert first.identical_maps == ()
    assert report.ranked(1)[0].layer == "1"
    assert report.within(0.01) == (first.option("gc", 1),)
    assert "keeps 100 % of its energy; separating it saves" in first.summary
    assert "most in 1" in report.summary


def test_planted_structures_of_steerable_kernels_are_found():
    """As above, under rotations that do not keep the pixel grid: what counts are the weights, not the pixels."""
    model = every_kind("C8")
    (weights,) = model[2].spec.basis.weight_shape
    with torch.no_grad():
        model[2].weight[:2] = compose_kernel(torch.randn(2, 4, 8), torch.randn(2, weights, 1), "gc").squeeze(-1)
        model[2].weight[2] = 0
        model[2].weight[2, ..., 0] = 1  # round kernels, the same at every pose: the group leaves the filter as it is
    report = redundancy(model, inputs=torch.rand(2, 1, 24, 24))
    ordinary, _, full, shared, per_channel, *_ = report.layers
    assert [layer.group for layer in report.layers] == ["p4m"] + 7 * ["C8"]
    assert ordinary.elements[1] == "turn by 90°"
    assert full.elements[1] == "turn by 45°"
    assert full.energy("gc").lost_per_filter[:3, 0].max() < 1e-10
    assert full.energy("gc").lost_per_filter[3:, 0].min() > 0.3
    assert full.energy("gc").lost.shape == (weights,)
    assert 2 in full.identical_maps
    assert 2 in full.measured_identical_maps
    assert full.invariance[3:, :, 1:].max() < 0.999
    torch.testing.assert_close(full.invariance[2], torch.ones(4, 8, dtype=torch.float64))
    assert {option.rank for option in full.options if option.sharing == "gc"} <= set(range(1, weights + 1))
    assert shared.energy("gc").lost_at(1) < 1e-10
    assert per_channel.energy("g").lost_at(1) < 1e-10 < 0.05 < per_channel.energy("gc").lost_at(1)
    json.dumps(report.to_dict(), allow_nan=False)
    assert "turn by 45°" in render_redundancy(report)
    with pytest.raises(
        ValueError, match="redundancy: C8 takes pixels between pixels, so it cannot move the kernels of"
    ):
        redundancy(model, group="C8")


def test_a_symmetric_kernel_of_an_ordinary_convolution():
    ordinary = nn.Conv2d(1, 2, 3)
    ring = torch.tensor([[1.0, 2, 1], [2, 5, 2], [1, 2, 1]])
    with torch.no_grad():
        ordinary.weight[0] = ring
    (layer,) = redundancy(ordinary).layers
    assert layer.group == "p4m"
    torch.testing.assert_close(layer.invariance[0, 0], torch.ones(8, dtype=torch.float64))
    assert layer.invariance[1, 0, 1:].max() < 0.99
    (layer,) = redundancy(ordinary, group="p2").layers
    assert layer.elements == ("identity", "turn by 180°")
    (layer,) = redundancy(nn.Conv2d(1, 2, (1, 3))).layers
    assert (layer.group, layer.invariance, layer.elements) == (None, None, ())


def test_multiplications_are_those_of_the_cost_report():
    model = sepgconv.create_model("p4cnn", width=4)
    report, counted = redundancy(model, inputs=torch.rand(2, 1, 28, 28)), cost(model, (1, 28, 28))
    assert report.nominal_macs == counted.nominal_macs
    assert {layer.name: layer.nominal_macs for layer in report.layers} == {
        row.name: row.nominal_macs for row in counted.layers if "features" in row.name and row.nominal_macs
    }
    assert redundancy(model).nominal_macs is None


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3)), "Sequential has no group convolution: its 1 convolution has no pose axis"),
        (nn.Linear(2, 2), "Linear has no convolution whose filters could be looked at"),
        (
            sepgconv.create_model("z2cnn", width=2),
            "z2cnn has no group convolution: its 7 convolutions have no pose axis",
        ),
    ],
)
def test_a_network_without_group_layers_is_told_so(model, sentence):
    report = redundancy(model)
    assert report.group_layers == ()
    assert sentence in report.summary
    assert ("p1 is the group without rotations" in report.summary) == ("z2cnn" in sentence)
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_separable_network_is_told_so():
    report = redundancy(sepgconv.create_model("gc_p4cnn", width=3))
    assert report.options == ()
    assert "6 convolutions on a group. 6 are separable already" in report.summary


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["0.bias", "2.weight", "3.depthwise"])
def test_weights_that_are_not_finite_are_refused(name, value):
    model = every_kind()
    with torch.no_grad():
        model.get_parameter(name).flatten()[1] = value
    with pytest.raises(ValueError, match=f"{name} holds values that are not finite"):
        redundancy(model)


def test_what_else_is_refused(unchecked):
    model = sepgconv.create_model("p4cnn", width=2)
    with pytest.raises(ValueError, match="smallest size is 28 x 28"):
        redundancy(model, inputs=torch.rand(1, 1, 20, 20))
    with pytest.raises(ValueError, match="unknown group 'p5'"):
        redundancy(model, group="p5")
    with pytest.raises(ValueError, match="must be a batch of images"):
        redundancy(model, inputs=torch.rand(1, 28, 28))


def test_the_findings_are_json_and_the_network_is_as_it_was():
    model = every_kind().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, generator = torch.randn(2, 1, 20, 20), torch.get_rng_state()
    report = redundancy(model, inputs=images)
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    report.layers[2].bank.zero_()  # a copy
    assert model[2].weight.abs().sum() > 0

    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    layer = values["layers"][2]
    assert values["summary"] == report.summary
    assert layer["components"]["spread"][0]["mean"] == pytest.approx(report.layers[2].component_spread[0].mean)
    assert len(layer["components"]["per_filter"]) == 20
    assert layer["energies"]["g"]["lost"][1] == pytest.approx(report.layers[2].energy("g").lost_at(2), rel=1e-5)
    assert len(layer["correlation"]["mean"]) == 4 == len(layer["maps"]["measured"][0])
    assert sorted(layer["options"], key=str) == sorted(values["ranked"], key=str)
    assert isinstance(report, RedundancyReport)
