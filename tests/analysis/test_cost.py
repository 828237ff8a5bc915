"""Parameters and multiplications of networks and layers: figures and formulas of theory.md, torch's own counter."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import sepgconv
from sepgconv import nn as snn
from sepgconv.analysis import CostReport, cost, macs
from sepgconv.nn import (
    DepthwiseGroupConv2d,
    DepthwiseSeparableGroupConv2d,
    GroupConv2d,
    GroupConvLayer,
    LiftingConv2d,
    SeparableGroupConv2d,
)
from sepgconv.ops import mixing
from sepgconv.symmetry import SteerableBasis
from tests.covering import each

# theory.md, Rotated MNIST: name, width, parameters, nominal MACs in millions.
TABLE_1 = [
    ("z2cnn", 20, 25_210, "2.98"),
    ("c_z2cnn", 57, 25_603, "3.33"),
    ("p4cnn", 10, 24_810, "11.67"),
    ("g_p4cnn", 10, 8_910, "4.37"),
    ("gc_p4cnn", 10, 3_420, "1.80"),
    ("g_p4cnn", 17, 25_255, "12.34"),
    ("gc_p4cnn", 30, 24_640, "13.01"),
]
SIDES = [(26, 3), (24, 3), (10, 3), (8, 3), (6, 3), (4, 3), (1, 4)]  # output side and kernel of the seven convolutions


def counted_by_torch(model, *shape):
    """Multiply-accumulates of convolutions and matrix products that torch sees running."""
    model = model.eval()
    # torch counts this product only where it makes a new tensor.
    in_place = {torch.ops.aten.baddbmm_: lambda total, a, b, **_: 2 * a[0] * a[1] * a[2] * b[2]}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        model(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


def building_blocks(model):
    """Multiplications that make the blocks of the irreps from the weights: once, whatever the picture."""
    layers = [module for module in model.modules() if isinstance(module, SeparableGroupConv2d)]
    return sum(layer.pointwise.numel() * layer.group.fft.products for layer in layers if layer.execution == "fourier")


def building_filters(model):
    """Multiplications that make the pixels of steerable kernels from their weights, once, whatever the image."""
    total = 0
    for layer in (module for module in model.modules() if isinstance(module, GroupConvLayer)):
        basis, spec = layer.spec.basis, layer.spec
        if not isinstance(basis, SteerableBasis):
            continue
        if layer.execution == "composed" and isinstance(layer, SeparableGroupConv2d):
            kernels = spec.out_channels * spec.channels_per_group * spec.order
        else:
            weights = layer.depthwise if isinstance(layer, SeparableGroupConv2d) else layer.weight
            kernels = weights.numel() // basis.weight_shape[0]
        total += kernels * basis.weight_shape[0] * spec.order * spec.geometry.taps
    return total


@each(("name", "width", "parameters", "millions"), TABLE_1)
def test_figures_of_table_1(name, width, parameters, millions):
    report = cost(sepgconv.create_model(name, width=width), (1, 28, 28))
    assert report.parameters == parameters
    assert sum(layer.parameters for layer in report.layers) == parameters
    assert f"{report.nominal_macs / 1e6:.2f}" == millions
    assert report.uncounted == ()


@each(("name", "width", "parameters", "millions"), TABLE_1)
def test_nominal_is_the_sum_of_the_papers_formulas(name, width, parameters, millions):
    c, order = width, 1 if "z2" in name else 4
    total = 26 * 26 * 9 * c * order + 10 * c  # lifting and linear layer
    for side, k in SIDES[1:]:
        total += {
            "z2cnn": c * k * k * side**2 * c,
            "c_z2cnn": side**2 * c * (c + k * k),
            "p4cnn": c * order * k * k * side**2 * c * order,
            "g_p4cnn": c * c * order * side**2 * (order + k * k),
            "gc_p4cnn": c * order * side**2 * (c * order + k * k),
        }[name]
    assert cost(sepgconv.create_model(name, width=width), (1, 28, 28)).nominal_macs == total


def test_executed_macs_that_method_prints():
    c_z2cnn = cost(sepgconv.create_model("c_z2cnn"), (1, 28, 28))
    assert f"{c_z2cnn.executed_macs / 1e6:.2f}" == "4.12"
    separable = cost(sepgconv.create_model("gc_p4cnn", width=30, execution="separable"), (1, 28, 28))
    assert f"{separable.executed_macs / 1e6:.2f}" == "16.51"


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet44", "2.64"), ("p4m_resnet44", "2.62"), ("g_p4m_resnet44", "1.78"), ("gc_p4m_resnet44", "1.88")],
)
def test_figures_of_table_2(name, millions):
    with torch.device("meta"):  # counting needs shapes, not numbers
        report = cost(sepgconv.create_model(name), (3, 32, 32))
    assert f"{report.parameters / 1e6:.2f}" == millions
    assert sum(layer.parameters for layer in report.layers) == report.parameters
    assert report.uncounted == ()
    if name in ("resnet44", "p4m_resnet44"):
        assert report.nominal_macs == report.executed_macs


EXECUTIONS = {
    name: [{"execution": execution} for execution in ("auto", "separable", "composed", "fourier")]
    if name.startswith("gc_")
    else [{"execution": execution} for execution in ("auto", "separable", "composed")]
    if name.startswith("g_")
    else [{}]
    for name in sepgconv.list_models()
}


@pytest.mark.usefixtures("shallow_resnets")
@pytest.mark.parametrize(("name", "execution"), [(name, e) for name, choices in EXECUTIONS.items() for e in choices])
def test_executed_is_what_torch_sees_running(name, execution, monkeypatch):
    monkeypatch.setattr(mixing, "JOINT_LENGTH", 1)  # several positions in one product are multiplied by zeros, too
    size = {"widths": (2, 3, 4)} if "resnet" in name else {"width": 5}
    model = sepgconv.create_model(name, **size, **execution)
    shape = (model.in_channels, 30, 28)
    assert cost(model, shape).executed_macs == counted_by_torch(model, *shape) - building_blocks(
        model
    ) - building_filters(model)


@pytest.mark.usefixtures("shallow_resnets")
@pytest.mark.parametrize("name", sepgconv.list_models())
def test_a_separable_layer_executes_at_least_what_it_costs_nominally(name):
    """The mixing runs at input resolution, which is never smaller here."""
    options = {"execution": "separable"} if name.startswith(("g_", "gc_")) else {}
    options |= {"widths": (2, 3, 4)} if "resnet" in name else {"width": 4}
    model = sepgconv.create_model(name, **options)
    report = cost(model, (model.in_channels, 32, 32))
    assert all(layer.executed_macs >= layer.nominal_macs >= 0 for layer in report.layers)
    factored = name not in ("z2cnn", "p4cnn", "c8cnn", "resnet44", "p4m_resnet44")
    assert (report.executed_macs > report.nominal_macs) == factored


# Single layers by the formulas of theory.md, Cost; C -> C' channels, output H x W.
LAYERS = [
    dict(kernel_size=3),
    dict(kernel_size=3, padding=1),
    dict(kernel_size=3, padding=1, stride=2),
    dict(kernel_size=2, stride=2),
    dict(kernel_size=3, dilation=2, padding="same"),
    dict(kernel_size=1),
    dict(kernel_size=5, padding=4, padding_mode="circular"),
]
PICTURE = (9, 9)


def row(layer, channels, group):
    """The row of a layer behind a lifting, and what torch counts for that layer."""
    lift = LiftingConv2d(1, channels, 1, group)
    model = nn.Sequential(lift, layer)
    report = cost(model, (1, *PICTURE))
    return report.layers[-1], counted_by_torch(model, 1, *PICTURE) - report.layers[0].executed_macs


@pytest.mark.parametrize("group", ["p1", "p4", "p4m"])
@each("arguments", LAYERS)
@pytest.mark.parametrize("kind", ["full", "g", "gc", "two-step", "depthwise"])
def test_single_layers(kind, arguments, group):
    c, n, order, k = 3, 5, sepgconv.group(group).order, arguments["kernel_size"]
    if kind == "full":
        layer = GroupConv2d(c, n, group=group, **arguments)
    elif kind == "two-step":
        layer = DepthwiseSeparableGroupConv2d(c, n, group=group, **arguments)
    elif kind == "depthwise":
        n = c
        layer = DepthwiseGroupConv2d(c, group=group, **arguments)
    else:
        layer = SeparableGroupConv2d(c, n, group=group, sharing=kind, execution="separable", **arguments)
    found, seen = row(layer, c, group)
    _, _, height, width = found.output_shape
    positions, inputs = height * width, PICTURE[0] * PICTURE[1]
    parameters, nominal, executed = {
        "full": (c * order * k**2 * n, [c * order * k**2 * positions * n * order], None),
        "g": (
            c * n * (order + k**2),
            [c * n * order * positions * order, c * n * order * positions * k**2],
            c * n * order * (order * inputs + k**2 * positions),
        ),
        "gc": (
            n * (c * order + k**2),
            [n * order * positions * c * order, n * order * positions * k**2],
            n * order * (c * order * inputs + k**2 * positions),
        ),
        "two-step": (
            n * (c * order + k**2),
            [n * order * positions * c * order, n * order * positions * k**2],
            n * order * (c * order * inputs + k**2 * positions),
        ),
        "depthwise": (n * k**2, [n * order * positions * k**2], None),
    }[kind]
    biases = 2 * n if kind == "two-step" else n
    assert found.kind == type(layer).__name__
    assert found.output_shape[:2] == (n, order)
    assert found.parameters == parameters + biases == sum(p.numel() for p in layer.parameters())
    assert found.nominal_macs == sum(nominal)
    assert found.executed_macs == (sum(nominal) if executed is None else executed) == seen


@pytest.mark.parametrize("bias", [True, False])
def test_biases_do_not_change_the_multiplications(bias):
    for kind in (GroupConv2d, SeparableGroupConv2d, DepthwiseSeparableGroupConv2d):
        found, seen = row(kind(3, 5, 3, "p4", bias=bias), 3, "p4")
        assert found.executed_macs == seen
        assert found.nominal_macs > 1000


@pytest.mark.parametrize("sharing", ["g", "gc"])
def test_composed_execution(sharing):
    layer = SeparableGroupConv2d(3, 5, 3, "p4", sharing=sharing, execution="composed", padding=1, stride=2)
    found, seen = row(layer, 3, "p4")
    assert found.executed_macs == seen == 3 * 4 * 9 * 5 * 5 * 5 * 4
    assert found.nominal_macs == {"g": 3 * 5 * 4 * 25 * (4 + 9), "gc": 5 * 4 * 25 * (3 * 4 + 9)}[sharing]


@pytest.mark.parametrize(("group", "order", "products"), [("p1", 1, 1), ("p4", 4, 6), ("p4m", 8, 12)])
def test_fourier_execution(group, order, products):
    """The mixing in the irreps at input resolution, the filtering as ever; the nominal cost is that of the paper."""
    layer = SeparableGroupConv2d(3, 5, 3, group, execution="fourier", padding=1, stride=2)
    found, seen = row(layer, 3, group)
    assert found.executed_macs == 3 * 5 * products * PICTURE[0] * PICTURE[1] + 5 * order * 9 * 25
    assert found.executed_macs == seen - building_blocks(layer)
    assert building_blocks(layer) == 3 * 5 * order * products
    assert found.nominal_macs == 5 * order * 25 * (3 * order + 9)


def test_lifting_layer():
    report = cost(LiftingConv2d(3, 5, 3, "p4m", padding=1, stride=2), (3, 9, 11))
    (layer,) = report.layers
    assert layer.output_shape == (5, 8, 5, 6)
    assert layer.parameters == report.parameters == 3 * 5 * 9 + 5
    assert layer.nominal_macs == layer.executed_macs == 3 * 9 * 5 * 8 * 5 * 6


def test_macs_of_a_layer_alone():
    layer = SeparableGroupConv2d(3, 5, 3, "p4", execution="separable")
    expected = (5 * 4 * 49 * (12 + 9), 5 * 4 * (12 * 81 + 9 * 49))
    assert macs(layer, (3, 4, 9, 9), (5, 4, 7, 7)) == expected
    assert macs(nn.ReLU(), (3,), (3,)) is None


# What counting must not change, and what it accepts.


def snapshot(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_mode_statistics_gradients_and_hooks_are_left_alone():
    model = sepgconv.create_model("gc_p4cnn", width=3).train()
    model.features[1].eval()  # a part frozen on purpose
    modes = [module.training for module in model.modules()]
    before = snapshot(model)
    cost(model, (1, 28, 28))
    assert [module.training for module in model.modules()] == modes
    assert True in modes
    assert False in modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_failure_leaves_no_traces_either():
    model = sepgconv.create_model("gc_p4cnn", width=3).train()
    with pytest.raises(ValueError, match="28 x 28"):
        cost(model, (1, 20, 20))
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_any_precision(dtype):
    model = sepgconv.create_model("gc_p4cnn", width=3)
    expected = cost(model, (1, 28, 28))
    assert cost(model.to(dtype), (1, 28, 28)) == expected


def test_larger_images_cost_more():
    model = sepgconv.create_model("p4cnn", width=3)
    report = cost(model, (1, 28, 28))
    assert isinstance(report, CostReport)
    assert cost(model, (1, 32, 32)).executed_macs > report.executed_macs


def test_a_network_without_parameters():
    assert cost(nn.Sequential(nn.ReLU(), nn.Flatten()), (1, 4, 4)) == CostReport(0, (), ())


@each("shape", [(), (28,), (28, 28), (2, 1, 1, 28, 28), (1, 0, 28), (1, -28, 28)])
def test_shapes_that_are_no_pictures_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(channels, height, width\)"):
        cost(sepgconv.create_model("z2cnn", width=2), shape)


def test_wrong_channels_are_named():
    with pytest.raises(ValueError, match=r"z2cnn.*in_channels=3"):
        cost(sepgconv.create_model("z2cnn", width=2), (3, 28, 28))


def test_norms_and_scales_have_parameters_and_no_multiplications():
    norms = [
        snn.GroupLayerNorm(3),
        snn.GroupGroupNorm(3, 3),
        snn.GroupInstanceNorm2d(3, affine=True),
        snn.LayerScale(3),
    ]
    report = cost(nn.Sequential(snn.LiftingConv2d(1, 3, 5, "C8"), *norms, snn.AntialiasedMaxPool2d(2)), (1, 9, 9))
    assert report.uncounted == ()
    assert [(row.parameters, row.nominal_macs) for row in report.layers[1:]] == [(6, 0), (6, 0), (6, 0), (3, 0)]
