"""What may change a run's numbers when it is resumed is named, accepted by force only, and then written down."""

import dataclasses
import json

import pytest
import torch

from sepgconv._files import read_json, write_json
from sepgconv.data import Split
from sepgconv.tasks import RunRecord, train
from sepgconv.tasks import conditions as conditions_module


def inverted(bars):
    return dataclasses.replace(bars, train=Split(1 - bars.train.images, bars.train.labels))


def note(folder, part, **values):
    setup = read_json(folder / "config.json")
    setup[part] |= values
    write_json(folder / "config.json", setup)


CHANGES = {
    "threads was 2, is 1": lambda folder: note(folder, "conditions", threads=2),
    r"the number of processes \(devices\) was 2, is 1": lambda folder: note(folder, "conditions", processes=2),
    "the device was an abacus, is ": lambda folder: note(folder, "conditions", device="an abacus"),
    r"the code of this package is another \(SHA-256 was 000000000000, is ": lambda folder: note(
        folder, "conditions", code="0" * 64
    ),
    "the version of torch was 1.0, is 2": lambda folder: note(folder, "versions", torch="1.0"),
    "the version of sepgconv was 0.0.1, is ": lambda folder: note(folder, "versions", sepgconv="0.0.1"),
}


@pytest.mark.parametrize("message", CHANGES)
def test_what_changes_the_numbers_is_named_and_needs_force(stopped, config, bars, message):
    CHANGES[message](stopped)
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=rf"has changed: {message}.+force=True \(--force\)"):
        train(config, folder=stopped, data=bars, resume=True, progress=False, threads=1)
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == before


def test_what_force_accepts_is_written_down(stopped, config, bars):
    with pytest.raises(ValueError, match=r"changed: threads was 1, is 2; images, labels or bit depth of the data are"):
        train(config, folder=stopped, data=inverted(bars), resume=True, progress=False, threads=2)
    record = train(config, folder=stopped, data=inverted(bars), resume=True, progress=False, threads=2, force=True)
    first, second = record.changes
    assert first == "after epoch 2: threads was 1, is 2"
    assert second.startswith("after epoch 2: images, labels or bit depth of the data are others (SHA-256 was ")
    assert RunRecord.read(stopped / "record.json") == record
    setup = read_json(stopped / "config.json")
    assert setup["resumed"] == record.changes
    assert (setup["conditions"]["threads"], setup["conditions"]["data"]) == (2, inverted(bars).digest())


def test_where_nothing_changed_force_changes_nothing(stopped, config, bars, undisturbed, read_weights):
    before = (stopped / "config.json").read_bytes()
    record = train(config, folder=stopped, data=bars, resume=True, progress=False, threads=1, force=True)
    assert record.changes == []
    assert (stopped / "config.json").read_bytes() == before
    assert read_weights(stopped) == undisturbed.weights


def test_a_run_without_a_checkpoint_begins_with_the_weights_it_was_to_begin_with(stopped, config, bars):
    """Weights of another origin are in no config, so it would train from random ones."""
    (stopped / "checkpoints" / "last.ckpt").unlink()
    words = {"data": bars, "resume": True, "progress": False, "threads": 1}
    with pytest.raises(ValueError, match=r"no checkpoint yet and was to begin with the weights that its seed draws"):
        train(config, folder=stopped, prepare=lambda network: None, **words)
    setup = read_json(stopped / "config.json")
    write_json(stopped / "config.json", {**setup, "prepared": True})
    with pytest.raises(ValueError, match=r"has no checkpoint yet and was to begin with weights of its own, given by"):
        train(config, folder=stopped, **words)
    train(config, folder=stopped, prepare=lambda network: None, **words)


def test_force_writes_over_no_run(tmp_path, config, bars):
    with pytest.raises(ValueError, match=r"accepts changes at a resume \(--resume\); no run is ever written over"):
        train(config, folder=tmp_path / "run", data=bars, progress=False, force=True)


def test_a_run_begun_by_an_older_version_resumes_with_a_sentence(stopped, config, bars, undisturbed, read_weights):
    """Its config.json has neither digest nor conditions, its checkpoint no history."""
    setup = read_json(stopped / "config.json")
    del setup["conditions"]
    (stopped / "config.json").write_text(json.dumps(setup))
    checkpoint = torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["callbacks"]["EpochKeeper"]["history"]
    torch.save(checkpoint, stopped / "checkpoints" / "last.ckpt")
    with pytest.warns(
        UserWarning, match=r"older version and does not say threads, processes, device, code, data: whether"
    ):
        record = train(config, folder=stopped, data=bars, resume=True, progress=False, threads=1)
    assert read_weights(stopped) == undisturbed.weights
    assert record.changes == ["after epoch 2: not known to be as it was: threads, processes, device, code, data"]


def test_figures_that_an_older_version_lost_are_named(stopped, config, bars):
    checkpoint = torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["callbacks"]["EpochKeeper"]["history"]
    torch.save(checkpoint, stopped / "checkpoints" / "last.ckpt")
    (stopped / "metrics.csv").unlink()
    with pytest.warns(UserWarning, match="the figures of epochs 1 to 2 are lost"):
        train(config, folder=stopped, data=bars, resume=True, progress=False, threads=1)
    from sepgconv.tasks import read_history

    rows = read_history(stopped / "metrics.csv")
    assert rows[:2] == [{"epoch": 1}, {"epoch": 2}]
    assert [row["epoch"] for row in rows if "train_loss" in row] == [3, 4]


def test_the_digest_of_the_code_sees_one_byte(tmp_path, monkeypatch):
    (tmp_path / "nn").mkdir()
    (tmp_path / "cli").mkdir()
    (tmp_path / "nn" / "a.py").write_text("x = 1.0\n")
    monkeypatch.setattr(conditions_module, "PACKAGE", tmp_path)

    def taken():
        conditions_module.code_digest.cache_clear()
        return conditions_module.code_digest()

    try:
        first = taken()
        (tmp_path / "cli" / "b.py").write_text("# what only prints changes no number\n")
        assert taken() == first
        (tmp_path / "nn" / "a.py").write_text("x = 1.5\n")
        assert taken() != first
    finally:
        monkeypatch.undo()
        conditions_module.code_digest.cache_clear()


def test_what_the_digest_leaves_out_is_there_under_its_name(tmp_path, monkeypatch):
    """A folder that gets another name counts from then on, and one that is new counts at once."""
    assert all((conditions_module.PACKAGE / name).is_dir() for name in conditions_module.APART)
    (tmp_path / "a_new_part").mkdir()
    monkeypatch.setattr(conditions_module, "PACKAGE", tmp_path)
    conditions_module.code_digest.cache_clear()
    try:
        empty = conditions_module.code_digest()
        (tmp_path / "a_new_part" / "a.py").write_text("x = 1.0\n")
        conditions_module.code_digest.cache_clear()
        assert conditions_module.code_digest() != empty
    finally:
        monkeypatch.undo()
        conditions_module.code_digest.cache_clear()
