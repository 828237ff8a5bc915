"""The traced forward rewritten for a group: every layer with what it becomes, pools over poses put in."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from sepgconv.convert.rebuild import calls
from sepgconv.convert.rebuild.rules import (
    Change,
    Kind,
    Target,
    UnconvertibleError,
    change,
    pose_pool,
    position_pool,
)
from sepgconv.convert.rebuild.tracing import place, shape

_META = torch.device("meta")


@dataclass
class Plan:
    """A rewritten forward.

    Attributes:
        graph: its nodes; every layer in it is in `changes`.
        changes: what each layer becomes, by the name the graph calls it.
        positions: (height, width) that comes into and goes out of a layer, by node; () for vectors.
        fixed: layers whose width is that of the network's output.
        channels: of the input.
    """

    graph: fx.Graph
    changes: dict[str, Change]
    positions: dict[fx.Node, tuple[tuple[int, ...], tuple[int, ...]]]
    channels: int
    fixed: set[str] = field(default_factory=set)


def plan(traced: fx.GraphModule, target: Target, *, global_pool: bool) -> Plan:
    """Rewrite a traced network.

    Args:
        traced: from `trace`; its graph is changed.
        target: what the network is rebuilt with.
        global_pool: whether to average over positions before a flatten of maps larger than one pixel.

    Raises:
        ValueError: something cannot be converted; every layer and call is named with its place.
    """
    return _Planner(traced, target, global_pool).run()


class _Planner:
    def __init__(self, traced: fx.GraphModule, target: Target, global_pool: bool) -> None:
        self.graph, self.target, self.global_pool = traced.graph, target, global_pool
        self.layers = dict(traced.named_modules())
        self.kinds: dict[fx.Node, Kind | None] = {}  # None: a number, a size
        self.problems: list[str] = []
        self.plan = Plan(traced.graph, {}, {}, channels=0)

    def run(self) -> Plan:
        self._erase_unused()  # an auxiliary head that only the training reads is no part of the network
        for node in list(self.graph.nodes):
            try:
                self._visit(node)
            except UnconvertibleError as error:
                self._note(node, node, error)
        self._erase_unused()  # sizes that a replaced `view` read
        self._refuse_sizes()
        if not self.problems and not any(Kind.MAPS is kind for kind in self.kinds.values()):
            self.problems.append("there is no Conv2d on the image")
        if self.problems:
            raise ValueError(f"equivariant: cannot convert {'; '.join(dict.fromkeys(self.problems))}")
        self._find_fixed()
        return self.plan

    def _erase_unused(self) -> None:
        """Erase what nobody reads, but for what changes its input in place."""
        for node in reversed(list(self.graph.nodes)):
            if not node.users and node.op not in ("placeholder", "output") and not self._is_in_place(node):
                self.graph.erase_node(node)

    def _is_in_place(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return bool(getattr(self.layers[str(node.target)], "inplace", False))
        return bool(node.kwargs.get("inplace")) or calls.name(node).endswith("_") or node.target in calls.IN_PLACE

    def _visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.kinds[node], self.plan.channels = Kind.IMAGE, shape(node)[1]
        elif node.op == "output":
            # A result per position, as in segmentation, is a picture again once its poses are pooled.
            for source in node.all_input_nodes:
                if self.kinds[source] is Kind.MAPS:
                    node.replace_input_with(source, self._insert(node, source, "pose_pool", pose_pool, Kind.POOLED))
        elif node.op == "get_attr":
            raise UnconvertibleError("a tensor of the module's own, of which the group is not known")
        elif node.op == "call_module":
            self._layer(node, str(node.target), self.layers[str(node.target)])
        else:
            self._call(node)

    def _note(self, node: fx.Node, origin: fx.Node, error: UnconvertibleError) -> None:
        """Note a problem, and go on with what the node would have given, so that its users are judged by themselves."""
        self.problems.append(f"{place(origin)}: {error}")
        lifts = node.op == "call_module" and isinstance(self.layers.get(str(node.target)), nn.Conv2d)
        self.kinds[node] = Kind.VECTOR if len(shape(node)) == 2 else Kind.MAPS if lifts else self._given(node)

    def _layer(self, node: fx.Node, name: str, layer: nn.Module) -> None:
        if isinstance(layer, nn.Flatten):
            self._flatten(node, name, layer)
            return
        source, given = node.all_input_nodes[0], self._given(node)
        node.args, node.kwargs = (source,), {}  # layers here name their input otherwise than those of torch
        becomes = change(layer, given, self.target, ends=not self._goes_on(node))
        known = self.plan.changes.get(name)
        differs = known is not None and (known.output, known.pool_poses) != (becomes.output, becomes.pool_poses)
        if differs and becomes.reuse != "anywhere":
            raise UnconvertibleError("is used twice, on different kinds of tensors")
        self._try(becomes, shape(source))
        if becomes.pool_poses:
            self._pool_poses(node, source)
        self.plan.changes.setdefault(name, becomes)
        self.plan.positions[node] = (shape(source)[2:], shape(node)[2:])
        self.kinds[node] = becomes.output

    def _try(self, becomes: Change, given: tuple[int, ...]) -> None:
        """Build a layer at the original widths, so that arguments it refuses are found with all other problems."""
        try:
            becomes.make(given[1], becomes.width or given[1], _META)
        except ValueError as error:
            raise UnconvertibleError(str(error)) from error

    def _call(self, node: fx.Node) -> None:
        sources = [source for source in node.all_input_nodes if self.kinds.get(source) is not None]
        kinds = {self.kinds[source] for source in sources}
        layer, called = calls.layer_of(node, shape(node)), node.target
        if called in calls.SIZES or not sources:
            self.kinds[node] = None
        elif layer is not None:
            self._replace_by_layer(node, layer)
        elif called in calls.POINTWISE:
            self.kinds[node] = self._given(node)
        elif called in calls.COMBINING or called in calls.CONCATENATING:
            if len(kinds) > 1:
                words = " and ".join(sorted(kind.value for kind in kinds if kind is not None))
                raise UnconvertibleError(f"combines {words}")
            if called in calls.CONCATENATING:
                self._concatenate(node)
            self.kinds[node] = self._given(node)
        elif called in calls.FLATTENING:
            self._flatten(node, node.name, nn.Flatten())
        elif called in calls.AVERAGING:
            self._average(node)
        elif called in calls.ON_VECTORS and kinds == {Kind.VECTOR}:
            self.kinds[node] = Kind.VECTOR
        else:
            raise UnconvertibleError("this call has no counterpart on a group")

    def _replace_by_layer(self, node: fx.Node, layer: nn.Module) -> None:
        name = self._unused(node.name)
        with self.graph.inserting_before(node):
            module = self.graph.create_node("call_module", name, (node.all_input_nodes[0],))
        module.meta = dict(node.meta)
        node.replace_all_uses_with(module)
        self.graph.erase_node(node)
        try:
            self._layer(module, name, layer)
        except UnconvertibleError as error:  # named by the call that stands in the model, not by the new layer
            self._note(module, node, error)

    def _concatenate(self, node: fx.Node) -> None:
        parts, axis = calls.concatenated(node)
        if axis % len(shape(parts[0])) != 1:
            raise UnconvertibleError(f"joins along axis {axis}; only channels are joined on a group")
        node.args, node.kwargs = (parts, 1), {}

    def _average(self, node: fx.Node) -> None:
        axes, kept = calls.averaged_axes(node)
        if len(shape(node.all_input_nodes[0])) != 4 or axes != (2, 3):
            raise UnconvertibleError("averages over axes other than height and width")
        if kept:
            self._replace_by_layer(node, nn.AdaptiveAvgPool2d(1))
            return
        source = node.all_input_nodes[0]
        if self.kinds[source] is Kind.MAPS:
            source = self._pool_poses(node, source)
        node.args, node.kwargs = (source, (2, 3)), {}
        self.kinds[node] = Kind.VECTOR

    def _flatten(self, node: fx.Node, name: str, layer: nn.Flatten) -> None:
        source, given = node.all_input_nodes[0], self._given(node)
        before, after = shape(source), shape(node)
        if given is Kind.VECTOR and before == after:
            self.kinds[node] = Kind.VECTOR
            return
        if len(after) != 2 or after != (before[0], math.prod(before[1:])):
            raise UnconvertibleError("changes the axes of a tensor in another way than to a vector per picture")
        if given is Kind.IMAGE:
            raise UnconvertibleError("flattens the image before any convolution")
        large = math.prod(before[2:]) > 1
        if large and not self.global_pool:
            raise UnconvertibleError(
                f"flattens maps of {before[2]} x {before[3]} pixels, and what reads them is not invariant; pool over "
                f"all positions before it (nn.AdaptiveAvgPool2d(1)), or give global_pool=True to have that put in"
            )
        if given is Kind.MAPS:
            source = self._pool_poses(node, source)
        if large:
            source = self._insert(node, source, "position_pool", position_pool, Kind.POOLED)
        target = name if node.op == "call_module" else self._unused(name)
        with self.graph.inserting_before(node):
            flat = self.graph.create_node("call_module", target, (source,))
        flat.meta = dict(node.meta)
        node.replace_all_uses_with(flat)
        self.graph.erase_node(node)
        self.plan.changes[target] = Change(lambda c, n, device: nn.Flatten(), Kind.VECTOR, reuse="any width")
        self.plan.positions[flat] = ((1, 1), ())
        self.kinds[flat] = Kind.VECTOR

    def _pool_poses(self, node: fx.Node, source: fx.Node) -> fx.Node:
        return self._insert(node, source, "pose_pool", pose_pool, Kind.POOLED)

    def _insert(self, node: fx.Node, source: fx.Node, what: str, make: Any, kind: Kind) -> fx.Node:
        """Put a layer between a node and what it reads; its name stands beside that of the node."""
        parent = str(node.target).rpartition(".")[0] if node.op == "call_module" else ""
        name = self._unused(f"{parent}.{what}" if parent else what)
        with self.graph.inserting_before(node):
            inserted = self.graph.create_node("call_module", name, (source,))
        inserted.meta = dict(source.meta)
        node.replace_input_with(source, inserted)
        self.plan.changes[name] = Change(make, kind, reuse="any width")
        self.plan.positions[inserted] = (shape(source)[2:], shape(source)[2:])
        self.kinds[inserted] = kind
        return inserted

    def _unused(self, wanted: str) -> str:
        taken, name, number = {*self.layers, *self.plan.changes}, wanted, 1
        while name in taken:
            name, number = f"{wanted}_{number}", number + 1
        return name

    def _given(self, node: fx.Node) -> Kind:
        kinds = [self.kinds.get(source) for source in node.all_input_nodes]
        return next((kind for kind in kinds if kind is not None), Kind.IMAGE)

    def _goes_on(self, node: fx.Node) -> bool:
        """Tell whether a convolution, or a combination with feature maps, reads what a node gives."""
        seen, waiting = set[fx.Node](), list(node.users)
        while waiting:
            user = waiting.pop()
            layer = self.layers.get(str(user.target)) if user.op == "call_module" else None
            stops = isinstance(layer, nn.Flatten | nn.Linear) or user.target in calls.FLATTENING | calls.AVERAGING
            if isinstance(layer, nn.Conv2d) or any(self.kinds.get(other) is Kind.MAPS for other in _others(user, node)):
                return True
            if user not in seen and not stops:
                seen.add(user)
                waiting += user.users
        return False

    def _refuse_sizes(self) -> None:
        for node in self.graph.nodes:
            if node.op.startswith("call") and node.target in calls.SIZES:
                self.problems.append(f"{place(node)}: computes with the size of a tensor, which on a group is another")

    def _find_fixed(self) -> None:
        """Follow the output back to the layers that choose its width."""
        waiting, seen = [node for node in self.graph.nodes if node.op == "output"], set[fx.Node]()
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            if node.op == "call_module" and self.plan.changes[str(node.target)].width is not None:
                self.plan.fixed.add(str(node.target))
            else:
                waiting += node.all_input_nodes


def _others(user: fx.Node, node: fx.Node) -> list[fx.Node]:
    return [other for other in user.all_input_nodes if other is not node]
