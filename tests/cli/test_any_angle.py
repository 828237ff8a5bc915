"""The commands on a group of any angle: trained, resumed, read again, exported; names of groups in help and errors."""

import json
import sys

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def run(as_installed, monkeypatch, capsys):
    """Call the command line; return its exit status, standard output and standard error."""
    from sepgconv.cli import main

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["sepgconv", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def images(tmp_path):
    """An .npz of two classes that differ in brightness."""
    noise, arrays = np.random.default_rng(0), {}
    for part, count in (("train", 24), ("test", 12)):
        labels = np.arange(count) % 2
        bright = noise.integers(0, 60, (count, 28, 28)) + 150 * labels[:, None, None]
        arrays |= {f"x_{part}": bright.astype(np.uint8), f"y_{part}": labels}
    np.savez(tmp_path / "images.npz", **arrays)
    return tmp_path / "images.npz"


def test_from_training_to_a_file(run, images, tmp_path):
    folder = tmp_path / "run"
    words = ["train", "gc_p4cnn", "--group", "C8", "--width", 2, "-o", "kernel=steerable", "--data", images]
    words += ["--epochs", 1, "--out", folder, "--quiet", "--threads", 1]
    assert run(*words)[0] == 0
    record = json.loads((folder / "record.json").read_text())
    assert (record["model_config"]["group"], record["model_config"]["kernel"]) == ("C8", "steerable")
    assert run(*words, "--resume")[0] == 0
    status, _, said = run(*["C16" if word == "C8" else word for word in words], "--resume")
    assert (status, "group was 'C8', is 'C16'" in said) == (1, True)
    assert run("evaluate", folder)[0] == 0
    Image.new("L", (28, 28), 200).save(tmp_path / "bright.png")
    assert run("predict", folder, tmp_path / "bright.png")[0] == 0
    status, out, _ = run("export", folder, "--to", "conv", "--out", tmp_path / "network.pt2", "--threads", 1)
    assert status == 0
    assert "largest difference from the network" in out


def test_names_of_groups_in_help_and_errors(run):
    status, out, _ = run("info", "gc_p4cnn", "--width", 2, "--group", "D6")
    assert (status, "group=D6" in out, "2x12x26x26" in out) == (0, True, True)
    for name, said in {"c8": "C{n}, D{n} with n from 1 to 64", "C65": "has 1 to 64 rotations, got 65"}.items():
        status, _, error = run("info", "gc_p4cnn", "--group", name)
        assert (status, said in error) == (1, True)
    status, out, _ = run("train", "--help")
    assert "D{n} with n from 1 to 64" in " ".join(out.replace("│", " ").split())
