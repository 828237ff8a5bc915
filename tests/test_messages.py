"""Sentences that errors share: nearest names, and the extra that installs what is missing."""

import sys

import pytest

from sepgconv._messages import one_of, require, unknown_name
from sepgconv.symmetry import GROUPS

FRUIT = ("apple", "pear", "peach", "plum")


def test_the_sentence_names_what_came_the_nearest_and_all():
    sentence = unknown_name("fruit", "peech", FRUIT)
    assert sentence.startswith("unknown fruit 'peech'; did you mean 'peach'")
    assert sentence.endswith("(valid: apple, pear, peach, plum)")


@pytest.mark.parametrize(
    ("name", "nearest"), [("aple", "apple"), ("PLUM", "plum"), ("Pear", "pear"), ("plums", "plum"), ("p-each", "peach")]
)
def test_the_nearest_name_comes_first(name, nearest):
    assert f"did you mean '{nearest}'" in unknown_name("fruit", name, FRUIT)


@pytest.mark.parametrize(("name", "nearest"), [("c4", "C4"), ("d2", "D2"), ("P4M", "p4m"), ("PMM", "pmm"), ("D8", "D")])
def test_the_case_of_neither_side_matters(name, nearest):
    assert f"did you mean '{nearest}" in unknown_name("group", name, GROUPS)


@pytest.mark.parametrize("name", ["zebra", "", 17, None, ["zebra"]])
def test_nothing_is_offered_where_nothing_is_near(name):
    sentence = unknown_name("fruit", name, FRUIT)
    assert sentence == f"unknown fruit {name!r} (valid: apple, pear, peach, plum)"


def test_no_more_than_three_names_are_offered():
    names = [f"model_{i}" for i in range(9)]
    sentence = unknown_name("model", "model", names)
    assert sentence.split("(valid")[0].count("'model_") == 3
    assert sentence.split("(valid")[1].count("model_") == 9


def test_choices_may_be_any_iterable():
    assert unknown_name("fruit", "aple", iter(FRUIT)) == unknown_name("fruit", "aple", FRUIT)
    assert unknown_name("fruit", "aple", dict.fromkeys(FRUIT)) == unknown_name("fruit", "aple", FRUIT)


def test_one_of_returns_the_choice_or_refuses():
    assert all(one_of("fruit", name, FRUIT) == name for name in FRUIT)
    with pytest.raises(ValueError, match=r"unknown fruit 'aple'; did you mean 'apple'"):
        one_of("fruit", "aple", FRUIT)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("value", [None, 3, ["apple"], ("apple",)])
def test_one_of_refuses_other_kinds_of_value_with_the_same_sentence(value):
    with pytest.raises(ValueError, match="unknown fruit"):
        one_of("fruit", value, FRUIT)


def test_require_returns_the_module():
    assert require("json", extra="train", purpose="testing") is sys.modules["json"]
    assert require("os.path", extra="train", purpose="testing") is sys.modules["os.path"]


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.part"])
def test_require_names_the_extra_that_installs_what_is_missing(module):
    sentence = r"training needs 'no_such_library'.*pip install 'sepgconv\[train\]'"
    with pytest.raises(ImportError, match=sentence) as error:
        require(module, extra="train", purpose="training")
    assert isinstance(error.value.__cause__, ModuleNotFoundError)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Write a library of one file and put it where Python finds it."""

    def write(name, code):
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_require_lets_faults_inside_a_present_library_through(library):
    """To say that such a library is missing would send people to install what they have."""
    library("old_library", "from json import no_such_name")
    with pytest.raises(ImportError, match="no_such_name") as error:
        require("old_library", extra="train", purpose="training")
    assert "sepgconv[train]" not in str(error.value)

    library("needy_library", "import another_missing_library")
    with pytest.raises(ModuleNotFoundError, match="another_missing_library") as error:
        require("needy_library", extra="train", purpose="training")
    assert "sepgconv[train]" not in str(error.value)

    library("broken_library", "raise RuntimeError('broken by itself')")
    with pytest.raises(RuntimeError, match="broken by itself"):
        require("broken_library", extra="train", purpose="training")
