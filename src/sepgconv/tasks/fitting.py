"""Lightning's part of a run: the trainer as this package sets it up, and what its ways of stopping raise."""

import atexit
import contextlib
import gc
import logging
import os
import signal
import traceback
import warnings
from collections.abc import Generator, Sequence
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from sepgconv._terminal import watched
from sepgconv.tasks.best import BestKeeper
from sepgconv.tasks.callbacks import EpochKeeper
from sepgconv.tasks.checkpoint import AtomicCheckpointIO, completed_epochs, read_keeper_state
from sepgconv.tasks.config import TrainingConfig
from sepgconv.tasks.devices import checked_devices
from sepgconv.tasks.errors import CheckpointError, DivergedError, LostImagesError
from sepgconv.tasks.folder import RunFolder
from sepgconv.tasks.logs import loggers_of, named_loggers
from sepgconv.tasks.module import EpochBatches, TrainingModule
from sepgconv.tasks.processes import check_launcher_variables
from sepgconv.tasks.registry import get_task
from sepgconv.tasks.results import recover_history
from sepgconv.tasks.stopping import StopTogether


def build_trainer(
    config: TrainingConfig,
    folder: RunFolder,
    keeper: EpochKeeper,
    *,
    devices: int | str | list[int] = 1,
    num_nodes: int = 1,
    precision: str = "32-true",
    accelerator: str = "auto",
    progress: bool = True,
    threads: int | None = None,
    loggers: Sequence[str] = (),
) -> Trainer:
    """Return a trainer that logs, checkpoints and shuffles as this package does; nothing is written yet.

    Args:
        config: the run's.
        folder: where it logs to.
        keeper: writes the checkpoints.
        devices: Lightning's; with more than one, one process each (DDP).
        num_nodes: Lightning's.
        precision: Lightning's.
        accelerator: Lightning's.
        progress: show a progress bar, where standard error is a terminal.
        threads: torch's threads in each process; None leaves them.
        loggers: names of further loggers, as `sepgconv.tasks.logs.named_loggers` takes them.

    Raises:
        ImportError: the library of a logger is not installed.
        ValueError: there are no such devices, or the environment has half of what a launcher sets.
    """
    devices = checked_devices(devices, accelerator, num_nodes)
    alone = (devices, num_nodes) == (1, 1)
    plugins: list[Any] = [AtomicCheckpointIO()]
    if alone:
        # A task number in the environment (SLURM_PROCID, RANK and so on) may be that of one run among many: this one
        # has a single process all the same, which logs and writes. Lightning would believe the number.
        plugins.append(LightningEnvironment())
        rank_zero_only.rank = 0  # pyright: ignore[reportFunctionMemberAccess]  # Lightning's own way
    bar = progress and watched()
    best = BestKeeper(config, folder, keeper, get_task(config.task, config.task_options).metrics[0])
    callbacks: list[Callback] = [keeper, best, StopTogether()]
    if bar:
        callbacks.append(TQDMProgressBar())
    if threads is not None:
        callbacks.append(_Threads(threads))
    further = named_loggers(loggers, folder.root)
    kept = loggers_of(folder.history, keeper.history, folder.tensorboard, begun=keeper.epoch)
    try:
        with quiet_lightning():
            trainer = Trainer(
                accelerator=accelerator,
                devices=devices,
                num_nodes=num_nodes,
                # Not "auto" for several: in a notebook that would train in forks, whose state never comes back to
                # `train`.
                strategy="auto" if alone else "ddp",
                precision=precision,  # pyright: ignore[reportArgumentType]  # Lightning checks the name, with a good message
                max_epochs=config.epochs,
                logger=[*kept, *further],
                callbacks=callbacks,
                plugins=plugins,
                default_root_dir=os.path.abspath(folder.root),  # a name that begins with "~" is one
                enable_checkpointing=False,  # the keeper's
                enable_progress_bar=bar,
                enable_model_summary=False,
                limit_val_batches=1.0 if config.hold_out else 0,
                num_sanity_val_steps=0,  # it would only slow the start down
                log_every_n_steps=1,  # nothing is logged by steps; the default warns about short epochs
                reload_dataloaders_every_n_epochs=1,  # Batches is one epoch
                use_distributed_sampler=False,  # Batches takes the process's share
            )
    except (MisconfigurationException, TypeError) as error:
        raise ValueError(f"cannot train with {accelerator=!s}, {devices=!s}, {num_nodes=!s}: {error}") from error
    if not alone:
        check_launcher_variables(trainer)
    return trainer


def fit(
    trainer: Trainer, module: TrainingModule, batches: EpochBatches, folder: RunFolder, keeper: EpochKeeper
) -> None:
    """Train to the end, from the folder's checkpoint where the keeper says there is one.

    Raises:
        DivergedError: loss or weights are not finite; the message names the last good checkpoint.
        CheckpointError: a file could not be written; the same.
        KeyboardInterrupt: Ctrl-C; the same, after everything was closed.
        SystemExit: SIGTERM; the same.
        LostImagesError: images cannot be read any more; the same.
    """
    epochs = module.config.epochs
    if trainer.is_global_zero:
        keeper.run = folder.identity
    if keeper.epoch and trainer.is_global_zero:
        state = read_keeper_state(folder.checkpoint)
        rows = None if state is None else state.get("history")
        keeper.history[:] = recover_history(folder.history, keeper.epoch, rows)
    if trainer.world_size > 1 and not torch.distributed.is_initialized():  # else it is the caller's to close
        atexit.register(_part_processes)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with quiet_lightning():
            trainer.fit(module, datamodule=batches, ckpt_path=folder.checkpoint if keeper.epoch else None)
    except DivergedError as error:
        left = what_is_left(folder, keeper, epochs)
        again = "the same config would diverge again, so train in another folder"
        if trainer.precision == "16-true":
            why = "float16 ends at 65504, and the optimiser's eps is 0 in it"
            advice = f"{again} and in bf16-true, bf16-mixed or 32-true: {why}"
        else:
            advice = f"{again} with a lower learning rate"
        raise DivergedError(f"{error}; training stopped: {left}; {advice}") from error
    except (CheckpointError, SystemExit, LostImagesError) as error:
        stopped = f"training stopped: {what_is_left(folder, keeper, epochs)}; {folder.how_to_go_on()}"
        if isinstance(error, LostImagesError):
            raise LostImagesError(f"{error}; {stopped}") from error
        if isinstance(error, CheckpointError):
            raise CheckpointError(f"{error}; {stopped}") from error
        # Lightning turns Ctrl-C into an exit without a word.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt(stopped) from None
        if isinstance(error, SIGTERMException):
            raise SystemExit(stopped) from None
        raise
    except (LookupError, TypeError, AttributeError, RuntimeError) as error:
        if _is_of_a_worker(error):
            stopped = f"training stopped: {what_is_left(folder, keeper, epochs)}; {folder.how_to_go_on()}"
            if StopTogether.asked_of(trainer):  # SIGTERM went to all processes of the group
                raise SystemExit(stopped) from None
            raise LostImagesError(
                "a process that reads images was killed, perhaps for want of memory (fewer of them need less: workers, "
                f"--workers); {stopped}"
            ) from error
        if not _is_of_restoring(error):
            raise
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{folder.checkpoint} is not a checkpoint of this run ({type(error).__name__}: {reason[:200]}); the run "
            "cannot resume from it: train it again in another folder (--out)"
        ) from error
    finally:
        batches.close()
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)  # Lightning leaves Ctrl-C switched off


def _is_of_restoring(error: BaseException) -> bool:
    # Reading a checkpoint of another program, Lightning may raise any error, from a module of its own.
    modules = (str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(module.endswith(".checkpoint_connector") for module in modules)


def _is_of_a_worker(error: BaseException) -> bool:
    # torch's sentence where a process of a DataLoader has ended.
    return isinstance(error, RuntimeError) and "DataLoader worker" in str(error)


def what_is_left(folder: RunFolder, keeper: EpochKeeper, epochs: int) -> str:
    """Return a sentence on which checkpoint a run leaves that is stopped now."""
    # Ctrl-C may come when a checkpoint is already on the disk and not yet counted: the disk is right.
    try:
        return folder.what_is_left(completed_epochs(folder.checkpoint), epochs)
    except (OSError, ValueError):
        return folder.what_is_left(keeper.epoch, epochs)


def _part_processes() -> None:
    # Lightning leaves the connection between its processes open under gloo, and torch then sometimes aborts when the
    # process ends. Not closed earlier: a second training in the same script uses it again.
    if torch.distributed.is_initialized():
        gc.collect()  # what DDP keeps of the connection sits in reference cycles
        torch.distributed.destroy_process_group()


class _Threads(Callback):
    # Where Lightning starts processes it also sets their threads, so ours are set after it.
    def __init__(self, count: int) -> None:
        self._count = count

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        torch.set_num_threads(self._count)


@contextlib.contextmanager
def quiet_lightning() -> Generator[None, None, None]:
    """Keep Lightning's notices about itself off the screen; its warnings still come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Whoever asks for another device than the GPU knows it.
            warnings.filterwarnings("ignore", "GPU available but not used")
            # Lightning 2.6 uses a class that torch 2.13 is about to drop.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
