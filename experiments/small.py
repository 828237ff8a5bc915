"""Small networks on Rotated MNIST: what error few parameters reach, and what each part of the recipe is worth."""

import statistics

from experiments.cells import Cell
from experiments.comparison import NOT_RUN, compare
from experiments.experiment import Experiment, Row
from experiments.report import Report, Table
from experiments.statistics import seeds, titled, whole
from experiments.store import Reading

SEEDS = (1, 2, 3, 4, 5)
ABLATION_SEEDS = (1, 2, 3)
SCREENING_EPOCHS = 30


def _trained(title: str, model: str, config: dict[str, object], published: str = "") -> Row:
    return Row(title=title, cell=Cell(model=model, model_config=config, recipe="best"), published=published)


# All 12,000 training images, the last epoch. Choices are made on the validation images, by the ablation below.
RECORD_ROWS = (
    _trained("gc-C8CNN, w 21", "gc_c8cnn", {"width": 21}),
    _trained("gc-C8CNN, w 43", "gc_c8cnn", {"width": 43}),
)


def _ablation(title: str, model: str = "gc_c8cnn", config: dict[str, object] | None = None, **overrides: object) -> Row:
    cell = Cell(
        model=model,
        model_config=config or {"width": 21},
        recipe="best",
        overrides={"hold_out": True, "epochs": SCREENING_EPOCHS, **overrides},
        measures=("convergence",),
    )
    return Row(title=title, cell=cell, seeds=ABLATION_SEEDS, priority=1)


# One change each, at about 25,000 parameters; 10,000 training images, judged by the 2,000 validation images.
ABLATION_ROWS = (
    _ablation("gc-C8CNN, w 21, 5 x 5"),
    _ablation("group C16", config={"width": 15, "group": "C16"}),
    _ablation("group C4, kernels of pixels", config={"width": 27, "group": "C4"}),
    _ablation("group C4, steerable kernels", config={"width": 29, "group": "C4", "kernel": "steerable"}),
    _ablation("kernels of 3 x 3", config={"width": 21, "kernel_size": 3}),
    _ablation("kernels of 7 x 7", config={"width": 20, "kernel_size": 7}),
    _ablation("no augmentation", augmentation="none"),
    _ablation("rotations at the resolution of the image", augmentation="turn"),
    _ablation("label smoothing of 0.1", label_smoothing=0.1),
    _ablation("dropout of 0.2 before the classifier", config={"width": 21, "dropout": 0.2}),
    _ablation("Adam, cosine, learning rate 0.01", optimizer="adam", schedule="cosine", lr=0.01, weight_decay=1e-4),
)

ROWS = (*RECORD_ROWS, *ABLATION_ROWS)


def report(reading: Reading) -> Report:
    """Return the networks of the record, and the ablation."""
    record = compare("All 12,000 training images, the error of the last epoch", RECORD_ROWS, SEEDS, reading, ())
    return Report(title="Small networks on Rotated MNIST", parts=(record.table, _ablation_table(reading)))


def _ablation_table(reading: Reading) -> Table:
    lines: list[tuple[str, ...]] = []
    for row in ABLATION_ROWS:
        found = titled(row.title, reading.of_row(row.cell))
        for title, runs in found.items():
            errors = [record["measures"]["convergence"]["validation_error"][-1] for record in runs.finished]
            mean = statistics.fmean(errors) if errors else None
            spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
            lines.append(
                (
                    title,
                    seeds(runs),
                    whole(runs.common_value("parameters")),
                    "-" if mean is None else f"{mean:.2f}{spread}",
                    ", ".join(f"{error:.2f}" for error in errors) or "-",
                )
            )
        if not found:
            lines.append((row.title, NOT_RUN, "-", "-", "-"))
    return Table(
        title=f"One change each: error on the 2,000 validation images in %, {SCREENING_EPOCHS} epochs",
        columns=("network or change", "seeds", "parameters", "mean", "by seed"),
        rows=tuple(lines),
        notes=("10,000 images to learn from; no test image was looked at for a choice.",),
    )


EXPERIMENT = Experiment(name="small", rows=ROWS, seeds=SEEDS, report=report)
