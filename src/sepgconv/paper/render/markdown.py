"""Reports as Markdown."""

from sepgconv.paper.report import Picture, Report, Table


def markdown(report: Report, records: str) -> str:
    """Return a report as a Markdown page.

    Args:
        report: the report.
        records: where its records are, as the page should say, in Markdown.
    """
    made = f"Made by `sepgconv paper render` from {records}; do not edit."
    return "\n\n".join([f"# {report.title}", made, *(_part(part) for part in report.parts)]) + "\n"


def table_markdown(table: Table) -> str:
    """Return a table, its title above it and its notes below."""
    marks = ["---" if index < table.left else "---:" for index in range(len(table.columns))]
    lines = [_line(table.columns), _line(marks), *(_line(row) for row in table.rows)]
    notes = "\n".join(f"- {_plain(note)}" for note in table.notes)
    return "\n\n".join(part for part in (f"**{table.title}**", "\n".join(lines), notes) if part)


def _part(part: Table | Picture | str) -> str:
    if isinstance(part, Table):
        return table_markdown(part)
    if isinstance(part, Picture):
        return f"![{part.caption}]({part.file})\n\n{part.caption}."
    return part


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(_plain(cell).replace('|', '&#124;') for cell in cells)} |"


def _plain(text: str) -> str:
    return " ".join(text.split())
