"""What the convolutions share beyond their equations: p1, padding modes, executions, gradients, refusals."""

import re

import pytest
import torch
from torch.nn import functional as F

import sepgconv
from sepgconv.functional import (
    compose_kernel,
    depthwise_group_conv2d,
    group_conv2d,
    lift_conv2d,
    separable_group_conv2d,
)
from tests.covering import each, named

pytestmark = pytest.mark.usefixtures("float64")

IN, OUT = 3, 2
# Every kind of layer, with the shapes of its weights; k stands for the sides of the kernel, |G| for the poses.
CONVOLUTIONS = {
    "lifting": (lift_conv2d, [(OUT, IN, "k")]),
    "full": (group_conv2d, [(OUT, IN, "|G|", "k")]),
    "depthwise": (depthwise_group_conv2d, [(IN, "k")]),
    "gc": (separable_group_conv2d, [(OUT, IN, "|G|"), (OUT, "k")]),
    "g": (separable_group_conv2d, [(OUT, IN, "|G|"), (OUT, IN, "k")]),
}
KINDS = [*CONVOLUTIONS, "gc composed", "gc fourier", "g composed"]


class Problem:
    """A convolution with random weights, and an input for it."""

    def __init__(self, kind, group, size, kernel):
        self.group = sepgconv.group(group)
        sharing, _, execution = kind.partition(" ")
        self.convolve, shapes = CONVOLUTIONS[sharing]
        sides = {"k": kernel, "|G|": (self.group.order,)}
        self.weights = [
            torch.randn([side for axis in shape for side in sides.get(axis, (axis,))], requires_grad=True)
            for shape in shapes
        ]
        poses = () if kind == "lifting" else (self.group.order,)
        self.x = torch.randn(2, IN, *poses, *size, requires_grad=True)
        self.bias = torch.randn(len(self.weights[0]), requires_grad=True)
        self.options = {"sharing": sharing, "execution": execution or "separable"} if sharing in ("gc", "g") else {}

    def __call__(self, x=None, *weights_and_bias, **planar):
        *weights, bias = weights_and_bias or (*self.weights, self.bias)
        return self.convolve(self.x if x is None else x, *weights, self.group, bias, **self.options, **planar)


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


PLANAR = [
    {},
    {"stride": 2, "padding": 1},
    {"dilation": 2, "padding": 2},
    {"padding": "valid"},
    {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 2)},
]


def test_p1_is_the_ordinary_convolution_to_the_last_bit(kind):
    for planar in PLANAR:
        with named(planar=planar):
            problem = Problem(kind, "p1", (7, 6), (3, 2))
            # The last bit depends on the order of summation, so torch gets the layout that the library works in.
            x, sharing = problem.x.flatten(1, -3).contiguous(memory_format=torch.channels_last), kind.split()[0]
            if sharing in ("lifting", "full"):
                expected = F.conv2d(x, problem.weights[0].flatten(1, -3), problem.bias, **planar)
            elif sharing == "depthwise":
                expected = F.conv2d(x, problem.weights[0].unsqueeze(1), problem.bias, **planar, groups=IN)
            elif kind.endswith("composed"):
                expected = F.conv2d(x, compose_kernel(*problem.weights, sharing).squeeze(2), problem.bias, **planar)
            elif sharing == "gc":
                mixed = F.conv2d(x, problem.weights[0][..., None])
                expected = F.conv2d(mixed, problem.weights[1].unsqueeze(1), problem.bias, **planar, groups=OUT)
            else:
                mixed = (problem.weights[0][None, ..., None] * x[:, None]).flatten(1, 2)
                expected = F.conv2d(mixed, problem.weights[1], problem.bias, **planar, groups=OUT)
            assert torch.equal(problem(**planar).squeeze(2), expected)


@pytest.mark.covering(1)
def test_padding_modes_are_explicit_padding_and_a_valid_convolution(kind, group):
    for planar in [{"padding": 2}, {"padding": 1, "stride": 2}, {"padding": "same", "dilation": 2}]:
        for mode in ["circular", "reflect", "replicate", "zeros"]:
            with named(planar=planar, mode=mode):
                problem = Problem(kind, group, (5, 6), (3, 3))
                width = 2 if planar["padding"] == "same" else planar["padding"]
                maps = problem.x.flatten(1, -3)
                padded = F.pad(maps, (width,) * 4, mode="constant" if mode == "zeros" else mode)
                expected = problem(padded.unflatten(1, problem.x.shape[1:-2]), **planar | {"padding": 0})
                torch.testing.assert_close(problem(padding_mode=mode, **planar), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["p1", "p2", "pm", "pmm"])
@pytest.mark.covering(1)
def test_padding_modes_take_another_width_on_each_axis_where_the_axes_stay(kind, name):
    for mode in ["circular", "reflect", "replicate"]:
        with named(mode=mode):
            problem = Problem(kind, name, (5, 6), (3, 2))
            padded = F.pad(problem.x.flatten(1, -3), (2, 2, 1, 1), mode=mode).unflatten(1, problem.x.shape[1:-2])
            torch.testing.assert_close(problem(padding=(1, 2), padding_mode=mode), problem(padded), rtol=0, atol=1e-13)


@pytest.mark.covering(1)
def test_bias_is_added_to_every_pose_of_its_channel(kind, group):
    problem = Problem(kind, group, (4, 5), (2, 2))
    with_bias, without = problem(), problem(None, *problem.weights, None)
    torch.testing.assert_close(with_bias - without, problem.bias[:, None, None, None].expand_as(without))


@pytest.mark.covering(1)
def test_takes_a_group_or_its_name_and_warns_of_tables(kind, group):
    problem = Problem(kind, group, (4, 5), (2, 2))
    expected = problem()
    with pytest.warns(DeprecationWarning, match="makes its own tables"):
        assert torch.equal(problem(**{"actions" if problem.options else "action": torch.zeros(2)}), expected)
    problem.group = group.name
    assert torch.equal(problem(), expected)


@pytest.mark.parametrize("sharing", ["gc", "g"])
@pytest.mark.covering(2)
def test_executions_agree_forward_and_backward(group, sharing):
    for planar in [{}, {"stride": 2, "padding": 1}, {"padding": 1, "padding_mode": "reflect"}]:
        with named(planar=planar):
            problem = Problem(sharing, group, (5, 6), (3, 3))
            leaves, weight = [problem.x, *problem.weights, problem.bias], None
            results = []
            for execution in ("separable", "composed", "auto", *(["fourier"] if sharing == "gc" else [])):
                problem.options["execution"] = execution
                y = problem(**planar)
                weight = torch.randn_like(y) if weight is None else weight
                results.append((y, *torch.autograd.grad((y * weight).sum(), leaves)))
            for other in results[1:]:
                for expected, got in zip(results[0], other, strict=True):
                    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sharing", ["gc", "g"])
@pytest.mark.covering(1)
def test_composed_kernel_is_the_weight_of_the_equal_group_convolution(group, sharing):
    problem = Problem(sharing, group, (5, 6), (3, 3))
    weight = compose_kernel(*problem.weights, sharing)
    torch.testing.assert_close(
        problem(padding=1), group_conv2d(problem.x, weight, group, problem.bias, padding=1), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", ["p4", "pmm"])
def test_gradients(kind, name):
    problem = Problem(kind, name, (3, 4), (2, 2))
    x = problem.x[:1].detach().requires_grad_()
    planar = {"padding": 1, "stride": 2} if name == "p4" else {"padding": (1, 0), "padding_mode": "circular"}
    assert torch.autograd.gradcheck(
        lambda x, *weights: problem(x, *weights, **planar), (x, *problem.weights, problem.bias), fast_mode=True
    )


@pytest.mark.parametrize("name", ["lifting", "gc", "gc fourier", "gc composed", "g"])
def test_second_derivatives(name):
    problem = Problem(name, "p4", (2, 3), (2, 2))
    x = problem.x[:1].detach().requires_grad_()
    assert torch.autograd.gradgradcheck(problem, (x, *problem.weights, problem.bias), fast_mode=True)


@pytest.mark.covering(1)
def test_an_empty_batch_gives_an_empty_batch(kind, group):
    problem = Problem(kind, group, (4, 5), (2, 2))
    assert problem(problem.x[:0]).shape == (0, *problem().shape[1:])


MAPS = {
    (2, IN, 5, 5): "lift images with LiftingConv2d first",
    (2, IN, 8, 5, 5): "the maps have 8 poses, so they come from a layer of another group",
    (2, IN + 1, 4, 5, 5): "for 4 channels",
    (IN, 5, 5): "expected feature maps (batch, 3, 4, height, width) for p4, got (3, 5, 5)",
    (1, 2, IN, 4, 5, 5): "expected feature maps (batch, 3, 4, height, width) for p4, got (1, 2, 3, 4, 5, 5)",
    (
        2,
        IN,
        4,
        1,
        5,
    ): "are too small for kernel_size=(2, 2), dilation=(1, 1), padding=(0, 0); the smallest size is 2 x 2",
}
IMAGES = {
    (2, IN, 4, 5, 5): "this is already a feature map on the group, use GroupConv2d or SeparableGroupConv2d",
    (IN, 5, 5): "add the batch axis with x[None]",
    (2, 5, 5, IN): "the channels seem to come last, use x.permute(0, 3, 1, 2)",
    (2, 1, 5, 5): "build the layer or network with in_channels=1",
    (5, 5): "expected images (batch, 3, height, width), got (5, 5)",
    (2, IN, 5, 1): "are too small for kernel_size=(2, 2)",
}


@pytest.mark.usefixtures("unchecked")
def test_inputs_that_do_not_fit_are_refused_with_the_remedy(kind):
    for case in range(6):
        with named(case=case):
            problem = Problem(kind, "p4", (5, 5), (2, 2))
            shape, remedy = list((IMAGES if kind == "lifting" else MAPS).items())[case]
            with pytest.raises(ValueError, match=re.escape(remedy)) as refusal:
                problem(torch.zeros(shape))
            message = str(refusal.value)
            assert message.startswith(f"{problem.convolve.__name__}: ")
            assert str(shape) in message or f"{shape[-2]} x {shape[-1]}" in message


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shape", "remedy"), [((IN, 4, 5, 5), "batch axis with x[None]"), ((2, IN * 4, 5, 5), "x.unflatten(1, (3, 4))")]
)
def test_maps_of_rank_four_that_are_no_images_get_their_own_remedy(shape, remedy):
    problem = Problem("full", "p4", (5, 5), (2, 2))
    with pytest.raises(ValueError, match=re.escape(remedy)):
        problem(torch.zeros(shape))


@pytest.mark.parametrize(
    ("mode", "size", "smallest"),
    [("reflect", (5, 2), "4 x 4"), ("circular", (2, 9), "3 x 3"), ("reflect", (3, 3), "4 x 4")],
)
@pytest.mark.parametrize("kind", ["lifting", "gc"])
def test_maps_too_small_for_the_padding_mode_are_refused_with_the_smallest_size(kind, mode, size, smallest):
    problem = Problem(kind, "p4", size, (3, 3))
    message = rf"{problem.convolve.__name__}: .*{size[0]} x {size[1]}.*{mode}.*smallest size is {smallest}"
    with pytest.raises(ValueError, match=message):
        problem(padding=3, padding_mode=mode)


@pytest.mark.parametrize(("mode", "size"), [("reflect", (4, 5)), ("circular", (3, 4)), ("replicate", (1, 2))])
@pytest.mark.covering(1)
def test_the_smallest_maps_for_a_padding_mode_are_taken(kind, mode, size):
    problem = Problem(kind, "p4", size, (3, 3))
    assert problem(padding=3, padding_mode=mode).shape[-2:] == (size[0] + 4, size[1] + 4)


# One weight at a time has a wrong shape: (kind, which weight, its shape).
MISFITS = [
    ("full", 0, (OUT, IN, 8, 2, 2)),
    ("full", 0, (OUT, IN, 2, 2, 2)),
    ("gc", 0, (OUT, IN, 8)),
    ("gc", 0, (OUT, IN, 2)),
    ("gc composed", 1, (1, 2, 2)),
    ("gc", 1, (OUT + 1, 2, 2)),
    ("gc", 1, (OUT, IN, 2, 2)),
    ("g", 1, (OUT, 2, 2)),
    ("g", 1, (OUT, IN + 1, 2, 2)),
    ("g composed", 1, (1, 1, 2, 2)),
]


@pytest.mark.usefixtures("unchecked")
@each(("kind", "which", "shape"), MISFITS)
def test_weights_that_do_not_fit_are_refused(kind, which, shape):
    problem = Problem(kind, "p4", (5, 5), (2, 2))
    problem.weights[which] = torch.randn(shape)
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        problem()


@pytest.mark.usefixtures("unchecked")
def test_unknown_sharing_is_refused_with_the_nearest():
    problem = Problem("gc", "p4", (5, 5), (2, 2))
    problem.options["sharing"] = "cg"
    with pytest.raises(ValueError, match="unknown sharing 'cg'; did you mean"):
        problem()
    with pytest.raises(ValueError, match="unknown sharing 'cg'; did you mean"):
        compose_kernel(*problem.weights, "cg")
