"""`sepgconv train`: train a network and leave a run folder."""

from pathlib import Path
from typing import Annotated

import typer

from sepgconv._numbers import count, large
from sepgconv._terminal import say
from sepgconv.cli import data_options as own
from sepgconv.cli import options
from sepgconv.cli.output import print_table


def train(
    model: options.Model,
    data: options.Data = "rotated_digits",
    data_dir: options.DataDir = None,
    task: Annotated[
        str | None, typer.Option(help="What it is trained for. Default: classification; modules can register others.")
    ] = None,
    width: options.Width = None,
    widths: options.Widths = None,
    group: options.Group = None,
    option: options.ModelOptions = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Named settings: default, best (any angle), paper (Rotated MNIST), paper-cifar10, paper-cifar10+."
        ),
    ] = "default",
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
    seed: Annotated[int, typer.Option(help="Fixes initial weights, order of the images and augmentation.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder. Default: runs/<model>-<data>-<recipe>-seed<seed>.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder, as if never stopped.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="With --resume: go on although threads, devices, code, torch or the data changed; the record says so.",
        ),
    ] = False,
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
        str, typer.Option(help="32-true, bf16-mixed, 16-mixed, bf16-true, 16-true or 64-true.")
    ] = "32-true",
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu and so on.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Processor threads of each process. Default: torch's choice.")
    ] = None,
    progress: Annotated[
        bool, typer.Option("--progress/--quiet", help="Show a progress bar and a line per epoch.")
    ] = True,
) -> None:
    """Train a network; leave its config, checkpoint, curves, record and weights in a run folder.

    No epoch is picked by the validation part; the test part is read once, at the end, with the last epoch's weights.
    """
    from sepgconv.data import DataOptions, load_dataset
    from sepgconv.data.registry import is_own
    from sepgconv.models import model_entry
    from sepgconv.tasks import TrainingConfig, get_task, is_main_process
    from sepgconv.tasks import train as run_training
    from sepgconv.tasks.folder import RunFolder

    model_entry(model)  # raises an error for an unknown name before any data is read
    data_options = own.data_options(
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
    config = TrainingConfig.from_recipe(
        recipe,
        model=model,
        data=data,
        data_options=data_options or None,
        task=task,
        model_config=options.model_config(width, widths, group, option),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        augmentation=augmentation,
        initialisation=initialisation,
        hold_out=hold_out,
        seed=seed,
    )
    size = width or (widths and widths.replace(",", "-"))
    name = "-".join([model, *([f"w{size}"] if size else []), Path(data).stem, recipe, f"seed{seed}"])
    folder = out or Path("runs") / name
    if cache is not None and no_cache:
        raise ValueError("--cache names a folder for decoded images and --no-cache keeps none; give one of them")
    if resume and is_own(data):
        begun = RunFolder(folder).reading
        image_size = begun.get("image_size") if image_size is None else image_size
        preprocessing = begun["preprocessing"] if preprocessing is None else preprocessing
    dataset = load_dataset(
        data,
        data_dir=data_dir,
        image_size=image_size,
        options=DataOptions.from_dict(config.data_options),
        preprocessing=preprocessing,
        in_memory=in_memory,
        cache=False if no_cache else cache or True,
    )
    if dataset.division is not None and progress and is_main_process():
        for line in str(dataset.division).splitlines():
            say(line)
    record = run_training(
        config,
        folder=folder,
        data=dataset,
        resume=resume,
        force=force,
        devices=int(devices) if devices.isdecimal() else devices,
        num_nodes=num_nodes,
        precision=precision,
        accelerator=accelerator,
        threads=threads,
        workers=workers,
        progress=progress,
    )
    if not is_main_process():
        return  # the other processes of a run on several devices would print the same
    rows = [
        ("data", record.data),
        ("epochs", count(record.epochs)),
        ("parameters", count(record.parameters)),
        ("MACs, nominal / executed", f"{large(record.nominal_macs)} / {large(record.executed_macs)}"),
        *(
            (f"{part} {metric.name}", metric.text(record.figures[f"{part}_{metric.name}"]))
            for metric in get_task(record.task).metrics
            for part in ("train", "validation", "test")
        ),
        ("seconds", f"{record.seconds:.1f}"),
        ("folder", str(folder)),
    ]
    print_table(f"{record.model}, seed {record.seed}", ("", "value"), rows, left=2)
