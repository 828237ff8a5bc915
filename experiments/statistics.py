"""Records of one row summed up: mean and standard deviation over seeds, with the runs of each data set apart."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.record import DIVERGED, FINISHED, Record


@dataclass(frozen=True)
class SeedRuns:
    """Records that differ in their seed only.

    Attributes:
        records: by seed; diverged ones among them.
    """

    records: tuple[Record, ...]

    @property
    def finished(self) -> tuple[Record, ...]:
        """Those with an error."""
        return tuple(record for record in self.records if record["status"] == FINISHED)

    @property
    def diverged(self) -> tuple[Record, ...]:
        """Those without."""
        return tuple(record for record in self.records if record["status"] == DIVERGED)

    @property
    def data(self) -> str:
        """The data set's own name, as in "rotmnist-generated"."""
        return self.records[0]["data"]

    @property
    def errors(self) -> list[float]:
        """Test errors of the last epoch in percent, by seed."""
        return [record["test_error"] for record in self.finished]

    @property
    def mean(self) -> float | None:
        """Their mean; None where none finished."""
        return statistics.fmean(self.errors) if self.errors else None

    @property
    def deviation(self) -> float | None:
        """Their standard deviation, with n - 1; None for fewer than two."""
        return statistics.stdev(self.errors) if len(self.errors) > 1 else None

    def common_value(self, field: str) -> Any:
        """Return the value of a field, which all records have in common; None where they lack the field."""
        values = [record[field] for record in (*self.finished, *self.records) if record.get(field) is not None]
        return values[0] if values else None


def runs_by_data(records: Iterable[Record]) -> list[SeedRuns]:
    """Return the records of a row, those of each data set apart: a mean is over one kind of images only."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["data"], []).append(record)
    return [SeedRuns(tuple(found[data])) for data in sorted(found)]


def titled(title: str, records: Iterable[Record]) -> dict[str, SeedRuns]:
    """Return the runs of each data set that has finished ones, by title; it names the data set if there are several."""
    found = [runs for runs in runs_by_data(records) if runs.finished]
    return {title if len(found) == 1 else f"{title}, {runs.data}": runs for runs in found}


def error(runs: SeedRuns) -> str:
    """Write the error in percent: mean ± standard deviation."""
    if runs.mean is None:
        return "-"
    return f"{runs.mean:.2f}" if runs.deviation is None else f"{runs.mean:.2f} ± {runs.deviation:.3f}"


def seeds(runs: SeedRuns) -> str:
    """Write the seeds, and which of them diverged."""
    finished = _numbers(runs.finished) or "none"
    return f"{finished}; diverged: {_numbers(runs.diverged)}" if runs.diverged else finished


def _numbers(records: Sequence[Record]) -> str:
    """Write seeds shortly, as in "1-3, 7"."""
    runs: list[list[int]] = []
    for seed in sorted(record["seed"] for record in records):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def seconds(runs: SeedRuns) -> str:
    """Write the seconds of a run by the clock and, in parentheses, of the CPU; the mean, for each device apart."""
    by_device: dict[str, list[Record]] = {}
    for record in runs.finished:
        by_device.setdefault(record["device"], []).append(record)
    return " / ".join(_mean_seconds(records) for _, records in sorted(by_device.items())) or "-"


def _mean_seconds(records: Sequence[Record]) -> str:
    wall = f"{statistics.fmean(record['seconds'] for record in records):,.0f}"
    if any(record.get("cpu_seconds") is None for record in records):  # where nothing was trained
        return wall
    return f"{wall} ({statistics.fmean(record['cpu_seconds'] for record in records):,.0f})"


def whole(value: int | None) -> str:
    """Write a count with thousands separators."""
    return "-" if value is None else f"{value:,}"


def macs(runs: SeedRuns) -> str:
    """Write nominal and executed multiply-accumulates of one image, in millions."""
    counts = (runs.common_value("nominal_macs"), runs.common_value("executed_macs"))
    return " / ".join("-" if count is None else f"{count / 1e6:,.2f}" for count in counts)


def origin(records: Sequence[Record], measured: Sequence[Record] = ()) -> tuple[str, ...]:
    """Return sentences on where records come from: data, devices, threads, epochs, versions, commits; a sentence each.

    Args:
        records: all.
        measured: those of which more than the error is shown, which may be the work of a later commit.
    """
    if not records:
        return ("Nothing was run yet.",)

    def names(field: str) -> str:
        return ", ".join(sorted({str(record[field]) for record in records if record.get(field) is not None}))

    versions = sorted(
        {f"sepgconv {r['versions'].get('sepgconv')}, torch {r['versions'].get('torch')}" for r in records}
    )
    commits = _commits(record["commit"] for record in records)
    later = _commits(record["measures_commit"] for record in measured if record.get("measures_commit"))
    of_measures = f", of what was measured afterwards {later}" if later not in ("", commits) else ""
    seconds = "Seconds: by the clock"
    if any(record.get("cpu_seconds") is not None for record in records):
        seconds += "; in parentheses those of the CPU, which compare where runs shared a machine, as most of these did"
    return (
        f"Data: {names('data')}. Epochs: {names('epochs')}; the error is that of the last epoch on the test images.",
        f"Device: {names('device')}; threads: {names('threads') or 'unknown'}. {'; '.join(versions)}; "
        f"commit {commits}{of_measures}.",
        f"{seconds}.",
    )


def _commits(commits: Iterable[str | None]) -> str:
    return ", ".join(sorted({str(commit or "unknown")[:12] + _mark(commit) for commit in commits}))


def _mark(commit: str | None) -> str:
    return "+dirty" if commit and commit.endswith("+dirty") else ""
