"""A run as one of its checkpoints has it: of a run that was stopped, or of an epoch before the last."""

from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from sepgconv.analysis import cost
from sepgconv.models import rebuild_model
from sepgconv.tasks.config import TrainingConfig
from sepgconv.tasks.evaluation import Run
from sepgconv.tasks.folder import TASK_STATE, RunFolder
from sepgconv.tasks.record import RunRecord, figure_kinds, width_of
from sepgconv.tasks.registry import get_task
from sepgconv.tasks.results import read_preprocessing

Which: TypeAlias = Literal["last", "best"]


def load_checkpoint(folder: Path, which: Which) -> Run:
    """Read a run with the network of a checkpoint; nothing in its files is executed.

    Its record has the epoch of the checkpoint, and no figures: none was measured with these weights.

    Args:
        folder: the run's.
        which: "last", of the last complete epoch, or "best", of the epoch with the best figure on the validation part,
            which a run keeps if its config says so (`TrainingConfig.keep_best`).

    Raises:
        FileNotFoundError: the folder is none of a run, or has no such checkpoint.
        OSError: a file cannot be read.
        ValueError: a file is damaged or of another run, or its task is not registered.
    """
    # Imported here: Lightning takes seconds, and finished runs are read without.
    from sepgconv.tasks.checkpoint import read_keeper_state, read_weights

    files = RunFolder(folder)
    if not files.setup.is_file():
        what = "holds no run" if files.root.is_dir() else "is no folder"
        raise FileNotFoundError(f"{folder} {what}; expected a folder that `sepgconv train` made")
    path = files.best if which == "best" else files.checkpoint
    state = read_keeper_state(path)
    if state is None:
        why = "it was not trained with keep_best=True (--keep-best)" if which == "best" else "no epoch was complete"
        raise FileNotFoundError(f"the run in {folder} has no {which} checkpoint: {why}")
    if state.get("run") != files.identity:
        raise ValueError(f"{path} is of another run than {files.setup}; put the run's own back")
    setup = files.read_setup()
    config = TrainingConfig.from_dict(setup["config"])
    about = setup["data"]
    shape = tuple(about["image_shape"])
    task = get_task(config.task, config.task_options).restored(setup.get(TASK_STATE, {}))
    with torch.device("meta"):  # no random number is drawn
        head = task.head(about["classes"])
        model: Any = rebuild_model(config.model, {"in_channels": shape[0], **head} | config.model_config)
    try:
        model.load_state_dict(read_weights(path), assign=True)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} are of another network than {files.setup} describes") from error
    if not files.preprocessing.is_file():
        raise FileNotFoundError(
            f"the run in {folder} was begun by an older version, which kept the preprocessing of its images only at "
            "the end; resume it (--resume)"
        )
    preprocessing = read_preprocessing(files.preprocessing)
    costs = cost(model, shape)
    conditions = setup.get("conditions", {})
    record = RunRecord(
        model=config.model,
        width=width_of(model.config),
        seed=config.seed,
        epochs=state["epoch"],
        figures=dict.fromkeys(figure_kinds(task)),
        parameters=costs.parameters,
        nominal_macs=costs.nominal_macs,
        executed_macs=costs.executed_macs,
        seconds=state["seconds"],
        cpu_seconds=state["cpu_seconds"],
        peak_memory_bytes=state["peak_memory_bytes"],
        device=conditions.get("device", ""),
        processes=conditions.get("processes", 1),
        threads=conditions.get("threads", 1),
        precision=setup.get("precision", "32-true"),
        commit=None,
        versions=setup.get("versions", {}),
        skipped=0,
        config=config.to_dict(),
        model_config=model.config,
        changes=files.noted_changes(),
        origin=files.origin,
        task_state=task.state(),
        **about,
    )
    return Run(
        record=record,
        model=model.eval(),
        preprocessing=preprocessing.module,
        classes=tuple(record.classes),
        bit_depth=preprocessing.bit_depth,
        fit=preprocessing.fit,
        task=task,
    )
