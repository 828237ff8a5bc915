"""Break the library on purpose, one fault at a time, and ask whether the tests notice: `python -m tools.broken_code`.

Every mutation of `tools.mutations` is applied to a copy of the repository in a temporary folder. The tests that are
likely to catch it run first, until one fails; if none does, all others run, which takes minutes. At the end the tests
that failed run once more on a copy that is not broken, where they must pass: what fails there has caught nothing.

    python -m tools.broken_code --list
    python -m tools.broken_code --json results/broken_code.json      # goes on where it was stopped
    python -m tools.broken_code --only bias-once
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.mutations import MUTATIONS, Mutation, Site

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("src", "experiments")  # the folders whose code is broken
NOT_COPIED = (".git", ".venv", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis", "dist", "build", "runs")
LONGEST = 1800  # seconds that the tests of one mutation may take; a library that hangs is a broken one
HANGS = "a test that does not end"
NO_IMPORT = "the import of the package"  # fails before the first test


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mutation changes the code.

    Attributes:
        path: the file, from the root of the repository.
        site: the text in it and its replacement.
    """

    path: Path
    site: Site


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutation.

    Attributes:
        caught: whether a test failed that passes on the code as it is.
        by: the first test that failed, as pytest names it; None where none did.
        likely: whether it was among the tests that are likely to catch it.
        seconds: from the start of the tests to the failure, with the imports.
    """

    caught: bool
    by: str | None
    likely: bool
    seconds: float


def find(mutation: Mutation, root: Path = ROOT) -> Place:
    """Return the only place in the code that a mutation is about.

    Args:
        mutation: the mutation.
        root: the repository.

    Raises:
        ValueError: the text stands nowhere in the code, or more than once; the list of mutations is then out of date.
    """
    found: list[Place] = []
    for path in sorted(path for folder in SOURCES for path in (root / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for site in mutation.sites:
            found += [Place(path.relative_to(root), site)] * text.count(site.code)
    if len(found) != 1:
        places = ", ".join(str(place.path) for place in found) or "no file"
        raise ValueError(
            f"the mutation {mutation.name!r} must match one place in {' and '.join(SOURCES)}, it matches {len(found)} "
            f"({places}); correct it in tools/mutations"
        )
    return found[0]


def break_code(mutation: Mutation, root: Path) -> Place:
    """Apply a mutation to the repository at `root`, which should be a copy, and return the place.

    Raises:
        ValueError: as `find`.
    """
    place = find(mutation, root)
    path = root / place.path
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(place.site.code, place.site.broken), encoding="utf-8")
    return place


@contextmanager
def copied(root: Path) -> Generator[Path]:
    """Copy the repository, without what git ignores, into a temporary folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="broken_code_") as folder:
        copy = Path(folder) / root.name
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
        yield copy


def first_failure(root: Path, tests: Sequence[str], *, stop: bool = True) -> list[str]:
    """Run tests of the repository at `root` on its own code and return those that failed, as pytest names them.

    Args:
        root: the repository.
        tests: files, folders and names of tests, and options of pytest.
        stop: whether to stop at the first failure.

    Raises:
        RuntimeError: pytest did not run, as without any test.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no", "-rfE", *tests]
    paths = os.pathsep.join([str(root / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    try:
        done = subprocess.run(
            [*command, "-x"] if stop else command,
            cwd=root,
            env={**os.environ, **threads, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [HANGS]
    if done.returncode == 4 and "while loading conftest" in done.stdout + done.stderr:
        return [NO_IMPORT]
    failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1, 2) or bool(failed) != bool(done.returncode):
        raise RuntimeError(f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return failed


def judge(mutation: Mutation, root: Path = ROOT, *, others: bool = True) -> Verdict:
    """Break a copy of the code and run the tests on it, the likely ones first.

    Args:
        mutation: the mutation.
        root: the repository.
        others: whether to run all other tests where the likely ones find nothing.

    Raises:
        ValueError: as `find`.
        RuntimeError: as `first_failure`.
    """
    with copied(root) as copy:
        break_code(mutation, copy)
        started = time.perf_counter()
        tests = [test for test in mutation.tests if (copy / test).exists()]
        failed, likely = first_failure(copy, tests), True
        if not failed and others:
            failed, likely = first_failure(copy, ["tests", *(f"--ignore={test}" for test in tests)]), False
        seconds = round(time.perf_counter() - started, 1)
    return Verdict(bool(failed), failed[0] if failed else None, likely, seconds)


def confirm(verdicts: Mapping[str, Verdict], root: Path = ROOT) -> dict[str, Verdict]:
    """Run the tests that caught something on code that is not broken, and take back what those caught that fail there.

    Args:
        verdicts: by the name of the mutation.
        root: the repository.
    """
    tests = sorted({verdict.by for verdict in verdicts.values() if verdict.by not in (None, HANGS, NO_IMPORT)})
    with copied(root) as copy:
        failed = first_failure(copy, tests, stop=False) if tests else []
    if NO_IMPORT in failed:
        raise RuntimeError(f"the package in {root} cannot be imported, so nothing can be said of its tests")
    return {
        name: Verdict(verdict.caught and verdict.by not in failed, verdict.by, verdict.likely, verdict.seconds)
        for name, verdict in verdicts.items()
    }


def read(path: Path | None) -> dict[str, Verdict]:
    """Return the verdicts that a file holds; none where there is no file."""
    if path is None or not path.is_file():
        return {}
    values: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return {name: Verdict(**value) for name, value in values.items()}


def write(path: Path, verdicts: Mapping[str, Verdict]) -> None:
    """Write verdicts as JSON beside the file, then put the new file in its place."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps({name: asdict(verdict) for name, verdict in verdicts.items()}, indent=2) + "\n")
    part.replace(path)


def chosen(names: Sequence[str]) -> list[Mutation]:
    """Return the mutations of these names, all where there is none.

    Raises:
        ValueError: no mutation has a name.
    """
    known = {mutation.name: mutation for mutation in MUTATIONS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"there is no mutation {unknown[0]!r}; --list shows the {len(known)} names")
    return [known[name] for name in names] or list(MUTATIONS)


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.broken_code", description=str(__doc__).split("\n")[0])
    parser.add_argument("--list", action="store_true", help="show the mutations and where they are, and run nothing")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this mutation; may be repeated")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the verdicts here; those that it has are kept")
    parser.add_argument("--likely", action="store_true", help="run the tests only that are likely to catch a fault")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 where every mutation that was asked for is caught."""
    parser = command_line()
    given = parser.parse_args(arguments)
    try:
        mutations = chosen(given.only)
        places = {mutation.name: find(mutation) for mutation in mutations}
    except ValueError as error:
        parser.error(str(error))
    if given.list:
        for mutation in mutations:
            print(f"{mutation.name:22}{mutation.fault} ({places[mutation.name].path})")
        return 0
    found = read(given.json)
    for mutation in mutations:
        if mutation.name in found and mutation.name not in given.only:
            continue
        found[mutation.name] = verdict = judge(mutation, others=not given.likely)
        print(f"{mutation.name:22}{verdict.seconds:7.1f} s  {verdict.by or 'NOT CAUGHT'}", flush=True)
        if given.json is not None:
            write(given.json, found)
    verdicts = confirm({mutation.name: found[mutation.name] for mutation in mutations})
    if given.json is not None:
        write(given.json, {**found, **verdicts})
    missed = [name for name, verdict in verdicts.items() if not verdict.caught]
    print(f"{len(verdicts) - len(missed)} of {len(verdicts)} caught; not caught: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
