"""Planar arguments: what they mean, and the refusal of what would break the symmetry."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sepgconv
from sepgconv.functional import Geometry, conv_geometry
from sepgconv.symmetry import D2
from tests.covering import each, named

FOUR_TURNS = sepgconv.group("p4")


@pytest.mark.parametrize("group", ["p1", "p4m"], indirect=True)
def test_integers_are_written_out_as_pairs(group):
    geometry = conv_geometry(group, 3, 2, 1, 2, "reflect")
    assert geometry == Geometry((3, 3), (2, 2), (1, 1), (2, 2), "reflect")
    assert conv_geometry(group, (3, 3), (2, 2), (1, 1), (2, 2), "reflect") == geometry


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (5, 1), (3, 2), (7, 3)])
@pytest.mark.covering(1)
def test_same_keeps_the_size_and_valid_pads_nothing(group, kernel, dilation):
    same = conv_geometry(group, kernel, padding="same", dilation=dilation)
    assert same.output_size(8, 9) == (8, 9)
    assert same.padding == (dilation * (kernel - 1) // 2,) * 2
    assert conv_geometry(group, kernel, padding="valid").padding == (0, 0)


sides, small, steps = st.integers(1, 12), st.integers(1, 4), st.integers(1, 3)


@given(
    size=st.tuples(sides, sides),
    kernel=st.tuples(small, small),
    stride=st.tuples(steps, steps),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(steps, steps),
)
def test_output_size_is_that_of_torch(size, kernel, stride, padding, dilation):
    predicted = conv_geometry(D2, kernel, stride, padding, dilation).output_size(*size)
    x, weight = torch.zeros(1, 1, *size), torch.zeros(1, 1, *kernel)
    if min(predicted) < 1:
        with pytest.raises(RuntimeError, match="size"):
            torch.nn.functional.conv2d(x, weight, None, stride, padding, dilation)
    else:
        assert torch.nn.functional.conv2d(x, weight, None, stride, padding, dilation).shape[-2:] == predicted


UNEQUAL = [
    {"kernel_size": (3, 5)},
    {"kernel_size": 3, "stride": (1, 2)},
    {"kernel_size": 3, "padding": (0, 1)},
    {"kernel_size": 3, "dilation": (2, 1)},
]


def test_unequal_sides_are_refused_under_quarter_turns_only(group):
    for arguments in UNEQUAL:
        with named(arguments=arguments):
            if not group.exchanges_axes:
                name, value = list(arguments.items())[-1]
                assert getattr(conv_geometry(group, **arguments), name) == value
                continue
            name = list(arguments)[-1]
            message = rf"{name}=\(\d, \d\) breaks the equivariance to {group.name}, which exchanges the two axes; give"
            with pytest.raises(ValueError, match=message):
                conv_geometry(group, **arguments)


@each(
    ("arguments", "message"),
    [
        ({"kernel_size": 2, "padding": "same"}, "padding='same' with the even kernel (2, 2) would pad one side more"),
        ({"kernel_size": 4, "padding": "same", "dilation": 3}, "would pad one side more than the other"),
        ({"kernel_size": 3, "padding": "same", "stride": 2}, "padding='same' needs stride 1, got stride=(2, 2)"),
        ({"kernel_size": 3, "padding": "full"}, "padding must be 'same', 'valid', an integer or a pair"),
        ({"kernel_size": 3, "padding": -1}, "padding must be an integer, or a pair of them, of at least 0; got -1"),
        ({"kernel_size": 0}, "kernel_size must be an integer, or a pair of them, of at least 1; got 0"),
        ({"kernel_size": 3, "stride": 0}, "stride must be an integer, or a pair of them, of at least 1; got 0"),
        ({"kernel_size": 3, "dilation": 0}, "dilation must be an integer, or a pair of them, of at least 1; got 0"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size must be an integer, or a pair of them, of at least 1; got (3, 3, 3)"),
        ({"kernel_size": (3.0, 3.0)}, "kernel_size must be an integer, or a pair of them, of at least 1; got (3.0,"),
        ({"kernel_size": True}, "kernel_size must be an integer, or a pair of them, of at least 1; got True"),
        ({"kernel_size": 3.0}, "kernel_size must be an integer, or a pair of them, of at least 1; got 3.0"),
        ({"kernel_size": 3, "padding": None}, "padding must be"),
        ({"kernel_size": 3, "padding_mode": "zero"}, "unknown padding_mode 'zero'; did you mean 'zeros'?"),
        ({"kernel_size": 3, "padding_mode": "reflection"}, "did you mean 'reflect'?"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        conv_geometry(FOUR_TURNS, **arguments)
