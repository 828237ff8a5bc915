"""`sepgconv evaluate`: figures by their definitions, the files it leaves, and many classes."""

import csv
import json

import pytest
import torch
from PIL import Image

from sepgconv.tasks import Confusion, load_run
from tests.class_folders import write


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """Images of which some are given the wrong class: the dark ones are 7, one of them light; the light ones 5."""
    folder = write(tmp_path_factory.mktemp("new") / "new", {"dark": 0, "light": 150}, count=6)
    (folder / "light" / "0.png").unlink()
    Image.new("L", (28, 28), 190).save(folder / "dark" / "x.png")
    return folder


def test_every_figure_is_that_of_the_answers(call, finished, new, tmp_path):
    files = {name: tmp_path / f"m.{name}" for name in ("csv", "png", "json")}
    words = [word for name, path in files.items() for word in (f"--{name}", path)]
    status, out, err = call("evaluate", finished, "--data", new, *words, "--answers", tmp_path / "a.csv")
    assert (status, err) == (0, "")
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "class", "probability"]
    pairs = [(row["label"], row["class"]) for row in rows]
    assert len(pairs) == 12
    matrix = [[pairs.count((true, answer)) for answer in ("dark", "light")] for true in ("dark", "light")]
    assert matrix[0][1] == 1, "a mistake is among them, or the figures are tested on perfect answers only"
    found = json.loads(files["json"].read_text())
    assert (found["images"], found["confusion"]) == (12, matrix)
    wrong = matrix[0][1] + matrix[1][0]
    assert found["metrics"]["error"] == pytest.approx(100 * wrong / 12)
    assert found["metrics"]["accuracy"] == pytest.approx(100 - 100 * wrong / 12)
    dark = found["classes"][0]
    assert dark["precision"] == pytest.approx(100 * matrix[0][0] / (matrix[0][0] + matrix[1][0]))
    assert dark["recall"] == pytest.approx(100 * matrix[0][0] / 7)
    assert dark["f1"] == pytest.approx(2 / (1 / dark["precision"] + 1 / dark["recall"]))
    assert files["csv"].read_text() == "true class,dark,light\n" + "".join(
        f"{name},{row[0]},{row[1]}\n" for name, row in zip(("dark", "light"), matrix, strict=True)
    )
    with Image.open(files["png"]) as image:
        assert min(image.size) > 300
        assert image.convert("L").getextrema()[0] < 100
    assert f"{dark['precision']:.2f} %" in out
    assert "Confusion matrix" in out


def test_the_part_is_chosen(call, finished):
    for part, count in (("train", 16), ("validation", 4), ("test", 4)):
        status, out, err = call("evaluate", finished, "--part", part)
        assert (status, f"{count} ({part} part of folder:two [classes])" in out) == (0, True), err


def test_many_classes_stay_readable(capsys):
    from sepgconv.cli.evaluate import _print_classes, _print_confusion

    names = [f"class {index}" for index in range(200)]
    matrix = torch.diag(torch.full((200,), 50))
    matrix[7, 9], matrix[3, 4] = 40, 5
    _print_classes(Confusion(matrix, names))
    _print_confusion(Confusion(matrix, names))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 35
    assert any("class 9" in line and "55.56 %" in line for line in lines)
    mistakes = [line.split() for line in lines if line.split()[-1:] in (["40"], ["5"])]
    assert mistakes == [["class", "7", "class", "9", "40"], ["class", "3", "class", "4", "5"]]


def test_a_class_that_is_never_answered_has_no_precision():
    found = Confusion(torch.tensor([[4, 0, 0], [2, 0, 0], [0, 0, 0]]), ("a", "b", "c")).by_class
    assert [(row.precision, row.recall, row.f1) for row in found[1:]] == [(None, 0.0, 0.0), (None, None, None)]


def test_a_stopped_run_is_judged_by_its_checkpoint_which_is_said(call, finished, classes, tmp_path):
    import shutil

    run = shutil.copytree(finished, tmp_path / "run")
    expected = call("evaluate", run)[1]
    (run / "record.json").unlink()
    shutil.rmtree(run / "model")
    image = next(classes.glob("*/*.png"))
    said = f"The run in {run} is not finished: its last checkpoint is taken, of epoch 16 of 16."
    status, out, err = call("evaluate", run)
    assert (status, err.splitlines()) == (0, [said])
    assert out == expected, "the weights are the same"
    status, out, err = call("predict", run, image, "--json")
    assert (status, err.splitlines(), json.loads(out)["image"]) == (0, [said], str(image))
    status, _, err = call("predict", run, image, "--checkpoint", "best")
    assert (status, "has no best checkpoint: it was not trained with --keep-best" in err) == (1, True), err
    (run / "checkpoints" / "last.ckpt").unlink()
    status, _, err = call("evaluate", run)
    assert (status, "is not finished; continue it with --resume" in err) == (1, True), err
    assert load_run(finished).record.epochs == 16
