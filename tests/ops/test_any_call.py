"""What is silent where it goes wrong: caches, copies, ensembles, programs of any size, tensors without memory."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses import FakeTensorMode
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from tests.covering import each

pytestmark = [
    pytest.mark.usefixtures("as_installed"),
    # torch's own modules, at import and while they trace.
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
]

NAMES = ["lifting", "full", "depthwise", "separable", "fourier", "auto", "g", "rank 2"]
FEW = ["fourier", "separable, grouped"]  # for the compiler, which takes its time
SOME = ["lifting", "depthwise", "fourier", "auto", "g", "rank 2, grouped"]  # for programs: `make_fx` reads all
GROUPED = [f"{name}, grouped" for name in NAMES if name not in ("depthwise", "fourier")]
SAME = {"rtol": 1e-4, "atol": 1e-4}


def build(nn, name):
    name, _, grouped = name.partition(", ")
    options = {"padding": 1, **({"groups": 2} if grouped else {})}
    if name == "lifting":
        return nn.LiftingConv2d(4, 8, 3, "p4", **options)
    if name == "full":
        return nn.GroupConv2d(4, 8, 3, "p4", **options)
    if name == "depthwise":
        return nn.DepthwiseGroupConv2d(4, 3, "p4", padding=1)
    options |= {"g": {"sharing": "g"}, "rank 2": {"rank": 2}}.get(name, {})
    options |= {"execution": name} if name in ("separable", "fourier") else {}
    return nn.SeparableGroupConv2d(4, 8, 3, "p4", **options)


@pytest.fixture(params=NAMES + GROUPED)
def layer(request, as_installed):
    return build(as_installed.nn, request.param)


def maps(layer, batch=2, height=12, width=10, **options):
    poses = () if layer.spec.kind.lifts else (4,)
    return torch.randn(batch, 4, *poses, height, width, **options)


OTHER_SIZES = [(3, 18, 14), (1, 7, 33)]


def assert_exports_for_any_size(layer, strict):
    x, dim = maps(layer), torch.export.Dim
    free = {0: dim("batch"), x.ndim - 2: dim("height", min=5, max=64), x.ndim - 1: dim("width", min=5, max=64)}
    program = torch.export.export(layer.eval(), (x,), dynamic_shapes=(free,), strict=strict).module()
    for sizes in OTHER_SIZES:
        x = maps(layer, *sizes)
        torch.testing.assert_close(program(x), layer(x), **SAME)


@pytest.mark.parametrize("layer", SOME, indirect=True)
def test_a_program_for_any_batch_and_size(layer):
    assert_exports_for_any_size(layer, strict=False)


@pytest.mark.parametrize("layer", FEW, indirect=True)
def test_a_program_by_the_compiler_for_any_batch_and_size(layer):
    assert_exports_for_any_size(layer, strict=True)


def network(layers):
    return nn.Sequential(
        layers.LiftingConv2d(1, 4, 3, "p4", padding=1),
        layers.GroupBatchNorm2d(4),
        nn.ReLU(),
        layers.MaxPool2d(2),
        layers.ConvNormAct(4, 8, 3, "p4", padding=1, execution="fourier"),
        layers.NormActConv(8, 8, 3, "p4", padding=1, groups=2),
        layers.SeparableGroupConv2d(8, 8, 3, "p4", sharing="g"),
        layers.GroupLayerNorm(8),
        layers.GroupMaxPool(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def test_a_network_for_any_batch_and_size(as_installed, stir):
    """With sizes that torch names itself: of halved ones it asks what no range of a size answers."""
    model, any_size = stir(network(as_installed.nn)), torch.export.Dim.AUTO
    frozen = as_installed.compile_for_inference(model, input_shape=(1, 24, 20))
    for net in (model, frozen):
        shapes = ({0: any_size, 2: any_size, 3: any_size},)
        program = torch.export.export(net, (torch.randn(2, 1, 24, 20),), dynamic_shapes=shapes)
        assert sum(len(s.free_symbols) for s in program.range_constraints) == 3
        for batch, height, width in ((3, 32, 28), (1, 17, 41)):
            x = torch.randn(batch, 1, height, width)
            torch.testing.assert_close(program.module()(x), model(x), **SAME)


def test_a_graph_of_symbols(layer):
    """Traced without a compiler, where sizes are symbols all the same."""
    graph = make_fx(lambda x: layer(x), tracing_mode="symbolic", _allow_non_fake_inputs=True)(maps(layer))
    for sizes in OTHER_SIZES:
        x = maps(layer, *sizes)
        torch.testing.assert_close(graph(x), layer(x), **SAME)
    assert all(type(side) is int for key in layer.spec.choices for side in key[0])


@pytest.mark.parametrize("layer", FEW, indirect=True)
def test_compiled_for_any_size(layer):
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, fullgraph=True, backend=counter, dynamic=True)
    for sizes in ((2, 12, 10), *OTHER_SIZES[:1], (5, 9, 11)):
        x = maps(layer, *sizes, requires_grad=True)
        found, expected = compiled(x), layer(x)
        torch.testing.assert_close(found, expected, **SAME)
        leaves = [x, *layer.parameters()]
        gradients = [torch.autograd.grad(y.square().sum(), leaves) for y in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)
    assert counter.frame_count <= 2


def test_an_ensemble_on_a_skeleton_without_memory(layer):
    members = [copy.deepcopy(layer) for _ in range(3)]
    for member in members:
        member.reset_parameters()
    parameters, buffers = stack_module_state(members)
    skeleton, x = copy.deepcopy(layer).to("meta"), maps(layer)

    def run(parameters, x):
        return functional_call(skeleton, (parameters, buffers), (x,))

    torch.testing.assert_close(vmap(run, (0, None))(parameters, x), torch.stack([m(x) for m in members]), **SAME)
    gradients = vmap(grad(lambda p, x: run(p, x).square().sum()), (0, None))(parameters, x)
    for i, member in enumerate(members):
        expected = torch.autograd.grad(member(x).square().sum(), list(member.parameters()))
        for (name, _), value in zip(member.named_parameters(), expected, strict=True):
            torch.testing.assert_close(gradients[name][i], value, rtol=1e-3, atol=1e-3)


def test_tensors_without_memory(layer):
    x = maps(layer)
    y = layer(x)
    assert copy.deepcopy(layer).to("meta")(x.to("meta")).shape == y.shape
    mode = FakeTensorMode()
    fakes = {name: mode.from_tensor(p) for name, p in layer.named_parameters()}
    fake = mode.from_tensor(x)
    assert functional_call(layer, fakes, (fake,)).shape == y.shape
    with mode:
        assert functional_call(layer, fakes, (fake,)).shape == y.shape
    torch.testing.assert_close(layer(x), y)  # nothing of that is kept


@each("make", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_answer_alike_and_are_of_one_spec(layer, make):
    x = maps(layer)
    y, twin = layer(x), make(layer)
    assert twin.spec == layer.spec
    assert torch.equal(twin(x), y)


def test_replicas_hold_other_tensors(layer):
    """As `DataParallel` makes them: copies of the module whose parameters are views of others."""
    replica, x = layer._replicate_for_data_parallel(), maps(layer)
    for name, parameter in layer.named_parameters():
        setattr(replica, name, 2 * parameter)
    replica(x).square().sum().backward()
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(2)
    torch.testing.assert_close(replica(x), twin(x), **SAME)
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_threads_share_a_layer(layer):
    x = [maps(layer, 1, side, side) for side in range(4, 20)]
    expected, found = [layer(maps).detach() for maps in x], {}
    layer.spec.choices.clear()

    def work(thread):
        found[thread] = [layer(maps).detach() for maps in x]

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answers in found.values():
        torch.testing.assert_close(answers, expected)
    assert len(found) == 3


def test_a_batch_of_none(layer):
    for keep in (True, False):
        with torch.set_grad_enabled(keep):
            x = maps(layer, 0, requires_grad=keep)
            y = layer(x)
        assert y.shape[0] == 0
    y = layer(maps(layer, 0))
    y.sum().backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in layer.parameters())


@each("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_in_every_way(layer, dtype):
    x = maps(layer)
    expected = layer(x)
    with torch.autocast("cpu", dtype):
        mixed = layer(x)
    half = copy.deepcopy(layer).to(dtype)(x.to(dtype))
    for y in (mixed, half):
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), expected, rtol=5e-2, atol=5e-2)


def test_a_size_that_was_bound_is_seen():
    """Negative control: a layer that asks for its size as a number holds for that size only."""

    class Bound(nn.Module):
        def forward(self, x):
            return x.reshape(x.shape[0], 1, int(x.shape[-2]), int(x.shape[-1])) * 2

    free = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=5, max=64)}
    with pytest.raises(torch._dynamo.exc.UserError, match="specialized it to be a constant"):
        torch.export.export(Bound(), (torch.zeros(2, 1, 12, 10),), dynamic_shapes=(free,), strict=False)
