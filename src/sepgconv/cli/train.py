"""`sepgconv train`: train a network and leave a run folder."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sepgconv._numbers import hundredths
from sepgconv._terminal import show
from sepgconv.cli import data_options as own
from sepgconv.cli import options
from sepgconv.cli.config_file import ConfigFile, read_config_file
from sepgconv.cli.output import print_table
from sepgconv.cli.run_names import run_name
from sepgconv.cli.training_config import changed, task_options, training_config
from sepgconv.cli.training_report import print_result, say_what_is_trained, warn_if_one_answer, warn_if_uneven

if TYPE_CHECKING:
    from torch import nn

    from sepgconv.data import Dataset
    from sepgconv.tasks import TrainingConfig

_SHOWN = 12  # steps of a learning rate sweep


def train(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A network by name; `sepgconv models` lists them. With --resume or --extend: the folder of the run.",
            show_default=False,
            autocompletion=options.complete_model,
        ),
    ] = None,
    data: options.Data = None,
    data_dir: options.DataDir = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Options from a file of YAML, or the config.json of a run; those on the command line come first.",
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="What it is trained for. Default: classification; modules can register others.")
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(
            help="balanced: images of rare classes count more in the loss; or a number for each, with commas."
        ),
    ] = None,
    sampling: Annotated[
        str | None, typer.Option(help="balanced: every class comes equally often. Default: shuffle, every image once.")
    ] = None,
    width: options.Width = None,
    widths: options.Widths = None,
    group: options.Group = None,
    option: options.ModelOptions = None,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="How many classes the data must have; other data are an error.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Named settings: default, best (any angle), paper (Rotated MNIST), paper-cifar10, paper-cifar10+."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Instead of the recipe's; over all devices together.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, instead of the recipe's.")] = None,
    augmentation: Annotated[
        str | None,
        typer.Option(help="none, turn, fine-turn, quarter-turn, flip or crop-flip, instead of the recipe's."),
    ] = None,
    initialisation: Annotated[
        str | None,
        typer.Option(
            help="How weights are drawn, instead of the recipe's: sepgconv (filters as by He et al.) or published "
            "(the smaller weights of the paper)."
        ),
    ] = None,
    hold_out: Annotated[
        bool | None,
        typer.Option(
            "--hold-out/--no-hold-out",
            help="Keep the validation part out of the training, or train on it too; instead of the recipe's.",
        ),
    ] = None,
    keep_best: Annotated[
        bool | None,
        typer.Option("--keep-best/--keep-last", help="Keep the network of the best epoch on the validation part."),
    ] = None,
    early_stopping: Annotated[
        int | None,
        typer.Option(metavar="EPOCHS", help="End after so many epochs that are not better on the validation part."),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|NAME",
            help="Begin with the weights of a run, a saved network, or of this name; other classes get a new head.",
        ),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(metavar="PARTS", help="Parts of the network that do not learn, with commas, as in features.0."),
    ] = None,
    lr_backbone: Annotated[
        float | None, typer.Option(help="Learning rate of all parts but the last layer. Default: that of --lr.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Fixes initial weights, order of the images and augmentation. Default: 1.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run's folder. Default: runs/<model>-<group>-<data>-<recipe>-<other options>-seed<seed>."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder, as if never stopped.")
    ] = False,
    extend: Annotated[
        int | None, typer.Option(min=1, metavar="EPOCHS", help="Train a finished run for so many epochs more.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="With --resume: go on although threads, devices, code, torch or the data changed; the record says so.",
        ),
    ] = False,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Try learning rates in a short sweep, print them, and train nothing.")
    ] = False,
    logger: Annotated[
        list[str] | None, typer.Option(help="Log to wandb or mlflow, too; their environment variables say where.")
    ] = None,
    image_size: options.ImageSize = None,
    preprocessing: options.Preprocessing = None,
    in_memory: options.InMemory = None,
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
    workers: options.Workers = None,
    path_column: own.PathColumn = None,
    label_column: own.LabelColumn = None,
    split_column: own.SplitColumn = None,
    group_column: own.GroupColumn = None,
    targets: own.Targets = None,
    group_pattern: own.GroupPattern = None,
    pages: own.Pages = None,
    value_range: own.ValueRange = None,
    fit: own.Fit = None,
    images_key: own.ImagesKey = None,
    labels_key: own.LabelsKey = None,
    masks: own.Masks = None,
    mask_values: own.MaskValues = None,
    foreground: own.Foreground = False,
    validation: own.Validation = None,
    test: own.Test = None,
    folds: own.Folds = None,
    fold: own.Fold = None,
    split_seed: own.SplitSeed = None,
    devices: Annotated[str, typer.Option(help="How many devices or processes, or auto.")] = "1",
    num_nodes: Annotated[int, typer.Option(help="Machines, each started with this same command.")] = 1,
    precision: Annotated[
        str | None,
        typer.Option(help="32-true, bf16-mixed, 16-mixed, bf16-true, 16-true or 64-true. Default: 32-true."),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu and so on.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Processor threads of each process. Default: torch's choice.")
    ] = None,
    progress: Annotated[
        bool, typer.Option("--progress/--quiet", help="Show a progress bar and a line per epoch.")
    ] = True,
) -> None:
    """Train a network; leave its config, checkpoint, curves, record and weights in a run folder.

    Unless --keep-best is given, no epoch is picked by the validation part. The test part is read once, at the end.
    """
    from sepgconv.data import DataOptions, load_dataset
    from sepgconv.data.registry import is_own
    from sepgconv.models import model_entry
    from sepgconv.tasks import extend as run_longer
    from sepgconv.tasks import find_learning_rate, is_main_process
    from sepgconv.tasks import train as run_training
    from sepgconv.tasks.devices import checked_devices
    from sepgconv.tasks.folder import RunFolder

    if cache is not None and no_cache:
        raise ValueError("--cache names a folder for decoded images and --no-cache keeps none; give one of them")
    own_options = own.data_options(
        path_column=path_column,
        label_columns=label_column,
        split_column=split_column,
        group_column=group_column,
        targets=targets,
        group_pattern=group_pattern,
        pages=pages,
        value_range=value_range,
        fit=fit,
        images_key=images_key,
        labels_key=labels_key,
        masks=masks,
        mask_values=mask_values,
        foreground=foreground,
        validation=validation,
        test=test,
        folds=folds,
        fold=fold,
        split_seed=split_seed,
    )
    going_on = _run_to_go_on_with(model, config_file, resume=resume or extend is not None)
    if going_on is not None:
        model, config_file, out = None, going_on / "config.json", out or going_on
    read = ConfigFile() if config_file is None else read_config_file(config_file)
    given = {
        "model": model,
        "data": data,
        "data_options": own_options or None,
        "task": task,
        "task_options": task_options(class_weights),
        "sampling": sampling,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "augmentation": augmentation,
        "initialisation": initialisation,
        "hold_out": hold_out,
        "keep_best": keep_best,
        "early_stopping": early_stopping,
        "freeze": None if freeze is None else [part for part in freeze.split(",") if part],
        "lr_backbone": lr_backbone,
        "seed": seed,
    }
    checked_devices(devices, accelerator, num_nodes)  # raises an error before any data is read
    config = training_config(read, recipe, given, options.model_config(width, widths, group, option))
    model_entry(config.model)  # raises an error for an unknown name before any data is read
    precision = precision or read.precision or "32-true"
    image_size = image_size or read.image_size
    if preprocessing is None and is_own(config.data):
        preprocessing = read.preprocessing
    folder = out or Path("runs") / run_name(
        config,
        precision=None if precision == "32-true" else precision,
        image_size=None if image_size == read.image_size else image_size,
        init=None if init is None else Path(init).name,
        preprocessing=None if preprocessing == read.preprocessing else preprocessing,
    )
    if extend is not None and (other := changed(config, read)):
        raise ValueError(f"an extension goes on with the run's own {' and '.join(other)}; leave out these options")
    if extend is not None and not (folder / "record.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no finished run, which --extend needs; give its folder: train RUN --extend 10"
        )
    if (resume or extend is not None) and preprocessing is None and is_own(config.data):
        preprocessing = RunFolder(folder).reading["preprocessing"]
    found = load_dataset(
        config.data,
        data_dir=data_dir,
        image_size=image_size,
        options=DataOptions.from_dict(config.data_options),
        preprocessing=preprocessing,
        in_memory=in_memory,
        cache=False if no_cache else cache or True,
    )
    if num_classes not in (None, len(found.classes)):
        raise ValueError(f"--num-classes is {num_classes}, but {found.name} has {len(found.classes)} classes")
    prepare = _prepare(init, folder, found, resume=resume)
    if find_lr:
        _print_sweep(find_learning_rate(config, found, prepare=prepare), config)
        return
    first = os.environ.get("LOCAL_RANK", "0") == "0"  # further processes of a run would say the same
    if first and progress:
        say_what_is_trained(config, found, folder, _device(accelerator, devices))
    if first and not (resume or extend):
        warn_if_uneven(found)
    settings: dict[str, Any] = {
        "folder": folder,
        "data": found,
        "force": force,
        "devices": int(devices) if devices.isdecimal() else devices,
        "num_nodes": num_nodes,
        "precision": precision,
        "accelerator": accelerator,
        "threads": threads,
        "workers": workers,
        "progress": progress,
        "loggers": logger or (),
    }
    if extend is not None:
        record = run_longer(settings.pop("folder"), extend, **settings)
    else:
        record = run_training(config, resume=resume, prepare=prepare, **settings)
    if not is_main_process():
        return  # the other processes of a run on several devices would print the same
    print_result(record, folder)
    warn_if_one_answer(folder, found)


def _run_to_go_on_with(model: str | None, config_file: Path | None, *, resume: bool) -> Path | None:
    """Return the folder of a run that is given in the place of a network; None for a network.

    Raises:
        ValueError: a folder without an option that goes on with it, or neither network nor config.
    """
    from sepgconv.models import list_models

    if model is None:
        if config_file is None:
            raise ValueError("no network is named; give one (`sepgconv models` lists them), or --config FILE")
        return None
    folder = Path(model)
    if model in list_models() or not (folder / "config.json").is_file():
        return None
    if not resume:
        raise ValueError(
            f"{folder} is the folder of a run; go on with it by --resume or --extend EPOCHS, or train another one like "
            f"it by --config {folder / 'config.json'}"
        )
    if config_file is not None:
        raise ValueError(f"the run in {folder} has a config of its own; leave out --config")
    return folder


def _prepare(
    init: str | None, folder: Path, data: "Dataset", *, resume: bool
) -> "Callable[[nn.Module], dict[str, Any]] | None":
    """Return what gives the network its first weights; None where they are drawn, or come from a checkpoint."""
    from sepgconv.tasks import pretrained
    from sepgconv.tasks.folder import RunFolder

    files = RunFolder(folder)
    if init is None and resume and files.setup.is_file() and not files.checkpoint.is_file():
        origin = files.origin
        init = str(origin["from"]) if origin is not None else None
    return None if init is None else pretrained(init, classes=data.classes)


def _device(accelerator: str, devices: str) -> str:
    import torch

    from sepgconv.tasks.environment import device_name

    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
    name = device_name(torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu"))
    return name if devices == "1" else f"{devices} x {name}"


def _print_sweep(found: Any, config: "TrainingConfig") -> None:
    every = max(1, len(found.rates) // _SHOWN)
    steps = list(zip(found.rates, found.losses, strict=True))
    rows = [(f"{rate:.1e}", hundredths(loss)) for rate, loss in steps[::every]]
    print_table(
        f"{config.model}, {config.optimizer}: loss while the learning rate rises", ("learning rate", "loss"), rows
    )
    show(f"A learning rate to begin with: --lr {found.suggestion:g}")
