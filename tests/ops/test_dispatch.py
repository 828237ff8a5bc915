"""The table of who runs what: each row by a context, and by a call that takes it; and that nothing else asks."""

import ast
import inspect
import threading
from pathlib import Path

import pytest
import torch
from torch.func import functional_call, grad, vmap

import sepgconv
from sepgconv.ops import dispatch
from sepgconv.ops.choices import Context
from tests.covering import each

ROOT = Path(sepgconv.__file__).parent
PLACES = ("conv", "ops", "functional", "nn", "inference", "symmetry")
ALONE = {
    "ops/dispatch.py",  # the one that asks
    "symmetry/basis.py",  # its constants are made where and when they are needed, whatever traces the call
}
DEVICES = {"is_cuda", "is_cpu", "is_mps", "is_xpu"}
TRACING = {"is_compiling", "is_dynamo_compiling", "is_exporting", "is_tracing", "is_scripting"}
TRANSFORMS = {"_functorch", "_are_functorch_transforms_active", "is_functorch_wrapped_tensor", "is_batchedtensor"}
DUAL = {"forward_ad", "_current_level"}
CASTING = {"is_autocast_enabled", "is_autocast_available", "is_autocast_cpu_enabled"}


def questions(source):
    """Each question after the device, the compiler, a transform or mixed precision in Python code, as (line, words)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            words = ast.unparse(node)
            root = words.partition(".")[0]
            device = node.attr == "type" and ast.unparse(node.value).rpartition(".")[2] == "device"
            if device or node.attr in DEVICES | TRANSFORMS | DUAL | CASTING:
                found.append((node.lineno, words))
            elif node.attr in TRACING and root != "dispatch":
                found.append((node.lineno, words))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "torch":
            names = {alias.name for alias in node.names} | {*(node.module or "").split(".")}
            asked = names & (TRACING | TRANSFORMS | DUAL | CASTING)
            found += [(node.lineno, name) for name in sorted(asked)]
    return found


def test_nobody_else_asks():
    asked = {}
    for place in PLACES:
        for path in (ROOT / place).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if name not in ALONE and (found := questions(path.read_text(encoding="utf-8"))):
                asked[name] = found
    assert not asked, "let ops/dispatch.py answer that"


@each(
    "source",
    [
        "import torch\nif x.device.type == 'cpu': pass",
        "device = x.device\nkind = device.type",
        "import torch\nif torch.compiler.is_compiling(): pass",
        "from torch.compiler import is_compiling\nis_compiling()",
        "import torch\ntorch._C._functorch.is_batchedtensor(x)",
        "import torch\ntorch._C._are_functorch_transforms_active()",
        "from torch.autograd import forward_ad",
        "import torch\ntorch.autograd.forward_ad._current_level",
        "import torch\ntorch.is_autocast_enabled('cpu')",
        "if x.is_cuda: pass",
    ],
)
def test_a_question_is_seen(source):
    """Negative control."""
    assert questions(source)


def test_what_is_no_question_is_left_alone():
    assert not questions("from sepgconv.ops import dispatch\ndispatch.is_compiling()\ny = x.to(x.device)\ntype(x)")
    assert all(questions((ROOT / name).read_text(encoding="utf-8")) for name in ALONE)


EAGER = Context("cpu", True, True, True, False, False, False, False)
QUIET = EAGER._replace(grad=False, needs_grad=False)
COMPILED = EAGER._replace(compiling=True)
COMPILED_QUIET = COMPILED._replace(grad=False, needs_grad=False)
# For each operator: what runs it in each of these contexts, where little is kept.
CONTEXTS = {
    "eager": EAGER,
    "eager, frozen maps": EAGER._replace(needs_grad=False),
    "no gradients": QUIET,
    "another precision": EAGER._replace(plain=False),
    "on a GPU": EAGER._replace(device="cuda"),
    "under a transform": EAGER._replace(transformed=True),
    "compiled": COMPILED,
    "compiled for a GPU": COMPILED._replace(device="cuda"),
    "compiled in another precision": COMPILED._replace(plain=False),
    "compiled, no gradients": COMPILED_QUIET,
    "compiled, no gradients, large maps": COMPILED_QUIET._replace(large=True),
    "exported": COMPILED._replace(exporting=True, plain=False),
    "compiled under a transform": COMPILED._replace(transformed=True),
}
_C, _O, _W = "chunks", "operator", "columns"
TABLE = {
    #                   eager frozen quiet half gpu func | compiled gpu half quiet large exported func
    "gc_conv":          (_C, _C, _C, "", _C, "", _O, "", "", "", _O, "", ""),
    "norm_act_gc_conv": (_C, _C, _C, "", "", "", "", "", "", "", "", "", ""),
    "planar_conv":      ("",) * 13,
    "grouped_conv":     ("", "", "", "", "", "", _O, "", "", "", _O, "", ""),
    "depthwise_conv":   (_W, _W, "", "", "", "", _O, "", "", "", _O, "", ""),
    "batch_norm":       (_C, _C, _C, "", "", "", _O, "", "", _O, _O, "", ""),
    "fixed_norm":       ("", "", "", "", "", "", "", "", "", "", _O, "", ""),
    "max_pool":         (_C, "", "", "", "", "", _O, "", "", "", _O, "", ""),
}  # fmt: skip


def test_the_tables_have_the_same_operators():
    assert list(TABLE) == list(dispatch.IMPLEMENTATIONS)
    for rules in dispatch.IMPLEMENTATIONS.values():
        assert rules[-1].implementation == "torch"
        assert all(rule.needs for rule in rules)


@each("operator", TABLE)
def test_every_row_by_its_context(operator):
    found = {words: dispatch.implementation(operator, c) for words, c in CONTEXTS.items()}
    assert found == {words: who or "torch" for words, who in zip(CONTEXTS, TABLE[operator], strict=True)}
    taken = {*found.values()}
    assert taken == {rule.implementation for rule in dispatch.IMPLEMENTATIONS[operator]}, "a row that is never taken"


@each("operator", TABLE)
def test_where_much_is_kept_torch_runs_it(operator):
    assert all(dispatch.implementation(operator, c, keeps_little=False) == "torch" for c in CONTEXTS.values())


def test_a_choice_depends_on_the_context_alone():
    """Not on the mode of the process: the rules read their arguments only."""
    expected = {(o, w): dispatch.implementation(o, c) for o in TABLE for w, c in CONTEXTS.items()}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert expected == {(o, w): dispatch.implementation(o, c) for o in TABLE for w, c in CONTEXTS.items()}
    known = {name for name in vars(dispatch) if name.startswith("_") and inspect.isfunction(getattr(dispatch, name))}
    for rules in dispatch.IMPLEMENTATIONS.values():
        for rule in rules:
            assert set(inspect.unwrap(rule.holds).__code__.co_names) <= known | {*Context._fields}, rule


def layers():
    """For each operator a layer that runs it, what goes in, and how to call it."""
    nn = sepgconv.nn
    maps = torch.randn(2, 4, 4, 8, 8)
    return {
        "gc_conv": (nn.SeparableGroupConv2d(4, 4, 3, "p4", execution="separable", recompute=True), maps),
        "norm_act_gc_conv": (nn.NormActConv(4, 4, 3, "p4", execution="separable", recompute=True), maps),
        "planar_conv": (nn.GroupConv2d(4, 4, 3, "p4"), maps),
        "grouped_conv": (nn.DepthwiseGroupConv2d(4, 3, "p4"), maps),
        "depthwise_conv": (nn.DepthwiseGroupConv2d(4, 5, "p4", kernel="steerable"), maps),
        "batch_norm": (nn.GroupBatchNorm2d(4), maps),
        "fixed_norm": (nn.GroupBatchNorm2d(4).eval(), maps),
        "max_pool": (nn.MaxPool2d(2), maps),
    }


def in_no_grad(layer, x):
    with torch.no_grad():
        layer(x)


def in_autocast(layer, x):
    with torch.autocast("cpu", torch.bfloat16):
        layer(x.requires_grad_())


def in_grad(layer, x):
    def loss(x):  # with statistics of its own, which may be written to
        statistics = {name: buffer.clone() for name, buffer in layer.named_buffers()}
        return functional_call(layer, statistics, (x,)).square().sum()

    grad(loss)(x)


def in_vmap(layer, x):
    if any(True for _ in layer.buffers()):
        layer.eval()  # statistics of the batch cannot be kept under vmap
    vmap(layer)(torch.stack((x, x)))


def in_half(layer, x):
    layer.bfloat16()(x.bfloat16().requires_grad_())


def nowhere(layer, x):
    layer.to("meta")(x.to("meta").requires_grad_())


def in_forward_mode(layer, x):
    with torch.autograd.forward_ad.dual_level():
        layer(torch.autograd.forward_ad.make_dual(x, torch.ones_like(x)))


CALLS = {
    "with gradients": lambda layer, x: layer(x.requires_grad_()),
    "without": in_no_grad,
    "mixed precision": in_autocast,
    "torch.func.grad": in_grad,
    "torch.vmap": in_vmap,
    "forward mode": in_forward_mode,
    "bfloat16": in_half,
    "meta": nowhere,
}
# In the order of `CALLS`; None where another operator runs.
TAKEN = {
    "gc_conv": (_C, _C, "checkpoint", "", "", "", "checkpoint", _C),
    "norm_act_gc_conv": (_C, _C, "", "", None, "", "", ""),
    "planar_conv": ("",) * 8,
    "grouped_conv": ("",) * 8,
    "depthwise_conv": (_W, "", "", "", "", "", "", ""),
    "batch_norm": (_C, _C, "", "", None, "", "", ""),
    "fixed_norm": ("",) * 8,
    "max_pool": (_C, "", "", "", "", "", "", ""),
}


# torch's own modules, at import of the formulas of forward mode.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("operator", TAKEN)
@each("call", CALLS)
def test_every_row_by_a_call(operator, call):
    expected = TAKEN[operator][list(CALLS).index(call)]
    if expected is None:  # a batch norm runs in evaluation mode there
        return
    layer, x = layers()[operator]
    choices = []
    with dispatch.recording(choices.append):
        CALLS[call](layer, x)
    made = [choice for choice in choices if choice.operator == operator]
    assert made, f"{operator} was not asked for"
    assert {choice.implementation for choice in made} == {expected or "torch"}
    for choice in made:  # by its context alone
        around = choice.implementation == "checkpoint"
        again = dispatch.implementation(operator, choice.context, choice.keeps_little, checkpoint=around)
        assert again == choice.implementation


NAMES = {
    "gc_conv": "sepgconv.gc_conv.default",
    "grouped_conv": "sepgconv.planar_conv2d.default",
    "depthwise_conv": "sepgconv.planar_conv2d.default",
    "batch_norm": "sepgconv.shared_batch_norm.default",
    "fixed_norm": "sepgconv.affine.default",
    "max_pool": "sepgconv.max_pool2d.default",
}


# torch's own modules, at import and while they trace.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("grads", [True, False], ids=["gradients", "none"])
@pytest.mark.parametrize("large", [True, False], ids=["large", "small"])
@pytest.mark.parametrize("operator", NAMES)
def test_operators_in_compiled_code(operator, grads, large, as_installed, monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(f"{__name__}.sepgconv", as_installed)
    monkeypatch.setattr(as_installed.ops.dispatch, "MIN_OPERATOR_NUMEL", 0 if large else 10**9)
    layer, x = layers()[operator]
    seen = []

    def backend(graph, examples):
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    with torch.set_grad_enabled(grads):
        torch.compile(layer, backend=backend, fullgraph=True)(x.requires_grad_(grads))
    context = COMPILED if grads else COMPILED_QUIET._replace(large=large)
    expected = dispatch.implementation(operator, context, operator != "fixed_norm" or not grads)
    assert (NAMES[operator] in seen) == (expected == "operator"), seen


def test_exported_programs_hold_torch_only(as_installed, monkeypatch):
    monkeypatch.setattr(f"{__name__}.sepgconv", as_installed)
    for operator, (layer, x) in layers().items():
        program = torch.export.export(layer.eval(), (x,))
        targets = [str(node.target) for node in program.graph.nodes]
        assert not any("sepgconv" in target for target in targets), operator


def test_decisions_of_the_gc_convolution():
    layer, x = layers()["gc_conv"]
    chosen = {}
    for words, recompute, keep in (("kept", False, True), ("recomputed", True, True), ("no gradients", None, False)):
        with torch.set_grad_enabled(keep):
            decision = dispatch.decide_gc(layer.spec, x, (), "separable", {}, recompute, False)
        chosen[words] = decision.implementation
    with torch.autocast("cpu", torch.bfloat16):
        chosen["mixed"] = dispatch.decide_gc(layer.spec, x, (), "separable", {}, True, False).implementation
    assert chosen == {"kept": "torch", "recomputed": "chunks", "no gradients": "chunks", "mixed": "checkpoint"}
    assert dispatch.decide_gc(layer.spec, x, (), "fourier", {}, None, False).implementation == "chunks"
    assert dispatch.decide_gc(layer.spec, x, (), "separable", {}, True, True).joint


class Shared:
    """A value that all threads share, in place of a context variable."""

    def __init__(self, value):
        self.value = value

    def get(self):
        return self.value

    def set(self, value):
        before, self.value = self.value, value
        return before

    def reset(self, before):
        self.value = before


FREE = sepgconv.ops.CostModel(grouped_mac=1e-6)  # filtering costs nothing, so "composed" is not the cheapest


def choices_in_threads():
    """Within `using` and `recording`, the execution and the number of reports of another thread, then of this one."""
    layer, x = sepgconv.nn.SeparableGroupConv2d(4, 8, 3, "p4", padding=1), torch.rand(1, 4, 4, 6, 6)
    found, choices = [], []

    def run():
        before = len(choices)
        execution = layer.selected_execution(6, 6)
        layer(x)
        found.append((execution, len(choices) - before))

    with dispatch.using(FREE), dispatch.recording(choices.append):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        run()
    return found


def test_costs_and_reports_belong_to_one_thread():
    (theirs, reported), (ours, own) = choices_in_threads()
    assert theirs == "composed" != ours
    assert reported == 0 < own


def test_shared_costs_and_reports_would_be_seen(monkeypatch):
    """Negative control."""
    monkeypatch.setattr(dispatch, "_cost_model", Shared(dispatch.BUILT_IN))
    monkeypatch.setattr(dispatch, "_record", Shared(None))
    (theirs, reported), (ours, _) = choices_in_threads()
    assert theirs == ours != "composed"
    assert reported > 0


# torch's own modules, at import and while they trace.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_compiled_code_takes_the_built_in_costs_without_a_break(as_installed):
    torch._dynamo.reset()
    ours = as_installed.ops.dispatch
    layer, x = as_installed.nn.SeparableGroupConv2d(4, 8, 3, "p4", padding=1), torch.rand(1, 4, 4, 6, 6)
    choices = []
    with ours.using(as_installed.ops.CostModel(grouped_mac=1e-6)), ours.recording(choices.append):
        found = torch.compile(layer, backend="eager", fullgraph=True)(x)
        assert not choices
        torch.testing.assert_close(found, layer(x))
        assert choices
