"""Reports as Markdown."""

import re

from experiments.report import Picture, Report, Table
from sepgconv._text import Markdown
from sepgconv._text import markdown as inline


def markdown(report: Report, records: str) -> str:
    """Return a report as a Markdown page.

    Args:
        report: the report.
        records: where its records are, as the page should say, in Markdown.

    Words of the report are plain text, and so are those that come from records; `Markdown` is what it says.
    """
    made = f"Made by `python -m experiments render` from {records}; do not edit."
    return "\n\n".join([f"# {inline(report.title)}", made, *(_part(part) for part in report.parts)]) + "\n"


def table_markdown(table: Table) -> str:
    """Return a table, its title above it and its notes below."""
    marks = ["---" if index < table.left else "---:" for index in range(len(table.columns))]
    lines = [_line(table.columns), _line(marks), *(_line(row) for row in table.rows)]
    notes = "\n".join(f"- {_line_of_words(note)}" for note in table.notes)
    return "\n\n".join(part for part in (f"**{inline(table.title)}**", "\n".join(lines), notes) if part)


def _part(part: Table | Picture | str) -> str:
    if isinstance(part, Table):
        return table_markdown(part)
    if isinstance(part, Picture):
        caption = inline(part.caption)
        return f"![{caption}]({part.file})\n\n{caption}."
    return _line_of_words(part)


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(map(inline, cells))} |"


def _line_of_words(text: str) -> str:
    # At the beginning of a line more is a mark than within it.
    words = inline(text)
    if isinstance(text, Markdown):
        return words
    return re.sub(r"^([#>+=:-]|\d+[.)](?= ))", lambda mark: f"&#{ord(mark[0][0])};{mark[0][1:]}", words)
