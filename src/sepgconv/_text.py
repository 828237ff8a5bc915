"""Text from outside, escaped before it is shown, so that it is never read as markup. Imports nothing of the package."""

import re
import unicodedata

# Joiners have no width of their own, and whole scripts and many emoji cannot be written without them.
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
# Controls (also ESC and line breaks), invisible formats (also those that turn the direction of writing), lone
# surrogates (bytes of a file name that are no UTF-8), separators of lines and paragraphs.
_UNSHOWABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: object, *, keep: str = "") -> str:
    r"""Return a text that can be shown in one line anywhere: control and invisible characters are written out.

    Line breaks become ``\n``, ESC ``\x1b``, a mark that turns the direction of writing ``\u202e``, a byte that was no
    UTF-8 ``\udcff``. All letters, digits, signs and spaces stay as they are.

    Args:
        text: the text; anything else is written as `str` does.
        keep: characters that stay although they would be written out, such as line breaks.
    """
    return "".join(
        _escaped(c) if unicodedata.category(c) in _UNSHOWABLE and c not in _JOINERS and c not in keep else c
        for c in str(text)
    )


def shortened(text: str, length: int) -> str:
    """Return a text of at most `length` characters; the middle of a longer one becomes "…"."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# What GitHub's Markdown takes for something else than text in the middle of a line. Not every such character: an
# underscore inside a word, a "<" before a number, an "&" before a space, brackets that no link follows are text.
_MARKDOWN = re.compile(
    r"[\\`*|~$]|\](?=[(\[:])|:(?=[\w+-]+:)|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
)


class Markdown(str):
    """Text that is Markdown already and is not escaped."""

    __slots__ = ()


def markdown(text: object) -> Markdown:
    """Return a text for the middle of a line of Markdown, where it stands as it is: no HTML, no marks, one line.

    Args:
        text: the text; `Markdown` is returned unchanged.
    """
    if isinstance(text, Markdown):
        return text
    words = _MARKDOWN.sub(lambda match: f"&#{ord(match[0])};", " ".join(visible(text, keep="\n\r\t").split()))
    return Markdown(words)
