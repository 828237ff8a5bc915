"""`sepgconv analyse` as a user types it."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

import sepgconv
from sepgconv.cli import main
from sepgconv.tasks import RunRecord, TrainingConfig, network_before_training, train
from tests.networks import SMALL
from tests.runs import sealed_anew

pytestmark = pytest.mark.usefixtures("small")


def run(monkeypatch, capsys, *words):
    """Call the command line; return its exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["sepgconv", "analyse", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small):
    """A run folder of a small group CNN, trained for one epoch on two classes that differ in brightness."""
    root, generator = tmp_path_factory.mktemp("trained"), np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 40), ("test", 20)):
        labels = np.arange(count) % 2
        arrays[f"x_{part}"] = (generator.integers(0, 60, (count, 28, 28)) + 150 * labels[:, None, None]).astype(
            np.uint8
        )
        arrays[f"y_{part}"] = labels
    np.savez(root / "pictures.npz", **arrays)
    wide = {"width": 4, "sharing": "full"}
    data = str(root / "pictures.npz")
    config = TrainingConfig(model=small, data=data, model_config=wide, epochs=1, seed=3, batch_size=8)
    train(config, folder=root / "run", threads=1, progress=False)
    return root / "run"


def test_one_command_shows_a_run_before_and_after(monkeypatch, capsys, tmp_path, trained):
    page, values = tmp_path / "new" / "report.html", tmp_path / "report.json"
    status, out, err = run(monkeypatch, capsys, trained, "--out", page, "--json", values, "--images", 5)
    assert status == 0, err
    assert f"{SMALL} has 2 group convolutions" in out
    ranking = [line.split()[:2] for line in out.splitlines() if line.strip().startswith("features.")]
    found = json.loads(values.read_text())
    expected = [[option["layer"], option["sharing"]] for option in found["ranked"] if option["rank"] == 1]
    assert ranking == expected
    assert len(ranking) == 4
    assert f"Written: {page}" in out
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "Grey: before" in text  # the weights it began with, unasked
    assert found["nominal_macs"] == json.loads((trained / "record.json").read_text())["nominal_macs"]
    assert len(found["layers"][1]["maps"]["measured"]) == 4
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "report.html", "report.json"]


def test_a_saved_network_and_what_to_compare_it_with(monkeypatch, capsys, tmp_path, trained):
    """The page itself is left out: what it is given decides."""
    given = []
    monkeypatch.setattr("sepgconv.analysis.render_redundancy", lambda report, before: given.append(before) or "page")
    words = ("--out", tmp_path / "page.html")
    for compared in ((trained,), (trained / "model",), (trained, "--before", "none"), (trained, "--before", "initial")):
        assert run(monkeypatch, capsys, *compared, *words)[0] == 0
    assert run(monkeypatch, capsys, trained / "model", "--before", trained, *words)[0] == 0
    unasked, model, none, initial, other = given
    assert model is None is none
    began = network_before_training(RunRecord.read(trained / "record.json")).features[3][0].weight
    for report in (unasked, initial):
        torch.testing.assert_close(report.layers[2].bank, began.double())
    ended = sepgconv.load(trained / "model").features[3][0].weight
    torch.testing.assert_close(other.layers[2].bank, ended.double())
    assert not torch.equal(began, ended)


def test_a_network_without_group_layers_is_told_so_and_has_its_page(monkeypatch, capsys, tmp_path):
    sepgconv.save(sepgconv.create_model("z2cnn", width=2), tmp_path / "model")
    status, out, err = run(monkeypatch, capsys, tmp_path / "model", "--out", tmp_path / "page.html")
    assert status == 0, err
    assert "z2cnn has no group convolution" in out
    assert "has no group convolution" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_saved_network_of_rotations_between_pixels_has_its_page(monkeypatch, capsys, tmp_path):
    sepgconv.save(sepgconv.create_model(SMALL, group="C8", sharing="full"), tmp_path / "model")
    page, values = tmp_path / "page.html", tmp_path / "page.json"
    status, out, err = run(monkeypatch, capsys, tmp_path / "model", "--out", page, "--json", values)
    assert status == 0, err
    assert f"{SMALL} has 2 group convolutions" in out
    assert "turn by 45°" in page.read_text(encoding="utf-8")
    layers = json.loads(values.read_text())["layers"]
    assert [len(layer["energies"]["gc"]["lost"]) for layer in layers[1:]] == [6, 6]  # filters, not pixels


def damaged(trained, folder, value):
    """A copy of the run whose weights of features.3.0 hold a value."""
    shutil.copytree(trained, folder)
    model = sepgconv.load(folder / "model")
    with torch.no_grad():
        model.features[3][0].weight[0, 0, 0, 0, 0] = value
    sepgconv.save(model, folder / "model")
    return sealed_anew(folder)


def test_mistakes_are_one_sentence_and_nothing_is_written(monkeypatch, capsys, tmp_path, trained):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sepgconv.models.resnet44.BLOCKS_PER_STAGE", 1)
    (tmp_path / "weights.pt").write_bytes(b"torch's own")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    sepgconv.save(sepgconv.create_model("p4m_resnet44", widths=(1, 1, 1)), tmp_path / "resnet")
    nan = damaged(trained, tmp_path / "nan", float("nan"))
    before = sorted(tmp_path.rglob("*"))
    cases = [
        (("nowhere",), "nowhere is no folder; expected the folder of a finished `sepgconv train`"),
        (("weights.pt",), "weights.pt is a file; expected the folder"),
        (("empty",), "empty holds no network"),
        (("other",), "not finished"),
        ((nan,), "features.3.0.weight holds values that are not finite"),
        ((trained, "--before", "resnet"), "has no layer in common"),
        ((trained, "--before", "nowhere"), "nowhere is no folder"),
        ((trained / "model", "--before", "initial"), "does not say how it began"),
        ((trained / "model", "--pictures", 3), "--images needs a run"),
        ((trained, "--out", "empty"), "--out must be a file, empty is a folder"),
        ((trained, "--json", "report.html"), "give them two names"),
        ((trained, "--json", "weights.pt/numbers.json"), "weights.pt"),
    ]
    for words, sentence in cases:
        status, out, err = run(monkeypatch, capsys, *words)
        assert (status, out) == (1, ""), words
        assert sentence in err
        assert err.startswith("Error: ")
        assert len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
