"""Curves of growth: time against batch, pixels, channels, |G| and kernel size, from the results alone."""

import io
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks import suite
from benchmarks.results import Result, write_whole

# By axis: its label, and where it leaves the base.
AXES: dict[str, tuple[str, dict[str, object]]] = {
    "group": ("|G|", {}),
    "channels": ("channels", {"pixels": 16}),
    "pixels": ("pixels along a side", {}),
    "kernel": ("kernel size", {}),
    "batch": ("batch", {}),
}
COLOURS = {
    suite.OURS: "tab:red",
    suite.GROUP_CONV: "tab:purple",
    suite.REFERENCE: "tab:orange",
    suite.ORDINARY_SEPARABLE: "tab:cyan",
    suite.ORDINARY_SEPARABLE_LAST: "tab:blue",
    suite.ORDINARY_DENSE_LAST: "tab:gray",
}


def points(results: Mapping[str, Result], axis: str) -> list[tuple[float, Result]]:
    """Return the results along an axis, all else at the base, in order."""
    fixed = {**suite.BASE, **AXES[axis][1]}
    fixed.pop(axis)
    found: list[tuple[float, Result]] = []
    for result in results.values():
        setting = result.setting
        if setting and result.refused is None and all(setting[key] == value for key, value in fixed.items()):
            value = setting[axis]
            found.append((float(suite.ORDERS[value] if axis == "group" else value), result))
    return sorted(found, key=lambda point: point[0])


def draw_all(results: Mapping[str, Result], folder: Path) -> list[Path]:
    """Draw every curve that has two points or more and return the files."""
    drawn: list[Path] = []
    for axis in AXES:
        along = points(results, axis)
        if len(along) > 1:
            path = folder / f"growth-{axis}.png"
            write_whole(path, _draw(axis, along))
            drawn.append(path)
    return drawn


def _draw(axis: str, along: list[tuple[float, Result]]) -> bytes:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for panel, kind in zip(figure.subplots(1, 2), ("forward + backward", "inference"), strict=True):
        _draw_panel(panel, kind, along)
        panel.set_xlabel(AXES[axis][0])
    settings = {**suite.BASE, **AXES[axis][1]}
    settings.pop(axis)
    figure.suptitle("gc layer beside others: " + ", ".join(f"{key} {value}" for key, value in settings.items()))
    figure.axes[0].legend(fontsize="small", framealpha=0.6)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100, metadata={"Software": None})  # the same bytes for the same numbers
    return picture.getvalue()


def _draw_panel(panel: Axes, kind: str, along: list[tuple[float, Result]]) -> None:
    for label, colour in COLOURS.items():
        line: list[tuple[float, float, float, float]] = []
        for value, result in along:
            for task, by_label in result.tasks.items():
                if task.startswith(f"{kind},") and label in by_label:
                    series = by_label[label]
                    low, high = series.quartiles
                    line.append((value, 1e3 * series.median, 1e3 * low, 1e3 * high))
        if line:
            values, medians, low, high = zip(*line, strict=True)
            panel.plot(values, medians, marker="o", markersize=3, color=colour, label=label)
            panel.fill_between(values, low, high, color=colour, alpha=0.2, linewidth=0)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    ticks = [value for value, _ in along]
    panel.set_xticks(ticks, [f"{value:g}" for value in ticks], minor=False)
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.set_title(kind)
    panel.set_ylabel("milliseconds (median, middle half shaded)")
    panel.grid(alpha=0.3)
