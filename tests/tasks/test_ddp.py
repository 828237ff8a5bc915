import dataclasses
import json
import os

import pytest
import torch

from sepgconv.tasks import RunRecord, evaluate, load_run, read_history
from tests.forks import ended, fork
from tests.tasks import worker


@pytest.fixture(scope="module")
def in_two(tmp_path_factory, config):
    """The folder that two processes, joined by gloo, trained in; and what they said."""
    folder = tmp_path_factory.mktemp("two")
    said = [folder / "stderr", folder / "stdout"]
    # Without OMP_NUM_THREADS Lightning sets the threads itself.
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    arguments = (plain(config).to_dict(), str(folder))
    process = fork(
        worker.in_forks, said[0], worker.train_in_two, *arguments, stderr=said[0], stdout=said[1], environment=variables
    )
    assert ended(process, 240) == 0, said[0].read_text()
    return folder, "".join(file.read_text() for file in said)


def plain(config):
    # Momentum makes an error in one step visible in all that follow; 41 images leave a last batch of 9: 5 and 4.
    return dataclasses.replace(config, optimizer="sgd", lr=0.05, epochs=2, augmentation="none")


def test_two_processes_compute_the_gradients_of_one(in_two, tmp_path, config, bars):
    one = worker.gradients(plain(config), bars, tmp_path, devices=1)
    for rank in range(2):
        two = torch.load(in_two[0] / f"gradients-{rank}.pt", weights_only=True)
        assert set(two) == set(one)
        assert len([name for name in one if name.startswith(("0 ", "5 "))]) == 8  # four parameters, six steps
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-10, atol=1e-12, msg=name)


def test_the_comparison_would_see_a_wrong_gradient(in_two, tmp_path, config, bars):
    other = dataclasses.replace(plain(config), batch_size=8)
    one = worker.gradients(other, bars, tmp_path, devices=1)
    two = torch.load(in_two[0] / "gradients-0.pt", weights_only=True)
    name = "0 model.layers.0.weight"
    assert (one[name] - two[name]).norm() > 1e-3 * one[name].norm()


def test_two_processes_leave_one_run(in_two, bars):
    folder = in_two[0] / "run"
    record = RunRecord.read(folder / "record.json")
    assert (record.processes, record.threads, record.images["train"]) == (2, 3, 41)
    for rank in range(2):
        assert RunRecord.from_dict(json.loads((in_two[0] / f"record-{rank}.json").read_text())) == record
    run = load_run(folder)
    assert evaluate(run, bars.test) == record.test_error
    assert evaluate(run, bars.train) == record.train_error
    rows = read_history(folder / "metrics.csv")
    assert [row["step"] for row in rows] == [3, 6]
    assert rows[-1]["validation_error"] == pytest.approx(evaluate(run, bars.validation), abs=1e-4)


def test_running_statistics_become_those_of_the_first(in_two):
    for rank in range(2):
        assert torch.load(in_two[0] / f"mean-{rank}.pt", weights_only=True).tolist() == [1, 1]


def test_one_of_them_is_the_main_process(in_two):
    assert [(in_two[0] / f"main-{rank}").read_text() for rank in range(2)] == ["True", "False"]


def test_two_processes_are_silent(in_two):
    assert in_two[1] == ""
