"""The certificate on layers and networks of the library: what is exact, what is not, which layer is named and why."""

import copy
import json
import math

import pytest
import torch
from torch import nn

import sepgconv.nn as snn
from sepgconv.analysis import certify, equivariance_error
from tests.covering import each


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Head(nn.Sequential):
    """Over poses and positions, then a linear layer."""

    def __init__(self, channels):
        super().__init__(snn.GroupMaxPool(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))


def network(*middle, group="p4", channels=4, padding=1):
    return nn.Sequential(snn.LiftingConv2d(3, channels, 3, group, padding=padding), *middle, Head(channels))


def faults(model, shape=(3, 8, 8), group="p4", **options):
    certificate = certify(model, group, shape, **options)
    assert certificate.exact == (certificate.first_fault is None) == (certificate.reason == "")
    assert certificate.exact == (certificate.error <= certificate.tolerance)
    return certificate


LAYERS = {
    "full": lambda g: snn.GroupConv2d(4, 4, 3, g, padding=1),
    "gc": lambda g: snn.SeparableGroupConv2d(4, 4, 3, g, padding="same"),
    "gc fourier": lambda g: snn.SeparableGroupConv2d(4, 4, 3, g, execution="fourier"),
    "g": lambda g: snn.SeparableGroupConv2d(4, 4, 2, g, sharing="g"),
    "depthwise": lambda g: snn.DepthwiseGroupConv2d(4, 3, g, dilation=2, padding=1),
    "two-step": lambda g: snn.DepthwiseSeparableGroupConv2d(4, 4, 3, g, padding=1, padding_mode="circular"),
    "strided": lambda g: snn.GroupConv2d(4, 4, 4, g, stride=2, padding=1),
    "batch norm": lambda g: snn.GroupBatchNorm2d(4),
    "layer norm": lambda g: snn.GroupLayerNorm(4),
    "instance norm": lambda g: snn.GroupInstanceNorm2d(4),
    "group norm": lambda g: snn.GroupGroupNorm(2, 4),
    "layer scale": lambda g: snn.LayerScale(4, 0.5),
    "drop path": lambda g: snn.DropPath(0.5),
    "antialiased pool": lambda g: snn.AntialiasedMaxPool2d(2),
    "dropout": lambda g: snn.GroupDropout(0.5),
    "max pool": lambda g: snn.MaxPool2d(2),
    "average pool": lambda g: snn.AvgPool2d(2),
    "adaptive pool": lambda g: snn.AdaptiveAvgPool2d(3),
    "sequential": lambda g: snn.Sequential(snn.GroupBatchNorm2d(4), nn.ReLU(inplace=True), snn.MaxPool2d(2)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.covering(1)
def test_every_layer_is_exact_under_every_group(name, group):
    model = network(LAYERS[name](group.name), group=group.name).train()
    certificate = faults(model, group=group, samples=2)
    assert certificate.exact, certificate.reason
    assert certificate.error < 1e-13
    assert certificate.varies
    assert all(row.error < 1e-12 and row.exact for row in certificate.layers)
    assert model.training


def test_poses_of_the_groups_of_the_layers_are_known():
    """A network that goes on with a subgroup: every layer is exact under it, whatever group its maps are on."""
    layers = [
        snn.LiftingConv2d(3, 2, 5, "D8"), nn.ReLU(), snn.RestrictGroup("D8", "C8"), snn.GroupGroupNorm(2, 4),
        snn.SeparableGroupConv2d(4, 3, 3, "C8"), snn.RestrictGroup("C8", "C4"), snn.GroupConv2d(6, 2, 3, "C4"),
    ]  # fmt: skip
    certificate = faults(nn.Sequential(*layers), (3, 11, 11), "C4")
    assert certificate.exact
    assert all(row.exact for row in certificate.layers)
    carried = [row.carries.removeprefix("a feature map on ") for row in certificate.layers]
    assert carried == ["D8", "D8", "C8", "C8", "C8", "C4", "C4"]
    certificate = faults(nn.Sequential(*layers[:5]), (3, 11, 11), "C4")  # with maps of the larger group as output
    assert certificate.exact
    assert certificate.layers[-1].output_shape == (3, 8, 5, 5)
    mirrored = faults(nn.Sequential(*layers, snn.GroupMaxPool()), (3, 11, 11), "D4")
    assert mirrored.first_fault is not None
    assert not mirrored.exact


@each("pool", [snn.GroupMaxPool, snn.GroupMeanPool])
def test_maps_and_images_as_output(pool, group):
    lift = snn.LiftingConv2d(3, 4, 3, group)
    for model in (lift, nn.Sequential(lift, pool())):
        certificate = faults(model, (3, 7, 6), group)
        assert certificate.exact
        assert certificate.layers[0].output_shape == (4, group.order, 5, 4)
    assert certificate.layers[1].name == "1"
    assert [row.kind for row in certificate.layers] == ["LiftingConv2d", pool.__name__]


def test_a_layer_alone_on_feature_maps():
    layer = snn.GroupConv2d(3, 2, 3, "p4m")
    assert faults(layer, (3, 8, 6, 7), "p4m").exact
    wrong = nn.Sequential(Function(lambda x: x[:, :, [0, 2, 1, 3, 4, 5, 6, 7]]), layer)
    assert faults(wrong, (3, 8, 6, 7), "p4m").first_fault == "0"


def test_the_error_is_that_of_the_output():
    model = network(snn.MaxPool2d(2)).eval()
    certificate = faults(model, (3, 9, 9), samples=3, seed=5)
    x = torch.randn(3, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    errors = equivariance_error(copy.deepcopy(model).double(), "p4", x)
    assert certificate.error == pytest.approx(max(errors.values()), rel=1e-9)
    assert errors[certificate.worst_element] == pytest.approx(certificate.error, rel=1e-9)


def test_a_network_on_a_larger_group_is_exact_under_a_smaller_one():
    model = network(snn.GroupConv2d(4, 4, 3, "p4m"), group="p4m")
    for smaller in ("p1", "p2", "p4", "pm", "pmm"):
        certificate = faults(model, group=smaller)
        assert certificate.exact
        assert certificate.layers[0].carries == "a feature map on p4m"
    certificate = faults(network(), group="p4m")
    assert certificate.first_fault == "0"
    assert "is a layer on p4, which does not have all elements of p4m" in certificate.reason
    assert certificate.worst_element >= 4


def test_sides_may_differ():
    assert faults(network(snn.MaxPool2d(2)), (3, 8, 6)).exact
    assert "a map of 8 x 7" in faults(network(snn.MaxPool2d(2)), (3, 8, 7)).reason


# What goes wrong, where the certificate must find it, and what it must say.
BROKEN = {
    "pose order": (Function(lambda x: x[:, :, [0, 2, 1, 3]]), "1", "order of the poses"),
    "poses treated unlike": (Function(lambda x: x * torch.tensor([1, 2, 1, 1.0]).view(4, 1, 1)), "1", "Function"),
    "a ramp": (Function(lambda x: x + torch.arange(8.0)), "1", "depends on position"),
    "a ramp in place": (Function(lambda x: x.add_(torch.arange(8.0))), "1", "depends on position"),
    "an ordinary convolution": (
        nn.Sequential(nn.Flatten(1, 2), nn.Conv2d(16, 16, 3, padding=1), nn.Unflatten(1, (4, 4))),
        "1.1",
        "Conv2d is an ordinary convolution, whose kernels are not symmetric under p4; use sepgconv.nn.LiftingConv2d",
    ),
    "statistics for each pose": (
        nn.Sequential(nn.Flatten(1, 2), nn.BatchNorm2d(16), nn.Unflatten(1, (4, 4))),
        "1.1",
        "BatchNorm2d has another scale, shift or mean for each pose; use sepgconv.nn.GroupBatchNorm2d",
    ),
    "a stride": (
        snn.GroupConv2d(4, 4, 3, "p4", stride=2, padding=1),
        "1",
        "a stride of 2 on a map of 8 x 8, where (8 + 2*1 - 1*(3 - 1) - 1) mod 2 = 1, not 0; exact on this size: "
        "a 4 x 4 window of stride 2 and padding 1 or a 2 x 2 window of stride 2 and padding 0 or stride 1 and then a "
        "2 x 2 pool of stride 2; images of side 5, 7, 9, 11 suit every stride",
    ),
    "a pool": (snn.MaxPool2d(3), "1", "a stride of 3 on a map of 8 x 8"),
    "noise": (Function(lambda x: x + torch.randn(())), "1", "other numbers for the same image: dropout or noise"),
    "dropout that stays on": (Function(lambda x: nn.functional.dropout(x, 0.5, training=True)), "1", "dropout"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_the_first_fault_is_named_with_its_reason(name):
    broken, place, reason = BROKEN[name]
    if name == "statistics for each pose":
        broken[1].weight.data.uniform_(0.5, 1.5)
    behind = snn.GroupConv2d(4, 4, 3, "p4", padding=1, bias=True)
    certificate = faults(network(broken, behind, nn.ReLU()))
    assert not certificate.exact
    assert certificate.error > 1e-3
    assert certificate.first_fault == place
    assert reason in certificate.reason
    rows = [row.name for row in certificate.layers]
    at = rows.index(place)
    assert [row.exact for row in certificate.layers[: at + 1]] == [True] * at + [False]
    assert certificate.exact_sizes == ((7, 9, 5, 11, 3, 13, 1, 15) if name == "a stride" else certificate.exact_sizes)


@pytest.mark.parametrize(("side", "broken", "instead"), [(8, (3, 1), (4, 1)), (7, (4, 1), (3, 0)), (8, (1, 0), (2, 0))])
def test_the_replacements_that_are_named_are_exact(side, broken, instead):
    def strided(kernel, padding):
        return faults(network(snn.GroupConv2d(4, 4, kernel, "p4", stride=2, padding=padding)), (3, side, side))

    (kernel, padding), reason = instead, strided(*broken).reason
    assert f"a {kernel} x {kernel} window of stride 2 and padding {padding}" in reason
    assert strided(*instead).exact


def test_both_paths_of_a_block_and_a_step_that_is_no_module():
    class Block(nn.Module):
        def __init__(self, step):
            super().__init__()
            self.long = nn.Sequential(snn.GroupConv2d(4, 4, 3, "p4", padding=1), nn.ReLU(inplace=True))
            self.short = nn.Identity()
            self.step = step

        def forward(self, x):
            y = self.long(x)
            y += self.short(x)
            return self.step(y)

    class Before(Block):
        def forward(self, x):
            return self.long(self.step(x))

    assert faults(network(Block(lambda x: x))).exact
    before = faults(network(Before(lambda x: x + torch.arange(8.0))))
    assert (before.first_fault, "between its layers" in before.reason) == ("1", True)
    certificate = faults(network(Block(lambda x: x), Block(lambda x: x[..., :-1]), Block(lambda x: x)))
    assert certificate.first_fault == "2"
    assert "between its layers: a step in the forward of Block that is no module" in certificate.reason
    assert "2" in [row.name for row in certificate.layers]


@pytest.mark.parametrize("flatten", [nn.Flatten(), Function(lambda x: x.flatten(1))])
def test_flattening_heads(flatten):
    body = snn.LiftingConv2d(3, 4, 3, "p4", padding=1)
    poses = nn.Sequential(body, snn.AdaptiveAvgPool2d(1), flatten, nn.Linear(16, 5))
    certificate = faults(poses)
    assert certificate.first_fault == "3"
    assert "flattening head: poses are flattened into the classifier; take GroupMaxPool" in certificate.reason
    positions = nn.Sequential(body, snn.GroupMaxPool(), flatten, nn.Linear(4 * 64, 5))
    certificate = faults(positions)
    assert certificate.first_fault == "3"
    assert "flattening head: positions are flattened into the classifier" in certificate.reason
    everything = faults(nn.Sequential(body, flatten, nn.Linear(4 * 4 * 64, 5)))
    assert (everything.first_fault, "poses are flattened" in everything.reason) == ("2", True)


def test_a_flattening_head_with_symmetric_weights_is_exact():
    """The linear layer is at fault, not the flattening: with equal weights for all poses nothing is lost."""
    model = nn.Sequential(snn.LiftingConv2d(3, 4, 3, "p4"), snn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    model[3].weight.data = model[3].weight.data[:, ::4].repeat_interleave(4, 1)
    assert faults(model).exact


def test_an_output_that_moves_with_the_picture():
    model = nn.Sequential(snn.LiftingConv2d(3, 4, 3, "p4"), snn.AdaptiveAvgPool2d(1), nn.Flatten())
    certificate = faults(model)
    assert certificate.first_fault == "Sequential"
    assert "every layer is exact, but the output is poses along its channels and moves with the image" in (
        certificate.reason
    )


def test_poses_carried_along_the_channels_inside_are_no_fault():
    for fold in (lambda x: x.flatten(1, 2), lambda x: x.transpose(1, 2).flatten(1, 2)):
        order = 0 if torch.equal(fold(torch.arange(4).view(1, 2, 2)), torch.arange(4).view(1, 4)) else 1
        back = Function(lambda x, o=order: x.unflatten(1, (4, 4)) if o == 0 else x.unflatten(1, (4, 4)).transpose(1, 2))
        certificate = faults(network(Function(fold), nn.ReLU(), nn.MaxPool2d(2), back))
        assert certificate.exact
        assert certificate.layers[1].carries == "poses along its channels"


def test_real_pictures_count():
    """A layer that is off for bright pictures alone is found out with them."""
    model = network(Function(lambda x: x + 1e4 * torch.arange(8.0) * (x.amax() > 1e4)), nn.ReLU())
    assert faults(model).exact
    certificate = faults(model, inputs=1e5 * torch.rand(6, 3, 8, 8))
    assert certificate.first_fault == "1"
    assert certificate.images == 9


class Beside(nn.Module):
    """An exact convolution and an ordinary branch beside it, which mostly rests."""

    def __init__(self, branch):
        super().__init__()
        self.exact, self.branch = snn.LiftingConv2d(3, 4, 3, "p4", padding=1), branch

    def forward(self, x):
        return self.exact(x) + self.branch(x).unsqueeze(2)


def resting(bias, activation):
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    with torch.no_grad():
        convolution.bias.fill_(bias)
    return nn.Sequential(convolution, activation)


@pytest.mark.parametrize(
    "branch",
    [
        lambda: resting(-50.0, nn.ReLU()),
        lambda: resting(0.0, nn.Hardshrink(30.0)),
        lambda: resting(-50.0, nn.Softplus()),
    ],
)
def test_a_branch_that_rests_on_small_pixels_is_found(branch):
    model = nn.Sequential(Beside(branch()), Head(4))
    certificate = faults(model)
    assert not certificate.exact
    assert certificate.first_fault == "0.branch.0"
    assert certificate.error > 1e-4
    assert certificate.reason.endswith(", on pixels of 0 to 255")
    assert certificate.images == 3
    seen = 255 * torch.rand(2, 3, 8, 8)  # the same without the help
    assert not certify(model, "p4", (3, 8, 8), inputs=seen).exact


SATURATING = {
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "elu": nn.ELU(),
    "clipped": nn.Hardtanh(),
    "gelu": nn.GELU(),
    "swish": nn.SiLU(),
    "square": Function(lambda x: x.square()),
    "fourth power": Function(lambda x: x.square().square()),
    "exponential, not finite": Function(lambda x: x.exp()),
    "one less what is nearly one": Function(lambda x: 1 - torch.sigmoid(x.square())),
    "normalised": Function(lambda x: (x - x.mean((1, 2), keepdim=True)) / (x.var((1, 2), keepdim=True) + 1e-5).sqrt()),
    "layer norm": snn.GroupLayerNorm(4, eps=1e-12),
    "sign": Function(lambda x: x.sign()),
    "refuses large numbers": Function(lambda x: x / int(bool(x.abs().max() < 200))),
}


@pytest.mark.parametrize("name", SATURATING)
@pytest.mark.covering(1)
def test_large_pixels_are_no_false_alarm(name, group):
    model = network(copy.deepcopy(SATURATING[name]), snn.GroupConv2d(4, 4, 3, group, padding=1), group=group.name)
    certificate = faults(model, group=group, samples=2)
    assert certificate.exact, certificate.reason
    assert certificate.error < 1e-9


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.Sigmoid(), nn.ELU(), nn.ReLU()])
def test_filters_made_in_single_precision_are_no_false_alarm(activation):
    """Symmetric to seven digits only, as those of e2cnn and of plain networks."""
    from sepgconv.convert import to_plain

    layers = [layer for _ in range(4) for layer in (snn.GroupConv2d(4, 4, 3, "p4", padding=1), activation)]
    model = to_plain(network(*layers), input_shape=(3, 8, 8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 1e-7 * torch.randn_like(parameter))
    certificate = certify(model, "p4", (3, 8, 8))
    assert certificate.exact, certificate.reason


def test_a_fault_that_the_output_does_not_show_is_none():
    """A ramp adds the same to the mean over positions, whichever way it points."""
    certificate = faults(network(Function(lambda x: x + torch.arange(8.0))))
    assert certificate.exact
    assert [row.exact for row in certificate.layers[:3]] == [True, False, False]
    assert certificate.layers[-1].exact


def test_every_element_is_tried():
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    from sepgconv.functional import act

    for bad in (1, 5, 7):
        moved = act("p4m", bad, x)
        model = Function(lambda y, m=moved: y.mean((1, 2, 3))[:, None] + torch.equal(y, m))
        assert faults(model, group="p4m", samples=2).worst_element == bad


def test_a_shared_module_has_a_row_for_each_call_and_one_that_is_not_called_has_none():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.unused = snn.GroupConv2d(4, 4, 3, "p4"), nn.ReLU(), nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return self.relu(self.conv(self.relu(self.conv(x))))

    rows = faults(network(Twice())).layers
    assert [row.name for row in rows[1:5]] == ["1.conv", "1.relu", "1.conv", "1.relu"]
    assert [row.output_shape for row in rows[1:5]] == [(4, 4, 6, 6)] * 2 + [(4, 4, 4, 4)] * 2


def test_a_network_that_says_the_same_of_every_picture_is_marked():
    model = network()
    model[1][3].weight.data.zero_()
    certificate = faults(model)
    assert certificate.exact
    assert not certificate.varies


def test_the_model_is_not_touched():
    model = network(snn.GroupBatchNorm2d(4), nn.Dropout(0.5)).train()
    model[1].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    faults(model)
    assert [module.training for module in model.modules()] == modes
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, before[key]) and value.dtype == before[key].dtype
               for key, value in model.state_dict().items())  # fmt: skip


def test_seed_and_tolerance():
    model = network(snn.MaxPool2d(3))
    assert certify(model, "p4", (3, 8, 8), seed=1) == certify(model, "p4", (3, 8, 8), seed=1)
    assert certify(model, "p4", (3, 8, 8), seed=1).error != certify(model, "p4", (3, 8, 8), seed=2).error
    loose = certify(model, "p4", (3, 8, 8), tolerance=10.0)
    assert loose.exact
    assert loose.error > 1e-3


def test_json():
    certificate = faults(Function(lambda x: x[..., 1:, :]))
    assert certificate.error == math.inf
    values = json.loads(json.dumps(certificate.to_dict(), allow_nan=False))
    assert values["error"] is None
    assert values["exact"] is False
    assert values["layers"][0]["error"] is None
    assert values["layers"][0]["output_shape"] == [3, 7, 8]
    assert set(values) == set(certificate.__slots__)


def with_nan():
    model = network(snn.GroupBatchNorm2d(4))
    model[1].running_mean[2] = math.nan
    return model


def infinite():
    model = network()
    model[0].weight.data[0, 0, 0, 0] = math.inf
    return model


@each(
    ("model", "options", "sentence"),
    [
        (with_nan, {}, r"1\.running_mean holds values that are not finite"),
        (infinite, {}, r"0\.weight holds values that are not finite"),
        (lambda: network(Function(lambda x: x / 0)), {}, r"1 \(Function\) gives values that are not finite"),
        (lambda: network().to("meta"), {}, "0.weight has no values"),
        (lambda: network(padding=0), {"input_shape": (3, 2, 2)}, "smallest size is 3 x 3"),
        (lambda: nn.Conv2d(3, 4, 5), {"input_shape": (3, 2, 2)}, r"Conv2d cannot run on images of 3 x 2 x 2"),
        (lambda: Function(lambda x: {"out": x}), {}, "Function gives no tensor; wrap it"),
        (network, {"input_shape": (8, 8)}, r"input_shape must be \(channels, height, width\)"),
        (network, {"inputs": torch.zeros(2, 1, 8, 8)}, r"inputs must be images \(n, 3, 8, 8\), got \(2, 1, 8, 8\)"),
        (network, {"inputs": torch.full((2, 3, 8, 8), math.nan)}, "inputs hold values that are not finite"),
        (network, {"samples": 1}, "samples must be at least 2, got 1"),
        (network, {"tolerance": 0.0}, "tolerance must be a number above 0"),
        (network, {"group": "p5"}, "unknown group 'p5'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(model, options, sentence):
    with pytest.raises(ValueError, match=sentence) as refusal:
        certify(model(), **{"input_shape": (3, 8, 8), "group": "p4", **options})
    assert "\n" not in str(refusal.value)


def test_networks_whose_layers_depend_on_the_picture_are_refused():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Identity(), nn.Identity()

        def forward(self, x):
            return (self.left if x[0, 0, 0, 0] > x[0, 0, 0, -1] else self.right)(x)

    with pytest.raises(ValueError, match="runs other layers when the image is moved"):
        certify(Fork(), "p4", (3, 8, 8))
