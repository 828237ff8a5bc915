"""Tables on the terminal: words stay whole where they fit, and no letter is lost where they do not."""

import pytest

from sepgconv.cli import output

COLUMNS = (
    "network", "data", "seeds", "parameters", "MACs, nominal / executed (M)", "test error %", "paper %",
    "seconds a run (CPU)",
)  # fmt: skip
ROWS = [
    (
        "c-Z2CNN, w 57",
        "rotmnist-generated",
        "1-5",
        "25,603",
        "3.33 / 4.12",
        "4.86 ± 0.099",
        "4.64 ± 0.126",
        "547 (507)",
    ),
    (
        "P4CNN, w 10",
        "rotmnist-generated",
        "1-5",
        "24,810",
        "11.67 / 11.67",
        "2.43 ± 0.150",
        "2.23 ± 0.061",
        "900 (707)",
    ),
]


def printed(capsys, monkeypatch, width):
    monkeypatch.setattr(output, "PIPED_WIDTH", width)
    output.print_table("Rotated MNIST", COLUMNS, ROWS, left=2)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [120, 110, 100])
def test_a_name_is_not_broken_where_other_columns_can_give_way(capsys, monkeypatch, width):
    text = printed(capsys, monkeypatch, width)
    assert text.count("rotmnist-generated") == 2
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [120, 90, 80, 70, 60])
def test_no_letter_is_lost(capsys, monkeypatch, width):
    text = printed(capsys, monkeypatch, width)
    assert "…" not in text
    letters = sorted("".join(("Rotated MNIST", *COLUMNS, *(word for row in ROWS for word in row))).replace(" ", ""))
    assert sorted(letter for letter in text if not letter.isspace() and letter != "─") == letters
