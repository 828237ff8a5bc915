"""Names as text: what a screen or a page would obey is written out, and all else stays as it is."""

import html
import string
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from sepgconv._text import Markdown, markdown, shortened, visible
from tests.covering import each

LITERAL = st.text(st.characters(codec=None))  # every character there is, lone surrogates too


@each(
    ("text", "shown"),
    [
        ("[red]tag[/x] $x_$ \\alpha :smile:", "[red]tag[/x] $x_$ \\alpha :smile:"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x1b]8;;http://a\x07", "\\x1b]8;;http://a\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe", "\\u202egnp.exe"),
        ("\N{LINE SEPARATOR}\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}", "\\u2028\\u200b\\ufeff"),
        ("caf\udce9", "caf\\udce9"),
        ("\U000e0041", "\\U000e0041"),
        ("日本 é Å 👩‍🔬 می‌خواهم", "日本 é Å 👩‍🔬 می‌خواهم"),
    ],
)
def test_what_a_screen_obeys_or_hides_is_written_out(text, shown):
    assert visible(text) == shown


@given(LITERAL)
def test_every_text_becomes_one_line_that_a_terminal_only_shows(text):
    shown = visible(text)
    shown.encode()  # no lone surrogate
    assert shown == visible(shown)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Zl", "Zp"}
    kept = [c for c in text if unicodedata.category(c)[0] in "LMNPSZ" and c not in "\u2028\u2029"]
    letters = iter(shown)
    assert all(c in letters for c in kept), "letters, in their order"


@given(LITERAL, st.integers(3, 40))
def test_a_long_text_keeps_its_ends(text, length):
    short = shortened(text, length)
    assert len(short) <= max(length, 1)
    assert short == text if len(text) <= length else short[0] == text[0] and short[-1] == text[-1]


def test_markdown_that_is_meant_stays():
    assert markdown(Markdown("**a** [b](c)")) == "**a** [b](c)"


@each("text", ["gc-P4CNN, w 30", "2.43 ± 0.150", "< 0.1 %", "[0.1, 0.2]", "gc_p4cnn", "a & b"])
def test_ordinary_words_are_the_same_in_markdown(text):
    assert markdown(text) == text


def test_nothing_in_a_name_is_markdown_or_html():
    name = "<script>alert(1)</script> **b** [l](http://e) `c` a|b $x_$ ~~s~~ &lt; _i_ :smile: <!-- table1: end -->\n# h"
    written = markdown(name)
    assert not set(written) & set("*`|$~\n\\")
    assert "<" not in written
    assert "](" not in written
    assert html.unescape(written) == name.replace("\n", " ")


@given(st.text(string.printable))
def test_markdown_reads_back_as_the_text(text):
    assert html.unescape(markdown(text)) == " ".join(visible(text, keep="\n\r\t").split())
