"""Whole cases, in real processes: numbers, memory, refusal, a process that breaks."""

import dataclasses

import pytest

from benchmarks.case import Contender, Task
from benchmarks.runner import Budget, Settings, run_case
from benchmarks.suite import suite
from benchmarks.worker import Worker, WorkerError, set_environment
from tests.forks import start_server

CASES = {case.name: case for case in suite(quick=True)}
LAYER = CASES["layer-p4m-64"]
SETTINGS = Settings(threads=1, most=2)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"):
        monkeypatch.setenv(name, "")  # put back afterwards
    set_environment(1)
    start_server()


def small(*labels, tasks):
    chosen = tuple(contender for contender in LAYER.contenders if contender.label in labels)
    return dataclasses.replace(LAYER, contenders=chosen, tasks=tasks)


def test_a_case_gives_times_and_weights():
    tasks = (Task("forward + backward", 2), Task("inference", 1), Task("memory", 2))
    case = small("ours", "ours, separable", "reference execution", "ours, default allocator", tasks=tasks)
    result = run_case(case, SETTINGS, {"commit": "abc"}, 1.0)
    assert result.refused is None
    assert list(result.tasks) == ["forward + backward, batch 2", "inference, batch 1"]
    for by_label in result.tasks.values():
        assert len(by_label) == 4
        assert all(len(series.seconds) == 2 and min(series.seconds) > 0 for series in by_label.values())
    weights = result.memory["memory, batch 2"]["reference execution"]
    channels, poses, height, width = case.shape
    assert weights["input"] == 4 * 2 * channels * poses * height * width
    assert weights["kept"] >= 2 * weights["input"]  # input and mixed maps
    checked = {(check["contender"], check["precision"]) for check in result.checks}
    assert checked == {(label, p) for label in ("ours", "ours, separable") for p in ("float64", "float32")}


def test_building_is_timed_in_new_processes():
    case = CASES["build-C16-cnn"]
    case = dataclasses.replace(case, contenders=case.contenders[:2])
    result = run_case(case, SETTINGS, {}, 0.1)
    assert result.refused is None
    (by_label,) = result.tasks.values()
    assert list(by_label) == ["ours", "ours, gc"]
    for series in by_label.values():
        assert len(series.seconds) >= 2
        assert min(series.seconds) > 0


def test_profiles_are_taken_of_those_that_are_named():
    tasks = (Task("forward + backward", 2), Task("inference", 1))
    case = small("ours", "GroupConv2d", "reference execution", tasks=tasks)
    result = run_case(dataclasses.replace(case, profiled=("ours", "GroupConv2d")), SETTINGS, {}, 1.0)
    assert result.refused is None
    assert list(result.profiles) == ["forward + backward, batch 2", "inference, batch 1"]
    for by_label in result.profiles.values():
        assert list(by_label) == ["ours", "GroupConv2d"]
        assert all(sum(row["seconds"] for row in rows) > 0 for rows in by_label.values())


def test_a_red_gate_stops_the_case_before_any_time():
    case = CASES["gc_p4m_resnet44"]
    widths = {**case.contenders[0].arguments, "widths": (2, 3, 4)}
    right = dataclasses.replace(case.contenders[0], arguments=widths)
    other = {**widths, "downsampling": "exact"}  # the same parameters, another function
    wrong = dataclasses.replace(right, label="wrong", arguments=other)
    case = dataclasses.replace(case, contenders=(right, wrong), tasks=(Task("inference", 1),))
    result = run_case(case, SETTINGS, {}, 1.0)
    assert result.refused.startswith("wrong: output in training mode is off by")
    assert result.tasks == {}


def test_a_contender_that_breaks_stops_its_case():
    ours = LAYER.contenders[0]
    broken = Contender(label="broken", kind="ours.group_layer", arguments={**ours.arguments, "channels": 2})
    case = dataclasses.replace(LAYER, contenders=(ours, broken), tasks=(Task("inference", 1),))
    result = run_case(case, SETTINGS, {}, 1.0)
    assert result.refused.startswith("the check: ")
    assert result.tasks == {}


def test_what_cannot_run_here_is_skipped_with_its_reason():
    ours = LAYER.contenders[0]
    odd = dataclasses.replace(ours, label="odd", arguments={**ours.arguments, "execution": "invented"})
    result = run_case(dataclasses.replace(LAYER, contenders=(ours, odd), tasks=()), SETTINGS, {}, 1.0)
    assert result.skipped == {"odd": "this version of sepgconv has no execution 'invented'"}


def test_a_worker_that_fails_says_why():
    with Worker(LAYER, LAYER.contenders[0], 1, 1) as worker:
        with pytest.raises(WorkerError, match="ours: AttributeError"):
            worker.ask("no such order")
        worker.ask("prepare", Task("inference", 1))
        assert worker.ask("time", 3) > 0


def test_a_worker_that_dies_is_noticed():
    with Worker(LAYER, LAYER.contenders[0], 1, 1) as worker:
        worker._process.kill()
        with pytest.raises(WorkerError, match="its process ended with code"):
            worker.ask("prepare", Task("inference", 1))


def test_the_budget_is_shared_by_planned_seconds():
    a, b = (dataclasses.replace(LAYER, name=name, seconds=seconds) for name, seconds in (("a", 30.0), ("b", 10.0)))
    budget = Budget(40.0, [a, b])
    assert budget.take(a) == pytest.approx(30, abs=0.5)
    assert budget.take(b) == pytest.approx(40, abs=0.5)  # a took no time: all of it is left
    assert not budget.spent()
    assert Budget(0.0, [a]).spent()


def test_a_case_that_begins_a_little_late_is_not_left_out(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("benchmarks.runner.time.monotonic", lambda: now[0])
    budget = Budget(40.0, [LAYER])
    for passed, spent in ((40.0, False), (41.9, False), (42.0, True)):
        now[0] = 100.0 + passed
        assert budget.spent() == spent
    assert budget.take(LAYER) == 0.0
