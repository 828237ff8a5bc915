"""Reports print as tables: plain, in HTML for notebooks, and on the terminal, from one description."""

from html.parser import HTMLParser

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv import analysis
from sepgconv._table import Printed, Table, table_as_html, table_as_text
from sepgconv.cli import output
from sepgconv.convert import separate
from sepgconv.data import Dataset, Split
from sepgconv.data.preprocessing import Identity
from sepgconv.nn import GroupConv2d, GroupMaxPool, LiftingConv2d

EVIL = "<b>bold</b> & \"x\" 'y' \x1b[31m"
TABLE = Table("Of <b>layers</b>", ("layer", "kind", "MACs"), [("conv", "Conv2d", "1,200"), (EVIL, "a", "3")], left=2)


class Checker(HTMLParser):
    """Reads HTML; fails where tags do not nest. Keeps the words, and the tags that were opened."""

    VOID = ("img", "br", "meta", "link")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.words, self.attributes = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def checked(html):
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert not checker.open, f"{checker.open} is left open"
    return checker


def test_the_check_sees_broken_html():
    """Negative control: what does not nest, and a name that is not escaped."""
    for broken in ("<p><b>x</p></b>", "<table><tr><td>x</td></tr>", "x</p>"):
        with pytest.raises(AssertionError):
            checked(broken)
    assert "b" in checked("<p><b>x</b></p>").tags


def test_text_is_aligned_and_shows_every_cell_in_one_line():
    title, head, rule, first, second = table_as_text(TABLE).splitlines()
    assert title == "Of <b>layers</b>"
    assert head.startswith("layer ")
    assert set(rule) == {"─"}
    assert len(head) == len(rule) == len(first) == len(second)  # the last column is aligned right
    assert first.endswith(" 1,200")
    assert second.endswith("     3")
    assert "\\x1b[31m" in second
    assert head.index("kind") == first.index("Conv2d") == second.index("a  ")


def test_wide_letters_take_two_columns():
    first, second = table_as_text(Table("", ("n", "v"), [("層", "1"), ("ab", "2")])).splitlines()[3:]
    assert (first, second) == ("層  1", "ab  2")


def test_a_table_without_rows_is_its_headings():
    assert table_as_text(Table("t", ("a", "b"), ())).splitlines() == ["t", "a  b", "────"]
    assert checked(table_as_html(Table("t", ("a", "b"), ()))).words


def test_html_nests_and_escapes():
    found = checked(table_as_html(TABLE))
    assert "b" not in found.tags
    assert "<b>bold</b> & \"x\" 'y' \\x1b[31m" in found.words
    assert ("aria-label", "Of <b>layers</b>") in found.attributes
    assert [found.tags.count(tag) for tag in ("table", "tr", "th", "td")] == [1, 3, 5, 4]
    left = [value for name, value in found.attributes if name == "style"]
    assert left == ["text-align: left"] * 6


def letters(text):
    return sorted(letter for letter in text if not letter.isspace() and letter != "─")


def test_all_three_show_the_same_words(capsys, monkeypatch):
    monkeypatch.setattr(output, "PIPED_WIDTH", 300)
    output.draw_table(TABLE)
    plain = table_as_text(TABLE)
    assert letters(capsys.readouterr().out) == letters(plain)
    assert letters("".join(checked(table_as_html(TABLE)).words)) == letters(plain)


class Evil(nn.Module):
    """A network with names that are HTML."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.add_module("<b>lift</b>", LiftingConv2d(1, 2, 3, "p4", padding=1))
        self.add_module("<b>conv</b>", GroupConv2d(2, 8, 3, "p4", padding=1))
        self.pool = GroupMaxPool()

    def forward(self, x):
        for layer in self.children():
            x = layer(x)
        return x


def dataset():
    split = Split(torch.zeros(1200, 1, 4, 5), torch.arange(1200) % 12)
    classes = ("<b>zero</b>", *map(str, range(1, 12)))
    return Dataset("<b>digits</b>", classes, split, split, split, Identity(), skipped=("a.png",))


PRINTED = {
    "certificate": (lambda: analysis.certify(Evil(), "p4", (1, 8, 8)), "<b>conv</b>", "Exact: worst relative error"),
    "fault": (lambda: analysis.certify(nn.Conv2d(1, 2, 3), "p4", (1, 8, 8)), "Conv2d", "Not exact"),
    "cost": (lambda: analysis.cost(Evil(), (1, 8, 8)), "<b>conv</b>", "total"),
    "redundancy": (lambda: analysis.redundancy(Evil(), input_shape=(1, 8, 8)), "<b>conv</b>", "the best first"),
    "layer": (lambda: analysis.redundancy(Evil()).layers[1], "<b>conv</b>", "gc, rank 1"),
    "separation": (lambda: separate(Evil(), rank=1), "<b>conv</b>", "Group convolutions, sharing gc"),
    "rotation": (lambda: analysis.rotation_curve(nn.Flatten(), torch.ones(2, 1, 5, 5), [0, 45]), "45", "2 rotated"),
    "data": (dataset, "<b>zero</b>", "<b>digits</b>: images of 1 x 4 x 5, 12 classes"),
}


@pytest.mark.parametrize("name", PRINTED)
def test_reports_print_as_tables(name):
    make, layer, sentence = PRINTED[name]
    report = make()
    assert isinstance(report, Printed)
    text = str(report)
    assert layer in text
    assert sentence in text
    assert "tensor(" not in text
    assert repr(report) == text
    found = checked(report._repr_html_())
    assert "b" not in found.tags, "a name is not escaped"
    assert "table" in found.tags
    words = "".join(found.words)
    assert letters(words) == letters(text)


def test_what_is_not_counted_is_said():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return self.scale * x

    assert "Not counted, for want of a rule: 0." in str(analysis.cost(nn.Sequential(Own()), (1, 4, 4)))
    assert "Not counted" not in str(analysis.cost(nn.Sequential(nn.Conv2d(1, 1, 1)), (1, 4, 4)))


def test_a_network_that_answers_all_images_alike_is_not_called_exact():
    silent = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    nn.init.zeros_(silent[1].weight)
    text = str(analysis.certify(silent, "p4", (1, 4, 4)))
    assert "Nothing measured" in text
    assert "Exact:" not in text


def test_a_report_without_a_ranking_prints_its_summary():
    report = analysis.redundancy(nn.Conv2d(1, 2, 3))
    assert str(report) == report.summary
    assert checked(report._repr_html_()).tags == ["p"]


def test_data_print_sizes_and_classes():
    data = dataset()
    assert repr(data).splitlines() == [
        "<b>digits</b>: images of 1 x 4 x 5, 12 classes",
        "part        images",
        "──────────────────",
        "train        1,200",
        "validation   1,200",
        "test         1,200",
        "",
        "Classes: <b>zero</b>, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more.",
        "",
        "Left out because they cannot be read: 1 file.",
    ]
    assert repr(data.train) == "Split: 1,200 images of 1 x 4 x 5"


def test_the_command_line_prints_the_same_table(capsys, monkeypatch):
    monkeypatch.setattr(output, "PIPED_WIDTH", 300)
    from sepgconv.cli.info import info

    info("z2cnn", width=2, widths=None, group=None, option=None, image_size=None)
    shown = capsys.readouterr().out
    report = analysis.cost(sepgconv.create_model("z2cnn", width=2), (1, 28, 28))
    (table,) = report._printed_parts()
    for line in table_as_text(table).splitlines()[3:]:
        assert line.split() in [each.split() for each in shown.splitlines()]
