"""The repository agrees with itself: one way to run the tests, exact pins, one version."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sepgconv

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def pins():
    """Name -> version of every line of constraints.txt."""
    lines = [line.split("#")[0].strip() for line in read("constraints.txt").splitlines()]
    return dict(line.split("==") for line in lines if line)


def requirements():
    """Every requirement of the project and of its extras but for those on itself."""
    extras = PROJECT["optional-dependencies"].values()
    found = [Requirement(line) for group in (PROJECT["dependencies"], *extras) for line in group]
    return [requirement for requirement in found if requirement.name != "sepgconv"]


def test_readme_and_ci_run_the_tests_the_same_way():
    assert re.search(r"^\s*make test\b", read(".ci/run"), re.MULTILINE)
    assert re.search(r"`(\$ )?make test`|^\s*(\$ )?make test$", read("README.md"), re.MULTILINE)
    assert re.search(r"^test:.*\n\t.*pytest", read("Makefile"), re.MULTILINE)
    assert not any("pytest" in read(name) for name in (".ci/run", "README.md"))  # no second way beside it


def test_readme_names_the_demo():
    assert re.search(r"`(\$ )?make demo`|^\s*(\$ )?make demo$", read("README.md"), re.MULTILINE)
    assert re.search(r"^demo:.*\n\t.*sepgconv demo", read("Makefile"), re.MULTILINE)


def test_sections_of_the_theory_that_the_code_cites_are_there():
    sections = re.findall(r"^## (.+)$", read("docs/theory.md"), re.MULTILINE)
    cited = set[str]()
    for path in [
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "experiments").rglob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
    ]:
        text = path.read_text(encoding="utf-8")
        assert "METHOD" not in text, path
        cited |= {
            re.sub(r"\s+", " ", name) for name in re.findall(r"theory\.md,\s+([A-Z]\w+(?:\s+(?:in\s+)?\w+)?)", text)
        }
    assert cited
    unknown = {name for name in cited if not any(name.startswith(section) for section in sections)}
    assert unknown == set()


def test_ci_can_be_run():
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    assert read(".ci/run").startswith("#!")


def test_every_pin_is_exact():
    for line in read("constraints.txt").splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.+!]*", line), line
    names = [canonicalize_name(name) for name in pins()]
    assert len(names) == len(set(names))
    assert pins()["torch"] == "2.13.0"


def test_everything_the_project_asks_for_is_pinned_at_a_version_it_accepts():
    versions = {canonicalize_name(name): version for name, version in pins().items()}
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{requirement} is not pinned"
        assert requirement.specifier.contains(versions[name]), f"{requirement}, pinned at {versions[name]}"


def test_tests_run_on_the_pinned_versions():
    for requirement in requirements():
        if requirement.name in ("torch", "numpy", "jaxtyping", "safetensors", "pytest", "hypothesis", "beartype"):
            pinned = {canonicalize_name(k): v for k, v in pins().items()}[canonicalize_name(requirement.name)]
            assert importlib.metadata.version(requirement.name).split("+")[0] == pinned


def test_the_package_itself_needs_four_libraries():
    names = sorted(Requirement(line).name for line in PROJECT["dependencies"])
    assert names == ["jaxtyping", "numpy", "safetensors", "torch"]
    assert "torch>=2.11" in PROJECT["dependencies"]


def test_the_lowest_versions_are_tested_and_documented():
    """Those of torch are not, which pyproject.toml explains; README and docs say so, too."""
    assert re.search(r"^\s*make test-lowest\b", read(".ci/run"), re.MULTILINE)
    assert 'export PYTHON="python$oldest"' in read(".ci/run")
    lowest = next(Requirement(line).specifier for line in PROJECT["dependencies"] if line.startswith("torch"))
    (version,) = (bound.version for bound in lowest)
    assert f"torch {version} or newer" in read("README.md")
    assert f"torch {version} with CUDA" in read("docs/performance.md")
    for path in re.findall(r"tests/\S+", re.search(r"^CORE := (.*\\\n.*)$", read("Makefile"), re.MULTILINE)[1]):
        assert (ROOT / path).exists(), path


def test_the_package_is_typed():
    assert (Path(sepgconv.__file__).parent / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_one_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+([abrc.]+\d+)?", sepgconv.__version__)
    assert importlib.metadata.version("sepgconv") == sepgconv.__version__


@pytest.mark.skipif(not (ROOT / "CHANGELOG.md").is_file(), reason="there is no changelog yet")
def test_the_changelog_begins_with_this_version():
    """Under [Unreleased] stands what the next version will bring; the first numbered entry is this one."""
    versions = re.findall(r"^## \[?(\d[^\]\s]*)\]?", read("CHANGELOG.md"), re.MULTILINE)
    assert versions
    assert versions[0] == sepgconv.__version__


@pytest.mark.skipif(not (ROOT / "CITATION.cff").is_file(), reason="there is no citation file yet")
def test_the_citation_names_this_version_and_licence():
    assert re.search(rf"^version: ['\"]?{re.escape(sepgconv.__version__)}['\"]?$", read("CITATION.cff"), re.MULTILINE)
    assert re.search(r"^license: MIT$", read("CITATION.cff"), re.MULTILINE)
    assert PROJECT["license"] == "MIT"


def test_the_python_version_is_the_same_everywhere():
    assert PROJECT["requires-python"] == ">=3.11"
    assert "(3, 11)" in read("Makefile")
    tools = tomllib.loads(read("pyproject.toml"))["tool"]
    assert tools["ruff"]["target-version"] == "py311"
    assert tools["pyright"]["pythonVersion"] == "3.11"
