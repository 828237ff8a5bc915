import pytest

from sepgconv._numbers import count, error_percent, hundredths, large, percent, plural
from tests.covering import each


@each(
    ("share", "sentence", "column"),
    [
        (0, "0 %", "0.0 %"), (1e-9, "0 %", "0.0 %"), (0.0002, "< 0.1 %", "< 0.1 %"), (0.0123, "1.2 %", "1.2 %"),
        (0.5, "50 %", "50.0 %"), (0.934, "93.4 %", "93.4 %"), (0.9999, "> 99.9 %", "100.0 %"), (1, "100 %", "100.0 %"),
        (-0.25, "-25 %", "-25.0 %"),
    ],
)  # fmt: skip
def test_shares(share, sentence, column):
    assert percent(float(share)) == sentence
    assert percent(float(share), decimals=1) == column


@pytest.mark.parametrize(
    ("number", "short"), [(0, "0"), (9999, "9,999"), (10_000, "10.0 k"), (83_200, "83.2 k"), (999_950, "1.00 M")]
)
def test_large_counts(number, short):
    assert large(number) == short


def test_hundredths():
    assert [hundredths(value) for value in (-0.004, 0.004, -0.126, 1.0)] == ["0.00", "0.00", "-0.13", "1.00"]


def test_counts():
    assert count(24810) == "24,810"
    assert [plural(number, "layer") for number in (0, 1, 1200)] == ["0 layers", "1 layer", "1,200 layers"]
    assert [plural(number, "class", "classes") for number in (1, 2)] == ["1 class", "2 classes"]


@each(
    ("error", "written"),
    [(None, "-"), (0.0, "0.00 %"), (2.345, "2.35 %"), (0.125, "0.12 %"), (12.5, "12.50 %"), (100.0, "100.00 %"),
     (0.002, "< 0.01 %")],
)  # fmt: skip
def test_errors_are_in_percent_already(error, written):
    assert error_percent(error) == written


def test_an_error_is_written_as_its_own_two_decimals():
    """It goes through a share and back, which must not change a digit: every error that 2,000 images can give."""
    for wrong in range(1, 2001):
        error = 100 * wrong / 2000
        assert error_percent(error) == f"{round(error, 9):.2f} %"
