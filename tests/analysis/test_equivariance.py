"""The checker of equivariance: what it measures, on every element, and what it must not let pass."""

import math

import pytest
import torch
from torch import nn

from sepgconv.analysis import answer_changes, equivariance_error
from sepgconv.functional import act
from sepgconv.nn import GroupConv2d, GroupMaxPool, LiftingConv2d
from sepgconv.symmetry import group as find_group
from sepgconv.testing import assert_equivariant

GROUPS = ("p1", "p2", "p4", "pm", "pmm", "p4m")


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def image(*shape):
    torch.manual_seed(0)
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("group", GROUPS)
def test_one_error_for_every_element_but_the_identity(group):
    order = find_group(group).order
    layer = LiftingConv2d(2, 3, 3, group, dtype=torch.float64)
    for by in (group, find_group(group)):
        errors = equivariance_error(layer, by, image(2, 2, 8, 7))
        assert list(errors) == list(range(1, order))
        assert all(isinstance(error, float) and error < 1e-12 for error in errors.values())


def test_the_error_is_relative_and_of_the_largest_output():
    """A module that adds a ramp along x: under the mirror it is off by twice the ramp."""
    ramp = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    x = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    x[..., 1, 1] = 4
    for scale in (1.0, 1e-6, 1e6):
        errors = equivariance_error(Function(lambda x, s=scale: s * (x + ramp)), "pm", x)
        assert errors == {1: pytest.approx(2 / 4)}


@pytest.mark.parametrize("group", ["p4", "p4m", "pmm"])
def test_every_element_is_tried(group):
    """A module that is off for one element alone is found out at that element."""
    x, the_group = image(1, 1, 5, 5), find_group(group)
    for bad in range(1, the_group.order):
        moved = act(the_group, bad, x)
        errors = equivariance_error(Function(lambda y, m=moved: y + 1.0 * torch.equal(y, m)), group, x)
        assert [g for g, error in errors.items() if error > 0.1] == [bad]
        with pytest.raises(AssertionError, match=f"element {bad} of"):
            assert_equivariant(Function(lambda y, m=moved: y + 1.0 * torch.equal(y, m)), group, x)


def test_outputs_of_every_kind():
    x = image(2, 3, 6, 6)
    lift = LiftingConv2d(3, 2, 3, "p4", dtype=torch.float64)
    modules = {
        "feature map": lift,
        "image": nn.Sequential(lift, GroupMaxPool()),
        "vector": nn.Sequential(lift, GroupMaxPool(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "rank 3": nn.Sequential(lift, GroupMaxPool(), nn.AdaptiveAvgPool2d(1), nn.Flatten(2)),
    }
    assert [module(x).ndim for module in modules.values()] == [5, 4, 2, 3]
    for module in modules.values():
        assert_equivariant(module, "p4", x)


def test_inputs_on_the_group():
    layer = GroupConv2d(3, 2, 3, "p4m", dtype=torch.float64)
    assert_equivariant(layer, "p4m", image(2, 3, 8, 6, 7))
    # The same numbers, poses in another order: another feature map.
    shuffled = nn.Sequential(Function(lambda x: x[:, :, [0, 2, 1, 3, 4, 5, 6, 7]]), layer)
    assert max(equivariance_error(shuffled, "p4m", image(2, 3, 8, 6, 7)).values()) > 0.1


def test_negative_controls():
    broken = {
        "ordinary convolution": nn.Conv2d(1, 2, 3),
        "flattened pixels": nn.Sequential(nn.Flatten(), nn.Linear(36, 4)),
        "strided on an even map": LiftingConv2d(1, 2, 3, "p4", stride=2, padding=1),
        "flattened poses": nn.Sequential(
            LiftingConv2d(1, 2, 6, "p4"), nn.Flatten(), nn.Linear(8, 4)
        ),
    }  # fmt: skip
    for name, module in broken.items():
        module.double()
        errors = equivariance_error(module, "p4", image(2, 1, 6, 6))
        assert min(errors.values()) > 0.01, name
        with pytest.raises(AssertionError, match=rf"{type(module).__name__} is not equivariant to element \d of .*p4"):
            assert_equivariant(module, "p4", image(2, 1, 6, 6))


def test_an_output_of_another_size_counts_as_infinitely_wrong():
    cropped = Function(lambda x: x[..., 1:, :])
    errors = equivariance_error(cropped, "p4", image(1, 1, 5, 5))
    assert errors == {1: math.inf, 2: pytest.approx(errors[2]), 3: math.inf}
    with pytest.raises(AssertionError, match="inf"):
        assert_equivariant(cropped, "p4", image(1, 1, 5, 5))


def test_not_a_number_is_not_taken_for_exact():
    x = image(1, 1, 4, 4)
    half_turned = act("p4", 2, x)
    errors = equivariance_error(Function(lambda y: y * (math.nan if torch.equal(y, half_turned) else 1.0)), "p4", x)
    assert errors[1] == errors[3] == 0.0
    assert not errors[2] <= 1e6


def test_the_group_of_one_element_asks_for_nothing():
    assert equivariance_error(nn.Conv2d(1, 2, 3).double(), "p1", image(1, 1, 5, 5)) == {}
    assert_equivariant(nn.Conv2d(1, 2, 3).double(), "p1", image(1, 1, 5, 5))


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (1, 1, 3, 4, 4), (1, 1, 1, 4, 4, 4)])
def test_inputs_the_group_cannot_act_on_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected an image .* for p4, got"):
        equivariance_error(nn.Identity(), "p4", image(*shape))


def test_outputs_on_another_group_are_refused():
    with pytest.raises(ValueError, match="p4"):
        equivariance_error(LiftingConv2d(1, 2, 3, "p4m", dtype=torch.float64), "p4", image(1, 1, 5, 5))


def test_an_unknown_group_is_refused():
    with pytest.raises(ValueError, match="unknown group 'p8'"):
        equivariance_error(nn.Identity(), "p8", image(1, 1, 4, 4))


def test_the_module_is_used_in_evaluation_mode_and_put_back():
    seen = []
    model = nn.Sequential(LiftingConv2d(1, 2, 3, "p4"), Function(lambda x: x)).double()
    model[1].register_forward_hook(lambda module, _inputs, _output: seen.append(module.training))
    for training in (True, False):
        model.train(training)
        equivariance_error(model, "p4", image(1, 1, 5, 5))
        assert all(module.training is training for module in model.modules())
    assert seen == [False] * 8


def test_parts_of_a_module_keep_their_own_mode():
    """A frozen batch norm in a network that trains stays frozen."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).double().train()
    model[1].eval()
    equivariance_error(model, "p4", image(1, 1, 4, 4))
    assert [module.training for module in model.modules()] == [True, True, False]


def test_the_mode_is_put_back_after_a_failure():
    def fail(_x):
        raise RuntimeError("out of order")

    model = Function(fail).train()
    with pytest.raises(RuntimeError, match="out of order"):
        equivariance_error(model, "p4", image(1, 1, 4, 4))
    assert model.training


def test_statistics_and_gradients_are_left_alone():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).double().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    equivariance_error(model, "p4", image(1, 1, 4, 4))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


# The share of answers that change when the picture is turned.


def brighter_corner(x):
    """Class 0 where the top left pixel is at least as bright as the top right one, else class 1."""
    return torch.stack([x[:, 0, 0, 0], x[:, 0, 0, -1]], 1)


def corners(*values):
    """A picture whose corners, clockwise from the top left, have these values."""
    picture = torch.zeros(1, 3, 3)
    picture[0, 0, 0], picture[0, 0, 2], picture[0, 2, 2], picture[0, 2, 0] = values
    return picture


PICTURES = torch.stack(
    [
        corners(1, 0, 1, 0),  # every quarter turn changes the answer, half a turn does not
        corners(2, 2, 2, 2),  # nothing changes it
        corners(2, 1, 1, 1),  # the quarter turn that brings 1 and 2 to the top changes it
        corners(4, 3, 2, 1),  # so does the one that brings 1 and 4 there
        corners(0, 0, 0, 0),
    ]
)


def test_answers_that_change_are_counted_once_per_picture():
    model = Function(brighter_corner)
    assert answer_changes(model, PICTURES) == pytest.approx(60)
    assert answer_changes(model, PICTURES, group=find_group("C4")) == pytest.approx(60)
    assert answer_changes(model, PICTURES, group="p2") == 0
    assert answer_changes(model, PICTURES, group="pm") == pytest.approx(60)  # the mirror swaps the two pixels
    assert answer_changes(model, PICTURES, group="p1") == 0


@pytest.mark.parametrize("batch_size", [1, 2, 3, 500])
def test_answers_do_not_depend_on_the_batch_size(batch_size):
    assert answer_changes(Function(brighter_corner), PICTURES, batch_size=batch_size) == pytest.approx(60)


def test_answers_of_an_invariant_model_never_change():
    lift = LiftingConv2d(1, 5, 3, "p4", dtype=torch.float64)
    model = nn.Sequential(lift, GroupMaxPool(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = image(50, 1, 6, 6)
    assert len(model(x).argmax(1).unique()) > 1
    assert answer_changes(model, x, group="p4") == 0
    ordinary = nn.Sequential(nn.Flatten(), nn.Linear(36, 5)).double()
    assert answer_changes(ordinary, x, group="p4") > 50


def test_answers_are_read_in_evaluation_mode_and_every_part_is_put_back():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(9, 3)).train()
    model[1].eval()
    before = model[0].running_mean.clone()
    assert answer_changes(model, PICTURES) == answer_changes(model, PICTURES)
    assert torch.equal(model[0].running_mean, before)
    assert [module.training for module in model] == [True, False, True, True]


def test_answers_of_no_pictures_are_refused():
    with pytest.raises(ValueError, match=r"picture|image"):
        answer_changes(Function(brighter_corner), PICTURES[:0])
