"""Arguments that would break the symmetry and inputs of the wrong kind are refused in one sentence with the remedy."""

import re

import pytest
import torch

import sepgconv
from sepgconv import functional
from tests.covering import named

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": (3, 5)},
        {"kernel_size": 3, "stride": (1, 2)},
        {"kernel_size": 3, "padding": (0, 1)},
        {"kernel_size": 3, "dilation": (2, 1)},
    ],
    ids=lambda options: list(options)[-1],
)
@pytest.mark.covering(1)
def test_unequal_sides_are_refused_under_quarter_turns_only(convolution, group, options):
    name = list(options)[-1]
    if group.exchanges_axes:
        exchanges = rf"{name}=\(\d, \d\) breaks the equivariance to {group.name}, which exchanges the two axes"
        with pytest.raises(ValueError, match=exchanges):
            convolution.build(group, **options)
    else:
        assert convolution.build(group, **options)(convolution.input(group, 8, 8)).ndim == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 4, "padding": "same"}, "padding='same' with the even kernel (4, 4) would pad one side more"),
        ({"padding": "same", "stride": 2}, "padding='same' needs stride 1, got stride=(2, 2)"),
        ({"padding": "full"}, "padding must be 'same', 'valid', an integer or a pair of them; got 'full'"),
        ({"padding": -1}, "padding must be an integer, or a pair of them, of at least 0; got -1"),
        ({"padding_mode": "zero"}, "unknown padding_mode 'zero'; did you mean 'zeros'"),
        ({"kernel_size": 0}, "kernel_size must be an integer, or a pair of them, of at least 1; got 0"),
        ({"stride": 0}, "stride must be an integer, or a pair of them, of at least 1; got 0"),
        ({"dilation": 0}, "dilation must be an integer, or a pair of them, of at least 1; got 0"),
    ],
    ids=str,
)
@pytest.mark.covering(1)
def test_arguments_that_cannot_be_meant_are_refused(convolution, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        convolution.build("p4", **options)


def test_unknown_groups_are_refused_with_the_nearest(convolution):
    with pytest.raises(ValueError, match="unknown group 'P4M'; did you mean 'p4m'"):
        convolution.build("P4M", 3)


@pytest.mark.parametrize(
    "name", ["LiftingConv2d", "GroupConv2d", "SeparableGroupConv2d", "DepthwiseSeparableGroupConv2d"]
)
def test_channels_must_be_positive_integers(name):
    for channels in [0, -2, 2.5, "3", True]:
        with named(channels=channels):
            build = getattr(sepgconv.nn, name)
            for arguments, which in (((channels, 2), "in_channels"), ((2, channels), "out_channels")):
                with pytest.raises(ValueError, match=f"{which} must be a positive integer, got {channels!r}"):
                    build(*arguments, 3, "p4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sharing": "cg"}, "unknown sharing 'cg'; did you mean .*'gc'.*valid: gc, g"),
        ({"execution": "seperable"}, "unknown execution 'seperable'; did you mean 'separable'"),
        ({"execution": "fourrier"}, "unknown execution 'fourrier'; did you mean 'fourier'"),
        ({"execution": "fourier", "sharing": "g"}, 'execution="fourier" needs sharing="gc", got sharing=\'g\''),
    ],
    ids=str,
)
def test_sharing_and_execution_that_there_are_not_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sepgconv.nn.SeparableGroupConv2d(2, 2, 3, "p4", **options)


MAPS = {
    (2, 3, 6, 6): "lift images with LiftingConv2d first",
    (2, 3, 8, 6, 6): "the maps have 8 poses, so they come from a layer of another group",
    (2, 5, 4, 6, 6): "for 5 channels",
    (3, 4, 6): "got (3, 4, 6)",
    (
        2,
        3,
        4,
        2,
        6,
    ): "2 x 6 are too small for kernel_size=(3, 3), dilation=(1, 1), padding=(0, 0); the smallest size is",
}
IMAGES = {
    (2, 3, 4, 6, 6): "already a feature map on the group, use GroupConv2d or SeparableGroupConv2d",
    (3, 6, 6): "add the batch axis with x[None]",
    (2, 6, 6, 3): "the channels seem to come last, use x.permute(0, 3, 1, 2)",
    (2, 1, 6, 6): "in_channels=1",
    (2, 3, 2, 6): "2 x 6 are too small for kernel_size=(3, 3), dilation=(1, 1), padding=(0, 0); the smallest size is",
}


@pytest.mark.parametrize("case", range(5))
@pytest.mark.covering(1)
def test_inputs_that_do_not_fit_are_refused_with_the_remedy(convolution, case):
    shape, remedy = list((IMAGES if convolution.image else MAPS).items())[case]
    with pytest.raises(ValueError, match=re.escape(remedy)):
        convolution.build("p4", 3)(torch.zeros(shape))


def test_the_smallest_size_named_is_taken(convolution):
    for options in [{}, {"dilation": 2, "padding": 1}]:
        with named(options=options):
            module = convolution.build("p4", 3, **options)
            with pytest.raises(ValueError, match="the smallest size is 3 x 3"):
                module(convolution.input("p4", 2, 3))
            assert module(convolution.input("p4", 3, 3)).shape[-2:] == (1, 1)


def test_depthwise_names_its_own_argument():
    with pytest.raises(ValueError, match="DepthwiseGroupConv2d: channels must be a positive integer, got 0"):
        sepgconv.nn.DepthwiseGroupConv2d(0, 3, "p4")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: sepgconv.nn.GroupConv2d(int, 2, 3, "p4"), ValueError, "in_channels must be a positive integer"),
        (lambda: sepgconv.nn.MaxPool2d(int), ValueError, "kernel_size must be an integer"),
        (
            lambda: sepgconv.nn.LiftingConv2d(1, 2, 3, "p4", padding_mode=torch.zeros(2)),
            ValueError,
            "unknown padding_mode tensor",
        ),
        (lambda: functional.act("p4", torch.zeros(3), torch.zeros(1, 1, 3, 3)), ValueError, "act: p4 has the elements"),
        (
            lambda: functional.group_conv2d(torch.zeros(1, 2, 4, 3, 3), torch.zeros(0, 2, 4, 3, 3), "p4"),
            ValueError,
            "group_conv2d: weight has no numbers",
        ),
        *(
            (
                lambda name=name, value=value: functional.separable_group_conv2d(
                    torch.zeros(1, 2, 4, 3, 3), torch.zeros(2, 2, 4), torch.zeros(2, 3, 3), "p4", **{name: value}
                ),
                TypeError,
                f"separable_group_conv2d: {name} must be a ",
            )
            for name in ("pre_norm_act",)
            for value in ("x", torch.zeros(2), torch.nn.ReLU())
        ),
    ],
)
def test_arguments_of_another_kind_are_refused(call, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        call()
