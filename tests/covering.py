"""Small parts of products of parameters: `@pytest.mark.covering(2)` keeps every pair of values, not every combination.

Most faults show for a value of one parameter or for two values together (D. R. Kuhn et al., IEEE Transactions on
Software Engineering 30, 2004). So a test over layers x groups x options need not run on all of them: with
`covering(1)` every value of every parameter occurs, with `covering(2)` every pair of values of two parameters does.
Which cases run is the same every time; `pytest --products` runs all.
"""

import itertools
from collections import Counter
from collections.abc import Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager

import pytest

Case = Mapping[str, Hashable]  # parameter -> its value


@contextmanager
def named(**case: object) -> Generator[None]:
    """Say in a failure which case of a loop it is of."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the case {', '.join(f'{name}={value!r}' for name, value in case.items())}")
        raise


def covering(cases: Sequence[Case], strength: int) -> list[int]:
    """Return the indices, in order, of a few cases in which every combination that occurs in the cases occurs as well.

    Greedy: always the case with the most combinations that are missing; of several, the one whose values are rarest so
    far, so that all values are used about equally often.

    Args:
        cases: all of them, over the same parameters.
        strength: how many values make a combination.
    """
    names = sorted(cases[0]) if cases else []
    strength = min(strength, len(names))
    combinations = [set(itertools.combinations([(name, case[name]) for name in names], strength)) for case in cases]
    missing = set[tuple[tuple[str, Hashable], ...]]().union(*combinations)
    used, chosen, left = Counter[tuple[str, Hashable]](), list[int](), dict.fromkeys(range(len(cases)))
    while missing:
        best = min(
            left,
            key=lambda i: (-len(combinations[i] & missing), sum(used[value] for value in cases[i].items())),
        )
        del left[best]
        chosen.append(best)
        missing -= combinations[best]
        used.update(cases[best].items())
    return sorted(chosen)


def parameters(item: pytest.Item) -> Case:
    """Return what a test runs on: a row of each `parametrize`, and a value of each fixture with parameters.

    Values are told apart by their identity, because many cannot be compared.
    """
    left = {name: id(value) for name, value in item.callspec.params.items()}
    rows = dict[str, Hashable]()
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0]
        names = [name.strip() for name in names]
        rows[", ".join(names)] = tuple(left.pop(name) for name in names)
    return {**left, **rows}


def thinned(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the tests that are to run, in order: of those marked with `covering`, a few cases of the given strength.

    Args:
        items: all tests that were collected.
    """
    marked = dict[str, list[pytest.Item]]()
    for item in items:
        if item.get_closest_marker("covering"):
            marked.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = set[pytest.Item]()
    for group in marked.values():
        (strength,) = group[0].get_closest_marker("covering").args
        kept = {group[i] for i in covering([parameters(item) for item in group], strength)}
        left_out |= set(group) - kept
    return [item for item in items if item not in left_out]
