"""One training run from config to record: `train`."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from sepgconv._messages import require
from sepgconv._terminal import say
from sepgconv.analysis import CostReport, cost
from sepgconv.data import DataOptions, Dataset, Split, augmentation, load_dataset
from sepgconv.data.column import chunks, join, take
from sepgconv.data.registry import is_own
from sepgconv.data.workers import cores
from sepgconv.tasks.beginning import fitted_task, initial_network
from sepgconv.tasks.conditions import conditions_of
from sepgconv.tasks.config import TrainingConfig
from sepgconv.tasks.environment import check_rank_variables, device_name, git_commit, versions
from sepgconv.tasks.errors import CheckpointError
from sepgconv.tasks.evaluation import tally_answers
from sepgconv.tasks.folder import PREPARED, READING, RunFolder, what_is_noted
from sepgconv.tasks.record import WITHOUT_DIGEST, RunRecord, figure_kinds, read_record, width_of
from sepgconv.tasks.registry import get_task
from sepgconv.tasks.results import faults, mend, split_noted, write_preprocessing, write_results, write_split
from sepgconv.tasks.task import Task

_MOST_WORKERS = 4  # unless the caller says otherwise

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from sepgconv.tasks.callbacks import EpochKeeper


def train(
    config: TrainingConfig,
    *,
    folder: str | Path,
    data: Dataset | None = None,
    data_dir: str | Path | None = None,
    resume: bool = False,
    devices: int | str = 1,
    num_nodes: int = 1,
    precision: str = "32-true",
    accelerator: str = "auto",
    progress: bool = True,
    threads: int | None = None,
    workers: int | None = None,
    prepare: Callable[[nn.Module], object] | None = None,
    force: bool = False,
    loggers: Sequence[str] = (),
) -> RunRecord:
    """Train a network and leave a run folder: config, checkpoint, history, curves, network, record.

    The same config, data and number of threads on the same CPU give the same weights bit for bit, also when the run was
    killed and resumed. The test images are read once, at the end, with the weights of the last epoch.

    With several devices Lightning starts the calling script again for each further process (DDP); a batch is divided
    among the processes and its gradient is that of the whole batch. Batch norm sees its process's share only, so such
    a run is not the same as one in a single process.

    Args:
        config: what to train, and how.
        folder: where to; it must not hold a run yet, unless `resume`.
        data: the data set itself; `config.data` is then only its label. Default: `config.data` is loaded.
        data_dir: where its files are; see `sepgconv.data.load_dataset`.
        resume: go on from the folder's checkpoint. A finished run's record is returned as it is; what is missing or
            damaged of its files is written anew from the checkpoint.
        devices: Lightning's: how many, or "auto".
        num_nodes: Lightning's: machines, each started with the same command.
        precision: Lightning's: "32-true", "bf16-mixed", "16-mixed", "64-true" and so on. On a CPU Lightning takes
            "bf16-mixed" for "16-mixed"; the record says what ran.
        accelerator: Lightning's: "auto", "cpu", "gpu" and so on.
        progress: show a progress bar on a terminal and a line for each epoch, on standard error. False: silence.
        threads: torch's threads, in each process. Default: torch's own choice.
        workers: processes that read images ahead of the training, where these are not in memory; results do not depend
            on it. Default: up to 4, as there are processors.
        prepare: called with the new network before its first step, to draw its weights otherwise
            (`sepgconv.tasks.pretrained`). It is no part of the config: give the same one to resume. If it returns a
            dict of what JSON keeps, config.json and the record have it as the origin of the weights.
        force: with `resume`, go on although threads, processes, device, code, torch or the data are others than those
            the run was begun with, which may change its numbers; config.json and the record then say so.
        loggers: further ones of Lightning's by name, "wandb" or "mlflow", each with settings from the environment.

    Returns:
        What `record.json` holds, in every process.

    Raises:
        ValueError: data or config do not fit together; with `resume`, the folder's run is another one, a file that
            it needs is damaged, or something changed that may change its numbers.
        BlockingIOError: another process trains in the folder. On network file systems without locks, processes on
            other machines are not noticed.
        FileExistsError: the folder holds a run, and `resume` is False.
        FileNotFoundError: it holds none, and `resume` is True.
        DivergedError: loss or weights are not finite; the last good checkpoint is kept and named.
        CheckpointError: a file could not be written, as on a full disk; the same.
        LostProcessError: another process of a run on several devices ended; the same.
        LostImagesError: an image that is not in memory cannot be read any more, or a process that reads images was
            killed; the same.
        KeyboardInterrupt: Ctrl-C; the same.
        ImportError: the extra "train" is not installed.

    Example:
        >>> import tempfile
        >>> from sepgconv.data import load_dataset, take_images
        >>> config = TrainingConfig(model="z2cnn", data="rotated_digits", model_config={"width": 2}, epochs=1)
        >>> digits = take_images(load_dataset("rotated_digits"), 40, seed=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = train(config, folder=folder, data=digits, progress=False, accelerator="cpu")
        >>> record.parameters, record.images, 0 <= record.test_error <= 100
        (334, {'train': 33, 'validation': 7, 'test': 597}, True)
    """
    if force and not resume:
        raise ValueError("force=True (--force) accepts changes at a resume (--resume); no run is ever written over")
    if not str(folder):
        raise ValueError("folder must name the folder of the run, it is empty")
    check_rank_variables()
    require("lightning", extra="train", purpose="training")
    # Imported here and not above: Lightning takes seconds to import, and most commands do without it.
    from sepgconv.tasks.best import take_best
    from sepgconv.tasks.callbacks import EpochKeeper
    from sepgconv.tasks.checkpoint import own_epochs
    from sepgconv.tasks.fitting import build_trainer, fit, what_is_left
    from sepgconv.tasks.module import EpochBatches, TrainingModule
    from sepgconv.tasks.processes import together

    commit = git_commit()  # now: a checkout may move on while the run takes its hours
    files = RunFolder(Path(folder))
    setup: dict[str, Any] = {"config": config.to_dict(), "precision": precision}
    if resume:
        files.check_same_setup(setup)
        if (finished := _finished_record(files, progress)) is not None:
            return finished
    keeper = EpochKeeper(files.checkpoint, progress=progress, epoch=own_epochs(files) if resume else 0)
    trainer = build_trainer(
        config,
        files,
        keeper,
        devices=devices,
        num_nodes=num_nodes,
        precision=precision,
        accelerator=accelerator,
        progress=progress,
        threads=threads,
        loggers=loggers,
    )
    with contextlib.ExitStack() as stack:
        if trainer.is_global_zero:
            stack.enter_context(files.locked())
            if resume and own_epochs(files) != keeper.epoch:
                raise BlockingIOError(f"another process has trained in {files.root} at this moment; start it again")
            if not resume:
                files.check_unused()

        def get_data() -> Dataset:
            if data is not None:
                return data
            options, again = DataOptions.from_dict(config.data_options), dict[str, Any]()
            if resume and is_own(config.data):
                again = files.reading
                options = dataclasses.replace(options, fit=again.pop("fit", options.fit))
            return load_dataset(config.data, data_dir=data_dir, options=options, **again)

        if resume and (mended := _mended_record(files, trainer, get_data, progress)) is not None:
            return mended
        dataset = get_data()
        for split in (dataset.train, dataset.validation, dataset.test):
            for labels in _whole_or_chunks(split):
                get_task(config.task, config.task_options).check(labels, len(dataset.classes))
        learned, held_out = _parts(dataset, hold_out=config.hold_out)
        task = fitted_task(config, dataset)
        setup["data"] = _identity(dataset, learned, held_out)
        if dataset.fit is not None:
            setup[READING] = {"preprocessing": str(dataset.preprocessing.name), "fit": dataset.fit}
        stack.enter_context(_threads(threads))
        now = conditions_of(trainer, dataset)
        changed: list[str] = []
        if resume:
            files.check_same_setup(setup)
            if keeper.epoch == 0:
                files.check_same_beginning(prepared=prepare is not None)
            changed = files.check_conditions(now, force=force)
            _say(f"resuming after epoch {keeper.epoch} of {config.epochs}", progress and trainer.is_global_zero)
        model = initial_network(config, dataset)
        origin = None if prepare is None else prepare(model)
        module = TrainingModule(model, config, task)
        costs = cost(model, dataset.image_shape)  # also raises if images are too small for the network
        workers = min(_MOST_WORKERS, cores()) if workers is None else workers
        augment = augmentation(config.augmentation, preprocessing=dataset.preprocessing)
        batches = EpochBatches(learned, held_out, config, augment, task, workers=workers)
        if trainer.is_global_zero:
            if resume:
                files.note_resume(keeper.epoch, changed, now)
            else:
                noted = {**split_noted(dataset), **what_is_noted(origin, task.state())}
                files.begin({**setup, "conditions": now, PREPARED: prepare is not None, **noted})
                write_preprocessing(files, dataset)  # so that checkpoints of a stopped run can be used
                write_split(files, dataset)
        parts = {"train": learned, "validation": held_out, "test": dataset.test}
        device = trainer.strategy.root_device

        def left() -> str:
            return f"{what_is_left(files, keeper, config.epochs)}; {files.how_to_go_on()}"

        with together(trainer, left):
            fit(trainer, module, batches, files, keeper)
            metric = task.metrics[0]
            chosen = take_best(trainer, model, files, keeper.history, metric) if config.keep_best else None
            if device.type != "cpu":
                costs = cost(model.to(device), dataset.image_shape)  # layers may run otherwise there
            with _told_how_to_finish(files, config.epochs):
                figures = _final_figures(trainer, model, task, parts)
                record = _record(trainer, keeper, files, setup, dataset, model, costs, figures, commit, task, chosen)
                if trainer.is_global_zero:
                    write_results(files, record, model, dataset, keeper.history)
            return RunRecord.from_dict(trainer.strategy.broadcast(record.to_dict()))


def _finished_record(files: RunFolder, progress: bool) -> RunRecord | None:
    # Nothing is written here, so that a folder that may only be read can be asked, too.
    try:
        kept = read_record(files.record)
    except FileNotFoundError:
        return None
    except ValueError as error:
        if not files.checkpoint.is_file():
            raise ValueError(f"{error}; without a checkpoint it cannot be written anew") from error
        warnings.warn(f"{error}; it is written anew from the checkpoint", stacklevel=3)
        return None
    if faults(files, kept):
        return None
    if not kept.sealed:
        warnings.warn(f"the run in {files.root} {WITHOUT_DIGEST}", stacklevel=3)
    _say(f"the run in {files.root} is finished, there is nothing to resume", progress)
    return kept.record


def _mended_record(
    files: RunFolder, trainer: "Trainer", data: Callable[[], Dataset], progress: bool
) -> RunRecord | None:
    # A finished run of which files are missing or damaged: they come from the checkpoint, and nothing is trained.
    try:
        kept = read_record(files.record)
    except (FileNotFoundError, ValueError):
        return None
    if trainer.is_global_zero and (wrong := faults(files, kept)):
        mend(files, kept, wrong, data)
        _say(
            f"the run in {files.root} is finished; {', '.join(wrong)} was missing or damaged and is written anew from "
            "the checkpoint",
            progress,
        )
    return kept.record


def _parts(dataset: Dataset, *, hold_out: bool) -> tuple[Split, Split | None]:
    # What is learned from, and what the epochs are judged by.
    train, validation = dataset.train, dataset.validation
    if hold_out:
        return train, validation
    return Split(join((train.images, validation.images)), join((train.labels, validation.labels))), None


def _whole_or_chunks(split: Split) -> Iterable[Tensor]:
    return (split.labels,) if isinstance(split.labels, Tensor) else chunks(split.labels)


def _identity(dataset: Dataset, learned: Split, held_out: Split | None) -> dict[str, Any]:
    # What must be the same for a run to go on with a data set; also the record's fields about it.
    parts = {"train": learned, "validation": held_out, "test": dataset.test}
    return {
        "data": dataset.name,
        "classes": list(dataset.classes),
        "image_shape": list(dataset.image_shape),
        "images": {name: len(split) for name, split in parts.items() if split is not None},
    }


def _final_figures(
    trainer: "Trainer", model: nn.Module, task: Task, parts: dict[str, Split | None]
) -> dict[str, float | None]:
    # Every process counts its share with the weights and statistics of the first.
    from sepgconv.tasks.module import share_buffers

    device = trainer.strategy.root_device

    def add_up(value: Tensor) -> Tensor:
        return torch.as_tensor(trainer.strategy.reduce(value.to(device), reduce_op="sum"))

    model.to(device)
    share_buffers(model)
    figures: dict[str, float | None] = dict.fromkeys(figure_kinds(task))
    for part, split in parts.items():
        if split is not None:
            share = slice(trainer.global_rank, None, trainer.world_size)
            images, labels = take(split.images, share), take(split.labels, share)
            found = tally_answers(task, model, images, labels).measure(device, add_up)
            figures |= {f"{part}_{name}": value for name, value in found.items()}
    model.cpu()
    return figures


def _record(
    trainer: "Trainer",
    keeper: "EpochKeeper",
    files: RunFolder,
    setup: dict[str, Any],
    dataset: Dataset,
    model: nn.Module,
    costs: CostReport,
    figures: dict[str, float | None],
    commit: str | None,
    task: Task,
    chosen_epoch: int | None,
) -> RunRecord:
    config: dict[str, Any] = setup["config"]
    model_config = cast("dict[str, Any]", model.config)  # create_model put it there
    return RunRecord(
        model=config["model"],
        width=width_of(model_config),
        seed=config["seed"],
        epochs=keeper.epoch,
        chosen_epoch=chosen_epoch,
        parameters=costs.parameters,
        nominal_macs=costs.nominal_macs,
        executed_macs=costs.executed_macs,
        seconds=keeper.seconds,
        cpu_seconds=keeper.cpu_seconds,
        peak_memory_bytes=keeper.peak_memory_bytes,
        device=device_name(trainer.strategy.root_device),
        processes=trainer.world_size,
        threads=torch.get_num_threads(),
        precision=str(trainer.precision),  # what ran: on a CPU Lightning makes bf16-mixed of 16-mixed
        commit=commit,
        versions=versions(),
        skipped=len(dataset.skipped),
        config=config,
        model_config=model_config,
        changes=files.noted_changes() if trainer.is_global_zero else [],
        origin=files.origin if trainer.is_global_zero else None,
        figures=figures,
        task_state=task.state(),
        **setup["data"],
    )


@contextlib.contextmanager
def _told_how_to_finish(files: RunFolder, epochs: int) -> Generator[None, None, None]:
    # After the last epoch: what stops the run now loses no training.
    from sepgconv.tasks.stopping import ended_by_sigterm

    left = f"training is complete, its results are not: {files.what_is_left(epochs, epochs)}; {files.how_to_go_on()}"
    try:
        with ended_by_sigterm(lambda: left):
            yield
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"could not write the results to {files.root}: {reason}; {left}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(left) from None


def _say(sentence: str, wanted: bool) -> None:
    if wanted:
        say(sentence)


@contextlib.contextmanager
def _threads(count: int | None) -> Generator[None, None, None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
