"""e2cnn 0.2.3 (extra "bench"): its P4CNN, and one of its convolutions, taking and giving ordinary tensors."""

import importlib
import types
import warnings
from typing import Any

import numpy as np
from torch import Tensor, nn

# e2cnn's names of the groups that are timed: rotations, and whether there are mirrors.
GROUPS = {
    "p2": (2, False), "p4": (4, False), "pmm": (2, True), "p4m": (4, True), "C8": (8, False), "D8": (8, True),
    "C16": (16, False),
}  # fmt: skip


def _e2cnn() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an old package on a new torch and NumPy
        spaces, layers = importlib.import_module("e2cnn.gspaces"), importlib.import_module("e2cnn.nn")
    if not hasattr(np.ndarray, "tostring"):
        _adapt(importlib.import_module("e2cnn.kernels.irreps_basis"), importlib.import_module("e2cnn.kernels.utils"))
    return spaces, layers


def _adapt(bases: Any, utils: Any) -> None:
    """Replace what bases of groups with mirrors call, and NumPy no longer has: `tostring` and `copy=False`."""

    def array(value: Any, copy: bool = True) -> Any:
        return np.array(value) if copy else np.asarray(value)

    utils.np = types.SimpleNamespace(**{**vars(np), "array": array})

    def of_names(basis: Any) -> int:
        return hash((basis.in_irrep, basis.out_irrep, basis.mu.tobytes()))

    for name in ("R2FlipsSolution", "R2FlipsDiscreteRotationsSolution"):
        getattr(bases, name).__hash__ = of_names


def _space(group: str) -> Any:
    turns, mirrors = GROUPS[group]
    spaces = _e2cnn()[0]
    return spaces.FlipRot2dOnR2(N=turns) if mirrors else spaces.Rot2dOnR2(N=turns)


class _OnTensors(nn.Module):
    """Wraps the input and unwraps the output of a module of e2cnn."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body
        self._wrap = importlib.import_module("e2cnn.nn").GeometricTensor

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self._wrap(x, self.body.in_type)).tensor

    def export(self) -> nn.Module:
        """Return e2cnn's own translation to torch's layers; evaluation mode only."""
        return self.body.export()


class E2P4CNN(nn.Module):
    """P4CNN of Table 1 in e2cnn, on any group: regular fields, `InnerBatchNorm`, `PointwiseMaxPool`, `GroupPooling`."""

    def __init__(self, width: int, group: str = "p4") -> None:
        super().__init__()
        space, e2nn = _space(group), _e2cnn()[1]
        image, maps = e2nn.FieldType(space, [space.trivial_repr]), e2nn.FieldType(space, width * [space.regular_repr])
        layers: list[Any] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for index, size in enumerate((3, 3, 3, 3, 3, 3, 4)):
                layers.append(e2nn.R2Conv(maps if index else image, maps, size, bias=True))
                layers += [e2nn.InnerBatchNorm(maps), e2nn.ReLU(maps)]
                if index == 1:
                    layers.append(e2nn.PointwiseMaxPool(maps, 2))
            self.features = _OnTensors(e2nn.SequentialModule(*layers, e2nn.GroupPooling(maps)))
        self.classifier = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.classifier(self.features(x).mean((-2, -1)))


class _Exported(nn.Module):
    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features, self.classifier = features, classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((-2, -1)))


def exported(module: nn.Module) -> nn.Module:
    """Return an e2cnn contender as plain torch layers, by e2cnn's own export.

    Raises:
        ValueError: another contender.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.eval()
        if isinstance(module, E2P4CNN):
            return _Exported(module.features.export(), module.classifier).eval()
        if isinstance(module, _OnTensors):
            return module.export().eval()
        raise ValueError(f"only contenders of e2cnn can be exported by it, not a {type(module).__name__}")


def layer(*, group: str, channels: int, kernel_size: int, padding: int, **_: object) -> nn.Module:
    """Build an `R2Conv` between regular fields.

    Raises:
        ValueError: a group that is not one of e2cnn's point groups here.
    """
    if group not in GROUPS:
        raise ValueError(f"no e2cnn layer for group {group!r}; there are {', '.join(GROUPS)}")
    space, e2nn = _space(group), _e2cnn()[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maps = e2nn.FieldType(space, channels * [space.regular_repr])
        return _OnTensors(e2nn.R2Conv(maps, maps, kernel_size, padding=padding, bias=True))


def network(*, name: str, width: int, group: str = "p4", **_: object) -> nn.Module:
    """Build P4CNN, on p4 or another group.

    Raises:
        ValueError: another name.
    """
    if name != "p4cnn":
        raise ValueError(f"e2cnn stands beside p4cnn only, not {name!r}")
    return E2P4CNN(width, group)


def native_maps(x: Tensor, **_: object) -> Tensor:
    """Fold poses into channels, contiguous."""
    return x.flatten(1, 2).contiguous()


def native_images(x: Tensor, **_: object) -> Tensor:
    """Take images as a data loader gives them."""
    return x.contiguous()


def prepare() -> None:
    """Import e2cnn, which takes longer than building a network."""
    _e2cnn()
