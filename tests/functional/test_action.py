"""`act` is an action by exact pixel permutations, on images and feature maps of any size."""

import itertools
import re

import pytest
import torch

from sepgconv.functional import act
from sepgconv.symmetry import pixel_permutation, pose_division

SIZES = [(5, 5), (4, 4), (3, 6), (5, 2), (1, 1)]


def inputs(group, size):
    """An image and a feature map whose values are all different."""
    for shape in ((2, 3, *size), (2, 3, group.order, *size)):
        yield torch.randperm(torch.Size(shape).numel()).view(shape)


class TestAct:
    """Each on images and feature maps of all sizes."""

    def test_is_a_homomorphism(self, group):
        for size in SIZES:
            for x in inputs(group, size):
                assert torch.equal(act(group, 0, x), x)
                for g, h in itertools.product(range(group.order), repeat=2):
                    moved = act(group, g, act(group, h, x))
                    assert torch.equal(moved, act(group, group.table[g][h], x)), (size, g, h)

    def test_moves_pixels_as_torch_turns_and_flips(self, group):
        """Image (b, c, y, x): element m * turns + t is the mirror after `rot90` t times; see tests/symmetry."""
        turns = group.order if group.name in ("p1", "p2", "p4") else group.order // 2
        for size, g in itertools.product(SIZES, range(group.order)):
            image, _ = inputs(group, size)
            mirrored, turned = divmod(g, turns)
            expected = torch.rot90(image, turned * 4 // turns, (-2, -1))
            mirror = expected.transpose(-2, -1) if group.name in ("cm", "cmm") else expected.flip(-1)
            assert torch.equal(act(group, g, image), mirror if mirrored else expected), (size, g)

    def test_moves_poses_by_relative_pose(self, group):
        for size in SIZES:
            _, x = inputs(group, size)
            for g, h in itertools.product(range(group.order), repeat=2):
                source = group.table[group.inverses[g]][h]
                assert torch.equal(act(group, g, x)[:, :, h], act(group, g, x[:, :, source])), (size, g, h)

    def test_agrees_with_the_pixel_permutation(self, group):
        """The tables are for grids that the group keeps."""
        for size in [size for size in SIZES if size[0] == size[1] or not group.exchanges_axes]:
            pixels, division = torch.from_numpy(pixel_permutation(group, *size)), torch.from_numpy(pose_division(group))
            image, x = inputs(group, size)
            for g in range(group.order):
                assert torch.equal(act(group, g, image), image.flatten(-2)[..., pixels[g]]), (size, g)
                assert torch.equal(act(group, g, x), x[:, :, division[g]].flatten(-2)[..., pixels[g]]), (size, g)

    def test_quarter_turns_and_nothing_else_exchange_the_sides(self, group):
        for size in SIZES:
            for x in inputs(group, size):
                for g, matrix in enumerate(group.matrices):
                    expected = size[::-1] if matrix[0][0] == 0 else size
                    assert act(group, g, x).shape == (*x.shape[:-2], *expected), g


def test_takes_the_name_of_a_group():
    x = torch.randn(1, 1, 4, 3, 3)
    assert torch.equal(act("C4", 3, x), act("p4", 3, x))


def test_leaves_its_input_alone(group):
    for x in inputs(group, (3, 4)):
        before = x.clone()
        for g in range(group.order):
            act(group, g, x).zero_()
        assert torch.equal(x, before)


def test_is_differentiable(group, float64):
    for shape in ((1, 1, 2, 3), (1, 1, group.order, 2, 3)):
        x = torch.randn(shape, requires_grad=True)
        for g in range(group.order):
            assert torch.autograd.gradcheck(lambda x, g=g: act(group, g, x), x)


@pytest.mark.parametrize(
    ("g", "shape", "message"),
    [
        (4, (1, 1, 3, 3), "act: p4 has the elements 0..3, got 4"),
        (-1, (1, 1, 3, 3), "act: p4 has the elements 0..3, got -1"),
        (1, (1, 3, 3), "expected an image (batch, channel, height, width) or a feature map"),
        (1, (1, 1, 1, 4, 3, 3), "or a feature map (batch, channel, 4, height, width) for p4, got (1, 1, 1, 4, 3, 3)"),
        (1, (1, 1, 8, 3, 3), "or a feature map (batch, channel, 4, height, width) for p4, got (1, 1, 8, 3, 3)"),
    ],
)
def test_refusals(g, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        act("p4", g, torch.zeros(shape))


def test_unknown_group():
    with pytest.raises(ValueError, match="unknown group 'p5'; did you mean"):
        act("p5", 0, torch.zeros(1, 1, 3, 3))
