"""Tasks by name, and classification against its definition. A task from outside is trained in `tests/outside`."""

import dataclasses
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sepgconv.tasks import (
    Classification,
    Metric,
    RunRecord,
    TrainingConfig,
    evaluate,
    get_task,
    list_tasks,
    load_run,
    measure,
    read_history,
    register_task,
    registry,
    train,
)

SOME = {"model": "z2cnn", "data": "rotated_digits"}
ALL = ("classification", "multi-label", "regression", "vector", "orientation", "segmentation")
VALID = f"valid: {', '.join(ALL)}"


@pytest.fixture
def own_registry(monkeypatch):
    """A registry that forgets what a test registers."""
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))


class Side(Classification):
    name = "side"
    further_metrics = ()
    metrics = (Metric(name="failure", unit="%", most=100.0), Metric(name="wrong"))

    def measure(self, counts):
        return {"failure": super().measure(counts)["error"], "wrong": float(counts[0])}


def test_classification_is_the_task_of_configs_that_name_none():
    assert list_tasks() == ALL
    assert TrainingConfig(**SOME).task == "classification"
    assert TrainingConfig.from_dict(SOME) == TrainingConfig(**SOME, task="classification")


def test_the_default_task_is_in_no_file_and_another_one_is(own_registry):
    """Configs of older versions, fingerprints of cells and committed records have no such key."""
    register_task(Side())
    assert "task" not in TrainingConfig(**SOME).to_dict()
    other = TrainingConfig(**SOME, task="side")
    assert other.to_dict()["task"] == "side"
    assert TrainingConfig.from_dict(json.loads(json.dumps(other.to_dict()))) == other


def test_an_unknown_task_lists_the_known_ones():
    message = rf"unknown task 'classificaton'; did you mean 'classification'\? \({VALID}\)"
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**SOME, task="classificaton")
    with pytest.raises(ValueError, match=message):
        get_task("classificaton")
    with pytest.raises(ValueError, match="task must be a name, got 3"):
        TrainingConfig.from_dict({**SOME, "task": 3})


def test_what_is_no_task_or_has_another_ones_name_cannot_be_registered(own_registry):
    class Nameless(Side):
        name = ""

    class Unjudged(Side):
        name = "unjudged"
        metrics = ()

    class Impostor(Side):
        name = "classification"

    with pytest.raises(ValueError, match="Nameless needs a name"):
        register_task(Nameless())
    with pytest.raises(ValueError, match="the task 'unjudged' needs a metric"):
        register_task(Unjudged())
    with pytest.raises(ValueError, match="'classification' stands for another task already"):
        register_task(Impostor())
    register_task(Classification())  # as a module that is imported again does
    assert list_tasks() == ALL


def test_the_loss_and_error_of_classification_are_those_of_the_definition():
    task, scores, labels = get_task("classification"), torch.randn(20, 3), torch.arange(20) % 3
    torch.testing.assert_close(task.loss(scores, labels), 20 * F.cross_entropy(scores, labels))
    wrong = sum(int(s.argmax()) != int(label) for s, label in zip(scores, labels, strict=True))
    counts = task.count(scores[:7], labels[:7]) + task.count(scores[7:], labels[7:])
    assert task.measure(counts) == {"error": 100 * wrong / 20}
    assert 0 < wrong < 20


@pytest.mark.parametrize("labels", [torch.zeros(4), torch.zeros(4, 2, 2, dtype=torch.int64)])
def test_classification_raises_for_labels_of_another_kind(labels):
    with pytest.raises(ValueError, match=r"classification: expected int64 labels of shape \(n,\), got"):
        get_task("classification").check(labels, 3)


def test_augmentation_moves_the_images_and_leaves_labels():
    images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
    moved, same = get_task("classification").augment(nn.Threshold(0.5, 2.0), images, labels)
    assert torch.equal(moved, images.where(images > 0.5, 2.0))
    assert same is labels


def test_a_run_of_another_task_is_judged_recorded_and_drawn_by_its_own_metrics(
    tmp_path, config, bars, own_registry, capfd
):
    register_task(Side())
    other = dataclasses.replace(config, task="side", epochs=1)
    record = train(other, folder=tmp_path / "run", data=bars, threads=1, accelerator="cpu")
    assert "running train failure" in capfd.readouterr().err
    assert (record.task, record.config["task"]) == ("side", "side")
    assert list(record.figures) == [
        *(f"{part}_failure" for part in ("test", "validation", "train")),
        *(f"{part}_wrong" for part in ("test", "validation", "train")),
    ]
    assert record.test_wrong == record.test_failure * 21 / 100
    with pytest.raises(AttributeError, match="has no 'test_error'; its figures are test_failure, validation_failure"):
        _ = record.test_error
    again = RunRecord.read(tmp_path / "run" / "record.json")
    assert again == record
    assert again.to_json() == record.to_json()
    run = load_run(tmp_path / "run")
    assert evaluate(run, bars.test) == record.test_failure
    assert measure(run, bars.test) == {"failure": record.test_failure, "wrong": record.test_wrong}
    assert evaluate(run, bars.test, task="classification") == record.test_failure
    (row,) = read_history(tmp_path / "run" / "metrics.csv")
    assert row["validation_wrong"] == record.validation_wrong
    with pytest.raises(ValueError, match="task was 'side', is 'classification'"):
        train(dataclasses.replace(config, epochs=1), folder=tmp_path / "run", data=bars, resume=True, progress=False)


def test_a_record_of_a_task_that_is_not_registered_says_so():
    with pytest.raises(ValueError, match=rf"unknown task 'ages' \({VALID}\)"):
        RunRecord.from_dict({"config": {**SOME, "task": "ages"}})
