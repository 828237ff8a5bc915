"""`sepgconv train` as it is typed: what it says, how folders are called, configs from files, runs that go on."""

import json
import shutil
import sys

import pytest
from PIL import Image

from sepgconv.tasks import RunRecord, TrainingConfig, load_run, read_history
from tests.class_folders import write
from tests.covering import each

QUICK = ("--epochs", 1, "--batch-size", 8, "--threads", 1, "--accelerator", "cpu")


def test_it_says_what_it_has_and_where_it_goes(call, classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = call("train", "gc_p4cnn", "--width", 2, "--data", classes, *QUICK)
    assert status == 0, err
    for said in (
        "folder:two [classes], 24 images of 1 x 28 x 28",
        "2 classes, with their training images: dark 8, light 8.",
        "Network: gc_p4cnn (width 2). Device: ",
        "train accuracy",
    ):
        assert said in out + err, said
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == "gc_p4cnn-w2-two__classes_-default-b8-e1-seed1"
    # The same again is refused; with another option it has a name of its own.
    status, _, err = call("train", "gc_p4cnn", "--width", 2, "--data", classes, *QUICK, "--quiet")
    assert (status, "already holds a run" in err, "continue it with --resume" in err) == (1, True, True), err
    assert call("train", "gc_p4cnn", "--width", 2, "--data", classes, *QUICK, "--quiet", "--lr", 0.1)[0] == 0
    assert "gc_p4cnn-w2-two__classes_-default-lr0.1-b8-e1-seed1" in {path.name for path in folder.parent.iterdir()}


def test_an_uneven_folder_and_a_network_with_one_answer_are_warned_of(call, tmp_path):
    folder = write(tmp_path / "uneven", {"many": 0}, count=60)
    write(folder, {"few": 5}, count=4)
    words = (
        "train",
        "z2cnn",
        "--width",
        2,
        "--data",
        folder,
        *QUICK,
        "--lr",
        1e-6,
        "--out",
        tmp_path / "run",
        "--quiet",
    )
    status, _, err = call(*words)
    assert status == 0
    assert "has 42 training images of many and 2 of few" in err
    assert "for each of" in err
    assert "it has learned nothing, or only which class is the largest" in err


def test_configs_of_files_come_after_the_command_line(call, classes, finished, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(
        f"model: gc_p4cnn\nmodel_config: {{width: 2}}\ndata: {json.dumps(str(classes))}\n"
        "epochs: 7\nlr: 0.5\nweight_decay: 1e-3\n"
    )
    status, _, err = call("train", "--config", file, *QUICK, "--lr", 0.02, "--out", tmp_path / "a", "--quiet")
    assert status == 0, err
    config = TrainingConfig.from_dict(RunRecord.read(tmp_path / "a" / "record.json").config)
    assert (config.model, config.model_config, config.epochs, config.lr) == ("gc_p4cnn", {"width": 2}, 1, 0.02)
    assert config.weight_decay == 1e-3
    # What a run wrote makes the same network again.
    words = ("--config", finished / "config.json", "--threads", 1, "--accelerator", "cpu", "--out", tmp_path / "b")
    assert call("train", *words, "--quiet")[0] == 0
    assert weights(tmp_path / "b") == weights(finished)


def weights(run):
    return (run / "model" / "model.safetensors").read_bytes()


@each(
    ("text", "words", "sentence"),
    [
        ("model: z2cnn\nepoch: 3", (), "unknown training option 'epoch'; did you mean 'epochs'"),
        ("- a\n- b", (), "must hold options with their values"),
        ("a: [", (), "is no YAML or JSON"),
        ("!!python/object/apply:os.mkdir [executed]", (), "is no YAML or JSON"),
        ("data: x", (), "a training config needs model"),
        (None, (), "no network is named; give one"),
        (None, ("{run}",), "is the folder of a run; go on with it by --resume or --extend EPOCHS"),
        (None, ("{run}", "--extend", 1, "--config", "x.yaml"), "has a config of its own; leave out --config"),
        (None, ("z2cnn", "--extend", 1), "holds no finished run, which --extend needs"),
        (None, ("z2cnn", "--num-classes", 7), "--num-classes is 7, but rotated_digits has 10 classes"),
        (None, ("z2cnn", "--freeze", "stem"), "no part of the network is called 'stem'"),
        (None, ("z2cnn", "--freeze", "features,classifier"), "leaves nothing to learn"),
        (
            None,
            ("z2cnn", "--init", "nowhere"),
            "nowhere is no folder and no name of trained weights; expected the folder of a run",
        ),
        (None, ("z2cnn", "--logger", "wandb"), "needs the package 'wandb', which is not installed"),
        (None, ("z2cnn", "--logger", "wnadb"), "unknown logger 'wnadb'; did you mean 'wandb'"),
        (None, ("z2cnn", "--no-hold-out", "--keep-best"), "--keep-best asks the validation part"),
        (None, ("z2cnn", "--devices", "foo"), "--devices foo"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(text, words, sentence, call, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    if text is not None:
        (tmp_path / "c.yaml").write_text(text)
        words = ("--config", "c.yaml")
    words = [word.format(run=finished) if isinstance(word, str) else word for word in words]
    status, out, err = call("train", *words, "--width", 2, "--quiet")
    assert (status, out, sentence in err) == (1, "", True), err
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"c.yaml"}


def test_a_finished_run_is_extended_and_a_stopped_one_goes_on_by_its_folder(call, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    words = ("--threads", 1, "--accelerator", "cpu", "--quiet")
    status, _, err = call("train", run, "--extend", 2, *words)
    assert status == 0, err
    record = RunRecord.read(run / "record.json")
    assert (record.epochs, record.config["epochs"], record.config["extended_at"]) == (18, 18, [16])
    assert RunRecord.read(run / "record-epoch16.json") == RunRecord.read(finished / "record.json")
    rates = [row["learning_rate"] for row in read_history(run / "metrics.csv")]
    assert rates[16] > 0.5 * rates[0] > rates[15], "the schedule began anew"
    assert weights(run) != weights(finished)
    (run / "record.json").unlink()
    status, _, err = call("train", run, "--resume", *words)
    assert (status, RunRecord.read(run / "record.json").epochs) == (0, 18), err
    # Nothing more is possible than with the data there were.
    before = (run / "record.json").read_bytes(), (run / "config.json").read_bytes()
    other = write(tmp_path / "other", {"dark": 0, "light": 150}, count=5)
    status, _, err = call("train", run, "--extend", 2, "--data", other, *words)
    assert status == 1, err
    assert (run / "record.json").read_bytes(), (run / "config.json").read_bytes() == before
    assert load_run(run).record.epochs == 18


def test_the_rate_finder_prints_and_writes_nothing(call, classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = call("train", "z2cnn", "--width", 2, "--data", classes, "--batch-size", 8, "--find-lr")
    assert status == 0, err
    rate = float(out.strip().splitlines()[-1].rpartition("--lr ")[2])
    assert 1e-7 <= rate <= 0.1
    assert list(tmp_path.iterdir()) == []


def test_another_folder_of_classes_begins_with_a_runs_weights(call, finished, tmp_path):
    data = write(tmp_path / "three", {"dark": 0, "grey": 90, "light": 180}, count=8)
    words = ("train", "z2cnn", "--width", 4, "--data", data, *QUICK, "--quiet", "--init", finished)
    words += ("--freeze", "features", "--lr-backbone", 0.001, "--num-classes", 3)
    status, out, err = call(*words, "--out", tmp_path / "run")
    assert (status, "weights began as those of" in out) == (0, True), err
    before, after = load_run(finished).model.state_dict(), load_run(tmp_path / "run").model.state_dict()
    same = {name for name in after if after[name].shape == before[name].shape and (after[name] == before[name]).all()}
    assert set(after) - same == {"classifier.weight", "classifier.bias"}, "frozen with their statistics"
    record = RunRecord.read(tmp_path / "run" / "record.json")
    assert record.origin["from"] == str(finished)
    assert record.origin["data"] == "folder:two [classes]"
    assert record.origin["drawn"] == ["classifier.weight", "classifier.bias"]
    status, _, err = call(*words[:3], 3, *words[4:], "--out", tmp_path / "b")
    assert status == 1
    assert "tensors differ before the head (" in err
    assert err.count(" there and ") == 5
    assert "and " in err.rpartition(";")[0]


def test_features_are_what_the_head_reads(call, finished, classes, tmp_path):
    import numpy as np
    import torch

    assert call("embed", finished, classes, "--out", tmp_path / "f.npz", "--batch-size", 5)[0] == 0
    assert call("embed", finished, classes, "--out", tmp_path / "f.csv")[0] == 0
    with np.load(tmp_path / "f.npz") as found:
        features, paths = found["features"], found["paths"]
    run = load_run(finished)
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    with torch.no_grad():
        maps = run.model.forward_features(run.preprocessing(torch.from_numpy(pixels)[:, None] / 255))
        expected = run.model.forward_head(maps, pre_logits=True)
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-4, atol=1e-5)
    lines = (tmp_path / "f.csv").read_text().splitlines()
    assert lines[0] == "image,feature 0,feature 1,feature 2,feature 3"
    assert [float(cell) for cell in lines[1].rsplit(",", 4)[1:]] == pytest.approx(features[0].tolist(), rel=1e-5)
    status, _, err = call("embed", finished, classes, "--out", tmp_path / "f.txt")
    assert (status, "--out must end with .npz or .csv" in err) == (1, True)
