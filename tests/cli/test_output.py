"""Tables on the terminal: words stay whole where they fit, and no letter is lost where they do not."""

import pytest

from sepgconv.cli import output

COLUMNS = ("network", "data", "MACs, nominal / executed (M)", "test error %", "seconds a run (CPU)")
ROWS = [
    ("gc-P4CNN, w 30, 12,000 images", "rotmnist-generated", "13.01 / 16.50", "1.96 ± 0.081", "1,632 (1,335)"),
    ("Z2CNN, w 20, 12,000 images", "rotmnist-generated", "2.98 / 2.98", "5.46 ± 0.144", "326 (300)"),
]


def printed(capsys, monkeypatch, width):
    monkeypatch.setattr(output, "PIPED_WIDTH", width)
    output.print_table("Rotated MNIST", COLUMNS, ROWS, left=2)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [120, 100, 80])
def test_a_name_is_not_broken_where_other_columns_can_give_way(capsys, monkeypatch, width):
    text = printed(capsys, monkeypatch, width)
    assert text.count("rotmnist-generated") == 2
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [120, 80, 70, 60, 40])
def test_no_letter_is_lost(capsys, monkeypatch, width):
    text = printed(capsys, monkeypatch, width)
    assert "…" not in text
    letters = sorted("".join(("Rotated MNIST", *COLUMNS, *(word for row in ROWS for word in row))).replace(" ", ""))
    assert sorted(letter for letter in text if not letter.isspace() and letter != "─") == letters
