"""Table 2: CIFAR-10, four ResNet44s, without and with augmentation, and on a fifth of it (theory.md, ResNet44)."""

import dataclasses

from experiments.cells import Cell
from experiments.comparison import compare
from experiments.experiment import Experiment, Row
from experiments.report import Report, Table
from experiments.store import Reading

SEEDS = (1, 2, 3)
DATA = "cifar10"
SUBSTITUTES = ("cifar10-jpeg75", "cifar10-lossless-subset")
FIFTH = 10_000  # images
# A shorter training for those who have a GPU for minutes: after epoch 100 the learning rate falls once more, and then
# little moves. Beside the substitute alone, since the paper has no number for it.
SHORT = 110  # epochs

# Model, the paper's errors on C10 and C10+ in percent.
_PUBLISHED = (
    ("ResNet44", "resnet44", "13.10", "7.66"),
    ("p4m-ResNet44", "p4m_resnet44", "8.06", "5.78"),
    ("g-p4m-ResNet44", "g_p4m_resnet44", "7.60", "6.09"),
    ("gc-p4m-ResNet44", "gc_p4m_resnet44", "6.72", "5.43"),
)
_FIFTH_PUBLISHED = (("p4m-ResNet44", "p4m_resnet44", "14.20"), ("gc-p4m-ResNet44", "gc_p4m_resnet44", "13.43"))


def rows(data: str = DATA) -> tuple[Row, ...]:
    """Return the rows on a data set: the fifth of the images first, then C10 and C10+ of every network."""
    fifth = [
        Row(
            title=f"{title}, 10,000 images",
            cell=Cell(model=model, data=data, recipe="paper-cifar10", images=FIFTH),
            published=published,
        )
        for title, model, published in _FIFTH_PUBLISHED
        if data != "cifar10-lossless-subset"  # it has fewer images than that
    ]
    short = [
        dataclasses.replace(
            row,
            title=f"{row.title}, {SHORT} epochs",
            cell=dataclasses.replace(row.cell, overrides={"epochs": SHORT}),
            published="",
        )
        for row in fifth
        if data == "cifar10-jpeg75"
    ]
    whole = [
        Row(title=f"{title}, {name}", cell=Cell(model=model, data=data, recipe=recipe), published=published, priority=1)
        for name, recipe, column in (("C10", "paper-cifar10", 0), ("C10+", "paper-cifar10+", 1))
        for title, model, *published_errors in _PUBLISHED
        for published in (published_errors[column],)
    ]
    return (*fifth, *short, *whole)


ROWS = rows()

NOTES = (
    "Recipe: SGD, momentum 0.9, learning rate 0.05, x0.1 after epochs 50, 100 and 150, 300 epochs, batch 128, weight "
    "decay 1e-5; contrast normalisation (to norm 55) and ZCA whitening (bias 0.1), fitted on the first nine tenths of "
    "all training images, also where only 10,000 are learned from.",
    "Weights begin by the rule of the paper's authors, as in Table 1. The second convolution of a block is added "
    "unnormalised, so with that rule the residual branches of separable networks begin near zero, those of full ones "
    "do not.",
    "Separable convolutions have no biases: the batch norm after each would take them away.",
    "On a GPU convolutions multiply in TF32, torch's default, and runs repeat to within noise only.",
    "The paper's ResNet44 and p4m-ResNet44 are its authors' reruns; Cohen & Welling report 9.45 / 5.61 and "
    "6.46 / 4.94.",
)

_SHORT_NOTE = (
    f"{SHORT} epochs: the same recipe ended early, after the learning rate has fallen twice; without augmentation, "
    "like the others of 10,000 images."
)


def report(reading: Reading) -> Report:
    """Return the table on the original images, and one on each substitute that anything was run on."""
    original = compare("CIFAR-10, the original images", ROWS, SEEDS, reading, notes=NOTES)
    tables: list[Table | str] = [original.table]
    for substitute in SUBSTITUTES:
        shown = rows(substitute)
        short = any(row.cell.overrides.get("epochs") == SHORT for row in shown)
        compared = compare(
            f"{substitute}: a substitute for CIFAR-10", shown, SEEDS, reading, notes=(_SHORT_NOTE,) if short else ()
        )
        if compared.records:
            tables += [
                f"The numbers on {substitute} do not compare with the paper's: its images are not the original ones, "
                "or only a part of them.",
                compared.table,
            ]
    return Report(title="Table 2: test error on CIFAR-10", parts=tuple(tables))


EXPERIMENT = Experiment(
    name="table2",
    rows=ROWS,
    seeds=SEEDS,
    report=report,
    substitutes=tuple(row for substitute in SUBSTITUTES for row in rows(substitute)),
)
