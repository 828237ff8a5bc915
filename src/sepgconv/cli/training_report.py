"""What `sepgconv train` says before and after a training, and what it warns of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sepgconv._numbers import count, large, plural
from sepgconv._terminal import say
from sepgconv.cli.output import print_table

if TYPE_CHECKING:
    from sepgconv.data import Dataset, Split
    from sepgconv.tasks import RunRecord, TrainingConfig

SHOWN = 12  # classes with their counts
UNEVEN = 10  # times as many images of the largest class as of the smallest
LOOKED_AT = 2000  # test images, to see whether one class takes all answers


def say_what_is_trained(config: "TrainingConfig", data: "Dataset", folder: Path, device: str) -> None:
    """Say what a training has: images, classes with their counts, how they were divided, size, device, folder."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    shape = " x ".join(map(str, data.image_shape))
    say(f"Data: {data.name}, {count(sum(map(len, parts.values())))} images of {shape}.")
    if data.fit is not None:
        place = "in memory" if data.in_memory else "on the disk"
        say(f"Images: {place}; other sizes: {data.fit}; preprocessing: {data.preprocessing.name}.")
    if data.division is not None:
        for line in str(data.division).splitlines():
            say(line)
    else:
        say(f"Parts: {', '.join(f'{count(len(split))} {part}' for part, split in parts.items())}.")
    if not config.hold_out:
        say("The validation part is trained on, too.")
    if (counts := class_counts(data.train, data.classes)) is not None:
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} {count(number)}" for name, number in ordered[:SHOWN])
        more = f" ... {ordered[-1][0]} {count(ordered[-1][1])}" if len(ordered) > SHOWN else ""
        say(f"{plural(len(ordered), 'class', 'classes')}, with their training images: {shown}{more}.")
    say(f"Network: {config.model}{_options(config.model_config)}. Device: {device}. Folder: {folder}.")


def warn_if_uneven(data: "Dataset") -> None:
    """Warn if one class has many times the training images of another."""
    counts = class_counts(data.train, data.classes)
    if not counts or len(counts) < 2:
        return
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] > UNEVEN * counts[least]:
        say(
            f"Warning: {data.name} has {count(counts[most])} training images of {most} and {count(counts[least])} of "
            f"{least}: a network may answer rare classes seldom or never; --class-weights balanced or --sampling "
            "balanced count all classes alike"
        )


def warn_if_one_answer(folder: Path, data: "Dataset") -> None:
    """Warn if a trained network gives one and the same class to all test images, which are of several."""
    import torch

    from sepgconv.tasks import load_run

    run = load_run(folder)
    images, labels = data.test.images[:LOOKED_AT], data.test.labels[:LOOKED_AT]
    if not data.classes or labels.ndim != 1 or len(set(labels.tolist())) < 2:
        return
    answers: set[int] = set()
    with torch.inference_mode():
        for batch in images.split(256):
            dtype = next(run.model.parameters()).dtype
            found = run.task.probabilities(run.model(batch.to(dtype)).float())
            if found is None:
                return
            answers |= set(found.argmax(1).tolist())
    if len(answers) == 1:
        answer, number = run.classes[answers.pop()], plural(len(images), "test image")
        say(
            f"Warning: the network answers {answer} for each of {number}: it has learned nothing, or only which class "
            "is the largest; try another learning rate (--find-lr), more epochs, or more images of the other classes"
        )


def print_result(record: "RunRecord", folder: Path) -> None:
    """Print what a run left, as a table on standard output."""
    rows = [("data", record.data), ("epochs", _epochs(record)), ("parameters", count(record.parameters))]
    rows += [("MACs, nominal / executed", f"{large(record.nominal_macs)} / {large(record.executed_macs)}")]
    for metric in record.fitted_task().metrics:
        for part in ("train", "validation", "test"):
            value = record.figures[f"{part}_{metric.name}"]
            rows.append((f"{part} {metric.name}", metric.text(value)))
            if (metric.name, metric.unit) == ("error", "%") and value is not None:
                rows.append((f"{part} accuracy", metric.text(100 - value)))
    if record.origin is not None:
        rows.append(("weights began as those of", str(record.origin.get("from"))))
    rows += [("seconds", f"{record.seconds:.1f}"), ("folder", str(folder))]
    print_table(f"{record.model}, seed {record.seed}", ("", "value"), rows, left=2)


def class_counts(split: "Split", classes: Sequence[str]) -> dict[str, int] | None:
    """Return how many images of a part each class has; None where images have no class, or one at every pixel."""
    import torch

    labels: Any = split.labels
    if not classes or not isinstance(labels, torch.Tensor):
        return None
    if labels.ndim == 1 and split.has_classes:
        numbers = labels.bincount(minlength=len(classes)).tolist()
    elif labels.ndim == 2 and labels.shape[1] == len(classes):  # several classes of one image
        numbers = labels.sum(0).round().int().tolist()
    else:
        return None
    return dict(zip(classes, numbers, strict=True))


def _epochs(record: "RunRecord") -> str:
    planned, said = record.config.get("epochs", record.epochs), count(record.epochs)
    if record.epochs < planned:
        said += f" of {count(planned)}, stopped early"
    if record.chosen_epoch is not None:
        said += f"; the network is that of epoch {count(record.chosen_epoch)}, the best one"
    return said


def _options(model_config: Mapping[str, Any]) -> str:
    said = ", ".join(f"{name} {value}" for name, value in model_config.items())
    return f" ({said})" if said else ""
