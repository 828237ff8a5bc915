"""Small networks on Rotated MNIST: what error few parameters reach, and what each part of the recipe is worth."""

import statistics
from typing import TYPE_CHECKING, Any

from experiments.cells import Cell
from experiments.comparison import NOT_RUN, compare
from experiments.experiment import Experiment, Row
from experiments.published import PUBLISHED, Published
from experiments.report import Picture, Report, Table
from experiments.statistics import seeds, titled, whole
from experiments.store import Reading

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    """Return the networks of the record, those of others with how they were measured, and the ablation."""
    record = compare("All 12,000 training images, the error of the last epoch", RECORD_ROWS, SEEDS, reading, ())
    words = (
        "Ours learn from all 12,000 images with the recipe best: the error is that of the last epoch, nothing is "
        "chosen by the test images, and no answer is an average over rotations of a test image. Choices are made by "
        "the validation images, in the ablation below."
    )
    plot = Picture(
        file="record.png",
        caption="Test error against the number of parameters: ours, and published networks by how they were measured",
        content={"ours": _ours(reading), "published": [_point(work) for work in PUBLISHED if work.parameters]},
        draw=draw,
        size=(9.0, 5.0),
    )
    parts = (words, record.table, _published_table(), plot, _ablation_table(reading))
    return Report(title="The record: small networks on Rotated MNIST", parts=parts)


def _published_table() -> Table:
    rows = tuple(
        (
            work.work,
            work.chosen,
            "yes" if work.augmented else "no",
            "yes" if work.averaged else "no",
            "-" if work.parameters is None else f"{work.parameters:,}",
            f"{work.error:g}",
        )
        for work in sorted(PUBLISHED, key=lambda work: (work.parameters or 0, -work.error))
    )
    return Table(
        title="Published, 12,000 training images",
        columns=("network", "epoch chosen by", "rotated in training", "test images averaged", "parameters", "error %"),
        rows=rows,
        left=4,
        notes=("Where the epoch was chosen by the test images, the error is lower than it would be on new ones.",),
    )


def _ours(reading: Reading) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    for row in RECORD_ROWS:
        for title, runs in titled(row.title, reading.of_row(row.cell)).items():
            errors = [record["test_error"] for record in runs.finished]
            if errors:
                spread = statistics.stdev(errors) if len(errors) > 1 else 0.0
                parameters = runs.finished[0]["parameters"]
                points.append(
                    {"title": title, "parameters": parameters, "error": statistics.fmean(errors), "spread": spread}
                )
    return points


# Where names stand beside their points, in points of a font, where the place to the right is taken.
_BESIDE = {
    "PDO-eConv": (-6, -1, "right"),
    "gc-P4CNN": (-6, -2.5, "right"),
    "DREN": (-6, -2.5, "right"),
    "SO(2), Fourier and ReLU, small head": (-6, -2.5, "right"),
    "SO(2), Fourier and ReLU": (0, -12, "center"),
    "E2CNN, C16": (0, 6, "center"),
    "E2CNN, D16 then C16": (0, -20, "center"),
}


def _point(work: Published) -> dict[str, Any]:
    kind = "averaged" if work.averaged else "test images" if work.chosen == "test images" else "other"
    return {"title": work.work.partition(" (")[0], "parameters": work.parameters, "error": work.error, "kind": kind}


def draw(figure: "Figure", content: Any) -> None:
    """Draw error against parameters, both logarithmic; what is not comparable is hollow."""
    axes = figure.subplots()
    kinds = {
        "other": ("published", "o", "#4477aa", "#4477aa"),
        "test images": ("published, epoch chosen by the test images", "o", "#4477aa", "none"),
        "averaged": ("published, averages over rotations", "s", "#4477aa", "none"),
    }
    for kind, (label, marker, edge, face) in kinds.items():
        points = [point for point in content["published"] if point["kind"] == kind]
        x, y = [point["parameters"] for point in points], [point["error"] for point in points]
        axes.scatter(x, y, marker=marker, edgecolors=edge, facecolors=face, label=label)
        for point in points:
            x, y, align = _BESIDE.get(point["title"], (6, -2.5, "left"))
            place = (point["parameters"], point["error"])
            axes.annotate(point["title"], place, textcoords="offset points", xytext=(x, y), ha=align, fontsize=7)
    if content["ours"]:
        axes.errorbar(
            [point["parameters"] for point in content["ours"]],
            [point["error"] for point in content["ours"]],
            yerr=[point["spread"] for point in content["ours"]],
            fmt="D",
            color="#cc3311",
            capsize=3,
            label="ours, last epoch",
        )
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="test error in %")
    axes.set_xlim(12_000, 6_000_000)
    axes.set_ylim(0.6, 6)
    axes.set_xticks([25_000, 100_000, 1_000_000], ["25,000", "100,000", "1,000,000"])
    axes.set_yticks([0.7, 1, 1.5, 2, 3, 5], ["0.7", "1", "1.5", "2", "3", "5"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


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


EXPERIMENT = Experiment(name="record", rows=ROWS, seeds=SEEDS, report=report)
