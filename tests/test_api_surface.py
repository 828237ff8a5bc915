"""The public names are those of `api_surface.json`, a committed list, so that none comes or goes unnoticed.

To change the list on purpose, run `.venv/bin/python tests/test_api_surface.py` and commit what it writes. A name that
goes, or that is spelt anew, is a breaking change and belongs in CHANGELOG.md.
"""

import importlib
import inspect
import json
from pathlib import Path

import sepgconv

LIST = Path(__file__).with_name("api_surface.json")
ROOT = Path(sepgconv.__file__).parent
OLD = ("groups", "report", "training")  # old names, which warn


def public_modules():
    """The package, its subpackages and its single modules, but for those whose name begins with an underscore."""
    subpackages = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    modules = [path.stem for path in ROOT.glob("*.py") if path.stem not in OLD]
    return ["sepgconv", *sorted(f"sepgconv.{name}" for name in [*subpackages, *modules] if not name.startswith("_"))]


def surface():
    """The public names of every public module."""
    return {name: sorted(getattr(importlib.import_module(name), "__all__", [])) for name in public_modules()}


def test_public_names_are_the_listed_ones():
    listed, found = json.loads(LIST.read_text(encoding="utf-8")), surface()
    added = {module: sorted(set(names) - set(listed.get(module, []))) for module, names in found.items()}
    gone = {module: sorted(set(names) - set(found.get(module, []))) for module, names in listed.items()}
    added, gone = ({module: names for module, names in change.items() if names} for change in (added, gone))
    how = "if this is meant, run `.venv/bin/python tests/test_api_surface.py` and note it in CHANGELOG.md"
    assert listed == found, f"public names added: {added}; gone: {gone}; {how}"


def test_the_list_is_kept_in_order():
    text = LIST.read_text(encoding="utf-8")
    listed = json.loads(text)
    assert text == render(listed)
    assert list(listed) == sorted(listed)
    assert all(names == sorted(set(names)) for names in listed.values())


def test_every_public_module_declares_names_that_exist_and_are_documented():
    for name in public_modules():
        module = importlib.import_module(name)
        assert module.__doc__, f"{name} has no docstring"
        assert getattr(module, "__all__", None), f"{name} declares no __all__"
        for public in module.__all__:
            value = getattr(module, public)
            if inspect.isclass(value) or inspect.isroutine(value):  # not types of arguments
                assert value.__doc__, f"{name}.{public} has no docstring"


def render(listed):
    return json.dumps(listed, indent=2) + "\n"


if __name__ == "__main__":
    LIST.write_text(render(surface()), encoding="utf-8")
