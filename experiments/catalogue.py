"""All tables and figures, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from experiments import beyond, figure1, figure2, figure3, ranks, small_networks, table1, table2
from experiments.experiment import Experiment
from sepgconv._messages import unknown_name

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        module.EXPERIMENT.name: module.EXPERIMENT
        for module in (table1, ranks, figure3, beyond, figure2, figure1, table2, small_networks)
    }
)


def find_experiment(name: str) -> Experiment:
    """Return a table or figure.

    Raises:
        ValueError: an unknown name.
    """
    if name not in EXPERIMENTS:
        raise ValueError(unknown_name("table or figure", name, EXPERIMENTS))
    return EXPERIMENTS[name]
