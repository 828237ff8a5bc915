"""The forward of a network as steps, in training and in evaluation, with what every step gives on an example."""

from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves

from sepgconv._modules import copy_network, frozen, home, reference_tensor
from sepgconv.convert import tracing
from sepgconv.convert.operators import DROPOUTS, called_name, find_operator, is_in_place
from sepgconv.convert.rebuild.values import BATCH
from sepgconv.convert.tracing import Recording


def trace(model: nn.Module, input_shape: tuple[int, int, int]) -> Recording:
    """Return the steps of a network.

    Subclasses of torch's layers, and other modules with code of their own, are traced inside.

    Args:
        model: the network; it does not change.
        input_shape: (channels, height, width) of its input.

    Raises:
        ValueError: the forward cannot be traced, differs between training and evaluation, needs more than one input, or
            does not run on such an input; it switches autocast, gradients or the saving of activations.
    """
    copies = {mode: frozen(copy_network(model, "equivariant").train(mode)) for mode in (True, False)}
    recordings = {mode: _record(twin, input_shape) for mode, twin in copies.items()}
    for recording in recordings.values():
        drop_unread(recording)
    steps = {mode: [(n.op, str(n.target)) for n in found.graph.nodes] for mode, found in recordings.items()}
    if steps[True] != steps[False]:
        raise ValueError(
            f"equivariant: the forward of {type(model).__name__} takes other steps in training than in evaluation, "
            f"which a traced network cannot; build it without (a drop path of 0, no auxiliary heads)"
        )
    for nodes in zip(*(found.graph.nodes for found in recordings.values()), strict=True):
        _check_constant_numbers(recordings, *nodes)
    return recordings[False]


def _check_constant_numbers(recordings: dict[bool, Recording], training: fx.Node, evaluating: fx.Node) -> None:
    """Raise if a number in a step differs between two calls of the network: it would stay as it was in one of them.

    Raises:
        ValueError: such a step, or dropout that stays on in evaluation; it is named.
    """
    pairs = zip_longest(_numbers(recordings[True], training), _numbers(recordings[False], evaluating))
    same = [a == b or (a, b) == ("True", "False") for a, b in pairs]  # the second: the mode, passed to a step
    if not all(same):
        step = next(iter(evaluating.users), evaluating) if evaluating.op == "get_attr" else evaluating
        raise ValueError(
            f"equivariant: cannot convert {place(step)}: a number in it changes from call to call or with the mode, "
            f"and would stay as it was once; put it into a layer, such as nn.Dropout2d"
        )
    known = find_operator(evaluating.target) if evaluating.op == "call_function" else None
    is_told = known is not None and known.kind in DROPOUTS
    if is_told and evaluating.kwargs.get("training", evaluating.args[2] if len(evaluating.args) > 2 else True) is True:
        raise ValueError(
            f"equivariant: cannot convert {place(evaluating)}: it stays on in evaluation, which layers of dropout do "
            f"not; give it training=self.training"
        )


def _numbers(recording: Recording, node: fx.Node) -> list[str]:
    """Return what a step is given besides what other steps gave, and the value of a constant, as text."""
    found = [repr(value) for value in tree_leaves(map_arg((node.args, node.kwargs), lambda _: None))]
    if node.op == "get_attr" and "_tensor_constant" in str(node.target):
        found.append(str(recording.values.get(node, torch.empty(0)).tolist()))
    return found


def _record(model: nn.Module, input_shape: tuple[int, int, int]) -> Recording:
    like = reference_tensor(model)
    image = torch.randn(BATCH, *input_shape, generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)
    before = _switches(image)

    def watch() -> None:
        changed = [words for words, state in _switches(image).items() if state != before[words]]
        if changed:
            raise ValueError(
                f"its forward switches {' and '.join(changed)}, which a traced network does not keep; take that out, "
                f"and put it around the converted network or its training"
            )

    try:
        with torch.enable_grad():
            before = _switches(image)
            return tracing.record(model, image, _is_ours, watch)
    except ValueError as error:
        raise ValueError(f"equivariant: {error}") from error


def _is_ours(module: nn.Module, place: str) -> bool:
    return home(type(module)) == "sepgconv" and not isinstance(module, nn.Sequential)


def _switches(image: Tensor) -> dict[str, Any]:
    """Return what a `with` in a forward may switch without becoming a step."""
    device = image.device.type
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)  # pyright: ignore (nothing public tells)
    return {
        "autocast": (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)),
        "gradients (no_grad)": torch.is_grad_enabled(),
        "activation checkpointing": hooks is not None,
    }


def _is_needed(recording: Recording, node: fx.Node) -> bool:
    """Return whether a step is needed: another one reads it, or it changes its input in place."""
    return bool(node.users) or node.op in ("placeholder", "output") or _writes_over_input(recording, node)


def _writes_over_input(recording: Recording, node: fx.Node) -> bool:
    """Return whether a step writes into its input."""
    if node.op == "call_module":
        return bool(getattr(recording.whole.get_submodule(str(node.target)), "inplace", False))
    return node.op.startswith("call") and is_in_place(node)


def drop_unread(recording: Recording) -> None:
    """Erase the steps that no other one reads, as checks of sizes and heads that only the training reads."""
    for node in reversed(list(recording.graph.nodes)):
        if not _is_needed(recording, node):
            recording.graph.erase_node(node)


def place(node: fx.Node) -> str:
    """Return where in the model a node stands, for errors."""
    if node.op == "output":
        return "the output"
    if node.op == "call_module":
        return tracing.place(str(node.target)) or "the model"
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    module = tracing.place(str(stack[-1][0])) if stack else ""
    words = {"get_attr": tracing.place(str(node.target))}.get(node.op, f"{called_name(node.target)}()")
    return f"{words} in the forward of {module or 'the model'}"
