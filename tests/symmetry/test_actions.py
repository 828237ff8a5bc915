"""The integer tables against loops over their definitions."""

import itertools

import numpy as np
import pytest
import torch

import sepgconv
from sepgconv.functional import lift_conv2d
from sepgconv.symmetry import element_names, filter_permutation, pixel_permutation, pose_division

SQUARES = [(1, 1), (2, 2), (3, 3), (4, 4), (7, 7)]
RECTANGLES = [(1, 4), (2, 3), (3, 5), (6, 4)]


def sizes(group):
    return SQUARES if group.exchanges_axes else SQUARES + RECTANGLES


def test_pose_division(group):
    division = pose_division(group)
    for g, h in itertools.product(range(group.order), repeat=2):
        assert group.table[g][division[g, h]] == h


def test_pixel_permutation_moves_every_pixel_by_the_matrix(group):
    for height, width in sizes(group):
        table = pixel_permutation(group, height, width)
        assert table.shape == (group.order, height, width)
        middle = np.array([height - 1, width - 1]) / 2
        for g, y, x in itertools.product(range(group.order), range(height), range(width)):
            source_y, source_x = divmod(int(table[g, y, x]), width)
            moved = np.array(group.matrices[g]) @ (np.array([source_y, source_x]) - middle) + middle
            assert moved.tolist() == [y, x]


def test_pixel_permutation_is_a_permutation_and_a_homomorphism(group):
    for height, width in sizes(group):
        table = pixel_permutation(group, height, width).reshape(group.order, -1)
        assert np.array_equal(np.sort(table), np.tile(np.arange(height * width), (group.order, 1)))
        for g, h in itertools.product(range(group.order), repeat=2):
            # (gh)^-1 v = h^-1 (g^-1 v)
            assert np.array_equal(table[group.table[g][h]], table[h][table[g]])


def test_filter_permutation_moves_poses_and_pixels(group):
    for height, width in sizes(group)[1:]:
        table = filter_permutation(group, height, width)
        pixels, division = pixel_permutation(group, height, width), pose_division(group)
        values = np.arange(group.order * height * width).reshape(group.order, height * width)
        for g, h in itertools.product(range(group.order), repeat=2):
            assert np.array_equal(table[g, h], values[division[g, h]][pixels[g]])


@pytest.mark.parametrize("name", ["p4", "p4m", "C4", "D4"])
@pytest.mark.parametrize("table", [pixel_permutation, filter_permutation])
def test_quarter_turns_need_a_square_grid(name, table):
    with pytest.raises(ValueError, match=f"{name} exchanges the two axes, so it does not keep a grid of 3 x 5"):
        table(sepgconv.group(name), 3, 5)


def test_groups_are_taken_by_name_as_everywhere(group):
    assert np.array_equal(pose_division(group.name), pose_division(group))
    assert np.array_equal(pixel_permutation(group.name, 3, 3), pixel_permutation(group, 3, 3))
    assert np.array_equal(filter_permutation(group.name, 3, 3), filter_permutation(group, 3, 3))
    assert element_names(group.name) == element_names(group)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["p5", None, 4, ["p4"]], ids=str)
def test_what_is_no_group_is_refused(name):
    for call in (pose_division, element_names, lambda group: filter_permutation(group, 3, 3)):
        with pytest.raises(ValueError, match="unknown group"):
            call(name)


def test_a_kernel_too_large_for_a_table_is_one_sentence():
    """Also on the way of a call, whose tensors take no memory here; one pixel has its table."""
    side = 2**14
    with pytest.raises(ValueError, match=f"a kernel of {side} x {side} pixels is too large for a table"):
        pixel_permutation("p4", side, side)
    large = torch.zeros(1, 1, 1, 1).expand(1, 1, side, side)
    with pytest.raises(ValueError, match=f"a kernel of {side} x {side} pixels is too large for a table"):
        lift_conv2d(large, large, "p4")
    assert pixel_permutation("p4", 1, 1).shape == (4, 1, 1)
