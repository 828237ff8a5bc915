"""Small parts of products of parameters: `@pytest.mark.covering(2)` keeps every pair of values, not every combination.

Most faults show for a value of one parameter or for two values together (D. R. Kuhn et al., IEEE Transactions on
Software Engineering 30, 2004). So a test over layers x groups x options need not run on all of them: with
`covering(1)` every value of every parameter occurs, with `covering(2)` every pair of values of two parameters does.
Which cases run is the same every time; `pytest --products` runs all.

Where the cases of a test are many and short, `@each(...)` in place of `@pytest.mark.parametrize(...)` makes one test of
them: all run, and every one that fails is named.
"""

import functools
import inspect
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch

Case = Mapping[str, Hashable]  # parameter -> its value


@contextmanager
def named(**case: object) -> Generator[None]:
    """Say in a failure which case of a loop it is of."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the case {', '.join(f'{name}={value!r}' for name, value in case.items())}")
        raise


def each(names: str | Sequence[str], rows: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test on every row of values, with the same seed; raise what failed, with its row, when all have run.

    The rows share the fixtures of the test.

    Args:
        names: of the parameters, as for `pytest.mark.parametrize`.
        rows: a value for one name, a tuple of values for several.

    Raises:
        ValueError: if there is no row, so that nothing would be tested, or if the test has no such parameter.
    """
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    cases = [dict(zip(names, row if len(names) > 1 else (row,), strict=True)) for row in rows]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(test)
        if not cases or not set(names) <= set(signature.parameters):
            raise ValueError(f"{test.__name__} needs a row of values, and parameters {names} to take it")

        @functools.wraps(test)
        def loop(*args: object, **fixtures: object) -> None:
            failures = list[BaseException]()
            for case in cases:
                torch.manual_seed(0)
                try:
                    with named(**case):
                        test(*args, **fixtures, **case)
                except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001 (raised when all have run)
                    failures.append(failure)
            if len(failures) == 1:
                raise failures[0]
            if failures:
                raise BaseExceptionGroup(f"{len(failures)} of {len(cases)} cases failed", failures)

        kept = [parameter for name, parameter in signature.parameters.items() if name not in names]
        loop.__dict__["__signature__"] = signature.replace(parameters=kept)  # pytest looks here for fixtures
        return loop

    return decorate


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
    combinations = [tuple(itertools.combinations([(name, case[name]) for name in names], strength)) for case in cases]
    having = defaultdict[tuple[tuple[str, Hashable], ...], list[int]](
        list
    )  # the cases with a combination that is missing
    for index, found in enumerate(combinations):
        for combination in found:
            having[combination].append(index)
    missing = [len(found) for found in combinations]  # how many, in each case
    used, chosen = Counter[tuple[str, Hashable]](), list[int]()
    while having:
        most = max(missing)
        best = min(
            (index for index, count in enumerate(missing) if count == most),
            key=lambda index: sum(used[value] for value in cases[index].items()),
        )
        chosen.append(best)
        for combination in combinations[best]:
            for index in having.pop(combination, ()):
                missing[index] -= 1
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
