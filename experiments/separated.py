"""Networks that begin as a trained group network, separated: what `sepgconv separate` does, as cells."""

import dataclasses

from torch import nn

from experiments.cells import Cell
from sepgconv.convert import separate
from sepgconv.models import list_models
from sepgconv.nn import SeparableGroupConv2d


def group_cell(cell: Cell) -> Cell:
    """Return the cell that trains the group network which a separated one begins as: same width, data and seed.

    Raises:
        ValueError: the cell's network is not separable.
    """
    sharing, _, name = cell.model.partition("_")
    if sharing not in ("gc", "g") or name not in list_models():
        raise ValueError(f"{cell.model} is no separable network, so it cannot begin as a separated one")
    config = {key: value for key, value in cell.model_config.items() if key != "rank"}
    return dataclasses.replace(
        cell, model=name, model_config=config, overrides={}, initialisation="sepgconv", measures=()
    )


def take_separated(network: nn.Module, trained: nn.Module) -> None:
    """Give a separable network the weights of a trained group network, separated at the ranks of its layers.

    Args:
        network: the separable one, whose layers all have one rank.
        trained: its counterpart.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, SeparableGroupConv2d)]
    separation = separate(trained, layers[0].sharing, rank=max(layer.rank for layer in layers))
    network.load_state_dict(separation.model.state_dict())
