"""What is measured on a trained network, by name; numbers that JSON keeps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv.analysis import equivariance_error, pose_components, shuffle_kernels
from sepgconv.data import Split
from sepgconv.nn import GroupConv2d
from sepgconv.tasks import evaluate
from sepgconv.tasks.history import MetricsRow

_DECIMALS = 4  # of a share; keeps the records short


@dataclass(frozen=True)
class Trained:
    """A finished training, and what it began with.

    Attributes:
        network: with the weights of the last epoch.
        initial: the same with those before the first.
        history: a row for each epoch.
        test: the test images.
    """

    network: nn.Module
    initial: nn.Module
    history: list[MetricsRow]
    test: Split


def redundancy(training: Trained) -> dict[str, Any]:
    """Return, for each group convolution after the input layer, the first component's share of variance in every set.

    "before" and "after" the training, and "shuffled", the control: the trained kernels dealt anew among channels and
    poses of their layer. Sets of constant kernels are left out.
    """
    return _shares_by_layer(training, standardise=False)


def standardised_redundancy(training: Trained) -> dict[str, Any]:
    """Return the same with every kernel scaled to unit variance first."""
    return _shares_by_layer(training, standardise=True)


def convergence(training: Trained) -> dict[str, Any]:
    """Return the validation error after every epoch, in percent."""
    return {"validation_error": [row["validation_error"] for row in training.history]}


def equivariance(training: Trained) -> dict[str, Any]:
    """Return the largest relative error of the output over the group, on random images in float64."""
    return {"error": output_error(training.network)}


def initial_error(training: Trained) -> dict[str, Any]:
    """Return the test error in percent of the network that the training began with."""
    return {"error": evaluate(training.initial, training.test)}


def output_error(network: nn.Module) -> float:
    """Return the largest relative difference between a network's outputs for an image and for its transformed copies.

    Measured in float64 on two images of normal noise, of the size that the network was made for, under every element
    of its group; the network's precision is as before afterwards.
    """
    config: dict[str, Any] = getattr(network, "config", {})
    side, channels = int(getattr(network, "input_size", 32)), int(getattr(network, "in_channels", 3))
    dtype = next(network.parameters()).dtype
    images = torch.randn(2, channels, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    try:
        return max(equivariance_error(network.double(), config["group"], images).values())
    finally:
        network.to(dtype)


def _group_convolutions(model: nn.Module) -> dict[str, GroupConv2d]:
    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, GroupConv2d)}
    return {name: layer for name, layer in found.items() if layer.kernel_size[0] > 1}


def _shares_by_layer(training: Trained, *, standardise: bool) -> dict[str, Any]:
    before = {name: layer.weight for name, layer in _group_convolutions(training.initial).items()}
    generator = torch.Generator().manual_seed(0)
    layers = [
        {
            "name": name,
            "before": _first_shares(before[name], standardise),
            "after": _first_shares(layer.weight, standardise),
            "shuffled": _first_shares(shuffle_kernels(layer.weight, generator), standardise),
        }
        for name, layer in _group_convolutions(training.network).items()
    ]
    return {"layers": layers}


def _first_shares(weight: Tensor, standardise: bool) -> list[float]:
    shares = pose_components(weight, standardise=standardise)[:, 0]
    return [round(float(share), _DECIMALS) for share in shares[~shares.isnan()]]


Measure = Callable[[Trained], dict[str, Any]]

MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "redundancy": redundancy,
        "standardised_redundancy": standardised_redundancy,
        "convergence": convergence,
        "equivariance": equivariance,
        "initial_error": initial_error,
    }
)
