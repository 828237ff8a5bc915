"""What all tests share: one thread, a seed per test, the groups, the package without run-time checks of annotations."""

import importlib
import itertools
import sys
from collections.abc import Iterator
from types import ModuleType

import hypothesis
import jaxtyping
import pytest
import torch

import sepgconv
from tests.covering import thinned

torch.set_num_threads(1)

# Derandomised: a run gives the same verdict every time. No deadline: the first example pays for what is built lazily.
hypothesis.settings.register_profile("sepgconv", derandomize=True, deadline=None, max_examples=60)
hypothesis.settings.load_profile("sepgconv")


def pytest_addoption(parser):
    parser.addoption("--products", action="store_true", help="run all cases of the tests that are marked as covering")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--products"):
        kept = thinned(items)
        config.hook.pytest_deselected(items=list(set(items) - set(kept)))
        items[:] = kept


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=["p1", "p2", "p4", "pm", "pmm", "p4m", "cm", "cmm"])
def group(request) -> sepgconv.FiniteGroup:
    """Every group once, under its plane-group name."""
    return sepgconv.group(request.param)


@pytest.fixture
def shallow_resnets(monkeypatch):
    """ResNets of two blocks for each stage, not seven: blocks of every kind, in a third of the time."""
    monkeypatch.setattr("sepgconv.models.resnet44.BLOCKS_PER_STAGE", 2)


@pytest.fixture
def float64():
    """Parameters and inputs in double precision, so that rounding and faults are told apart."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def unchecked():
    """Calls without run-time checks of annotations: bad input then meets the library's own refusal, as for users."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def _set_aside() -> dict[str, ModuleType]:
    ours = [name for name in sys.modules if name.partition(".")[0] == "sepgconv"]
    return {name: sys.modules.pop(name) for name in ours}


def _forget_in_the_compiler() -> None:
    """Take out the modules that it keeps by name, some of them among the globals of code that it compiled."""
    torch._dynamo.symbolic_convert._import_module.cache_clear()
    for module in list(sys.modules.values()):
        for name in [name for name in vars(module) if name.startswith("__import_sepgconv")]:
            delattr(module, name)


@pytest.fixture(scope="module")
def as_installed() -> Iterator[ModuleType]:
    """The package imported anew without the import hook, in place of the checked one while a module's tests run.

    The compiler cannot read through the wrappers that check annotations, and users do not have them.
    """
    checked = _set_aside()
    _forget_in_the_compiler()
    hooks = [finder for finder in sys.meta_path if type(finder).__module__.startswith("jaxtyping")]
    for hook in hooks:
        sys.meta_path.remove(hook)
    yield importlib.import_module("sepgconv")
    _set_aside()
    _forget_in_the_compiler()
    sys.modules.update(checked)
    sys.meta_path[:0] = hooks


@pytest.fixture(scope="session")
def stir():
    """Give biases, scales and statistics of a network values of their own; return it in evaluation mode."""

    def stirred(model):
        with torch.no_grad():
            for tensor in itertools.chain(model.parameters(), model.buffers()):
                if tensor.ndim == 1 and tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5)
        return model.eval()

    return stirred
