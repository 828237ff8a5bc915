"""Thinned products keep every value and every pair of values, and no more cases than that takes."""

import inspect
import itertools
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import pytest_collection_modifyitems
from tests.covering import covering, each, named, parameters

SIZES = [(17, 8), (9, 8, 9), (8, 8, 4, 3), (2, 2, 2, 2, 2)]


def product(sizes):
    return [dict(zip("abcde", values, strict=False)) for values in itertools.product(*map(range, sizes))]


def occur(cases, strength):
    return {c for case in cases for c in itertools.combinations(sorted(case.items()), strength)}


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("strength", [1, 2])
def test_every_combination_that_occurs_is_kept_in_few_cases(sizes, strength):
    cases = product(sizes)
    kept = [cases[i] for i in covering(cases, strength)]
    assert occur(kept, strength) == occur(cases, strength)
    least = sizes and max(
        map(lambda pair: pair[0] * (pair[1] if strength == 2 else 1), itertools.permutations(sizes, 2))
    )
    assert least <= len(kept) <= 1.3 * least + 6
    if strength == 1 and sizes == (17, 8):  # values are used about equally often
        assert sorted(sum(case["b"] == group for case in kept) for group in range(8)) == [2] * 7 + [3]


def test_one_case_fewer_leaves_something_out():
    """Negative control."""
    cases = product((9, 8))
    kept = [cases[i] for i in covering(cases, 2)]
    assert len(kept) == 72
    assert occur(kept[1:], 2) != occur(cases, 2)


def test_cases_that_there_are_not_are_not_needed():
    cases = [case for case in product((3, 3, 2)) if case["a"] != case["b"]]
    kept = [cases[i] for i in covering(cases, 2)]
    assert occur(kept, 2) == occur(cases, 2)
    assert all(case["a"] != case["b"] for case in kept)
    assert covering([{}], 1) == [0]
    assert covering([], 1) == []


def test_a_failure_names_its_case():
    with pytest.raises(AssertionError) as failure, named(kind="a", size=3):
        raise AssertionError
    assert failure.value.__notes__ == ["in the case kind='a', size=3"]


class TestEach:
    def test_all_rows_run_with_one_seed_and_every_failure_names_its_row(self):
        seen = list[tuple[int, str, float]]()

        @each(("a", "b"), [(1, "x"), (2, "y"), (3, "z")])
        def fails_on_odd(fixture, a, b):
            seen.append((a, b, float(torch.rand(()))))
            if a == 1:
                pytest.fail(fixture)
            assert a == 2

        assert list(inspect.signature(fails_on_odd).parameters) == ["fixture"]
        with pytest.raises(BaseExceptionGroup, match="2 of 3 cases failed") as failure:
            fails_on_odd(fixture="that")
        assert [(a, b) for a, b, _ in seen] == [(1, "x"), (2, "y"), (3, "z")]
        assert len({number for _, _, number in seen}) == 1
        notes = [raised.__notes__ for raised in failure.value.exceptions]
        assert notes == [["in the case a=1, b='x'"], ["in the case a=3, b='z'"]]

    def test_one_failure_is_raised_as_it_is(self):
        @each("a", range(5))
        def fails_on_four(a):
            assert a < 4

        with pytest.raises(AssertionError) as failure:
            fails_on_four()
        assert failure.value.__notes__ == ["in the case a=4"]

    @each("a", [1, 2])
    @each("b", (b for b in "xy"))
    def test_rows_are_multiplied_and_may_be_iterated_again(self, request, a, b):
        ran = request.node.__dict__.setdefault("ran", [])
        ran.append((a, b))
        assert len(ran) < 4 or ran == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]

    def test_a_skip_or_an_interruption_is_that_of_the_whole_test(self):
        for stop in (pytest.skip.Exception, KeyboardInterrupt):

            @each("a", [1])
            def stops(a, stop=stop):
                raise stop

            with pytest.raises(stop):
                stops()

    @each(("names", "rows"), [("a", []), ("other", [1])])
    def test_what_would_test_nothing_is_refused(self, names, rows):
        """Negative control."""
        with pytest.raises(ValueError, match="needs a row of values, and parameters"):
            each(names, rows)(lambda a: None)


class Item:
    """What `thinned` asks of a test of pytest."""

    def __init__(self, nodeid, params, *marks):
        self.nodeid, self.callspec, self.marks = nodeid, SimpleNamespace(params=params), marks

    def get_closest_marker(self, name):
        return SimpleNamespace(args=self.marks) if self.marks else None

    def iter_markers(self, name):
        return iter([])


@pytest.mark.parametrize("products", [False, True])
def test_marked_tests_are_thinned_unless_products_are_asked_for(products):
    thin = [Item(f"test_x.py::test_thin[{i}]", case, 1) for i, case in enumerate(product((4, 3)))]
    whole = [Item(f"test_x.py::test_all[{i}]", case) for i, case in enumerate(product((4, 3)))]
    items = [item for pair in zip(thin, whole, strict=True) for item in pair]
    left, told = list(items), list[Item]()
    hook = SimpleNamespace(pytest_deselected=lambda items: told.extend(items))
    pytest_collection_modifyitems(SimpleNamespace(getoption=lambda name: products, hook=hook), left)
    assert set(told) == set(items) - set(left)
    if products:
        assert left == items
    else:
        assert [item for item in left if item in whole] == whole
        assert len([item for item in left if item in thin]) == 4
        assert left == sorted(left, key=items.index)


@pytest.fixture(params=["p1", "p4"])
def group(request):
    return request.param


@pytest.mark.parametrize(("sharing", "execution"), [("gc", "fourier"), ("g", "composed"), ("gc", "composed")])
@pytest.mark.parametrize("planar", [{}, {"stride": 2}])
def test_a_row_of_values_is_one_value(request, group, sharing, execution, planar):
    found = parameters(request.node)
    assert found == {"group": id(group), "sharing, execution": (id(sharing), id(execution)), "planar": (id(planar),)}
