"""Every layer in every way of carrying it around: dtypes, autocast, memory formats, copies, meta device."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import sepgconv
from sepgconv.testing import TOLERANCE
from tests.covering import named


@pytest.fixture(params=["p1", "pm", "p4m"])
def group(request) -> sepgconv.FiniteGroup:
    """Those groups that differ in what has to be carried around: nothing, no turns, turns and mirrors."""
    return sepgconv.group(request.param)


def ready(layer, group):
    """A layer in evaluation mode whose parameters and statistics are all at random, and an input for it."""
    module = layer.build(group, 3)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            (nn.init.uniform_ if name.endswith("var") else nn.init.normal_)(value)
    return module.eval(), layer.input(group)


def assert_close(got, expected, dtype):
    """Within the tolerance of a dtype, relative to the largest value."""
    error = (got.double() - expected.double()).abs().max() / expected.double().abs().max()
    assert error <= TOLERANCE[dtype]


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.covering(1)
def test_whole_module_in_another_dtype(layer, group, dtype):
    for training in [True, False]:
        with named(training=training):
            module, x = ready(layer, group)
            module.to(torch.bfloat16).float()  # what bfloat16 holds exactly, so that only arithmetic differs
            x = x.bfloat16().float()
            other = copy.deepcopy(module).to(dtype).train(training)
            torch.manual_seed(1)
            expected = module.train(training)(x)
            torch.manual_seed(1)
            got = other(x.to(dtype))
            assert got.dtype == dtype
            assert_close(got, expected, torch.float32 if dtype == torch.float64 else dtype)


@pytest.mark.covering(1)
def test_layer_built_in_a_dtype_is_trained_in_it(convolution, group):
    for dtype in (torch.float64, torch.bfloat16):
        module, x = convolution.build(group, 3, dtype=dtype), convolution.input(group, dtype=dtype)
        module(x).square().mean().backward()
        assert all(p.dtype == p.grad.dtype == dtype and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.covering(1)
def test_autocast(layer, group):
    for training in [True, False]:
        with named(training=training):
            module, x = ready(layer, group)
            module.train(training)
            torch.manual_seed(1)
            expected = module(x)
            x.requires_grad_()
            torch.manual_seed(1)
            with torch.autocast("cpu", torch.bfloat16):
                y = module(x)
                if layer.filters:
                    assert y.dtype == torch.bfloat16
            assert_close(y, expected, torch.bfloat16)
            y.float().square().sum().backward()
            assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.covering(1)
def test_autocast_layers_take_what_convolutions_give(layer, group):
    module, x = ready(layer, group)
    expected = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(module(x.bfloat16()), expected, torch.bfloat16)


@pytest.mark.covering(1)
def test_channels_last_inputs_and_layers(layer, group):
    for training in [True, False]:
        with named(training=training):
            module, x = ready(layer, group)
            module.train(training)
            formats = (torch.channels_last,) if layer.image else (torch.channels_last_3d,)
            torch.manual_seed(1)
            expected = copy.deepcopy(module)(x)
            for memory_format in (*formats, torch.contiguous_format):
                for convert in (torch.channels_last, torch.channels_last_3d, None):
                    other = copy.deepcopy(module)
                    if convert is not None:
                        assert other.to(memory_format=convert) is other
                    torch.manual_seed(1)
                    y = other(x.contiguous(memory_format=memory_format))
                    assert_close(y, expected, torch.float32)


def network(group):
    width = 4
    return nn.Sequential(
        nn.Conv2d(3, 3, 1),
        sepgconv.nn.LiftingConv2d(3, width, 3, group),
        sepgconv.nn.GroupBatchNorm2d(width),
        nn.ReLU(),
        sepgconv.nn.GroupConv2d(width, width, 3, group, padding="same"),
        sepgconv.nn.GroupLayerNorm(width),
        sepgconv.nn.MaxPool2d(2),
        sepgconv.nn.SeparableGroupConv2d(width, width, 3, group, padding=1),
        sepgconv.nn.GroupDropout(0.0),
        sepgconv.nn.SeparableGroupConv2d(width, width, 2, group, sharing="g"),
        sepgconv.nn.DepthwiseSeparableGroupConv2d(width, width, 3, group, padding=1, padding_mode="circular"),
        sepgconv.nn.AvgPool2d(2),
        sepgconv.nn.GroupMaxPool(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 5),
    )


def test_a_network_moves_to_channels_last_and_trains(group):
    net, x = network(group), torch.randn(2, 3, 12, 12)
    other = copy.deepcopy(net).to(memory_format=torch.channels_last)
    assert other[0].weight.is_contiguous(memory_format=torch.channels_last)
    results = []
    for module, images in ((net, x), (other, x.contiguous(memory_format=torch.channels_last))):
        optimiser = torch.optim.SGD(module.parameters(), 1e-3)
        for _ in range(3):
            optimiser.zero_grad()
            module(images).square().sum().backward()
            optimiser.step()
        results.append(module(images))
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))], ids=["deepcopy", "pickle"]
)
@pytest.mark.covering(1)
def test_copies_give_the_same_and_share_nothing(layer, group, copied):
    module, x = ready(layer, group)
    expected = module(x)
    twin = copied(module)
    assert torch.equal(twin(x), expected)
    with torch.no_grad():
        for value in twin.state_dict().values():
            value.zero_()
    assert torch.equal(module(x), expected)


@pytest.mark.covering(1)
def test_functional_call_takes_the_parameters_from_outside(layer, group):
    (module, x), (other, _) = ready(layer, group), ready(layer, group)
    state = {name: value.detach() for name, value in other.state_dict().items()}
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert torch.equal(torch.func.functional_call(module, state, (x,)), other(x))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_gradients_per_picture_and_ensembles_with_vmap(convolution):
    (one, x), (other, _) = ready(convolution, "p4"), ready(convolution, "p4")
    stacked = torch.func.stack_module_state([one, other])[0]
    results = torch.vmap(lambda p: torch.func.functional_call(one, p, (x,)))(stacked)
    torch.testing.assert_close(results, torch.stack([one(x), other(x)]), rtol=1e-5, atol=1e-5)

    parameters = dict(one.named_parameters())

    def loss(parameters, picture):
        return torch.func.functional_call(one, parameters, (picture[None],)).square().sum()

    per_picture = torch.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    for name, parameter in parameters.items():
        for i in range(len(x)):
            expected = torch.autograd.grad(one(x[i : i + 1]).square().sum(), parameter)[0]
            torch.testing.assert_close(per_picture[name][i], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["p4m", "p2"])
class TestMetaDevice:
    """A layer built without memory gets it later, in each of the ways that torch documents."""

    @staticmethod
    def meta(layer, name):
        with torch.device("meta"):
            module = layer.build(name, 3)
        assert all(value.is_meta for value in module.state_dict().values())
        return module.eval()

    @pytest.mark.covering(1)
    def test_shapes_without_memory(self, layer, name):
        x = layer.input(name)
        assert self.meta(layer, name)(x.to("meta")).shape == layer.build(name, 3)(x).shape

    @pytest.mark.covering(1)
    def test_to_empty_then_reset_parameters(self, layer, name):
        module, x = self.meta(layer, name).to_empty(device="cpu"), layer.input(name)
        for part in module.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
        other = layer.build(name, 3).eval()
        other.load_state_dict(module.state_dict())
        assert torch.equal(module(x), other(x))
        assert not [p for p in module.parameters() if not p.is_leaf or not p.isfinite().all()]

    @pytest.mark.covering(1)
    def test_a_state_is_loaded_into_memory_or_assigned(self, layer, name):
        source, x = ready(layer, name)
        for module, assign in ((self.meta(layer, name).to_empty(device="cpu"), False), (self.meta(layer, name), True)):
            module.load_state_dict(source.state_dict(), assign=assign)
            assert torch.equal(module(x), source(x)), f"assign={assign}"


@torch.no_grad()
@pytest.mark.parametrize("decay", [0.9, 0.999])
@pytest.mark.covering(1)
def test_moving_averages_of_the_state(convolution, group, decay):
    """As kept by `torch.optim.swa_utils` and by Lightning, buffers included."""
    module, x = ready(convolution, group)
    average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    for _ in range(20):
        average.update_parameters(module)
    assert_close(average(x), module(x), torch.float32)


@pytest.mark.covering(1)
def test_a_layer_built_in_inference_mode_is_trained_later(convolution, group):
    with torch.inference_mode():
        module = convolution.build(group, 3)
    module.load_state_dict({name: value.clone() for name, value in module.state_dict().items()}, assign=True)
    module.requires_grad_()
    module(convolution.input(group)).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.covering(1)
def test_shared_memory(layer, group):
    module, x = ready(layer, group)
    expected = module(x)
    module.share_memory()
    assert all(parameter.is_shared() for parameter in module.parameters())
    assert torch.equal(module(x), expected)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.covering(1)
def test_a_skeleton_without_memory_runs_on_the_state_of_a_call(layer, group, grad):
    """torch's recipe for ensembles: https://docs.pytorch.org/tutorials/intermediate/ensembling.html."""
    module, x = ready(layer, group)
    skeleton = copy.deepcopy(module).to("meta")
    assert all(value.is_meta for value in skeleton.state_dict().values())
    with torch.set_grad_enabled(grad):
        assert torch.equal(torch.func.functional_call(skeleton, module.state_dict(), (x,)), module(x))


def test_ensembles_are_batched_over_skeletons(convolution):
    (one, x), (other, _) = ready(convolution, "p4"), ready(convolution, "p4")
    skeleton = copy.deepcopy(one).to("meta")
    stacked = torch.func.stack_module_state([one, other])[0]
    results = torch.vmap(lambda p: torch.func.functional_call(skeleton, p, (x,)))(stacked)
    torch.testing.assert_close(results, torch.stack([one(x), other(x)]), rtol=1e-5, atol=1e-5)


def test_gradients_with_respect_to_the_state_of_a_call(convolution):
    module, x = ready(convolution, "p4m")
    state, skeleton = dict(module.named_parameters()), copy.deepcopy(module).to("meta")

    def loss(call):
        return lambda state: torch.func.functional_call(call, state, (x,)).square().sum()

    found, expected = torch.func.grad(loss(skeleton))(state), torch.func.grad(loss(module))(state)
    assert all(torch.equal(found[name], expected[name]) and expected[name].any() for name in state)


class TestTablesAreMadeInTheMiddleOf:
    """Whatever goes on when a table is made first: what is kept is an ordinary tensor that serves every later call."""

    @pytest.fixture(autouse=True)
    def _none_yet(self, tables_of):
        self.tables_of = tables_of

    def serves_training_later(self, module, x):
        tables = self.tables_of(module, x)
        assert tables
        assert all(type(table) is torch.Tensor and not table.is_inference() for table in tables)
        assert not [table for table in tables if torch._C._functorch.is_functorch_wrapped_tensor(table)]
        module(x).sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in module.parameters())

    def test_inference_mode(self, convolution):
        module, x = ready(convolution, "p4")
        with torch.inference_mode():
            module(x)
        self.serves_training_later(module, x)

    @pytest.mark.parametrize(
        "run",
        [
            lambda module, x: torch.func.grad(lambda x: module(x).sum())(x),
            lambda module, x: torch.func.grad(lambda y: torch.func.grad(lambda x: module(x).sum())(y).sum())(x),
            lambda module, x: torch.func.functionalize(module)(x),
            lambda module, x: torch.vmap(module)(x[None]),
        ],
        ids=["grad", "second grad", "functionalize", "vmap"],
    )
    @pytest.mark.covering(1)
    def test_a_transform(self, convolution, run):
        module, x = ready(convolution, "p4")
        run(module, x)
        self.serves_training_later(module, x)

    def test_fake_tensors(self, convolution):
        with FakeTensorMode():
            module, x = ready(convolution, "p4")
            y = module(x)
        assert y.shape == module(x).shape  # also when the mode is left
        real, x = ready(convolution, "p4")
        assert real(x).shape == y.shape
        self.serves_training_later(real, x)
