"""Batch norm folded into the convolution before it, and activations in place, in a finished plain network."""

import operator
from typing import TypeVar

import torch
from torch import fx, nn
from torch.nn.utils import fuse_conv_bn_eval

from sepgconv._customised import custom_behaviour

_Layer = TypeVar("_Layer", bound=nn.Module)
_FRESH = (nn.Conv2d, nn.BatchNorm2d)  # what these give is no part of another tensor


@torch.no_grad()
def fold_norms(network: fx.GraphModule) -> None:
    """Fold every batch norm into the convolution before it, where nothing else reads what the convolution gives.

    A layer that is called in several places is folded in none of them.
    """
    uses = _uses(network)
    for node in list(network.graph.nodes):
        norm, before = _called(network, node, nn.BatchNorm2d), node.args[0] if node.args else None
        if norm is None or not isinstance(before, fx.Node):
            continue
        convolution = _called(network, before, nn.Conv2d)
        if convolution is None or len(before.users) > 1 or uses[str(before.target)] > 1:
            continue
        network.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, norm))
        node.replace_all_uses_with(before)
        network.graph.erase_node(node)
    network.graph.lint()
    network.recompile()
    network.delete_all_unused_submodules()


def activate_in_place(network: fx.GraphModule) -> None:
    """Let a ReLU write over what only it reads: what a convolution, a batch norm or a sum gave."""
    uses = _uses(network)
    for node in network.graph.nodes:
        relu = _called(network, node, nn.ReLU)
        if relu is not None and uses[str(node.target)] == 1:
            before = node.args[0]
            fresh = before.target is operator.add or any(_called(network, before, kind) for kind in _FRESH)
            relu.inplace = fresh and len(before.users) == 1


def _uses(network: fx.GraphModule) -> dict[str, int]:
    """Count the calls of every layer."""
    uses: dict[str, int] = {}
    for node in network.graph.nodes:
        if node.op == "call_module":
            uses[str(node.target)] = uses.get(str(node.target), 0) + 1
    return uses


def _called(network: fx.GraphModule, node: fx.Node, kind: type[_Layer]) -> _Layer | None:
    """Return the layer that a step calls, where it is of a kind."""
    if node.op != "call_module":
        return None
    layer = network.get_submodule(str(node.target))
    return layer if type(layer) is kind and custom_behaviour(layer) is None else None
