"""Kernel bases and the groups below them, those that leave the pixel grid and those of space among them, by loops."""

import itertools
import math

import numpy as np
import pytest
import torch

import sepgconv
from sepgconv.conv import FULL, conv_spec
from sepgconv.symmetry import FiniteGroup, KernelBasis, PixelBasis, element_names, pixel_permutation
from sepgconv.symmetry.basis import constant, pixel_action

SQUARES = [(1, 1), (2, 2), (3, 3), (4, 4)]
RECTANGLES = [(1, 3), (2, 3), (4, 3), (5, 2)]


def cyclic(order, matrices):
    """The group of `order` rotations, moved by other matrices."""
    plane = sepgconv.group(f"C{order}")
    return FiniteGroup(f"C{order}", plane.table, matrices, plane.irreps)


def about_the_first_axis():
    """The four rotations of space about z that keep the grid of voxels (z, y, x)."""
    corners = sepgconv.group("p4").matrices
    return cyclic(4, tuple(((1, 0, 0), (0, *m[0]), (0, *m[1])) for m in corners))


def cases(group):
    return SQUARES if group.exchanges_axes else SQUARES + RECTANGLES


def test_expand_is_the_matrix_times_the_weight(group):
    for size in cases(group):
        basis, weight = PixelBasis(group, size), torch.randn(2, 3, *size, dtype=torch.float64)
        assert isinstance(basis, KernelBasis)
        assert basis.matrix.shape == (group.order, math.prod(size), math.prod(size))
        expected = torch.einsum("gtn,abn->abgt", torch.tensor(basis.matrix), weight.flatten(-2))
        assert torch.equal(basis.expand(weight), expected.unflatten(-1, size))


def over_poses_by_loops(group, size, weight):
    """(T_h F)(g, v) = F(h^-1 g, h^-1 v), where h^-1 v is found with the matrix of h, from the middle of the kernel."""
    middle = np.array([side - 1 for side in size]) / 2
    out = torch.full((group.order, *weight.shape), torch.nan, dtype=weight.dtype)
    for h, g in itertools.product(range(group.order), repeat=2):
        inverse = np.array(group.matrices[h], dtype=float).T
        (pose,) = (p for p in range(group.order) if group.table[h][p] == g)
        for v in itertools.product(*map(range, size)):
            source = inverse @ (np.array(v) - middle) + middle
            out[(h, g, *v)] = weight[(pose, *source.round().astype(int))]
    return out


def test_over_poses_by_the_definition(group):
    for size in cases(group)[1:]:
        weight = torch.randn(group.order, *size, dtype=torch.float64)
        found = PixelBasis(group, size).expand(weight, over_poses=True)
        assert torch.equal(found, over_poses_by_loops(group, size, weight))


def test_the_loops_see_poses_that_move_the_wrong_way():
    """Negative control: the poses by h g instead of h^-1 g."""
    group, size = sepgconv.group("p4"), (3, 3)
    weight = torch.randn(4, *size, dtype=torch.float64)
    moved = PixelBasis(group, size).expand(weight)  # (pose, h, y, x)
    table = torch.tensor(group.table)
    wrong = torch.stack([moved[table[h], h] for h in range(4)])
    assert not torch.equal(wrong, over_poses_by_loops(group, size, weight))


@pytest.mark.parametrize("name", ["C3", "D8"])
def test_no_kernel_of_pixels_follows_a_group_that_leaves_the_grid(name):
    group = sepgconv.group(name)
    for build in (
        lambda: PixelBasis(group, (3, 3)),
        lambda: conv_spec(FULL, 2, 2, 3, group, kernel="pixel", caller="a layer"),
        lambda: sepgconv.nn.GroupConv2d(2, 2, 3, group, kernel="pixel"),
    ):
        with pytest.raises(ValueError, match=f'{name} has elements that do not take pixels .*kernel="steerable"'):
            build()
    with pytest.raises(ValueError, match="need a basis that can be rotated"):
        pixel_permutation(group, 3, 3)


def test_matrices_that_do_not_represent_the_table_are_refused():
    """Negative control: a rotation that is a little too far."""
    matrices = list(sepgconv.group("C8").matrices)
    assert cyclic(8, tuple(matrices)) == sepgconv.group("C8")
    c, s = math.cos(math.pi / 4 + 1e-4), math.sin(math.pi / 4 + 1e-4)
    matrices[1] = ((c, -s), (s, c))
    with pytest.raises(ValueError, match="the matrices do not multiply as the Cayley table says"):
        cyclic(8, tuple(matrices))


def test_a_group_of_space():
    group = about_the_first_axis()
    assert group.dimension == 3
    assert group.keeps_grid
    assert group.grid_elements == (0, 1, 2, 3)
    assert group.exchanges_axes
    assert len(set(element_names(group))) == 4


@pytest.mark.parametrize("side", [2, 3])
def test_voxels_of_a_cube_by_loops(side):
    group, size = about_the_first_axis(), (side,) * 3
    table, middle = pixel_permutation(group, *size), np.full(3, (side - 1) / 2)
    assert table.shape == (4, *size)
    for g in range(4):
        for v in itertools.product(range(side), repeat=3):
            source = np.array(np.unravel_index(table[(g, *v)], size))
            assert (np.array(group.matrices[g]) @ (source - middle) + middle).tolist() == list(v)
    weight = torch.randn(4, *size, dtype=torch.float64)
    found = PixelBasis(group, size).expand(weight, over_poses=True)
    assert torch.equal(found, over_poses_by_loops(group, size, weight))


def test_grids_of_the_wrong_dimension_are_refused():
    with pytest.raises(ValueError, match=r"moves grids of 3 axes, got sides \(3, 3\)"):
        pixel_permutation(about_the_first_axis(), 3, 3)
    with pytest.raises(ValueError, match=r"moves grids of 2 axes, got sides \(3, 3, 3\)"):
        pixel_permutation("p4", 3, 3, 3)


def test_a_basis_has_a_side_for_each_axis_and_keeps_its_grid():
    with pytest.raises(ValueError, match="p4 exchanges the two axes, so it does not keep a grid of 3 x 5"):
        PixelBasis(sepgconv.group("p4"), (3, 5))
    with pytest.raises(ValueError, match=r"p2 moves grids of 2 axes, got sides \(3,\)"):
        PixelBasis(sepgconv.group("p2"), (3,))


def test_a_basis_of_another_group_or_size_is_refused():
    p4, p2 = sepgconv.group("p4"), sepgconv.group("p2")
    assert conv_spec(FULL, 2, 2, 3, p4, basis=PixelBasis(p4, (3, 3)), caller="a layer") == conv_spec(
        FULL, 2, 2, 3, p4, caller="a layer"
    )
    for basis in (PixelBasis(p2, (3, 3)), PixelBasis(p4, (5, 5))):
        with pytest.raises(ValueError, match=r"a layer: the basis is that of .* build the basis for these"):
            conv_spec(FULL, 2, 2, 3, p4, basis=basis, caller="a layer")


def test_a_table_is_made_once_for_each_device():
    group, weight = sepgconv.group("p4"), torch.randn(3, 3)
    first = constant(pixel_action, group, (3, 3), like=weight)
    assert constant(pixel_action, group, (3, 3), like=weight.clone()) is first
    assert constant(pixel_action, group, (3, 3), like=weight.to("meta")).is_meta
    with torch.inference_mode():
        made = constant(pixel_action, group, (7, 7), like=weight)
    assert not made.is_inference()
