"""Whole networks under torch's compiler and exporter, without graph breaks and without compiling anew."""

import copy
import shutil

import pytest
import torch
from torch import nn

# One of every factorisation; a whole ResNet takes the compiler several seconds.
pytestmark = pytest.mark.usefixtures("shallow_resnets")
COMPILED = ("c_z2cnn", "p4cnn", "g_p4cnn", "gc_p4cnn")


@pytest.fixture(autouse=True)
def _forget_compiled_code():
    torch.compiler.reset()


def pictures(model, batch=2, *, dtype=torch.float64):
    torch.manual_seed(1)
    side = max(model.min_input_size, 8)
    return torch.randn(batch, model.in_channels, side, side, dtype=dtype)


def gradients(run, model, x):
    """Scores, and gradients of a loss by every parameter and by the picture."""
    x = x.clone().requires_grad_()
    scores = run(x)
    (scores * torch.arange(1.0, scores.shape[1] + 1, dtype=scores.dtype)).sum().backward()
    return {"scores": scores.detach(), "x": x.grad, **{name: p.grad for name, p in model.named_parameters()}}


@pytest.mark.parametrize(("name", "training"), [*((name, True) for name in COMPILED), ("gc_p4cnn", False)])
def test_compile_without_graph_breaks(stirred_model, as_installed, name, training):
    model = stirred_model(name, package=as_installed).train(training)
    x, twin = pictures(model), copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    expected, found = gradients(twin, twin, x), gradients(compiled, model, x)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-9, msg=key)
    for key, value in twin.state_dict().items():  # the running statistics
        torch.testing.assert_close(model.state_dict()[key], value, msg=key)


def test_compile_a_resnet_without_graph_breaks(stirred_model, as_installed):
    model = stirred_model("gc_p4m_resnet44", package=as_installed, group="p2", downsampling="exact", head="invariant")
    x = pictures(model)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_compile_sees_a_graph_break(stirred_model, as_installed):
    """Negative control of the two above: `fullgraph` refuses what cannot be compiled whole."""

    class Breaking(nn.Module):
        def forward(self, x):
            torch._dynamo.graph_break()
            return x

    model = nn.Sequential(Breaking(), stirred_model("gc_p4cnn", package=as_installed))
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(model, fullgraph=True, backend="eager")(torch.randn(1, 1, 28, 28, dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # torch's own, where inductor is imported
def test_compile_with_inductor(stirred_model, as_installed):
    model = stirred_model("gc_p4cnn", package=as_installed, dtype=torch.float32)
    x = pictures(model, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, fullgraph=True)(x), model(x), rtol=1e-4, atol=1e-4)


def test_training_steps_do_not_recompile(small_model, as_installed):
    """Weights, statistics and the learning rate change from step to step; the compiled graph stays."""
    model = small_model("gc_p4cnn", package=as_installed).train()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in range(4):
            torch.manual_seed(step)
            optimizer.param_groups[0]["lr"] *= 0.5
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(compiled(torch.randn(4, 1, 28, 28)), torch.tensor([0, 1, 2, 3]))
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert len(set(losses)) == 4
        # Negative control: another size of picture is another graph.
        with pytest.raises(torch._dynamo.exc.RecompileError):
            compiled(torch.randn(4, 1, 30, 30))


@pytest.mark.parametrize("name", [*COMPILED, "gc_p4m_resnet44"])
def test_export(stirred_model, as_installed, name):
    model = stirred_model(name, package=as_installed)
    x = pictures(model)
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x))
    assert set(program.state_dict) == set(model.state_dict())


@pytest.mark.parametrize("name", ["g_p4cnn", "gc_p4cnn"])
def test_export_with_any_batch_size(stirred_model, as_installed, name):
    model = stirred_model(name, package=as_installed)
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (pictures(model, 3),), dynamic_shapes={"x": {0: batch}})
    for size in (1, 5):
        torch.testing.assert_close(program.module()(pictures(model, size)), model(pictures(model, size)))
