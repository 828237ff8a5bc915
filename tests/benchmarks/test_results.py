"""Results are written whole; report, targets and curves are made from them alone."""

import dataclasses
import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import labels, results, suite
from benchmarks.command import app, finished, write_report
from benchmarks.machine import SAME, environment
from benchmarks.report import markdown
from benchmarks.results import Result
from benchmarks.series import Series
from benchmarks.targets import TARGETS, outcomes

HERE = {
    "cpu": "a CPU", "capability": "AVX2", "gpu": None, "cores": 2, "threads": 2, "memory_bytes": 8 * 10**9,
    "system": "Linux", "python": "3.11", "torch": "2.13", "e2cnn": None, "sepgconv": "0.1", "commit": "abc",
    "date": "2026-01-01", "command": "python -m benchmarks", "seed": 1, "quick": False,
}  # fmt: skip


def series(*seconds):
    return Series(tuple(seconds), tuple(range(len(seconds))), 1, 3)


def result(name, **changed):
    case = next(case for case in suite.suite() if case.name == name)
    contenders = {c.label: {"kind": c.kind, "allocator": c.allocator} for c in case.contenders}
    head = dict(case=name, section=case.section, title=case.title, setting=case.setting, contenders=contenders)
    return Result(**{**head, "environment": HERE, "seconds": 60.0, **changed})


def network(ours):
    times = {
        suite.OURS: ours,
        suite.REFERENCE_DEFAULT: series(0.4, 0.4, 0.5),
        suite.REFERENCE: series(0.05, 0.06, 0.05),
    }
    skipped = {suite.OWN_P4CNN: "it is on strike"}
    return result(suite.GC_NETWORK, tasks={"training step, batch 128": times}, skipped=skipped)


def growth(batch, milliseconds):
    times = {suite.OURS: series(milliseconds / 1e3), suite.GROUP_CONV: series(milliseconds / 500)}
    return result(f"growth-batch-{batch}", tasks={f"forward + backward, batch {batch}": times})


def test_a_result_survives_the_disk(tmp_path):
    before = network(series(0.1, 0.11, 0.1))
    path = results.save(tmp_path, before)
    assert results.load(path) == before
    assert '"seconds": [ 0.1, 0.11, 0.1 ]' in path.read_text()
    assert list(tmp_path.iterdir()) == [path]  # nothing beside it


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = results.save(tmp_path, network(series(0.1)))
    before = path.read_bytes()
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        results.save(tmp_path, network(series(0.2)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"schema": 1, "tasks": {}}'])
def test_a_file_that_is_no_result_is_refused(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"x\.json is not a result"):
        results.load(path)


def test_another_schema_is_refused(tmp_path):
    path = results.save(tmp_path, network(series(0.1)))
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(ValueError, match="schema 99"):
        results.load(path)


def test_targets():
    first, second, third, *rest = outcomes({suite.GC_NETWORK: network(series(0.1, 0.11, 0.1))})
    assert (first.measured, first.met, first.reaches(first.target.aim)) == (pytest.approx(4), True, False)
    assert first.spread == (pytest.approx(0.4 / 0.11), pytest.approx(5))
    assert (second.measured, second.met) == (pytest.approx(0.5), False)
    assert (third.measured, third.met, third.missing) == (None, None, "it is on strike")
    assert {outcome.missing for outcome in rest} == {"not run"}


def test_the_report_shows_the_profiles_of_missed_targets_only():
    def row(milliseconds):
        name = "passes over maps (norm, ReLU, pool, copies)"
        return {"work": name, "operator": "clamp_min", "calls": 1.0, "seconds": milliseconds / 1e3}

    task = "training step, batch 128"
    found = network(series(0.1, 0.11, 0.1))
    found.tasks[task][suite.OWN_P4CNN] = series(0.02, 0.02, 0.02)
    found = dataclasses.replace(found, profiles={task: {suite.OURS: [row(70)], suite.OWN_P4CNN: [row(20)]}})
    report = markdown({found.case: found}, [])
    assert "## Where the time of the missed targets goes" in report
    assert "| passes over maps (norm, ReLU, pool, copies) | 70 | clamp_min 70 | 20 | clamp_min 20 |" in report
    assert "| sum | 70 |  | 20 |  |" in report
    found.tasks[task][suite.OWN_P4CNN] = series(0.2, 0.2, 0.2)
    assert "missed targets goes" not in markdown({found.case: found}, [])


def test_a_refused_case_has_no_target():
    first = outcomes({suite.GC_NETWORK: result(suite.GC_NETWORK, refused="off by 2")})[0]
    assert (first.measured, first.met, first.missing) == (None, None, "refused: off by 2")


def test_the_fastest_opponent_and_the_right_batch_count():
    tasks = {
        f"inference, batch {batch}": {
            suite.FOR_INFERENCE: series(1.0), suite.E2CNN: series(slow), suite.E2CNN_DEFAULT: series(3.0)
        }
        for batch, slow in ((128, 2.0), (1, 5.0))
    }  # fmt: skip
    found = outcomes({suite.P4_NETWORK: result(suite.P4_NETWORK, tasks=tasks)})
    many, one = [o for o in found if o.target.case == suite.P4_NETWORK and o.target.task.startswith("inference")]
    assert (many.opponent, many.measured) == (suite.E2CNN, 2.0)
    assert (one.opponent, one.measured) == (suite.E2CNN_DEFAULT, 3.0)


def test_memory_targets():
    def weigh(ours):
        mine, reference = {"kept": ours, "input": 100}, {"kept": 300, "input": 100}
        memory = {suite.OURS: mine, labels.RECOMPUTED: mine, suite.REFERENCE: reference}
        return {"memory, batch 8": memory}

    cases = {name: result(name, memory=weigh(105)) for name in (suite.LAYER_MEMORY, suite.NETWORK_MEMORY)}
    layer, whole = [o for o in outcomes(cases) if o.target.task == "memory"]
    assert (layer.measured, layer.met) == (1.05, True)
    assert (whole.measured, whole.met) == (0.35, True)
    cases = {name: result(name, memory=weigh(200)) for name in cases}
    assert [o.met for o in outcomes(cases) if o.target.task == "memory"] == [False, False]


def test_the_report_says_what_is_slower_and_what_is_missing(tmp_path):
    for one in (network(series(0.1, 0.11, 0.1)), growth(1, 1.0), growth(2, 2.0)):
        results.save(tmp_path, one)
    results.save(tmp_path, result("resnet44", refused="the output is off"))
    write_report(tmp_path, Console(quiet=True))
    text = (tmp_path / "README.md").read_text()
    assert (
        "| 4.00 times faster (against reference execution, default allocator; 3.64 to 5.00 over 3 rounds) | yes |"
        in text
    )
    assert "| 0.50 times faster (against reference execution; 0.50 to 0.55 over 3 rounds) | **no** |" in text
    assert "- gc_p4cnn-w30, training step, batch 128: 2.00x by reference execution" in text
    assert "100 ms [100, 105] (3)" in text
    assert "**Refused:** the output is off" in text
    assert "- Not run: our P4CNN w=10, since it is on strike." in text
    assert "![time against batch](growth-batch.png)" in text
    assert (tmp_path / "growth-batch.png").read_bytes().startswith(b"\x89PNG")


def test_rendering_is_the_same_every_time(tmp_path):
    for one in (network(series(0.1)), growth(1, 1.0), growth(2, 2.0)):
        results.save(tmp_path, one)
    runs = []
    for _ in range(2):
        outcome = CliRunner().invoke(app, ["--render", "--out", str(tmp_path)])
        assert outcome.exit_code == 0, outcome.output
        runs.append([(tmp_path / name).read_bytes() for name in ("README.md", "growth-batch.png")])
    assert runs[0] == runs[1]
    assert "What it must reach" in outcome.output


def test_results_of_two_runs_are_told_apart(tmp_path):
    results.save(tmp_path, growth(1, 1.0))
    results.save(tmp_path, dataclasses.replace(growth(2, 1.0), environment={**HERE, "commit": "def"}))
    write_report(tmp_path, Console(quiet=True))
    assert "not all from one run" in (tmp_path / "README.md").read_text()


def test_resume_keeps_only_what_is_of_this_commit_and_machine(tmp_path):
    results.save(tmp_path, growth(1, 1.0))
    results.save(tmp_path, dataclasses.replace(growth(2, 1.0), environment={**HERE, "cpu": "another"}))
    results.save(tmp_path, dataclasses.replace(growth(4, 1.0), refused="off"))
    assert finished(tmp_path, HERE) == {"growth-batch-1"}
    assert finished(tmp_path, {**HERE, "commit": "abc+dirty"}) == set()


def test_an_unknown_case_is_refused(tmp_path):
    outcome = CliRunner().invoke(app, ["--only", "nothing*", "--out", str(tmp_path)])
    assert outcome.exit_code == 2
    assert "no case matches" in outcome.output


def test_the_environment_has_what_results_are_compared_by():
    found = environment(threads=1, quick=True, seed=1, command="c")
    assert set(SAME) <= set(found)
    assert set(HERE) == set(found)


def test_there_are_targets():
    assert len(TARGETS) == 31
