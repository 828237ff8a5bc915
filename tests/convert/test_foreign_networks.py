"""Networks as people have them, times every tool that takes a layer for its class: the same answer, or a named refusal.

A kind changes a small network. A tool either answers as the changed network does, or names the layer in a ValueError.
What a kind must not be refused for, and what the tools must leave alone, is checked too; and the table itself, with
tools whose guards are taken off.
"""

import functools
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.spectral_norm import spectral_norm
from torch.optim.swa_utils import AveragedModel

import sepgconv
from sepgconv import nn as snn
from sepgconv._modules import unwrap
from sepgconv.analysis import certify, cost, redundancy
from sepgconv.analysis.certify.float64_copy import float64_copy
from sepgconv.convert import equivariant, operators, separate, to_onnx, to_plain, to_program
from sepgconv.convert import separation as separation_module
from sepgconv.convert.plain import layers as plain_layers
from sepgconv.convert.plain import network as plain_network
from sepgconv.convert.plain.onnx import open_session
from sepgconv.functional import group_conv2d
from sepgconv.inference import compilation
from sepgconv.inference.compilation import freeze
from sepgconv.inference.layers import FrozenConv2d
from sepgconv.models import save
from tests.covering import named

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),  # torch's own, of its compiler
    pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning"),
]

SHAPE = (1, 12, 12)
NORM, RELU, CONV, SEPARABLE, POOL, LINEAR = 1, 2, 3, 4, 5, 8
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 0.05, torch.bfloat16: 0.05}


def network(seed=0):
    """A small network of the library, with statistics of its own, in evaluation mode."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        snn.LiftingConv2d(1, 4, 3, "p4"), snn.GroupBatchNorm2d(4), nn.ReLU(), snn.GroupConv2d(4, 4, 3, "p4"),
        snn.SeparableGroupConv2d(4, 4, 3, "p4"), snn.GroupMaxPool(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip
    return stirred(net)


def ordinary(seed=0):
    """The same without a group, for `equivariant`."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3), nn.MaxPool2d(1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    return stirred(net)


def stirred(net):
    for key, value in net.state_dict().items():
        if value.ndim == 1:
            value.uniform_(0.5, 1.5) if "running" in key else value.normal_()
    return net.eval()


def images(dtype=torch.float32):
    return torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(5)).to(dtype)


def answer(net, x):
    with torch.no_grad():
        return net(x.clone())


# --------------------------------------------------------------------------------------------------------------- kinds


@dataclass(frozen=True)
class Kind:
    """One way in which a network is not what its classes say.

    Attributes:
        change: takes a network and returns it changed.
        place: what a refusal must say: path and class of the layer.
        free: whether no tool may refuse it, because nothing in it acts besides the classes.
        ordinary: whether it can be done to an ordinary network too.
        like: what answers alike, where running the changed network is slow (it would be compiled).
    """

    change: Callable[[nn.Module], nn.Module]
    place: str = ""
    free: bool = False
    ordinary: bool = True
    like: Callable[[nn.Module], nn.Module] | None = None

    @property
    def names(self):
        """What a refusal must match: "layer '3' (GroupConv2d)" or "3 (GroupConv2d)"."""
        return rf"(?<![\w.])'?({self.place})(\.\w+)*'? \(\w+\)"


KINDS: dict[str, Kind] = {}


def kind(place="", *, free=False, ordinary=True):
    def add(change):
        KINDS[change.__name__] = Kind(change, place, free, ordinary)
        return change

    return add


@kind(free=True)
def unchanged(net):
    return net


@kind("3")
def hook_that_changes_the_output(net):
    net[CONV].register_forward_hook(lambda module, arguments, output: 2 * output)
    return net


@kind("3")
def hook_that_writes_into_the_output(net):
    def double(module, arguments, output):
        output.mul_(2)

    net[CONV].register_forward_hook(double)
    return net


@kind("3")
def hook_that_acts_on_large_values_only(net):
    """As clamps of activations do, that nothing reaches on the pictures tried."""
    net[CONV].register_forward_hook(lambda module, arguments, output: output.clamp(max=1e6))
    return net


@kind("3")
def hook_that_changes_the_input(net):
    net[CONV].register_forward_pre_hook(lambda module, arguments: (arguments[0] + 1,))
    return net


@kind("3")
def hook_with_keywords(net):
    net[CONV].register_forward_hook(lambda module, arguments, keywords, output: output - 1, with_kwargs=True)
    return net


class Recorder:
    def __init__(self):
        self.seen = []

    def look(self, module, arguments, output):
        self.seen.append(output)


@kind("3")
def hook_that_only_looks(net):
    net[CONV].register_forward_hook(Recorder().look)
    return net


@kind("3")
def hook_that_looks_after_a_training_step(net):
    return stepped(hook_that_only_looks(net))


@kind("1")
def hook_on_the_norm(net):
    net[NORM].register_forward_pre_hook(lambda module, arguments: (arguments[0] - 0.5,))
    return net


@kind("2")
def hook_on_the_activation(net):
    net[RELU].register_forward_hook(lambda module, arguments, output: output + 0.25)
    return net


@kind("8")
def hook_on_the_linear_layer(net):
    net[LINEAR].register_forward_hook(lambda module, arguments, output: output.softmax(-1))
    return net


@kind("the network")
def hook_on_the_network(net):
    net.register_forward_hook(lambda module, arguments, output: -output)
    net.register_forward_pre_hook(lambda module, arguments: (2 * arguments[0],))
    return net


@kind("1")
def hook_on_a_chain_within(net):
    """Between the lifting convolution and the norm, which would otherwise be folded into it."""
    net[NORM] = nn.Sequential(net[NORM])
    net[NORM].register_forward_pre_hook(lambda module, arguments: (arguments[0] + 1,))
    return net


@kind("1")
def hook_on_a_chain_of_the_library(net):
    net[NORM] = snn.Sequential(net[NORM], nn.ReLU())
    net[NORM].register_forward_hook(lambda module, arguments, output: output - 1)
    return net


@kind("3")
def backward_hook(net):
    net[CONV].register_full_backward_hook(lambda module, given, taken: None)
    return net


@kind("3")
def patched_forward(net):
    inner = net[CONV].forward
    net[CONV].forward = lambda x: 1.5 * inner(x)
    return net


@kind("3")
def patched_as_accelerate_does(net):
    def new_forward(module, *arguments):
        return module._old_forward(*arguments) + 1

    layer = net[CONV]
    layer._old_forward = layer.forward
    layer.forward = functools.update_wrapper(functools.partial(new_forward, layer), layer._old_forward)
    return net


@kind("3")
def patched_by_another_layers_method(net):
    net[CONV].forward = net[RELU].forward
    return net


@kind("1")
def patched_chain(net):
    net[NORM] = nn.Sequential(net[NORM], nn.ReLU())
    net[NORM].forward = net[NORM][0].forward
    return net


@kind("1")
def doing_more_than_identity(net):
    class Shift(nn.Identity):
        def forward(self, input):
            return input + 1

    net[NORM] = nn.Sequential(Shift(), net[NORM])
    return net


def with_more(layer, name="forward"):
    """Give a layer a class derived from its own whose method does more."""
    base = type(layer)

    def more(self, x):
        return getattr(super(made, self), name)(x).tanh() + 0.5

    made = type(f"More{base.__name__}", (base,), {name: more})
    layer.__class__ = made
    return layer


def subclass_with_a_forward_of(index):
    def change(net):
        with_more(net[index])
        return net

    return change


for index, name in ((0, "the_first"), (NORM, "the_norm"), (RELU, "the_activation"), (CONV, "the_convolution"),
                    (SEPARABLE, "the_separable"), (POOL, "the_pool")):  # fmt: skip
    KINDS[f"subclass_of_{name}_with_a_forward"] = Kind(subclass_with_a_forward_of(index), str(index))


@kind("3")
def subclass_of_the_depthwise_with_a_forward(net):
    net[CONV] = nn.Sequential(with_more(snn.DepthwiseGroupConv2d(4, 3, "p4")), net[CONV])
    return net


KINDS["subclass_of_the_depthwise_with_a_forward"] = Kind(subclass_of_the_depthwise_with_a_forward, "3", ordinary=False)


@kind("3")
def subclass_with_a_call(net):
    with_more(net[CONV], "__call__")
    return net


@kind("3", ordinary=False)
def weight_standardised_subclass(net):
    class Standardised(snn.GroupConv2d):
        def forward(self, x):
            return group_conv2d(x, F.layer_norm(self.weight, self.weight.shape[1:]), self.group, self.bias)

    net[CONV].__class__ = Standardised
    return net


@kind("3", ordinary=False)
def subclass_with_another_stride(net):
    class Strided(snn.GroupConv2d):
        @property
        def stride(self):
            return (2, 2)

    net[CONV].__class__ = Strided
    return net


@kind("3", ordinary=False)
def subclass_with_another_method(net):
    class Shifted(snn.GroupBatchNorm2d):
        def normalize(self, input, step, *, relu=False):
            return super().normalize(input, step, relu=relu) + 1

    net[CONV] = nn.Sequential(Shifted(4).eval(), net[CONV])
    return net


@kind("3", ordinary=False)
def subclass_with_a_computed_weight(net):
    class Centred(snn.GroupConv2d):
        @property
        def weight(self):
            raw = self._parameters["raw"]
            return raw - raw.mean((1, 2, 3, 4), keepdim=True)

    net[CONV].register_parameter("raw", net[CONV]._parameters.pop("weight"))
    net[CONV].__class__ = Centred
    return net


@kind(free=True, ordinary=False)
def subclass_without_changes(net):
    class Mine(snn.GroupConv2d):
        def summary(self):
            return self.weight.mean()

        def extra_repr(self):
            return "mine"

    net[CONV].__class__ = Mine
    return net


@kind("1", ordinary=False)
def norm_that_stays_in_training(net):
    class Adapting(type(net[NORM])):
        def train(self, mode=True):
            return super().train(True)

    net[NORM].__class__ = Adapting
    net[NORM].train()
    net[NORM].track_running_stats = False
    return net


@kind(free=True)
def linear_layer_that_was_lazy(net):
    net[LINEAR] = nn.LazyLinear(3)
    answer(net, images())
    return net


def stepped(net):
    net.train()
    net(images()).square().sum().backward()
    return net.eval()


def pruned(net):
    prune.l1_unstructured(net[CONV], "weight", 0.3)
    prune.l1_unstructured(net[LINEAR], "weight", 0.3)
    return net


def weight_normed(net):
    torch.nn.utils.weight_norm(net[CONV])
    return net


def spectrally_normed(net):
    spectral_norm(net[CONV])
    spectral_norm(net[LINEAR])
    return net


class Symmetric(nn.Module):
    def forward(self, weight):
        return (weight + weight.flip(-1)) / 2


def parametrised(net, index):
    parametrize.register_parametrization(net[index], "weight", Symmetric())
    return net


COMPUTED = {
    "pruned": pruned,
    "old_weight_norm": weight_normed,
    "old_spectral_norm": spectrally_normed,
    "weight_norm": lambda net: parametrizations.weight_norm(net[CONV]) and net,
    "spectral_norm": lambda net: (
        parametrizations.spectral_norm(net[CONV]) and parametrizations.spectral_norm(net[8]) and net
    ),
    "own_parametrization": lambda net: parametrize.register_parametrization(net[CONV], "weight", Symmetric()) and net,
    "parametrised_norm": lambda net: parametrize.register_parametrization(net[NORM], "weight", Symmetric()) and net,
}


def loaded(change):
    """With the weights of another one, loaded after a call."""

    def both(net):
        ours, theirs = change(net), change(ordinary(1) if isinstance(net[0], nn.Conv2d) else network(1))
        answer(ours, images()), answer(theirs, images())
        ours.load_state_dict(theirs.state_dict())
        return ours

    return both


for name, change in COMPUTED.items():
    at = "1" if name == "parametrised_norm" else "3"
    KINDS[name] = Kind(change, at, free=True)
    KINDS[f"{name}_loaded"] = Kind(loaded(change), at, free=True)
    KINDS[f"{name}_stepped"] = Kind(lambda net, change=change: stepped(change(net)), at, free=True)


@kind("3", free=True)
def parametrised_subclass(net):
    net[CONV].__class__ = type("Mine", (type(net[CONV]),), {})
    return COMPUTED["own_parametrization"](net)


def chained(net):
    """The norm computes the weight from what pruning computes after it."""
    torch.nn.utils.weight_norm(net[CONV])
    prune.l1_unstructured(net[CONV], "weight_v", 0.4)
    return net


@kind("3", ordinary=False)
def chain_of_hooks_loaded(net):
    return loaded(chained)(net)


@kind(free=True, ordinary=False)
def chain_of_hooks(net):
    return chained(net)


@kind(free=True, ordinary=False)
def chain_of_hooks_loaded_and_run(net):
    changed = loaded(chained)(net)
    answer(changed, images())
    return changed


@kind(free=True, ordinary=False)
def pruned_all_over_and_twice(net):
    torch.manual_seed(2)
    prune.global_unstructured([(net[0], "weight"), (net[SEPARABLE], "pointwise")], prune.L1Unstructured, amount=0.4)
    prune.random_unstructured(net[CONV], "bias", 0.5)
    prune.random_unstructured(net[CONV], "weight", 0.3)
    prune.ln_structured(net[CONV], "weight", 0.3, n=2, dim=0)
    return net


@kind(free=True, ordinary=False)
def orthogonal(net):
    return parametrizations.orthogonal(net[CONV]) and parametrizations.orthogonal(net[LINEAR]) and net


def without_parameters(layer, keep):
    for name, value in list(layer.named_parameters()):
        delattr(layer, name)
        keep(layer, name, value.detach())


@kind(free=True, ordinary=False)
def weights_that_are_buffers(net):
    for index in (0, CONV, SEPARABLE):
        without_parameters(net[index], nn.Module.register_buffer)
    return net


@kind(free=True, ordinary=False)
def weights_that_are_plain_tensors(net):
    without_parameters(net[CONV], setattr)
    without_parameters(net[SEPARABLE], setattr)
    return net


def compiled(net):
    return torch.compile(net, backend="eager")


def as_it_is(net):
    return net


def compiled_in_place(net):
    net.compile(backend="eager")
    return net


WRAPPERS = {"compiled": compiled, "data_parallel": nn.DataParallel, "averaged": AveragedModel}
for name, wrap in WRAPPERS.items():
    KINDS[name] = Kind(wrap, free=True, like=as_it_is)
KINDS["averaged_and_compiled"] = Kind(lambda net: AveragedModel(compiled(net)), free=True, like=as_it_is)
KINDS["compiled_within"] = Kind(
    lambda net: nn.Sequential(compiled(net), nn.Tanh()), free=True, like=lambda net: nn.Sequential(net, nn.Tanh())
)
KINDS["compiled_in_place"] = Kind(compiled_in_place, free=True, like=as_it_is)
KINDS["half"] = Kind(lambda net: net.half(), free=True)
KINDS["bfloat16"] = Kind(lambda net: net.bfloat16(), free=True)
KINDS["double"] = Kind(lambda net: net.double(), free=True)


@kind(free=True)
def shared_layer(net):
    net[SEPARABLE] = net[CONV]
    return net


@kind(free=True)
def frozen(net):
    net[CONV].requires_grad_(False)
    net[LINEAR].weight.requires_grad_(False)
    return net


@kind(free=True)
def in_training(net):
    return net.train()


class Scaling(snn.GroupConv2d):
    """A layer of a user's, with rules of its own for the tools that have them."""

    def forward(self, x):
        return 3 * super().forward(x)


@kind("3", ordinary=False)
def layer_with_registered_rules(net):
    net[CONV].__class__ = Scaling
    return net


# --------------------------------------------------------------------------------------------------------------- tools


def run_program(net, folder):
    to_program(net, folder / "net.pt2", input_shape=SHAPE)
    return torch.export.load(folder / "net.pt2").module()


def run_onnx(net, folder):
    pytest.importorskip("onnxruntime")
    to_onnx(net, folder / "net.onnx", input_shape=SHAPE)
    return open_session(folder / "net.onnx")


TOOLS = {
    "compile_for_inference": lambda net, folder: sepgconv.compile_for_inference(net),
    "compile_for_inference with input_shape": lambda net, folder: sepgconv.compile_for_inference(
        net, input_shape=SHAPE
    ),
    "separate": lambda net, folder: separate(net, "gc", rank=99).model,
    "to_plain": lambda net, folder: to_plain(net, input_shape=SHAPE),
    "certify": lambda net, folder: certify(net, "p2", SHAPE) and float64_copy(net, "certify"),
    "to_program": run_program,
    "to_onnx": run_onnx,
}
# Slow ones are tried on part of the kinds; they go through `to_plain`, which is tried on all.
SLOW = {
    "to_program": (
        "unchanged", "hook_that_changes_the_output", "patched_forward", "subclass_of_the_convolution_with_a_forward",
        "pruned_stepped", "old_spectral_norm_loaded", "averaged", "hook_on_the_network",
    ),
    "to_onnx": ("hook_that_changes_the_input", "patched_forward", "old_weight_norm_loaded", "own_parametrization",
                "compiled"),
}  # fmt: skip


def snapshot(net):
    """What a tool must leave alone."""
    modules = dict(net.named_modules())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")
    return {
        "state": {key: value.clone() for key, value in net.state_dict().items()},
        "random": torch.get_rng_state(),
        "modes": {path: module.training for path, module in modules.items()},
        "classes": {path: type(module) for path, module in modules.items()},
        "attributes": {path: sorted(vars(module)) for path, module in modules.items()},
        "hooks": {
            path: [list(getattr(module, kind, {}).items()) for kind in hooks] for path, module in modules.items()
        },
        "frozen": {path: p.requires_grad for path, p in net.named_parameters()},
        "gradients": {path: p.grad is None for path, p in net.named_parameters()},
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


def changed_by(kind, build=network):
    return kind.change(build())


def expected_of(kind):
    """What the changed network answers, in evaluation mode, without touching the one that the tool gets."""
    net = (kind.like or kind.change)(network()).eval()
    dtype = next(p for p in net.parameters() if p.is_floating_point()).dtype
    return answer(net, images(dtype)), dtype


def verify(tool, name, folder, expected=None):
    """Try a tool on a kind; `expected` is what `expected_of` returns, where it is known.

    Raises:
        AssertionError: another answer, a refusal that names no layer, or something of the network was touched.
    """
    kind = KINDS[name]
    expected, dtype = expected or expected_of(kind)
    net = changed_by(kind)
    before = snapshot(net)
    try:
        result = TOOLS[tool](net, folder)
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = None
    if refusal is not None:
        assert not kind.free, f"{tool} refuses {name}: {refusal}"
        settled = name != "chain_of_hooks_loaded"  # whose next two calls differ
        assert not (settled and tool.startswith("compile")), f"{tool} may leave every layer as it is: {refusal}"
        assert re.search(kind.names, refusal), f"{tool} of {name}: {refusal}"
        return "refused"
    assert same(snapshot(net), before), f"{tool} touched {name}"
    if isinstance(result, nn.Module) and tool != "to_program":
        result = result.eval()
    x = images(dtype)
    wanted = torch.float64 if tool == "certify" else dtype
    found = answer(result, x.to(wanted))
    scale = float(expected.abs().max())
    difference = float((found.double() - expected.double()).abs().max()) / scale
    assert difference <= TOLERANCE[dtype], f"{tool} of {name} is {difference:.1e} off"
    return "converted"


def verify_equivariant(name):
    """Try `equivariant` on a kind: the network is built as if nothing were there, or the layer is named.

    Weights are fresh, so there is no answer to compare.
    """
    kind = KINDS[name]
    net = changed_by(kind, ordinary)
    before = snapshot(net)
    lost = name in COMPUTED or name.endswith(("_loaded", "_stepped")) or name == "parametrised_subclass"
    if kind.free and not lost:
        rebuilt = equivariant(net, "p4", input_shape=SHAPE)
        assert rebuilt.training == unwrap(net, "test").training
        dtype = next(rebuilt.parameters()).dtype
        assert answer(rebuilt.eval(), images(dtype)).shape == (3, 3)
    elif name.startswith("subclass") or name == "doing_more_than_identity":  # their code is read, if it can be
        try:
            rebuilt = equivariant(net, "p4", input_shape=SHAPE)
        except ValueError as error:
            refusal = str(error)
        else:
            refusal = None
        step = "add" if name == "doing_more_than_identity" else "tanh"
        kept = refusal is None and any(step in str(node.target) for node in rebuilt.graph.nodes)
        assert kept or re.search(rf"\b{kind.place}\b|cannot trace", refusal or "")
    else:
        with pytest.raises(ValueError, match=kind.names if kind.place else r"layer '[138]' \(\w+\)"):
            equivariant(net, "p4", input_shape=SHAPE)
    after = snapshot(net)
    assert same({**after, "random": None}, {**before, "random": None})  # new weights are drawn


TABLE = [(tool, name) for tool, name in itertools.product(TOOLS, KINDS) if tool not in SLOW or name in SLOW[tool]]


@freeze.register
def _(module: Scaling, size: tuple[int, int]) -> nn.Module:
    return freeze.dispatch(snn.GroupConv2d)(scaled(module), size)


@plain_layers.plain.register
def _(module: Scaling, to: plain_layers.Plain, example: torch.Tensor):
    return plain_layers.plain.dispatch(snn.GroupConv2d)(scaled(module), to, example)


def scaled(module):
    with torch.random.fork_rng():
        layer = snn.GroupConv2d(4, 4, 3, "p4")
    layer.load_state_dict({key: 3 * value for key, value in module.state_dict().items()})
    return layer


@pytest.mark.parametrize("name", KINDS)
def test_the_same_answer_or_a_refusal_that_names_the_layer(name, tmp_path):
    if KINDS[name].ordinary:
        with named(tool="equivariant"):
            verify_equivariant(name)
    expected = expected_of(KINDS[name])
    for tool in [tool for tool, kind in TABLE if kind == name]:
        with named(tool=tool):
            found = verify(tool, name, tmp_path, expected)
            if name == "hook_that_only_looks":
                assert found == ("refused" if tool == "separate" else "converted")
            if name == "layer_with_registered_rules" and tool != "separate":
                assert found == "converted"


def test_the_table_is_as_large_as_it_says():
    assert len(KINDS) >= 60
    assert sum(tool not in SLOW for tool, _ in TABLE) >= 5 * len(KINDS)


def test_distributed_networks(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        for wrap in (DistributedDataParallel, lambda net: compiled(DistributedDataParallel(net))):
            KINDS["distributed"] = Kind(wrap, free=True, like=as_it_is)
            for tool in ("compile_for_inference", "separate", "to_plain", "certify", "to_program"):
                assert verify(tool, "distributed", tmp_path) == "converted"
            assert len(list(equivariant(wrap(ordinary()), "p4", input_shape=SHAPE))) == 10
    finally:
        KINDS.pop("distributed", None)
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrapped_networks_of_the_registry_are_saved_counted_and_looked_at(wrap, tmp_path):
    net = sepgconv.create_model("p4cnn", width=2).eval()
    x = torch.randn(2, 1, 28, 28)
    save(wrap(net), tmp_path / "model")
    assert torch.equal(answer(sepgconv.load(tmp_path / "model"), x), answer(net, x))
    assert cost(wrap(net), (1, 28, 28)) == cost(net, (1, 28, 28))
    assert redundancy(wrap(net)).to_dict() == redundancy(net).to_dict()
    assert separate(wrap(net), "gc", rank=1).model.name == "gc_p4cnn"


def test_redundancy_looks_at_the_weights_that_count():
    ours, theirs = pruned(network(0)), pruned(network(1))
    answer(ours, images()), answer(theirs, images())
    ours.load_state_dict(theirs.state_dict())
    found = redundancy(ours).layers[1]
    assert torch.equal(found.bank, theirs[CONV].weight.detach().double())
    assert found.kind == "GroupConv2d"


# ---------------------------------------------------------------------------------------------------- negative controls


def off(*arguments, **keywords):
    """A guard that finds nothing."""
    return None


GUARDS = {
    "compile_for_inference with input_shape": [
        (compilation, "custom_behaviour", off), (compilation, "overridden_code", off), (compilation, "_compare", off),
    ],
    "separate": [(separation_module, "raise_if_customised", off), (separation_module, "_compare", off)],
    "to_plain": [
        (plain_layers, "overridden_code", off), (operators, "custom_behaviour", off), (plain_network, "_compare", off),
        (plain_network, "modifying_hooks", lambda *arguments: {}),
    ],
}  # fmt: skip
SEEN = {
    "compile_for_inference with input_shape": (
        "hook_that_changes_the_output", "hook_that_changes_the_input", "patched_forward", "hook_on_the_activation",
        "hook_on_a_chain_within", "patched_chain", "weight_standardised_subclass",
        "subclass_of_the_norm_with_a_forward", "subclass_of_the_separable_with_a_forward",
    ),
    "separate": ("hook_that_changes_the_output", "hook_that_changes_the_input", "patched_forward",
                 "weight_standardised_subclass"),
    "to_plain": ("hook_that_changes_the_output", "patched_forward", "subclass_of_the_pool_with_a_forward"),
}  # fmt: skip


@pytest.mark.parametrize(("tool", "name"), [(tool, name) for tool, names in SEEN.items() for name in names])
def test_the_table_sees_a_tool_without_its_guards(tool, name, tmp_path, monkeypatch):
    for module, guard, nothing in GUARDS[tool]:
        monkeypatch.setattr(module, guard, nothing)
    with pytest.raises(AssertionError, match="off"):
        verify(tool, name, tmp_path)


@pytest.mark.parametrize("tool", ["compile_for_inference with input_shape", "separate", "to_plain"])
def test_the_comparison_alone_sees_it_too(tool, tmp_path, monkeypatch):
    """The second line of defence, which names what it suspects."""
    for module, guard, nothing in GUARDS[tool]:
        if guard != "_compare":
            monkeypatch.setattr(module, guard, nothing)
    net = changed_by(KINDS["hook_that_changes_the_output"])
    with pytest.raises(ValueError, match=r"differ.* by .*layer '3' \(GroupConv2d\) has a forward hook"):
        TOOLS[tool](net, tmp_path)


def test_the_table_sees_stale_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("sepgconv._modules._renew", lambda module: {})
    monkeypatch.setattr(compilation, "_compare", off)
    with pytest.raises(AssertionError, match="off"):
        verify("compile_for_inference", "pruned_loaded", tmp_path)


def test_the_table_sees_a_tool_that_touches_the_network(tmp_path, monkeypatch):
    monkeypatch.setitem(TOOLS, "to_plain", lambda net, folder: net.requires_grad_(False))
    with pytest.raises(AssertionError, match="to_plain touched unchanged"):
        verify("to_plain", "unchanged", tmp_path)


# ------------------------------------------------------------------------------------------------------ tool by tool


def test_layers_beside_a_foreign_one_are_still_compiled():
    net = changed_by(KINDS["hook_that_changes_the_output"])
    compiled_net = sepgconv.compile_for_inference(net)
    assert type(compiled_net[CONV]) is snn.GroupConv2d
    assert type(compiled_net[0]) is type(compiled_net[SEPARABLE]) is FrozenConv2d
    assert type(compiled_net[NORM]) is type(compiled_net[RELU]) is nn.Identity


def test_code_that_asks_its_layers_for_more_is_refused():
    class Penalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            scale = 2 if any(isinstance(module, snn.GroupConv2d) for module in self.modules()) else 1
            return scale * self.net(x)

    for arguments in ({}, {"input_shape": SHAPE}):
        with pytest.raises(ValueError, match=r"^compile_for_inference: the compiled network would differ by .* code"):
            sepgconv.compile_for_inference(Penalised(), **arguments)
    with pytest.raises(ValueError, match=r"^separate: at full rank the network would still differ by .* its code"):
        separate(Penalised(), rank=99)


def test_random_answers_are_compared_on_the_same_numbers():
    net = network()
    net[RELU] = nn.Sequential(nn.ReLU(), snn.GroupDropout(0.5))
    net[RELU][1].eval = lambda: None
    net[RELU][1].train = lambda mode=True: None
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    sepgconv.compile_for_inference(net, input_shape=SHAPE)
    assert torch.equal(torch.rand(1), expected)


def test_hooks_on_all_modules_are_refused_by_every_tool(tmp_path):
    handle = nn.modules.module.register_module_forward_hook(lambda module, arguments, output: None)
    try:
        for tool in TOOLS.keys() - {"certify"}:
            with pytest.raises(ValueError, match="a hook on all modules is registered"):
                TOOLS[tool](network(), tmp_path)
        with pytest.raises(ValueError, match="a hook on all modules is registered"):
            equivariant(ordinary(), "p4", input_shape=SHAPE)
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", [snn.GroupConv2d, snn.GroupBatchNorm2d, snn.LiftingConv2d, nn.ReLU, nn.Linear])
@pytest.mark.parametrize("tool", ["compile_for_inference with input_shape", "separate", "to_plain"])
def test_a_class_that_was_given_another_forward(kind, tool, tmp_path, monkeypatch):
    inner = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, x: 1.5 * inner(self, x) + 0.1)
    net = network()
    replaced = (tool == "to_plain" and kind.__module__.startswith("sepgconv")) or kind is snn.GroupConv2d
    if replaced and not tool.startswith("compile"):
        with pytest.raises(ValueError, match=rf"'?\d'? \({kind.__name__}\) .*a forward that was put into its class"):
            TOOLS[tool](net, tmp_path)
    else:
        expected = answer(net, images())
        assert torch.allclose(answer(TOOLS[tool](net, tmp_path).eval(), images()), expected, atol=1e-5)


def test_below_full_rank_and_rebuilt_it_is_named_too(monkeypatch):
    inner = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: 2 * inner(self, x))
    with pytest.raises(ValueError, match=r"layer '0' \(Conv2d\) has a forward that was put into its class"):
        equivariant(ordinary(), "p4", input_shape=SHAPE)
    monkeypatch.setattr(snn.GroupConv2d, "forward", lambda self, x: x)
    with pytest.raises(ValueError, match=r"^separate: layer '3' \(GroupConv2d\) has a forward that was put into"):
        separate(network(), rank=1)


class Autocast(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.net, self.factor = network(), factor

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.net(x).float()
        return y if isinstance(self.net[CONV], snn.GroupConv2d) else self.factor * y


@pytest.mark.parametrize("tool", ["compile_for_inference with input_shape", "compile_for_inference", "separate"])
def test_a_forward_in_half_precision_is_compared_as_such(tool, tmp_path):
    expected = answer(Autocast().eval(), images())
    found = answer(TOOLS[tool](Autocast().eval(), tmp_path).eval(), images())
    assert torch.allclose(found, expected, atol=float(0.05 * expected.abs().max()))
    with pytest.raises(ValueError, match=r"differ by .*'net.3' \(GroupConv2d\)"):
        TOOLS[tool](Autocast(1.5).eval(), tmp_path)


class Adapted(nn.Module):
    """Adds to the weight of the layer that it holds, as DoRA and other adapters do."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer
        self.delta = nn.Parameter(torch.full_like(base_layer.weight, 0.1))

    def forward(self, x):
        return group_conv2d(x, self.base_layer.weight + self.delta, self.base_layer.group, self.base_layer.bias)


@pytest.mark.parametrize(
    "tool",
    [
        sepgconv.compile_for_inference,
        functools.partial(sepgconv.compile_for_inference, input_shape=SHAPE),
        functools.partial(separate, rank=1),
        functools.partial(separate, rank=99),
    ],
)
def test_a_layer_whose_weight_the_code_around_it_reads_is_named(tool):
    net = network()
    net[0] = nn.Sequential(net[0], snn.GroupConv2d(4, 4, 3, "p4"))
    net[CONV] = Adapted(net[CONV])
    words = r"would not run .*; its code .* layer '3.base_layer' \(GroupConv2d\)"
    with pytest.raises(ValueError, match=words):
        tool(net.eval())


@pytest.mark.parametrize("rank", [1, 99])
def test_a_layer_that_the_code_takes_for_its_class_is_named(rank):
    class Asking(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            y = self.net(x)
            return y if isinstance(self.net[CONV], snn.GroupConv2d) else y[:, :2]

    words = r"^separate: the network would have an output of another shape; its code uses more of layer 'net.3' "
    with pytest.raises(ValueError, match=words):
        separate(Asking().eval(), rank=rank)


def hooked_at_the_end(net):
    net.classifier.register_forward_hook(Recorder().look)


def first_norm(net):
    return next(module for module in net.modules() if isinstance(module, snn.GroupBatchNorm2d))


class TestSeparate:
    def test_parametrised_and_derived_layers_are_separated_from_the_weight_that_counts(self):
        net = COMPUTED["own_parametrization"](network())
        separation = separate(net, rank=1)
        assert [layer.name for layer in separation.layers] == ["3"]
        layer = separation.model[CONV]
        assert type(layer) is snn.SeparableGroupConv2d
        weight = net[CONV].weight.detach()
        lost = (layer.compose() - weight).square().sum() / weight.square().sum()
        assert separation.layers[0].energy_lost == pytest.approx(float(lost.detach()), abs=1e-5)

    def test_what_is_not_replaced_keeps_what_computes_its_weight(self):
        net = spectrally_normed(COMPUTED["parametrised_norm"](network()))
        after = separate(net, rank=1).model
        assert parametrize.is_parametrized(after[NORM])
        assert [type(hook).__name__ for hook in after[LINEAR]._forward_pre_hooks.values()] == ["SpectralNorm"]
        assert not after[CONV]._forward_pre_hooks
        assert set(after[LINEAR].state_dict()) == set(net[LINEAR].state_dict())

    def test_hooks_elsewhere_stay(self):
        net = changed_by(KINDS["hook_on_the_linear_layer"])
        assert torch.allclose(answer(separate(net, rank=1).model, images()).sum(-1), torch.ones(3))

    @pytest.mark.parametrize("name", ["hook_that_changes_the_output", "patched_forward", "backward_hook"])
    def test_below_full_rank_what_would_be_lost_is_named(self, name):
        with pytest.raises(ValueError, match=r"^separate: layer '3' \(GroupConv2d\) has a .*which would be lost"):
            separate(changed_by(KINDS[name]), rank=1)

    def test_layers_that_are_held_in_a_list_too_are_replaced_there(self):
        class Listed(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = network()
                self.steps = list(self.net)

            def forward(self, x):
                for step in self.steps:
                    x = step(x)
                return x

        after = separate(Listed(), rank=1).model
        assert type(after.steps[CONV]) is snn.SeparableGroupConv2d
        assert after.steps[CONV] is after.net[CONV]
        assert torch.equal(answer(after, images()), answer(separate(network(), rank=1).model, images()))

    def test_what_is_frozen_stays_frozen(self):
        net = COMPUTED["weight_norm"](network())
        net[CONV].requires_grad_(False)
        assert not any(p.requires_grad for p in separate(net, rank=1).model[CONV].parameters())
        assert all(p.requires_grad for p in separate(COMPUTED["weight_norm"](network()), rank=1).model.parameters())

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (
                lambda net: net.classifier.register_forward_hook(Recorder().look),
                r"layer 'classifier' \(\w+\) has a forward hook",
            ),
            (lambda net: setattr(net, "forward", net.forward), r"the network \(\w+\) has a forward that was put"),
            (lambda net: prune.l1_unstructured(first_norm(net), "weight", 0.5), r"has a weight that is computed"),
            (lambda net: setattr(first_norm(net), "eps", 0.5), r"GroupBatchNorm2d\) has other settings, 2, eps=0.5"),
        ],
    )
    def test_a_network_of_the_registry_loses_nothing(self, change, words):
        net = sepgconv.create_model("p4cnn", width=2)
        change(net)
        with pytest.raises(ValueError, match=rf"^separate: .*{words}.*, which gc_p4cnn has not"):
            separate(net, rank=1)

    def test_a_network_of_the_registry_keeps_modes_and_what_is_frozen(self):
        net = sepgconv.create_model("p4cnn", width=2).train()
        first_norm(net).eval().requires_grad_(False)
        after = separate(net, rank=1).model
        assert not first_norm(after).training
        assert after.training
        assert [p.requires_grad for p in first_norm(after).parameters()] == [False, False]
        assert sum(not p.requires_grad for p in after.parameters()) == 2
