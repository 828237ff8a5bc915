"""What torch's exporter leaves to do in an ONNX graph: names of free axes, shapes of known rank, older operators."""

import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from sepgconv._messages import require
from sepgconv.convert.plain.errors import first_line
from sepgconv.convert.plain.files import FREE

# Protocol buffers of the package onnx, which is an extra.
_Proto: TypeAlias = Any
_Shape: TypeAlias = "list[int | str]"

NEWEST = 18  # the operators that torch's exporter writes; `lower` makes older ones of them


def name_axes(model: _Proto) -> None:
    """Call the free axes of the only input batch, height and width, there and wherever the same length comes back."""
    (given,) = model.graph.input
    axes = [axis.dim_param for axis in given.type.tensor_type.shape.dim]
    names = {old: new for old, new in zip((axes[0], *axes[-2:]), FREE, strict=True) if old}
    if len(names) < sum(map(bool, axes)) and axes[-1] == axes[-2] != "":
        names[axes[-1]] = "side"  # only square images are allowed
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            for old, new in names.items() if axis.dim_param else ():
                axis.dim_param = re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", new, axis.dim_param)


def settle_shapes(model: _Proto) -> None:
    """Write steps so that readers who follow shapes one step at a time, as onnxruntime's quantisation, see every rank.

    A Reshape takes its shape from its own input and from numbers, where that is possible; torch's exporter computes the
    lengths from those of the image, through all layers. A maximum or minimum over an axis of known length, as over
    poses, is that of its parts, and a maximum over all pixels a pool: of a reduction these readers see no rank, because
    from opset 18 on its axes are an input.
    """
    onnx = require("onnx", extra="export", purpose="writing ONNX files")
    graph, shapes = model.graph, _shapes(model)
    numbers = _numbers(onnx, graph)
    nodes = list[_Proto]()
    for node in graph.node:
        before, after = (shapes.get(name) for name in (node.input[0] if node.input else "", node.output[0]))
        if node.op_type == "Reshape" and node.input[1] not in numbers and before is not None and after is not None:
            nodes += _target(onnx.helper, node, before, after)
        if node.op_type in _EXTREMES and len(node.input) == 2 and node.input[1] in numbers and before is not None:
            nodes += _extreme(onnx.helper, node, before, numbers[node.input[1]])
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _remove_unused(graph)


_EXTREMES = {"ReduceMax": "Max", "ReduceMin": "Min"}
_PARTS = 64  # at most


def _extreme(helper: Any, node: _Proto, before: _Shape, axes: list[int]) -> list[_Proto]:
    """Write a reduction to the largest or smallest number as steps of known rank; as it is where that cannot be."""
    keeps = _attribute(node, "keepdims")
    whole = keeps is None or bool(keeps.i)
    name, axes = node.output[0], sorted(axis % len(before) for axis in axes)
    result = name if whole else f"{name}.kept"
    length = before[axes[0]] if len(axes) == 1 else 0
    if isinstance(length, int) and 0 < length <= _PARTS:
        parts = [f"{name}.{index}" for index in range(length)]
        split = helper.make_node("Split", [node.input[0]], parts, f"{name}.parts", axis=axes[0], num_outputs=length)
        steps = [split, helper.make_node(_EXTREMES[node.op_type], parts, [result], node.name)]
    elif len(before) > 2 and axes == list(range(2, len(before))) and node.op_type == "ReduceMax":
        steps = [helper.make_node("GlobalMaxPool", [node.input[0]], [result], node.name)]
    else:
        return [node]
    if not whole:
        gone = _constant(helper, f"{name}.axes", axes)
        steps += [gone, helper.make_node("Squeeze", [result, gone.output[0]], [name], f"{name}.squeeze")]
    return steps


def _numbers(onnx: Any, graph: _Proto) -> dict[str, list[Any]]:
    """Return the lists of numbers that are fixed in a graph, as shapes and axes are."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        value = _attribute(node, "value")
        if node.op_type == "Constant" and value is not None:
            tensors[node.output[0]] = value.t
    return {name: onnx.numpy_helper.to_array(t).tolist() for name, t in tensors.items() if len(t.dims) == 1}


def _target(helper: Any, node: _Proto, before: _Shape, after: _Shape) -> list[_Proto]:
    """Give a Reshape another shape to take; return the steps that make it, none where the old one must stay."""
    if any(isinstance(length, str) and length not in before for length in after):
        return []
    name = f"{node.output[0]}.shape"  # torch's own names of results have no dots
    # 0 takes over the length of the same axis of the input.
    places = [0 if at < len(before) and before[at] == length else length for at, length in enumerate(after)]
    if all(isinstance(place, int) for place in places):
        node.input[1] = name
        _drop(node, "allowzero")
        return [_constant(helper, name, places)]
    steps, parts = [helper.make_node("Shape", [node.input[0]], [f"{name}.before"], f"{name}.before")], list[str]()
    for at, length in enumerate(after):
        part = f"{name}.{at}"
        if isinstance(length, int):
            steps.append(_constant(helper, part, [length]))
        else:
            steps.append(_constant(helper, f"{part}.axis", [before.index(length)]))
            steps.append(helper.make_node("Gather", [f"{name}.before", f"{part}.axis"], [part], part))
        parts.append(part)
    node.input[1] = name
    return [*steps, helper.make_node("Concat", parts, [name], name, axis=0)]


def _constant(helper: Any, name: str, numbers: list[Any]) -> _Proto:
    kind = require("onnx", extra="export", purpose="writing ONNX files").TensorProto.INT64
    return helper.make_node("Constant", [], [name], name, value=helper.make_tensor(name, kind, [len(numbers)], numbers))


def _shapes(model: _Proto) -> dict[str, _Shape]:
    """Return the shapes that the file states, a name for each free axis."""
    found: dict[str, _Shape] = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        kind = value.type.tensor_type
        lengths = [axis.dim_param or axis.dim_value for axis in kind.shape.dim]
        # A free axis without a name may have any length.
        if kind.HasField("shape") and all(
            axis.HasField("dim_param") or axis.HasField("dim_value") for axis in kind.shape.dim
        ):
            found[value.name] = lengths
    return found


def _remove_unused(graph: _Proto) -> None:
    """Remove steps, constants and notes that nothing reads any more."""
    read = {value.name for value in graph.output}
    kept = list[_Proto]()
    for node in reversed(graph.node):
        if read & set(node.output) or any(attribute.HasField("g") for attribute in node.attribute):
            kept.append(node)
            read |= set(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    alive = read | {name for node in graph.node for name in node.output}
    for entries in (graph.initializer, graph.value_info):
        left = [entry for entry in entries if entry.name in alive]
        del entries[:]
        entries.extend(left)


def lower(model: _Proto, opset: int) -> None:
    """Write a graph of opset 18 in the operators of an older version, which mean the same.

    Raises:
        ValueError: an operator that the version does not have, or not in the form that is needed; it is named.
    """
    onnx = require("onnx", extra="export", purpose="writing ONNX files")
    graph, numbers = model.graph, _numbers(onnx, model.graph)
    nodes = list[_Proto]()
    for node in graph.node:
        rule = _OLDER.get(node.op_type)
        written = [node] if rule is None else rule(node, numbers, onnx.helper)
        for step in written:
            _fit_schema(onnx, step, opset)
        nodes += written
    del graph.node[:]
    graph.node.extend(nodes)
    (version,) = (entry for entry in model.opset_import if entry.domain == "")
    version.version = opset
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    _remove_unused(graph)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(
            f"the network cannot be written in opset {opset} ({first_line(error)}); ask for opset 18"
        ) from error


def _fit_schema(onnx: Any, node: _Proto, opset: int) -> None:
    """Leave out attributes that have the default of a newer version; raise if this version has no other ones."""
    newest = onnx.defs.get_schema(node.op_type, NEWEST, node.domain)
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        since = f"it came with opset {newest.since_version}"
        raise ValueError(f"opset {opset} of ONNX has no operator {node.op_type}: {since}; ask for that one") from None
    for attribute in list(node.attribute):
        if attribute.name not in schema.attributes:
            default = newest.attributes[attribute.name].default_value
            if onnx.helper.get_attribute_value(attribute) != onnx.helper.get_attribute_value(default):
                _raise_unknown_form(node, attribute.name, opset)
            _drop(node, attribute.name)
    if len(node.input) > schema.max_input:
        _raise_unknown_form(node, f"input {len(node.input)}", opset)


def _raise_unknown_form(node: _Proto, what: str, opset: int) -> NoReturn:
    raise ValueError(f"the operator {node.op_type} of ONNX has no {what} in opset {opset}; ask for opset {NEWEST}")


def _attribute(node: _Proto, name: str) -> _Proto:
    return next((attribute for attribute in node.attribute if attribute.name == name), None)


def _drop(node: _Proto, name: str) -> None:
    left = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(left)


def _axes_as_attribute(node: _Proto, numbers: dict[str, Any], helper: Any) -> list[_Proto]:
    """Before 18 the axes of a reduction were an attribute."""
    if len(node.input) == 2 and node.input[1] in numbers:
        node.attribute.append(helper.make_attribute("axes", numbers[node.input[1]]))
        del node.input[1:]
    return [node]


def _equal_parts(node: _Proto, numbers: dict[str, Any], helper: Any) -> list[_Proto]:
    """Before 18 a Split without lengths was always into equal parts."""
    if len(node.input) == 1:
        _drop(node, "num_outputs")
    return [node]


def _part_of_shape(node: _Proto, numbers: dict[str, Any], helper: Any) -> list[_Proto]:
    """Before 15 a Shape was always that of all axes."""
    if not node.attribute:
        return [node]
    start, end = (_attribute(node, name) for name in ("start", "end"))
    name, whole = node.output[0], f"{node.output[0]}.whole"
    first = _constant(helper, f"{name}.start", [0 if start is None else start.i])
    last = _constant(helper, f"{name}.end", [_LAST if end is None else end.i])
    return [
        first,
        last,
        helper.make_node("Shape", [node.input[0]], [whole], whole),
        helper.make_node("Slice", [whole, first.output[0], last.output[0]], [name], node.name),
    ]


def _copied_zeros(node: _Proto, numbers: dict[str, Any], helper: Any) -> list[_Proto]:
    """Before 14 a length of 0 in the shape of a Reshape meant that of the input; only a batch may be of length 0."""
    _drop(node, "allowzero")
    return [node]


_LAST = 2**31 - 1  # as the end of a slice: all of it
_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSumSquare",
)  # fmt: skip
# What changed in form since 13; what changed in its types alone, or in its defaults, needs no rule.
_OLDER: dict[str, Callable[[_Proto, dict[str, Any], Any], list[_Proto]]] = {
    **dict.fromkeys(_REDUCTIONS, _axes_as_attribute),
    "Split": _equal_parts,
    "Shape": _part_of_shape,
    "Reshape": _copied_zeros,
}
