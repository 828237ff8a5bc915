"""Reductions along axes (means, maxima, norms), and functions along one axis (softmax, normalize)."""

from typing import Any

from sepgconv.convert.rebuild.call import Call
from sepgconv.convert.rebuild.segments import channels, equal_parts, total
from sepgconv.convert.rebuild.values import Kind, UnconvertibleError, Value, axes_of, axis_of


def reduction(call: Call) -> Value:
    """Write a reduction.

    Raises:
        UnconvertibleError: over the batch, or over one of height and width without the other.
    """
    x, name = call.x, call.called
    given = call.bound(call.operator.arguments)
    index = given.pop("dim", given.pop("axis", None))
    keeps = bool(call.number(given.pop("keepdim", given.pop("keepdims", False))))
    given.pop("input", None)
    options = {("ord" if key in ("p", "ord") else key): value for key, value in given.items()}
    if name in ("norm", "vector_norm") and options.get("ord") in (None, "fro"):
        options["ord"] = 2
    rank = x.rank
    index = call.number(index)
    if index is None or (isinstance(index, tuple | list) and not index):
        raise UnconvertibleError(f"{name}() over all axes, the batch among them, has no counterpart")
    axes = axes_of(index, rank)
    if x.kind is Kind.VECTOR:
        found = _of_vector(call, x, name, axes, keeps, options)
    else:
        found = _of_maps(call, x, name, axes, keeps, options)
    if name in ("max", "min"):
        found.pair, found.example = True, call.example[0]
    return found


def _write(call: Call, node: Any, axes: tuple[int, ...], keeps: bool, options: dict[str, Any]) -> Any:
    return call.to.function(call.operator.function, node, dim=axes, keepdim=keeps, **options)


def _of_vector(call: Call, x: Value, name: str, axes: tuple[int, ...], keeps: bool, options: dict[str, Any]) -> Value:
    if x.waits or any(x.axes[axis] is None for axis in axes):
        raise UnconvertibleError(x.waits or f"{name}() over the batch has no counterpart")
    one = channels(1, fixed=True)
    left = tuple(one if place in axes else axis for place, axis in enumerate(x.axes) if keeps or place not in axes)
    return Value(_write(call, x, axes, keeps, options), Kind.VECTOR, call.example, axes=left, constant=x.constant)


def _of_maps(call: Call, x: Value, name: str, axes: tuple[int, ...], keeps: bool, options: dict[str, Any]) -> Value:
    if x.half is not None:
        return _other_half(call, x, name, axes, keeps, options)
    if x.waits:
        raise UnconvertibleError(x.waits)
    letters = "".join(x.layout[axis] for axis in axes)
    if "b" in letters:
        raise UnconvertibleError(f"{name}() over the batch has no counterpart")
    if "s" in letters and letters != "s":
        raise UnconvertibleError(f"{name}() over stacked maps and another axis at once has no counterpart")
    layout = tuple("" if place in axes else item for place, item in enumerate(x.layout) if keeps or place not in axes)
    long = [letter for letter in "hw" if x.sizes[letter] > 1]
    over = [letter for letter in long if letter in letters]
    if over and over != long:
        found = Value(x.node, x.kind, call.example, x.channels, layout, side=x.side, stack=x.stack)
        found.half = (name, x)
        found.waits = f"{name}() over one of height and width, which a rotation by 90 degrees exchanges"
        return found
    if not keeps and long and over == long and not x.stack:
        x = call.to.pool_poses(x)  # what follows is no map
        if letters in ("hw", "wh") and layout == ("b", "c"):
            node = _write(call, x, (2, 3), False, options)
            return Value(node, Kind.VECTOR, call.example, axes=(None, x.channels))
    where = tuple(x.axis(letter) for letter in letters)
    if not where:  # over axes of one number
        return Value(x.node, x.kind, call.example, x.channels, layout, side=x.side, stack=x.stack)
    found = Value(_write(call, x, where, letters != "s", options), x.kind, call.example, x.channels, layout)
    found.side = (1 if "h" in letters else x.side[0], 1 if "w" in letters else x.side[1])
    found.channels = channels(1, fixed=True) if "c" in letters else x.channels
    found.stack = 0 if letters == "s" else x.stack
    return found


def _other_half(call: Call, x: Value, name: str, axes: tuple[int, ...], keeps: bool, options: dict[str, Any]) -> Value:
    """Write both steps over height and width as one."""
    first, whole = x.half or ("", x)
    letters = {x.layout[axis] for axis in axes} | {"h", "w"}
    if first != name or name not in ("mean", "sum", "amax", "amin", "max", "min") or letters != {"h", "w"}:
        raise UnconvertibleError(x.waits)
    where = tuple(whole.axis(letter) for letter in "hw")
    layout = tuple("" if place in axes else item for place, item in enumerate(x.layout) if keeps or place not in axes)
    found = Value(None, whole.kind, call.example, whole.channels, layout, stack=whole.stack)
    if len(layout) <= 2:
        whole = call.to.pool_poses(whole)
        found.kind = whole.kind
    found.node = _write(call, whole, where, True, options)
    return found


def along(call: Call) -> Value:
    """Write a function along one axis.

    Raises:
        UnconvertibleError: along the batch, or one of height and width.
    """
    x, name = call.x, call.called
    given = call.bound((*call.operator.arguments, "_stacklevel", "dtype"))
    default = 1 if name == "normalize" else -1
    index = call.number(given.get("dim", default))
    if index is None or x.waits:
        raise UnconvertibleError(x.waits or f"{name}() without dim depends on the number of axes; give dim")
    options = {key: given[key] for key in ("p", "eps", "dtype") if given.get(key) is not None}
    function = call.operator.function
    if x.kind is Kind.VECTOR:
        axis = axis_of(index, len(x.axes))
        if x.axes[axis] is None:
            raise UnconvertibleError(f"{name}() along the batch has no counterpart")
        axes = list(x.axes)
        if name == "glu":
            axes[axis] = equal_parts(x.axes[axis] or (), 2)
        return Value(call.to.function(function, x, dim=axis, **options), Kind.VECTOR, call.example, axes=tuple(axes))
    letter = x.layout[axis_of(index, len(x.layout))]
    found = Value(None, x.kind, call.example, x.channels, x.layout, side=x.side, stack=x.stack)
    if letter in ("c", "s"):
        found.channels = equal_parts(x.channels, 2) if name == "glu" and letter == "c" else x.channels
        found.node = call.to.function(function, x, dim=x.axis(letter), **options)
    elif letter in ("hw", "wh") and not x.stack and name != "glu":
        flat = call.to.method("flatten", x, -2)
        found.node = call.to.method("view_as", call.to.function(function, flat, dim=-1, **options), x)
    else:
        raise UnconvertibleError(f"{name}() along height or width alone, which a rotation by 90 degrees exchanges")
    if total(found.channels) == 0:
        raise UnconvertibleError(f"{name}() of no channels")
    return found
