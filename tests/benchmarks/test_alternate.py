"""The clock: turns, rounds, statistics."""

import itertools

import pytest

from benchmarks.alternate import Pace, alternate, rounds_of_each, takes_part
from benchmarks.series import Series, paired_ratios


def stepper(log, label, seconds):
    def step(count):
        log.append((label, count))
        return seconds

    return step


def test_contenders_take_turns_and_every_second_round_is_turned_round():
    log = []
    steppers = {label: stepper(log, label, 0.5) for label in "abc"}
    found = alternate(steppers, Pace(seconds=100, least=3, most=4))
    assert [label for label, _ in log[:9]] == list("aaabbbccc")  # warm-up
    assert "".join(label for label, _ in log[9:]) == "abccbaabccba"
    assert found["a"].seconds == (0.5,) * 4
    assert (found["a"].rounds, found["a"].warm_up, found["a"].steps_per_round) == ((0, 1, 2, 3), 3, 1)


def test_short_steps_are_timed_together_and_slow_ones_warm_up_once():
    log = []
    found = alternate({"short": stepper(log, "short", 1e-3), "slow": stepper(log, "slow", 2.0)}, Pace(0, 2, 5))
    assert found["short"].steps_per_round == 20
    assert (found["slow"].warm_up, found["slow"].steps_per_round) == (1, 1)
    assert len(found["slow"].seconds) == 2


def test_rounds_fill_the_time_and_no_more():
    assert rounds_of_each({"a": 1.0, "b": 1.0}, Pace(20, 3, 60)) == {"a": 10, "b": 10}
    counts = rounds_of_each({"slow": 1.0, "fast": 0.01}, Pace(30, 3, 60))
    assert counts["fast"] == 60
    assert counts["slow"] in (28, 29)  # what the fast one leaves
    assert rounds_of_each({"slow": 100.0}, Pace(1, 3, 60)) == {"slow": 3}


@pytest.mark.parametrize(("count", "total"), [(3, 10), (10, 10), (1, 7), (7, 8)])
def test_rounds_of_the_slow_are_spread_evenly(count, total):
    taken = [number for number in range(total) if takes_part(number, count, total)]
    assert len(taken) == count
    gaps = [b - a for a, b in itertools.pairwise(taken)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_statistics():
    series = Series((5.0, 1.0, 2.0, 4.0, 3.0), (0, 1, 2, 3, 4), 1, 3)
    assert series.median == 3
    assert series.quartiles == (2, 4)
    assert Series((1.5,), (0,), 1, 1).quartiles == (1.5, 1.5)
    assert Series.from_json(series.to_json()) == series


def test_ratios_pair_equal_rounds():
    above, below = Series((6.0, 8.0, 9.0), (0, 3, 4), 1, 1), Series((2.0, 1.0, 3.0), (0, 2, 4), 1, 1)
    assert paired_ratios(above, below) == [3.0, 3.0]
