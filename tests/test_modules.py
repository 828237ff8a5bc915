"""What a module really is: wrappers taken off, copies that stand by themselves, the weights that count."""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.spectral_norm import spectral_norm
from torch.optim.swa_utils import AveragedModel

from sepgconv import nn as snn
from sepgconv._customised import custom_behaviour, customised_layers, raise_if_customised, raise_if_global_hooks
from sepgconv._modules import copy_network, settled_copy, unwrap
from tests.covering import each

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own, of its compiler


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        snn.LiftingConv2d(1, 4, 3, "p4"), snn.GroupBatchNorm2d(4), nn.ReLU(), snn.GroupConv2d(4, 4, 3, "p4"),
        snn.GroupMaxPool(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def compiled(net):
    return torch.compile(net, backend="eager")


def images():
    return torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def answer(net, x=None):
    with torch.no_grad():
        return net(images() if x is None else x)


# ---------------------------------------------------------------------------------------------------------- unwrapping


@pytest.mark.parametrize(
    "wrap",
    [
        compiled,
        nn.DataParallel,
        AveragedModel,
        lambda net: compiled(nn.DataParallel(net)),
        lambda net: AveragedModel(nn.DataParallel(net)),
        lambda net: nn.DataParallel(compiled(net)),
    ],
)
def test_the_network_inside_a_wrapper_is_found(wrap):
    net = network().eval()
    inside = unwrap(wrap(net), "tool")
    assert type(inside) is nn.Sequential
    assert torch.equal(answer(inside), answer(net))


def test_what_is_no_wrapper_stays():
    net = network()
    assert unwrap(net, "tool") is net
    assert type(unwrap(nn.Sequential(compiled(net)), "tool")[0]) is not nn.Sequential
    assert type(copy_network(nn.Sequential(compiled(net)), "tool")[0]) is nn.Sequential


@pytest.mark.parametrize("kind", ["FullyShardedDataParallel", "FSDPModule"])
def test_a_sharded_network_is_refused(kind):
    sharded = type(kind, (nn.Module,), {"__module__": "torch.distributed.fsdp"})()
    with pytest.raises(ValueError, match=rf"^tool: the network is sharded by {kind}, .* give the network inside"):
        unwrap(sharded, "tool")


@pytest.mark.parametrize("wrap", [compiled, nn.DataParallel, AveragedModel])
def test_a_wrapper_that_does_more_is_refused(wrap):
    wrapped = wrap(network())
    wrapped.register_forward_hook(lambda module, arguments, output: 2 * output)
    with pytest.raises(ValueError, match=r"^tool: the \w+ around the network has hooks of its own; give the network"):
        unwrap(wrapped, "tool")


def test_a_subclass_of_a_wrapper_with_a_forward_of_its_own_is_refused():
    class Scaled(nn.DataParallel):
        def forward(self, x):
            return 2 * super().forward(x)

    class Named(nn.DataParallel):
        pass

    with pytest.raises(ValueError, match=r"^tool: the Scaled around the network has a forward of its own"):
        unwrap(Scaled(network()), "tool")
    assert type(unwrap(Named(network()), "tool")) is nn.Sequential
    with pytest.raises(ValueError, match=r"^tool: expected a network \(torch.nn.Module\), got str"):
        unwrap("p4cnn", "tool")


# ------------------------------------------------------------------------------------------------------------- copying


def trained(net):
    """After one backward pass, so that computed weights hang on a graph."""
    net.train()
    net(images()).sum().backward()
    return net


def pruned(net):
    prune.l1_unstructured(net[3], "weight", 0.3)
    return net


def old_spectral_norm(net):
    spectral_norm(net[3])
    spectral_norm(net[7])
    return net


def old_weight_norm(net):
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(net[3])
    return net


def new_weight_norm(net):
    parametrizations.weight_norm(net[3])
    return net


def new_spectral_norm(net):
    parametrizations.spectral_norm(net[3])
    parametrizations.spectral_norm(net[7])
    return net


class Symmetric(nn.Module):
    def forward(self, weight):
        return (weight + weight.flip(-1)) / 2


def own_parametrization(net):
    parametrize.register_parametrization(net[3], "weight", Symmetric())
    return net


class Recorder:
    """A hook that keeps what it saw."""

    def __init__(self):
        self.seen = []

    def look(self, module, arguments, output):
        self.seen.append(output)


def recorded(net):
    net[3].register_forward_hook(Recorder().look)
    return net


def keeping_outputs_in_a_list(net):
    net[3].kept = {"outputs": []}
    net[3].register_forward_hook(lambda module, arguments, output: module.kept["outputs"].append(output))
    return net


COMPUTED = [
    pruned, old_spectral_norm, old_weight_norm, new_weight_norm, new_spectral_norm, own_parametrization, recorded,
    keeping_outputs_in_a_list,
]  # fmt: skip


@pytest.mark.parametrize("change", COMPUTED)
@each("make", [copy_network, settled_copy])
def test_copies_answer_as_the_network_after_a_training_step_and_leave_it_alone(change, make):
    net = trained(change(network()))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in net.named_modules()}
    random = torch.get_rng_state()
    twin = make(net, "tool")
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert {name: set(vars(module)) for name, module in net.named_modules()} == attributes
    assert all(p.grad is not None for p in net.parameters())
    assert twin.training == (make is copy_network)
    assert torch.equal(answer(twin.eval()), answer(net.eval()))
    shared = {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in twin.parameters()}
    assert not shared


@each("change", [pruned, old_spectral_norm, old_weight_norm])
@each("make", [copy_network, settled_copy])
def test_copies_have_the_weights_that_were_loaded_last(change, make):
    ours, theirs = change(network(0)).eval(), change(network(1)).eval()
    answer(ours), answer(theirs)
    ours.load_state_dict(theirs.state_dict())
    stale = ours[3].weight.clone()
    twin = make(ours, "tool")
    assert torch.equal(ours[3].weight, stale)  # the original is as it was
    assert not torch.equal(twin[3].weight, stale)
    assert torch.equal(twin[3].weight, theirs[3].weight)


@pytest.mark.parametrize("change", [pruned, old_spectral_norm, old_weight_norm, new_weight_norm, own_parametrization])
def test_settled_layers_are_plain(change):
    net = change(network())
    layer = settled_copy(net, "tool")[3]
    assert type(layer) is snn.GroupConv2d
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    assert custom_behaviour(layer) is None
    assert isinstance(layer.weight, nn.Parameter)
    copied = copy_network(net, "tool")[3]
    assert type(copied) is type(net[3])  # a copy to train on keeps what computes its weight
    assert copied.state_dict().keys() == net[3].state_dict().keys()


def test_computed_weights_of_modules_with_code_of_their_own_stay_computed():
    class Own(snn.GroupConv2d):
        def forward(self, x):
            return super().forward(x) + self.weight_orig.mean()

    net = network().eval()
    net[3] = Own(4, 4, 3, "p4")
    prune.l1_unstructured(net[3], "weight", 0.3)
    assert torch.equal(answer(settled_copy(net, "tool")), answer(net))


def test_two_computations_of_one_weight_are_both_renewed():
    def make(seed):
        net = old_spectral_norm(network(seed)).eval()
        prune.random_unstructured(net[3], "bias", 0.5)
        prune.random_unstructured(net[3], "bias", 0.5)
        return net

    ours, theirs = make(0), make(1)
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(answer(settled_copy(ours, "tool")), answer(theirs))


def patched_by_closure(net):
    inner = net[3].forward
    net[3].forward = lambda x: 2 * inner(x)


def patched_by_default(net):
    net[3].forward = lambda x, layer=net[3], inner=snn.GroupConv2d.forward: 2 * inner(layer, x)


def patched_by_partial(net):
    def scaled(layer, x):
        return 2 * type(layer).forward(layer, x)

    net[3].forward = functools.update_wrapper(functools.partial(scaled, net[3]), net[3].forward)


def patched_through_functions(net):
    inner = net[3].forward

    def twice(function):
        @functools.wraps(function)
        def run(x):
            return 2 * function(x)

        return run

    net[3].forward = twice(inner)


INNER = None


def patched_through_a_global(net):
    global INNER
    INNER = net[3].forward
    net[3].forward = lambda x: 2 * INNER(x)


@pytest.mark.parametrize(
    "patch",
    [patched_by_closure, patched_by_default, patched_by_partial, patched_through_functions, patched_through_a_global],
)
def test_a_patched_forward_runs_the_layer_of_the_copy(patch):
    net = network().eval()
    patch(net)
    twin = copy_network(net, "tool")
    expected = answer(net)
    assert torch.equal(answer(twin), expected)
    with torch.no_grad():
        net[3].weight.zero_()
        assert not torch.equal(answer(net), expected)
        assert torch.equal(answer(twin), expected)


def test_a_hook_that_reads_another_layer_reads_that_of_the_copy():
    net = network().eval()
    net[7].register_forward_hook(lambda module, arguments, output: output + net[3].weight.mean())
    twin = copy_network(net, "tool")
    expected = answer(twin)
    assert torch.equal(answer(net), expected)
    with torch.no_grad():
        net[3].weight.add_(1)
    assert torch.equal(answer(twin), expected)


def test_a_hook_that_counts_goes_on_counting():
    net, calls = network().eval(), []
    net[3].register_forward_hook(lambda module, arguments, output: calls.append(1))
    answer(copy_network(net, "tool"))
    assert calls == [1]


def test_what_cannot_be_copied_is_said():
    net = network()
    net.lines = (line for line in ())
    with pytest.raises(ValueError, match=r"^tool: Sequential cannot be copied with copy.deepcopy"):
        copy_network(net, "tool")
    with pytest.raises(ValueError, match=r"^tool: 1.weight has no shape yet; run the network on one batch first"):
        copy_network(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "tool")


def test_weights_without_values_are_not_settled():
    with pytest.raises(ValueError, match=r"^tool: 0.weight has no values \(it is on the device 'meta'\); load"):
        settled_copy(network().to("meta"), "tool")


def test_scripted_networks_are_copied():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        traced = torch.jit.trace(net, images())
    assert torch.equal(answer(settled_copy(traced, "tool")), answer(net))


def test_what_was_compiled_in_place_is_copied_as_it_was():
    net = network().eval()
    net.compile(backend="eager")
    twin = copy_network(net, "tool")
    assert twin._compiled_call_impl is None
    assert net._compiled_call_impl is not None
    assert torch.equal(answer(twin), answer(copy.deepcopy(net)))


# ---------------------------------------------------------------------------------------------------- foreign behaviour


class Unchanged(snn.GroupConv2d):
    def __init__(self):
        super().__init__(4, 4, 3, "p4")
        self.note = "mine"

    def reset_parameters(self):
        nn.init.ones_(self.weight)

    def extra_repr(self):
        return "mine"

    def summary(self):
        return self.weight.mean()


class Forward(snn.GroupConv2d):
    def forward(self, x):
        return super().forward(x).relu()


class Called(snn.GroupConv2d):
    def __call__(self, x):
        return 2 * super().__call__(x)


class Composed(snn.SeparableGroupConv2d):
    def compose(self):
        return super().compose().flip(0)


class Stride(snn.GroupConv2d):
    @property
    def stride(self):
        return (2, 2)


class Mixin:
    def forward(self, x):
        return -super().forward(x)


class Mixed(Mixin, snn.GroupConv2d):
    pass


class Standardised(snn.GroupConv2d):
    """Its new property over the weight is what whoever reads the weight gets."""

    def __init__(self):
        super().__init__(4, 4, 3, "p4")
        self.raw = nn.Parameter(self._parameters.pop("weight").detach())

    @property
    def weight(self):
        if "raw" not in self._parameters:
            raise AttributeError("weight")
        return self.raw - self.raw.mean()


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (Forward, "a forward of its own"),
        (Called, "a __call__ of its own"),
        (Composed, "a compose of its own"),
        (Stride, "a stride of its own"),
        (Mixed, "a forward of its own"),
    ],
)
def test_a_subclass_that_answers_otherwise_is_foreign(kind, what):
    assert custom_behaviour(kind(4, 4, 3, "p4")) == what
    assert custom_behaviour(kind(4, 4, 3, "p4"), known=(kind,)) is None  # a rule of the user's knows it


def test_subclasses_that_change_no_answer_are_not():
    assert custom_behaviour(Unchanged()) is None
    assert custom_behaviour(Standardised()) is None
    assert all(custom_behaviour(layer) is None for layer in network().modules())


def test_what_takes_part_in_training_counts_where_it_matters():
    class Frozen(snn.GroupBatchNorm2d):
        def train(self, mode=True):
            return super().train(False)

    assert custom_behaviour(Frozen(4)) is None
    assert custom_behaviour(Frozen(4), training=True) == "a train of its own"


@pytest.mark.parametrize(
    ("register", "words"),
    [
        ("register_forward_hook", "forward hook"),
        ("register_forward_pre_hook", "forward pre-hook"),
        ("register_full_backward_hook", "backward hook"),
        ("register_full_backward_pre_hook", "backward pre-hook"),
    ],
)
def test_hooks_are_foreign_until_they_are_removed(register, words):
    layer = snn.GroupConv2d(4, 4, 3, "p4")

    def look(*arguments):
        return None

    handle = getattr(layer, register)(look)
    assert custom_behaviour(layer).startswith(f"a {words} (")
    assert "look" in custom_behaviour(layer)
    handle.remove()
    assert custom_behaviour(layer) is None


@pytest.mark.parametrize("name", ["forward", "_conv_forward"])
def test_replaced_methods_are_foreign(name):
    layer = nn.Conv2d(1, 1, 3)
    setattr(layer, name, getattr(layer, name))
    assert custom_behaviour(layer) == f"a {name} that was put in its place"


def test_refusals_name_layer_class_and_behaviour():
    net = network()
    net[3].register_forward_hook(Recorder().look)
    with pytest.raises(
        ValueError,
        match=r"^tool: layer '3' \(GroupConv2d\) has a forward hook \(Recorder.look\), which would be lost; remove it",
    ):
        raise_if_customised("tool", net.named_modules(), "remove it", known=(nn.Sequential,))
    assert customised_layers(net) == "layer '3' (GroupConv2d) has a forward hook (Recorder.look)"
    assert customised_layers(network()) == ""


def test_hooks_on_all_modules_are_refused():
    raise_if_global_hooks("tool")
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, arguments, output: None)
    try:
        with pytest.raises(ValueError, match=r"^tool: a hook on all modules is registered"):
            raise_if_global_hooks("tool")
    finally:
        handle.remove()
