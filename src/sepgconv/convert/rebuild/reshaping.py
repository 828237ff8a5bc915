"""Axes: reshapes, permutations, expansion. On maps no step is written: only the layout changes."""

import math
from typing import Any

from torch import Tensor, nn

from sepgconv.convert.rebuild.call import Call
from sepgconv.convert.rebuild.rules import Change
from sepgconv.convert.rebuild.segments import Channels, channels, equal_parts, is_fixed, total
from sepgconv.convert.rebuild.values import BATCH, PLACES_OF_MAXIMA, Kind, UnconvertibleError, Value, axis_of, regrouped
from sepgconv.convert.rebuild.writing import Width, Writer

_ITEMS = ("", "b", "c", "s", "h", "w", "hw", "wh")


def reshape(call: Call) -> Value:
    """Write a reshape, however it is called; what it does is seen on the example.

    Raises:
        UnconvertibleError: it mixes axes that a group moves with others.
    """
    x = call.x
    return reshaped(call.to, x, call.example, call.node.name)


def reshaped(to: Writer, x: Value, example: Tensor, name: str) -> Value:
    """Write a reshape of maps, or of a vector.

    Args:
        to: where.
        x: the tensor.
        example: what it gave on the example.
        name: of the layer that a flatten becomes.
    """
    if x.kind is Kind.VECTOR:
        return _reshaped_vector(to, x, example)
    if x.waits:
        raise UnconvertibleError(x.waits)
    target = tuple(example.shape)
    before = tuple(x.example.shape)
    if len(target) == 2 and target == (before[0], math.prod(before[1:])) and not x.stack:
        return flattened(to, x, example, name)
    found = regrouped(x.layout, x.sizes, target)
    if found is None:
        raise UnconvertibleError("changes the axes of a tensor in another way than to a vector per image")
    layout, stack = found
    node, own = x.node, x.channels
    if stack:
        own = equal_parts(own, stack)
        node = to.method("movedim", to.method("unflatten", x, 1, (stack, -1)), 1, -1)
    if "sc" in layout:
        if stack:
            raise UnconvertibleError("cuts channels into groups and joins them again")
        node = to.method("flatten", to.method("movedim", x, -1, 1), 1, 2)
        own, layout = own * x.stack, tuple("c" if item == "sc" else item for item in layout)
        x = Value(node, x.kind, example, own, layout, side=x.side)
    if any(item not in _ITEMS for item in layout):
        what = (
            "mixes channels in groups, as a channel shuffle does"
            if "cs" in layout
            else ("merges channels with positions or the batch")
        )
        raise UnconvertibleError(f"{what}, which has no counterpart on a group")
    return Value(node, x.kind, example, own, layout, side=x.side, stack=stack or x.stack)


def flattened(to: Writer, x: Value, example: Any, name: str, *, used: bool = False) -> Value:
    """Write a flatten to a vector per image.

    Args:
        to: where.
        x: maps.
        example: what it gave on the example.
        name: of the layer that it becomes.
        used: whether the name is that of a layer of the original.

    Raises:
        UnconvertibleError: of the image, or of several positions where no `global_pool` is asked for.
    """
    if x.kind is Kind.IMAGE:
        raise UnconvertibleError("flattens the image before any convolution")
    large = math.prod(x.side) > 1
    if large and not to.global_pool:
        raise UnconvertibleError(
            f"flattens maps of {x.side[0]} x {x.side[1]} pixels, and what reads them is not invariant; pool over "
            f"all positions before it (nn.AdaptiveAvgPool2d(1)), or give global_pool=True to have that put in"
        )
    x = to.pool_poses(x)
    x = to.pool_positions(x) if large else x
    change = Change(lambda c, n, device: nn.Flatten(), Kind.VECTOR, reuse="any width")
    node = to.layer(name if used else to.unused(name), change, x.channels, x.channels, x, (1, 1), ())
    return Value(node, Kind.VECTOR, example, axes=(None, x.channels))


def _reshaped_vector(to: Writer, x: Value, example: Tensor) -> Value:
    if x.waits:
        raise UnconvertibleError(x.waits)
    target = tuple(example.shape)
    if target == tuple(BATCH if axis is None else total(axis) for axis in x.axes):
        return Value(x.node, x.kind, example, axes=x.axes, constant=x.constant)
    waiting = [axis for axis in x.axes if axis is None or total(axis) > 1]
    axes = list[Channels | None]()
    for size in target:
        merged, left = list[Channels | None](), int(size)
        while left > 1:
            axis = waiting.pop(0) if waiting else channels(1)
            length = BATCH if axis is None else total(axis)
            if left % length == 0 and length > 1:
                merged.append(axis)
                left //= length
            elif axis is not None and length > 1 and length % left == 0:
                merged.append(channels(left, fixed=True))
                waiting.insert(0, equal_parts(axis, left))
                left = 1
            else:
                raise UnconvertibleError("changes the axes of a vector in a way that has no counterpart")
        axes.append(_merged(merged))
    if waiting:
        raise UnconvertibleError("changes the axes of a vector in a way that has no counterpart")
    sizes = [-1 if axis is None else Width(axis) for axis in axes]
    return Value(to.method("reshape", x, sizes), x.kind, example, axes=tuple(axes), constant=x.constant)


def _merged(axes: list[Channels | None]) -> Channels | None:
    if len(axes) <= 1:
        return axes[0] if axes else channels(1, fixed=True)
    *numbers, last = axes
    if last is None or any(axis is None or not is_fixed(axis) for axis in numbers):
        raise UnconvertibleError("merges axes of a vector whose widths are scaled apart")
    return last * math.prod(total(axis) for axis in numbers if axis is not None)


def permute(call: Call) -> Value:
    """Write a permutation of axes: `permute`, `transpose`, `movedim`, `t`."""
    x, name = call.x, call.called
    rank = len(x.layout) if x.is_spatial else len(x.axes)
    order = _order(call, name, rank)
    if x.waits:
        raise UnconvertibleError(x.waits)
    if x.is_spatial:
        layout = tuple(x.layout[place] for place in order)
        return Value(x.node, x.kind, call.example, x.channels, layout, side=x.side, stack=x.stack)
    axes = tuple(x.axes[place] for place in order)
    node = call.to.method("permute", x, tuple(order))
    return Value(node, x.kind, call.example, axes=axes, constant=x.constant)


def _order(call: Call, name: str, rank: int) -> list[int]:
    numbers = [call.number(value) for value in (*call.args[1:], *call.kwargs.values())]
    order = list(range(rank))
    if name == "permute":
        flat = numbers[0] if isinstance(numbers[0], tuple | list) else numbers
        return [axis_of(axis, rank) for axis in flat]
    if name == "movedim":
        sources, targets = (n if isinstance(n, tuple | list) else (n,) for n in numbers[:2])
        rest = [axis for axis in order if axis not in {axis_of(s, rank) for s in sources}]
        moves = zip(targets, sources, strict=True)
        for target, source in sorted((axis_of(t, rank), axis_of(s, rank)) for t, s in moves):
            rest.insert(target, source)
        return rest
    one, other = (axis_of(axis, rank) for axis in (numbers[:2] if len(numbers) > 1 else (0, 1)))
    order[one], order[other] = order[other], order[one]
    return order


def expand(call: Call) -> Value:
    """Leave an expansion to what reads it: sums and products expand by themselves.

    Raises:
        UnconvertibleError: axes are repeated that are no copies of one number.
    """
    x = call.x
    before, after = tuple(x.example.shape), call.shape
    if call.called == "repeat" and any(old != 1 and old != new for old, new in _aligned(before, after)):
        raise UnconvertibleError("repeats maps beside themselves, which has no counterpart")
    if before == after:
        return x
    if x.waits:
        raise UnconvertibleError(x.waits)
    waits = "expands a tensor for something else than a sum or product of maps"
    more = len(after) - len(before)
    if x.kind is Kind.VECTOR:
        axes = (*[channels(1, fixed=True)] * more, *x.axes)
        return Value(x.node, x.kind, call.example, axes=axes, waits=waits, expanded=True, constant=x.constant)
    layout = (*[""] * more, *x.layout)
    found = Value(x.node, x.kind, call.example, x.channels, layout, side=x.side, stack=x.stack)
    found.waits, found.expanded = waits, True
    return found


def _aligned(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip(reversed(before), reversed(after), strict=False))


def original(to: Writer, x: Value) -> Any:
    """Return a value with the axes that the original gives; maps lose their poses.

    Raises:
        UnconvertibleError: it is not ready.
    """
    if x.kind is None:
        if x.node is None:
            raise UnconvertibleError("gives the size of a tensor, which on a group is another")
        return x.node
    if x.waits or x.pair:
        raise UnconvertibleError(x.waits or PLACES_OF_MAXIMA)
    if x.kind is Kind.VECTOR:
        return x.node
    if x.stack:
        raise UnconvertibleError("gives stacked maps; give them one by one")
    x = to.pool_poses(x)
    if x.is_standard:
        return x.node
    letters = [letter for item in x.layout for letter in item]
    missing = [letter for letter in "bchw" if letter not in letters]
    node = to.method("permute", x, tuple(x.axis(letter) % 4 for letter in (*letters, *missing)))
    for _ in missing:
        node = to.method("squeeze", node, -1)
    for place, item in enumerate(x.layout):
        if len(item) > 1:
            node = to.method("flatten", node, place, place + len(item) - 1)
        elif not item:
            node = to.method("unsqueeze", node, place)
    return node
