"""`sepgconv.nn.Sequential` is `torch.nn.Sequential`: numbers, gradients, statistics, state, hooks; only fewer bytes."""

import copy
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv import nn as layers

pytestmark = pytest.mark.usefixtures("float64")

WIDTH = 3


def conv(group="p4", **options):
    return layers.SeparableGroupConv2d(WIDTH, WIDTH, 3, group, padding=1, **{"execution": "fourier", **options})


def norm(**options):
    return layers.GroupBatchNorm2d(WIDTH, **options)


def lists(group="p4"):
    """Chains in which neighbours go together, and chains in which they must not."""
    return {
        "norm relu conv": [norm(), nn.ReLU(), conv(group)],
        "dense mixing": [norm(), nn.ReLU(), conv(group, execution="separable", recompute=True)],
        "not told": [norm(), nn.ReLU(), conv(group, execution="separable")],
        "keeping": [norm(), nn.ReLU(), conv(group, execution="separable", recompute=False)],
        "composed": [norm(), nn.ReLU(), conv(group, execution="composed")],
        "sharing g": [norm(), nn.ReLU(), conv(group, execution="separable", sharing="g")],
        "auto": [norm(), nn.ReLU(), conv(group, execution="auto")],
        "norm relu pool": [norm(), nn.ReLU(), layers.MaxPool2d(2), conv(group)],
        "in-place relu": [conv(group), norm(), nn.ReLU(inplace=True), conv(group), nn.ReLU(inplace=True)],
        "in-place relu, pool": [conv(group), norm(), nn.ReLU(inplace=True), layers.MaxPool2d(2)],
        "twice": [norm(), nn.ReLU(), conv(group), norm(), nn.ReLU(), conv(group)],
        "norm first": [nn.ReLU(), norm(), nn.Identity(), conv(group), norm()],
        "another activation": [norm(), nn.GELU(), conv(group)],
        "ends in relu": [conv(group), norm(), nn.ReLU()],
        "full": [norm(), nn.ReLU(), layers.GroupConv2d(WIDTH, WIDTH, 3, group)],
        "no affine": [norm(affine=False), nn.ReLU(), conv(group)],
        "no statistics": [norm(track_running_stats=False), nn.ReLU(), conv(group)],
        "averaged statistics": [norm(momentum=None, eps=0.1), nn.ReLU(), conv(group)],
        "nested": [nn.Sequential(norm()), nn.Sequential(nn.ReLU(), layers.Sequential(conv(group), norm())), nn.ReLU(),
                   conv(group)],
        "empty": [],
    }  # fmt: skip


CHAINS = list(lists())


def stirred(chain):
    with torch.no_grad():
        for name, value in chain.state_dict().items():
            if value.is_floating_point() and value.ndim == 1:
                value.uniform_(0.5, 1.5) if not name.endswith("bias") else value.normal_()
    return chain


def twins(modules):
    """The same modules, ours and torch's, with parameters of their own."""
    ours = stirred(layers.Sequential(*modules))
    return ours, nn.Sequential(*copy.deepcopy(list(ours)))


def maps(group="p4", batch=2):
    return torch.randn(batch, WIDTH, sepgconv.group(group).order, 6, 8)


def gradients(chain, x):
    leaf = x.clone().requires_grad_()
    leaves = [leaf, *chain.parameters()]
    y = chain(leaf)
    weight = torch.linspace(-1, 1, y.numel()).view(y.shape)
    return [y.detach(), *torch.autograd.grad((y.sin() * weight).sum(), leaves)]


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_is_the_chain_of_torch(name, training):
    ours, theirs = twins(lists()[name])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.train(training)
    theirs.train(training)
    for step in range(2):
        x = maps() + step
        assert_same(gradients(ours, x), gradients(theirs, x))
        assert_same(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("name", ["norm relu conv", "norm relu pool", "nested"])
def test_on_every_group(group, name):
    ours, theirs = twins(lists(group)[name])
    x = maps(group)
    assert_same(gradients(ours, x), gradients(theirs, x))
    assert_same(ours.state_dict(), theirs.state_dict())


@torch.no_grad()
@pytest.mark.parametrize("name", CHAINS)
def test_training_mode_without_gradients_moves_the_statistics(name):
    ours, theirs = twins(lists()[name])
    x = maps()
    assert_same(ours(x), theirs(x))
    assert_same(ours.state_dict(), theirs.state_dict())


def kept(run):
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = run()
    assert y.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize(
    ("name", "allowed"), [("norm relu conv", 1), ("dense mixing", 1), ("norm relu pool", 1 + 1 / 16 + 1 / 4)]
)
def test_keeps_one_map_where_torch_keeps_more(name, allowed):
    """Allowed: the input; a pool keeps 2 bytes for every 4 pixels of 8 bytes; the layer after it its own input."""
    ours, theirs = twins(lists()[name])
    per_picture = {}
    for chain in (ours, theirs):
        sizes = []
        for batch in (2, 6):
            x = layers.AvgPool2d(1)(maps(batch=batch))  # in the layout of the library
            sizes.append(kept(lambda chain=chain, x=x: chain(x)))
        per_picture[chain] = (sizes[1] - sizes[0]) / 4
    image = x[0].numel() * x.element_size()
    assert per_picture[ours] <= allowed * image
    assert per_picture[theirs] >= per_picture[ours] + image


class TestHooks:
    """A module with hooks runs by itself, and its hooks fire as often as in torch's chain."""

    KINDS = ("forward", "forward_pre", "full_backward", "full_backward_pre")

    @staticmethod
    def watch(module, kind, calls):
        getattr(module, f"register_{kind}_hook")(lambda *args: calls.append(kind))

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("place", range(4))
    @pytest.mark.parametrize("name", ["norm relu conv", "norm relu pool"])
    def test_fire(self, name, place, kind):
        ours, theirs = twins(lists()[name])
        if place >= len(ours):
            pytest.skip("the chain is shorter")
        found, expected = [], []
        self.watch(ours[place], kind, found)
        self.watch(theirs[place], kind, expected)
        x = maps()
        assert_same(gradients(ours, x), gradients(theirs, x))
        assert found == expected == [kind]

    def test_fire_on_a_nested_chain(self):
        ours, theirs = twins(lists()["nested"])
        for index in (0, 1):
            found, expected = [], []
            for kind in self.KINDS:
                self.watch(ours[index], kind, found)
                self.watch(theirs[index], kind, expected)
            x = maps()
            assert_same(gradients(ours, x), gradients(theirs, x))
            assert sorted(found) == sorted(expected) == sorted(self.KINDS)

    def test_may_change_what_passes(self):
        ours, theirs = twins(lists()["norm relu conv"])
        for chain in (ours, theirs):
            chain[1].register_forward_hook(lambda module, args, y: 2 * y + 1)
        x = maps()
        assert_same(gradients(ours, x), gradients(theirs, x))

    def test_of_all_modules_fire_on_all_modules(self):
        """Hooks that `torch.nn.modules.module` keeps for every module: profilers use them."""
        ours, theirs = twins(lists()["norm relu conv"])
        seen = []
        handle = torch.nn.modules.module.register_module_forward_hook(
            lambda module, args, y: seen.append(type(module).__name__)
        )
        try:
            ours(maps())
            found, seen[:] = list(seen), []
            theirs(maps())
        finally:
            handle.remove()
        assert found == seen == ["GroupBatchNorm2d", "ReLU", "SeparableGroupConv2d", "Sequential"]

    def test_removed_hooks_are_forgotten(self):
        ours, _ = twins(lists()["norm relu conv"])
        handle = ours[1].register_forward_hook(lambda *args: None)
        apart = kept(lambda: ours(maps()))
        handle.remove()
        assert kept(lambda: ours(maps())) < apart


@pytest.mark.parametrize("place", range(3))
def test_subclasses_run_by_themselves(place):
    """What a subclass does is not known, so its own forward is called."""
    modules = lists()["norm relu conv"]
    original = type(modules[place])

    class Doubling(original):
        def forward(self, input):
            return 2 * super().forward(input)

    modules[place].__class__ = Doubling
    ours, theirs = stirred(layers.Sequential(*modules)), nn.Sequential(*modules)
    x = maps()
    assert_same(gradients(ours, x), gradients(theirs, x))
    doubled = ours.eval()(x)
    modules[place].__class__ = original
    assert not torch.allclose(ours(x), doubled)  # negative control: doubling is seen


@pytest.mark.parametrize("place", range(3))
def test_a_forward_of_one_module_alone_is_called(place):
    """Tools that wrap modules write to `module.forward`."""
    modules = lists()["norm relu conv"]
    ours, calls = layers.Sequential(*modules), []
    plain = modules[place].forward
    modules[place].forward = lambda *args, **kwargs: calls.append(1) or plain(*args, **kwargs)
    ours(maps())
    assert calls == [1]


def test_a_module_that_stands_twice_runs_twice():
    relu, mixing, bn = nn.ReLU(), conv(), norm()
    modules = [mixing, relu, mixing, bn, relu, mixing, bn, relu, mixing, relu]
    ours, theirs = layers.Sequential(*modules), nn.Sequential(*modules)
    x = maps()
    state = copy.deepcopy(ours.state_dict())
    expected = gradients(theirs, x)
    ours.load_state_dict(state)
    assert_same(gradients(ours, x), expected)
    assert int(bn.num_batches_tracked) == 2


def test_is_built_cut_and_grown_as_torchs():
    ours, theirs = twins(lists()["twice"])
    x = maps()
    for part, other in ((ours[:2], theirs[:2]), (ours[1:5], theirs[1:5]), (ours[3:], theirs[3:])):
        assert type(part) is layers.Sequential
        assert_same(gradients(part, x), gradients(other, x))
    for chain in (ours, theirs):
        torch.manual_seed(3)
        chain.append(norm()).append(nn.ReLU())
        chain.insert(0, nn.Identity())
        chain.extend([conv(), nn.Flatten()])
        del chain[1]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert_same(gradients(ours, x), gradients(theirs, x))
    named = layers.Sequential(OrderedDict(norm=norm(), relu=nn.ReLU(), conv=conv()))
    assert next(iter(named.state_dict())) == "norm.weight"
    assert isinstance(named, nn.Sequential)
    named(x)
    assert int(named.norm.num_batches_tracked) == 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda chain: pickle.loads(pickle.dumps(chain))])
def test_copies(copied):
    ours, _ = twins(lists()["nested"])
    x = maps()
    assert_same(gradients(copied(ours), x), gradients(ours, x))


def test_synchronised_batch_norm_runs_by_itself():
    ours, theirs = twins(lists()["twice"])
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(ours))
    assert type(converted) is layers.Sequential
    assert [type(module) for module in converted][:2] == [nn.SyncBatchNorm, nn.ReLU]
    x = maps()
    assert_same(gradients(converted, x), gradients(theirs, x))
    assert_same(converted.state_dict(), theirs.state_dict())


def test_frozen_norms_keep_their_statistics():
    """A norm in evaluation inside a network in training, as in fine-tuning."""
    ours, theirs = twins(lists()["twice"])
    for chain in (ours, theirs):
        chain[0].eval()
        chain[3].requires_grad_(False)
    x, before = maps(), ours[0].running_mean.clone()
    for chain in (ours, theirs):
        chain(x).pow(2).sum().backward()
    assert torch.equal(ours[0].running_mean, before)
    assert ours[3].weight.grad is None
    assert_same(ours.state_dict(), theirs.state_dict())
    assert_same([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])


def test_second_derivatives():
    ours, theirs = twins(lists()["twice"])
    x, found = maps(), []
    for chain in (ours, theirs):
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(chain(leaf).pow(2).sum(), leaf, create_graph=True)
        found.append(torch.autograd.grad(first.pow(2).sum(), [leaf, *chain.parameters()], allow_unused=True))
    assert_same(*[[g for g in f if g is not None] for f in found])


def test_functional_call_and_replicas():
    ours, theirs = twins(lists()["twice"])
    other = {name: torch.rand_like(p) for name, p in ours.named_parameters()}
    x = maps()
    expected = torch.func.functional_call(theirs, other, (x,))
    assert_same(torch.func.functional_call(ours, other, (x,)), expected)
    replica = copy.copy(ours)
    replica._modules = {}
    for name, module in ours.named_children():  # as DataParallel does: parameters become ordinary attributes
        twin = module._replicate_for_data_parallel()
        for key, p in module.named_parameters(recurse=False):
            setattr(twin, key, p * 1)
        for key, buffer in module.named_buffers(recurse=False):
            twin._buffers[key] = buffer.clone()
        replica._modules[name] = twin
    assert_same(replica(x), ours(x))


def test_a_batch_that_the_convolution_refuses_is_refused(unchecked):
    ours, theirs = twins([norm(), nn.ReLU(), conv(group="p4m")])
    for chain in (ours, theirs):
        with pytest.raises(ValueError, match="the maps have 4 poses"):
            chain(maps("p4"))
    with pytest.raises(ValueError, match="lift images with LiftingConv2d first"):
        ours(torch.zeros(2, WIDTH, 6, 6))
