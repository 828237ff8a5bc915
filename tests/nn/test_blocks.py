"""Blocks are `torch.nn.Sequential` of their modules: numbers, gradients, statistics, state, hooks; only fewer bytes."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.modules import module as hooks_of_all
from torch.nn.utils import parametrizations, prune

import sepgconv
from sepgconv import nn as layers
from tests.covering import each

pytestmark = pytest.mark.usefixtures("float64")

WIDTH = 3
CONV = {"padding": 1, "execution": "fourier"}
FULL = {"conv_layer": layers.GroupConv2d, "padding": 1}


def pre(group="p4", **options):
    return layers.NormActConv(WIDTH, WIDTH, 3, group, **(options if "conv_layer" in options else {**CONV, **options}))


def post(group="p4", **options):
    return layers.ConvNormAct(WIDTH, WIDTH, 3, group, **(options if "conv_layer" in options else {**CONV, **options}))


def norm(**options):
    return partial(layers.GroupBatchNorm2d, **options)


CHAIN = layers.ConvNormActSequential
# Blocks that run several modules as one step, and blocks that must not, each from the name of a group.
BLOCKS = {
    "norm relu conv": lambda group: pre(group),
    "torch's relu": lambda group: pre(group, act_layer=nn.ReLU),
    "dense mixing": lambda group: pre(group, execution="separable", recompute=True),
    "not told": lambda group: pre(group, execution="separable"),
    "keeping": lambda group: pre(group, execution="separable", recompute=False),
    "composed": lambda group: pre(group, execution="composed"),
    "sharing g": lambda group: pre(group, execution="separable", sharing="g"),
    "auto": lambda group: pre(group, execution="auto"),
    "full": lambda group: pre(group, **FULL),
    "another activation": lambda group: pre(group, act_layer=nn.GELU),
    "another norm": lambda group: pre(group, norm_layer=layers.GroupLayerNorm),
    "no affine": lambda group: pre(group, norm_layer=norm(affine=False)),
    "no statistics": lambda group: pre(group, norm_layer=norm(track_running_stats=False)),
    "averaged statistics": lambda group: pre(group, norm_layer=norm(momentum=None, eps=0.1)),
    "apart": lambda group: pre(group, joint=False),
    "conv norm relu": lambda group: post(group),
    "conv norm relu, full": lambda group: post(group, **FULL),
    "conv norm gelu": lambda group: post(group, act_layer=nn.GELU),
    "chain": lambda group: CHAIN(post(group), post(group, **FULL), post(group)),
    "chain with pool": lambda group: CHAIN(post(group), layers.MaxPool2d(2), post(group), pre(group)),
    "chain of others": lambda group: CHAIN(
        post(group, act_layer=nn.GELU), post(group, joint=False), nn.Identity(), post(group)
    ),
    "empty chain": lambda group: CHAIN(),
}
NAMES = list(BLOCKS)


def stirred(block):
    with torch.no_grad():
        for name, value in block.state_dict().items():
            if value.is_floating_point() and value.ndim == 1:
                value.uniform_(0.5, 1.5) if not name.endswith("bias") else value.normal_()
    return block


def plain(block):
    """A copy of the same modules in chains of torch."""
    if not isinstance(block, nn.Sequential):
        return copy.deepcopy(block)
    chain = nn.Sequential().train(block.training)
    for name, child in block.named_children():
        chain.add_module(name, plain(child))
    return chain


def twins(name, group="p4"):
    ours = stirred(BLOCKS[name](group))
    return ours, plain(ours)


def maps(group="p4", batch=2):
    return torch.randn(batch, WIDTH, sepgconv.group(group).order, 6, 8)


def gradients(chain, x):
    leaf = x.clone().requires_grad_()
    y = chain(leaf)
    weight = torch.linspace(-1, 1, y.numel()).view(y.shape)
    return [y.detach(), *torch.autograd.grad((y.sin() * weight).sum(), [leaf, *chain.parameters()])]


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@each("training", [True, False])
def test_is_the_chain_of_torch(name, training):
    ours, theirs = twins(name)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.train(training)
    theirs.train(training)
    for step in range(2):
        x = maps() + step
        assert_same(gradients(ours, x), gradients(theirs, x))
        assert_same(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("name", ["norm relu conv", "chain with pool"])
def test_on_every_group(group, name):
    ours, theirs = twins(name, group)
    x = maps(group)
    assert_same(gradients(ours, x), gradients(theirs, x))
    assert_same(ours.state_dict(), theirs.state_dict())


@torch.no_grad()
@each("name", NAMES)
def test_training_mode_without_gradients_moves_the_statistics(name):
    ours, theirs = twins(name)
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


# A pool keeps 2 bytes for every 4 pixels of 8 bytes; a block with a convolution before its norm keeps its input, too.
@pytest.mark.parametrize(
    ("name", "allowed"),
    [("norm relu conv", 1), ("dense mixing", 1), ("torch's relu", 1), ("chain", 6), ("chain with pool", 2.82)],
)
def test_keeps_one_map_where_torch_keeps_more(name, allowed):
    ours, theirs = twins(name)
    image, per_image = maps(batch=1), []
    for chain in (ours, theirs):
        sizes = []
        for batch in (2, 6):
            x = layers.AvgPool2d(1)(maps(batch=batch))  # in the layout of the library
            sizes.append(kept(lambda chain=chain, x=x: chain(x)))
        per_image.append((sizes[1] - sizes[0]) / 4 / (image.numel() * image.element_size()))
    assert per_image[0] <= allowed
    assert per_image[1] >= per_image[0] + 1


def test_a_norm_with_relu_keeps_one_map_whatever_follows():
    block = post()
    x = layers.AvgPool2d(1)(maps())
    joint = kept(lambda: block(x).sum())
    block.joint = False
    assert kept(lambda: block(x).sum()) >= joint + x.numel() * x.element_size()


KINDS = ("forward", "forward_pre", "full_backward", "full_backward_pre")
WATCHED = ("norm relu conv", "conv norm relu", "chain", "chain with pool")


def watch(module, kind, calls):
    return getattr(module, f"register_{kind}_hook")(lambda *args: calls.append(kind))


class TestHooks:
    """A module with hooks runs by itself, and its hooks fire as often as in torch's chain, on the same tensors."""

    @each("kind", KINDS)
    @pytest.mark.parametrize("name", WATCHED)
    def test_fire(self, name, kind):
        paths = [path for path, _ in BLOCKS[name]("p4").named_modules()]
        if "chain" in name:  # of blocks whose modules are watched in every way already: each module in one way
            paths = paths[KINDS.index(kind) :: len(KINDS)]
        for path in paths:
            ours, theirs = twins(name)
            found, expected = [], []
            watch(ours.get_submodule(path), kind, found)
            watch(theirs.get_submodule(path), kind, expected)
            x = maps()
            assert_same(gradients(ours, x), gradients(theirs, x))
            assert found == expected == [kind], path

    @pytest.mark.parametrize("name", WATCHED)
    def test_see_the_tensors_of_their_module(self, name):
        """What users collect as features, and the inputs of a convolution, as second-order optimisers collect them."""
        for path, _ in BLOCKS[name]("p4").named_modules():
            seen, x = [], maps()
            for chain in twins(name):
                chain.get_submodule(path).register_forward_hook(
                    lambda module, args, y, seen=seen: seen.extend([args[0], y])
                )
                chain(x)
            assert_same(seen[:2], seen[2:])

    @pytest.mark.parametrize("name", WATCHED)
    def test_may_change_what_passes(self, name):
        for path, _ in BLOCKS[name]("p4").named_modules():
            ours, theirs = twins(name)
            for chain in (ours, theirs):
                chain.get_submodule(path).register_forward_hook(lambda module, args, y: 2 * y + 1)
            x = maps()
            assert_same(gradients(ours, x), gradients(theirs, x))

    @each("kind", ["forward", "forward_pre", "full_backward_pre"])
    @each("name", WATCHED)
    def test_of_all_modules_fire_on_all_modules(self, name, kind):
        ours, theirs = twins(name)
        seen, x = [], maps()
        handle = getattr(hooks_of_all, f"register_module_{kind}_hook")(
            lambda module, *args: seen.append(type(module).__name__)
        )
        try:
            gradients(ours, x)
            found, seen[:] = sorted(seen), []
            gradients(theirs, x)
        finally:
            handle.remove()
        names = {"ConvNormAct": "Sequential", "NormActConv": "Sequential", "ConvNormActSequential": "Sequential"}
        assert sorted(names.get(kind, kind) for kind in found) == sorted(seen)
        assert len(seen) >= 4

    def test_full_backward_hooks_of_all_modules_fire_on_what_is_called(self, monkeypatch):
        """The one kind that nobody can see: documented, and `joint` is the way out."""
        monkeypatch.setattr(hooks_of_all, "_global_is_full_backward_hook", None)
        block, seen = pre(), []
        handle = hooks_of_all.register_module_full_backward_hook(
            lambda module, *args: seen.append(type(module).__name__)
        )
        try:
            gradients(block, maps())
            joint, seen[:] = sorted(seen), []
            block.joint = False
            gradients(block, maps())
        finally:
            handle.remove()
        assert joint == ["NormActConv", "SeparableGroupConv2d"]
        assert sorted(seen) == ["GroupBatchNorm2d", "NormActConv", "ReLU", "SeparableGroupConv2d"]

    def test_removed_hooks_are_forgotten(self):
        block, x = pre(), maps()
        for child in block:
            handle = child.register_forward_hook(lambda *args: None)
            apart = kept(lambda: block(x))
            handle.remove()
            assert kept(lambda: block(x)) < apart

    def test_of_a_copy_are_its_own(self):
        block = pre()
        block.act.register_forward_hook(print)
        for twin in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
            assert twin.act.is_observed
            assert not twin.norm.is_observed
        handle = block.norm.register_forward_pre_hook(print)
        twin = copy.deepcopy(block)
        handle.remove()
        assert twin.norm.is_observed
        assert not block.norm.is_observed


@each("name", ["norm", "act", "conv"])
@each("make", [pre, post])
def test_a_subclass_runs_by_itself(make, name):
    block, x = make(), maps()
    original = type(getattr(block, name))
    getattr(block, name).__class__ = type(
        "Doubling", (original,), {"forward": lambda self, input: 2 * original.forward(self, input)}
    )
    theirs = plain(block)
    assert_same(gradients(block, x), gradients(theirs, x))
    doubled = block.eval()(x)
    getattr(block, name).__class__ = original
    assert not torch.allclose(block(x), doubled)  # negative control: doubling is seen


@each("name", ["norm", "act", "conv"])
@each("make", [pre, post])
def test_a_forward_of_one_module_alone_is_called(make, name):
    """Tools that wrap modules write to `module.forward`."""
    block, calls = make(), []
    module = getattr(block, name)
    original = module.forward
    module.forward = lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs)
    block(maps())
    assert calls == [1]


CHANGES = {
    "pruned": lambda block: prune.random_unstructured(block.conv, "depthwise", 0.5),
    "pruned norm": lambda block: prune.random_unstructured(block.norm, "weight", 1),
    "weight_norm": lambda block: parametrizations.weight_norm(block.conv, "pointwise"),
    "sync": nn.SyncBatchNorm.convert_sync_batchnorm,
    "norm in eval": lambda block: block.norm.eval(),
    "frozen norm": lambda block: block.norm.requires_grad_(False),
    "inserted": lambda block: block.insert(1, nn.GELU()),
    "grown": lambda block: block.append(nn.GELU()),
    "another act": lambda block: setattr(block, "act", nn.GELU()),
    "another norm": lambda block: setattr(block, "norm", layers.GroupLayerNorm(WIDTH)),
}


@pytest.mark.parametrize("make", [pre, post])
@each("change", CHANGES)
def test_what_was_changed_runs_as_the_chain(make, change):
    block, x = make(), maps()
    CHANGES[change](block)  # in place
    before = {key: value.clone() for key, value in block.state_dict().items()}
    found = []
    for chain in (block, nn.Sequential(*block)):  # of the same modules
        block.load_state_dict(before)
        block.zero_grad()
        y = chain(x)
        y.pow(2).sum().backward()
        gradients = {name: p.grad.clone() for name, p in block.named_parameters() if p.grad is not None}
        found.append((y.detach(), gradients, {key: value.clone() for key, value in block.state_dict().items()}))
    assert_same(*found)


def test_the_names_of_the_modules():
    for block in (pre(drop=0.5), post(drop=0.5)):
        assert isinstance(block.conv, layers.SeparableGroupConv2d)
        assert type(block.norm) is layers.GroupBatchNorm2d
        assert type(block.act) is layers.ReLU
        assert {name.partition(".")[0] for name in block.state_dict()} <= {"0", "1", "2"}
    assert [type(m).__name__ for m in pre(drop=0.5)] == [
        "GroupBatchNorm2d", "ReLU", "GroupDropout", "SeparableGroupConv2d"
    ]  # fmt: skip
    assert [type(m).__name__ for m in post(drop=0.5)] == [
        "SeparableGroupConv2d", "GroupBatchNorm2d", "ReLU", "GroupDropout"
    ]  # fmt: skip
    block = pre()
    block.act = nn.GELU()
    assert [name for name, _ in block.named_children()] == ["0", "1", "2"]
    assert block[1] is block.act
    with pytest.raises(AttributeError, match="bn"):
        _ = block.bn


def test_dropout_drops_in_training_only():
    for block in (pre(drop=0.9), post(drop=0.9)):
        x = maps(batch=8)
        assert not torch.equal(block(x), block(x))
        block.eval()
        assert torch.equal(block(x), block(x))
    dropped = post(drop=0.9)(maps(batch=8)).flatten(2)
    assert (dropped == 0).all(-1).any()


def test_channels_and_options_go_where_they_belong():
    block = layers.NormActConv(2, 5, 3, "p4m", sharing="g", dtype=torch.float32, bias=False)
    assert (block.norm.num_features, block.conv.out_channels, block.conv.sharing) == (2, 5, "g")
    assert {p.dtype for p in block.parameters()} == {torch.float32}
    assert block.conv.bias is None
    block = layers.ConvNormAct(2, 5, 3, "p4m", conv_layer=layers.LiftingConv2d)
    assert (block.norm.num_features, block.conv.in_channels) == (5, 2)


@pytest.mark.usefixtures("unchecked")
@each("make", [pre, post])
@each(
    ("options", "message"), [({"drop": 2}, "probability"), ({"padding": -1}, "padding"), ({"sharing": "x"}, "sharing")]
)
def test_wrong_options_are_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_a_part_is_a_chain_of_torch():
    block = pre()
    part = block[:2]
    assert type(part) is nn.Sequential
    assert list(part) == [block.norm, block.act]
    assert block[-1] is block.conv


@each("copied", [copy.deepcopy, lambda block: pickle.loads(pickle.dumps(block))])
@each("name", ["norm relu conv", "chain"])
def test_copies(copied, name):
    ours, _ = twins(name)
    x = maps()
    assert_same(gradients(copied(ours), x), gradients(ours, x))


@pytest.mark.parametrize("name", ["norm relu conv", "chain"])
def test_second_derivatives(name):
    found, x = [], maps()
    for chain in twins(name):
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(chain(leaf).pow(2).sum(), leaf, create_graph=True)
        found.append(torch.autograd.grad(first.pow(2).sum(), [leaf, *chain.parameters()], allow_unused=True))
    assert_same(*[[g for g in one if g is not None] for one in found])


def test_functional_call():
    ours, theirs = twins("chain")
    other = {name: torch.rand_like(p) for name, p in ours.named_parameters()}
    x = maps()
    expected = torch.func.functional_call(theirs, other, (x,))
    assert_same(torch.func.functional_call(ours, other, (x,)), expected)


def test_maps_that_the_convolution_refuses_are_refused(unchecked):
    for block in (pre("p4m"), post("p4m")):
        with pytest.raises(ValueError, match="the maps have 4 poses"):
            block(maps("p4"))


@pytest.mark.parametrize("name", ["norm relu conv", "conv norm relu", "chain with pool"])
def test_compiled_for_inference(name):
    """Norm and ReLU go into the convolution before them; where there is none, into one step."""
    block = stirred(BLOCKS[name]("p4")).eval()
    compiled = sepgconv.compile_for_inference(block)
    x = maps()
    with torch.no_grad():
        assert_same(compiled(x), block(x))
    assert not any(isinstance(module, nn.ReLU | nn.BatchNorm3d) for module in compiled.modules())
