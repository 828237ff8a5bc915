"""Imports point only where they are declared, within the package and out of it; importing the package stays light."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import sepgconv

ROOT = Path(sepgconv.__file__).parent

# What each part may import of the others. Spine: symmetry -> conv -> ops -> functional -> nn -> models -> tasks ->
# cli.
CORE = {"symmetry", "conv", "ops", "functional"}
ALLOWED = {
    "_messages": set(),
    "_files": set(),
    "_allocator": set(),
    "_numbers": set(),
    "_arguments": set(),
    "_text": set(),
    "_drawing": set(),
    "_table": {"_text"},
    # What reaches a screen; `_text` says how names are shown there.
    "_terminal": {"_text"},
    # What a module really is, and what it does besides its class; torch alone.
    "_rebinding": set(),
    "_modules": {"_rebinding"},
    "_customised": {"_modules"},
    "_comparison": {"_modules"},
    "_evaluation": set(),
    "_nan_check": set(),
    "_hooks": set(),
    "_rotation": set(),
    "symmetry": {"_messages"},
    # Which elements of a space of e2cnn or escnn are which of ours: for certificates and for conversions.
    "_gspaces": {"symmetry"},
    # What a convolution is; who runs it; its public functions.
    "conv": {"_messages", "symmetry"},
    "ops": {"_messages", "symmetry", "conv"},
    "functional": {"_messages", "symmetry", "conv", "ops"},
    "nn": {"_messages", *CORE},
    "models": {"_messages", "_files", "_comparison", "_modules", "_customised", *CORE, "nn"},
    "inference": {"_arguments", "_comparison", "_modules", "_customised", "_hooks", *CORE, "nn"},
    # Three houses, which know nothing of each other but that redundancy shows what a layer costs.
    "analysis.cost": {
        "_arguments", "_messages", "_numbers", "_table", "_modules", "_evaluation", "_hooks", *CORE, "nn",
    },
    "analysis.certify": {
        "_arguments", "_messages", "_numbers", "_table", "_modules", "_evaluation", "_nan_check", "_hooks", "_gspaces",
        *CORE,
    },
    "analysis.redundancy": {
        "_arguments", "_messages", "_numbers", "_table", "_modules", "_evaluation", "_nan_check", "_hooks", *CORE,
        "nn", "analysis.cost",
    },
    # Its findings as a page; it draws, so `analysis` imports it on first use only.
    "analysis.redundancy.report": {
        "_messages", "_numbers", "_table", "_text", "_drawing", *CORE, "analysis.redundancy",
    },
    "analysis": {"analysis.cost", "analysis.certify", "analysis.redundancy", "analysis.redundancy.report"},
    "interop": {
        "_messages", "_modules", "_customised", "_comparison", "_evaluation", "_nan_check", "_gspaces", *CORE,
        "nn", "models", "analysis.certify",
    },
    # Cost: ordinary networks are rebuilt to a budget. Models: separated networks get back their names.
    "convert": {
        "_arguments", "_messages", "_files", "_numbers", "_table", "_comparison", "_modules", "_customised",
        "_evaluation", "_nan_check", *CORE, "nn", "models", "inference", "analysis", "analysis.redundancy", "interop",
    },
    "testing": {"_arguments", "symmetry", "analysis"},
    "data": {"_messages", "_files", "_numbers", "_rotation", "_table"},
    # `sepgconv` itself: its version and its place on the disk, for the records of runs.
    # Metrics to log move images and ask how an output moves.
    "tasks": {
        "_messages", "_files", "_text", "_terminal", "_drawing", "_evaluation", "symmetry", "functional", "models",
        "data", "analysis", "analysis.certify", "sepgconv",
    },
    "cli": {
        "_messages", "_files", "_numbers", "_table", "_allocator", "_text", "_terminal", "_drawing", "symmetry",
        "functional", "nn", "models", "analysis", "analysis.certify", "analysis.cost", "analysis.redundancy",
        "analysis.redundancy.report", "convert", "data", "tasks",
        "sepgconv",
    },
    "__main__": {"cli"},
    # Old names, for one release.
    "groups": {"symmetry"},
    "report": {"analysis.redundancy.report"},
    "training": {"tasks"},
    # The root hands out names; what needs the extra "train" is imported on first use only.
    "sepgconv": {"_allocator", "symmetry", "functional", "nn", "models", "inference", "analysis"},
}  # fmt: skip

# Libraries besides the standard one that each part may import, anywhere in it.
LIBRARIES = {
    "_messages": set(),
    "_files": set(),
    "_allocator": set(),
    "_numbers": set(),
    "_arguments": {"torch"},
    "_text": set(),
    "_drawing": {"matplotlib"},
    "_table": set(),
    "_terminal": set(),
    "_rebinding": {"torch"},
    "_modules": {"torch"},
    "_customised": {"torch"},
    "_comparison": {"torch"},
    "_evaluation": {"torch"},
    "_nan_check": {"torch"},
    "_hooks": {"torch"},
    "_rotation": {"torch"},
    # Kernel bases and tables on a device; the groups themselves are numbers.
    "symmetry": {"numpy", "torch"},
    "conv": {"torch"},
    "ops": {"torch", "jaxtyping"},
    "_gspaces": set(),
    "functional": {"torch", "jaxtyping"},
    "nn": {"torch", "jaxtyping"},
    "models": {"torch", "jaxtyping", "safetensors"},
    "inference": {"torch", "jaxtyping"},
    "analysis.cost": {"torch"},
    "analysis.certify": {"torch"},
    "analysis.redundancy": {"torch"},
    "analysis.redundancy.report": {"torch", "matplotlib", "PIL", "jinja2", "markupsafe"},
    "analysis": set(),
    # e2cnn and escnn are asked, never imported.
    "interop": {"torch", "jaxtyping"},
    # onnx and its companions are imported by `to_onnx` alone.
    "convert": {"torch", "jaxtyping", "onnx", "onnxruntime", "onnxscript"},
    "testing": {"torch"},
    "data": {
        "torch",
        "numpy",
        "jaxtyping",
        "PIL",
        "kornia",
        "pooch",
        "requests",
        "sklearn",
        "tqdm",
        "tifffile",
        "h5py",
        "skimage",
        "pycocotools",
    },
    "tasks": {
        "torch",
        "numpy",
        "jaxtyping",
        "safetensors",
        "lightning",
        "matplotlib",
        "torchmetrics",
        "skimage",
        "scipy",
        "PIL",
    },
    "cli": {"torch", "typer", "rich", "matplotlib", "tqdm", "yaml"},
    "__main__": set(),
    "groups": set(),
    "report": set(),
    "training": set(),
    "sepgconv": set(),
}

# Needed for training and the command line only, and slow to import.
HEAVY = ("lightning", "pytorch_lightning", "torchmetrics", "kornia", "sklearn", "skimage", "scipy", "matplotlib",
         "typer", "rich", "pooch", "requests", "PIL", "tensorboard", "torchvision", "beartype", "pytest", "ray",
         "e2cnn", "escnn", "onnx", "onnxruntime", "onnxscript", "tifffile", "h5py", "pycocotools")  # fmt: skip


# Folders within a folder that are parts of their own.
HOUSES = ("analysis.cost", "analysis.certify", "analysis.redundancy", "analysis.redundancy.report")


def part_of(name):
    """The part that a dotted name within the package belongs to: the longest house, else the first word."""
    within = [house for house in HOUSES if name == house or name.startswith(house + ".")]
    return max(within, key=len) if within else name.split(".")[0]


def parts(root=ROOT):
    """Every part of the package with its files: subpackages, single modules, and the root's `__init__.py`."""
    found = {"sepgconv": [root / "__init__.py"]}
    for path in sorted(root.iterdir()):
        if path.is_dir():
            for file in sorted(path.rglob("*.py")):
                found.setdefault(part_of(".".join(file.parent.relative_to(root).parts)), []).append(file)
        elif path.suffix == ".py" and path.name != "__init__.py":
            found[path.stem] = [path]
    return found


def imports(path, root=ROOT):
    """Every module a file imports, wherever in it, as (line, dotted name); names of our parts are written out.

    `require("module", ...)` and `import_module("module")` import, too.
    """
    known = set(parts(root))
    package = ["sepgconv", *path.relative_to(root).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                is_part = module == "sepgconv" and alias.name in known
                yield node.lineno, f"{module}.{alias.name}" if is_part else module
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if function in ("require", "import_module"):
                yield node.lineno, str(node.args[0].value)


def violations(root=ROOT):
    """Imports that the tables do not declare, each as one sentence."""
    found = []
    for part, files in parts(root).items():
        for path in files:
            for line, name in imports(path, root):
                top, _, rest = name.partition(".")
                if top == "sepgconv":
                    target = part_of(rest) if rest else "sepgconv"
                    allowed = ALLOWED.get(part, set()) | {part}
                else:
                    target, allowed = top, LIBRARIES.get(part, set()) | sys.stdlib_module_names
                if target not in allowed:
                    found.append(f"{path.relative_to(root)}:{line}: {part} imports {target}")
    return found


def test_imports_are_the_declared_ones():
    assert not violations(), "declare it in ALLOWED or LIBRARIES of this file, with a reason, or turn it round"


def test_every_part_is_declared():
    assert set(parts()) == set(ALLOWED) == set(LIBRARIES)


def test_the_declared_directions_have_no_cycle():
    done, order = set(), []
    while len(done) < len(ALLOWED):
        # What the root hands out does not import the root; training and the command line come after it.
        ready = [part for part, allowed in ALLOWED.items() if part not in done and allowed - {part} <= done]
        assert ready, f"a cycle among {sorted(set(ALLOWED) - done)}"
        done |= set(ready)
        order += ready
    spine = [
        part for part in order if part in ("symmetry", "conv", "ops", "functional", "nn", "models", "tasks", "cli")
    ]
    assert spine == ["symmetry", "conv", "ops", "functional", "nn", "models", "tasks", "cli"]


@pytest.mark.parametrize(
    ("part", "line", "found"),
    [
        ("symmetry", "from sepgconv.functional import act", "symmetry imports functional"),
        ("symmetry", "import jaxtyping", "symmetry imports jaxtyping"),
        ("conv", "from sepgconv.ops import convolve", "conv imports ops"),
        ("nn", "from sepgconv import models", "nn imports models"),
        ("nn", "import sepgconv.models.registry as r", "nn imports models"),
        ("nn", "from ..models import registry", "nn imports models"),
        ("nn", "import sepgconv", "nn imports sepgconv"),
        ("nn", "def f():\n    from sepgconv.tasks import train", "nn imports tasks"),
        ("models", "if TYPE_CHECKING:\n    import lightning.pytorch", "models imports lightning"),
        ("data", "from sepgconv.models import load", "data imports models"),
        ("tasks", "from sepgconv.cli import main", "tasks imports cli"),
        ("analysis.certify", "from sepgconv.analysis.cost import macs", "analysis.certify imports analysis.cost"),
        ("cli", "from experiments import Cell", "cli imports experiments"),
        ("data", "typer = require('typer', extra='train', purpose='data')", "data imports typer"),
        ("invented", "import sepgconv.symmetry", "invented imports symmetry"),
    ],
)
def test_the_checks_see_an_undeclared_import(tmp_path, part, line, found):
    """Negative control, on a copy of the layout that has nothing else in it."""
    for name in {*ALLOWED, part} - {"sepgconv"}:
        folder = tmp_path.joinpath(*name.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text("")
    (tmp_path / "__init__.py").write_text("")
    assert violations(tmp_path) == []
    tmp_path.joinpath(*part.split("."), "file.py").write_text(f"import math\n{line}\n")
    (sentence,) = violations(tmp_path)
    assert sentence.startswith(f"{part.replace('.', '/')}/file.py:")
    assert sentence.endswith(found)


def run(code):
    """Run code in a fresh interpreter with warnings as errors; return what it prints, as JSON."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


HANDED_OUT = ("testing", "interop", "convert", "data", "tasks", "cli")  # on first use; none imports one after it
OLD_NAMES = {"groups": "symmetry", "training": "tasks", "report": "analysis.redundancy.report"}


@pytest.fixture(scope="module")
def first_import():
    """What is there after the package is imported, and after each of its names is used first."""
    return run(f"""
import importlib, json, random, sys, warnings
import torch, numpy
def state():
    return [torch.get_default_dtype().__repr__(), torch.get_num_threads(), torch.is_grad_enabled(),
            torch.initial_seed(), torch.get_rng_state().tolist(), random.getstate()[1][:5],
            torch.are_deterministic_algorithms_enabled(), torch.cuda.is_initialized()]
torch.manual_seed(0)
before = state()
import sepgconv
found = {{"settings": before == state(), "cuda": torch.cuda.is_initialized(), "modules": sorted(sys.modules)}}
found["names"] = dir(sepgconv)
found["first use"] = {{}}
for name in {HANDED_OUT}:
    full = "sepgconv." + name
    found["first use"][name] = [full in sys.modules, getattr(sepgconv, name).__name__, full in sys.modules]
    if name == "data":
        light = ("kornia", "sklearn", "pooch", "PIL", "requests", "lightning")
        found["with data"] = [module for module in light if module in sys.modules]
found["old names"] = {{}}
for old, new in {OLD_NAMES}.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = getattr(sepgconv, old)
    new = importlib.import_module("sepgconv." + new)
    same = all(getattr(module, name) is getattr(new, name) for name in new.__all__)
    found["old names"][old] = [same, [str(entry.message) for entry in caught]]
print(json.dumps(found))
""")


def loaded(modules):
    return {name.split(".")[0] for name in modules}


def test_importing_the_package_loads_nothing_heavy(first_import):
    assert {"torch", "numpy", "jaxtyping", "safetensors", "sepgconv"} <= loaded(first_import["modules"])
    assert not loaded(first_import["modules"]) & set(HEAVY)
    assert "torch._dynamo" not in first_import["modules"], "the compiler is imported by those who compile"
    assert first_import["with data"] == []


def test_the_check_of_what_is_loaded_sees_a_heavy_library():
    assert "PIL" in loaded(run("import json, sys, PIL; print(json.dumps(sorted(sys.modules)))"))


def test_importing_the_package_touches_no_gpu_and_changes_no_setting(first_import):
    assert (first_import["settings"], first_import["cuda"]) == (True, False)


def test_the_package_works_without_the_extra():
    """In an environment that has only the runtime dependencies; what needs more says how to get it."""
    code = f"""
import contextlib, importlib.abc, io, json, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import torch, sepgconv, sepgconv.cli, sepgconv.testing
model = sepgconv.create_model("gc_p4cnn", width=2).eval()
sepgconv.testing.assert_equivariant(model, "p4", torch.randn(1, 1, 28, 28))
sepgconv.analysis.cost(model, (1, 28, 28))
sys.argv = ["sepgconv", "models"]
with contextlib.redirect_stderr(io.StringIO()) as said:
    try:
        sepgconv.cli.main()
    except SystemExit as end:
        status = end.code
print(json.dumps([status, said.getvalue()]))
"""
    status, said = run(code)
    assert status == 1
    assert "pip install 'sepgconv[train]'" in said
    assert said.count("\n") == 1


def test_what_needs_the_extra_is_found_on_first_use(first_import):
    assert first_import["first use"] == {name: [False, f"sepgconv.{name}", True] for name in HANDED_OUT}


def test_old_names_work_for_one_release_and_say_so(first_import):
    assert set(first_import["old names"]) == set(OLD_NAMES)
    for old, (same, (warning,)) in first_import["old names"].items():
        assert same, old
        assert f"sepgconv.{old} is called sepgconv.{OLD_NAMES[old]} now" in warning


def test_names_the_package_does_not_have():
    with pytest.raises(AttributeError, match=r"module 'sepgconv' has no attribute 'trainig'"):
        _ = sepgconv.trainig
    assert not hasattr(sepgconv, "conversion")


def test_completion_finds_what_is_imported_on_first_use(first_import):
    assert set(HANDED_OUT) <= set(first_import["names"])


def long_files(root=ROOT):
    return [path for path in root.rglob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) >= 400]


def test_files_stay_short():
    """A file has one reason to exist, and fits into a head: under 400 lines."""
    assert long_files() == []


def test_a_long_file_is_seen(tmp_path):
    (tmp_path / "long.py").write_text("\n" * 400)
    assert long_files(tmp_path) == [tmp_path / "long.py"]
