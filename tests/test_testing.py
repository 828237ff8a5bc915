"""`sepgconv.testing` passes what is equivariant and fails what is not, nan and missing tolerances included."""

import math
import re

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.analysis import equivariance_error
from sepgconv.nn import GroupBatchNorm2d, GroupMaxPool, LiftingConv2d
from sepgconv.testing import TOLERANCE, assert_equivariant


class Calls(nn.Module):
    """The function it is given, of the input and the number of earlier calls; 0 is the picture as it came."""

    def __init__(self, function):
        super().__init__()
        self.function, self.calls = function, 0

    def forward(self, x):
        self.calls += 1
        return self.function(x, self.calls - 1)


def test_identity_is_exact_on_images_and_feature_maps(group):
    for x in (torch.randn(2, 3, 4, 5), torch.randn(2, 3, group.order, 4, 5)):
        assert equivariance_error(nn.Identity(), group, x) == dict.fromkeys(range(1, group.order), 0.0)
        assert_equivariant(nn.Identity(), group, x)


def test_error_is_relative_to_the_largest_output_and_per_element():
    x = torch.ones(1, 1, 3, 3)
    module = Calls(lambda x, call: 8 * x + (call == 2))  # at the second element, off by 1 in 8
    assert equivariance_error(module, "p4", x) == {1: 0.0, 2: 0.125, 3: 0.0}


def test_the_worst_element_is_named():
    module, x = Calls(lambda x, call: x + 0.1 * (call == 3)), torch.ones(1, 1, 3, 3)
    message = "Calls is not equivariant to element 3 of p4: relative error 0.1, allowed 1e-05"
    with pytest.raises(AssertionError, match=re.escape(message)):
        assert_equivariant(module, sepgconv.group("p4"), x)
    with pytest.raises(AssertionError, match=re.escape(message)):
        assert_equivariant(Calls(module.function), "p4", x)


@pytest.mark.parametrize("call", [0, 1, 2, 3])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_never_pass(call, value):
    module = Calls(lambda x, number: x * value if number == call else x)
    with pytest.raises(AssertionError, match="is not equivariant"):
        assert_equivariant(module, "p4", torch.ones(1, 1, 3, 3))


def test_an_output_of_nothing_but_zeros_is_equivariant():
    """Relative to zero, only zero is no error."""
    x = torch.ones(1, 1, 3, 3)
    assert_equivariant(Calls(lambda x, call: 0 * x), "p4", x)
    with pytest.raises(AssertionError, match="element 2 of p4"):
        assert_equivariant(Calls(lambda x, call: 0 * x + (call == 2)), "p4", x)


def test_another_shape_is_an_infinite_error():
    module = Calls(lambda x, call: x[..., : 3 - call])
    assert equivariance_error(module, "pm", torch.ones(1, 1, 3, 3)) == {1: math.inf}


@pytest.mark.parametrize("rank", [2, 3])
def test_vectors_must_stay_as_they_are(rank, group):
    shape, x = (2, 3, 4)[:rank], torch.randn(2, 3, 4, 4)
    invariant = Calls(lambda x, call: x.mean((-2, -1))[..., None][..., : shape[-1]].reshape(2, 3, *(1,) * (rank - 2)))
    assert_equivariant(invariant, group, x)
    if group.order > 1:
        # No element but the identity leaves this pixel in its place; mirrors at the diagonal do so with a corner.
        pixel = Calls(lambda x, call: x[..., 0, 1].reshape(2, 3, *(1,) * (rank - 2)))
        with pytest.raises(AssertionError, match="is not equivariant"):
            assert_equivariant(pixel, group, x)


def test_tolerance_is_that_of_the_dtype_unless_given():
    for dtype, allowed in TOLERANCE.items():
        x = torch.ones(1, 1, 3, 3, dtype=dtype)
        assert_equivariant(Calls(lambda x, call, e=allowed: x * (1 + (call == 1) * e * 0.5)), "p2", x)
        off = Calls(lambda x, call, e=allowed: x * (1 + (call == 1) * e * 2))
        with pytest.raises(AssertionError, match="is not equivariant"):
            assert_equivariant(off, "p2", x)
        assert_equivariant(Calls(off.function), "p2", x, tolerance=allowed * 3)


def test_a_dtype_without_tolerance_is_refused_with_the_remedy():
    x = torch.ones(1, 1, 3, 3, dtype=torch.int32)
    with pytest.raises(
        ValueError, match=r"no tolerance for torch.int32, only for float64, float32, float16, bfloat16; give"
    ):
        assert_equivariant(nn.Identity(), "p2", x)
    assert_equivariant(nn.Identity(), "p2", x, tolerance=0.0)


def test_modes_of_all_parts_are_put_back():
    frozen = GroupBatchNorm2d(2).eval()
    net = nn.Sequential(LiftingConv2d(1, 2, 3, "p4"), frozen, nn.Dropout3d(0.5), GroupMaxPool()).train()
    frozen.eval()
    assert_equivariant(net, "p4", torch.randn(1, 1, 5, 5))
    assert [part.training for part in (net, *net)] == [True, True, False, True, True]


@pytest.mark.usefixtures("unchecked")
def test_modes_are_put_back_after_an_error():
    net = nn.Sequential(LiftingConv2d(1, 2, 3, "p4")).train()
    with pytest.raises(ValueError, match="in_channels=7"):
        equivariance_error(net, "p4", torch.randn(1, 7, 5, 5))
    assert net.training


def test_runs_in_evaluation_mode_without_gradients():
    seen = []
    net = Calls(lambda x, call: seen.append((net.training, torch.is_grad_enabled())) or x).train()
    assert_equivariant(net, "p2", torch.randn(1, 1, 5, 5, requires_grad=True))
    assert seen == [(False, False)] * 2


@pytest.mark.parametrize(("shape", "name"), [((3, 3), "p4"), ((1, 1, 8, 3, 3), "p4"), ((1, 1, 3, 3), "p5")])
def test_inputs_that_the_group_cannot_move_are_refused(shape, name):
    with pytest.raises(ValueError, match=r"act: expected an image|unknown group"):
        assert_equivariant(nn.Identity(), name, torch.zeros(shape))


def test_layers_of_your_own():
    """As a user would: a scalar field times a feature map is equivariant, one pose for all is not."""

    class Gate(nn.Module):
        def forward(self, x):
            return x * x.mean(2, keepdim=True).sigmoid()

    class OnePose(nn.Module):
        def forward(self, x):
            return x * x[:, :, :1].sigmoid()

    x = torch.randn(2, 3, 8, 5, 5, dtype=torch.float64)
    assert_equivariant(Gate(), "p4m", x)
    with pytest.raises(AssertionError, match="OnePose is not equivariant to element"):
        assert_equivariant(OnePose(), "p4m", x)
