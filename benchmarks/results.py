"""Results on the disk: one JSON file for each case, written whole or not at all."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.series import Series

SCHEMA = 1
_NUMBERS = re.compile(r"\[[\s\d.,e+-]+\]")  # a list of numbers goes on one line


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one case.

    Attributes:
        case: its name.
        section: heading in the report.
        title: in words.
        environment: machine, versions, commit.
        seconds: that the whole case took.
        contenders: by label, kind, arguments, allocator and finish.
        setting: the point in the curves, or None.
        checks: the errors found before timing.
        skipped: contenders that could not run here, with the reason.
        tasks: by task, by contender, the timed rounds.
        memory: by task, by contender, bytes.
        profiles: by task, by contender, operators with the seconds per step that they take (`profiling.profile_step`).
        refused: why there are no numbers; None if there are.
    """

    case: str
    section: str
    title: str
    environment: Mapping[str, Any]
    seconds: float
    contenders: Mapping[str, Mapping[str, Any]]
    setting: Mapping[str, Any] | None = None
    checks: list[Mapping[str, Any]] = field(default_factory=list)
    skipped: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Series]] = field(default_factory=dict)
    memory: Mapping[str, Mapping[str, Mapping[str, int | None]]] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, list[Mapping[str, Any]]]] = field(default_factory=dict)
    refused: str | None = None


def save(folder: Path, result: Result) -> Path:
    """Write a result and return its file."""
    data = {"schema": SCHEMA, **vars(result)}
    data["tasks"] = {
        task: {label: series.to_json() for label, series in by_label.items()} for task, by_label in result.tasks.items()
    }
    path = folder / f"{result.case}.json"
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, _NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n")
    return path


def load(path: Path) -> Result:
    """Read a result.

    Raises:
        ValueError: the file is not a result of this version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        schema = data.pop("schema")
        data["tasks"] = {
            task: {label: Series.from_json(series) for label, series in by_label.items()}
            for task, by_label in data["tasks"].items()
        }
        result = Result(**data)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is not a result of this benchmark ({error}); delete it and run the case again"
        ) from error
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}, this version reads {SCHEMA}; run the case again")
    return result


def load_all(folder: Path) -> dict[str, Result]:
    """Read all results of a folder, by case."""
    return {result.case: result for result in map(load, sorted(folder.glob("*.json")))}


def write_whole(path: Path, content: str | bytes) -> None:
    """Write beside the file, then put it in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
