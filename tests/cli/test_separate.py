"""`sepgconv separate` as a user types it."""

import json
import sys

import numpy as np
import pytest

import sepgconv
from sepgconv.cli import main
from sepgconv.tasks import RunRecord, TrainingConfig, load_run, train
from tests.covering import each


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder of P4CNN, trained for two epochs on two classes that differ in brightness."""
    root, generator = tmp_path_factory.mktemp("trained"), np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 60), ("test", 20)):
        labels = np.arange(count) % 2
        pictures = generator.integers(0, 60, (count, 28, 28)) + 150 * labels[:, None, None]
        arrays |= {f"x_{part}": pictures.astype(np.uint8), f"y_{part}": labels}
    np.savez(root / "pictures.npz", **arrays)
    config = TrainingConfig(
        model="p4cnn",
        data=str(root / "pictures.npz"),
        model_config={"width": 3},
        epochs=2,
        seed=3,
        batch_size=8,
        schedule="step",
        milestones=(1,),
    )
    train(config, folder=root / "run", threads=1, progress=False)
    return root / "run"


@pytest.fixture
def separate(monkeypatch, capsys, trained):
    """Call the command on the run; return its exit status, standard output and standard error."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["sepgconv", "separate", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


def test_a_run_becomes_a_separable_run(separate, trained, tmp_path):
    status, out, err = separate(trained, "--rank", 2, "--finetune", 2, "--out", tmp_path / "new", "--threads", 1)
    assert status == 0, err
    assert "epoch 2/2" in err
    run = load_run(tmp_path / "new")
    assert (run.record.model, run.record.model_config["rank"]) == ("gc_p4cnn", [2] * 6)
    config = TrainingConfig.from_dict(run.record.config)
    assert (config.epochs, config.milestones, config.seed, config.data) == (
        2,
        (1,),
        3,
        str(trained.parent / "pictures.npz"),
    )
    lines = {line.split("  ")[1].strip(): line.split() for line in out.splitlines() if line.startswith("  ")}
    before = RunRecord.read(trained / "record.json")
    assert f"{before.parameters:,}" in lines["parameters"]
    assert f"{run.record.parameters:,}" in lines["parameters"]
    assert f"{before.test_error:.2f}" in lines["test error"]
    assert f"{run.record.test_error:.2f}" in lines["test error"]
    assert {"ms for 1 image", "ms for 128 images", "features.7.0"} <= set(lines)
    assert f"Written: {tmp_path / 'new'}" in out
    made = json.loads((tmp_path / "new" / "separation.json").read_text())
    assert (made["run"], made["sharing"], len(made["layers"])) == (str(trained), "gc", 6)


def test_a_training_that_was_broken_off_goes_on(separate, trained, tmp_path):
    words = (trained, "--rank", 2, "--finetune", 2, "--out", tmp_path / "new", "--threads", 1)
    assert separate(*words)[0] == 0
    whole = load_run(tmp_path / "new").model.state_dict()
    for name in ("record.json", "preprocessing.safetensors", "curves.png"):
        (tmp_path / "new" / name).unlink()
    status, _, err = separate(*words)
    assert (status, "already holds a run" in err, "--resume" in err) == (1, True, True)
    status, _, err = separate(*words, "--resume")
    assert status == 0, err
    for key, value in load_run(tmp_path / "new").model.state_dict().items():
        assert (value == whole[key]).all()


def test_analyse_does_not_invent_what_a_separated_run_began_with(monkeypatch, capsys, separate, trained, tmp_path):
    assert separate(trained, "--rank", 1, "--finetune", 1, "--out", tmp_path / "new")[0] == 0
    monkeypatch.setattr("sepgconv.analysis.render_redundancy", lambda report, before: "page")
    for words, status, sentence in (
        (("--before", "initial"), 1, "began with the weights of another run"),
        ((), 0, ""),
        (("--before", "initial"), 1, "began with the weights of another run"),
        (("--before", str(trained)), 0, ""),
    ):
        command = ["sepgconv", "analyse", str(tmp_path / "new"), *words, "--out", str(tmp_path / "page.html")]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as stop:
            main()
        assert (stop.value.code or 0) == status
        assert sentence in capsys.readouterr().err
        (tmp_path / "new" / "separation.json").unlink(missing_ok=True)  # the config says it, too


def test_training_begins_with_the_separated_weights(separate, trained, tmp_path):
    assert separate(trained, "--rank", 9, "--finetune", 0, "--out", tmp_path / "net")[0] == 0
    network = sepgconv.load(tmp_path / "net")
    assert network.name == "gc_p4cnn"
    expected = sepgconv.convert.separate(load_run(trained).model, "gc", rank=9).model
    for key, value in expected.state_dict().items():
        assert (network.state_dict()[key] == value).all()
    # Small steps from there stay near it.
    assert separate(trained, "--rank", 9, "--lr", 1e-9, "--finetune", 1, "--out", tmp_path / "near")[0] == 0
    near = load_run(tmp_path / "near").model.state_dict()
    for key, value in expected.state_dict().items():
        if "running" not in key and "batches" not in key:
            np.testing.assert_allclose(near[key].numpy(), value.numpy(), atol=1e-6)


def test_a_budget_leaves_layers_as_they_are(separate, trained, tmp_path):
    status, out, _ = separate(trained, "--budget", 0.25, "--sharing", "g", "--finetune", 0, "--out", tmp_path / "net")
    assert status == 0
    assert "sharing g" in out
    ranks = sepgconv.load(tmp_path / "net").config["rank"]
    assert len(ranks) == 6
    assert max(ranks) > 0


@each(
    ("words", "sentence"),
    [
        (["{run}"], "give a rank, a budget, or both"),
        (
            ["{run}", "--budget", "0.01", "--rank", "1"],
            "no layer can be separated up to rank 1 within a budget of 1.0 %",
        ),
        (["{run}", "--budget", "2"], "from 0 to 1; got 2.0"),
        (["{run}", "--rank", "1", "--out", "{run}"], "already holds a run"),
        (["{run}", "--rank", "1", "--finetune", "0", "--out", "{run}"], "exists; choose another folder with --out"),
        (["{tmp}/none", "--rank", "1"], "is no folder"),
        (["{run}", "--rank", "1", "--lr", "-1", "--out", "{tmp}/new"], "lr must be a number above 0, got -1.0"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(separate, trained, tmp_path, words, sentence):
    before = sorted(trained.rglob("*"))
    status, _, err = separate(*(word.format(run=trained, tmp=tmp_path) for word in words))
    assert status == 1
    assert sentence in err
    assert err.count("Error:") == 1
    assert sorted(trained.rglob("*")) == before
    assert not list(tmp_path.iterdir())


def test_a_separable_run_has_nothing_to_separate(separate, trained, tmp_path):
    assert separate(trained, "--rank", 1, "--finetune", 1, "--out", tmp_path / "small")[0] == 0
    status, _, err = separate(tmp_path / "small", "--rank", 1)
    assert status == 1
    assert "has no group convolution of more than one pixel" in err
