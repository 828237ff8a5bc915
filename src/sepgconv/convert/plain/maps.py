"""The plain network while it is written: its graph, its layers, and each value with its poses apart or folded in.

Folded maps are (batch, |G| * channel, height, width), poses first: channel c of pose g is at g * channels + c.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn


@dataclass(eq=False)
class Value:
    """Something that a step of the network gives.

    Attributes:
        example: what it was on the example.
        whole: its node with the axes of the original network, or a value such as a number; None: not written yet.
        folded: its node with poses folded into channels; None: not written yet, or not maps.
    """

    example: Any
    whole: Any = None
    folded: fx.Node | None = None

    @property
    def is_maps(self) -> bool:
        """Whether it has the axes of feature maps on a group, (batch, channel, pose, height, width)."""
        return isinstance(self.example, Tensor) and self.example.ndim == 5

    @property
    def order(self) -> int:
        """Number of poses."""
        return int(self.example.shape[2])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) on the example."""
        return int(self.example.shape[-2]), int(self.example.shape[-1])


@dataclass
class PlainGraph:
    """A graph of ordinary layers and functions of torch, being written.

    Attributes:
        graph: its steps.
        layers: what it calls or reads, by name.
    """

    graph: fx.Graph = field(default_factory=fx.Graph)
    layers: dict[str, nn.Module | Tensor] = field(default_factory=dict)

    def module(self, name: str, build: Callable[[], nn.Module], x: fx.Node, **kwargs: Any) -> fx.Node:
        """Write the call of a layer; one that has the name already is called again."""
        if name not in self.layers:
            self.layers[name] = build()
        return self.graph.call_module(name, (x,), kwargs)

    def constant(self, name: str, tensor: Tensor) -> fx.Node:
        """Write the reading of a parameter or buffer."""
        name = name.replace(".", "_")
        self.layers.setdefault(name, copy.deepcopy(tensor))
        return self.graph.get_attr(name)

    def fold(self, value: Value) -> fx.Node:
        """Return the folded node of maps."""
        if value.folded is None:
            transposed = self.graph.call_method("transpose", (value.whole, 1, 2))
            value.folded = self.graph.call_method("flatten", (transposed, 1, 2))
        return value.folded

    def unfold(self, value: Value) -> Any:
        """Return the node of a value with the axes of the original network."""
        if value.whole is None and value.folded is not None:
            apart = self.graph.call_method("unflatten", (value.folded, 1, (value.order, -1)))
            value.whole = self.graph.call_method("transpose", (apart, 1, 2))
        return value.whole
