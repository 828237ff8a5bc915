"""The ways in which `tools.broken_code` breaks the library, one fault each."""

from tools.mutations.core import CONVOLUTION, SYMMETRY
from tools.mutations.layers import LAYERS
from tools.mutations.mutation import Mutation, Site
from tools.mutations.own_data import OWN_DATA
from tools.mutations.steerable import STEERABLE
from tools.mutations.tools import FILES_AND_TRAINING, TOOLS

MUTATIONS: tuple[Mutation, ...] = (*SYMMETRY, *STEERABLE, *CONVOLUTION, *LAYERS, *TOOLS, *FILES_AND_TRAINING, *OWN_DATA)

__all__ = ["MUTATIONS", "Mutation", "Site"]
