"""Records on the disk: one JSON object a line, appended whole, read with an eye for damage and for other versions."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from experiments.cells import KINDS, Cell
from experiments.record import DIVERGED, Record, is_comparable, parse
from sepgconv._files import seal, values_digest, write_atomically

SUMS = "SHA256SUMS"  # in a folder of records: the digests of lines that have none of their own


@dataclass(frozen=True)
class Reading:
    """What a file of records holds.

    Attributes:
        records: those that count, by fingerprint; of two with the same one, the later.
        apart: those of another version or protocol; they enter no mean.
        damaged: a sentence for each line that is no record.
        unsealed: how many records are of an older version, which wrote no digest, and have none in `SUMS` either.
    """

    records: dict[str, Record] = field(default_factory=lambda: {})
    apart: tuple[Record, ...] = ()
    damaged: tuple[str, ...] = ()
    unsealed: int = 0

    def find(self, cell: Cell) -> Record | None:
        """Return the record of a cell, if it has one with everything the cell measures.

        A run on "rotmnist" is one on the kind of images that it found, and the other way round.
        """
        if (own := self.records.get(cell.fingerprint)) is not None and _is_measured(own, cell):
            return own
        found = (
            record for other in cell.equivalent_cells if (record := self.records.get(other.fingerprint)) is not None
        )
        kinds = KINDS.get(cell.data, (cell.data,))
        return next((record for record in found if record["data"] in kinds and _is_measured(record, cell)), None)

    def of_row(self, cell: Cell) -> list[Record]:
        """Return the complete records of a cell's row, by seed; of each kind of images one for a seed."""
        places = {key: place for place, key in enumerate(cell.equivalent_keys)}
        complete = (r for r in self.records.values() if r["row"] in places and _is_measured(r, cell))
        found = sorted(complete, key=lambda r: places[r["row"]])
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
    unsealed = 0
    sums = read_sums(path.parent)
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            record, sealed = parse(line)
            if not sealed and (known := sums.get((path.name, str(record["fingerprint"])))) is not None:
                if values_digest(record) not in known:
                    raise ValueError(f"its contents are not those that {SUMS} has the digest of")
                sealed = True
        except ValueError as error:
            damaged.append(
                f"{path}, line {number} is damaged ({error}); it is left out, and its cell runs again unless another "
                "line has it"
            )
            continue
        unsealed += not sealed
        if is_comparable(record):
            records[record["fingerprint"]] = record
        else:
            apart.append(record)
    return Reading(records, tuple(apart), tuple(damaged), unsealed)


def read_sums(results: Path) -> dict[tuple[str, str], set[str]]:
    """Return the digests of records that were written before lines had their own, by file and fingerprint.

    They stand in a file beside, so that committed records need not be written again to be checked.

    Raises:
        OSError: the file is there but cannot be read.
        ValueError: it is damaged.
    """
    path = results / SUMS
    found: dict[tuple[str, str], set[str]] = {}
    if not path.is_file():
        return found
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        match = re.fullmatch(rb"([0-9a-f]{64})  ([\w.-]+) ([0-9a-f]+)", line)
        if match is None:
            raise ValueError(f"{path}, line {number} is damaged: expected a SHA-256, two spaces, a file, a fingerprint")
        sha256, name, fingerprint = (part.decode() for part in match.groups())
        found.setdefault((name, fingerprint), set()).add(sha256)
    return found


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
    return Reading(records | own.records, own.apart, own.damaged, own.unsealed)


def append_record(path: Path, record: Record) -> None:
    """Add a record as one line, unless the file has one that says as much.

    The whole file is written beside and renamed, under a lock: a kill at any moment leaves the old file or the new one,
    and two processes never lose each other's line. Damaged lines stay as they are.

    Raises:
        ValueError: the record is not one.
        OSError: it could not be written; the file is as before.
    """
    line = json.dumps(seal(record), allow_nan=False).encode()
    parse(line)
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
