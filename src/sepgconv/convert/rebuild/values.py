"""What stands for a tensor of the original forward in the rebuilt one: its kind, its axes, and its channels."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sepgconv.convert.rebuild.segments import Channels, total

BATCH = 2  # rows of the example; more than one, so that the axis is not taken for one of size 1


class Kind(enum.Enum):
    """What a tensor is to the group."""

    IMAGE = "an image"  # not lifted yet
    MAPS = "feature maps on the group"
    POOLED = "maps without poses"
    VECTOR = "a vector"


def richest(kinds: Iterable[Kind | None]) -> Kind:
    """Return the kind of maps that are combined: feature maps if any are, else maps without poses, else the image."""
    found = set(kinds)
    return next(kind for kind in (Kind.MAPS, Kind.POOLED, Kind.IMAGE) if kind in found)


# Why some values have no counterpart.
UNKNOWN = "this call has no counterpart on a group"
PLACES_OF_MAXIMA = "uses the indices of maxima, which change when the image is rotated"


class UnconvertibleError(Exception):
    """A layer or call that has no counterpart; the words say why, without the place."""


@dataclass(eq=False)
class Value:
    """A tensor or a number of the rebuilt forward.

    Maps keep the axes of the library, (batch, channel, [pose,] height, width[, stack]), however the original code moves
    its own: where it has channels last or positions merged, only `layout` shows it. Vectors, and the tensors that the
    network itself holds, have the axes of the original.

    Attributes:
        node: what gives it in the rebuilt graph, or the number itself; None for a number that has no counterpart.
        kind: what it is to the group; None for numbers and sizes.
        example: what the original gave on the example.
        channels: of maps.
        layout: of maps: for each axis of the original the letters it holds, of "bchw" and "s" for stacked maps, "hw"
            for merged positions, "" for an axis of size 1.
        axes: of vectors: for each axis its channels, None for the batch.
        side: (height, width) of maps.
        stack: number of stacked maps, 0 where nothing is stacked.
        waits: what must not follow, because the maps are not as the original has them yet; "" where all may.
        expanded: whether it waits for a sum or product to expand it.
        half: reduction of one axis of the positions and the maps before it, where the other axis is still to come.
        constant: whether it comes from buffers and numbers alone.
        pair: whether it stands for (values, indices), of which only the values exist.
        shape_of: for a shape: the tensor whose shape it is.
    """

    node: Any
    kind: Kind | None
    example: Any
    channels: Channels = ()
    layout: tuple[str, ...] = ()
    axes: tuple[Channels | None, ...] = ()
    side: tuple[int, int] = (1, 1)
    stack: int = 0
    waits: str = ""
    expanded: bool = False
    half: tuple[str, "Value"] | None = None
    constant: bool = False
    pair: bool = False
    shape_of: "Value | None" = field(default=None, repr=False)

    @property
    def is_own(self) -> bool:
        """Whether it comes from tensors of the network alone, not from the image."""
        return self.kind is Kind.VECTOR and None not in self.axes

    @property
    def is_spatial(self) -> bool:
        """Whether it is maps or an image."""
        return self.kind in (Kind.IMAGE, Kind.MAPS, Kind.POOLED)

    @property
    def rank(self) -> int:
        """The number of axes in the original."""
        return len(self.axes) if self.kind is Kind.VECTOR else len(self.layout)

    @property
    def sizes(self) -> dict[str, int]:
        """Of every letter of a layout on the example."""
        return {"b": BATCH, "c": total(self.channels), "h": self.side[0], "w": self.side[1], "s": self.stack or 1}

    @property
    def is_standard(self) -> bool:
        """Whether the original has it as (batch, channel, height, width)."""
        sizes = self.sizes
        return len(self.layout) == 4 and all(
            item == letter or (item == "" and sizes[letter] == 1)
            for item, letter in zip(self.layout, "bchw", strict=True)
        )

    def has(self, letter: str) -> bool:
        """Return whether an axis of the layout holds a letter."""
        return any(letter in item for item in self.layout)

    def axis(self, letter: str) -> int:
        """Return the axis of a letter in the rebuilt tensor of maps, counted from the end for positions and stacks."""
        behind = 1 if self.stack else 0
        return {"b": 0, "c": 1, "h": -2 - behind, "w": -1 - behind, "s": -1}[letter]


def axis_of(index: Any, rank: int) -> int:
    """Return an axis counted from the front."""
    return int(index) % rank


def axes_of(index: Any, rank: int) -> tuple[int, ...]:
    """Return axes counted from the front, in order."""
    found = index if isinstance(index, tuple | list) else (index,)
    return tuple(sorted(axis_of(axis, rank) for axis in found))


def regrouped(
    layout: Sequence[str], sizes: Mapping[str, int], target: Sequence[int]
) -> tuple[tuple[str, ...], int] | None:
    """Return the layout of maps after a reshape, and into how many stacked maps it cuts the channels (0: none).

    Axes of size 1 come and go; neighbours merge; channels are cut into (stack, channel). None where a reshape does
    anything else.

    Args:
        layout: before.
        sizes: of its letters.
        target: the new shape.
    """
    waiting = [(letter, sizes[letter]) for item in layout for letter in item if letter == "b" or sizes[letter] > 1]
    items, stack = list[str](), 0
    for size in target:
        item, left = "", int(size)
        while left > 1:
            if not waiting:
                return None
            letter, length = waiting.pop(0)
            if left % length == 0:
                item, left = item + letter, left // length
            elif letter == "c" and not stack and sizes["s"] == 1 and length % left == 0:
                stack, item = left, item + "s"
                waiting.insert(0, ("c", length // left))
                left = 1
            else:
                return None
        items.append(item)
    return None if waiting else (tuple(items), stack)
