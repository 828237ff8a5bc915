"""explain: for each layer, which execution and which implementation run, why, and what would change it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv._modules import copy_network, unwrap
from sepgconv._numbers import large
from sepgconv._table import Printed, Table
from sepgconv.nn import GroupConvLayer
from sepgconv.ops import dispatch
from sepgconv.ops.choices import Choice

_COLUMNS = ("layer", "kind", "execution", "implementation", "why", "what would change it")


@dataclass(frozen=True, slots=True)
class LayerExplanation:
    """What a layer ran as.

    Attributes:
        name: path of the layer in the network, "" for the network itself.
        kind: its class.
        operator: what ran, a key of `sepgconv.ops.dispatch.IMPLEMENTATIONS`; of a separable convolution the first step.
        execution: the algorithm, "" where there is one only.
        implementation: who ran it: "torch", "chunks", "operator" or "checkpoint".
        why: the reason for both.
        change: what would have to change for another implementation, "" if nothing would.

    Example:
        >>> import torch, sepgconv
        >>> row = explain(sepgconv.nn.GroupConv2d(2, 3, 3, "p4"), torch.rand(1, 2, 4, 9, 9)).layers[0]
        >>> row.kind, row.operator, row.execution
        ('GroupConv2d', 'planar_conv', 'direct')
    """

    name: str
    kind: str
    operator: str
    execution: str
    implementation: str
    why: str
    change: str


@dataclass(frozen=True, slots=True, repr=False)
class Explanation(Printed):
    """What every layer of a network ran as, in the order of the calls. It prints as a table, in a notebook too.

    Attributes:
        layers: a row for each call of a layer.

    Example:
        >>> import torch, sepgconv
        >>> block = sepgconv.nn.ConvNormAct(8, 8, 3, "p4").eval()
        >>> [row.kind for row in explain(block, torch.rand(2, 8, 4, 9, 9)).layers]
        ['SeparableGroupConv2d', 'GroupBatchNorm2d']
    """

    layers: tuple[LayerExplanation, ...]

    def _printed_parts(self) -> Sequence[Table | str]:
        if not self.layers:
            return ("No layer of sepgconv.nn ran.",)
        rows = [(row.name, row.kind, row.execution, row.implementation, row.why, row.change) for row in self.layers]
        return (Table("What runs, and why", _COLUMNS, rows, left=len(_COLUMNS)),)


def explain(model: nn.Module, x: Tensor, *arguments: Any, **keywords: Any) -> Explanation:
    """Run a layer or a network once and say how each of its layers ran.

    The choices depend on the mode of the network and on whether gradients are recorded, so both are taken as they are.
    The network itself does not change: a copy of it runs, and the state of the random number generators is restored.
    A compiled network is explained as it runs without `torch.compile`.

    Args:
        model: a layer of `sepgconv.nn`, or a network with such layers.
        x: its input, on the device and of the dtype in which it is to run.
        arguments: further inputs.
        keywords: further inputs by name.

    Returns:
        A report that prints as a table.

    Raises:
        ValueError: the network cannot be copied.

    Example:
        >>> import torch, sepgconv
        >>> layer = sepgconv.nn.SeparableGroupConv2d(64, 64, 3, "p4", padding=1)
        >>> with torch.no_grad():
        ...     row = sepgconv.explain(layer, torch.rand(1, 64, 4, 28, 28)).layers[0]
        >>> row.execution, row.implementation
        ('fourier', 'chunks')
    """
    network = copy_network(unwrap(model, "explain"), "explain")
    names = {module: name for name, module in network.named_modules()}
    rows: list[LayerExplanation] = []

    def report(choice: Choice) -> None:
        module = _caller(names)
        if module is None or _is_a_detail(choice, module):
            return
        why = "; ".join(filter(None, (_why_execution(choice), _why_implementation(choice))))
        cells = (choice.operator, choice.execution, choice.implementation, why, _change(choice))
        rows.append(LayerExplanation(names[module], type(module).__name__, *cells))

    devices = [x.device] if x.device.type == "cuda" else []
    with dispatch.recording(report), torch.random.fork_rng(devices):
        network(x, *arguments, **keywords)
    return Explanation(tuple(rows))


def _caller(names: dict[nn.Module, str]) -> nn.Module | None:
    """Return the module of the network whose code is running, the innermost."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage] (hooks would change what runs)
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, nn.Module) and found in names:
            return found
        frame = frame.f_back
    return None


def _is_a_detail(choice: Choice, module: nn.Module) -> bool:
    """Return whether a choice needs no row: a step of a layer that has a row, or a joint step that did not run."""
    within = choice.operator in ("batch_norm", "grouped_conv", "depthwise_conv") and isinstance(module, GroupConvLayer)
    return within or (choice.operator == "norm_act_gc_conv" and choice.implementation == "torch")


def _why_execution(choice: Choice) -> str:
    if not choice.execution or choice.execution == "direct":
        return ""
    if not choice.costs:
        return "asked for"
    costs = ", ".join(f"{name} {large(round(cost))}" for name, cost in choice.costs.items())
    return f"least cost of {costs}"


def _why_implementation(choice: Choice) -> str:
    if choice.implementation == "checkpoint":
        return "recomputes by torch's checkpoint"
    if choice.implementation == "torch":
        return "" if _change(choice) else "torch's own is as good here"
    if choice.operator == "norm_act_gc_conv":
        return "batch norm, ReLU and convolution as one step"
    if choice.operator == "gc_conv":
        return "no gradients are recorded" if not choice.context.grad else "recomputes"
    return {"batch_norm": "joins the statistics of poses", "max_pool": "keeps places only"}.get(choice.operator, "")


def _change(choice: Choice) -> str:
    """Return what about the call keeps the faster implementation from running."""
    rules, c = dispatch.IMPLEMENTATIONS[choice.operator], choice.context
    if (
        choice.implementation not in ("torch", "checkpoint")
        or len(rules) == 1
        or c.compiling
        or choice.operator == "fixed_norm"
    ):
        return ""
    facts: list[str] = []
    if c.device != "cpu" and choice.operator != "gc_conv":
        return ""  # on other devices torch's own are good
    if not c.plain:
        facts.append("float32 or float64 without autocast")
    if c.transformed:
        facts.append("no transform of torch.func")
    if choice.operator == "gc_conv" and not choice.keeps_little:
        facts.append("recompute=True (less memory, one more product) or no gradients")
    return f"{rules[0].implementation}: needs {' and '.join(facts)}" if facts else ""
