"""Models, runs and records that version 0.1.0 wrote at commit 5dd6917 are read, answer and go on as they did then.

They lie in `files_of_version_0.1.0` and are never written again:

- `models/`: networks of both families on several groups, with random weights and the batch statistics of random images;
  `answers.safetensors` has what they answered in float64 to `image_of_numbers`;
- `digits.npz`: 38 digits of three classes; `finished_run/`: three epochs on them, without checkpoint and curves;
  `stopped_run/`: the same run as it stood after two epochs;
- `results/`: a record of an experiment, a trial that no table has.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import sepgconv
from experiments import Cell, read_records
from experiments.catalogue import find_experiment
from experiments.comparison import other_records
from experiments.render.markdown import table_markdown
from sepgconv.data import load_dataset
from sepgconv.tasks import RunRecord, TrainingConfig, evaluate, load_run, read_history, train
from sepgconv.tasks.checkpoint import read_weights

OLD = Path(__file__).with_name("files_of_version_0.1.0")
ANSWERS = load_file(OLD / "answers.safetensors")
EXACT = {"rtol": 1e-6, "atol": 1e-6}


def image_of_numbers(*shape):
    """Images whose values look random and are the same with every version of torch."""
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=torch.float64) * 2654435761 % 2**32 / 2**32).view(shape)


def output_of(model):
    side = 28 if model.name.endswith("cnn") else 32
    with torch.no_grad():
        return model.double()(image_of_numbers(2, model.in_channels, side, side))


def test_all_models_have_answers():
    assert sorted(ANSWERS) == sorted(path.name for path in (OLD / "models").iterdir())
    assert len(ANSWERS) == 11


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_a_model_answers_as_then(name):
    torch.testing.assert_close(output_of(sepgconv.load(OLD / "models" / name)), ANSWERS[name], **EXACT)


@pytest.mark.parametrize("name", ["gc_p4cnn-cmm", "gc_p4m_resnet44-cmm"])
def test_one_weight_that_is_a_little_other_is_noticed(name):
    """The negative control of the test above."""
    model = sepgconv.load(OLD / "models" / name)
    with torch.no_grad():
        model.classifier.weight[0, 0] += 1e-4
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(output_of(model), ANSWERS[name], **EXACT)


@pytest.fixture(scope="module")
def digits():
    return load_dataset(str(OLD / "digits.npz"))


def test_a_finished_run_is_read_and_gives_its_errors(digits):
    run = load_run(OLD / "finished_run")  # its digests are all right: there is no warning
    expected = json.loads((OLD / "finished_run" / "record.json").read_text())
    assert run.record.to_dict() == {key: value for key, value in expected.items() if key not in ("files", "sha256")}
    assert RunRecord.read(OLD / "finished_run" / "record.json") == run.record
    assert [evaluate(run, part) for part in (digits.train, digits.validation, digits.test)] == [
        run.record.train_error,
        run.record.validation_error,
        run.record.test_error,
    ]
    assert [row["epoch"] for row in read_history(OLD / "finished_run" / "metrics.csv")] == [1, 2, 3]


def test_a_stopped_run_goes_on_to_the_weights_it_would_have_had(tmp_path, digits):
    run = Path(shutil.copytree(OLD / "stopped_run", tmp_path / "run"))
    config = TrainingConfig.from_dict(json.loads((run / "config.json").read_text())["config"])
    # By force: the code of the package is another by now, and the processor may be.
    record = train(
        config, folder=run, data=digits, resume=True, force=True, progress=False, threads=1, accelerator="cpu"
    )
    expected = RunRecord.read(OLD / "finished_run" / "record.json")
    assert (record.train_error, record.validation_error, record.test_error) == (
        expected.train_error,
        expected.validation_error,
        expected.test_error,
    )
    before = read_weights(OLD / "stopped_run" / "checkpoints" / "last.ckpt")
    weights, final = load_run(run).model.state_dict(), load_run(OLD / "finished_run").model.state_dict()
    for name, value in final.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6)
    # The negative control: the third epoch changes all parameters by far more than that.
    assert (before["classifier.weight"] - final["classifier.weight"]).abs().min() > 1e-4
    rows, expected_rows = (read_history(folder / "metrics.csv") for folder in (run, OLD / "finished_run"))
    assert len(rows) == 3
    for row, then in zip(rows, expected_rows, strict=True):
        assert list(row) == list(then)
        assert {k: v for k, v in row.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in then.items() if k != "seconds"}, rel=1e-5
        )


def test_a_record_is_found_by_its_cell_and_rendered():
    cell = Cell(
        model="gc_p4cnn",
        model_config={"width": 2, "group": "cmm"},
        data="rotated_digits",
        images=40,
        overrides={"epochs": 2, "batch_size": 16},
        measures=("initial_error",),
    )
    reading = read_records(OLD / "results" / "trial.jsonl")
    assert (reading.apart, reading.damaged, reading.unsealed) == ((), (), 0)
    record = reading.find(cell)
    assert record is not None
    assert record["measures"] == {"initial_error": {"error": record["test_error"]}}
    table = other_records(find_experiment("table1"), reading)
    assert table is not None
    line = "| gc_p4cnn | 2 | rotated_digits | 40 | 2 | published | 1 | 87.77 |"
    assert " ".join(table_markdown(table).splitlines()[-1].split()) == line


def test_a_record_with_one_digit_changed_does_not_count(tmp_path):
    """The negative control: its digest is looked at."""
    text = (OLD / "results" / "trial.jsonl").read_text()
    (tmp_path / "trial.jsonl").write_text(text.replace('"test_error": 87.7', '"test_error": 86.7'))
    reading = read_records(tmp_path / "trial.jsonl")
    assert reading.records == {}
    assert len(reading.damaged) == 1
