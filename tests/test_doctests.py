"""The examples in docstrings run, for every public object that has one; where they are complete, none is missing.

An example may use the public names of the module that its object is from, as if they had been imported; whatever else
it uses it imports, as a reader would have to.
"""

import doctest
import functools
import importlib
import inspect
import os

import pytest
import torch

from tests.covering import each

MODULES = (  # the root last: it hands out names of the others
    "sepgconv.nn", "sepgconv.functional", "sepgconv.ops", "sepgconv.conv", "sepgconv.symmetry", "sepgconv.analysis",
    "sepgconv.convert", "sepgconv.models", "sepgconv.data", "sepgconv.tasks", "sepgconv.testing", "sepgconv.inference",
    "sepgconv.interop", "sepgconv",
)  # fmt: skip
# Of these every public function and class has an example. What the root adds, `tune_allocator`, changes the process.
COVERED = tuple(module for module in MODULES if module != "sepgconv")


def names(module):
    """The public names of a module, which its examples may use."""
    found = importlib.import_module(module)
    return {name: getattr(found, name) for name in found.__all__}


def public(module):
    """The public functions and classes of a module, by name."""
    objects = names(module).items()
    return {name: obj for name, obj in objects if callable(obj) and obj.__module__.startswith("sepgconv")}


def examples(module, name, found):
    """The doctests of a public object of a module and, for a class, of its methods."""
    home = importlib.import_module(inspect.unwrap(found).__module__)
    tests = doctest.DocTestFinder().find(found, name, module=home, globs=names(module))
    return [test for test in tests if test.examples]


@functools.cache
def collected():
    """By module and name, the doctests of each object that has an example, once though it has several public places."""
    found, seen = {module: {} for module in MODULES}, set()
    for module in MODULES:
        for name, obj in public(module).items():
            if id(obj) not in seen and (tests := examples(module, name, obj)):
                seen.add(id(obj))
                found[module][name] = tests
    return found


def run(test):
    """Run one doctest; return what it reports of failures."""
    said = []
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=options, verbose=False).run(test, out=said.append)
    return "".join(said)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module, tmp_path, monkeypatch):
    failures = {}
    for name, tests in collected()[module].items():
        folder = tmp_path / name  # for what an example writes
        folder.mkdir()
        monkeypatch.chdir(folder)
        torch.manual_seed(0)
        said = "".join(map(run, tests))
        if os.listdir(folder) and not ("save" in name or "to_" in name):
            said += f"leaves {os.listdir(folder)}"
        if said:
            failures[name] = said
    assert not failures, "\n".join(f"{module}.{name}: {said}" for name, said in failures.items())


@each("module", COVERED)
def test_every_public_object_has_an_example(module):
    missing = [name for name, found in public(module).items() if not examples(module, name, found)]
    assert not missing, f"public functions and classes of {module} without an example in their docstring: {missing}"


def test_a_wrong_example_is_seen():
    """Negative control: another answer, an error, and an object without an example."""

    def wrong():
        """Return three.

        >>> 1 + 1
        3
        """

    def broken():
        """Raise.

        >>> undefined_name
        """

    def none():
        """Have no example."""

    def private():
        """Use a name that the module imports for itself.

        >>> get_group("p4").order
        4
        """

    (hidden,) = examples("sepgconv.functional", "private", private)
    assert "NameError: name 'get_group' is not defined" in run(hidden)
    find = doctest.DocTestFinder().find
    assert "Expected:\n    3\nGot:\n    2" in run(find(wrong, "wrong", globs={})[0])
    assert "NameError" in run(find(broken, "broken", globs={})[0])
    assert not [test for test in find(none, "none", globs={}) if test.examples]
