"""Standard streams that are closed, full or gone, and what is printed on them."""

import io
import sys

import pytest

from sepgconv._terminal import guarded, say, show, standard_error, watched


class Full(io.TextIOWrapper):
    """A stream on a full disk, or one whose reader has gone."""

    def __init__(self, error):
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.error, self.tries = error, 0

    def write(self, text):
        self.tries += 1
        raise self.error

    def fileno(self):
        raise io.UnsupportedOperation


FULL, GONE = OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")


def test_names_on_the_terminal_are_text(capsys):
    say("\x1b[31m\n")
    show("a\x1b]0;title\x07")
    assert capsys.readouterr() == ("a\\x1b]0;title\\x07\n", "\\x1b[31m\\n\n")


@pytest.mark.parametrize("error", [FULL, GONE])
def test_standard_error_never_fails(monkeypatch, error):
    stream = Full(error)
    monkeypatch.setattr(sys, "stderr", stream)
    say("words")
    assert not watched()
    standard_error().write("words")
    assert stream.tries == 2


def test_closed_streams(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    say("words")
    assert not watched()
    with guarded():
        print("words")
        print("words", file=sys.stderr)
        assert sys.stdin.read() == ""
        assert not sys.stdout.isatty()
    assert sys.stdout is None


def test_a_full_disk_under_standard_output_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full(FULL))
    with guarded(), pytest.raises(OSError, match=r"^standard output cannot be written: No space left on device$"):
        show("words")


def test_a_reader_that_has_gone_is_let_go(monkeypatch):
    stream = Full(GONE)
    monkeypatch.setattr(sys, "stdout", stream)
    with guarded():
        show("words")
        show("more")
    assert stream.tries == 1


def test_an_encoding_that_lacks_a_letter_stops_nothing(monkeypatch):
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii"))
    with guarded():
        show("→ é")
    assert content.getvalue() == b"\\u2192 \\xe9\n"
