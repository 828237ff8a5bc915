import dataclasses
import json

import matplotlib.image
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import sepgconv
from sepgconv.data import Split
from sepgconv.tasks import DivergedError, RunRecord, TrainingConfig, evaluate, load_run, read_history, train


@pytest.fixture(scope="module")
def record(undisturbed):
    return RunRecord.read(undisturbed.folder / "record.json")


def shuffled(split: Split) -> Split:
    """The same labels for other images."""
    return Split(split.images.flip(0), split.labels)


def history(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_history(folder / "metrics.csv")]


def test_the_folder_holds_the_whole_run_and_nothing_else(undisturbed):
    assert sorted(path.name for path in undisturbed.folder.iterdir()) == [
        "checkpoints",
        "config.json",
        "curves.png",
        "metrics.csv",
        "model",
        "preprocessing.safetensors",
        "record.json",
        "split.csv",
        "tensorboard",
    ]
    assert [path.name for path in (undisturbed.folder / "checkpoints").iterdir()] == ["last.ckpt"]


def test_the_record_tells_the_run(record, config, bars):
    report = sepgconv.analysis.cost(sepgconv.create_model("gc_p4cnn", width=3, num_classes=3), (1, 28, 28))
    assert (record.model, record.width, record.data) == ("gc_p4cnn", 3, "npz:bars")
    assert (record.seed, record.epochs, record.processes, record.threads) == (1, 4, 1, 1)
    assert (record.parameters, record.nominal_macs) == (report.parameters, report.nominal_macs)
    assert record.executed_macs == report.executed_macs
    assert TrainingConfig.from_dict(record.config) == config
    assert record.model_config["num_classes"] == 3
    assert record.images == {"train": 41, "validation": 9, "test": 21}
    assert record.classes == list(bars.classes)
    assert record.versions["torch"] == torch.__version__
    assert record.versions["sepgconv"] == sepgconv.__version__
    assert 0 < record.seconds < 300
    assert 0 < record.cpu_seconds < 300
    assert record.peak_memory_bytes > 50e6
    assert record.device
    for part in (record.train_error, record.validation_error, record.test_error):
        assert 0 <= part <= 100


def test_the_record_survives_its_file(record):
    assert RunRecord.from_dict(json.loads(record.to_json())) == record


def test_the_history_has_a_row_for_each_epoch(undisturbed):
    rows = read_history(undisturbed.folder / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.01, 0.01, 0.001, 0.001])
    assert all(
        {"train_loss", "train_error", "validation_loss", "validation_error", "seconds"} <= set(row) for row in rows
    )
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_the_last_row_agrees_with_the_record(undisturbed, record):
    assert read_history(undisturbed.folder / "metrics.csv")[-1]["validation_error"] == pytest.approx(
        record.validation_error, abs=1e-4
    )


def test_tensorboard_has_the_same_figures(undisturbed):
    events = EventAccumulator(str(undisturbed.folder / "tensorboard")).Reload()
    rows = read_history(undisturbed.folder / "metrics.csv")
    for name in ("train_loss", "validation_error"):
        points = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in points] == [1, 2, 3, 4]
        assert [value for _, value in points] == pytest.approx([row[name] for row in rows])


def test_the_curves_are_a_picture(undisturbed):
    picture = matplotlib.image.imread(undisturbed.folder / "curves.png")
    assert picture.shape[0] > 300
    assert picture.shape[1] > 800
    assert picture[..., :3].std() > 0.01


def test_a_run_read_back_gives_the_recorded_errors(undisturbed, record, bars):
    run = load_run(undisturbed.folder)
    assert (run.record, run.classes) == (record, bars.classes)
    assert run.preprocessing.name == "identity"
    assert evaluate(run, bars.test) == record.test_error
    assert evaluate(run.model, bars.train, batch_size=7) == record.train_error
    assert evaluate(run, bars.validation) == record.validation_error


def test_learning_happens(tmp_path, config, bars):
    easy = dataclasses.replace(config, epochs=12, augmentation="none", milestones=(9,))
    record = train(easy, folder=tmp_path, data=bars, progress=False, threads=1)
    assert record.train_error < 20
    rows = read_history(tmp_path / "metrics.csv")
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] / 2


def test_the_same_config_gives_the_same_weights_and_another_seed_others(
    tmp_path, undisturbed, read_weights, config, bars
):
    torch.rand(3)  # whatever the program drew before
    train(config, folder=tmp_path / "same", data=bars, progress=False, threads=1)
    train(dataclasses.replace(config, seed=2), folder=tmp_path / "other", data=bars, progress=False, threads=1)
    assert read_weights(tmp_path / "same") == undisturbed.weights
    assert read_weights(tmp_path / "other") != undisturbed.weights


def test_the_test_and_validation_images_pick_nothing(tmp_path, undisturbed, read_weights, record, config, bars):
    other = dataclasses.replace(bars, test=shuffled(bars.test))
    again = train(config, folder=tmp_path / "test", data=other, progress=False, threads=1)
    assert read_weights(tmp_path / "test") == undisturbed.weights
    assert history(tmp_path / "test") == history(undisturbed.folder)
    assert (again.train_error, again.validation_error) == (record.train_error, record.validation_error)

    other = dataclasses.replace(bars, validation=shuffled(bars.validation))
    train(config, folder=tmp_path / "validation", data=other, progress=False, threads=1)
    assert read_weights(tmp_path / "validation") == undisturbed.weights


def test_the_test_images_are_read_once_after_the_last_epoch(tmp_path, monkeypatch, config, bars):
    seen = []

    class Spy(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            if function is torch.Tensor.split:
                seen.append((tmp_path / "metrics.csv").read_text().count("\n") - 1)
            return super().__torch_function__(function, types, args, kwargs or {})

    watched = dataclasses.replace(bars, test=Split(bars.test.images.as_subclass(Spy), bars.test.labels))
    train(config, folder=tmp_path, data=watched, progress=False, threads=1)
    assert seen == [4]


def test_the_errors_are_those_of_the_first_process_everywhere(tmp_path, monkeypatch, config, bars):
    from sepgconv.tasks import module, run

    happened = []
    tally_answers = run.tally_answers

    def count(*arguments):
        happened.append("counted")
        return tally_answers(*arguments)

    monkeypatch.setattr(module, "share_buffers", lambda model: happened.append("shared"))
    monkeypatch.setattr(run, "tally_answers", count)
    train(dataclasses.replace(config, epochs=1, hold_out=False), folder=tmp_path, data=bars, progress=False)
    assert happened == ["shared", "counted", "counted"]  # the images trained on, the test images


def test_without_hold_out_the_validation_part_is_trained_on(tmp_path, config, bars):
    everything = dataclasses.replace(config, hold_out=False, epochs=1)
    record = train(everything, folder=tmp_path, data=bars, progress=False)
    assert record.images == {"train": 50, "test": 21}
    assert record.validation_error is None
    (row,) = read_history(tmp_path / "metrics.csv")
    assert row["step"] == 4
    assert not any("validation" in column for column in row)


def test_silence_is_complete(tmp_path, capfd, config, bars):
    train(dataclasses.replace(config, epochs=1), folder=tmp_path, data=bars, progress=False)
    assert capfd.readouterr() == ("", "")


def test_progress_is_a_line_for_each_epoch_on_standard_error(tmp_path, capfd, config, bars):
    train(dataclasses.replace(config, epochs=2), folder=tmp_path, data=bars)
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.split("  ")[0] for line in err.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert "validation error" in err


def test_threads_are_set_for_the_run_only(tmp_path, monkeypatch, config, bars):
    before = torch.get_num_threads()
    record = train(
        dataclasses.replace(config, epochs=1), folder=tmp_path, data=bars, progress=False, threads=before + 1
    )
    assert record.threads == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.filterwarnings("ignore:You passed .*precision='16-mixed'")  # Lightning's own
def test_the_record_names_the_precision_that_ran(tmp_path, config, bars):
    """On a CPU Lightning makes bf16-mixed of 16-mixed."""
    once = dataclasses.replace(config, epochs=1)
    record = train(once, folder=tmp_path, data=bars, precision="16-mixed", accelerator="cpu", progress=False)
    assert record.precision == "bf16-mixed"
    assert load_run(tmp_path).record.precision == "bf16-mixed"


def test_float16_that_diverges_is_not_blamed_on_the_learning_rate(tmp_path, config, bars):
    with pytest.raises(DivergedError, match="in bf16-true, bf16-mixed or 32-true: float16 ends at 65504") as error:
        train(config, folder=tmp_path, data=bars, precision="16-true", accelerator="cpu", progress=False)
    assert "lower learning rate" not in str(error.value)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-mixed", torch.float32), ("bf16-true", torch.bfloat16), ("64-true", torch.float64)]
)
def test_another_precision(precision, dtype, tmp_path, config, bars):
    once = dataclasses.replace(config, epochs=1)
    record = train(once, folder=tmp_path, data=bars, precision=precision, progress=False)
    run = load_run(tmp_path)
    assert record.precision == precision
    assert {parameter.dtype for parameter in run.model.parameters()} == {dtype}
    assert evaluate(run, bars.test) == record.test_error


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_last_row_judges_the_network_that_is_saved(precision, tmp_path, config, bars):
    """Not one under autocast, whose answers differ: two numbers would stand under one name."""
    once = dataclasses.replace(config, epochs=1)
    record = train(once, folder=tmp_path, data=bars, precision=precision, accelerator="cpu", progress=False)
    row = read_history(tmp_path / "metrics.csv")[-1]
    with torch.no_grad():
        scores = load_run(tmp_path).model(bars.validation.images)
    loss = torch.nn.functional.cross_entropy(scores, bars.validation.labels)
    assert row["validation_loss"] == pytest.approx(float(loss), rel=1e-6)
    assert row["validation_error"] == pytest.approx(record.validation_error, abs=1e-4)


def test_data_are_loaded_by_the_configs_name(tmp_path, config):
    record = train(dataclasses.replace(config, epochs=1), folder=tmp_path, progress=False)
    assert record.data == "npz:bars"


def test_a_config_that_does_not_fit_the_data_leaves_no_folder(tmp_path, config, bars):
    cases = {
        "model_config has num_classes=10, but npz:bars has 3": {"model_config": {"num_classes": 10}},
        "unknown model 'gc_p4cn'": {"model": "gc_p4cn"},
        "unknown option of gc_p4cnn 'widht'": {"model_config": {"widht": 3}},
    }
    for message, change in cases.items():
        with pytest.raises(ValueError, match=message):
            train(dataclasses.replace(config, **change), folder=tmp_path / "run", data=bars, progress=False)
    small = Split(bars.train.images[..., :20, :20], bars.train.labels)
    shrunk = dataclasses.replace(bars, train=small, validation=small, test=small)
    with pytest.raises(ValueError, match="smallest size is 28 x 28"):
        train(config, folder=tmp_path / "run", data=shrunk, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_run_is_refused(undisturbed, config, bars):
    before = undisturbed.folder.joinpath("record.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"already holds a run .+ resume=True \(--resume\)"):
        train(config, folder=undisturbed.folder, data=bars, progress=False)
    assert undisturbed.folder.joinpath("record.json").read_bytes() == before


def test_a_file_as_folder_is_refused(tmp_path, config, bars):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file; a run needs a folder"):
        train(config, folder=tmp_path / "file", data=bars, progress=False)


def test_files_of_others_in_the_folder_are_no_obstacle(tmp_path, config, bars):
    (tmp_path / "notes.txt").write_text("mine")
    train(dataclasses.replace(config, epochs=1), folder=tmp_path, data=bars, progress=False)
    assert (tmp_path / "notes.txt").read_text() == "mine"
