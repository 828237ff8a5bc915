"""The one tracer: a forward as a graph of steps, with what every step gives on an example.

torch.fx records the forward code of the user. It has no values, and stops where the code asks for a shape, as checks of
sizes do. Here every recorded step also runs on an example, and the code gets the values of the example: checks pass,
loops over shapes end, and the shapes of all maps are known. Shapes that go into operations are recorded, not fixed:
batch and size stay free if the code leaves them free.
"""

import contextlib
import math
import operator
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.fx.proxy import TraceError
from torch.utils import checkpoint
from torch.utils._pytree import tree_leaves

from sepgconv import functional
from sepgconv.convert.operators import ASSIGNMENTS
from sepgconv.convert.plain.errors import named, raise_unconvertible
from sepgconv.nn import ReLU

_ROOT = "network"


@dataclass(frozen=True)
class Recording:
    """A network, step by step.

    Attributes:
        whole: a module that holds the network as a child; places in the graph are places in it.
        graph: the steps.
        values: what every step gave on the example.
    """

    whole: nn.Module
    graph: fx.Graph
    values: dict[fx.Node, Any]


def record(
    network: nn.Module,
    example: Tensor,
    is_layer: Callable[[nn.Module, str], bool],
    watch: Callable[[], None] | None = None,
) -> Recording:
    """Record what a network does.

    Args:
        network: the network; arguments of its forward with a default keep it.
        example: its input.
        is_layer: whether a module, at a place, is a single step besides those of torch.nn; else its code is read.
        watch: called before every step; a ValueError of it is passed on with the place of the step.

    Raises:
        ValueError: the code cannot be recorded (its place is named); or the error of the network itself on the example.
    """
    whole = _Whole(network)
    tracer = _Tracer(example, is_layer, watch)
    try:
        with _functions_of_autograd(through=watch is None):
            graph = tracer.trace(whole)
    except Exception as error:  # noqa: BLE001 (the user's code may raise anything)
        tracer.explain(network, example, error)
    return Recording(whole, graph, tracer.values)


@contextlib.contextmanager
def _functions_of_autograd(*, through: bool) -> Generator[None]:
    """Raise for functions of autograd that get a recorded value, which torch would take for a tensor and crash.

    Args:
        through: whether activation checkpointing, which changes no number, is skipped; otherwise it raises, too.
    """
    apply, entry = torch.autograd.Function.__dict__["apply"], "_checkpoint_without_reentrant_generator"

    def named(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
        if not any(type(value) is _Traced for value in tree_leaves((args, kwargs))):
            return apply.__func__(cls, *args, **kwargs)
        if cls is not checkpoint.CheckpointFunction:
            raise TraceError(f"the code calls the function {cls.__name__} of autograd, which is not read")
        return args[0](*args[2:]) if through else raise_checkpointing()

    def raise_checkpointing(*args: Any, **kwargs: Any) -> NoReturn:
        raise TraceError("it checkpoints activations, which would be lost; build it without, and wrap its parts after")

    with contextlib.ExitStack() as kept:
        kept.callback(setattr, torch.autograd.Function, "apply", apply)
        setattr(torch.autograd.Function, "apply", classmethod(named))  # noqa: B010 (no name of its type)
        if not through and hasattr(checkpoint, entry):
            kept.callback(setattr, checkpoint, entry, getattr(checkpoint, entry))
            setattr(checkpoint, entry, raise_checkpointing)
        yield


def place(path: str) -> str:
    """Return the place of a module in the user's network from its place in `Recording.whole`."""
    return path.removeprefix(_ROOT).removeprefix(".")


def attribute(root: nn.Module, path: str) -> Any:
    """Return what is at a dotted place in a module."""
    return operator.attrgetter(path)(root)


class _Whole(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network  # under the name _ROOT

    def forward(self, x: Tensor) -> Any:
        return self.network(x)


class _Tracer(fx.Tracer):
    def __init__(
        self, example: Tensor, is_layer: Callable[[nn.Module, str], bool], watch: Callable[[], None] | None
    ) -> None:
        super().__init__(autowrap_modules=(functional,))
        self.values: dict[fx.Node, Any] = {}
        self._example, self._is_layer, self._watch = example, is_layer, watch
        self._running = False  # a step is being carried out: nothing is recorded
        self._failed_at = ""
        self._error: ValueError | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        try:
            layer = self._is_layer(m, place(module_qualified_name))
        except ValueError as error:
            self._error = error
            raise
        return layer or isinstance(m, ReLU) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._running:
            return forward(*args, **kwargs)

        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self._failed_at = self._failed_at or named(place(self.path_of_module(m)), type(m))
            raise

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        if self._running:
            return attr_val
        # Where every step matters, what is done with a buffer is a step, too; counters are none.
        is_buffer = isinstance(attr_val, Tensor) and attr_val.is_floating_point()
        self.proxy_buffer_attributes = self._watch is not None and is_buffer
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Traced(node, self)

    def create_arg(self, a: Any) -> Any:
        # A recorded value passes for a tensor, also where torch.fx looks for parameters.
        return a.node if type(a) is _Traced else super().create_arg(a)

    def create_proxy(self, *args: Any, **kwargs: Any) -> fx.Proxy:
        if self._watch is not None and not self._running:
            try:
                self._watch()
            except ValueError as error:
                self._error = error
                raise
        proxy = super().create_proxy(*args, **kwargs)
        self._running = True
        try:
            self.values[proxy.node] = self._carry_out(proxy.node)
        finally:
            self._running = False
        return proxy

    def _carry_out(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._example.clone()  # a network may write into its input
        if node.op == "get_attr":
            return attribute(self.root, str(node.target))
        args, kwargs = map_arg((node.args, node.kwargs), cast("Any", self.value))
        if node.op == "call_module":
            return self.root.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return cast("Callable[..., Any]", node.target)(*args, **kwargs)

    def value(self, node: fx.Node) -> Any:
        """Return what a step gave on the example."""
        if node not in self.values and node.op == "get_attr":  # a constant of the code
            self.values[node] = attribute(self.root, str(node.target))
        return self.values[node]

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = self.value(obj.node)
        if isinstance(value, Tensor):
            raise TraceError("the code branches on the values of a feature map, which differ from image to image")
        return bool(value)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        return (operator.getitem(cast("Any", obj), index) for index in range(len(self.value(obj.node))))

    def explain(self, network: nn.Module, example: Tensor, error: Exception) -> NoReturn:
        """Raise the reason: our own error, that of the network on the example, or the place that cannot be traced."""
        if self._error is not None:
            raise self._error
        try:
            network(example.clone())
        except ValueError:
            raise
        except Exception as own:
            where = f"{self._failed_at}: " if self._failed_at else ""
            raise ValueError(
                f"the network does not take inputs of shape {tuple(example.shape[1:])} ({where}{_short(own)}); give "
                "the input_shape that it takes"
            ) from own
        reason = _short(error)
        raise_unconvertible(self._failed_at or type(network).__name__, f"its code cannot be traced ({reason})", error)


def _short(error: Exception) -> str:
    """Return the first line of an error, with its class if the line means nothing without it."""
    lines = str(error).splitlines() or [""]
    words = lines[0] if isinstance(error, RuntimeError | ValueError | TraceError) else ""
    return (words or f"{type(error).__name__} {lines[0]}".strip())[:300]


class _Traced(fx.Proxy):
    """A recorded value with its value on the example, for code that torch.fx alone cannot record."""

    @property
    def _value(self) -> Any:
        return cast("_Tracer", self.tracer).value(self.node)

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride] (what `isinstance` asks for)
        """The class of what it stands for, where that is a tensor: code that checks its inputs sees one."""
        return Tensor if isinstance(self._value, Tensor) else _Traced

    def __getattr__(self, k: str) -> Any:
        if k.startswith("__"):
            raise AttributeError(k)
        if callable(getattr(self._value, k)):
            return super().__getattr__(k)  # a method, about to be called
        return self.tracer.create_proxy("call_function", getattr, (self, k), {})

    def __len__(self) -> int:
        return len(self._value)

    def __index__(self) -> int:
        if isinstance(self._value, Tensor):
            raise TraceError("the code makes a Python number of a value of a feature map")
        return self._value.__index__()

    __int__ = __index__

    def __float__(self) -> float:
        if isinstance(self._value, Tensor):
            raise TraceError("the code makes a Python number of a value of a feature map")
        return float(self._value)

    # A size passes for the number it is where code looks it up, in a dict or a set.
    def __hash__(self) -> int:
        return hash(self._value) if isinstance(self._value, int) else super().__hash__()

    def __ceil__(self) -> Any:
        return self.tracer.create_proxy("call_function", math.ceil, (self,), {})

    def __floor__(self) -> Any:
        return self.tracer.create_proxy("call_function", math.floor, (self,), {})

    def __round__(self, digits: int | None = None) -> Any:
        return self.tracer.create_proxy("call_function", round, (self, digits), {})

    def __iter__(self) -> Iterator[Any]:
        return self.tracer.iter(self)

    def __contains__(self, item: Any) -> bool:
        return any(bool(item == part) for part in self)


def _assignment(recorded: Callable[..., Any]) -> Callable[[Any, Any], fx.Proxy]:
    def assign(self: Any, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", recorded, (self, other), {})

    return assign


# torch.fx would record `x += y` as `x = x + y`, which is not the same if x has another name, too.
for _in_place in ASSIGNMENTS:
    setattr(_Traced, f"__{_in_place.__name__}__", _assignment(_in_place))
