"""Point groups of the square grid, their representations and their action on index tables; plain integers, no torch."""

from sepgconv.groups.actions import filter_permutation, pixel_permutation, pose_division
from sepgconv.groups.elements import element_names
from sepgconv.groups.fast_fourier import Butterflies, block_tables
from sepgconv.groups.finite import FiniteGroup
from sepgconv.groups.irreps import Irrep, fourier_matrix
from sepgconv.groups.planar import C1, C2, C4, D1, D2, D4, GROUPS, group, planar_group

__all__ = [
    "C1",
    "C2",
    "C4",
    "D1",
    "D2",
    "D4",
    "GROUPS",
    "Butterflies",
    "FiniteGroup",
    "Irrep",
    "block_tables",
    "element_names",
    "filter_permutation",
    "fourier_matrix",
    "group",
    "pixel_permutation",
    "planar_group",
    "pose_division",
]
