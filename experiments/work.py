"""One cell from its data to its record, in whatever process it runs: claimed, resumed, measured, written down."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout
from torch import nn

from experiments.cells import COMPARABLE_VERSIONS, SEPARATED, Cell
from experiments.controlled import train_controlled
from experiments.measures import MEASURES, Trained, output_error
from experiments.record import DIVERGED, FINISHED, Record
from experiments.separated import group_cell, take_separated
from experiments.store import append_record, read_table, work_folder
from sepgconv._files import read_json
from sepgconv.analysis import cost
from sepgconv.data import Dataset, load_dataset, take_images
from sepgconv.models import create_model
from sepgconv.tasks import DivergedError, TrainingConfig, initial_network, load_run, read_history, train
from sepgconv.tasks.environment import device_name, git_commit, versions
from sepgconv.tasks.folder import RunFolder
from sepgconv.tasks.record import read_record

Ending = Literal["finished", "diverged", "elsewhere", "no data", "failed"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cell with all that a process needs to run it.

    Attributes:
        cell: what to run.
        table: name of the table or figure; the record goes to `<table>.jsonl`.
        results: the folder of records. Processes on several machines must share it.
        data_dir: where the data sets' files are; see `sepgconv.data.load_dataset`.
        threads: torch's threads. Default: torch's choice.
        accelerator: Lightning's.
    """

    cell: Cell
    table: str
    results: Path
    data_dir: Path | None = None
    threads: int | None = None
    accelerator: str = "auto"

    @property
    def file(self) -> Path:
        """The file of records."""
        return self.results / f"{self.table}.jsonl"

    @property
    def folder(self) -> Path:
        """The folder of the training run, with its checkpoint."""
        return run_folder(self.cell, self.results)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended.

    Attributes:
        ending: "finished" and "diverged" have a record in the file; "elsewhere": another process is at it.
        problem: a sentence on what went wrong.
        error: test error in percent, where there is one.
    """

    ending: Ending
    problem: str = ""
    error: float | None = None


def run_job(job: Job) -> Outcome:
    """Run one cell and write its record, unless another process has done so or is at it.

    The claim is a lock of the operating system on a file: it ends with the process, however that ends. A training that
    was broken off goes on from its checkpoint.

    Returns:
        How it ended. What goes wrong with this cell is in it and raises nothing, so that other cells go on.
    """
    try:
        with _claim(job).acquire(timeout=0):
            done = read_table(job.results, job.table).find(job.cell)
            if done is None:
                done = _TASKS[job.cell.task](job)
                append_record(job.file, done)
            if done["status"] == DIVERGED:
                return Outcome(ending="diverged", problem=done.get("problem", ""))
            return Outcome(ending="finished", error=done["test_error"])
    except Timeout:
        return Outcome(ending="elsewhere", problem="another process is at it")
    except _MissingDataError as error:
        return Outcome(ending="no data", problem=str(error))
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        return Outcome(ending="failed", problem=f"{type(error).__name__}: {error}")


def run_folder(cell: Cell, results: Path) -> Path:
    """Return the folder of a cell's training run; it need not exist."""
    return work_folder(results) / f"{cell.label}-{cell.fingerprint}"


def _claim(job: Job) -> FileLock:
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(job.folder.with_name(f"{job.folder.name}.lock"))


class _MissingDataError(Exception):
    pass


def _train(job: Job) -> Record:
    cell, data = job.cell, _load(job)
    try:
        prepare = _preparation(job, data)
        resume = can_resume(job.folder, cell.config, data.name, data.digest())
        record = train(
            cell.config,
            folder=job.folder,
            data=data,
            resume=resume,
            force=resume,  # what this module lets pass; the record says it
            progress=False,
            threads=job.threads,
            accelerator=job.accelerator,
            prepare=prepare,
        ).to_dict()
    except DivergedError as error:
        return _diverged(job, data, str(error))
    measures = _measure(job, data, prepare)
    # The run may be of an earlier commit: what is measured may have come later.
    return _line(job, {**record, "measures": measures, "measures_commit": git_commit() if measures else None})


def _preparation(job: Job, data: Dataset) -> Callable[[nn.Module], None] | None:
    """Return what replaces the weights that a cell's config draws; a network to begin as is trained first."""
    if job.cell.initialisation != SEPARATED:
        return None
    base = dataclasses.replace(job, cell=group_cell(job.cell))
    with _claim(base):  # waits for another process that trains it
        resume = can_resume(base.folder, base.cell.config, data.name, data.digest())
        train(
            base.cell.config,
            folder=base.folder,
            data=data,
            resume=resume,
            force=resume,
            progress=False,
            threads=job.threads,
            accelerator=job.accelerator,
        )
    return functools.partial(take_separated, trained=load_run(base.folder).model)


def _measure(job: Job, data: Dataset, prepare: Callable[[nn.Module], None] | None) -> dict[str, Any]:
    if not job.cell.measures:
        return {}
    initial = initial_network(job.cell.config, data)
    if prepare is not None:
        prepare(initial)
    trained, history = load_run(job.folder).model, read_history(RunFolder(job.folder).history)
    return {name: MEASURES[name](Trained(trained, initial, history, data.test)) for name in job.cell.measures}


def _controlled(job: Job) -> Record:
    data = _load(job)
    try:
        record = train_controlled(
            job.cell.config,
            folder=job.folder,
            data=data,
            resume=can_resume(job.folder, job.cell.config, data.name, data.digest()),
            threads=job.threads,
            accelerator=job.accelerator,
        )
    except DivergedError as error:
        return _diverged(job, data, str(error))
    return _line(job, record)


def _equivariance(job: Job) -> Record:
    started, cell = time.perf_counter(), job.cell
    torch.manual_seed(cell.seed)
    network = create_model(cell.model, **cell.model_config)
    costs = cost(network, (network.in_channels, network.input_size, network.input_size))
    values = {
        **_basics(job, "random pictures", network),  # records are found by this name
        "nominal_macs": costs.nominal_macs,
        "executed_macs": costs.executed_macs,
        "epochs": 0,
        "test_error": None,
        "measures": {"equivariance": {"error": output_error(network)}},
    }
    return _line(job, {**values, "seconds": time.perf_counter() - started})


_TASKS: Mapping[str, Callable[[Job], Record]] = MappingProxyType(
    {"train": _train, "controlled": _controlled, "equivariance": _equivariance}
)


def _load(job: Job) -> Dataset:
    try:
        data = _load_once(job.cell.data, job.data_dir)
    except FileNotFoundError as error:
        raise _MissingDataError(str(error)) from error
    return data if job.cell.images is None else take_images(data, job.cell.images, job.cell.seed)


@functools.lru_cache(maxsize=1)
def _load_once(name: str, data_dir: Path | None) -> Dataset:
    return load_dataset(name, data_dir=data_dir)


def can_resume(folder: Path, config: TrainingConfig, data: str, digest: str | None = None) -> bool:
    """Return whether a run was begun in a folder and can go on.

    One with an unreadable checkpoint or another run's, begun with another config, on other data or with a version of
    this package that gives other numbers, is put aside and begins anew. Other threads, another device, version of torch
    or state of the code are let pass: `train(force=True)` writes them into the record.

    Args:
        folder: the run's.
        config: what it should be.
        data: the data set's own name, as in "rotmnist-generated", which may depend on the files that are there.
        digest: the SHA-256 of the data set. Default: not compared; nor is that of a run which did not note it.
    """
    from sepgconv.tasks.checkpoint import own_epochs  # imports Lightning

    files = RunFolder(folder)
    if not files.setup.is_file():
        return False
    try:
        files.check_same_setup({"config": config.to_dict()})
        own_epochs(files)
        used = [_begun_with(files)]
        if files.record.is_file():
            used.append(read_record(files.record).record.versions["sepgconv"])
        conditions = files.read_setup().get("conditions", {})
        same = digest is None or conditions.get("data", digest) == digest
        if same and set(used) <= set(COMPARABLE_VERSIONS) and _begun_on(files) == data:
            return True
    except (ValueError, KeyError, AttributeError):
        pass
    folder.rename(folder.with_name(f"{folder.name}.aside-{time.time_ns()}"))
    return False


def _begun_with(files: RunFolder) -> str:
    # A folder that does not say is of the first version, which wrote none down.
    return read_json(files.setup).get("versions", {}).get("sepgconv", COMPARABLE_VERSIONS[0])


def _begun_on(files: RunFolder) -> str:
    data = read_json(files.setup)["data"]
    return data["data"] if isinstance(data, dict) else data  # of the controlled experiment


def _line(job: Job, values: Record) -> Record:
    cell = job.cell
    identity = {
        "table": job.table,
        "fingerprint": cell.fingerprint,
        "row": cell.row_key,
        "status": FINISHED,
        "cell": cell.specification(),
    }
    return {**identity, **values}


def _diverged(job: Job, data: Dataset, problem: str) -> Record:
    history = read_history(RunFolder(job.folder).history)
    last = history[-1] if history else {"epoch": 0, "seconds": 0.0}
    try:
        network: nn.Module | None = initial_network(job.cell.config, data)
    except ValueError:  # of the controlled experiment, which has a network of its own
        network = None
    values = {
        **_basics(job, data.name, network),
        "epochs": last["epoch"],
        "seconds": last["seconds"],
        "test_error": None,
        "measures": {},
        "problem": problem,
    }
    return {**_line(job, values), "status": DIVERGED}


def _basics(job: Job, data: str, network: nn.Module | None) -> Record:
    # What a run's record has, for cells that leave no run.
    return {
        "model": job.cell.model,
        "width": job.cell.width,
        "seed": job.cell.seed,
        "data": data,
        "parameters": None if network is None else sum(parameter.numel() for parameter in network.parameters()),
        "device": device_name(
            torch.device("cuda" if torch.cuda.is_available() and job.accelerator != "cpu" else "cpu")
        ),
        "commit": git_commit(),
        "versions": versions(),
        "config": job.cell.config.to_dict(),
    }
