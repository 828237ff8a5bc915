"""One call of a function or method of the original forward, with what stands for its arguments."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from sepgconv.convert.rebuild.calls import bound
from sepgconv.convert.rebuild.values import UnconvertibleError, Value
from sepgconv.convert.rebuild.writing import Writer, mapped

_ALIASES = {
    "truediv": "div", "true_divide": "div", "divide": "div", "multiply": "mul", "subtract": "sub", "negative": "neg",
    "absolute": "abs", "clip": "clamp", "rsub": "sub", "concat": "cat", "concatenate": "cat", "swapaxes": "transpose",
    "swapdims": "transpose", "moveaxis": "movedim", "view_as": "reshape", "reshape_as": "reshape", "view": "reshape",
    "unflatten": "reshape", "flatten": "reshape", "squeeze": "reshape", "unsqueeze": "reshape", "ravel": "reshape",
    "expand_as": "expand", "broadcast_to": "expand", "split_with_sizes": "split", "vector_norm": "norm",
    "upsample": "interpolate", "unsafe_chunk": "chunk", "hstack": "hstack", "pos": "positive",
}  # fmt: skip
_IN_PLACE_OPERATORS = {
    operator.iadd: "add", operator.isub: "sub", operator.imul: "mul", operator.itruediv: "div", operator.ipow: "pow",
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A call that is being rewritten.

    Attributes:
        to: where it is written.
        node: the step of the original.
        args: what stands for its arguments.
        kwargs: what stands for its keyword arguments.
        example: what it gave on the example.
    """

    to: Writer
    node: fx.Node
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    example: Any

    @property
    def called(self) -> str:
        """The name of what is called, one for all ways to write it."""
        target: Any = self.node.target
        if target in _IN_PLACE_OPERATORS:
            return _IN_PLACE_OPERATORS[target]
        name = str(getattr(target, "__name__", target))
        name = name if name.startswith("__") else name.removesuffix("_")
        return _ALIASES.get(name, name)

    @property
    def writes(self) -> bool:
        """Whether it writes its result over its first argument."""
        name = str(getattr(self.node.target, "__name__", self.node.target))
        in_place = (name.endswith("_") and not name.endswith("__")) or self.node.target in _IN_PLACE_OPERATORS
        return in_place or self.number(self.kwargs.get("inplace")) is True

    @property
    def tensors(self) -> list[Value]:
        """The tensors among the arguments, in order."""
        found = list[Value]()
        mapped((self.args, self.kwargs), lambda v: found.append(v) if v.kind is not None else None)
        return found

    @property
    def x(self) -> Value:
        """The first argument, a tensor.

        Raises:
            UnconvertibleError: it is none.
        """
        first = self.args[0] if self.args else next(iter(self.kwargs.values()), None)
        if not isinstance(first, Value) or first.kind is None:
            raise UnconvertibleError("this call has no counterpart on a group")
        return first

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what it gave."""
        return tuple(self.example.shape) if isinstance(self.example, Tensor) else ()

    def bound(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the arguments by name; the first is "input"."""
        return bound(("input", *names), self.args, self.kwargs)

    @staticmethod
    def number(value: Any) -> Any:
        """Return an argument with the numbers that its sizes were on the example."""
        return mapped(value, lambda v: v.example)

    def again(self, nodes: dict[int, Any]) -> fx.Node:
        """Write the same call with other tensors, by the identity of the values."""
        kept = {key: value for key, value in self.kwargs.items() if key != "memory_format"}
        args, kwargs = mapped((self.args, kept), lambda v: nodes.get(id(v), v))
        return self.to.step(self.node.op, self.node.target, args, kwargs)
