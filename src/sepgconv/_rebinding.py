"""Functions in a copied module that use the modules of the copy, not those of the original.

`copy.deepcopy` takes functions as they are. A hook, or a `forward` that was put into a module, then runs the layers of
the original from within the copy: with their weights, in their mode, and changing their statistics.
"""

import functools
from collections.abc import Iterable, Mapping
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from torch import nn


def rebind_functions(model: nn.Module, copies: Mapping[Any, Any], hooks: Iterable[str]) -> None:
    """Let every function among the attributes and hooks of a copied network's modules use the copies.

    Args:
        model: the copy; it is changed.
        copies: by the `id` of each original, as the memo of `copy.deepcopy` holds them (beside keys of its own).
        hooks: the names of a module's dictionaries of hooks.
    """
    rebinder, names = _Rebinder(copies), tuple(hooks)
    for module in model.modules():
        attributes = vars(module)
        for place in (attributes, *(attributes.get(kind, {}) for kind in names)):
            for key, value in list(place.items()):
                if callable(value):
                    place[key] = rebinder.rebound(value)


class _Rebinder:
    """Maps functions to their versions in the copy; each function is examined once."""

    def __init__(self, copies: Mapping[Any, Any]) -> None:
        self.copies = copies
        self.done: dict[int, tuple[Any, Any]] = {}  # id -> the function, kept alive, and what it became

    def rebound(self, value: Any) -> Any:
        """Return what a value is in the copy."""
        if id(value) in self.copies:
            return self.copies[id(value)]
        if isinstance(value, MethodType):
            owner = self.copies.get(id(value.__self__))
            return value if owner is None else MethodType(value.__func__, owner)
        if not isinstance(value, FunctionType | functools.partial):
            return value
        if id(value) not in self.done:
            self.done[id(value)] = value, value  # for a function that holds itself
            made = self._function(value) if isinstance(value, FunctionType) else self._partial(value)
            self.done[id(value)] = value, made
        return self.done[id(value)][1]

    def _partial(self, value: "functools.partial[Any]") -> Any:
        before = value.func, *value.args, *value.keywords.values()
        function, *held = map(self.rebound, before)
        if all(new is old for new, old in zip((function, *held), before, strict=True)):
            return value
        arguments, named = held[: len(value.args)], held[len(value.args) :]
        found = functools.partial(function, *arguments, **dict(zip(value.keywords, named, strict=True)))
        vars(found).update(vars(value))
        return found

    def _function(self, function: FunctionType) -> Any:
        cells = function.__closure__ or ()
        closure = tuple(map(self._cell, cells))
        before = function.__defaults__ or (), function.__kwdefaults__ or {}
        defaults, keywords = tuple(map(self.rebound, before[0])), {k: self.rebound(v) for k, v in before[1].items()}
        moved = self._globals(function)
        changed = [(*closure, *defaults, *keywords.values()), (*cells, *before[0], *before[1].values())]
        if not moved and all(new is old for new, old in zip(*changed, strict=True)):
            return function
        space = {**function.__globals__, **moved} if moved else function.__globals__
        found = FunctionType(function.__code__, space, function.__name__, defaults or None, closure or None)
        found.__kwdefaults__, found.__qualname__ = keywords or None, function.__qualname__
        vars(found).update(vars(function))
        return found

    def _cell(self, cell: CellType) -> CellType:
        """Return a cell with the copy of its content; the same cell if the content stays, so that a counter goes on."""
        try:
            content: Any = cell.cell_contents
        except ValueError:  # not filled yet
            return cell
        new = self.rebound(content)
        return cell if new is content else CellType(new)

    def _globals(self, function: FunctionType) -> dict[str, Any]:
        """Return the globals that a function may read and that are others in the copy."""
        found: dict[str, Any] = {}
        for name in _names(function.__code__) & function.__globals__.keys():
            value: Any = function.__globals__[name]
            # Of functions only its neighbours: the whole of a library may hang on the others.
            elsewhere = isinstance(value, FunctionType) and value.__globals__ is not function.__globals__
            new = value if elsewhere else self.rebound(value)
            if new is not value:
                found[name] = new
        return found


def _names(code: CodeType) -> set[str]:
    """Return the names that code, and code within it, may read from its globals."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names, inner))
