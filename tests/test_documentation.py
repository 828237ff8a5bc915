"""README and docs: examples run and print what stands below them, commands parse, links lead somewhere."""

import contextlib
import importlib
import importlib.util
import io
import re
import shlex
import tempfile
import tomllib
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

import benchmarks.command
import experiments.command
import sepgconv.cli.app
from experiments import EXPERIMENTS
from sepgconv.cli.config_file import read_config_file
from sepgconv.tasks import TrainingConfig
from tests.covering import each

ROOT = Path(__file__).parents[1]
# Those in docs/results are rendered from records, and tested there.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"python", "sh", "text", "make", "yaml"}


class Block(NamedTuple):
    """What stands between two fences, and the block that follows with only empty lines between, if it is text."""

    place: str
    language: str
    code: str
    output: str | None


def blocks(text, name="page.md"):
    found = list(re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    made = []
    for block, following in zip(found, [*found[1:], None], strict=bool(found)):
        follows = following and following[1] == "text" and not text[block.end() : following.start()].strip()
        line = text.count("\n", 0, block.start()) + 1
        made.append(Block(f"{name}:{line}", block[1], block[2], following[2] if follows else None))
    return made


def blocks_of(language):
    found = [block for page in PAGES for block in blocks(page.read_text(), page.name) if block.language == language]
    return [pytest.param(block, id=block.place) for block in found]


def outside_blocks(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


# Examples in Python.


def run(block):
    """Run an example on its own, as a reader would paste it."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.code, block.place, "exec"), {"__name__": "__main__"})
    if block.output is not None:
        assert printed.getvalue() == block.output, block.place


@pytest.mark.parametrize("block", blocks_of("python"))
def test_examples_run_and_print_what_stands_below_them(block, unchecked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run(block)


@pytest.mark.parametrize("code", ["assert 1 == 2", "import sepgconv; sepgconv.no_such_name", "print(2)"])
def test_an_example_that_is_wrong_is_seen(code):
    (block, _) = blocks(f"```python\n{code}\n```\n\n```text\n1\n```\n")
    with pytest.raises((AssertionError, AttributeError)):
        run(block)


def test_every_block_says_its_language():
    """Otherwise it would escape these tests."""
    found = {block.language for page in PAGES for block in blocks(page.read_text())}
    assert found <= LANGUAGES
    assert {"python", "sh", "text"} <= found


@pytest.mark.parametrize("block", blocks_of("yaml"))
def test_examples_in_yaml_are_configs_of_a_training(block, tmp_path):
    (tmp_path / "config.yaml").write_text(block.code)
    TrainingConfig.from_dict(read_config_file(tmp_path / "config.yaml").config)


# Commands.


def targets_of_make():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def complaint(line, mention=False):
    """Return what is wrong with a command, or None; what it would do is not done.

    A mention in a sentence, as "`sepgconv train` trains", may leave out the arguments.
    """
    words = shlex.split(line, comments=True)
    if not words:
        return None
    if words[0] == "sepgconv":
        if mention and words[1:] and set(words[1:]) <= set(typer.main.get_command(sepgconv.cli.app.app).commands):
            return None
        return complaint_of_typer(sepgconv.cli.app.app, words[1:])
    if words[:3] == ["python", "-m", "experiments"]:
        return complaint_of_typer(experiments.command.app, words[3:])
    if words[:3] == ["python", "-m", "benchmarks"]:
        return complaint_of_typer(benchmarks.command.app, words[3:])
    if words[:2] == ["python", "-m"] and words[2:] and words[2].startswith("tools."):
        return complaint_of_argparse(words[2], words[3:])
    if words[0] == "python":
        return None if (ROOT / words[1]).is_file() else f"there is no file {words[1]}"
    if words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        return next((f"no extra {name}" for name in re.findall(r"\[(\w+)\]", line) if name not in extras), None)
    if words[0] == "make":
        unknown = [word for word in words[1:] if "=" not in word and word not in targets_of_make()]
        return f"make has no target {', '.join(unknown)}" if unknown or len(words) == 1 else None
    return f"no rule for {words[0]!r} in this test"


def complaint_of_argparse(module, words):
    if importlib.util.find_spec(module) is None:
        return f"there is no module {module}"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            importlib.import_module(module).command_line().parse_args(words)
    except SystemExit:
        return said.getvalue()
    return None


def complaint_of_typer(app, words):
    command = typer.main.get_command(app)
    try:
        if hasattr(command, "commands"):
            name, command, words = command.resolve_command(command.context_class(command), words)
            values = command.make_context(name, list(words)).params
            model = values.get("model")
            going_on = model == "RUN" and (values.get("resume") or values.get("extend"))
            if name in ("train", "info") and model not in sepgconv.list_models() and not going_on:
                return f"no network is called {model}"
        else:
            what = command.make_context("experiments", list(words)).params.get("what")
            if what not in (None, "all", "render", *EXPERIMENTS):
                return f"no table or figure is called {what}"
    except Exception as error:
        # From one version of typer to the next these classes are click's or its own.
        if getattr(error, "exit_code", None) == 0:  # --help
            return None
        if not hasattr(error, "format_message"):
            raise
        return error.format_message()
    return None


def commands_between_words(text):
    """Return the commands in backticks, and nothing else that stands in them."""
    quoted = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", outside_blocks(text))]
    return [code for code in quoted if re.match(r"(sepgconv|python|pip|make) ", code)]


@each("page", PAGES)
def test_commands_parse(page):
    text = page.read_text()
    lines = [line for block in blocks(text) if block.language in ("sh", "make") for line in block.code.splitlines()]
    wrong = {line: why for line in lines if (why := complaint(line))}
    wrong |= {line: why for line in commands_between_words(text) if (why := complaint(line, mention=True))}
    assert wrong == {}


@each(
    "line",
    [
        "sepgconv train gc_p4cnn --widht 3", "sepgconv train gc_p5cnn", "sepgconv trian", "sepgconv models all",
        "sepgconv export RUN --to jpeg --out x", "sepgconv evaluate", "make dmeo", "pip install '.[trian]'",
        "python -m experiments table9", "python -m benchmarks --qick", "python docs/nothing.py", "ls",
        "python -m tools.broken_code --onyl bias-once", "sepgconv train RUN",
    ],
)  # fmt: skip
def test_a_command_that_is_wrong_is_seen(line):
    assert complaint(line)
    assert commands_between_words(f"Call `{line}`.") == ([line] if line != "ls" else [])


# Links.


def anchors(text):
    headings = re.findall(r"^#+ (.+)$", outside_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page):
    text = re.sub(r"`[^`]*`", "", outside_blocks(page.read_text()))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    broken = []
    for target in targets:
        name, _, anchor = target.partition("#")
        if "://" in target:
            continue
        to = page.parent / name if name else page
        if not to.exists() or (anchor and anchor not in anchors(to.read_text())):
            broken.append(target)
    return broken


@each("page", PAGES)
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A b\n[1](page.md) [2](#a-b) [3](#c) [4](nothing.md) [5](page.md#c) [6](https://x.org/#c)\n")
    assert broken_links(page) == ["#c", "nothing.md", "page.md#c"]


@each("page", PAGES)
def test_no_gaps_are_left(page):
    assert re.findall(r"@[A-Z_]+@|TODO|TBD", page.read_text()) == []


def test_every_page_can_be_reached_from_the_readme():
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop().resolve()
        if page not in reached and page.suffix == ".md" and page.is_file():
            reached.add(page)
            names = re.findall(r"\]\(([^)#\s]+)", page.read_text())
            left += [page.parent / name for name in names if "://" not in name]
    assert {page.resolve() for page in PAGES} <= reached


# Numbers.


def times(text):
    """Return each time and each ratio that a table names."""
    return set(re.findall(r"\b\d[\d.]* ms\b|\b\d[\d.]*x\b", text))


def strange_times(readme, performance):
    """Return the times in the README's table of speed that docs/performance.md does not have."""
    return times(readme.partition("## Speed")[2].partition("\n## ")[0]) - times(performance)


def test_the_times_of_the_readme_are_those_of_the_docs():
    readme, performance = (ROOT / "README.md").read_text(), (ROOT / "docs" / "performance.md").read_text()
    assert len(times(readme)) > 8
    assert strange_times(readme, performance) == set()
    assert strange_times(readme.replace("167 ms", "16.7 ms"), performance) == {"16.7 ms"}


# Names.


def resolve(name):
    """Return whether a dotted name of the package is there, whatever it warns of."""
    parts = name.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for length in range(len(parts), 0, -1):
            with contextlib.suppress(ModuleNotFoundError):
                found = importlib.import_module(".".join(parts[:length]))
                break
        else:
            return False
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
    return True


@each("page", PAGES)
def test_names_of_the_package_exist(page):
    """Old ones too, which docs/migrating.md lists."""
    quoted = re.findall(r"`[^`]+`", outside_blocks(page.read_text()))
    names = {name for code in quoted for name in re.findall(r"\bsepgconv(?:\.[A-Za-z_]\w*)+", code)}
    assert {name for name in names if not resolve(name)} == set()


def test_a_name_that_is_not_there_is_seen():
    assert resolve("sepgconv.nn.GroupConv2d")
    assert not resolve("sepgconv.nn.GroupConv3000d")
    assert not resolve("sepgconv.nothing.GroupConv2d")
