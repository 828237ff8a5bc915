"""Elementwise operations, of one tensor or of several: kinds are raised to that of the richest."""

from sepgconv.convert.rebuild.call import Call
from sepgconv.convert.rebuild.segments import Channels, channels, total, unify
from sepgconv.convert.rebuild.values import Kind, UnconvertibleError, Value, richest


def elementwise(call: Call) -> Value:
    """Write an elementwise operation.

    Maps without poses, the image and vectors are the same for every pose where maps with poses are among them.

    Raises:
        UnconvertibleError: numbers for each position, or axes that do not stand alike.
    """
    tensors = call.tensors
    for value in tensors:
        if value.waits and not value.expanded:
            raise UnconvertibleError(value.waits)
    maps = [value for value in tensors if value.is_spatial]
    if not maps:
        return _of_vectors(call, tensors)
    like = _joined(maps, call)
    for value in tensors:
        if value.kind is Kind.VECTOR:
            like.channels = _with_vector(value, like)
    nodes = {id(value): call.to.on_maps(value, like, len(like.layout)) for value in tensors}
    if call.writes and nodes[id(call.x)] is not call.x.node:
        raise UnconvertibleError(f"writes {like.kind.value if like.kind else ''} into {call.x.kind.value}")  # pyright: ignore
    like.node = call.again(nodes)
    return like


def _of_vectors(call: Call, tensors: list[Value]) -> Value:
    axes = list[Channels | None]()
    for place in range(1, max(len(value.axes) for value in tensors) + 1):
        found = [value.axes[-place] for value in tensors if place <= len(value.axes)]
        axes.insert(0, _broadcast(found))
    found = Value(call.again({}), Kind.VECTOR, call.example, axes=tuple(axes))
    found.constant = all(value.constant for value in tensors)
    if len(tensors) == 1:
        found.waits, found.expanded = tensors[0].waits, tensors[0].expanded
    return found


def _broadcast(axes: list[Channels | None]) -> Channels | None:
    wide = [axis for axis in axes if axis is not None and total(axis) > 1]
    if any(axis is None for axis in axes):
        if wide:
            raise UnconvertibleError("combines the batch of a vector with another axis")
        return None
    for axis in wide[1:]:
        unify(wide[0], axis)
    return wide[0] if wide else channels(1, fixed=True)


def _joined(maps: list[Value], call: Call) -> Value:
    """Return maps of all kinds joined, without a node."""
    kind = richest(value.kind for value in maps)
    layout = [""] * max(len(value.layout) for value in maps)
    for value in maps:
        for place, item in enumerate(reversed(value.layout), start=1):
            if item and layout[-place] not in ("", item):
                raise UnconvertibleError("combines maps whose axes stand differently")
            layout[-place] = item or layout[-place]
    wide = [value.channels for value in maps if total(value.channels) > 1]
    for other in wide[1:]:
        unify(wide[0], other)
    return Value(
        None,
        kind,
        call.example,
        channels=wide[0] if wide else maps[0].channels,
        layout=tuple(layout),
        side=(max(value.side[0] for value in maps), max(value.side[1] for value in maps)),
        stack=max(value.stack for value in maps),
        waits=maps[0].waits if all(value.waits for value in maps) else "",
        expanded=all(value.expanded for value in maps),
    )


def _with_vector(value: Value, like: Value) -> Channels:
    for axis, item in zip(reversed(value.axes), reversed(like.layout), strict=False):
        if item == "c" and axis is not None and total(axis) > 1:
            if total(like.channels) == 1:
                return axis
            unify(axis, like.channels)
    if len(value.axes) > len(like.layout):
        raise UnconvertibleError("combines maps with a tensor of more axes")
    return like.channels
