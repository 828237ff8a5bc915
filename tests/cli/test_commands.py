"""The commands as a user types them: what they print, what they leave, and how they refuse."""

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sepgconv.cli import main
from sepgconv.data import Split, load_dataset
from tests.covering import each
from tests.forks import command, ended, fork


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Call the command line; return its exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["sepgconv", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """An .npz of two classes that differ in brightness, which every network learns."""
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 40), ("test", 20)):
        labels = np.arange(count) % 2
        noise = generator.integers(0, 60, (count, 28, 28))
        arrays[f"x_{part}"] = (noise + 150 * labels[:, None, None]).astype(np.uint8)
        arrays[f"y_{part}"] = labels
    path = tmp_path / "pictures.npz"
    np.savez(path, **arrays)
    return path


def test_models_lists_every_network_with_its_parameters(monkeypatch, capsys):
    status, out, _ = run(monkeypatch, capsys, "models")
    assert status == 0
    assert "gc_p4m_resnet44" in out
    assert "24,640" in out


@pytest.mark.parametrize("words", [(), ("table1", "--seeds", "1-5", "--only", "gc*"), ("all", "--dry-run")])
def test_paper_says_where_the_tables_went(monkeypatch, capsys, words):
    status, out, err = run(monkeypatch, capsys, "paper", *words)
    assert (status, out) == (1, "")
    assert f"`python -m experiments {' '.join(words) or 'table1'}`" in err


def test_data_lists_every_data_set(monkeypatch, capsys):
    status, out, _ = run(monkeypatch, capsys, "data")
    assert status == 0
    assert all(name in out for name in ("rotated_digits", "rotmnist", "cifar10", "folder"))


def test_info_prints_the_counts_of_the_paper(monkeypatch, capsys):
    status, out, _ = run(monkeypatch, capsys, "info", "gc_p4cnn", "--width", 30, "-o", "execution=separable")
    assert status == 0
    assert "SeparableGroupConv2d" in out
    assert "30x4x26x26" in out
    total = out.strip().splitlines()[-1].split()
    assert total == ["total", "24,640", "13,006,860", "16,506,060"]


def test_an_option_takes_a_number_for_each_layer(monkeypatch, capsys):
    once = run(monkeypatch, capsys, "info", "gc_p4cnn", "--width", "4", "-o", "rank=2")
    each = run(monkeypatch, capsys, "info", "gc_p4cnn", "--width", "4", "-o", "rank=2,2,2,2,2,2")
    other = run(monkeypatch, capsys, "info", "gc_p4cnn", "--width", "4", "-o", "rank=1,2,2,2,2,2")
    assert once[0] == each[0] == other[0] == 0, each
    assert once[1] != other[1]


@pytest.mark.parametrize(
    "words",
    [
        ("train", "gc_p4cnn", "--epochs", 1, "--out", ""),
        ("train", "gc_p4cnn", "--data-dir="),
        ("demo", "--out", ""),
        ("evaluate", ""),
        ("predict", "run", ""),
        ("separate", "run", "--rank", 1, "--out="),
        ("analyse", "run", "--json", ""),
        ("export", "run", "--to", "conv", "--out", ""),
    ],
)
def test_an_empty_name_is_no_path(words, monkeypatch, capsys, tmp_path):
    """pathlib takes it for the working folder, which the command would fill."""
    monkeypatch.chdir(tmp_path)
    status, out, err = run(monkeypatch, capsys, *words)
    assert (status, out) == (1, "")
    assert err.endswith("must name a file or folder, it is empty\n")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_is_no_text(monkeypatch, capsys, tmp_path, pictures):
    """Any bytes are a file name on Linux; TensorBoard alone cannot write there."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    words = ("train", "z2cnn", "--width", 2, "--epochs", 1, "--data", pictures, "--out", folder, "--quiet")
    with pytest.warns(UserWarning, match="TensorBoard can write to no such folder"):
        assert run(monkeypatch, capsys, *words)[0] == 0
    assert not (folder / "tensorboard").exists()
    assert (folder / "metrics.csv").read_text().count("\n") == 2
    assert run(monkeypatch, capsys, "evaluate", folder)[0] == 0
    assert run(monkeypatch, capsys, *words, "--resume")[0] == 0


def test_a_change_needs_force(monkeypatch, capsys, tmp_path, pictures):
    folder = tmp_path / "run"
    words = ("train", "z2cnn", "--width", 2, "--epochs", 1, "--data", pictures, "--out", folder, "--quiet")
    assert run(monkeypatch, capsys, *words, "--force")[0] == 1
    assert run(monkeypatch, capsys, *words, "--threads", 1)[0] == 0
    (folder / "record.json").unlink()
    status, _, err = run(monkeypatch, capsys, *words, "--threads", 2, "--resume")
    assert (status, "threads was 1, is 2" in err, "accept it with --force" in err) == (1, True, True), err
    assert run(monkeypatch, capsys, *words, "--threads", 2, "--resume", "--force")[0] == 0
    assert json.loads((folder / "record.json").read_text())["changes"] == ["after epoch 1: threads was 1, is 2"]


def test_version(monkeypatch, capsys):
    import sepgconv

    assert run(monkeypatch, capsys, "--version")[:2] == (0, f"sepgconv {sepgconv.__version__}\n")


@each(
    ("words", "sentence"),
    [
        (("info", "gc_p4cn"), "did you mean 'gc_p4cnn'"),
        (("info", "p4cnn", "--group", "p5"), "unknown group 'p5'"),
        (("info", "p4cnn", "--image-size", "20"), "smallest size is 28 x 28"),
        (("info", "resnet44", "--widths", "1,x"), "whole numbers"),
        (("info", "p4cnn", "-o", "width"), "KEY=VALUE"),
        (("train", "p4cnn", "--data", "rotmnst"), "did you mean 'rotmnist'"),
        (("train", "p4cnn", "--recipe", "papr"), "did you mean 'paper'"),
        (("train", "p4cn"), "did you mean 'p4cnn'"),
        (("train", "p4cnn", "--initialisation", "publishd"), "did you mean 'published'"),
        (("train", "p4cnn", "--devices", "foo"), "--devices foo"),
        (("train", "p4cnn", "--devices", "0"), "--devices 0"),
        (("evaluate", "nowhere"), "nowhere"),
        (("predict", "nowhere", "a.png"), "nowhere"),
    ],
)
def test_a_mistake_is_one_sentence_without_traceback(words, sentence, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(monkeypatch, capsys, *words)
    assert status == 1
    assert sentence in err
    assert "Traceback" not in err
    assert err.startswith("Error: ")
    assert list(tmp_path.iterdir()) == []


def test_train_evaluate_predict(monkeypatch, capsys, tmp_path, pictures):
    folder, picture = tmp_path / "run", tmp_path / "bright.png"
    words = ("train", "gc_p4cnn", "--width", 4, "--data", pictures, "--epochs", 4, "--out", folder)
    words += ("--initialisation", "published", "--quiet")
    status, out, err = run(monkeypatch, capsys, *words, "--threads", 1)
    assert status == 0, err
    assert "test error" in out
    record = json.loads((folder / "record.json").read_text())
    assert record["data"] == "npz:pictures"
    assert record["epochs"] == 4
    assert record["config"]["initialisation"] == "published"

    status, out, err = run(monkeypatch, capsys, "evaluate", folder)
    assert status == 0, err
    assert f"{record['test_error']:.2f} %" in out
    # Answers that change under quarter turns: none, by construction.
    assert any("predictions that change" in line and " 0.00 %" in line for line in out.splitlines())

    Image.new("L", (28, 28), 200).save(picture)
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    status, out, err = run(monkeypatch, capsys, "predict", folder, picture, tmp_path / "broken.png", "--json")
    assert status == 1  # one of the two could not be read: it is named, the other is answered
    assert "broken.png" in err
    assert json.loads(out)["image"] == str(picture)
    assert 0 <= json.loads(out)["probability"] <= 1

    status, _, err = run(monkeypatch, capsys, *words[:-1], "--resume", "--lr", 0.5)
    assert status == 1
    assert "lr was 0.01, is 0.5" in err
    status, _, err = run(monkeypatch, capsys, *words)
    assert status == 1
    assert "--resume" in err


def test_pictures_of_another_size_are_brought_to_that_of_the_run(monkeypatch, capsys, tmp_path):
    for name in ("dark", "light"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(8):
            grey = 10 * index + (150 if name == "light" else 0)
            Image.new("L", (30, 30), grey).save(tmp_path / "pictures" / name / f"{index}.png")
    run_folder = tmp_path / "run"
    words = ("train", "z2cnn", "--width", 2, "--data", tmp_path / "pictures", "--image-size", 28, "--epochs", 1)
    assert run(monkeypatch, capsys, *words, "--out", run_folder, "--quiet", "--threads", 1)[0] == 0
    status, out, err = run(monkeypatch, capsys, "evaluate", run_folder)
    assert status == 0, err
    assert "folder:pictures" in out

    (run_folder / "preprocessing.safetensors").write_bytes(b"no tensors")
    status, _, err = run(monkeypatch, capsys, "evaluate", run_folder)
    assert (status, "preprocessing.safetensors is damaged" in err) == (1, True)


def test_ctrl_c_names_the_checkpoint_and_the_way_on(tmp_path, pictures):
    """In a process of its own: the signal, the sentence and the exit status are those of a user's shell."""
    folder, said = tmp_path / "run", tmp_path / "said"
    words = ("train", "z2cnn", "--width", 2, "--data", pictures, "--epochs", 100000, "--out", folder, "--quiet")
    process = fork(command, *words, stderr=said)
    checkpoint = folder / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    assert ended(process) == 130
    err = said.read_text()
    assert "Stopped." in err
    assert str(checkpoint) in err
    assert "--resume" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_demo_prints_the_table_and_draws_the_picture(monkeypatch, capsys, tmp_path):
    digits = load_dataset("rotated_digits")
    counts = {"train": 200, "validation": 20, "test": 50}
    parts = {part: getattr(digits, part) for part in counts}
    few = {part: Split(parts[part].images[:count], parts[part].labels[:count]) for part, count in counts.items()}
    monkeypatch.setattr("sepgconv.data.load_dataset", lambda name: dataclasses.replace(digits, **few))
    status, out, err = run(monkeypatch, capsys, "demo", "--out", tmp_path, "--epochs", 1, "--threads", 1)
    assert status == 0, err
    assert "gc_p4cnn (width 30)" in out
    rows = {line.split()[0]: line for line in out.splitlines() if "%" in line and "width" in line}
    assert " 0.00 %" in rows["gc_p4cnn"]
    assert " 0.00 %" not in rows["z2cnn"]
    with Image.open(tmp_path / "rotated_digit.png") as picture:
        assert picture.width > 1000
    (tmp_path / "z2cnn" / "config.json").unlink()
    status, _, err = run(monkeypatch, capsys, "demo", "--out", tmp_path, "--epochs", 1)
    assert status == 1
    assert "not made by a demo" in err
