"""`sepgconv separate`: separate the convolutions of a trained network, train it further, compare both."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sepgconv._numbers import count, error_percent, large
from sepgconv._terminal import show
from sepgconv.cli import options
from sepgconv.cli.data_of_runs import load_data_of
from sepgconv.cli.networks import SEPARATION
from sepgconv.cli.output import draw_table, print_table

if TYPE_CHECKING:
    from torch import nn

    from sepgconv.data import Dataset
    from sepgconv.tasks import Run


def separate(
    run: options.RunFolder,
    sharing: Annotated[Literal["gc", "g"], typer.Option(help="What shares a spatial kernel.")] = "gc",
    rank: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Terms of every layer, up to its full rank; with --budget, the most that a layer may get. One of the "
            "two is needed. Many terms can make a layer larger.",
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Share of the energy of a layer's filters that may be lost, from 0 to 1: a layer gets as few terms as "
            "that allows, or stays as it is."
        ),
    ] = None,
    finetune: Annotated[int, typer.Option(min=0, help="Epochs to train on; 0: none.")] = 5,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate of the first of them. Default: the run's own.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the new run, or of the network where none is trained. Default: RUN-gc, RUN-g."),
    ] = None,
    data_dir: options.DataDir = None,
    threads: Annotated[int | None, typer.Option(min=1, help="torch's threads.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was broken off.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="With --resume: go on although threads, code, torch or the data changed; the record says so.",
        ),
    ] = False,
    progress: Annotated[bool, typer.Option(help="Show a line for every epoch.")] = True,
) -> None:
    """Replace the group convolutions of a trained network by separable ones, train it further, print the result."""
    import dataclasses

    from sepgconv import save
    from sepgconv._files import write_json
    from sepgconv.convert import separate as separated
    from sepgconv.convert.separation import separation_table
    from sepgconv.tasks import TrainingConfig, load_run, train
    from sepgconv.tasks.folder import RunFolder

    loaded = load_run(run)
    separation = separated(loaded.model, sharing, rank=rank, budget=budget)
    network: Any = separation.model
    folder = out or run.resolve().with_name(f"{run.resolve().name}-{sharing}")
    begun = RunFolder(folder).setup.is_file()
    if finetune and not (resume and begun):
        RunFolder(folder).check_unused()
    elif not finetune and folder.exists():
        raise FileExistsError(f"{folder} exists; choose another folder with --out")
    data = load_data_of(run, loaded.record, data_dir)
    draw_table(separation_table(separation))
    networks: dict[str, nn.Module] = {"before": loaded.model, "separated": network}
    if finetune:
        old = TrainingConfig.from_dict(loaded.record.config)
        shape = {"in_channels": loaded.record.image_shape[0], "num_classes": len(loaded.classes)}
        config = old.fine_tuning(model=network.name, model_config={**network.config, **shape}, epochs=finetune)
        config = config if lr is None else dataclasses.replace(config, lr=lr)
        state = network.state_dict()
        # Where it comes from, and that its weights before the first epoch were not drawn.
        origin = {"run": str(run), "sharing": sharing}
        origin |= {"layers": [dataclasses.asdict(layer) for layer in separation.layers]}

        def prepare(new: "nn.Module") -> None:
            # Called when the folder is this training's own.
            write_json(folder / SEPARATION, origin)
            new.load_state_dict(state)

        train(
            config,
            folder=folder,
            data=data,
            resume=resume and begun,
            force=force and begun,
            prepare=prepare,
            threads=threads,
            progress=progress,
        )
        networks[f"after {finetune} more epoch{'s' if finetune > 1 else ''}"] = load_run(folder).model
    else:
        save(network, folder)
    _print_comparison(networks, loaded, data)
    show(f"Written: {folder}")


def _print_comparison(networks: "dict[str, nn.Module]", loaded: "Run", data: "Dataset") -> None:
    import torch

    from sepgconv.analysis import cost
    from sepgconv.cli.timing import milliseconds
    from sepgconv.tasks import evaluate

    shape = tuple(loaded.record.image_shape)
    columns = ["", *networks]
    costs = [cost(network, shape) for network in networks.values()]
    rows = [
        ("test error", *(error_percent(evaluate(network, data.test)) for network in networks.values())),
        ("parameters", *(count(found.parameters) for found in costs)),
        (
            "MACs, nominal / executed",
            *(f"{large(found.nominal_macs)} / {large(found.executed_macs)}" for found in costs),
        ),
    ]
    for batch in (1, 128):
        images = data.test.images[:1].expand(batch, *shape).contiguous()
        times = milliseconds(list(networks.values()), images)
        rows.append((f"ms for {batch} image{'s' if batch > 1 else ''}", *(f"{time:.2f}" for time in times)))
    threads = torch.get_num_threads()
    print_table(f"{loaded.record.model}, {threads} thread{'s' if threads > 1 else ''}", columns, rows)
