"""Records on the disk: one JSON object a line, appended whole, read with an eye for damage and for other versions."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from filelock import FileLock

from sepgconv.paper.cells import COMPARABLE_VERSIONS, KINDS, PROTOCOL, Cell, fingerprint, row_fingerprint
from sepgconv.training.files import write_atomically

Record: TypeAlias = dict[str, Any]

FINISHED, DIVERGED = "finished", "diverged"

# What every line has at its top level.
REQUIRED = (
    "fingerprint", "row", "status", "cell", "model", "width", "seed", "data", "epochs", "test_error", "parameters",
    "seconds", "device", "commit", "versions", "measures",
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What a file of records holds.

    Attributes:
        records: those that count, by fingerprint; of two with the same one, the later.
        apart: those of another version or protocol; they enter no mean.
        damaged: a sentence for each line that is no record; its cell counts as not run.
    """

    records: dict[str, Record] = field(default_factory=lambda: {})
    apart: tuple[Record, ...] = ()
    damaged: tuple[str, ...] = ()

    def find(self, cell: Cell) -> Record | None:
        """Return the record of a cell, if it has one with everything the cell measures.

        A run on "rotmnist" is one on the kind of images that it found, and the other way round.
        """
        if (own := self.records.get(cell.fingerprint)) is not None and _is_measured(own, cell):
            return own
        found = (record for kin in cell.kin if (record := self.records.get(kin.fingerprint)) is not None)
        kinds = KINDS.get(cell.data, (cell.data,))
        return next((record for record in found if record["data"] in kinds and _is_measured(record, cell)), None)

    def of_row(self, cell: Cell) -> list[Record]:
        """Return the complete records of a cell's row, by seed; of each kind of images one for a seed."""
        rows = {row: place for place, row in enumerate(cell.rows)}
        complete = (r for r in self.records.values() if r["row"] in rows and _is_measured(r, cell))
        found = sorted(complete, key=lambda r: rows[r["row"]])
        first = {(record["seed"], record["data"]): record for record in reversed(found)}
        return [first[key] for key in sorted(first)]


def _is_measured(record: Record, cell: Cell) -> bool:
    """Return whether a record is complete for a cell; a diverged one has nothing to measure and is."""
    return set(cell.measures) <= set(record["measures"]) or record["status"] == DIVERGED


def read_records(path: Path) -> Reading:
    """Read a file of records; no file, no records.

    Raises:
        OSError: the file is there but cannot be read.
    """
    if not path.exists():
        return Reading()
    records: dict[str, Record] = {}
    apart: list[Record] = []
    damaged: list[str] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = _parse(line)
        except (ValueError, OverflowError, RecursionError) as error:
            damaged.append(f"{path}, line {number} is damaged ({error}); it is left out and its cell counts as not run")
            continue
        if _is_comparable(record):
            records[record["fingerprint"]] = record
        else:
            apart.append(record)
    return Reading(records, tuple(apart), tuple(damaged))


def read_table(results: Path, table: str) -> Reading:
    """Read a table's file, and the records of the other tables' behind its own: a cell that two share is run once.

    Args:
        results: the folder of records.
        table: name of the table or figure; what is kept apart or damaged is told of its own file only.

    Raises:
        OSError: a file is there but cannot be read.
    """
    own = read_records(results / f"{table}.jsonl")
    records: dict[str, Record] = {}
    for path in sorted(results.glob("*.jsonl")):
        if path.stem != table:
            for fingerprint, record in read_records(path).records.items():
                known = records.get(fingerprint)
                if known is None or set(known["measures"]) < set(record["measures"]):
                    records[fingerprint] = record
    return Reading(records | own.records, own.apart, own.damaged)


def append_record(path: Path, record: Record) -> None:
    """Add a record as one line, unless the file has one that says as much.

    The whole file is written beside and renamed, under a lock: a kill at any moment leaves the old file or the new one,
    and two processes never lose each other's line. Damaged lines stay as they are.

    Raises:
        ValueError: the record is not one.
        OSError: it could not be written; the file is as before.
    """
    line = json.dumps(record, allow_nan=False).encode()
    _parse(line)
    path.parent.mkdir(parents=True, exist_ok=True)
    work_folder(path.parent).mkdir(exist_ok=True)
    with FileLock(work_folder(path.parent) / f"{path.name}.lock"):
        known = read_records(path).records.get(record["fingerprint"])
        if known is not None and set(record["measures"]) <= set(known["measures"]):
            return
        before = path.read_bytes() if path.exists() else b""
        gap = b"" if before.endswith(b"\n") or not before else b"\n"
        write_atomically(path, before + gap + line + b"\n")


def work_folder(results: Path) -> Path:
    """Return the folder for what is not a result: run folders and locks. It need not exist."""
    return results / ".work"


def _parse(line: bytes) -> Record:
    record = json.loads(line, parse_constant=_no_constant)
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, got a {type(record).__name__}")
    _require(record, REQUIRED)
    if not (isinstance(record["cell"], Mapping) and isinstance(record["versions"], Mapping)):
        raise ValueError("cell and versions must be objects")
    _require(record["cell"], ("protocol", "config"))
    if _is_comparable(record):
        _check_consistency(record)
    return record


def _require(values: Mapping[str, Any], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in values]:
        raise ValueError(f"it lacks {', '.join(missing)}")


def _is_comparable(record: Record) -> bool:
    """Return whether a record is of this protocol and of a version that gives the same numbers."""
    version, protocol = record["versions"].get("sepgconv"), record["cell"]["protocol"]
    return version in COMPARABLE_VERSIONS and protocol == PROTOCOL


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_count(value: object) -> bool:
    return _is_number(value) and isinstance(value, int)


def _is_name(value: object) -> bool:
    return isinstance(value, str)


# What a field must be, and whether it may be null or missing.
_TYPES: Mapping[str, tuple[Callable[[object], bool], str, bool]] = MappingProxyType(
    {
        "data": (_is_name, "a string", False),
        "device": (_is_name, "a string", False),
        "commit": (_is_name, "a string", True),
        "measures_commit": (_is_name, "a string", True),
        "seed": (_is_count, "a whole number", False),
        "epochs": (_is_count, "a whole number", False),
        "parameters": (_is_count, "a whole number", True),
        "nominal_macs": (_is_count, "a whole number", True),
        "executed_macs": (_is_count, "a whole number", True),
        "seconds": (_is_number, "a number, 0 or more", False),
        "cpu_seconds": (_is_number, "a number, 0 or more", True),
        "measures": (lambda value: isinstance(value, Mapping), "an object", False),
    }
)
# What each measure holds.
_MEASURED: Mapping[str, str] = MappingProxyType(
    {
        "redundancy": "layers",
        "standardised_redundancy": "layers",
        "convergence": "validation_error",
        "equivariance": "error",
        "initial_error": "error",
        "similarity": "shown",
    }
)


# What a task always measures.
_OF_TASK: Mapping[str, str] = MappingProxyType({"controlled": "similarity", "equivariance": "equivariance"})


def _check_types(record: Record) -> None:
    for name, (accepts, expected, optional) in _TYPES.items():
        value = record.get(name)
        if not (accepts(value) or (optional and value is None)):
            raise ValueError(f"{name} must be {expected}, got {value!r}")
    for name, values in record["measures"].items():
        if name in _MEASURED and not (isinstance(values, Mapping) and _MEASURED[name] in values):
            raise ValueError(f"the measure {name} lacks {_MEASURED[name]}")


def _check_consistency(record: Record) -> None:
    cell, config = record["cell"], record["cell"]["config"]
    try:
        same = record["fingerprint"] == fingerprint(cell) and record["row"] == row_fingerprint(cell)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its cell is none ({error})") from error
    if not same:
        raise ValueError("its fingerprint is not that of its cell")
    _check_types(record)
    if record["model"] != config["model"] or record["seed"] != config["seed"]:
        raise ValueError("model or seed are not those of its cell")
    if record["status"] == DIVERGED:
        return
    if record["status"] != FINISHED:
        raise ValueError(f"unknown status {record['status']!r}")
    if (measured := _OF_TASK.get(cell["task"])) and measured not in record["measures"]:
        raise ValueError(f"it lacks the measure {measured}")
    if cell["task"] == "equivariance":
        return
    error, epochs = record["test_error"], record["epochs"]
    if (
        isinstance(error, bool)
        or not isinstance(error, int | float)
        or not (math.isfinite(error) and 0 <= error <= 100)
    ):
        raise ValueError(f"test_error must be a number from 0 to 100, got {error!r}")
    if epochs != config["epochs"]:
        raise ValueError(f"{epochs!r} epochs, its cell has {config['epochs']}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
