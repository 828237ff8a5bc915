"""Where rendered reports go: `docs/results/` and the README."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from experiments import table1
from experiments.catalogue import EXPERIMENTS
from experiments.cells import Cell
from experiments.comparison import other_records
from experiments.render.markdown import markdown, table_markdown
from experiments.render.pictures import png
from experiments.report import Report, Table
from experiments.store import Reading, read_records, read_table
from sepgconv._files import write_atomically
from sepgconv._numbers import plural
from sepgconv._text import Markdown
from sepgconv._text import markdown as markdown_text

BEGIN, END = "<!-- table1: made by `python -m experiments render` -->", "<!-- table1: end -->"
README_COLUMNS = ("network", "data", "parameters", "test error %", "paper %")


def pages(results: Path) -> dict[str, bytes]:
    """Return every page and picture, by file name, from the records in a folder; README.md lists the pages.

    Args:
        results: the folder; a file that is missing has no records.
    """
    files: dict[str, bytes] = {}
    lines: list[tuple[str, ...]] = []
    notes = ["A cell is one training, or measurement, with one seed."]
    for name, experiment in sorted(EXPERIMENTS.items()):
        reading = read_table(results, name)
        report = experiment.report(reading)
        others = other_records(experiment, read_records(results / f"{name}.jsonl"))
        if others:
            report = dataclasses.replace(report, parts=(*report.parts, others))
        files[f"{name}.md"] = markdown(
            report, f"`results/{name}.jsonl` and, for cells that other tables have too, their files"
        ).encode()
        files |= {picture.file: png(picture) for picture in report.pictures}
        cells = experiment.cells()
        done, elsewhere = _run(cells, reading), _run(experiment.substitute_cells(), reading)
        title = Markdown(f"[{markdown_text(report.title)}]({name}.md)")
        lines.append((title, Markdown(f"`{name}`"), str(done), str(len(cells))))
        if elsewhere:
            notes.append(f"{name}: {plural(elsewhere, 'more cell')} on substitutes for its images.")
    findings = table1.findings(read_table(results, "table1"))
    files["README.md"] = markdown(_index(lines, notes, findings), "`results/*.jsonl`").encode()
    return files


def _run(cells: Iterable[Cell], reading: Reading) -> int:
    return sum(reading.find(cell) is not None for cell in cells)


def _index(lines: list[tuple[str, ...]], notes: list[str], findings: tuple[str, ...]) -> Report:
    what = Markdown(
        "What the paper (A. Lengyel and J. van Gemert, *Exploiting Learned Symmetries in Group Equivariant "
        "Convolutions*, ICIP 2021, [arXiv:2106.04914](https://arxiv.org/abs/2106.04914)) reports, run again with this "
        "package, and what goes beyond it. Every number is ours, from a committed record, unless it is called the "
        "paper's."
    )
    words = (
        "Z2CNN is an ordinary network, P4CNN one that knows quarter turns (p4; p4m: mirrors, too). g- before a name "
        "means separable filters with one spatial kernel for all poses, gc- one for all poses and all input channels, "
        "c- the latter in an ordinary network, where it is depthwise-separable; w is the width in channels. ± is the "
        "standard deviation (n - 1) over seeds, each of which is a whole training. rotmnist-generated are MNIST's "
        "digits turned by angles of our own, as many as in Rotated MNIST, whose official files were not at hand."
    )
    commands = Markdown(
        "`python -m experiments NAME` runs what is missing, `python -m experiments NAME --dry-run` lists it with an "
        "estimate of time."
    )
    table = Table(
        title="Pages", columns=("page", "name", "cells run", "of"), rows=tuple(lines), left=2,
        notes=tuple(notes),
    )  # fmt: skip
    return Report(title="The paper's tables and figures, run again", parts=(what, words, *findings, commands, table))


def readme_table(results: Path) -> str:
    """Return the table of the README: Table 1 in the few columns that a first reader needs, without its notes."""
    (table,) = EXPERIMENTS["table1"].report(read_table(results, "table1")).tables
    kept = [index for index, column in enumerate(table.columns) if column in README_COLUMNS]
    rows = tuple(tuple(row[index] for index in kept) for row in table.rows)
    columns = tuple(table.columns[index] for index in kept)
    return table_markdown(dataclasses.replace(table, columns=columns, rows=rows, left=2, notes=()))


def readme_with(text: str, table: str) -> str:
    """Return a README with the table between its two marks.

    Raises:
        ValueError: the marks are not there, once each and in order.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in tail:
        raise ValueError(f"the README needs the two lines {BEGIN} and {END}, once each, to hold the table")
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


def render(results: Path, docs: Path, readme: Path | None) -> list[Path]:
    """Write every page, every picture and the table in the README, each whole or not at all.

    Args:
        results: the folder of records.
        docs: the folder for pages and pictures.
        readme: the README; None leaves it.

    Returns:
        The files.

    Raises:
        ValueError: the README has no place for the table.
        OSError: a file cannot be written.
    """
    contents = {docs / name: content for name, content in pages(results).items()}
    if readme is not None:
        contents[readme] = readme_with(readme.read_text(encoding="utf-8"), readme_table(results)).encode()
    for path, content in contents.items():
        write_atomically(path, content)
    return list(contents)
