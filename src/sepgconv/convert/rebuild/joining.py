"""Joining and taking apart: cat, stack, chunk, split, slices, crops, padding, resampling."""

import operator
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from sepgconv.convert.rebuild.call import Call
from sepgconv.convert.rebuild.segments import Channels, channels, cut, total, unify
from sepgconv.convert.rebuild.sizes import of_shape
from sepgconv.convert.rebuild.values import PLACES_OF_MAXIMA, UNKNOWN, Kind, UnconvertibleError, Value, axis_of, richest
from sepgconv.convert.rebuild.windows import check_even_ends, check_even_steps
from sepgconv.convert.rebuild.writing import Width, Writer


def _ready(value: Value) -> Value:
    if value.waits or value.pair:
        raise UnconvertibleError(value.waits or PLACES_OF_MAXIMA)
    return value


def _parts(call: Call) -> tuple[list[Value], int]:
    given = call.bound(("dim",))
    parts: Any = given.get("tensors", given.get("input"))
    parts = [_ready(part) for part in parts]
    index = int(call.number(given.get("dim", given.get("axis", 0))))
    if len({part.kind is Kind.VECTOR for part in parts}) > 1:
        raise UnconvertibleError(f"combines {' and '.join(sorted({p.kind.value for p in parts if p.kind}))}")
    return parts, index


def _alike(call: Call, parts: list[Value]) -> tuple[list[fx.Node], Value]:
    """Return the nodes of maps raised to one kind, those without poses repeated for each."""
    if len({(part.layout, part.stack) for part in parts}) > 1:
        raise UnconvertibleError("joins maps whose axes stand differently")
    kind = richest(part.kind for part in parts)
    like = Value(None, kind, call.example, parts[0].channels, parts[0].layout, side=parts[0].side, stack=parts[0].stack)
    nodes = list[fx.Node]()
    for part in parts:
        node = call.to.on_maps(part, like, len(like.layout))
        if kind is Kind.MAPS and part.kind is not Kind.MAPS:
            behind = (-1,) if part.stack else ()
            node = call.to.method("expand", node, -1, -1, call.to.target.group.order, -1, -1, *behind)
        nodes.append(node if part.kind is not kind else part.node)
    return nodes, like


def cat(call: Call) -> Value:
    """Write `torch.cat` along channels."""
    parts, index = _parts(call)
    if parts[0].kind is Kind.VECTOR:
        axis = axis_of(index, len(parts[0].axes))
        if parts[0].axes[axis] is None:
            raise UnconvertibleError("joins along the batch, which has no counterpart")
        axes = list(parts[0].axes)
        axes[axis] = tuple(segment for part in parts for segment in part.axes[axis] or ())
        for part in parts[1:]:
            for place, (one, other) in enumerate(zip(parts[0].axes, part.axes, strict=True)):
                if place != axis and one is not None and other is not None:
                    unify(one, other)
        return Value(call.to.function(torch.cat, parts, axis), Kind.VECTOR, call.example, axes=tuple(axes))
    axis = axis_of(index, len(parts[0].layout))
    letter = parts[0].layout[axis]
    if letter != "c" and not (letter == "" and parts[0].is_standard and axis == 1):
        raise UnconvertibleError(f"joins along axis {index}; only channels are joined on a group")
    nodes, found = _alike(call, parts)
    found.channels = tuple(segment for part in parts for segment in part.channels)
    found.layout = tuple("c" if place == axis else item for place, item in enumerate(found.layout))
    found.node = call.to.function(torch.cat, nodes, 1)
    return found


def stack(call: Call) -> Value:
    """Write `torch.stack`; of maps, the new axis comes last."""
    parts, index = _parts(call)
    if parts[0].kind is Kind.VECTOR:
        axis = axis_of(index, len(parts[0].axes) + 1)
        for part in parts[1:]:
            for one, other in zip(parts[0].axes, part.axes, strict=True):
                if one is not None and other is not None:
                    unify(one, other)
        axes = (*parts[0].axes[:axis], channels(len(parts), fixed=True), *parts[0].axes[axis:])
        return Value(call.to.function(torch.stack, parts, axis), Kind.VECTOR, call.example, axes=axes)
    if parts[0].stack:
        raise UnconvertibleError("stacks what is stacked already")
    nodes, found = _alike(call, parts)
    for part in parts[1:]:
        unify(parts[0].channels, part.channels)
    axis = axis_of(index, len(found.layout) + 1)
    found.layout, found.stack = (*found.layout[:axis], "s", *found.layout[axis:]), len(parts)
    found.node = call.to.function(torch.stack, nodes, -1)
    return found


def apart(call: Call) -> tuple[Value, ...]:
    """Write `chunk`, `split` and `unbind`; where they cut is seen on the example."""
    x, name = _ready(call.x), call.called
    names = ("dim",) if name == "unbind" else ("sections", "dim")
    index = int(call.number(call.bound(names).get("dim", 0)))
    results: list[Tensor] = list(call.example)
    rank = x.rank
    axis, found, place = axis_of(index, rank), list[Value](), 0
    for example in results:
        size = 1 if name == "unbind" else int(example.shape[axis])
        item: Any = place if name == "unbind" else slice(place, place + size)
        found.append(sliced(call.to, x, (*[slice(None)] * axis, item), example))
        place += size
    return tuple(found)


def getitem(call: Call) -> Any:
    """Write `x[...]`: of a shape, of several results, or of a tensor."""
    of, index = call.args
    if isinstance(of, tuple | list):
        return of[call.number(index)]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(of, Value) and of.shape_of is not None:
        return of_shape(call.to, of, call.number(index), call.example)
    if isinstance(of, Value) and of.pair:
        if call.number(index) != 0:
            raise UnconvertibleError(PLACES_OF_MAXIMA)
        of.pair = False
        return call.to.standing(of)
    if call.x.kind is None:
        raise UnconvertibleError(UNKNOWN)
    index = call.number(index)
    return sliced(call.to, _ready(call.x), index if isinstance(index, tuple) else (index,), call.example)


def sliced(to: Writer, x: Value, index: tuple[Any, ...], example: Tensor) -> Value:
    """Write a slice of a tensor.

    Raises:
        UnconvertibleError: of the batch, of single rows, by tensors, or from one side of positions only.
    """
    rank = x.rank
    if any(isinstance(part, Tensor | list | Value) or isinstance(part, bool) for part in index):
        raise UnconvertibleError("picks by a tensor or a list, which has no counterpart")
    given = sum(part is not None and part is not Ellipsis for part in index)
    if Ellipsis in index:
        place = index.index(Ellipsis)
        index = (*index[:place], *[slice(None)] * (rank - given), *index[place + 1 :])
    else:
        index = (*index, *[slice(None)] * (rank - given))
    return _slice_vector(to, x, index, example) if x.kind is Kind.VECTOR else _slice_maps(to, x, index, example)


def _range(part: Any, size: int) -> tuple[int, int, int]:
    if isinstance(part, slice):
        return part.indices(size)
    start = int(part) % size
    return start, start + 1, 1


def _cut(of: Channels, part: Any) -> tuple[Channels, Any]:
    """Return the channels that a slice leaves, and the slice at other widths."""
    start, stop, step = _range(part, total(of))
    if step != 1 or stop <= start:
        raise UnconvertibleError("takes channels in steps, which has no counterpart")
    chosen = cut(of, start, stop)
    low = Width(cut(of, 0, start)) if start else 0
    return chosen, slice(low, Width(cut(of, 0, stop)))


def _slice_vector(to: Writer, x: Value, index: tuple[Any, ...], example: Tensor) -> Value:
    axes, written, places = list[Channels | None](), list[Any](), iter(x.axes)
    for part in index:
        axis = () if part is None else next(places)
        if part is None:
            axes.append(channels(1, fixed=True))
            written.append(None)
        elif part == slice(None):
            axes.append(axis)
            written.append(part)
        elif axis is None:
            raise UnconvertibleError("takes images out of the batch, which has no counterpart")
        elif isinstance(part, slice):
            chosen, late = _cut(axis, part)
            axes.append(chosen)
            written.append(late)
        else:
            written.append(Width(cut(axis, 0, _range(part, total(axis))[0])) if int(part) % total(axis) else 0)
            cut(axis, _range(part, total(axis))[0], _range(part, total(axis))[1])
    node = to.function(operator.getitem, x, tuple(written))
    return Value(node, Kind.VECTOR, example, axes=tuple(axes), constant=x.constant)


def _slice_maps(to: Writer, x: Value, index: tuple[Any, ...], example: Tensor) -> Value:
    layout, places = list[str](), iter(x.layout)
    found = Value(x.node, x.kind, example, x.channels, (), side=x.side, stack=x.stack)
    positions = dict[str, tuple[int, int, int]]()
    for part in index:
        item = "" if part is None else next(places)
        if part is None or part == slice(None):
            layout.append(item)
            continue
        if isinstance(part, slice):
            layout.append(item)
        if item == "c":
            found.channels, late = _cut(found.channels, part)
            found.node = to.function(operator.getitem, found, (slice(None), late))
        elif item == "s" and not isinstance(part, slice):
            found.node, found.stack = to.method("select", found, -1, int(part)), 0
        elif item in ("h", "w") and isinstance(part, slice):
            positions[item] = _range(part, x.sizes[item])
        elif item in ("h", "w") and x.sizes[item] == 1:
            continue
        elif item:
            what = {"b": "images out of the batch", "h": "single rows", "w": "single columns"}.get(item, "positions")
            raise UnconvertibleError(f"takes {what}, which has no counterpart on a group")
    found.layout = tuple(layout)
    if positions:
        _crop(to, found, x, positions)
    return to.standing(found)


def _crop(to: Writer, found: Value, x: Value, positions: dict[str, tuple[int, int, int]]) -> None:
    whole = {letter: positions.get(letter, (0, x.sizes[letter], 1)) for letter in "hw"}
    steps = {step for _, _, step in whole.values()}
    before = [whole[letter][0] for letter in "hw"]
    after = [x.sizes[letter] - whole[letter][1] for letter in "hw"]
    check_even_ends("a crop", before, after, to.target.group)
    if len(steps) > 1 or min(steps) < 1 or (steps != {1} and any(before)):
        raise UnconvertibleError("takes positions in steps that differ between height and width, or begin inside")
    step = steps.pop()
    cuts = [slice(edge or None, -edge or None, None if step == 1 else step) for edge in before]
    behind = [slice(None)] if found.stack else []
    found.node = to.function(operator.getitem, found, (Ellipsis, *cuts, *behind))
    height, width = ((x.sizes[letter] - 2 * edge + step - 1) // step for letter, edge in zip("hw", before, strict=True))
    found.side = (height, width)


def pad(call: Call) -> Value:
    """Write `F.pad`: the same on both sides of positions, zeros beside channels."""
    given = call.bound(("pad", "mode", "value"))
    x, mode = _ready(call.x), call.number(given.get("mode", "constant"))
    amounts = [int(number) for number in call.number(given["pad"])]
    pairs = [(amounts[k], amounts[k + 1]) for k in range(0, len(amounts), 2)]  # from the last axis on
    if x.kind is Kind.VECTOR or x.stack or not x.is_spatial:
        raise UnconvertibleError("pads a vector, which has no counterpart")
    by_letter = {item: pair for item, pair in zip(reversed(x.layout), pairs, strict=False) if any(pair)}
    if any(item not in ("h", "w", "c") for item in by_letter) or ("c" in by_letter and mode != "constant"):
        raise UnconvertibleError("pads along another axis than channels, height and width")
    top, left = by_letter.get("h", (0, 0)), by_letter.get("w", (0, 0))
    check_even_ends("padding", (top[0], left[0]), (top[1], left[1]), call.to.target.group)
    if not by_letter:
        return x
    found = Value(None, x.kind, call.example, x.channels, x.layout, side=x.side)
    written: list[Any] = [left[0], left[1], top[0], top[1]]
    if x.kind is Kind.MAPS and ("c" in by_letter or mode != "constant"):
        written += [0, 0]  # poses
    if "c" in by_letter:
        edges = [channels(number) for number in by_letter["c"]]
        written += [Width(edge) if total(edge) else 0 for edge in edges]
        first, last = (edge if total(edge) else () for edge in edges)
        found.channels = (*first, *x.channels, *last)
    value = given.get("value")
    extra = {"value": value} if value is not None and mode == "constant" else {}
    found.node = call.to.function(F.pad, x, written, mode=mode, **extra)
    found.side = (x.side[0] + sum(top), x.side[1] + sum(left))
    return found


def interpolate(call: Call) -> Value:
    """Write `F.interpolate`, for each pose by itself."""
    x = _ready(call.x)
    if not x.is_standard or x.stack:
        raise UnconvertibleError("resamples what is no (batch, channel, height, width)")
    given = call.bound(("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias"))
    before, after = x.side, (call.shape[2], call.shape[3])
    check_even_steps(call.number(given.get("mode", "nearest")), before, after, call.to.target.group)
    given.pop("input")
    found = Value(x.node, x.kind, call.example, x.channels, x.layout, side=after)
    if x.kind is Kind.MAPS:
        found.node = call.to.method("flatten", found, 1, 2)
    found.node = call.to.function(F.interpolate, found, **given)
    if x.kind is Kind.MAPS:
        found.node = call.to.method("unflatten", found, 1, (-1, call.to.target.group.order))
    return found
