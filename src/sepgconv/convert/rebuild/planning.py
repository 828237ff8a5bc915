"""The recorded forward rewritten for a group, step by step: layers with what they become, calls, pools over poses."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from sepgconv.convert import tracing
from sepgconv.convert.operators import ELEMENTWISE_KINDS, OperatorKind, called_name, find_operator
from sepgconv.convert.rebuild import calls, elementwise, joining, reducing, reshaping, sizes
from sepgconv.convert.rebuild.call import Call
from sepgconv.convert.rebuild.calls import Holder
from sepgconv.convert.rebuild.problems import Problems
from sepgconv.convert.rebuild.rules import Given, Target, change, stays_as_it_is
from sepgconv.convert.rebuild.segments import Channels, channels, equal_parts, fix, total, unify
from sepgconv.convert.rebuild.tracing import place
from sepgconv.convert.rebuild.values import BATCH, PLACES_OF_MAXIMA, UNKNOWN, Kind, UnconvertibleError, Value, axis_of
from sepgconv.convert.rebuild.writing import Plan, Writer
from sepgconv.convert.tracing import Recording

_META = torch.device("meta")
# Where a search for further convolutions stops: what follows is a vector.
_FLATTENING = {"flatten", "reshape", "view", "squeeze", "mean"}
# What reading a call raises whose arguments are given in a way that is not known here.
_NOT_FORESEEN = (TypeError, KeyError, IndexError, AttributeError, RuntimeError, AssertionError)
_HANDLERS: dict[OperatorKind, Callable[[Call], Any]] = {
    **dict.fromkeys(ELEMENTWISE_KINDS, elementwise.elementwise),
    OperatorKind.REDUCTION: reducing.reduction,
    OperatorKind.ALONG_AXIS: reducing.along,
    OperatorKind.RESHAPING: reshaping.reshape,
    OperatorKind.PERMUTATION: reshaping.permute,
    OperatorKind.EXPANSION: reshaping.expand,
    OperatorKind.SPLITTING: joining.apart,
    OperatorKind.CONCATENATION: joining.cat,
    OperatorKind.STACKING: joining.stack,
    OperatorKind.PADDING: joining.pad,
    OperatorKind.RESAMPLING: joining.interpolate,
}


def plan(recording: Recording, target: Target, *, global_pool: bool) -> Plan:
    """Rewrite a recorded network.

    Args:
        recording: from `trace`.
        target: what the network is rebuilt with.
        global_pool: whether to average over positions before a flatten of maps larger than one pixel.

    Raises:
        ValueError: something cannot be converted; every kind of problem is named with places.
    """
    return _Planner(recording, target, global_pool).run()


class _Planner:
    def __init__(self, recording: Recording, target: Target, global_pool: bool) -> None:
        self.recording, self.target = recording, target
        self.values: dict[fx.Node, Any] = {}
        self.problems = Problems("equivariant: cannot convert ")
        self.modules = {tracing.place(path): module for path, module in recording.whole.named_modules()}
        self.called = {tracing.place(str(n.target)) for n in recording.graph.nodes if n.op == "call_module"}
        self.names: dict[str, str] = {}  # of layers that stand for calls, by the tensor they hold
        self.to = Writer(target, set(self.modules), global_pool=global_pool)

    def run(self) -> Plan:
        for node in self.recording.graph.nodes:
            self.to.place, self.to.parent = place(node), ""
            try:
                self.values[node] = self._visit(node)
            except (UnconvertibleError, ValueError) as error:
                example = self.recording.values.get(node)
                inputs = [self.values.get(other) for other in node.all_input_nodes]
                if inputs and all(isinstance(value, Value) and value.is_own for value in inputs):
                    self.values[node] = self._computed(example, str(error))  # an error only if a layer reads it
                    continue
                self.problems.add(self.to.place, str(error))
                self.values[node] = self._would_be(node, example)
            except _NOT_FORESEEN as error:
                self.problems.add(self.to.place, f"this call has no counterpart on a group ({type(error).__name__})")
                self.values[node] = self._would_be(node, self.recording.values.get(node))
        if not self.problems and not any(v.kind is Kind.MAPS for v in self._found()):
            self.problems.add("", "there is no Conv2d on the image")
        self.to.finish()
        held = self.to.problem_of_tensors()
        if held and not self.problems:
            self.problems.add(held, "a buffer with a number for every channel, whose number changes with the width")
        self.problems.raise_if_any()
        return self.to.plan

    def _found(self) -> list[Value]:
        return [value for value in self.values.values() if isinstance(value, Value)]

    def _visit(self, node: fx.Node) -> Any:
        example: Any = self.recording.values.get(node)
        if node.op == "placeholder":
            new, own = self.to.plan.graph.placeholder(node.name), channels(example.shape[1], fixed=True)
            return Value(new, Kind.IMAGE, example, own, ("b", "c", "h", "w"), side=tuple(example.shape[2:]))
        if node.op == "output":
            given = map_arg(node.args[0], self.values.__getitem__)
            self.to.plan.graph.output(_ended(given, self._end))
            return None
        if node.op == "get_attr":
            tensor = tracing.attribute(self.recording.whole, str(node.target))
            return self.to.held(tracing.place(str(node.target)), tensor)
        args, kwargs = map_arg((node.args, node.kwargs), self.values.__getitem__)
        if node.op == "call_module":
            path = tracing.place(str(node.target)) or "layer"
            inputs = [*args, *kwargs.values()]  # pyright: ignore
            if len(inputs) != 1 or not isinstance(inputs[0], Value):
                raise UnconvertibleError("is called with other arguments than one tensor")
            module = self.recording.whole.get_submodule(str(node.target))
            return self.to.standing(self._layer(node, path, module, inputs[0], example))
        return self._call(node, Call(self.to, node, tuple(args), dict(kwargs), example))  # pyright: ignore

    def _end(self, value: Value) -> Any:
        """Return what the network gives: maps lose their poses, and their widths stay."""
        for own in (value.channels, *(axis for axis in value.axes if axis is not None)):
            fix(own)
        return reshaping.original(self.to, value)

    def _call(self, node: fx.Node, call: Call) -> Any:
        name = call.called
        if node.target in calls.LAYERS:
            return self._functional(node, call)
        if node.target is getattr or (node.op == "call_method" and name in ("size", "dim")):
            return sizes.attribute(call)
        if name == "getitem":
            part = joining.getitem(call)
            return self.to.standing(part) if isinstance(part, Value) else part
        if not call.tensors:
            return sizes.numbers(call)
        if name in ("max", "min") and len(call.tensors) > 1:
            return self.to.standing(elementwise.elementwise(call))
        handler = _HANDLERS.get(call.operator.kind)
        if handler is None:
            raise UnconvertibleError(UNKNOWN)
        result = handler(call)
        return self.to.standing(result) if isinstance(result, Value) else result

    def _functional(self, node: fx.Node, call: Call) -> Value:
        """Write a function that stands for a layer, with the tensors of the network that it is given."""
        args, kwargs = map_arg((node.args, node.kwargs), self._holder)
        x = call.x
        if node.target is torch.nn.functional.avg_pool2d and len(node.all_input_nodes) > 1:
            if call.shape[2:] != (1, 1):  # a window that is computed, and would be another on other sizes
                raise UnconvertibleError("this call has no counterpart on a group, as its window is computed")
            layer, holder = nn.AdaptiveAvgPool2d(1), None
        else:
            layer, holder = calls.LAYERS[node.target](args, kwargs)  # pyright: ignore
        name = self._name(node, holder)
        return self.to.standing(self._layer(node, name, layer, x, call.example, known=holder is not None))

    def _holder(self, node: fx.Node) -> Any:
        """Return a tensor of the network as a `Holder`, a number as it was, and other tensors as they are."""
        value, example = self.values[node], self.recording.values.get(node)
        if not isinstance(value, Value) or value.kind is None:
            return example
        if not value.is_own:
            return value
        while node.op == "call_method" and _is_cast(node):
            node = node.all_input_nodes[0]
        if node.op == "get_attr":
            path = tracing.place(str(node.target))
            tensor = tracing.attribute(self.recording.whole, str(node.target))
            owner = self.modules.get(path.rpartition(".")[0])
            return Holder(tensor, path, owner, isinstance(tensor, nn.Parameter))
        return Holder(value.example, "", None, not value.constant)

    def _name(self, node: fx.Node, holder: Holder | None) -> str:
        """Return the name of the layer that a call becomes: that of the module whose weight it reads, if it can be."""
        if holder is None or not holder.path:
            return self.to.unused(node.name)
        if holder.path not in self.names:
            owner, _, attribute = holder.path.rpartition(".")
            wanted = owner if owner and attribute in ("weight", "running_mean") else holder.path
            if wanted == owner and any(
                other.startswith(f"{owner}.") for other in self.called
            ):  # the name is that of a group of layers
                wanted = f"{owner}.{called_name(node.target)}"
            free = wanted == owner and owner not in self.called and owner not in self.names.values()
            self.names[holder.path] = wanted if free else self.to.unused(wanted)
        return self.names[holder.path]

    def _layer(
        self, node: fx.Node, name: str, module: nn.Module, x: Value, example: Any, *, known: bool = True
    ) -> Value:
        self.to.parent = name.rpartition(".")[0] if node.op == "call_module" else ""
        if x.kind is None:
            raise UnconvertibleError("is called on a number")
        if isinstance(module, nn.Flatten | nn.Unflatten) and x.is_spatial:
            whole = tuple(example.shape) == (BATCH, int(torch.Size(x.example.shape[1:]).numel()))
            if whole and not x.stack and not x.waits:
                return reshaping.flattened(self.to, x, example, name, used=True)
        if isinstance(module, nn.Flatten | nn.Unflatten):
            return reshaping.reshaped(self.to, x, example, node.name)
        if not stays_as_it_is(module):
            x = self._stands(module, x)
        elif x.half is not None:
            raise UnconvertibleError(x.waits)
        standard = x.is_spatial and x.is_standard and isinstance(example, Tensor) and example.ndim == 4
        after = (int(example.shape[2]), int(example.shape[3])) if standard else x.side
        given = Given(x.kind or Kind.VECTOR, x.side, after, not self._goes_on(node), self.target)
        becomes = change(module, given)
        if known and name in self.to.plan.changes:
            before = self.to.plan.changes[name]
            if (before.output, before.pool_poses) != (becomes.output, becomes.pool_poses):
                if becomes.reuse == "alike":
                    raise UnconvertibleError("is used twice, on different kinds of tensors")
                if becomes.reuse == "any width":  # it learns nothing, so that each use can have one of its own
                    name = self.to.unused(name)
        axis = None if becomes.axis is None or x.is_spatial else axis_of(becomes.axis, len(x.axes))
        into = x.channels if x.is_spatial else x.axes[min(1, len(x.axes) - 1) if axis is None else axis]
        into = into or channels(1, fixed=True)
        out = self._widths(name, becomes, into)
        self._try(becomes, into, out)
        x = self.to.pool_poses(x) if becomes.pool_poses else x
        sides = (x.side, after) if x.is_spatial else ((), ())
        new = self.to.layer(name, becomes, into, out, x, *sides)
        if becomes.output is Kind.VECTOR:
            return self._vector(new, x, becomes, axis, out, example)
        layout = ("b", "c", "h", "w") if standard else x.layout  # an axis of one channel may now hold several
        found = Value(new, becomes.output, example, out, layout, side=after, stack=x.stack, waits=x.waits)
        found.expanded = x.expanded
        return found

    def _widths(self, name: str, becomes: Any, into: Channels) -> Channels:
        before = self.to.plan.widths.get(name)
        if before is not None and becomes.reuse == "alike":
            unify(before[0], into)
        if becomes.parts > 1:
            equal_parts(into, becomes.parts)
        if becomes.width is None:
            return into
        return before[1] if before is not None else channels(becomes.width)

    def _vector(self, new: fx.Node, x: Value, becomes: Any, axis: int | None, out: Channels, example: Any) -> Value:
        axes = list(x.axes)
        if axis is not None:
            axes[axis] = out
        if becomes.keeps_length and tuple(example.shape[2:]) != tuple(x.example.shape[2:]):
            if total(x.axes[2] or ()) > 1:
                raise UnconvertibleError("changes the number of channels along an axis, which is scaled")
            axes[2] = channels(example.shape[2], fixed=True)
        return Value(new, Kind.VECTOR, example, axes=tuple(axes), constant=False, waits=x.waits)

    def _stands(self, module: nn.Module, x: Value) -> Value:
        """Return the input of a layer with the axes that the layer reads."""
        if x.waits or x.pair:
            raise UnconvertibleError(x.waits or PLACES_OF_MAXIMA)
        if x.stack:
            raise UnconvertibleError("has stacked maps as input")
        kind = type(module).__name__
        if isinstance(module, nn.Conv1d | nn.BatchNorm1d | nn.InstanceNorm1d) and x.side == (1, 1):
            return self.to.vector(x)
        if not x.is_spatial:
            return x
        words = x.kind.value if x.kind else ""
        if isinstance(module, nn.Linear | nn.LayerNorm):
            if x.layout[-1] != "c":
                raise UnconvertibleError(f"{kind} has {words} as input; pool all positions and flatten before it")
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.PReLU | nn.InstanceNorm1d):
            if x.layout[1] not in ("c", "") and total(x.channels) > 1:
                raise UnconvertibleError(f"{kind} has maps with channels as another axis than 1 as input")
        elif not x.is_standard:
            raise UnconvertibleError(f"{kind} has maps as input that are not (batch, channel, height, width)")
        return x

    def _try(self, becomes: Any, into: Channels, out: Channels) -> None:
        """Build a layer at the original widths, so that errors of its arguments are found with all other problems."""
        try:
            becomes.make(total(into), becomes.width or total(out), _META)
        except (ValueError, TypeError, RuntimeError) as error:
            raise UnconvertibleError(str(error)) from error

    def _goes_on(self, node: fx.Node) -> bool:
        """Return whether a convolution, or a combination with feature maps, reads what a node gives."""
        seen, waiting = set[fx.Node](), list(node.users)
        while waiting:
            user = waiting.pop()
            layer = self.modules.get(tracing.place(str(user.target))) if user.op == "call_module" else None
            called = called_name(user.target) if user.op in ("call_function", "call_method") else ""
            others = [self.values.get(other) for other in user.all_input_nodes if other is not node]
            if isinstance(layer, nn.Conv2d) or called == "conv2d" or any(_is_maps(other) for other in others):
                return True
            stops = isinstance(layer, nn.Flatten | nn.Linear) or called in _FLATTENING
            if user not in seen and not stops:
                seen.add(user)
                waiting += user.users
        return False

    def _computed(self, example: Any, why: str) -> Any:
        """Return a stand-in for a value that is computed from tensors of the network in an unknown way."""
        if isinstance(example, tuple | list):
            return tuple(self._computed(part, why) for part in example)
        if not isinstance(example, Tensor):
            return Value(None, None, example)
        image, axes = next(iter(self.to.plan.graph.nodes)), tuple(channels(size) for size in example.shape)
        return Value(image, Kind.VECTOR, example, axes=axes, waits=why)

    def _would_be(self, node: fx.Node, example: Any) -> Any:
        """Return a stand-in for the result of a step that cannot be converted, so that later steps are checked."""
        image = next(iter(self.to.plan.graph.nodes))
        if isinstance(example, tuple | list) and not isinstance(example, torch.Size):
            return tuple(self._would_be(node, part) for part in example)
        if not isinstance(example, Tensor):
            return Value(None, None, example)
        sizes = tuple(example.shape)
        if len(sizes) == 4:
            given = [value.kind for n in node.all_input_nodes if isinstance(value := self.values.get(n), Value)]
            layer = self.modules.get(tracing.place(str(node.target)))
            lifts = isinstance(layer, nn.Conv2d) or called_name(node.target) == "conv2d"
            kind = Kind.MAPS if lifts or Kind.MAPS in given else next((k for k in given if k), Kind.MAPS)
            kind = Kind.MAPS if kind is Kind.VECTOR else kind
            return Value(image, kind, example, channels(sizes[1]), ("b", "c", "h", "w"), side=(sizes[2], sizes[3]))
        axes = tuple(None if k == 0 and size == BATCH else channels(size) for k, size in enumerate(sizes))
        return Value(image, Kind.VECTOR, example, axes=axes)


def _is_cast(node: fx.Node) -> bool:
    found = find_operator(node.target)
    return found is not None and found.kind is OperatorKind.CAST


def _is_maps(value: Any) -> bool:
    return isinstance(value, Value) and value.kind is Kind.MAPS


def _ended(given: Any, end: Callable[[Value], Any]) -> Any:
    """Return the outputs of a network, in the same nesting of lists, tuples and dicts."""
    if isinstance(given, Value):
        return end(given)
    if isinstance(given, tuple | list):
        return (
            type(given)(_ended(part, end) for part in given)
            if type(given) in (tuple, list)
            else [  # pyright: ignore
                _ended(part, end) for part in given
            ]
        )
    if isinstance(given, dict):
        return {key: _ended(part, end) for key, part in given.items()}
    return given
