"""The results as Markdown: targets first, then what is slower, then every case. From the results alone."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, get_args

from benchmarks import machine, suite
from benchmarks.profiling import Work
from benchmarks.results import Result
from benchmarks.series import Series
from benchmarks.targets import Outcome, Target, find_task, outcomes

SECTIONS = ("Single layers", "Networks of Table 1", "Any angle", "ResNet44s", "Compiled", "Memory", "Growth")
VERDICT = {True: "yes", False: "**no**", None: ""}
NAMED = 4  # operators in a cell
PROFILE = """Milliseconds per step by kind of work, and the largest operators: each side alone, right after its rounds,
every operator of torch timed by itself; what a step takes beyond its operators is the rest. Timing them disturbs steps
of a few milliseconds.
"""
HOW = """Each contender is a process of its own; all of a case are alive at once and step in turn, round after round,
the others asleep, every second round in the opposite order. Same seed, same input, float32. A time is the median over
the rounds, in brackets the middle half of them (first to third quartile), then the number of rounds; slow contenders
get fewer. Steps shorter than 20 ms are timed several together.

Before a case is timed, outputs and gradients of every contender of ours are compared with the reference execution in
float64, and in float32; a case that fails has no numbers. "tuned" is `sepgconv.tune_allocator()`, "default" glibc's
malloc as it is. Unless a label says otherwise, the allocator is tuned, for ours and for the others alike.

- *reference execution*: what one would write from the paper, in ordinary contiguous tensors: 1x1 `F.conv2d`, then
  grouped `F.conv2d`, `BatchNorm3d`, ReLU, max pool.
- *ordinary* layers have as many maps as channels times |G|, and no symmetry.
- *training step*: forward, cross entropy, backward, Adam. *inference*: evaluation mode, no gradients.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def milliseconds(series: Series) -> str:
    """Return a time with its spread and its rounds."""
    low, high = (_digits(1e3 * quartile) for quartile in series.quartiles)
    return f"{_digits(1e3 * series.median)} ms [{low}, {high}] ({len(series.rounds)})"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def megabytes(count: int | None) -> str:
    """Return bytes in MB (10^6)."""
    return "unknown" if count is None else f"{count / 1e6:.1f} MB"


def bound(target: Target, value: float | None) -> str:
    """Return a bound of a target in words."""
    if value is None:
        return ""
    sign = "" if target.measure == "times faster" else "≤ "
    return f"{sign}{value:.2g} {target.measure}"


def target_rows(found: Sequence[Outcome]) -> list[tuple[str, str, str, str, str]]:
    """Return the rows (case, at least, aim, measured, met) in words."""
    rows: list[tuple[str, str, str, str, str]] = []
    for outcome in found:
        target = outcome.target
        if outcome.measured is None:
            measured = f"not measured: {outcome.missing}"
        else:
            words = [f"against {outcome.opponent}"] if outcome.opponent else []
            if outcome.spread:
                words.append(f"{outcome.spread[0]:.2f} to {outcome.spread[1]:.2f} over {outcome.rounds} rounds")
            measured = f"{outcome.measured:.2f} {target.measure} ({'; '.join(words)})"
        rows.append(
            (target.words, bound(target, target.at_least), bound(target, target.aim), measured, _verdict(outcome))
        )
    return rows


def _verdict(outcome: Outcome) -> str:
    if outcome.met and outcome.reaches(outcome.target.aim):
        return "yes, and the aim"
    return VERDICT[outcome.met]


def markdown(results: Mapping[str, Result], pictures: Sequence[Path]) -> str:
    """Return the report."""
    parts = ["# Benchmarks\n", "Written by `python -m benchmarks` from the JSON files beside it; do not edit.\n"]
    parts += [_machines(results), "## Targets\n"]
    parts.append(table(("case", "at least", "aim", "measured", "met"), target_rows(outcomes(results))))
    parts += [_profiles(results), "## How it is measured\n", HOW, _what_is_slower(results)]
    for section in SECTIONS:
        inside = [results[case.name] for case in suite.suite() if case.section == section and case.name in results]
        if inside or section == "Growth":
            parts.append(f"## {section}\n")
        if section == "Growth":
            parts += [f"![time against {path.stem.removeprefix('growth-')}]({path.name})\n" for path in pictures]
        parts += [_case(result) for result in inside]
    return "\n".join(parts)


def _profiles(results: Mapping[str, Result]) -> str:
    """Show where the time goes in every task that has a target of time and misses it."""
    missed = [outcome for outcome in outcomes(results) if outcome.met is False and outcome.target.task != "memory"]
    text = ""
    for outcome in missed:
        result = results[outcome.target.case]
        task = find_task(result, outcome.target.task)
        by_label = result.profiles.get(task, {})
        labels = [label for label in (outcome.target.ours, outcome.opponent) if label in by_label]
        if len(labels) > 1:
            text += f"{outcome.target.words}:\n\n" + _profile(task, {label: by_label[label] for label in labels}) + "\n"
    return text and f"## Where the time of the missed targets goes\n\n{PROFILE}\n{text}"


def _profile(task: str, by_label: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    rows: list[list[str]] = []
    for work in get_args(Work):
        row = [work]
        for operators in by_label.values():
            inside = [operator for operator in operators if operator["work"] == work]
            largest = ", ".join(
                f"{operator['operator']} {_digits(1e3 * operator['seconds'])}"
                for operator in sorted(inside, key=lambda operator: -operator["seconds"])[:NAMED]
                if operator["operator"]
            )
            row.append(_digits(1e3 * sum(operator["seconds"] for operator in inside)) if inside else "0")
            row.append(largest)
        rows.append(row)
    totals = [_digits(1e3 * sum(operator["seconds"] for operator in found)) for found in by_label.values()]
    rows.append(["sum", *(cell for total in totals for cell in (total, ""))])
    head = [task, *(cell for label in by_label for cell in (f"{label}, ms", "of which"))]
    return table(head, rows)


def _machines(results: Mapping[str, Result]) -> str:
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in results.values():
        groups.setdefault(tuple(result.environment.get(key) for key in machine.SAME), []).append(result)
    lines: list[str] = []
    for members in groups.values():
        there = members[0].environment
        if len(groups) > 1:
            lines.append(f"{len(members)} cases ({', '.join(sorted(member.case for member in members))}):")
        memory = megabytes(there["memory_bytes"]).replace(".0 MB", " MB")
        lines.append(
            f"- {there['cpu']} ({there['capability']}), {there['cores']} cores, {there['threads']} threads, "
            f"{memory} of memory; {there['system']}"
        )
        lines.append(f"- GPU: {there['gpu'] or 'none, so nothing here was measured on one'}")
        lines.append(
            f"- Python {there['python']}, torch {there['torch']}, e2cnn {there['e2cnn'] or 'not installed'}, "
            f"sepgconv {there['sepgconv']} at commit {there['commit']}; {there['date']}; seed {there['seed']}"
        )
        minutes = sum(member.seconds for member in members) / 60
        lines.append(f"- `{there['command']}`: {minutes:.0f} minutes")
        if there["quick"]:
            lines.append("- **`--quick`: tiny sizes, two rounds. These numbers say nothing about speed.**")
    if len(groups) > 1:
        lines.insert(0, "**The cases are not all from one run:**\n")
    return "\n".join(lines) + "\n"


def _is_ours(result: Result, label: str) -> bool:
    return str(result.contenders[label]["kind"]).startswith("ours.")


def _what_is_slower(results: Mapping[str, Result]) -> str:
    """Say in how many comparisons ours was faster, by opponent, and list every one in which it was slower."""
    ratios: dict[str, list[float]] = {}
    lost: list[str] = []
    for result in results.values():
        for task, by_label in result.tasks.items():
            beaten_by: list[tuple[float, str]] = []
            for label, ratio in _ratios(result, by_label).items():
                ratios.setdefault(label, []).append(ratio)
                if ratio < 1:
                    beaten_by.append((ratio, f"{1 / ratio:.2f}x by {label}"))
            if beaten_by:
                lost.append(f"- {result.case}, {task}: {'; '.join(text for _, text in sorted(beaten_by))}\n")
    rows = [
        (label, f"{sum(r >= 1 for r in found)} of {len(found)}", *(f"{f(found):.2f}" for f in (min, median, max)))
        for label, found in sorted(ratios.items())
    ]
    head = ("opponent", "ours is faster in", "times as fast: least", "median", "most")
    text = "## What is faster, and what is not\n\n" + table(head, rows) + "\n"
    if not lost:
        return text + "Ours was slower nowhere.\n"
    return text + "Ours, at its defaults, was slower here:\n\n" + "".join(lost)


def _ratios(result: Result, by_label: Mapping[str, Series]) -> dict[str, float]:
    """Return how many times as fast ours is as each of the others; our full group convolution counts among them."""
    mine = by_label.get(suite.OURS)
    return {
        label: series.median / mine.median
        for label, series in by_label.items()
        if mine is not None and (not _is_ours(result, label) or label in (suite.GROUP_CONV, suite.OWN_P4CNN))
    }


def _case(result: Result) -> str:
    text = f"### {result.title}\n\n(`{result.case}.json`)\n\n"
    if result.refused is not None:
        return text + f"**Refused:** {result.refused}\n"
    if result.tasks:
        text += _times(result) + "\n"
    for task, by_label in result.memory.items():
        text += _weights(task, by_label) + "\n"
    text += "".join(f"- Not run: {label}, since {reason}.\n" for label, reason in result.skipped.items())
    return text


def _times(result: Result) -> str:
    head = ["contender", "allocator"]
    for task in result.tasks:
        head += [task, "ours is"]
    labels = [label for label in result.contenders if any(label in by_label for by_label in result.tasks.values())]
    rows: list[list[str]] = []
    for label in labels:
        row = [label, str(result.contenders[label]["allocator"])]
        for by_label in result.tasks.values():
            series, mine = by_label.get(label), by_label.get(suite.OURS)
            row.append(milliseconds(series) if series else "")
            row.append(compared(series, mine) if series and mine and label != suite.OURS else "")
        rows.append(row)
    return table(head, rows)


def compared(series: Series, mine: Series) -> str:
    """Return how ours compares with another, in words."""
    ratio = series.median / mine.median
    return f"{ratio:.2f}x faster" if ratio >= 1 else f"{1 / ratio:.2f}x **slower**"


def _weights(task: str, by_label: Mapping[str, Mapping[str, int | None]]) -> str:
    growth = f"growth of the process over {_steps(by_label)} steps"
    head = ("contender", "kept for backward", "times its input", "times ours", growth)
    ours = (by_label[suite.OURS]["kept"] if suite.OURS in by_label else None) or 1
    rows: list[list[str]] = []
    for label, weights in by_label.items():
        kept = weights["kept"] or 0
        rows.append(
            [
                label,
                megabytes(kept),
                f"{kept / (weights['input'] or 1):.2f}",
                f"{kept / ours:.2f}",
                megabytes(weights["growth"]),
            ]
        )
    return f"{task}:\n\n" + table(head, rows)


def _steps(by_label: Mapping[str, Mapping[str, int | None]]) -> int | None:
    return next(iter(by_label.values()))["steps"] if by_label else None
