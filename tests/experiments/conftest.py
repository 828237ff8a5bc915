"""Cells so small that one takes a second, and records of cells that were never run."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import Cell, Job
from sepgconv.data import registry
from tests.runs import one_drawing  # noqa: F401 (a fixture)

Record = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _digits_loaded_once() -> Iterator[None]:
    """Make the data set of nearly all cells here once, not for each."""
    entry = registry._DATASETS["rotated_digits"]
    load = functools.cache(entry.load)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._DATASETS, "rotated_digits", dataclasses.replace(entry, load=load))
        yield


@pytest.fixture
def trial() -> Callable[..., Cell]:
    """Two epochs of three batches on 40 rotated digits, which need no files."""

    def make(**fields: Any) -> Cell:
        overrides = {"epochs": 2, "batch_size": 16, **fields.pop("overrides", {})}
        settings = {"model": "z2cnn", "model_config": {"width": 2}, "data": "rotated_digits", "images": 40, **fields}
        return Cell(overrides=overrides, **settings)

    return make


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    def make(cell: Cell, table: str = "trial", **fields: Any) -> Job:
        return Job(cell=cell, table=table, results=tmp_path / "results", threads=1, accelerator="cpu", **fields)

    return make


@pytest.fixture
def record(make_record: Callable[..., Record]) -> Callable[..., Record]:
    return make_record


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """The line that a finished run of a cell would leave."""

    def make(cell: Cell, error: float | None = 2.0, **fields: Any) -> Record:
        return {
            "table": "table1",
            "fingerprint": cell.fingerprint,
            "row": cell.row_key,
            "status": "finished",
            "cell": cell.specification(),
            "model": cell.model,
            "width": cell.width,
            "seed": cell.seed,
            "data": "rotmnist-generated" if cell.data == "rotmnist" else cell.data,
            "epochs": cell.config.epochs,
            "test_error": error,
            "parameters": 1000,
            "nominal_macs": 2_000_000,
            "executed_macs": 3_000_000,
            "seconds": 60.0,
            "device": "a processor",
            "threads": 1,
            "commit": "0123456789abcdef",
            "versions": {"sepgconv": "0.1.0", "torch": "2.13.0"},
            "images": {"train": 12_000, "test": 50_000},
            "measures": {},
            **fields,
        }

    return make
