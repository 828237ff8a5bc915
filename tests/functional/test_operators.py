"""The hand-written kernels as operators of torch: what `torch.library` asks of them, and compiled and exported code."""

import itertools

import pytest
import torch
from torch import nn

pytestmark = [
    pytest.mark.usefixtures("as_installed"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


def maps(channels, order, batch=2, **options):
    x = torch.randn(batch, channels * order, 5, 6, dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last).requires_grad_(**options)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("order", [2, 8])
def test_batch_norm_is_an_operator_in_order(as_installed, order, relu):
    operators = as_installed.ops.batch_norm
    affine = [torch.rand(3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    arguments = (maps(3, order), *affine, order, 1e-5, relu)
    assert set(torch.library.opcheck(operators.shared_batch_norm, arguments).values()) == {"SUCCESS"}
    x, weight, bias = (tensor.detach() for tensor in arguments[:3])
    _, mean, var = operators.shared_batch_norm(x, weight, bias, order, 1e-5, relu)
    backward = (torch.randn_like(x), x, weight, bias, mean, var, order, 1e-5, relu)
    assert set(torch.library.opcheck(operators.shared_batch_norm_backward, backward).values()) == {"SUCCESS"}


CONVOLUTIONS = [
    {"padding": 1},
    {"padding": 1, "bias": False},
    {"stride": 2, "padding": 2, "dilation": 2, "padding_mode": "reflect"},
    {"padding": 1, "rank": 2},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("name", ["p1", "p4m", "C6", "D8"])
@pytest.mark.covering(1)
def test_convolution_is_an_operator_in_order(as_installed, name, options):
    operators, kinds = as_installed.ops.gc_conv, as_installed.conv.kinds
    layer = as_installed.nn.SeparableGroupConv2d(3, 4, 3, name, execution="fourier", dtype=torch.float64, **options)
    group = layer.group
    plan = operators.GcPlan(group.fft, group.order, layer.geometry, 1, group.fft.copies)
    with torch.no_grad():
        pointwise = layer.pointwise if layer.rank == 1 else layer.pointwise.transpose(0, 1).flatten(0, 1)
        tables = as_installed.symmetry.basis.fourier_tables(group, like=pointwise)
        weights = kinds.block_weights(pointwise, tables)
        filters = layer.spec.basis.expand(layer.depthwise).movedim(-3, 0).flatten(0, 1)  # poses first
        filters = filters.unsqueeze(1) if layer.rank == 1 else filters
        bias = None if layer.bias is None else torch.randn(len(filters), dtype=torch.float64)
    x, differentiated = maps(3, group.order), (filters, *weights, *([] if bias is None else [bias]))
    for tensor in differentiated:
        tensor.requires_grad_()
    arguments = (x, filters, bias, weights, *operators.flat_plan(plan))
    y = operators.gc_conv_operator(*arguments)
    layout, layer.execution = as_installed.ops.layout, "composed"
    expected = layout.fold_poses(layer(layout.unfold_poses(x, group.order)))
    shift = 0 if bias is None else bias[:, None, None]
    torch.testing.assert_close(y, expected + shift, rtol=1e-11, atol=1e-11)
    assert set(torch.library.opcheck(operators.gc_conv_operator, arguments).values()) == {"SUCCESS"}
    with torch.no_grad():
        for tensor in (x, *differentiated):
            tensor.requires_grad_(False)
    backward = (torch.randn_like(y), *arguments)
    assert set(torch.library.opcheck(operators.gc_conv_backward, backward).values()) == {"SUCCESS"}


PLANES = [
    {"padding": 1},
    {"padding": (1, 2), "dilation": (2, 1)},
    {"stride": 2, "padding": 2, "padding_mode": "reflect"},
    {"padding": 1, "padding_mode": "circular"},
]


def succeeds(operator, arguments):
    return set(torch.library.opcheck(operator, arguments).values()) == {"SUCCESS"}


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("options", PLANES, ids=str)
@pytest.mark.covering(1)
def test_the_planar_convolution_is_an_operator_in_order(as_installed, options, has_bias):
    planar, geometry = as_installed.ops.planar_conv, as_installed.conv.geometry
    sides = geometry.conv_geometry(as_installed.group("p1"), 3, **options)
    x, filters = maps(6, 1), torch.randn(9, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(9, dtype=torch.float64, requires_grad=True) if has_bias else None
    arguments = (x, filters, bias, planar.flat_geometry(sides), sides.padding_mode, 3)
    assert succeeds(planar.planar_operator, arguments)
    leaves = [x, filters, *([bias] if has_bias else [])]
    y = planar.planar_operator(*arguments)
    expected = planar.planar_conv2d(x, filters, bias, sides, 3)
    torch.testing.assert_close(y, expected)
    weights = torch.randn_like(y)
    found = torch.autograd.grad((y * weights).sum(), leaves)
    torch.testing.assert_close(found, torch.autograd.grad((expected * weights).sum(), leaves))
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    arguments = [part.detach() if isinstance(part, torch.Tensor) else part for part in arguments]
    assert succeeds(planar.planar_backward_operator, (weights, *arguments))


@pytest.mark.parametrize("shape", [(2, 3, 6, 7), (1, 2, 190, 200)], ids=["int16", "int32"])
def test_max_pooling_is_an_operator_in_order(as_installed, shape):
    functional = as_installed.functional
    operators, flat_geometry = as_installed.ops.max_pool, as_installed.ops.planar_conv.flat_geometry
    window = functional.conv_geometry(as_installed.group("p1"), 3, 2, 1, 1)
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    pooled, at = operators.max_pool_operator(x, flat_geometry(window))
    expected = nn.functional.max_pool2d(x, 3, 2, 1)
    torch.testing.assert_close(pooled, expected)
    assert at.dtype == (torch.int16 if shape[2] == 6 else torch.int32)
    weights = torch.randn_like(pooled)
    (found,) = torch.autograd.grad((pooled * weights).sum(), x)
    torch.testing.assert_close(found, torch.autograd.grad((expected * weights).sum(), x)[0])
    assert succeeds(operators.max_pool_operator, (x, flat_geometry(window)))
    assert succeeds(operators.max_pool_operator, (x.detach().contiguous(), flat_geometry(window)))
    assert succeeds(operators.max_pool_backward_operator, (weights, at, list(shape), flat_geometry(window)))


@pytest.mark.parametrize("relu", [True, False])
def test_fixed_batch_norm_is_an_operator_in_order(as_installed, relu):
    operators = as_installed.ops.batch_norm
    x, slope, offset = maps(3, 2).detach(), torch.randn(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    expected = x * slope[:, None, None] + offset[:, None, None]
    found = operators.affine_operator(x, slope, offset, relu)
    torch.testing.assert_close(found, expected.relu() if relu else expected)
    assert (found < 0).any() != relu
    assert succeeds(operators.affine_operator, (x, slope, offset, relu))


def test_plans_survive_being_written_as_numbers(as_installed):
    functional, operators = as_installed.functional, as_installed.ops.gc_conv
    sides = [{"padding": 1}, {"padding": 2, "dilation": 2, "padding_mode": "circular"}, {"stride": (2, 3)}]
    for name, options in itertools.product(("p1", "p2", "p4", "pm", "pmm", "p4m", "C3", "C8", "D6", "C64"), sides):
        group = as_installed.group(name)
        if group.exchanges_axes and "stride" in options:
            continue
        geometry = functional.conv_geometry(group, 3, **options)
        plan = operators.GcPlan(group.fft, group.order, geometry, 1, group.fft.copies)
        assert operators._plan(*operators.flat_plan(plan)) == plan


def gradients(module, x):
    x = x.clone().requires_grad_()
    y = module(x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *module.parameters()])]


def network(package, execution="fourier"):
    layers = package.nn
    return layers.Sequential(
        layers.LiftingConv2d(1, 3, 3, "p4m"),
        layers.GroupBatchNorm2d(3),
        nn.ReLU(),
        layers.SeparableGroupConv2d(3, 4, 3, "p4m", padding=1, execution=execution),
        layers.GroupBatchNorm2d(4),
        nn.ReLU(),
        layers.MaxPool2d(2),
        layers.SeparableGroupConv2d(4, 4, 3, "p4m", padding=1, execution=execution, padding_mode="circular", rank=2),
        layers.GroupMaxPool(),
    ).double()


def operators_in(graph_module):
    called = [str(node.target) for node in graph_module.graph.nodes if node.op == "call_function"]
    return {name for name in called if "sepgconv" in name}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_compiled_networks_equal_eager_ones(as_installed, training):
    net = network(as_installed).train(training)
    state, x = {k: v.clone() for k, v in net.state_dict().items()}, torch.randn(2, 1, 10, 10, dtype=torch.float64)
    expected = gradients(net, x)
    moved = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(state)
    seen = set()

    def backend(graph_module, inputs):
        seen.update(operators_in(graph_module))
        return torch._dynamo.lookup_backend("aot_eager")(graph_module, inputs)

    found = gradients(torch.compile(net, fullgraph=True, backend=backend), x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(net.state_dict(), moved)
    # The agreement is not that of one code path with itself: the graph holds the operators.
    assert any("gc_conv" in name for name in seen)
    assert any("max_pool2d" in name for name in seen)
    assert any("shared_batch_norm" in name for name in seen) == training


@pytest.mark.parametrize(
    ("execution", "large", "affine"),  # every pair of them
    [("fourier", True, True), ("fourier", False, False), ("separable", True, False), ("separable", False, True)],
)
def test_compiled_networks_equal_eager_ones_without_gradients(as_installed, monkeypatch, execution, large, affine):
    monkeypatch.setattr(as_installed.ops.dispatch, "MIN_OPERATOR_NUMEL", 0 if large else 10**6)
    net = network(as_installed, execution).eval()
    for module in net.modules():
        if isinstance(module, as_installed.nn.GroupBatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            for name in ("weight", "bias"):
                module.register_parameter(name, nn.Parameter(torch.randn(module.num_features).double()))
                if not affine:
                    module.register_parameter(name, None)
    x, seen = torch.randn(2, 1, 10, 10, dtype=torch.float64), set()

    def backend(graph_module, inputs):
        seen.update(operators_in(graph_module))
        return torch._dynamo.lookup_backend("aot_eager")(graph_module, inputs)

    with torch.no_grad():
        found = torch.compile(net, fullgraph=True, backend=backend)(x)
        torch.testing.assert_close(found, net(x), rtol=1e-9, atol=1e-9)
    assert {name.split(".")[1] for name in seen} == ({"affine", "gc_conv", "max_pool2d"} if large else set())


def test_what_keeps_its_maps_runs_planar_operators(as_installed):
    net, seen = network(as_installed, "separable"), set()

    def backend(graph_module, inputs):
        seen.update(operators_in(graph_module))
        return torch._dynamo.lookup_backend("aot_eager")(graph_module, inputs)

    state, x = {k: v.clone() for k, v in net.state_dict().items()}, torch.randn(2, 1, 10, 10, dtype=torch.float64)
    expected = gradients(net, x)
    net.load_state_dict(state)
    found = gradients(torch.compile(net, fullgraph=True, backend=backend), x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert {name.split(".")[1] for name in seen} == {"shared_batch_norm", "planar_conv2d", "max_pool2d"}


@pytest.mark.parametrize("execution", ["fourier", "separable"])
def test_exported_programs_need_nothing_but_torch(as_installed, execution):
    net = network(as_installed, execution)
    x = torch.randn(2, 1, 10, 10, dtype=torch.float64)
    for training in (False, True):
        program = torch.export.export(net.train(training), (x,))
        assert operators_in(program.graph_module) == set()
        state = {k: v.clone() for k, v in net.state_dict().items()}
        found = program.module()(x)
        net.load_state_dict(state)
        torch.testing.assert_close(found, net(x), rtol=1e-9, atol=1e-9)


def test_a_second_derivative_of_an_operator_is_refused(as_installed):
    """The operators have one gradient; torch says so instead of returning a wrong one."""
    operators = as_installed.ops.batch_norm
    x, affine = maps(3, 4), [torch.rand(3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    y = operators.shared_batch_norm(x, *affine, 4, 1e-5, True)[0]
    (first,) = torch.autograd.grad(y.pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(first.pow(2).sum(), x)


def layers_with_operators(package):
    layers = package.nn
    return {
        "depthwise": layers.DepthwiseGroupConv2d(3, 3, "p4", padding=1),
        "pool": layers.MaxPool2d(2),
        "separable": layers.SeparableGroupConv2d(3, 3, 3, "p4", execution="separable"),
        "fourier": layers.SeparableGroupConv2d(3, 3, 3, "p4", execution="fourier"),
    }


@pytest.mark.parametrize("transform", ["jvp", "grad", "vmap"])
@pytest.mark.parametrize("name", ["depthwise", "pool", "separable", "fourier"])
@pytest.mark.covering(1)
def test_compiled_transforms_step_aside_of_operators(as_installed, name, transform):
    layer = layers_with_operators(as_installed)[name].double()
    x = torch.randn(2, 3, 4, 6, 6, dtype=torch.float64)
    function = {
        "jvp": lambda x: torch.func.jvp(layer, (x,), (x.flip(0),))[1],
        "grad": lambda x: torch.func.grad(lambda z: layer(z).square().sum())(x),
        "vmap": lambda x: torch.vmap(layer)(torch.stack((x, 2 * x))),
    }[transform]
    expected = function(x)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(torch.compile(function, backend="aot_eager")(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("group", "batch"), [("p1", 1), ("p4", 1), ("p4", 2)])
def test_one_picture_in_training_mode_without_gradients(as_installed, group, batch):
    layers = as_installed.nn
    net = layers.Sequential(
        layers.LiftingConv2d(1, 6, 3, group, padding=1),
        layers.GroupBatchNorm2d(6),
        nn.ReLU(),
        layers.MaxPool2d(3, 2, 1),
        layers.SeparableGroupConv2d(6, 8, 3, group, rank=2, padding=1),
        layers.GroupBatchNorm2d(8),
        nn.ReLU(),
    ).double()
    x = torch.randn(batch, 1, 13, 13, dtype=torch.float64)
    with torch.no_grad():
        found = torch.compile(net, fullgraph=True, backend="aot_eager")(x)
        torch.testing.assert_close(found, net(x), rtol=1e-9, atol=1e-9)
