"""The operators that networks are written in: one table, a row for each operator, with all ways to write it.

The same operator may be a layer (`nn.ReLU()`), a function (`F.relu(x)`), a method (`x.relu()`), a function or method
that writes over its input (`F.relu(x, inplace=True)`, `x.relu_()`), or an assignment of Python (`x += y`). The readers
of a recorded forward ask here what a step does; none of them knows an operator that has no row.
"""

import copy
import enum
import functools
import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from sepgconv._customised import custom_behaviour
from sepgconv.nn import ReLU


class OperatorKind(enum.Enum):
    """What an operator does to a tensor."""

    ELEMENTWISE = "a function of each element"
    COMPARISON = "true or false for each element"
    CAST = "the same numbers in another type or memory layout"
    NOISE = "a function of each element that is random in training"
    IDENTITY = "nothing"
    DROPOUT = "dropout of single elements"
    CHANNEL_DROPOUT = "dropout of whole channels"
    REDUCTION = "a reduction along axes"
    ALONG_AXIS = "a function along one axis"
    RESHAPING = "another shape, the numbers in the same order"
    PERMUTATION = "another order of the axes"
    EXPANSION = "copies along axes"
    SPLITTING = "parts along an axis"
    CONCATENATION = "several tensors joined along an axis"
    STACKING = "several tensors joined along a new axis"
    INDEXING = "a part of a tensor, or of several results"
    PADDING = "further numbers at the ends of axes"
    RESAMPLING = "another number of pixels"


# The same for every element, wherever it is; with one tensor or with several that are broadcast.
ELEMENTWISE_KINDS = frozenset({OperatorKind.ELEMENTWISE, OperatorKind.COMPARISON, OperatorKind.CAST})
DROPOUTS = frozenset({OperatorKind.DROPOUT, OperatorKind.CHANNEL_DROPOUT})


@dataclass(frozen=True, slots=True)
class Operator:
    """A row of the table.

    Attributes:
        name: of the function and of the method; with "_" behind it, of those that write over their input.
        kind: what it does.
        aliases: further names of the same function or method.
        layer: the class of torch that does it, if there is one.
        assignment: the assignment of Python that does it in place, and the same without assigning.
        arguments: the names of the arguments behind the tensor, where a rule reads them.
        written_as: the function by which a rebuilt network does it, if that is not `torch.<name>`.
    """

    name: str
    kind: OperatorKind
    aliases: tuple[str, ...] = ()
    layer: type[nn.Module] | None = None
    assignment: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    arguments: tuple[str, ...] = ()
    written_as: Callable[..., Any] | None = None

    @property
    def function(self) -> Callable[..., Any]:
        """The function by which a rebuilt network does it."""
        return self.written_as or getattr(torch, self.name)


def _all(kind: OperatorKind, names: str, **columns: Any) -> tuple[Operator, ...]:
    return tuple(Operator(name, kind, **columns) for name in names.split())


_ELEMENTWISE, _DIM = OperatorKind.ELEMENTWISE, ("dim", "keepdim")
OPERATORS: tuple[Operator, ...] = (
    # Activations.
    Operator("relu", _ELEMENTWISE, layer=nn.ReLU),
    Operator("relu6", _ELEMENTWISE, layer=nn.ReLU6),
    Operator("leaky_relu", _ELEMENTWISE, layer=nn.LeakyReLU),
    Operator("elu", _ELEMENTWISE, layer=nn.ELU),
    Operator("celu", _ELEMENTWISE, layer=nn.CELU),
    Operator("selu", _ELEMENTWISE, layer=nn.SELU),
    Operator("gelu", _ELEMENTWISE, layer=nn.GELU),
    Operator("silu", _ELEMENTWISE, layer=nn.SiLU),
    Operator("mish", _ELEMENTWISE, layer=nn.Mish),
    Operator("hardswish", _ELEMENTWISE, layer=nn.Hardswish),
    Operator("hardsigmoid", _ELEMENTWISE, layer=nn.Hardsigmoid),
    Operator("hardtanh", _ELEMENTWISE, layer=nn.Hardtanh),
    Operator("hardshrink", _ELEMENTWISE, layer=nn.Hardshrink),
    Operator("sigmoid", _ELEMENTWISE, layer=nn.Sigmoid),
    Operator("tanh", _ELEMENTWISE, layer=nn.Tanh),
    Operator("tanhshrink", _ELEMENTWISE, layer=nn.Tanhshrink),
    Operator("softplus", _ELEMENTWISE, layer=nn.Softplus),
    Operator("softsign", _ELEMENTWISE, layer=nn.Softsign),
    Operator("softshrink", _ELEMENTWISE, layer=nn.Softshrink),
    Operator("logsigmoid", _ELEMENTWISE, layer=nn.LogSigmoid),
    Operator("threshold", _ELEMENTWISE, layer=nn.Threshold),
    Operator("rrelu", OperatorKind.NOISE, layer=nn.RReLU),
    # Functions of one tensor.
    Operator("abs", _ELEMENTWISE, ("absolute",)),
    Operator("neg", _ELEMENTWISE, ("negative",)),
    Operator("positive", _ELEMENTWISE, ("pos",)),
    Operator("clamp", _ELEMENTWISE, ("clip",)),
    *_all(_ELEMENTWISE, "clamp_min clamp_max nan_to_num floor ceil round trunc frac sign sgn reciprocal logit"),
    *_all(_ELEMENTWISE, "exp expm1 exp2 log log1p log2 log10 sqrt rsqrt square sin cos tan atan sinh cosh erf"),
    *_all(_ELEMENTWISE, "detach clone zeros_like ones_like full_like"),
    *_all(OperatorKind.CAST, "float double half bfloat16 to type type_as contiguous"),
    # Functions of several tensors.
    Operator("add", _ELEMENTWISE, assignment=(operator.iadd, operator.add)),
    Operator("sub", _ELEMENTWISE, ("subtract", "rsub"), assignment=(operator.isub, operator.sub)),
    Operator("mul", _ELEMENTWISE, ("multiply",), assignment=(operator.imul, operator.mul)),
    Operator(
        "div",
        _ELEMENTWISE,
        ("truediv", "true_divide", "divide"),
        assignment=(operator.itruediv, operator.truediv),
    ),
    Operator("pow", _ELEMENTWISE, assignment=(operator.ipow, operator.pow)),
    *_all(_ELEMENTWISE, "maximum minimum fmax fmin atan2 hypot remainder fmod lerp addcmul addcdiv where masked_fill"),
    *_all(_ELEMENTWISE, "heaviside xlogy logaddexp copysign"),
    *_all(OperatorKind.COMPARISON, "gt lt ge le eq ne isnan isinf isfinite logical_and logical_or logical_not"),
    # Nothing, in evaluation at least.
    Operator("identity", OperatorKind.IDENTITY, layer=nn.Identity),
    Operator("dropout", OperatorKind.DROPOUT, ("native_dropout",), layer=nn.Dropout),
    Operator("alpha_dropout", OperatorKind.DROPOUT, layer=nn.AlphaDropout),
    Operator("dropout1d", OperatorKind.CHANNEL_DROPOUT, layer=nn.Dropout1d),
    Operator("dropout2d", OperatorKind.CHANNEL_DROPOUT, ("feature_dropout",), layer=nn.Dropout2d),
    Operator("dropout3d", OperatorKind.CHANNEL_DROPOUT, layer=nn.Dropout3d),
    Operator("feature_alpha_dropout", OperatorKind.CHANNEL_DROPOUT, layer=nn.FeatureAlphaDropout),
    # Along axes.
    *_all(OperatorKind.REDUCTION, "mean sum amax amin logsumexp", arguments=_DIM),
    Operator("max", OperatorKind.REDUCTION, arguments=_DIM, written_as=torch.amax),
    Operator("min", OperatorKind.REDUCTION, arguments=_DIM, written_as=torch.amin),
    *_all(OperatorKind.REDUCTION, "std var", arguments=("dim", "unbiased", "keepdim")),
    Operator("norm", OperatorKind.REDUCTION, arguments=("p", *_DIM), written_as=torch.linalg.vector_norm),
    Operator("vector_norm", OperatorKind.REDUCTION, arguments=("ord", *_DIM), written_as=torch.linalg.vector_norm),
    *_all(OperatorKind.ALONG_AXIS, "softmax log_softmax", arguments=("dim",)),
    Operator("softmin", OperatorKind.ALONG_AXIS, arguments=("dim",), written_as=F.softmin),
    Operator("normalize", OperatorKind.ALONG_AXIS, arguments=("p", "dim", "eps"), written_as=F.normalize),
    Operator("glu", OperatorKind.ALONG_AXIS, arguments=("dim",), written_as=F.glu),
    # Axes and shapes.
    Operator(
        "reshape",
        OperatorKind.RESHAPING,
        ("view", "view_as", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze", "ravel"),
    ),
    Operator("permute", OperatorKind.PERMUTATION),
    Operator("transpose", OperatorKind.PERMUTATION, ("swapaxes", "swapdims")),
    Operator("movedim", OperatorKind.PERMUTATION, ("moveaxis",)),
    Operator("t", OperatorKind.PERMUTATION),
    Operator("expand", OperatorKind.EXPANSION, ("expand_as", "broadcast_to")),
    Operator("repeat", OperatorKind.EXPANSION),
    # Several tensors, and parts of one.
    Operator("chunk", OperatorKind.SPLITTING, ("unsafe_chunk",)),
    Operator("split", OperatorKind.SPLITTING, ("split_with_sizes",)),
    *_all(OperatorKind.SPLITTING, "tensor_split unbind"),
    Operator("cat", OperatorKind.CONCATENATION, ("concat", "concatenate")),
    Operator("stack", OperatorKind.STACKING),
    Operator("getitem", OperatorKind.INDEXING),
    Operator("pad", OperatorKind.PADDING),
    Operator("interpolate", OperatorKind.RESAMPLING, ("upsample",)),
)

_BY_NAME = {name: row for row in OPERATORS for name in (row.name, *row.aliases)}
_BY_LAYER = {row.layer: row for row in OPERATORS if row.layer is not None}
_BY_LAYER[ReLU] = _BY_LAYER[nn.ReLU]  # torch's, whose hooks can be seen
# What Python calls for `x += y`, by what it calls for `x + y`.
ASSIGNMENTS = {row.assignment[0]: row.assignment[1] for row in OPERATORS if row.assignment is not None}


def called_name(target: object) -> str:
    """Return the name of what a step calls, as in "relu_": a function, the name of a method, or that of a layer."""
    return str(getattr(target, "__name__", target))


def find_operator(target: object) -> Operator | None:
    """Return the operator that a step calls, in any way to write it; None if it is not in the table.

    Args:
        target: of the step: a function, or the name of a method.

    Examples:
        >>> import operator, torch
        >>> from sepgconv.convert.operators import find_operator
        >>> find_operator("relu_").name, find_operator(torch.true_divide).name, find_operator(operator.iadd).name
        ('relu', 'div', 'add')
        >>> find_operator(torch.linalg.svd) is None
        True
    """
    plain = ASSIGNMENTS.get(target, target) if callable(target) else target
    name = called_name(plain)
    # Python's operators that are keywords have a name like `and_`.
    is_method = name.startswith("__") or _is_of_python(plain)
    return _BY_NAME.get(name if is_method else name.removesuffix("_"))


def layer_operator(module: nn.Module) -> Operator | None:
    """Return the operator that a layer of torch is; None for other layers, and for subclasses."""
    return _BY_LAYER.get(type(module))


def is_in_place(node: fx.Node) -> bool:
    """Return whether a call of a function or method writes its result over its first argument."""
    target, name = node.target, called_name(node.target)
    ends = name.endswith("_") and not name.endswith("__") and not _is_of_python(target)
    return target in ASSIGNMENTS or ends or _asks_to_be_in_place(node)


def out_of_place(node: fx.Node) -> tuple[Any, tuple[Any, ...], dict[str, Any]] | None:
    """Return the call that gives as a new tensor what a call in place writes over its first argument.

    Returns:
        The function or name of a method, its arguments and its keyword arguments; None if the operator is not in the
        table, or gives something else as a new tensor, as a comparison does.
    """
    target, found = node.target, find_operator(node.target)
    if found is None or found.kind is not OperatorKind.ELEMENTWISE:
        return None
    args, kwargs = list[Any](node.args), {key: value for key, value in node.kwargs.items() if key != "inplace"}
    place = _place_of_inplace(target)
    if place is not None and place < len(args):
        args[place] = False
    name = called_name(target)
    without = name.removesuffix("_")
    if target in ASSIGNMENTS:
        target = ASSIGNMENTS[target]  # pyright: ignore[reportArgumentType] (a function, as it is found there)
    elif isinstance(target, str):
        target = without
    elif without != name:
        target = getattr(F if hasattr(F, name) else torch, without)
    return target, tuple(args), kwargs


def _is_of_python(target: object) -> bool:
    return getattr(target, "__module__", None) == "_operator"


def _asks_to_be_in_place(node: fx.Node) -> bool:
    place = _place_of_inplace(node.target)
    given = node.args[place] if place is not None and place < len(node.args) else node.kwargs.get("inplace", False)
    return bool(given)


@functools.cache
def _place_of_inplace(target: object) -> int | None:
    """Return the place of `inplace` among the arguments of a function; None if it has no such argument."""
    try:
        names = list(inspect.signature(target).parameters) if callable(target) else []
    except ValueError:  # a builtin without signature
        return None
    return names.index("inplace") if "inplace" in names else None


def is_elementwise(module: nn.Module) -> bool:
    """Return whether a layer of torch is, in evaluation mode, one function of each element, without hooks.

    Examples:
        >>> from torch import nn
        >>> from sepgconv.convert.operators import is_elementwise
        >>> is_elementwise(nn.GELU()), is_elementwise(nn.Softmax(1))
        (True, False)
    """
    found = layer_operator(module)
    of_numbers = found is not None and found.kind in (OperatorKind.ELEMENTWISE, OperatorKind.NOISE)
    return of_numbers and custom_behaviour(module) is None


def passes_through(module: nn.Module) -> bool:
    """Return whether a layer of torch gives its input as it is, as dropout does in evaluation mode.

    Examples:
        >>> from torch import nn
        >>> from sepgconv.convert.operators import passes_through
        >>> passes_through(nn.Dropout().eval()), passes_through(nn.Dropout().train())
        (True, False)
    """
    found = layer_operator(module)
    idle = found is not None and (found.kind in DROPOUTS or found.kind is OperatorKind.IDENTITY)
    return idle and not module.training and custom_behaviour(module) is None


def out_of_place_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a layer of torch that leaves its input as it is."""
    layer = nn.ReLU() if type(module) is ReLU else copy.deepcopy(module)
    if getattr(layer, "inplace", False):
        layer.inplace = False  # pyright: ignore[reportArgumentType] (a setting of activations, no submodule)
    return layer
