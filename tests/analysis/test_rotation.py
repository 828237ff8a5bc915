"""The curve of a network's output over all angles."""

import math

import pytest
import torch
from torch import nn

import sepgconv.nn as snn
from sepgconv._rotation import rotate_images
from sepgconv.analysis import rotation_curve
from sepgconv.functional import act

QUARTERS = (0, 90, 180, 270, 360)


def pictures(side, count=3):
    torch.manual_seed(0)
    return nn.functional.interpolate(torch.rand(count, 1, 5, 5), size=(side, side), mode="bilinear")


def invariant():
    return nn.Sequential(
        snn.LiftingConv2d(1, 6, 3, "p4", padding=1),
        nn.ReLU(),
        snn.GroupMaxPool(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def rotated(images, degrees):
    return rotate_images(images, torch.full((len(images),), math.radians(degrees), dtype=images.dtype))


@pytest.mark.parametrize("side", [8, 9])
def test_quarter_turns_move_pixels_as_the_group_does(side):
    images = torch.randn(2, 1, side, side, dtype=torch.float64)
    for quarters in range(4):
        torch.testing.assert_close(rotated(images, 90.0 * quarters), act("p4", quarters, images))


def test_half_way_is_a_mean():
    image = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    image[0, 0, 1, 2] = 1  # to the right of the middle, so 45 degrees are up and right
    turned = rotated(image, 45)[0, 0]
    assert float(turned[0, 2]) == pytest.approx(float(turned[0, 1]), abs=1)
    assert float(turned[:2, 1:].sum()) == pytest.approx(float(turned.sum()))
    assert float(turned[2].sum() + turned[:, 0].sum()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("side", [12, 13])
def test_an_invariant_network_changes_between_the_quarter_turns_alone(side):
    curve = rotation_curve(invariant(), pictures(side))
    assert curve.angles == tuple(range(0, 361, 5))
    assert curve.images == 3
    for angle, mean, worst in zip(curve.angles, curve.mean, curve.worst, strict=True):
        assert mean <= worst
        assert (worst < 1e-12) == (angle in QUARTERS), angle


def test_an_ordinary_network_changes_everywhere():
    ordinary = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    curve = rotation_curve(ordinary, pictures(12), angles=[0, 90, 100.5, 180])
    assert curve.mean[0] < 1e-12
    assert min(curve.mean[1:]) > 1e-3


def test_the_change_is_relative_and_euclidean():
    """A network that answers (3, 4) for a picture and (0, 0) for every other."""
    images = pictures(6, 1)
    answers = iter([[3.0, 4.0], [0.0, 0.0], [3.0, 9.0]])
    model = _Answers(answers)
    assert rotation_curve(model, images, [10, 20]).mean == pytest.approx((1.0, 1.0))


class _Answers(nn.Module):
    def __init__(self, answers):
        super().__init__()
        self.answers = answers

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        return torch.tensor([next(self.answers)], dtype=x.dtype)


def test_corners_do_not_count():
    images = pictures(12)
    marked = images.clone()
    marked[..., 0, 0] = 100
    model = invariant()
    assert rotation_curve(model, images, [30]) == rotation_curve(model, marked, [30])


@pytest.mark.parametrize(
    ("images", "angles", "sentence"),
    [
        (torch.zeros(1, 1, 5, 6), [0], "square images"),
        (torch.zeros(0, 1, 5, 5), [0], "square images"),
        (torch.zeros(1, 1, 5, 5), [], "at least one angle"),
    ],
)
def test_bad_input(images, angles, sentence):
    with pytest.raises(ValueError, match=sentence):
        rotation_curve(invariant(), images, angles)


def test_outputs_with_positions_and_weights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="expected a network that gives vectors, got"):
        rotation_curve(nn.Conv2d(1, 1, 1), pictures(8), [0])
    model = nn.Conv2d(1, 1, 1)
    model.bias.data[0] = math.nan
    with pytest.raises(ValueError, match="bias holds values that are not finite"):
        rotation_curve(model, pictures(8), [0])
