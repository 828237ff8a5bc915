"""Groups of rotations and reflections, their real irreps and Fourier transforms, and how they move kernels."""

from sepgconv.symmetry.actions import filter_permutation, pixel_permutation, pose_division
from sepgconv.symmetry.basis import KernelBasis, PixelBasis
from sepgconv.symmetry.diagonal import CM, CMM
from sepgconv.symmetry.elements import element_names
from sepgconv.symmetry.filter_error import filter_error, worst_filter_error
from sepgconv.symmetry.finite import FiniteGroup
from sepgconv.symmetry.group_fft import GroupFFT, block_tables
from sepgconv.symmetry.irreps import Irrep, fourier_matrix
from sepgconv.symmetry.kernels import kernel_basis
from sepgconv.symmetry.planar import C1, C2, C4, D1, D2, D4, planar_group
from sepgconv.symmetry.registry import GROUPS, group, list_groups, register_group, register_group_family
from sepgconv.symmetry.steerable import SteerableBasis
from sepgconv.symmetry.subgroups import coset_table, subgroup_elements
from sepgconv.symmetry.vectors import vector_matrices

__all__ = [
    "C1",
    "C2",
    "C4",
    "CM",
    "CMM",
    "D1",
    "D2",
    "D4",
    "GROUPS",
    "FiniteGroup",
    "GroupFFT",
    "Irrep",
    "KernelBasis",
    "PixelBasis",
    "SteerableBasis",
    "block_tables",
    "coset_table",
    "element_names",
    "filter_error",
    "filter_permutation",
    "fourier_matrix",
    "group",
    "kernel_basis",
    "list_groups",
    "pixel_permutation",
    "planar_group",
    "pose_division",
    "register_group",
    "register_group_family",
    "subgroup_elements",
    "vector_matrices",
    "worst_filter_error",
]
