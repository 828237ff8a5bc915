"""`sepgconv export`: what it leaves, what it prints, and that it leaves nothing that is wrong."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.forks import command, ended, fork
from tests.networks import SMALL, register_small
from tests.runs import sealed_anew


@pytest.fixture(scope="module")
def finished(as_installed, tmp_path_factory) -> Path:
    """The folder of a finished run on pictures of a file that is still there."""
    register_small(as_installed)
    folder = tmp_path_factory.mktemp("export")
    generator = np.random.default_rng(0)
    labels = np.arange(48) % 2
    pictures = (generator.integers(0, 60, (48, 28, 28)) + 150 * labels[:, None, None]).astype(np.uint8)
    parts = {"train": slice(24), "test": slice(24, None)}
    arrays = {
        f"{kind}_{part}": values[at] for part, at in parts.items() for kind, values in (("x", pictures), ("y", labels))
    }
    np.savez(folder / "pictures.npz", **arrays)
    config = as_installed.tasks.TrainingConfig(
        model=SMALL, model_config={"width": 2}, data=str(folder / "pictures.npz"), epochs=1
    )
    as_installed.tasks.train(config, folder=folder / "run", progress=False, threads=1)
    return folder / "run"


@pytest.fixture
def run(as_installed, monkeypatch, capsys):
    """Call the command line; return its exit status, standard output and standard error."""
    from sepgconv.cli import main

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["sepgconv", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def scores(as_installed, finished):
    """Pictures of another number and size, and what the run says to them."""
    x = torch.rand(3, 1, 32, 36)
    return x, as_installed.tasks.load_run(finished).model(x).detach()


def difference(out: str) -> float:
    return float(re.search(r"largest difference from the network, .*: (\S+) of the largest score", out)[1])


def test_conv(run, finished, scores, tmp_path):
    status, out, err = run("export", finished, "--to", "conv", "--out", tmp_path / "net.pt2", "--threads", 1)
    assert status == 0, err
    assert "on 24 images of npz:pictures and random ones" in out
    assert "ordinary layers, for any number of images of any size" in out
    assert "input: float32 images (batch, 1, height and width of 10 or more) in [0, 1]" in out
    assert "1 thread" in out
    assert f"{(tmp_path / 'net.pt2').stat().st_size:,}" in out
    assert 0 < difference(out) < 1e-5
    x, expected = scores
    torch.testing.assert_close(torch.export.load(tmp_path / "net.pt2").module()(x), expected, rtol=1e-4, atol=1e-5)


def test_onnx(run, finished, scores, tmp_path):
    words = ("export", finished, "--to", "onnx", "--out", tmp_path / "net.onnx", "--size", 30, "--opset", 20)
    status, out, err = run(*words)
    assert status == 0, err
    assert "on random images" in out  # those of the run have another size
    assert "ONNX, opset 20, for any number of images of any size" in out
    assert 0 < difference(out) < 1e-5
    import onnxruntime

    x, expected = scores
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    found = session.run(None, {"image": x.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_an_onnx_file_says_what_it_takes_and_what_its_scores_are_of(as_installed, run, finished, tmp_path):
    import json

    import onnxruntime

    status, out, err = run("export", finished, "--to", "onnx", "--out", tmp_path / "net.onnx")
    assert status == 0, err
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    said = session.get_modelmeta().custom_metadata_map
    record = as_installed.tasks.RunRecord.read(finished / "record.json")
    assert json.loads(said["classes"]) == record.classes
    assert (said["input_channels"], said["input_height"], said["input_width"]) == ("grey", "28", "28")
    assert (said["input_range"], said["preprocessing"], said["task"]) == ("0 to 1", "identity", "classification")
    assert (said["sepgconv_version"], said["commit"]) == (as_installed.__version__, record.commit or "")
    (given,) = session.get_inputs()
    assert given.shape == ["batch", 1, "height", "width"]
    assert (tmp_path / "net.classes.txt").read_text().splitlines() == record.classes
    assert "net.classes.txt: the 2 classes of its scores, in their order" in out
    times = float(re.search(r"size: (\S+) times that of the network's parameters", out)[1])
    weights = sum(weight.numel() for weight in as_installed.load(finished / "model").parameters())
    assert times == pytest.approx((tmp_path / "net.onnx").stat().st_size / weights / 4, rel=0.05)


def test_torch(run, finished, tmp_path):
    status, out, err = run("export", finished, "--to", "torch", "--out", tmp_path / "net.pt2")
    assert status == 0, err
    assert "the network's own layers, for any number of images\n" in out
    assert "(batch, 1, 28, 28)" in out
    assert "features.1.0.pointwise" in torch.export.load(tmp_path / "net.pt2").state_dict


def test_a_saved_network(as_installed, run, finished, scores, tmp_path):
    """As `sepgconv separate` leaves one that is not trained on."""
    status, out, err = run("export", finished / "model", "--to", "conv", "--out", tmp_path / "net.pt2")
    assert status == 0, err
    assert "on random images" in out
    x, expected = scores
    torch.testing.assert_close(torch.export.load(tmp_path / "net.pt2").module()(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "to", "given", "least"),
    [
        (torch.bfloat16, "conv", "bfloat16", 0.05),
        (torch.bfloat16, "onnx", "float32", 1e-5),
        (torch.float16, "conv", "float16", 0.05),
        (torch.float64, "conv", "float64", 1e-12),
    ],
)
def test_runs_in_other_precisions(as_installed, run, finished, tmp_path, dtype, to, given, least):
    """As `train --precision bf16-true` leaves them."""
    import json
    import shutil

    shutil.copytree(finished, tmp_path / "run")
    before = as_installed.load(finished / "model")
    as_installed.save(before.to(dtype), tmp_path / "run" / "model")
    sealed_anew(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "record.json").read_text())["precision"] == "32-true"
    file = tmp_path / ("net.onnx" if to == "onnx" else "net.pt2")
    status, out, err = run("export", tmp_path / "run", "--to", to, "--out", file)
    assert status == 0, err
    assert f"input: {given} images (batch, 1, " in out
    assert str(dtype).removeprefix("torch.") in out
    assert difference(out) < least
    x = torch.rand(2, 1, 28, 28)
    if to != "onnx":
        found = torch.export.load(file).module()(x.to(dtype))
        assert found.dtype == dtype
        expected = before(x.to(dtype)).detach()
        torch.testing.assert_close(found, expected, rtol=0, atol=least * float(expected.abs().max()))


def test_a_file_that_answers_otherwise_is_not_left(run, finished, tmp_path, monkeypatch):
    class Other(nn.Module):
        def forward(self, x):
            return x.mean((1, 2, 3)).unsqueeze(1).expand(-1, 2) + 0.5

    save, axes = torch.export.save, ({0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},)
    other = torch.export.export(Other(), (torch.randn(2, 1, 28, 28),), dynamic_shapes=axes)
    monkeypatch.setattr(torch.export, "save", lambda program, path: save(other, path))
    status, out, err = run("export", finished, "--to", "conv", "--out", tmp_path / "net.pt2")
    assert status == 1
    assert out == ""
    assert re.match(
        r"Error: the export differs from the network by \S+ of the largest output .* no file was written", err
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--to", "onnx", "--size", 8), "the smallest size is 10 x 10"),
        (("--to", "conv"), "ends in .pt2"),
        (("--to", "onnx", "--opset", 12), "opset must be 13 to 23"),
        (("--to", "onnx", "--opset", 0), "opset must be 13 to 23, got 0"),
        (("--to", "conv", "--opset", 18), "leave it out with --to conv"),
    ],
)
def test_a_mistake_is_one_sentence(run, finished, tmp_path, words, sentence):
    status, _, err = run("export", finished, *words, "--out", tmp_path / "net.onnx")
    assert status == 1
    assert err.startswith("Error: ")
    assert sentence in err
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_an_older_version_is_read_with_a_sentence(as_installed, tmp_path):
    """In a process of its own, where the sentence is one line on standard error."""
    old = Path(__file__).parents[1] / "tasks" / "run_of_version_0.1.0"
    words = ("export", old, "--to", "conv", "--out", tmp_path / "net.pt2", "--threads", 1)
    assert ended(fork(command, *words, stderr=tmp_path / "said")) == 0, (tmp_path / "said").read_text()
    (sentence,) = (tmp_path / "said").read_text().splitlines()
    assert sentence.startswith("Warning: ")
    assert "was written by an older version, which kept no digests" in sentence
    with pytest.warns(UserWarning, match="older version"):
        network = as_installed.tasks.load_run(old).model
    x = torch.rand(2, 1, 28, 28)
    program = torch.export.load(tmp_path / "net.pt2").module()
    torch.testing.assert_close(program(x), network(x), rtol=1e-4, atol=1e-5)


def test_what_is_no_run_is_refused(run, tmp_path):
    status, _, err = run("export", tmp_path / "nowhere", "--to", "onnx", "--out", tmp_path / "net.onnx")
    assert (status, "nowhere is no folder" in err) == (1, True)


def test_weights_that_are_no_numbers(as_installed, run, finished, tmp_path):
    import shutil

    shutil.copytree(finished, tmp_path / "run")
    model = as_installed.load(finished / "model")
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    as_installed.save(model, tmp_path / "run" / "model")
    sealed_anew(tmp_path / "run")
    status, _, err = run("export", tmp_path / "run", "--to", "onnx", "--out", tmp_path / "net.onnx")
    assert (status, "classifier.bias holds values that are not finite" in err) == (1, True)
    assert not (tmp_path / "net.onnx").exists()


def test_help_names_the_forms(run):
    status, out, _ = run("export", "--help")
    assert status == 0
    assert all(form in out for form in ("conv", "onnx", "torch", ".pt2"))
