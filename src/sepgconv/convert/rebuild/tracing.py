"""The forward of a network as a graph, with the shape of every tensor in it, by torch.fx."""

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.fx.proxy import TraceError

from sepgconv.convert.rebuild import calls

# Rows of the picture that is sent through: more than one, so that an axis of batch size is not taken for one of size 1.
BATCH = 2


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = type(m).__module__.partition(".")[0] == "sepgconv"
        return ours or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, input_shape: tuple[int, int, int]) -> fx.GraphModule:
    """Return a copy of a network as a graph whose nodes know the shapes of their tensors.

    Args:
        model: the network; it does not change.
        input_shape: (channels, height, width) of its input.

    Raises:
        ValueError: the forward cannot be traced, differs between training and evaluation, takes more than one input, or
            does not run on such an input.
    """
    graphs = {mode: _graph(copy.deepcopy(model).train(mode)) for mode in (True, False)}
    steps = {mode: [(node.op, node.target) for node in graph.graph.nodes] for mode, graph in graphs.items()}
    if steps[True] != steps[False]:
        raise ValueError(
            f"equivariant: the forward of {type(model).__name__} takes other steps in training than in evaluation, "
            f"which a traced network cannot; build it without (a drop path of 0, no auxiliary heads)"
        )
    traced = graphs[True]
    inputs = [node.name for node in traced.graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        raise ValueError(f"equivariant: the network must take one image, its forward takes {', '.join(inputs)}")
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    picture = torch.zeros(BATCH, *input_shape, device=like.device, dtype=like.dtype)
    with torch.no_grad():
        try:
            _Placed(traced.eval()).run(picture)
        except _FailedError as error:
            raise ValueError(f"equivariant: the network does not run on input_shape={input_shape}: {error}") from error
        ShapeProp(traced).propagate(picture)  # which would print a traceback of a failure
    return traced


class _FailedError(Exception):
    """A part of a network that cannot run; says which, and why."""


class _Placed(fx.Interpreter):
    """Runs a graph; what fails is named."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        try:
            return super().run_node(n)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = str(error) or type(error).__name__
            raise _FailedError(f"{place(n)}: {reason.splitlines()[0]}") from error


def _graph(model: nn.Module) -> fx.GraphModule:
    tracer = _Tracer()
    try:
        return fx.GraphModule(model, tracer.trace(model))
    except (TraceError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"equivariant: torch.fx cannot trace {type(model).__name__} ({str(error).splitlines()[0]}); its forward "
            f"must not depend on values or sizes of tensors"
        ) from error


def shape(node: Any) -> tuple[int, ...]:
    """Return the shape of the tensor that a node of the original graph gives, () where it gives none."""
    found = node.meta.get("tensor_meta") if isinstance(node, fx.Node) else None
    return tuple(getattr(found, "shape", ()))


def place(node: fx.Node) -> str:
    """Return where in the model a node stands, for people."""
    if node.op == "call_module":
        return str(node.target)
    stack = list(node.meta.get("nn_module_stack", {}))
    module = stack[-1] if stack and stack[-1] else "the model"
    return f"{calls.name(node)}() in the forward of {module}"
