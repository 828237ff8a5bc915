"""The steps between the layers: the user's own additions, activations, reshapes, and what else stands in forward."""

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from sepgconv import functional
from sepgconv._modules import home
from sepgconv.convert.operators import (
    DROPOUTS,
    ELEMENTWISE_KINDS,
    called_name,
    find_operator,
    is_elementwise,
    is_in_place,
    out_of_place,
    out_of_place_copy,
    passes_through,
)
from sepgconv.convert.plain.errors import named, raise_unconvertible
from sepgconv.convert.plain.layers import Plain, plain
from sepgconv.convert.plain.maps import PlainGraph, Value
from sepgconv.convert.tracing import Recording, attribute, place
from sepgconv.nn import (
    AdaptiveAvgPool2d,
    AntialiasedMaxPool2d,
    AvgPool2d,
    GroupMaxPool,
    GroupMeanPool,
    MaxPool2d,
    RestrictGroup,
)

# Where operations of torch and Python come from.
_PLAIN_PACKAGES = ("torch", "_operator", "builtins", "math")


def _antialiased(kernel_size: Any, stride: Any = None, padding: Any = 0, blur_size: int | None = None) -> nn.Module:
    return AntialiasedMaxPool2d(kernel_size, stride, padding, blur_size=blur_size)


# Functions of the library that have a layer of the same meaning.
_LAYER_OF: dict[Any, Callable[..., nn.Module]] = {
    functional.group_max_pool: GroupMaxPool,
    functional.group_mean_pool: GroupMeanPool,
    functional.restrict_group: RestrictGroup,
    functional.max_pool2d: MaxPool2d,
    functional.antialiased_max_pool2d: _antialiased,
    functional.avg_pool2d: AvgPool2d,
    functional.adaptive_avg_pool2d: AdaptiveAvgPool2d,
}


class Conversion:
    """A recorded network on its way to ordinary layers.

    Attributes:
        build: the plain network so far.
    """

    def __init__(self, recording: Recording, composed: bool | None) -> None:
        self.build = PlainGraph()
        self._recording, self._composed = recording, composed
        self._values: dict[fx.Node, Value] = {}

    def run(self) -> PlainGraph:
        """Write every step.

        Raises:
            ValueError: a step that cannot be written, with its place.
        """
        for node in self._recording.graph.nodes:
            if node.op == "output":
                self.build.graph.output(map_arg(node.args[0], self._unfolded))
            else:
                self._values[node] = self._write(node)
            self._mark_place(node)
        return self.build

    def _write(self, node: fx.Node) -> Value:
        example = self._recording.values.get(node)
        if node.op == "placeholder":
            return Value(example, whole=self.build.graph.placeholder(node.name))
        if node.op == "get_attr":
            found = attribute(self._recording.whole, str(node.target))
            return Value(found, whole=self.build.constant(place(str(node.target)), found))
        if node.op == "call_module":
            return self._layer(node, example)
        return self._operation(node, example)

    def _mark_place(self, node: fx.Node) -> None:
        """Note on the steps just written which module of the network they are for; torch.export carries it on."""
        stack = node.meta.get("nn_module_stack") or {}
        places = {place(key): (place(path), kind) for key, (path, kind) in stack.items()}
        for written in reversed(self.build.graph.nodes):
            if "nn_module_stack" in written.meta:
                break
            written.meta["nn_module_stack"] = places

    def _layer(self, node: fx.Node, example: Any) -> Value:
        module = self._recording.whole.get_submodule(str(node.target))
        name = place(str(node.target)) or "layer"
        inputs = [self._values[n] for n in node.all_input_nodes]
        if len(inputs) == 1 and len(node.args) == 1 and not node.kwargs:
            x = inputs[0]
            if passes_through(module):
                return x
            written = plain(module, Plain(self.build, name, x, self._composed), example)
            if written is not None:
                return written
            if is_elementwise(module):
                call = self._unary(x, lambda n: self.build.module(name, lambda: out_of_place_copy(module), n), example)
                return self._into(node, x, call) if getattr(module, "inplace", False) else call
        if home(type(module)) == "sepgconv":
            raise_unconvertible(named(name, type(module)), "it is called with other arguments than one feature map")
        self.build.layers.setdefault(name, copy.deepcopy(module))
        args, kwargs = self._whole(node)
        return Value(example, whole=self.build.graph.call_module(name, args, kwargs))

    def _operation(self, node: fx.Node, example: Any) -> Value:
        target, inputs = node.target, [self._values[n] for n in node.all_input_nodes]
        name, known = called_name(target), find_operator(target)
        if target in _LAYER_OF:
            layer = _LAYER_OF[target](*node.args[1:], **node.kwargs)
            unique = f"{name}_{sum(key.startswith(name) for key in self.build.layers)}"
            written = plain(layer, Plain(self.build, unique, inputs[0], self._composed), example)
            return cast("Value", written)
        package = str(getattr(target, "__module__", None) or "torch").partition(".")[0]
        if package == "sepgconv":
            raise_unconvertible(self._where(node), f"it calls {name} on maps; use the layer of sepgconv.nn instead")
        if package not in _PLAIN_PACKAGES:
            raise_unconvertible(
                self._where(node), f"it calls {name} of {package}, which would be needed to run the result"
            )
        if known is not None and known.kind in DROPOUTS and _is_same(example, inputs[0]):
            return inputs[0]
        if node.kwargs.get("out") is not None:
            raise_unconvertible(self._where(node), f"{name} writes into another tensor (out=...); use its result")
        in_place = is_in_place(node) and isinstance(inputs[0].example, Tensor)  # a size is changed for one name only
        call, args, kwargs = self._out_of_place(node, name) if in_place else (target, node.args, node.kwargs)
        kind = "call_method" if isinstance(call, str) else "call_function"

        def write(form: Callable[[fx.Node], Any]) -> fx.Node:
            moved = map_arg((args, kwargs), form)
            return self.build.graph.create_node(kind, cast("Any", call), *cast("Any", moved))

        maps = [value for value in inputs if isinstance(value.example, Tensor)]
        has_layout = any(isinstance(value, torch.memory_format) for value in (*args, *kwargs.values()))
        if known is not None and known.kind in ELEMENTWISE_KINDS and not has_layout and self._alike(maps, example):
            result = Value(example, folded=write(self._folded))
        else:
            result = Value(example, whole=write(self._unfolded))
        return self._into(node, inputs[0], result) if in_place else result

    def _alike(self, maps: list[Value], example: Any) -> bool:
        """Return whether an elementwise step can run on folded maps: all have one shape, and one is folded."""
        shapes = {value.example.shape for value in maps} | {getattr(example, "shape", None)}
        alike = len(maps) > 0 and len(shapes) == 1 and maps[0].is_maps
        return alike and any(value.folded is not None for value in maps)

    def _unary(self, x: Value, write: Callable[[Any], fx.Node], example: Any) -> Value:
        if x.is_maps and x.folded is not None:
            return Value(example, folded=write(x.folded))
        return Value(example, whole=write(self.build.unfold(x)))

    def _folded(self, node: fx.Node) -> Any:
        value = self._values[node]
        return self.build.fold(value) if value.is_maps else self.build.unfold(value)

    def _unfolded(self, node: fx.Node) -> Any:
        return self.build.unfold(self._values[node])

    def _whole(self, node: fx.Node) -> tuple[Any, Any]:
        moved = map_arg((node.args, node.kwargs), self._unfolded)
        return cast("tuple[Any, Any]", moved)

    def _out_of_place(self, node: fx.Node, name: str) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """Return the call that gives as a new tensor what this one writes over its input."""
        call = out_of_place(node)
        if call is None:
            raise_unconvertible(
                self._where(node), f"{name} changes a tensor in place; write it as an operation with a result"
            )
        return call

    def _into(self, node: fx.Node, x: Value, result: Value) -> Value:
        """Let every name of a tensor mean what was written over it."""
        memory = _memory(x.example)
        others = [n for n, v in self._values.items() if v is not x and isinstance(v.example, Tensor)]
        shared = [other for other in others if _memory(self._values[other].example) == memory]
        if any(user > node for other in shared for user in other.users):  # read once more later on
            raise_unconvertible(
                self._where(node),
                "it changes a tensor in place that shares its memory with another one; write it as an operation with "
                "a result",
            )
        x.whole, x.folded = result.whole, result.folded
        return x

    def _where(self, node: fx.Node) -> str:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if not stack:
            return "the network"
        path, kind = stack[-1]
        return named(place(path), kind)


def _is_same(example: Any, x: Value) -> bool:
    return isinstance(example, Tensor) and torch.equal(example, x.example)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
