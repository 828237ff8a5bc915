"""All reasons why a network cannot be converted, collected into one short error message."""

PLACES = 3  # named for each reason
LONGEST = 1400  # characters


class Problems:
    """Reasons with their places, in the order they were found.

    Args:
        opening: what the message begins with.
    """

    def __init__(self, opening: str) -> None:
        self._opening = opening
        self._places: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._places)

    def add(self, place: str, reason: str) -> None:
        """Note a reason at a place."""
        places = self._places.setdefault(reason, [])
        if place not in places:
            places.append(place)

    def raise_if_any(self) -> None:
        """Raise a ValueError with every reason and a few of its places, if there is any reason."""
        if not self._places:
            return
        said, left, length = list[str](), 0, len(self._opening)
        for reason, places in self._places.items():
            named = ", ".join(place for place in places[:PLACES] if place)
            more = f" and {len(places) - PLACES} more" if len(places) > PLACES else ""
            words = f"{named}{more}: {reason}" if named else reason
            if said and length + len(words) > LONGEST:
                left += 1
                continue
            said.append(words[:LONGEST])
            length += len(words) + 2
        rest = f"; and {left} problem{'s' if left > 1 else ''} of other kinds" if left else ""
        raise ValueError(f"{self._opening}{'; '.join(said)}{rest}")
