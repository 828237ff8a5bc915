"""One call of a function or method of the original forward, with what stands for its arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from sepgconv.convert.operators import Operator, called_name, find_operator, is_in_place
from sepgconv.convert.rebuild.calls import bound
from sepgconv.convert.rebuild.values import UNKNOWN, UnconvertibleError, Value
from sepgconv.convert.rebuild.writing import Writer, mapped


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
        """The name of what is called, the same one for all ways to write it."""
        found = find_operator(self.node.target)
        return called_name(self.node.target) if found is None else found.name

    @property
    def operator(self) -> Operator:
        """The row of the table of operators.

        Raises:
            UnconvertibleError: it has none.
        """
        found = find_operator(self.node.target)
        if found is None:
            raise UnconvertibleError(UNKNOWN)
        return found

    @property
    def writes(self) -> bool:
        """Whether it writes its result over its first argument."""
        return is_in_place(self.node)

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
            raise UnconvertibleError(UNKNOWN)
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
