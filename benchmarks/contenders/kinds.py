"""Contenders by name: how each is built, which oracle has the same weights, what it lacks on this machine."""

import importlib.util
import inspect
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import sepgconv
from benchmarks.case import Contender
from benchmarks.contenders import ordinary, ours, paper, peers
from sepgconv.nn import SeparableGroupConv2d
from sepgconv.ops.dispatch import EXECUTIONS


@dataclass(frozen=True)
class Kind:
    """A family of contenders.

    Attributes:
        build: from the contender's arguments to a module.
        native: from logical inputs and the arguments to inputs as the module likes them in memory.
        oracle: the reference execution with the same parameters in the same order; None where weights cannot be equal.
    """

    build: Callable[..., nn.Module]
    native: Callable[..., Tensor]
    oracle: Callable[..., nn.Module] | None = None


KINDS: dict[str, Kind] = {
    "ours.separable_layer": Kind(ours.separable_layer, ours.native_maps, paper.separable_layer),
    "ours.group_layer": Kind(ours.group_layer, ours.native_maps, paper.group_layer),
    "ours.network": Kind(ours.network, ours.native_images, paper.network),
    "paper.separable_layer": Kind(paper.separable_layer, paper.native, paper.separable_layer),
    "paper.network": Kind(paper.network, paper.native, paper.network),
    "ordinary.dense_layer": Kind(ordinary.dense_layer, ordinary.native_maps),
    "ordinary.separable_layer": Kind(ordinary.separable_layer, ordinary.native_maps),
    "ordinary.network": Kind(ordinary.network, ordinary.native_images, paper.network),
    "e2cnn.layer": Kind(peers.layer, peers.native_maps),
    "e2cnn.network": Kind(peers.network, peers.native_images),
}


def lacking(contender: Contender) -> str | None:
    """Return why a contender cannot run here, or None if it can."""
    if contender.kind.startswith("e2cnn.") and importlib.util.find_spec("e2cnn") is None:
        return "e2cnn is not installed (extra bench)"
    execution = contender.arguments.get("execution")
    if execution is not None and execution not in EXECUTIONS:
        return f"this version of sepgconv has no execution {execution!r}"
    switch = "recompute" in inspect.signature(SeparableGroupConv2d).parameters
    if contender.arguments.get("recompute") is not None and not switch:
        return "this version of sepgconv has no switch `recompute`"
    if contender.finish == "for inference" and not hasattr(sepgconv, "compile_for_inference"):
        return "this version of sepgconv has no `compile_for_inference`"
    if contender.finish == "compiled" and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        return "torch.compile needs a C++ compiler, and none was found"
    return None


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters one after the other, whatever their names.

    Raises:
        ValueError: another number of parameters, or of entries of one.
    """
    ours_, theirs = list(target.named_parameters()), list(source.named_parameters())
    sizes = [[p.numel() for _, p in parameters] for parameters in (ours_, theirs)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"the parameters do not match one to one: {sizes[0]} numbers beside {sizes[1]}")
    with torch.no_grad():
        for (_, ours_p), (_, theirs_p) in zip(ours_, theirs, strict=True):
            ours_p.copy_(theirs_p.reshape(ours_p.shape))


def build(contender: Contender, seed: int) -> nn.Module:
    """Build a contender, in training mode, with the weights that the seed gives to its oracle.

    Contenders without an oracle draw their own from the same seed.
    """
    kind = KINDS[contender.kind]
    torch.manual_seed(seed)
    if kind.oracle is None:
        return kind.build(**contender.arguments)
    oracle = build_oracle(contender, seed)
    module = kind.build(**contender.arguments)
    copy_weights(oracle, module)
    return module


def build_oracle(contender: Contender, seed: int) -> nn.Module:
    """Build the reference execution that a contender must equal.

    Raises:
        ValueError: the contender has none.
    """
    oracle = KINDS[contender.kind].oracle
    if oracle is None:
        raise ValueError(f"{contender.label}: there is no reference with the same weights")
    torch.manual_seed(seed)
    module = oracle(**contender.arguments)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:  # biases of 0 and scales of 1 would hide faults
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return module


def seconds_to_build(contender: Contender) -> float:
    """Return the seconds in which this process makes a contender; what is imported for it does not count."""
    if contender.kind.startswith("e2cnn."):
        peers.prepare()
    start = time.perf_counter()
    KINDS[contender.kind].build(**contender.arguments)
    return time.perf_counter() - start


def finish(contender: Contender, module: nn.Module) -> nn.Module:
    """Bring a built module into the form that is timed."""
    if contender.finish == "compiled":
        # One graph for each batch size: a graph for all of them, which is what a second size asks for, is slower.
        return torch.compile(module, fullgraph=True, dynamic=False)  # pyright: ignore[reportReturnType] (torch: any callable)
    if contender.finish == "for inference":
        convert = getattr(sepgconv, "compile_for_inference")  # noqa: B009 (newer than the oldest version compared)
        return convert(module.eval())
    if contender.finish == "exported":
        return peers.exported(module)
    return module


def channels_read(contender: Contender, x: Tensor) -> Tensor:
    """Return the channels of an input that the contender reads."""
    return x if contender.reads is None else x[:, : contender.reads]


def native(contender: Contender, x: Tensor) -> Tensor:
    """Lay an input out as the contender likes it."""
    return KINDS[contender.kind].native(channels_read(contender, x), **contender.arguments)
