"""Compare what every layer gives for an image and for the moved image: one record for each call of a layer."""

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv._hooks import watch_calls
from sepgconv.analysis.certify.actions import Action, actions, declared_action, groups_that_hold, seen_through
from sepgconv.analysis.certify.errors import relative_error
from sepgconv.analysis.certify.fields import field_action, is_field, is_of_fields, wrap
from sepgconv.symmetry import FiniteGroup

ROUNDING = 1e-9  # relative; more than rounding makes in float64, less than any fault
LOOK_BACK = 16  # values among which a flattened one is looked for


@dataclass
class Value:
    """A tensor that went into or came out of a layer.

    Attributes:
        shape: of it, for the image as it was.
        actions: the ways in which the group may move it.
        errors: for each action, the worst relative error of each element.
        finite: whether it held neither NaN nor infinity.
        spread: how much it differs between the images, relative to its largest entry.
    """

    shape: tuple[int, ...]
    actions: tuple[Action, ...]
    errors: list[list[float]]
    finite: bool
    spread: float

    def error(self, *, natural: bool = False) -> float:
        """Return the worst error over the elements, under the action that suits best; natural: among those only."""
        return max(self.best_errors(natural=natural))

    def best_errors(self, *, natural: bool = False) -> list[float]:
        """Return the error of each element, under the action of which the worst is least; natural: among those only."""
        kept = [
            errors for action, errors in zip(self.actions, self.errors, strict=True) if action.natural or not natural
        ]
        return min(kept, key=max)

    @property
    def best(self) -> Action:
        """The action that suits best; of those that do equally well but for rounding, the first."""
        worst = [max(errors) for errors in self.errors]
        least = max(2 * min(worst), ROUNDING)
        return next(action for action, error in zip(self.actions, worst, strict=True) if error <= least)


@dataclass
class Call:
    """One call of a module.

    Attributes:
        name: path of the module in the network.
        module: the module.
        parent: index of the call within which it ran, or -1.
        inputs: the tensors that went in.
        output: the tensor that came out, if it was one.
        on_fields: whether geometric tensors went in and out.
    """

    name: str
    module: nn.Module
    parent: int
    inputs: list[Value]
    output: Value | None = None
    on_fields: bool = False


@dataclass
class _Tracer:
    """Hooks of a network: the first pass records, the others compare with what was recorded."""

    group: FiniteGroup
    holding: tuple[FiniteGroup, ...]  # groups with all its elements, on which feature maps may be
    names: Mapping[nn.Module, str]
    part: Callable[[Tensor], Tensor]  # of a tensor, what is compared
    distance: Callable[[Tensor, Tensor], float]
    calls: list[Call] = field(default_factory=lambda: [])
    element: int | None = None  # that moved the image; None while recording
    _values: list[Value] = field(default_factory=lambda: [])
    _references: dict[int, Tensor] = field(default_factory=lambda: {})  # id(value) -> its tensor in float64
    _seen: dict[int, tuple[Any, int, Value]] = field(default_factory=lambda: {})  # id(tensor) -> weak, version, value
    _fields: dict[Any, tuple[Action, ...]] = field(default_factory=lambda: {})
    _open: list[int] = field(default_factory=lambda: [])
    begun: int = 0  # calls in this pass
    _compared: set[int] = field(default_factory=lambda: set[int]())

    def start(self, element: int | None) -> None:
        self.element, self.begun = element, 0
        self._open.clear()
        self._compared.clear()

    def before(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        index, self.begun = self.begun, self.begun + 1
        given = [*_tensors(arguments), *_tensors(keywords)]
        if self.element is None:
            parent = self._open[-1] if self._open else -1
            inputs = [self._record(value) for value in given]
            call = Call(self.names[module], module, parent, inputs)
            call.on_fields = any(map(is_field, given))
            self.calls.append(call)
        else:
            if index >= len(self.calls) or self.calls[index].module is not module:
                raise ValueError(
                    "certify: the network runs other layers when the image is moved, so its layers cannot be compared"
                )
            for value, found in zip(self.calls[index].inputs, given, strict=False):
                self._compare(value, found)
        self._open.append(index)

    def after(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        call = self.calls[self._open.pop()]
        is_tensor = is_field(output) or _is_real(output)
        if self.element is None:
            call.output = self._record(output, module) if is_tensor else None
            call.on_fields &= is_field(output)
        elif call.output is not None and is_tensor:
            self._compare(call.output, output)

    def _record(self, found: Any, module: nn.Module | None = None) -> Value:
        tensor: Tensor = found.tensor if is_field(found) else found
        version = -1 if tensor.is_inference() else tensor._version  # pyright: ignore[reportPrivateUsage] (no other way)
        known = self._seen.get(id(tensor))
        if known is not None and known[0]() is tensor and known[1] == version >= 0:
            return known[2]
        shape = tuple(tensor.shape)
        reference = self.part(tensor.detach()).to(torch.float64, copy=True)
        said = None if module is None else declared_action(module, self.group)
        if said is not None:
            possible = (said,)  # and no other: one that does not turn is at fault
        elif is_field(found):
            possible = self._actions_of(found)
        else:
            possible = actions(self.group, shape, self.holding)
            if len(shape) in (2, 3):
                flattened = tuple(self._as_flattened(reference))
                possible = flattened if any(one.declared for one in flattened) else possible + flattened
        errors = [[0.0] * self.group.order for _ in possible]
        spread = relative_error(reference, reference[:1].expand_as(reference))
        value = Value(shape, possible, errors, bool(reference.isfinite().all()), spread)
        self._values.append(value)
        self._references[id(value)] = reference
        self._seen[id(tensor)] = (weakref.ref(tensor), version, value)
        return value

    def _actions_of(self, found: Any) -> tuple[Action, ...]:
        if found.type not in self._fields:
            known = field_action(self.group, found.type)
            shape = tuple(found.tensor.shape)
            self._fields[found.type] = (known,) if known else actions(self.group, shape, self.holding)[:1]
        return self._fields[found.type]

    def _as_flattened(self, reference: Tensor) -> Iterator[Action]:
        """Find the map of which this is a reshaping, and what moves it."""
        for value in reversed(self._values[-LOOK_BACK:]):
            before = self._references[id(value)]
            said = any(action.declared for action in value.actions)
            if (
                before.ndim > (reference.ndim if said else max(3, reference.ndim))
                and before.numel() == reference.numel()
                and torch.equal(before.flatten(), reference.flatten())
            ):
                yield from (seen_through(action, (-1, *value.shape[1:])) for action in value.actions)
                return

    def _compare(self, value: Value, found: Any) -> None:
        if id(value) in self._compared or self.element is None:
            return
        self._compared.add(id(value))
        tensor: Tensor = found.tensor if is_field(found) else found
        reference = self._references[id(value)]
        for action, errors in zip(value.actions, value.errors, strict=True):
            error = self.distance(self.part(tensor.detach()).double(), action.move(self.element, reference))
            errors[self.element] = math.inf if math.isnan(error) else error


def trace(model: nn.Module, x: Tensor, group: FiniteGroup, known: Sequence[FiniteGroup] = ()) -> list[Call]:
    """Run images, the same images again, and the images moved by every element; compare every layer.

    What each layer gave for the images is kept in memory, in float64.

    Args:
        model: a copy made by `float64_copy`.
        x: (batch, channels, height, width), or feature maps (batch, channels, poses, height, width), float64.
        group: the group, all elements of which keep the pixel grid.
        known: groups on which feature maps may be, besides those of the network's layers and the registered ones.

    Returns:
        A record for each call of a module, in the order in which they began; the first is the network itself.

    Raises:
        ValueError: the network runs other layers on moved images.
    """
    entry = entry_action(model, tuple(x.shape), group, known).move
    images = ((element, x if element is None else entry(element, x)) for element in (None, *range(group.order)))
    return trace_images(model, images, group, known=known)


def trace_images(
    model: nn.Module,
    images: Iterable[tuple[int | None, Tensor]],
    group: FiniteGroup,
    *,
    known: Sequence[FiniteGroup] = (),
    part: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    distance: Callable[[Tensor, Tensor], float] = relative_error,
) -> list[Call]:
    """Run images and, given with the element that moved them, moved images; compare a part of what every layer gives.

    Args:
        model: a copy made by `float64_copy`.
        images: the element and its images, the first with None and as they were; batches as those of `trace`.
        group: the group.
        known: groups on which feature maps may be, besides those of the network's layers and the registered ones.
        part: of a tensor, what is kept and compared.
        distance: from what came and what should have come to the error.

    Returns:
        As `trace`. The error of elements that no images are given for is 0.

    Raises:
        ValueError: the network runs other layers on moved images.
    """
    names = {module: name for name, module in model.named_modules()}
    tracer = _Tracer(group, holding_groups(model, group, known), names, part, distance)
    modules = [(module, module) for module in names]
    with watch_calls(modules, before=tracer.before, after=tracer.after), torch.no_grad():
        for element, x in images:
            tracer.start(element)
            model(wrap(model, x.clone()))  # a copy, since a network may change its input in place
            if element is not None and tracer.begun != len(tracer.calls):
                raise ValueError("certify: the network runs fewer layers when the image is moved")
    return tracer.calls


def entry_action(
    model: nn.Module, shape: tuple[int, ...], group: FiniteGroup, known: Sequence[FiniteGroup] = ()
) -> Action:
    """Return how a group moves the input of a network, of a shape with the batch axis."""
    in_type = getattr(model, "in_type", None)
    if is_of_fields(model) and in_type is not None and (found := field_action(group, in_type)) is not None:
        return found
    return actions(group, shape, holding_groups(model, group, known))[0]


def holding_groups(model: nn.Module, group: FiniteGroup, known: Sequence[FiniteGroup]) -> tuple[FiniteGroup, ...]:
    """Return the groups with all elements of a group on which the feature maps of a network may be, itself first."""
    own = (getattr(module, "group", None) for module in model.modules())
    return groups_that_hold(group, (*known, *(one for one in own if isinstance(one, FiniteGroup))))


def merge(traces: Sequence[list[Call]]) -> list[Call]:
    """Join the records of several batches: the worst error of each element counts.

    Raises:
        ValueError: the network ran other layers on one batch than on another.
    """
    first, *others = traces
    for other in others:
        if [call.name for call in other] != [call.name for call in first]:
            raise ValueError("certify: the network runs other layers on other images, so they cannot be compared")
        for call, same in zip(first, other, strict=True):
            pairs = [*zip(call.inputs, same.inputs, strict=False)]
            if call.output is not None and same.output is not None:
                pairs.append((call.output, same.output))
            for value, another in pairs:
                _take_worst(value, another)
    return first


def _take_worst(value: Value, other: Value) -> None:
    value.finite &= other.finite
    value.spread = max(value.spread, other.spread)
    if len(value.actions) != len(other.actions):
        # Flattened in one batch, not seen to be so in the other: what both have comes first.
        shared = min(len(value.actions), len(other.actions))
        value.actions, value.errors = value.actions[:shared], value.errors[:shared]
    for errors, others in zip(value.errors, other.errors, strict=False):
        errors[:] = map(max, errors, others)


def _tensors(values: Any) -> Iterator[Any]:
    """Yield the tensors among arguments, and those in lists, tuples and dictionaries."""
    if is_field(values) or _is_real(values):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _tensors(value)
    elif isinstance(values, tuple | list):
        for value in values:  # pyright: ignore[reportUnknownVariableType]
            yield from _tensors(value)


def _is_real(value: object) -> bool:
    return isinstance(value, Tensor) and not value.is_complex() and value.ndim > 0
