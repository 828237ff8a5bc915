"""`torch.compile(fullgraph=True)` and `torch.export` on every layer, with the package as users import it."""

import copy
import io

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

pytestmark = [
    pytest.mark.usefixtures("as_installed"),
    # torch's own modules, at import and while they trace.
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


def gradients(module, x):
    """Result and all gradients of a step, under a seed."""
    torch.manual_seed(1)
    x = x.clone().requires_grad_()
    y = module(x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *module.parameters()])]


def test_compiles_without_a_break_forward_and_backward(layer, as_installed):
    module, x = layer.build("p4m", 3, package=as_installed), layer.input("p4m")
    for training in (True, False):
        module.train(training)
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(gradients(compiled, x), gradients(module, x), rtol=1e-4, atol=1e-4)


def network(package, group="p4"):
    """Every layer once or twice, down to four classes."""
    layers = package.nn
    return nn.Sequential(
        layers.LiftingConv2d(3, 4, 3, group),
        layers.GroupBatchNorm2d(4),
        nn.ReLU(),
        layers.GroupConv2d(4, 4, 3, group, padding="same"),
        layers.GroupLayerNorm(4),
        layers.MaxPool2d(2),
        layers.SeparableGroupConv2d(4, 4, 3, group, padding=1, execution="separable"),
        layers.SeparableGroupConv2d(4, 4, 3, group, padding=1, execution="composed"),
        layers.GroupDropout(0.1),
        layers.SeparableGroupConv2d(4, 4, 2, group, sharing="g", execution="separable"),
        layers.DepthwiseSeparableGroupConv2d(4, 4, 3, group, padding=1, padding_mode="circular"),
        layers.AvgPool2d(2),
        layers.AdaptiveAvgPool2d(1),
        layers.GroupMeanPool(),
        nn.Flatten(),
    )


def test_steps_of_training_do_not_recompile(as_installed):
    net = network(as_installed)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(net, fullgraph=True, backend=counter)
    optimiser = torch.optim.SGD(net.parameters(), 0.01)
    for _ in range(4):
        optimiser.zero_grad()
        compiled(torch.randn(2, 3, 12, 12)).square().sum().backward()
        optimiser.step()
    assert counter.frame_count == 1


def test_one_compilation_serves_other_batch_sizes(as_installed):
    net = as_installed.nn.SeparableGroupConv2d(3, 4, 3, "p4")
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(net, fullgraph=True, backend=counter)
    for batch in (2, 3, 5, 7):
        x = torch.randn(batch, 3, 4, 6, 6)
        torch.testing.assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-5)
    assert counter.frame_count <= 2  # the second is the general one


def test_refusals_survive_compilation(as_installed):
    compiled = torch.compile(as_installed.nn.GroupConv2d(3, 4, 3, "p4"), backend="aot_eager")
    with pytest.raises(ValueError, match="lift images with LiftingConv2d first"):
        compiled(torch.zeros(2, 3, 6, 6))


@pytest.mark.parametrize("name", ["p4", "p1"])
@pytest.mark.covering(1)
def test_export(layer, name, as_installed):
    module, x = layer.build(name, 3, package=as_installed).eval(), layer.input(name)
    exported = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in (2, 5):
        x = layer.input(name, batch=batch)
        torch.testing.assert_close(exported.module()(x), module(x), rtol=1e-5, atol=1e-5)


def test_exported_network_is_saved_and_loaded(as_installed):
    net, x, file = network(as_installed, "p4m").eval(), torch.randn(2, 3, 12, 12), io.BytesIO()
    torch.export.save(torch.export.export(net, (x,), strict=True), file)
    file.seek(0)
    torch.testing.assert_close(torch.export.load(file).module()(x), net(x), rtol=1e-5, atol=1e-5)


@pytest.fixture
def in_this_process():
    """Code is generated here, not in worker processes, which would import torch first."""
    from torch._inductor import config

    with config.patch(compile_threads=1):
        yield


@pytest.mark.usefixtures("in_this_process")
def test_inductor_forward_and_backward(as_installed):
    """Two layers, because the real code generator takes its time on each; the graphs are those of the tests above."""
    layers = as_installed.nn
    net = nn.Sequential(layers.GroupBatchNorm2d(2), layers.SeparableGroupConv2d(2, 3, 3, "p4", execution="separable"))
    compiled, x = torch.compile(copy.deepcopy(net), fullgraph=True), torch.randn(2, 2, 4, 6, 7)
    torch.testing.assert_close(gradients(compiled, x), gradients(net, x), rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("in_this_process")
def test_inductor_under_autocast(as_installed):
    net = as_installed.nn.SeparableGroupConv2d(4, 4, 3, "p4m")
    x = torch.randn(2, 4, 8, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y, expected = torch.compile(net, fullgraph=True)(x), net(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected, rtol=3e-2, atol=3e-2)
