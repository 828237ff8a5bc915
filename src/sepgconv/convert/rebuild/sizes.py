"""Shapes and sizes that a forward asks for, and what it computes with them."""

from typing import Any

from torch import fx

from sepgconv.convert.rebuild.call import Call
from sepgconv.convert.rebuild.segments import total
from sepgconv.convert.rebuild.values import PLACES_OF_MAXIMA, Kind, UnconvertibleError, Value, axis_of
from sepgconv.convert.rebuild.writing import Writer, mapped


def attribute(call: Call) -> Any:
    """Write `x.shape`, `x.dtype`, and what else is asked of a tensor: `size`, `dim`."""
    x, name = call.args[0], call.called if call.node.op == "call_method" else call.args[1]
    if isinstance(x, Value) and x.pair and name in ("values", "indices"):
        if name == "indices":
            raise UnconvertibleError(PLACES_OF_MAXIMA)
        x.pair = False
        return call.to.standing(x)
    if not isinstance(x, Value) or x.kind is None:
        return Value(None, None, call.example)
    if name in ("shape", "size"):
        shape = Value(None, None, tuple(x.example.shape), shape_of=x)
        index = call.number(call.bound(("dim",)).get("dim")) if name == "size" else None
        return shape if index is None else of_shape(call.to, shape, index, call.example)
    if name in ("ndim", "dim", "is_cuda", "requires_grad"):
        return Value(call.example, None, call.example)
    if name in ("dtype", "device"):
        return Value(call.to.function(getattr, x, name), None, call.example)
    return Value(None, None, call.example)


def of_shape(to: Writer, shape: Value, index: Any, example: Any) -> Any:
    """Return an entry of a shape, or several."""
    of = shape.shape_of
    if of is None:
        return Value(None, None, example)
    sizes = tuple(shape.example)
    if isinstance(index, slice):
        return tuple(_size(to, of, place, sizes[place]) for place in range(*index.indices(len(sizes))))
    return _size(to, of, axis_of(index, len(sizes)), sizes[axis_of(index, len(sizes))])


def _size(to: Writer, of: Value, axis: int, example: int) -> Value:
    """Return the size of an axis where the rebuilt network has it, too."""
    if of.waits or of.pair:
        return Value(None, None, example)
    if of.kind is Kind.VECTOR:
        own = of.axes[axis]
        if own is not None:
            fixed = total(own) == 1
            return Value(example if fixed else None, None, example)
        return Value(to.method("size", of, axis), None, example)
    item = of.layout[axis]
    if item == "":
        return Value(1, None, example)
    if item in ("b", "h", "w"):
        return Value(to.method("size", of, of.axis(item)), None, example)
    return Value(of.stack if item == "s" else None, None, example)


def numbers(call: Call) -> Value:
    """Write a computation with sizes alone."""
    known: list[bool] = []

    def look(value: Value) -> Any:
        known.append(value.node is not None and value.shape_of is None)
        return value

    mapped((call.args, call.kwargs), look)
    if all(known) and any(isinstance(node, fx.Node) for node in _nodes(call)):
        return Value(call.again({}), None, call.example)
    return Value(call.example if all(known) else None, None, call.example)


def _nodes(call: Call) -> list[Any]:
    found = list[Any]()
    mapped((call.args, call.kwargs), lambda value: found.append(value.node))
    return found
