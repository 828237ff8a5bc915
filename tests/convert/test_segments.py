"""Channels as segments: whatever is cut, joined and added keeps fitting at every factor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepgconv.convert.rebuild.segments import channels, cut, equal_parts, fix, is_fixed, total, unify, width

FACTORS = [0.0, 0.1, 0.37, 0.5, 1.0, 1.49, 3.3]


def test_a_part_and_the_rest_add_up_to_the_whole():
    whole = channels(10)
    parts = [cut(whole, 0, 3), cut(whole, 3, 10)]
    assert [total(part) for part in parts] == [3, 7]
    for factor in FACTORS:
        assert width(whole, factor) == sum(width(part, factor) for part in parts)


def test_what_is_added_has_one_width():
    one, other = channels(6), (*channels(3), *channels(3))
    assert width(one, 0.5) != width(other, 0.5)  # 3, and twice 2: why it is needed
    unify(one, other)
    for factor in FACTORS:
        assert width(one, factor) == width(other, factor)


def test_channels_added_to_themselves_in_another_order():
    whole = channels(5)
    turned = (*cut(whole, 2, 5), *cut(whole, 0, 2))
    unify(whole, turned)
    for factor in FACTORS:
        assert width(whole, factor) == width(turned, factor)


def test_fixed_parts_stay_whoever_fixes_them():
    one, other = channels(8), channels(8)
    unify(one, other)
    fix(cut(other, 0, 2))
    assert not is_fixed(one)
    assert width(one, 0.0) == 2 + 1
    fix(one)
    assert is_fixed(other)
    assert width(other, 5.0) == 8


def test_equal_parts_are_equal_at_every_factor():
    whole = channels(12)
    cut(whole, 0, 1)
    part = equal_parts(whole, 3)
    for factor in FACTORS:
        assert width(whole, factor) == 3 * width(part, factor)


def test_a_width_of_one_stays():
    assert width(channels(1), 9.0) == 1


def test_different_numbers_are_refused():
    with pytest.raises(ValueError, match="4 and 5 channels cannot be the same"):
        unify(channels(4), channels(5))


@given(
    st.data(), st.lists(st.integers(1, 6), min_size=1, max_size=5), st.lists(st.integers(1, 6), min_size=1, max_size=5)
)
def test_any_two_ways_to_join(data, one, other):
    difference = sum(one) - sum(other)
    one, other = (
        (one, [*other, difference]) if difference > 0 else ([*one, -difference], other) if difference else (one, other)
    )
    left, right = (tuple(s for size in sizes for s in channels(size)) for sizes in (one, other))
    unify(left, right)
    factor = data.draw(st.floats(0, 4))
    assert width(left, factor) == width(right, factor)
    assert total(left) == total(right) == width(left, 1.0)
