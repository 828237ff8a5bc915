"""The list of mutations is true, and the program that breaks the code tells caught from not caught."""

import json

import pytest

from tools import broken_code
from tools.broken_code import ROOT, Verdict, break_code, confirm, find, first_failure, judge, read, write
from tools.mutations import MUTATIONS, Mutation, Site


def test_every_mutation_matches_one_place_and_names_tests_that_there_are():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 24
    for mutation in MUTATIONS:
        assert find(mutation).path.suffix == ".py"
        assert all(site.code != site.broken for site in mutation.sites), mutation.name
        assert any((ROOT / test).exists() for test in mutation.tests), mutation.name


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """One function with a test that looks at half of what it does, and a test that always fails."""
    files = {
        "src/small.py": "def double(x):\n    return 2 * x\n\n\ndef half(x):\n    return x / 2\n",
        "experiments/other.py": "VALUE = 2\n",
        "tests/test_double.py": "from small import double\n\n\ndef test_double():\n    assert double(2) == 4\n",
        "tests/test_more.py": "from small import half\n\n\ndef test_half():\n    assert half(0) == 0\n",
        "pyproject.toml": "[tool.pytest.ini_options]\n",
    }
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take seconds to import
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def mutation(code, broken, test="tests/test_double.py"):
    return Mutation("made up", "a fault", (Site("older code", "x"), Site(code, broken)), (test,))


def test_a_fault_is_caught_by_the_likely_tests_or_by_others(repository):
    seen = judge(mutation("2 * x", "3 * x"), repository)
    assert (seen.caught, seen.by, seen.likely) == (True, "tests/test_double.py::test_double", True)
    other = mutation("2 * x", "3 * x", "tests/test_more.py")
    seen = judge(other, repository)
    assert (seen.caught, seen.by, seen.likely) == (True, "tests/test_double.py::test_double", False)
    assert not judge(other, repository, others=False).caught
    assert "2 * x" in (repository / "src/small.py").read_text()  # a copy was broken


def test_a_fault_that_no_test_looks_at_is_not_caught(repository):
    """Negative control."""
    seen = judge(mutation("x / 2", "x / 3"), repository)
    assert (seen.caught, seen.by) == (False, None)


def test_a_test_that_fails_anyway_has_caught_nothing(repository):
    """Negative control."""
    right = Verdict(True, "tests/test_double.py::test_double", True, 1.0)
    (repository / "tests/test_fails.py").write_text("def test_fails():\n    assert False\n")
    wrong = Verdict(True, "tests/test_fails.py::test_fails", True, 1.0)
    found = confirm({"right": right, "wrong": wrong}, repository)
    assert found == {"right": right, "wrong": Verdict(False, wrong.by, True, 1.0)}


@pytest.mark.parametrize("code", ["no such code", "return"])
def test_code_that_stands_nowhere_or_twice_is_refused(repository, code):
    with pytest.raises(ValueError, match=r"'made up' must match one place in src and experiments, it matches [02] "):
        break_code(mutation(code, ""), repository)


def test_tests_that_do_not_run_are_no_verdict(repository):
    with pytest.raises(RuntimeError, match="pytest ended with 4"):
        first_failure(repository, ["tests/test_missing.py"])


def test_verdicts_are_written_and_kept(tmp_path, monkeypatch, capsys):
    path, name = tmp_path / "out.json", MUTATIONS[0].name
    kept = {name: Verdict(True, "tests/test_x.py::test", True, 1.5)}
    assert read(path) == {}
    write(path, kept)
    assert read(path) == kept
    assert json.loads(path.read_text())[name]["caught"] is True
    monkeypatch.setattr(broken_code, "MUTATIONS", MUTATIONS[:2])
    monkeypatch.setattr(broken_code, "judge", lambda mutation, others: Verdict(False, None, not others, 2.0))
    monkeypatch.setattr(broken_code, "confirm", lambda verdicts: verdicts)
    assert broken_code.main(["--json", str(path)]) == 1
    assert read(path) == kept | {MUTATIONS[1].name: Verdict(False, None, False, 2.0)}
    assert f"1 of 2 caught; not caught: {MUTATIONS[1].name}" in capsys.readouterr().out
    assert broken_code.main(["--list"]) == 0
    assert MUTATIONS[1].fault in capsys.readouterr().out
    with pytest.raises(SystemExit):
        broken_code.main(["--only", "nonsense"])
