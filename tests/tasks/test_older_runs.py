"""A run folder that version 0.1.0 wrote, without any digest: all of it is still read, and what it lacks is said."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

import sepgconv
from sepgconv._files import file_digest, read_sealed_json
from sepgconv.data import load_dataset
from sepgconv.tasks import (
    RunRecord,
    TrainingConfig,
    evaluate,
    load_run,
    network_before_training,
    read_history,
    train,
)
from sepgconv.tasks.checkpoint import AtomicCheckpointIO

OLD = Path(__file__).with_name("run_of_version_0.1.0")
SENTENCE = "was written by an older version, which kept no digests"


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "run"))


@pytest.fixture(scope="module")
def digits():
    return load_dataset("rotated_digits")


def config():
    return TrainingConfig.from_dict(json.loads((OLD / "config.json").read_text())["config"])


def test_it_is_read_with_one_sentence_and_gives_its_numbers(run, digits):
    with pytest.warns(UserWarning, match=SENTENCE) as caught:
        found = load_run(run)
    assert len(caught) == 1
    expected = json.loads((OLD / "record.json").read_text())
    assert found.record.to_dict() == {**expected, "changes": []}
    assert evaluate(found, digits.test) == expected["test_error"]
    weights = load_file(OLD / "model" / "model.safetensors")
    assert {name: value.tolist() for name, value in found.model.state_dict().items()} == {
        name: value.tolist() for name, value in weights.items()
    }
    with pytest.warns(UserWarning, match=SENTENCE):
        assert RunRecord.read(run / "record.json") == found.record
    with pytest.warns(UserWarning, match="was written by an older version, which kept no digest"):
        assert sepgconv.load(run / "model").name == "gc_p4cnn"
    assert [row["epoch"] for row in read_history(run / "metrics.csv")] == [1, 2]
    assert AtomicCheckpointIO().load_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == 32
    assert network_before_training(found.record).config["width"] == 2


def test_its_resume_gives_its_record(run, digits):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.warns(UserWarning, match=SENTENCE):
        record = train(config(), folder=run, data=digits, resume=True, progress=False)
    assert record.test_error == json.loads((OLD / "record.json").read_text())["test_error"]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["model/model.safetensors", "preprocessing.safetensors", "curves.png"])
@pytest.mark.parametrize("damage", ["lost", "empty"])
def test_its_files_are_mended_from_its_checkpoint(run, digits, name, damage):
    (run / name).unlink()
    if damage == "empty":
        (run / name).touch()
    record = train(config(), folder=run, data=digits, resume=True, progress=False)
    assert record.test_error == json.loads((OLD / "record.json").read_text())["test_error"]
    found = load_run(run)  # all of it has digests now, so there is no warning
    assert evaluate(found, digits.test) == record.test_error
    values, sealed = read_sealed_json(run / "record.json")
    assert sealed
    assert values["files"][name] == file_digest(run / name)


def test_a_lost_row_of_its_history_cannot_come_back_and_is_said(run, digits):
    path = run / "metrics.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    with pytest.warns(UserWarning, match=r"metrics\.csv is damaged .+ the figures of epochs 2 to 2 are lost"):
        train(config(), folder=run, data=digits, resume=True, progress=False)
    rows = read_history(path)
    assert "train_loss" in rows[0]
    assert rows[1] == {"epoch": 2}
