"""Measure how well families of planar kernels rotate, and render it: `python -m tools.steerable_kernels [--render]`.

Measuring (a minute) writes results/steerable_kernels.json. Rendering makes from it the tables in docs/theory.md and the
picture beside it.
"""

import argparse
import itertools
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.render.pictures import png
from experiments.report import Picture
from sepgconv.symmetry.circular_filters import optimal_filters
from sepgconv.symmetry.filter_error import error_forms, largest_error
from sepgconv.symmetry.waves import SPECTRA
from tools.kernel_families import Rotated, circular, families, rotation_matrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
RECORD, PAGE, PICTURE = "results/steerable_kernels.json", "docs/theory.md", "steerable.png"
BEGIN, END = "<!-- {}: made by `python -m tools.steerable_kernels --render` -->", "<!-- {}: end -->"
SIDES = (3, 5, 7)
BANDS, TOLERANCES = (0.5, 0.75, 1.0), (0.003, 0.01, 0.1)
UNBOUNDED = 100.0  # above it, the worst filter is one that hardly responds at all, and its error hangs on rounding

Row = dict[str, Any]


def measure(rotated: Rotated) -> Row:
    """Return the number of filters and their errors after rotations by 45, 22.5 and 90 degrees."""
    found: Row = {"filters": len(rotated(0.0))}
    for degrees, spectrum in itertools.product((45, 22.5, 90), SPECTRA):
        angle = math.radians(degrees)
        error, response = error_forms(rotated(0.0), rotated(angle), rotation_matrix(angle), spectrum=spectrum)
        found[f"{degrees:g}_{spectrum}"] = float(f"{math.sqrt(np.trace(error) / np.trace(response)):.6g}")
        if (degrees, spectrum) == (45, "natural"):
            found["worst"] = float(f"{min(largest_error(error, response), UNBOUNDED):.6g}")
    return found


def measure_families(sides: tuple[int, ...] = SIDES) -> list[Row]:
    """Return a row for each family and side."""
    return [
        {"kernels": family.name, "side": family.side, **measure(family.rotated)}
        for side in sides
        for family in families(side)
    ]


def measure_choices(sides: tuple[int, ...] = SIDES) -> list[Row]:
    """Return a row of the optimal filters for each band, tolerance and side."""
    return [
        {
            "band": band,
            "tolerance": tolerance,
            "side": side,
            **measure(circular(optimal_filters(side, tolerance, band))),
        }
        for band, tolerance, side in itertools.product(BANDS, TOLERANCES, sides)
    ]


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    worst = (
        "> 100" if row["worst"] >= UNBOUNDED else f"{row['worst']:.2f}" if row["worst"] < 10 else f"{row['worst']:.0f}"
    )
    return f"{row['filters']}: {row['45_natural']:.3f} ({row['45_white']:.3f}), {worst}"


def _table(heads: list[str], lines: list[list[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def tables(record: dict[str, list[Row]]) -> dict[str, str]:
    """Return the tables of the page, by name."""
    sides = [f"{side} x {side}" for side in SIDES]
    found = {(row["kernels"], row["side"]): row for row in record["families"]}
    names = dict.fromkeys(row["kernels"] for row in record["families"])
    by_family = [[name, *(_cell(found.get((name, side))) for side in SIDES)] for name in names]
    chosen = {(row["band"], row["tolerance"], row["side"]): row for row in record["choices"]}
    by_choice = [
        [f"{band:g} π", f"{tolerance:g}", *(_cell(chosen[band, tolerance, side]) for side in SIDES)]
        for band, tolerance in itertools.product(BANDS, TOLERANCES)
    ]
    return {
        "families": _table(["kernels", *sides], by_family),
        "choices": _table(["W", "tolerance", *sides], by_choice),
    }


def page_with(text: str, record: dict[str, list[Row]]) -> str:
    """Return a page with the tables of a record between their marks.

    Raises:
        ValueError: the page lacks a mark.
    """
    for name, table in tables(record).items():
        begin, end = BEGIN.format(name), END.format(name)
        if begin not in text or end not in text:
            raise ValueError(f"{PAGE} lacks the line {begin!r} or {end!r}; put both where the table belongs")
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


def picture(record: dict[str, list[Row]]) -> Picture:
    """Return errors against the number of filters, a panel for each side."""
    caption = "The relative error of filters rotated by 45 degrees against the number of filters, for three sizes"
    content = [
        [row["side"], row["kernels"].replace("`", ""), row["filters"], row["45_natural"], row["45_white"]]
        for row in record["families"]
    ]
    return Picture(file=PICTURE, caption=caption, content=content, draw=_draw, size=(11.0, 4.6))


def _draw(figure: "Figure", content: list[list[Any]]) -> None:
    names = list(dict.fromkeys(name for _, name, *_ in content))
    markers, axes = "sDv^<>PXo", figure.subplots(1, len(SIDES), sharey=True)
    for axis, side in zip(axes, SIDES, strict=True):
        for _, name, filters, natural, white in (row for row in content if row[0] == side):
            place, ours = names.index(name), name == "optimal"
            style: dict[str, Any] = {"color": f"C{place}", "marker": markers[place], "markersize": 9 if ours else 6}
            axis.plot([filters] * 2, [natural, white], color=f"C{place}", linewidth=1)
            axis.plot(filters, natural, linestyle="", label=name, **style)
            axis.plot(filters, white, linestyle="", fillstyle="none", **style)
        axis.set_title(f"{side} x {side}")
        axis.set_xlabel("filters")
        axis.set_xlim(0, side**2 + 1)
        axis.set_yscale("log")
        axis.set_yticks([0.01, 0.03, 0.1, 0.3], labels=["0.01", "0.03", "0.1", "0.3"])
        axis.set_yticks([], minor=True)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("relative error at 45°\n(filled: natural images, open: white)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)


def read(root: Path = ROOT) -> dict[str, list[Row]]:
    """Return the record."""
    return json.loads((root / RECORD).read_text(encoding="utf-8"))


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.steerable_kernels", description=__doc__)
    parser.add_argument("--render", action="store_true", help="do not measure, render what the record has")
    return parser


def main() -> None:
    """Run the command line."""
    if not command_line().parse_args().render:
        record = {"families": measure_families(), "choices": measure_choices()}
        lines = [
            f' "{name}": [\n' + ",\n".join(f"  {json.dumps(r)}" for r in rows) + "\n ]" for name, rows in record.items()
        ]
        (ROOT / RECORD).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    record, page = read(), ROOT / PAGE
    page.write_text(page_with(page.read_text(encoding="utf-8"), record), encoding="utf-8")
    (page.parent / PICTURE).write_bytes(png(picture(record)))


if __name__ == "__main__":
    main()
