"""Channels as segments that get a width each, so that what is joined, cut and added fits after scaling as before.

A layer that gives 64 channels which are later cut into 16 and 48 gets two segments; where its output is added to that
of another layer, both have the same segments. A segment is scaled as a whole: equal sizes stay equal.
"""

import math
from collections import deque


class Segment:
    """Consecutive channels that are scaled as one number.

    Attributes:
        size: channels in the original network.
        fixed: whether the number stays, as that of the image and of the output does.
        parts: what it was cut into; empty while it is whole.
        same: the segment that stands for this one, where both must have one width.
    """

    __slots__ = ("fixed", "parts", "same", "size")

    def __init__(self, size: int, fixed: bool = False) -> None:
        self.size, self.fixed = size, fixed
        self.parts: tuple[Segment, ...] = ()
        self.same: Segment | None = None


Channels = tuple[Segment, ...]


def channels(size: int, *, fixed: bool = False) -> Channels:
    """Return new channels of one segment."""
    return (Segment(size, fixed),)


def segments(of: Channels) -> list[Segment]:
    """Return the segments that nothing has cut, in order."""
    found, waiting = list[Segment](), deque(of)
    while waiting:
        segment = _stand_in(waiting.popleft())
        if segment.parts:
            waiting.extendleft(reversed(segment.parts))
        else:
            found.append(segment)
    return found


def total(of: Channels) -> int:
    """Return the number of channels in the original network."""
    return sum(segment.size for segment in of)


def unify(one: Channels, other: Channels) -> None:
    """Give two lists of channels the same widths, cutting both where either is cut.

    Raises:
        ValueError: their numbers differ.
    """
    if total(one) != total(other):
        raise ValueError(f"{total(one)} and {total(other)} channels cannot be the same")
    left, right = deque(one), deque(other)
    while left:
        x, y = _first(left), _first(right)
        if x is not y and x.size != y.size:
            larger, size = (y, x.size) if x.size < y.size else (x, y.size)
            larger.parts = (Segment(size, larger.fixed), Segment(larger.size - size, larger.fixed))
            continue
        if x is not y:
            y.same, x.fixed = x, x.fixed or y.fixed
        left.popleft()
        right.popleft()


def cut(of: Channels, start: int, stop: int) -> Channels:
    """Return the channels from one to another, as segments of their own."""
    sizes = [size for size in (start, stop - start, total(of) - stop) if size > 0]
    unify(tuple(Segment(size) for size in sizes), of)
    found, place = list[Segment](), 0
    for segment in segments(of):
        if start <= place < stop:
            found.append(segment)
        place += segment.size
    return tuple(found)


def equal_parts(of: Channels, number: int) -> Channels:
    """Cut channels into parts that keep one width, and return the first."""
    size = total(of) // number
    parts = [cut(of, k * size, (k + 1) * size) for k in range(number)]
    for part in parts[1:]:
        unify(parts[0], part)
    return parts[0]


def fix(of: Channels) -> None:
    """Let the widths be those of the original network."""
    for segment in segments(of):
        segment.fixed = True


def is_fixed(of: Channels) -> bool:
    """Return whether scaling leaves channels as they are; a width of 1, which may be there to be broadcast, stays."""
    return all(segment.fixed or segment.size == 1 for segment in segments(of))


def width(of: Channels, factor: float) -> int:
    """Return the number of channels for a factor: every segment rounded, at least 1, and 1 stays 1."""
    return sum(s.size if s.fixed or s.size == 1 else max(1, math.floor(s.size * factor + 0.5)) for s in segments(of))


def _first(waiting: deque[Segment]) -> Segment:
    """Return the first whole segment of a queue, its parts unpacked."""
    while True:
        segment = _stand_in(waiting[0])
        if not segment.parts:
            return segment
        waiting.popleft()
        waiting.extendleft(reversed(segment.parts))


def _stand_in(segment: Segment) -> Segment:
    while segment.same is not None:
        segment = segment.same
    return segment
