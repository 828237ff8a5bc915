"""e2cnn 0.2.3 as it was on the NumPy of its time, and its spaces."""

import importlib
import math
import sys
import warnings

import numpy as np
import pytest


class _OldNumpy:
    """NumPy, but `array(..., copy=False)` copies where it must, as it did before NumPy 2."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def array(value, *, copy=True):
        return np.array(value) if copy else np.asarray(value)


@pytest.fixture(autouse=True)
def own_filters():
    """Empty the store in which e2cnn shares sampled filters: models in float64 would turn those of others, too."""
    module = sys.modules.get("e2cnn.nn.modules.r2_conv.basisexpansion_singleblock")
    if module is not None:
        module._stored_filters.clear()


@pytest.fixture(scope="module")
def e2cnn():
    """The two modules of e2cnn that users know, with mirrors made to work on the installed NumPy.

    Two calls in it fail there: `ndarray.tostring`, gone from NumPy 2.3, in the hash of kernel bases, and `array(...,
    copy=False)`, which NumPy 2 refuses where it has to copy, in sampling bases of D4. Both are replaced by what they
    did before. The library itself patches nothing.
    """
    pytest.importorskip("e2cnn")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # of an old package on a new torch and NumPy
        bases = importlib.import_module("e2cnn.kernels.irreps_basis")
        patch.setattr(importlib.import_module("e2cnn.kernels.utils"), "np", _OldNumpy())

        def by_bytes(basis):
            gamma = basis.gamma.tobytes() if isinstance(basis.gamma, np.ndarray) else basis.gamma
            return hash((basis.in_irrep, basis.out_irrep, basis.mu.tobytes(), gamma))

        for name in ("R2FlipsSolution", "R2ContinuousRotationsSolution", "R2FlipsDiscreteRotationsSolution",
                     "R2FlipsContinuousRotationsSolution"):  # fmt: skip
            patch.setattr(getattr(bases, name), "__hash__", by_bytes)
        yield importlib.import_module("e2cnn.gspaces"), importlib.import_module("e2cnn.nn")


# By name: which space of e2cnn, and which group of ours it is.
SPACES = {
    "trivial": ("p1", lambda spaces: spaces.TrivialOnR2()),
    "C2": ("p2", lambda spaces: spaces.Rot2dOnR2(2)),
    "C4": ("p4", lambda spaces: spaces.Rot2dOnR2(4)),
    "flip": ("pm", lambda spaces: spaces.Flip2dOnR2()),
    "D2": ("pmm", lambda spaces: spaces.FlipRot2dOnR2(2)),
    "D2, axis 0": ("pmm", lambda spaces: spaces.FlipRot2dOnR2(2, axis=0.0)),
    "flip at the diagonal": ("cm", lambda spaces: spaces.Flip2dOnR2(axis=3 * math.pi / 4)),
    "D2, axis 45 degrees": ("cmm", lambda spaces: spaces.FlipRot2dOnR2(2, axis=math.pi / 4)),
    "D4": ("p4m", lambda spaces: spaces.FlipRot2dOnR2(4)),
    "D4, axis 45 degrees": ("p4m", lambda spaces: spaces.FlipRot2dOnR2(4, axis=math.pi / 4)),
}


@pytest.fixture(params=SPACES)
def space(request, e2cnn):
    """Every space that is one of our groups, with the name of that group."""
    name, build = SPACES[request.param]
    return name, build(e2cnn[0])
