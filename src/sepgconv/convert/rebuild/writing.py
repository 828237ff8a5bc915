"""The rebuilt forward being written: its steps, layers and own tensors, and how one kind of value becomes another."""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from sepgconv.convert.operators import is_in_place
from sepgconv.convert.rebuild.rules import Change, Target, pose_pool, position_pool
from sepgconv.convert.rebuild.segments import Channels, channels, is_fixed, segments, total, width
from sepgconv.convert.rebuild.values import Kind, UnconvertibleError, Value


class Width:
    """A number of channels in the arguments of a step, known once the widths are.

    Args:
        of: the channels.
    """

    def __init__(self, of: Channels) -> None:
        self.of = of


@dataclass
class Plan:
    """A rewritten forward.

    Attributes:
        graph: its steps; every layer in it is in `changes`, every tensor of its own in `tensors`.
        changes: what each layer becomes, by the name the graph calls it.
        widths: channels that come into and go out of every layer.
        calls: layers in the order of their calls, with the (height, width) before and after; () for vectors.
        tensors: what the network holds besides layers, with the channels of each axis.
        late: arguments of steps that hold a `Width`.
        places: where the original has the step, for errors.
    """

    graph: fx.Graph = field(default_factory=fx.Graph)
    changes: dict[str, Change] = field(default_factory=dict[str, Change])
    widths: dict[str, tuple[Channels, Channels]] = field(default_factory=dict[str, tuple[Channels, Channels]])
    calls: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(
        default_factory=list[tuple[str, tuple[int, ...], tuple[int, ...]]]
    )
    tensors: dict[str, tuple[Tensor, tuple[Channels, ...]]] = field(
        default_factory=dict[str, tuple[Tensor, tuple[Channels, ...]]]
    )
    late: dict[fx.Node, tuple[Any, Any]] = field(default_factory=dict[fx.Node, tuple[Any, Any]])
    places: dict[fx.Node, str] = field(default_factory=dict[fx.Node, str])

    def at(self, factor: float) -> dict[str, tuple[int, int]]:
        """Return the widths before and after every layer for a factor."""
        return {name: (width(into, factor), width(out, factor)) for name, (into, out) in self.widths.items()}

    def shapes(self, factor: float) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters besides those of layers for a factor."""
        return {
            path: tuple(width(axis, factor) for axis in axes)
            for path, (tensor, axes) in self.tensors.items()
            if isinstance(tensor, nn.Parameter)
        }

    def scaled_sizes(self) -> list[int]:
        """Return the different numbers of channels that a factor scales."""
        every = [own for widths in self.widths.values() for own in widths]
        every += [axis for _, axes in self.tensors.values() for axis in axes]
        return sorted({s.size for own in every for s in segments(own) if not s.fixed and s.size > 1})

    def fill_in(self, factor: float) -> None:
        """Put the numbers of channels for a factor into the arguments of steps."""

        def known(value: Any) -> Any:
            return width(value.of, factor)

        for node, (args, kwargs) in self.late.items():
            node.args, node.kwargs = mapped(args, known), mapped(kwargs, known)

    def make_tensors(self, factor: float, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the tensors besides those of layers: as they are where no width changes, else of their mean."""
        made = dict[str, Tensor]()
        for path, (tensor, axes) in self.tensors.items():
            shape, values = tuple(width(axis, factor) for axis in axes), tensor.detach()
            if shape != tuple(tensor.shape):
                mean = values.double().mean() if values.numel() else 0.0
                values = torch.full(shape, float(mean), dtype=values.dtype, device=values.device)
            values = values.to(device, dtype if values.is_floating_point() else values.dtype).clone()
            made[path] = nn.Parameter(values) if isinstance(tensor, nn.Parameter) else values
        return made


def mapped(value: Any, form: Callable[[Any], Any]) -> Any:
    """Return arguments with every value and width in them replaced."""
    if isinstance(value, Value | Width):
        return form(value)
    if isinstance(value, tuple | list):
        return (
            type(value)(mapped(v, form) for v in value)
            if type(value) in (tuple, list)
            else [mapped(v, form) for v in value]
        )
    if isinstance(value, dict):
        return {key: mapped(v, form) for key, v in value.items()}
    if isinstance(value, slice):
        return slice(*(mapped(v, form) for v in (value.start, value.stop, value.step)))
    return value


class Writer:
    """Writes steps.

    Attributes:
        plan: what is written.
        target: what the network is rebuilt with.
        global_pool: whether to average over positions before a flatten of maps larger than one pixel.
        place: of the step of the original that is being rewritten, for errors.
        parent: path of the module whose neighbour an inserted pool becomes.
    """

    def __init__(self, target: Target, taken: set[str], *, global_pool: bool) -> None:
        self.plan, self.target, self.global_pool = Plan(), target, global_pool
        self.place, self.parent = "", ""
        self._taken = taken

    def step(self, op: str, called: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> fx.Node:
        """Write a step; values among its arguments are read, widths in them filled in later.

        Raises:
            UnconvertibleError: a number among them is another one on a group.
        """

        def now(value: Any) -> Any:
            if isinstance(value, Width):
                return total(value.of)
            if value.node is None or value.pair:
                raise UnconvertibleError("computes with the size of a tensor, which on a group is another")
            return value.node

        kwargs = kwargs or {}
        given = mapped(args, now), mapped(kwargs, now)
        node = self.plan.graph.create_node(op, called, *given)
        if any(isinstance(part, Width) for part in _leaves((args, kwargs))):
            self.plan.late[node] = (
                mapped(args, lambda v: v if isinstance(v, Width) else now(v)),
                mapped(kwargs, lambda v: v if isinstance(v, Width) else now(v)),
            )
        self.plan.places[node] = self.place
        return node

    def method(self, called: str, *args: Any, **kwargs: Any) -> fx.Node:
        """Write the call of a method."""
        return self.step("call_method", called, args, kwargs)

    def function(self, called: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Write the call of a function."""
        return self.step("call_function", called, args, kwargs)

    def layer(
        self, name: str, change: Change, into: Channels, out: Channels, node: Any, before: Any, after: Any
    ) -> fx.Node:
        """Write the call of a layer."""
        self.plan.changes.setdefault(name, change)
        self.plan.widths.setdefault(name, (into, out))
        self.plan.calls.append((name, tuple(before), tuple(after)))
        return self.step("call_module", name, (node,))

    def held(self, path: str, tensor: Tensor) -> Value:
        """Return a tensor of the network's own; it gets its widths from what it is combined with."""
        if path not in self.plan.tensors:
            self.plan.tensors[path] = (tensor, tuple(channels(size) for size in tensor.shape))
        axes = self.plan.tensors[path][1]
        node = self.plan.graph.get_attr(path.replace(".", "_") if path in self.plan.changes else path)
        self.plan.places[node] = self.place
        constant = not isinstance(tensor, nn.Parameter)
        return Value(node, Kind.VECTOR, tensor, axes=axes, constant=constant)

    def pool_poses(self, value: Value) -> Value:
        """Return maps without poses."""
        if value.kind is not Kind.MAPS:
            return value
        return self._pool(value, "pose_pool", pose_pool, value.side)

    def pool_positions(self, value: Value) -> Value:
        """Return maps of one pixel."""
        return self._pool(value, "position_pool", position_pool, (1, 1))

    def _pool(self, value: Value, what: str, make: Any, side: tuple[int, int]) -> Value:
        if value.stack:
            raise UnconvertibleError("stacked maps are added, or taken apart, before they are pooled")
        name = self.unused(f"{self.parent}.{what}" if self.parent else what)
        change = Change(make, Kind.POOLED, reuse="any width")
        node = self.layer(name, change, value.channels, value.channels, value, value.side, side)
        return Value(node, Kind.POOLED, value.example, value.channels, value.layout, side=side)

    def unused(self, wanted: str) -> str:
        """Return a name that nothing has yet."""
        name, number = wanted, 1
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        return name

    def standing(self, value: Value) -> Value:
        """Return a vector as maps of one pixel where it has their axes, and maps of one pixel as a vector where not."""
        if value.pair or value.waits:
            return value
        if value.kind is Kind.VECTOR and len(value.axes) == 4:
            batch, own, *positions = value.axes
            if batch is None and own is not None and all(axis is not None and total(axis) == 1 for axis in positions):
                return Value(value.node, Kind.POOLED, value.example, own, ("b", "c", "", ""))
        if value.is_spatial and not value.stack and value.side == (1, 1):
            if len(value.layout) <= 2:
                return self.vector(value)
        return value

    def vector(self, value: Value) -> Value:
        """Return maps of one pixel as a vector with the axes of the original.

        Raises:
            UnconvertibleError: they have more pixels, or are not ready.
        """
        if value.kind is Kind.VECTOR:
            return value
        if value.waits:
            raise UnconvertibleError(value.waits)
        if value.side != (1, 1) or value.stack or any(len(item) > 1 for item in value.layout):
            raise UnconvertibleError(
                f"changes the axes of maps of {value.side[0]} x {value.side[1]} pixels in a way that has no counterpart"
            )
        letters = [item for item in value.layout if item in ("b", "c")]
        flat = self.method("flatten", self.pool_poses(value), 1)
        axes = tuple(
            None if item == "b" else value.channels if item == "c" else channels(1, fixed=True) for item in value.layout
        )
        index: list[Any] = [slice(None) if item in ("b", "c") else None for item in value.layout]
        if letters == ["c", "b"]:
            flat = self.method("transpose", flat, 0, 1)
        if "c" not in letters:
            index.append(0)
        if index != [slice(None), slice(None)]:
            flat = self.function(operator.getitem, flat, tuple(index))
        return Value(flat, Kind.VECTOR, value.example, axes=axes)

    def on_maps(self, value: Value, like: Value, rank: int) -> Any:
        """Return what gives a value the axes of maps, so that both can be combined.

        Args:
            value: maps of any kind, or a vector whose axes fit those of the maps.
            like: the maps; with poses, where anything combined has any.
            rank: of the result of the combination in the original.

        Raises:
            UnconvertibleError: the value has numbers for each position.
        """
        if value.kind is None:
            return value
        if value.is_spatial:
            return self._raised(value, like)
        poses = (None,) if like.kind is Kind.MAPS else ()
        behind = (None,) if like.stack else ()
        letters = set[str]()
        for axis, item in zip(reversed(value.axes), reversed(like.layout), strict=False):
            if axis is None:
                letters.add("b")
                if item != "b":
                    raise UnconvertibleError("combines the batch of a vector with another axis of maps")
            elif total(axis) > 1:
                if item != "c":
                    raise UnconvertibleError("combines maps with numbers for each position, which a rotation exchanges")
                letters.add("c")
        if not letters:
            return value.node if len(value.axes) <= 4 else self.method("flatten", value)
        flat = self.method("flatten", value, 1) if letters == {"b", "c"} else self.method("flatten", value)
        lead = {"b": (slice(None), None), "c": (slice(None),)}.get("".join(sorted(letters)), (slice(None), slice(None)))
        return self.function(operator.getitem, flat, (*lead, *poses, None, None, *behind))

    def _raised(self, value: Value, like: Value) -> Any:
        node = value.node
        if like.stack and not value.stack:
            node = self.method("unsqueeze", node, -1)
        if like.kind is Kind.MAPS and value.kind is not Kind.MAPS:
            node = self.method("unsqueeze", node, 2)
        return node

    def finish(self) -> None:
        """Erase the steps that only sizes and shapes read, and tensors that nothing reads."""
        for node in reversed(list(self.plan.graph.nodes)):
            if not node.users and node.op != "placeholder" and node.op != "output" and _is_idle(node):
                self.plan.graph.erase_node(node)
                self.plan.late.pop(node, None)
                self.plan.places.pop(node, None)
        read = {str(node.target) for node in self.plan.graph.nodes if node.op == "get_attr"}
        self.plan.tensors = {path: held for path, held in self.plan.tensors.items() if path in read}

    def problem_of_tensors(self) -> str:
        """Return the first buffer whose numbers per channel cannot follow a width that changes, "" if there is none."""
        for path, (tensor, axes) in self.plan.tensors.items():
            differs = tensor.numel() > 0 and not bool((tensor == tensor.flatten()[0]).all())
            if not isinstance(tensor, nn.Parameter) and differs and not all(is_fixed(axis) for axis in axes):
                return path
        return ""


def _leaves(value: Any) -> list[Any]:
    found = list[Any]()
    mapped(value, lambda v: found.append(v))
    return found


def _is_idle(node: fx.Node) -> bool:
    """Return whether a step does nothing but give its result."""
    return node.op == "get_attr" or (node.op in ("call_function", "call_method") and not is_in_place(node))
