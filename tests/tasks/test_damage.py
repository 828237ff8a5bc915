"""What is on the disk is checked whenever it is read: damage is named, or mended from the checkpoint, never used."""

import json
import random
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from sepgconv._files import write_json
from sepgconv.tasks import RunRecord, load_run, read_history, train
from sepgconv.tasks.checkpoint import AtomicCheckpointIO
from sepgconv.tasks.folder import RunFolder
from tests.covering import each

RESULTS = ["metrics.csv", "curves.png", "preprocessing.safetensors", "model/config.json", "model/model.safetensors"]
READ = ["config.json", "record.json", "checkpoints/last.ckpt", *(name for name in RESULTS if name != "curves.png")]


@pytest.fixture
def run(undisturbed, tmp_path):
    return Path(shutil.copytree(undisturbed.folder, tmp_path / "run"))


def flipped(content, bit):
    return content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]


def plain(value):
    """Tensors as bytes, so that values can be compared."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.numpy().tobytes())
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


def read_from(folder, name):
    """All that the package reads from a file of a run."""
    files = RunFolder(folder)
    if name == "config.json":
        return files.read_setup()
    if name == "metrics.csv":
        return read_history(files.history)
    if name == "checkpoints/last.ckpt":
        return plain(AtomicCheckpointIO().load_checkpoint(files.checkpoint))
    found = load_run(folder)
    return [found.record.to_dict(), plain(found.model.state_dict()), found.model.config, found.preprocessing.name]


@pytest.mark.parametrize("name", READ)
def test_a_flipped_bit_or_a_lost_end_is_named_or_changes_nothing(run, name):
    path, chance = run / name, random.Random(name)
    whole, expected = path.read_bytes(), read_from(run, name)
    damages = [flipped(whole, chance.randrange(8 * len(whole))) for _ in range(12)]
    damages += [whole[: chance.randrange(len(whole))] for _ in range(3)] + [b""]
    noticed = 0
    for damaged in damages:
        path.write_bytes(damaged)
        problem = ""
        try:
            found = read_from(run, name)
        except ValueError as error:
            problem = str(error)
            noticed += 1
            assert "\n" not in problem
            assert Path(name).name in problem
        assert problem or found == expected
    assert noticed >= 10


def test_a_flipped_weight_in_the_checkpoint_is_not_resumed_from(run, config, bars):
    """torch.load does not compare the checksums in its file."""
    path = run / "checkpoints" / "last.ckpt"
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, 8 * (whole.index(largest.filename.encode()) + 200)))
    (run / "record.json").unlink()
    with pytest.raises(
        ValueError, match=rf"last\.ckpt is not a readable checkpoint \(the checksum of {largest.filename}"
    ):
        train(config, folder=run, data=bars, resume=True, progress=False)


def edited(state, keys, value):
    *path, last = keys
    for key in path:
        state = state[key]
    if value is None:
        del state[last]
    else:
        state[last] = value


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["epoch"], None, "lacks epoch"),
        (["epoch"], "x", "must have a whole number as epoch, it has 'x'"),
        (["epoch"], True, "must have a whole number as epoch"),
        (["state_dict"], [1], "as state_dict"),
        (["state_dict", "model.classifier.bias"], "x", "as state_dict"),
        (["optimizer_states"], {}, "as optimizer_states"),
        (["callbacks", "EpochKeeper"], None, "lacks EpochKeeper"),
        (["callbacks", "EpochKeeper", "seconds"], "long", "as EpochKeeper"),
        (["callbacks", "EpochKeeper", "epoch"], 3, "epoch 3"),
        (["callbacks", "EpochKeeper", "history"], [], "one row for each epoch"),
        (["loops", "fit_loop"], 3, "as loops"),
        (["loops", "fit_loop", "epoch_progress"], None, "as loops"),
        (["loops", "fit_loop", "epoch_progress", "current", "ready"], 2, "its loops are not at the end of epoch 4"),
        (["optimizer_states"], [{"state": {}, "param_groups": [{}]}], "is not a checkpoint of this run"),
        (["state_dict", "model.classifier.bias"], torch.ones(7), r"is not a checkpoint of this run"),
        ([], [1], "it holds a list"),
    ],
)
def test_a_checkpoint_of_another_structure_is_one_sentence(run, config, bars, keys, value, message):
    path = run / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    if keys:
        edited(state, keys, value)
    torch.save(state if keys else value, path)
    (run / "record.json").unlink()
    with pytest.raises(ValueError, match=message) as caught:
        train(config, folder=run, data=bars, resume=True, progress=False)
    assert "last.ckpt" in str(caught.value)
    assert "\n" not in str(caught.value)


@each(
    ("name", "value"),
    [
        ("classes", [1, 2, 3]),
        ("classes", "012"),
        ("classes", []),
        ("image_shape", [28, 28]),
        ("image_shape", [1, 28, "28"]),
        ("image_shape", 5),
        ("test_error", "4"),
        ("test_error", 101.0),
        ("test_error", None),
        ("seed", True),
        ("seed", 1.5),
        ("epochs", "4"),
        ("config", []),
        ("config", {"data": "x"}),
        ("config", {"model": 3, "data": "x"}),
        ("config", {"model": "z2cnn", "data": "x", "lr": "fast"}),
        ("versions", {"torch": 2}),
        ("images", {"train": "x"}),
        ("width", {}),
        ("model", None),
        ("changes", "all"),
        ("files", ["metrics.csv"]),
        ("unheard", 1),
    ],
)
@each("sealed", [True, False])
def test_a_record_of_other_types_is_one_sentence(run, undisturbed, name, value, sealed):
    path = run / "record.json"
    values = {**json.loads((undisturbed.folder / "record.json").read_text()), name: value}
    del values["sha256"]
    write_json(path, values) if sealed else path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf"record\.json is not a run's record: .*{name if name != 'unheard' else ''}"):
        load_run(run)


def test_files_of_two_runs_are_not_taken_for_one(run, undisturbed, tmp_path, config, bars):
    """Each of them is whole."""
    import dataclasses

    other = tmp_path / "other"
    train(dataclasses.replace(config, seed=2, epochs=1), folder=other, data=bars, progress=False)
    shutil.rmtree(run / "model")
    shutil.copytree(other / "model", run / "model")
    with pytest.raises(ValueError, match=r"model\.safetensors is not the file that the run's record was written with"):
        load_run(run)


def test_a_checkpoint_of_another_run_is_not_resumed_from(run, tmp_path, config, bars):
    """It is whole, and of the same network."""
    import dataclasses

    other = tmp_path / "other"
    train(dataclasses.replace(config, seed=2), folder=other, data=bars, progress=False)
    shutil.copy(other / "checkpoints" / "last.ckpt", run / "checkpoints" / "last.ckpt")
    before = contents(run)
    load_run(run)  # needs none
    (run / "model" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"last\.ckpt is of another run than .*config\.json; put the run's own back"):
        train(config, folder=run, data=bars, resume=True, progress=False)
    (run / "record.json").unlink()
    with pytest.raises(ValueError, match=r"last\.ckpt is of another run than .*config\.json; put the run's own back"):
        train(config, folder=run, data=bars, resume=True, progress=False)
    assert {**before, **contents(run)} == before


def test_preprocessing_is_not_written_anew_from_other_data(run, config, bars):
    """It would say another bit depth, or another whitening."""
    import dataclasses

    (run / "preprocessing.safetensors").unlink()
    before = contents(run)
    other = dataclasses.replace(bars, bit_depth=12)
    with pytest.raises(ValueError, match=r"preprocessing\.safetensors is missing .+, and the data are others than"):
        train(config, folder=run, data=other, resume=True, progress=False)
    assert contents(run) == before
    train(config, folder=run, data=bars, resume=True, progress=False)
    load_run(run)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "tensorboard" not in str(path)
    }


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("damage", ["lost", "empty", "flipped"])
@pytest.mark.covering(1)
def test_a_finished_run_is_mended_from_its_checkpoint(run, name, damage, undisturbed, config, bars, capfd):
    path = run / name
    whole = path.read_bytes()
    path.unlink() if damage == "lost" else path.write_bytes(
        b"" if damage == "empty" else flipped(whole, 4 * len(whole))
    )
    record = train(config, folder=run, data=bars, resume=True)
    assert record == RunRecord.read(undisturbed.folder / "record.json")
    assert contents(run) == contents(undisturbed.folder)
    assert f"is finished; {name} was missing or damaged and is written anew" in capfd.readouterr().err
    assert load_run(run).record == record


def test_a_lost_folder_of_the_model_is_mended(run, undisturbed, config, bars):
    shutil.rmtree(run / "model")
    with pytest.raises(ValueError, match=r"is damaged or missing .+ resume=True \(--resume\) writes it anew"):
        load_run(run)
    train(config, folder=run, data=bars, resume=True, progress=False)
    assert contents(run) == contents(undisturbed.folder)


def test_a_damaged_record_is_written_anew_with_the_same_numbers(run, undisturbed, config, bars):
    path = run / "record.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2', 1))
    with pytest.warns(UserWarning, match=r"record\.json was damaged or edited.+ written anew from the checkpoint"):
        record = train(config, folder=run, data=bars, resume=True, progress=False, threads=1)
    expected = RunRecord.read(undisturbed.folder / "record.json")
    passing = ("commit", "peak_memory_bytes")
    assert {k: v for k, v in record.to_dict().items() if k not in passing} == {
        k: v for k, v in expected.to_dict().items() if k not in passing
    }
    assert contents(run)["model/model.safetensors"] == contents(undisturbed.folder)["model/model.safetensors"]


def test_what_cannot_be_mended_is_said_and_nothing_is_trained(run, config, bars):
    (run / "model" / "model.safetensors").unlink()
    (run / "checkpoints" / "last.ckpt").unlink()
    before = contents(run)
    with pytest.raises(ValueError, match=r"model/model\.safetensors is missing or damaged, and there is no checkpoint"):
        train(config, folder=run, data=bars, resume=True, progress=False)
    (run / "record.json").write_text("{")
    with pytest.raises(ValueError, match=r"record\.json .+ without a checkpoint it cannot be written anew"):
        train(config, folder=run, data=bars, resume=True, progress=False)
    assert {**contents(run), "record.json": before["record.json"]} == before


def test_a_finished_run_in_a_folder_that_may_only_be_read_gives_its_record(run, config, bars, monkeypatch):
    def refuse(self):
        raise PermissionError("read only")

    monkeypatch.setattr(RunFolder, "locked", refuse)
    assert train(config, folder=run, data=bars, resume=True, progress=False).epochs == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text.replace("epoch", "epcoh", 1),
        lambda text: text.replace("\r\n2,", "\r\n3,"),
        lambda text: text.replace("0.01", "0.02", 1),
        lambda text: text.replace("0.01", "0.0p", 1),
        lambda text: "".join(text.splitlines(keepends=True)[:2]),
    ],
    ids=["empty", "header", "epoch", "digit", "garbage", "row"],
)
def test_a_damaged_history_of_a_stopped_run_comes_back_from_the_checkpoint(run, config, bars, undisturbed, damage):
    (run / "record.json").unlink()
    path = run / "metrics.csv"
    text = path.read_bytes().decode()
    path.write_bytes(damage(text).encode())
    assert path.read_bytes().decode() != text
    with pytest.warns(
        UserWarning, match=r"metrics\.csv was missing or damaged; it is written anew from the checkpoint"
    ):
        train(config, folder=run, data=bars, resume=True, progress=False, threads=1)
    assert contents(run)["metrics.csv"] == contents(undisturbed.folder)["metrics.csv"]


def test_damage_to_the_history_while_a_run_trains_does_not_last(tmp_path, config, bars, undisturbed, monkeypatch):
    from sepgconv.tasks.module import TrainingModule

    start = TrainingModule.on_train_epoch_start

    def spoil(self):
        if self.current_epoch == 2:
            (tmp_path / "run" / "metrics.csv").write_text("spoilt")
        start(self)

    monkeypatch.setattr(TrainingModule, "on_train_epoch_start", spoil)
    train(config, folder=tmp_path / "run", data=bars, progress=False, threads=1)
    assert [row["train_loss"] for row in read_history(tmp_path / "run" / "metrics.csv")] == [
        row["train_loss"] for row in read_history(undisturbed.folder / "metrics.csv")
    ]


def test_what_may_not_be_read_is_not_called_damaged(run, monkeypatch):
    read = Path.read_bytes

    def refuse(self):
        if self.name == "preprocessing.safetensors":
            raise PermissionError(13, "Permission denied", str(self))
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        load_run(run)
