"""Ordinary CNNs rebuilt on a group: exactly invariant, within the budget, with their forward kept."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sepgconv
from sepgconv import nn as snn
from sepgconv.analysis import cost
from sepgconv.convert import equivariant
from sepgconv.testing import assert_equivariant
from tests.covering import each


def lenet():
    """LeNet-5 with a pool over positions, for 1 x 28 x 28."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


def vgg():
    """Blocks in a Sequential of its own, as in VGG; for 3 x 16 x 16."""

    def block(c, n):
        layers = [nn.Conv2d(c, n, 3, padding="same", bias=False), nn.BatchNorm2d(n), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, nn.Dropout2d(0.1), nn.MaxPool2d(2, 2))

    head = nn.Sequential(nn.Flatten(), nn.Linear(24, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 5))
    return nn.Sequential(nn.Sequential(block(3, 12), block(12, 24)), nn.AdaptiveAvgPool2d((1, 1)), head)


class Residual(nn.Module):
    def __init__(self, c, n, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, n, 3, stride, 1, bias=False), nn.BatchNorm2d(n)
        self.conv2, self.bn2 = nn.Conv2d(n, n, 3, 1, 1, bias=False), nn.BatchNorm2d(n)
        self.shortcut = nn.Sequential(nn.Conv2d(c, n, 1, stride, bias=False), nn.BatchNorm2d(n)) if c != n else None

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        y += x if self.shortcut is None else self.shortcut(x)
        return F.relu(y, inplace=True)


class ResNet(nn.Module):
    """By hand, for 3 x 17 x 17 (any side with side - 1 a multiple of 4)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.Sequential(Residual(8, 8, 1), Residual(8, 16, 2), Residual(16, 32, 2))
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        x = self.layers(F.relu(self.stem(x)))
        x = F.adaptive_avg_pool2d(x, (1, 1))
        x = x.view(x.size(0), -1)
        return self.fc(F.dropout(x, 0.2, training=self.training))


class ConvNormAct(nn.Module):
    def __init__(self, c, n, size=3, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(c, n, size, stride, size // 2, groups=groups, bias=False)
        self.bn, self.act = nn.BatchNorm2d(n), nn.SiLU()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class SqueezeExcite(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.reduce, self.expand, self.gate = nn.Conv2d(c, c // 4, 1), nn.Conv2d(c // 4, c, 1), nn.Hardsigmoid()

    def forward(self, x):
        scale = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.expand(F.relu(self.reduce(scale))))


class Mobile(nn.Module):
    """Inverted residuals with gates, as timm has them, for 3 x 9 x 9; a convolution as head."""

    def __init__(self):
        super().__init__()
        self.stem = ConvNormAct(3, 8)
        self.up, self.depth, self.se = ConvNormAct(8, 24, 1), ConvNormAct(24, 24, 3, 2, groups=24), SqueezeExcite(24)
        self.down, self.skip = nn.Conv2d(24, 16, 1), nn.Conv2d(8, 16, 1, 2)
        self.head, self.pool = ConvNormAct(16, 32, 1), nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Conv2d(32, 7, 1)

    def forward(self, x):
        x = self.stem(x)
        x = self.down(self.se(self.depth(self.up(x)))) + self.skip(x)
        return torch.flatten(self.classifier(self.pool(self.head(x))), 1)


class Dense(nn.Module):
    """Joined channels, a pool used twice, and no pool before the mean, for 2 x 12 x 12."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(14, 10, 3)
        self.pool, self.act, self.fc = nn.MaxPool2d(2), nn.PReLU(), nn.Linear(10, 4)

    def forward(self, x):
        x = self.pool(self.act(self.a(x)))
        x = torch.cat([x, torch.sigmoid(self.b(x))], dim=-3)
        return self.fc(self.act(self.pool(self.c(x)).mean(dim=(-2, -1))))


class Segmenter(nn.Module):
    """Gives a picture with a spatial gate of one channel, for 3 x n x n."""

    def __init__(self):
        super().__init__()
        self.a, self.gate, self.out = (
            nn.Conv2d(3, 12, 3, padding=1),
            nn.Conv2d(12, 1, 1),
            nn.Conv2d(12, 5, 3, padding=1),
        )

    def forward(self, x):
        x = F.gelu(self.a(x))
        return self.out(x * torch.sigmoid(self.gate(x)))


NETWORKS = {
    "lenet": (lenet, (1, 28, 28)),
    "vgg": (vgg, (3, 16, 16)),
    "resnet": (ResNet, (3, 17, 17)),
    "mobile": (Mobile, (3, 9, 9)),
    "dense": (Dense, (2, 12, 12)),
    "segmenter": (Segmenter, (3, 8, 8)),
}


@pytest.mark.usefixtures("float64")
class TestNetworks:
    @pytest.mark.parametrize(
        ("name", "sharing"), [*((name, "gc") for name in NETWORKS), ("vgg", None), ("resnet", None), ("mobile", "g")]
    )
    def test_exactly_equivariant_within_the_budget(self, name, sharing):
        build, shape = NETWORKS[name]
        model, x = build(), torch.randn(2, *shape)
        with pytest.raises(AssertionError, match="is not equivariant"):
            assert_equivariant(model, "p4m", x)
        rebuilt = equivariant(model, "p4m", sharing=sharing, input_shape=shape)
        assert_equivariant(rebuilt, "p4m", x)
        assert rebuilt(x).shape == model(x).shape
        assert cost(rebuilt, shape).parameters <= cost(model, shape).parameters
        assert cost(rebuilt, shape).uncounted == cost(model, shape).uncounted  # PReLU

    def test_every_group(self, group):
        rebuilt = equivariant(lenet(), group, sharing="gc", input_shape=(1, 28, 28))
        assert rebuilt[0].group == group
        assert_equivariant(rebuilt, group, torch.randn(2, 1, 28, 28))

    @pytest.mark.parametrize("name", ["vgg", "resnet", "mobile"])
    def test_it_trains(self, name):
        build, shape = NETWORKS[name]
        rebuilt = equivariant(build(), "p4", sharing="gc", input_shape=shape)
        assert rebuilt.training
        rebuilt(torch.randn(4, *shape)).square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in rebuilt.parameters())

    def test_dropout_of_a_forward_follows_the_mode(self):
        rebuilt = equivariant(ResNet().eval(), "p4", input_shape=(3, 17, 17))
        x = torch.randn(2, 3, 17, 17)
        assert not rebuilt.training
        assert torch.equal(rebuilt(x), rebuilt(x))
        for norm in (m for m in rebuilt.modules() if isinstance(m, snn.GroupBatchNorm2d)):
            norm.momentum = 0.0
        rebuilt.train()
        assert not torch.equal(rebuilt(x), rebuilt(x))

    def test_stride_on_an_even_map_is_not_exact(self):
        """Negative control, and what the docstring warns of."""
        rebuilt = equivariant(ResNet(), "p4", input_shape=(3, 16, 16))
        with pytest.raises(AssertionError, match="is not equivariant"):
            assert_equivariant(rebuilt, "p4", torch.randn(2, 3, 16, 16))


class TestStructure:
    def test_a_chain_is_a_sequential_with_the_same_names(self):
        model = vgg()
        rebuilt = equivariant(model, "p4", sharing="g", input_shape=(3, 16, 16))
        assert type(rebuilt) is snn.Sequential
        kinds = [type(m) for m in rebuilt.modules() if not isinstance(m, nn.Sequential)]
        block = [snn.GroupBatchNorm2d, nn.ReLU, snn.GroupDropout, snn.MaxPool2d]
        head = [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout, nn.Linear]
        pools = [snn.GroupMaxPool, nn.AdaptiveAvgPool2d]
        assert kinds == [snn.LiftingConv2d, *block, snn.SeparableGroupConv2d, *block, *pools, *head]
        assert list(rebuilt._modules) == ["0", "pose_pool", "1", "2"]
        assert rebuilt[0][1][0].sharing == "g"
        assert rebuilt[0][1][0].padding == (1, 1)
        assert rebuilt[-1][-1].out_features == 5

    def test_a_forward_is_kept(self):
        rebuilt = equivariant(Mobile(), "p4", sharing="gc", input_shape=(3, 9, 9))
        assert type(rebuilt) is not snn.Sequential
        assert type(rebuilt.depth.conv) is snn.DepthwiseGroupConv2d
        assert type(rebuilt.up.conv) is snn.GroupConv2d  # of one pixel: nothing to share
        assert type(rebuilt.se.reduce) is snn.GroupConv2d  # on maps: the gate keeps poses
        assert rebuilt.classifier.out_channels == 7
        assert {"stem.conv.weight", "depth.bn.running_mean"} <= set(rebuilt.state_dict())
        again = pickle.loads(pickle.dumps(copy.deepcopy(rebuilt))).eval()
        x = torch.randn(2, 3, 9, 9)
        assert torch.equal(again(x), rebuilt.eval()(x))

    def test_the_model_is_left_alone_and_its_dtype_kept(self):
        model = ResNet().double().eval()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        rebuilt = equivariant(model, "p4", input_shape=(3, 17, 17))
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert not any(m.training for m in model.modules())
        assert {p.dtype for p in rebuilt.parameters()} == {torch.float64}

    def test_settings_are_kept(self):
        model = nn.Sequential(
            nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 8, 3, 2, 1, 1, bias=False, padding_mode="circular"),
            nn.BatchNorm2d(8, eps=0.1, momentum=None), nn.LeakyReLU(0.3), nn.Conv2d(8, 8, 3, dilation=2), nn.PReLU(8),
            nn.AvgPool2d(3, 1, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 2, bias=False), nn.LogSoftmax(1),
        )  # fmt: skip
        rebuilt = equivariant(model, "p4", input_shape=(3, 17, 17))
        assert type(rebuilt[0]) is nn.BatchNorm2d
        assert [rebuilt[1].stride, rebuilt[1].padding_mode, rebuilt[1].bias] == [(2, 2), "circular", None]
        assert [rebuilt[2].eps, rebuilt[2].momentum, rebuilt[3].negative_slope] == [0.1, None, 0.3]
        assert [rebuilt[4].dilation, rebuilt[6].padding] == [(2, 2), (1, 1)]
        assert rebuilt[5].num_parameters == rebuilt[4].out_channels
        assert rebuilt[-2].bias is None
        assert_equivariant(rebuilt.double(), "p4", torch.randn(2, 3, 17, 17, dtype=torch.float64))

    def test_large_maps_before_a_flatten(self):
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
        with pytest.raises(ValueError, match=r"2: flattens maps of 6 x 6 pixels.*or give global_pool=True") as caught:
            equivariant(model, "p4", input_shape=(1, 8, 8))
        assert "3:" not in str(caught.value)  # what follows from it is not blamed
        rebuilt = equivariant(model, "p4", input_shape=(1, 8, 8), global_pool=True)
        assert [name for name, _ in rebuilt.named_children()] == ["0", "1", "pose_pool", "position_pool", "2", "3"]
        assert_equivariant(rebuilt.double(), "p4", torch.randn(2, 1, 8, 8, dtype=torch.float64))


def plain(width):
    return nn.Sequential(
        nn.Conv2d(2, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, 3),
    )  # fmt: skip


class TestBudget:
    @pytest.mark.parametrize("budget", ["parameters", "macs"])
    @pytest.mark.parametrize("sharing", [None, "gc"])
    def test_the_widest_network_within_it(self, sharing, budget):
        """Against a search over all widths by building every network."""

        def count(model):
            found = cost(model, (2, 9, 9))
            return found.parameters if budget == "parameters" else found.nominal_macs

        def rebuilt(limit):
            return equivariant(plain(16), "p4", sharing=sharing, input_shape=(2, 9, 9), budget=budget, limit=limit)

        counts = {}
        for width in range(1, 24):
            by_hand = nn.Sequential(
                snn.LiftingConv2d(2, width, 3, "p4"),
                snn.GroupConv2d(width, width, 3, "p4")
                if sharing is None
                else snn.SeparableGroupConv2d(width, width, 3, "p4", sharing=sharing),
                snn.GroupMaxPool(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3),
            )  # fmt: skip
            counts[width] = count(by_hand)
        for limit in (counts[1], counts[2] - 1, counts[5], counts[11] - 1):
            best = max(width for width, c in counts.items() if c <= limit)
            found = rebuilt(limit)
            assert found[0].out_channels == best
            assert count(found) == counts[best]
        original = count(plain(16))
        assert count(rebuilt(None)) == max(c for c in counts.values() if c <= original)
        with pytest.raises(
            ValueError, match=rf"no width meets a budget of {counts[1] - 1:,} {budget}.* has {counts[1]:,}"
        ):
            rebuilt(counts[1] - 1)

    @pytest.mark.parametrize("name", ["vgg", "mobile", "dense", "segmenter"])
    def test_multiplications_are_those_of_cost(self, name):
        build, shape = NETWORKS[name]
        model = build()
        original = cost(model, shape).nominal_macs
        rebuilt = equivariant(model, "p4", sharing="gc", input_shape=shape, budget="macs")
        found = cost(rebuilt, shape).nominal_macs
        assert 0.5 * original < found <= original
        again = equivariant(model, "p4", sharing="gc", input_shape=shape, budget="macs", limit=found)
        assert cost(again, shape).nominal_macs == found
        less = equivariant(model, "p4", sharing="gc", input_shape=shape, budget="macs", limit=found - 1)
        assert cost(less, shape).nominal_macs < found

    def test_wider_than_the_original(self):
        rebuilt = equivariant(plain(4), "p4", input_shape=(2, 9, 9), limit=100_000)
        assert rebuilt[0].out_channels > 16
        assert 90_000 < cost(rebuilt, (2, 9, 9)).parameters <= 100_000

    def test_a_width_of_one_stays(self):
        rebuilt = equivariant(Segmenter(), "p4", input_shape=(3, 8, 8), limit=60_000)
        assert rebuilt.a.out_channels > 24
        assert rebuilt.gate.out_channels == 1
        assert rebuilt(torch.randn(1, 3, 8, 8)).shape == (1, 5, 8, 8)

    def test_only_the_output_layer(self):
        rebuilt = equivariant(nn.Sequential(nn.Conv2d(1, 5, 3)), "p4", input_shape=(1, 8, 8))
        assert rebuilt[0].out_channels == 5
        assert rebuilt(torch.randn(1, 1, 8, 8)).shape == (1, 5, 6, 6)


class Calls(nn.Module):
    """One convolution, then what a test gives."""

    def __init__(self, then, **parts):
        super().__init__()
        self.conv, self.then = nn.Conv2d(3, 4, 3, padding=1), then
        for name, part in parts.items():
            self.add_module(name, part)
        self.own = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x):
        return self.then(self, x, self.conv(x))


REFUSED = {
    "layer norm": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(6)), r"1: LayerNorm has feature maps on the group"),
    "groups": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=2)), r"1: Conv2d with groups=2"),
    "multiplier": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3, groups=4)), r"1: Conv2d with groups=4"),
    "depthwise first": (nn.Sequential(nn.Conv2d(3, 3, 3, groups=3)), r"0: Conv2d with groups=3 on an image"),
    "sides": (nn.Sequential(nn.Conv2d(3, 4, (1, 3))), r"0: kernel_size=\(1, 3\) breaks the equivariance to p4"),
    "pool sides": (nn.Sequential(nn.MaxPool2d((2, 1)), nn.Conv2d(3, 4, 1)), r"0: kernel_size=\(2, 1\) breaks"),
    "linear on maps": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(6, 2)), r"1: Linear has feature maps on the group"),
    "perceptron": (nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), r"0: flattens the image before any convolution"),
    "no convolution": (nn.Sequential(nn.ReLU()), r"there is no Conv2d on the image"),
    "ours": (snn.Sequential(snn.LiftingConv2d(3, 4, 3, "p4")), r"0: LiftingConv2d has no counterpart"),
    "roll": (Calls(lambda s, x, y: y.roll(1, -1)), r"roll\(\) in the forward of the model: this call has no"),
    "joined rows": (Calls(lambda s, x, y: torch.cat([y, y], 2)), r"cat\(\) .*: joins along axis 2"),
    "mean of rows": (Calls(lambda s, x, y: y.mean(2)), r"the output: mean\(\) over one of height and width"),
}  # fmt: skip


@each("name", REFUSED)
def test_what_cannot_be_converted_is_named(name):
    model, words = REFUSED[name]
    with pytest.raises(ValueError, match=rf"^equivariant: cannot convert {words}"):
        equivariant(model, "p4", input_shape=(3, 8, 8))


def test_all_problems_are_named_at_once():
    inner = nn.Sequential(nn.PixelShuffle(1), nn.Conv2d(4, 4, (3, 1)))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), inner, nn.ChannelShuffle(2))
    with pytest.raises(ValueError, match=r"1\.0: PixelShuffle.*; 1\.1: kernel_size=\(3, 1\).*; 2: ChannelShuffle"):
        equivariant(model, "p4", input_shape=(3, 8, 8))


class Depends(nn.Module):
    def __init__(self, on):
        super().__init__()
        self.conv, self.on = nn.Conv2d(3, 4, 3), on

    def forward(self, x):
        y = self.conv(x)
        if self.on == "value" and y.sum() > 0:
            return -y
        return y.abs() if self.on == "mode" and self.training else y


@pytest.mark.usefixtures("unchecked")
@each(
    ("model", "arguments", "words"),
    [
        (
            Depends("value"),
            {"input_shape": (3, 8, 8)},
            "Depends cannot be converted: .* branches on the values of a feature map",
        ),
        (Depends("mode"), {"input_shape": (3, 8, 8)}, "other steps in training than in evaluation"),
        (lenet(), {"input_shape": (3, 28, 28)}, r"does not take inputs of shape \(3, 28, 28\)"),
        (lenet(), {"input_shape": (28, 28)}, r"input_shape must be \(channels, height, width\)"),
        (lenet(), {"input_shape": (1, 0, 28)}, r"input_shape must be \(channels, height, width\)"),
        (lenet(), {"sharing": "cg"}, "unknown sharing 'cg'; did you mean"),
        (lenet(), {"group": "p3"}, "unknown group 'p3'"),
        (lenet(), {"budget": "flops"}, "unknown budget 'flops'"),
        (lenet(), {"limit": 0}, "limit must be a positive number"),
        (lenet(), {"limit": 10}, "no width meets a budget of 10 parameters"),
    ],
)
def test_bad_input(model, arguments, words):
    given = {"group": "p4", "input_shape": (1, 28, 28)} | arguments
    with pytest.raises(ValueError, match=words):
        equivariant(model, **given)


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.avg_pool2d(x, x.size(2)),
        lambda x: F.avg_pool2d(x, kernel_size=x.size()[2:]),
        lambda x: F.avg_pool2d(x, (x.shape[-2], x.shape[-1])),
        lambda x: F.adaptive_avg_pool2d(x, [1, 1]),
        lambda x: F.adaptive_max_pool2d(x, [1, 1]),
    ],
)
def test_pools_over_the_whole_map_however_they_are_written(pool):
    model = Calls(lambda s, x, y: s.head(torch.flatten(pool(y), 1)), head=nn.Linear(4, 2))
    converted = equivariant(model, "p4", input_shape=(3, 8, 8))
    assert_equivariant(converted, "p4", torch.randn(2, 3, 8, 8))
    assert converted(torch.randn(2, 3, 10, 12)).shape == (2, 2)


def test_a_computed_window_that_is_not_the_whole_map_is_refused():
    model = Calls(lambda s, x, y: F.avg_pool2d(y, y.size(2) // 2))
    with pytest.raises(ValueError, match=r"avg_pool2d\(\) in the forward of the model: this call has no counterpart"):
        equivariant(model, "p4", input_shape=(3, 8, 8))


def test_the_fast_form():
    model = equivariant(lenet(), "p4", sharing="gc", input_shape=(1, 28, 28)).eval()
    x = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(sepgconv.compile_for_inference(model)(x), model(x))


class Twice(nn.Module):
    """Joins maps with themselves, and computes what nobody reads."""

    def __init__(self):
        super().__init__()
        self.inner, self.unread, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), nn.Linear(16, 5)

    def forward(self, x):
        maps = self.inner(x)
        self.unread(maps)
        return self.last(torch.cat([maps, maps], 1).mean((2, 3)))


@pytest.mark.parametrize("budget", ["parameters", "macs"])
def test_what_is_joined_with_itself_and_what_nobody_reads(float64, budget):
    rebuilt = equivariant(Twice(), "p4", input_shape=(3, 9, 9), budget=budget).eval()
    x = torch.randn(2, 3, 9, 9)
    assert rebuilt(x).shape == (2, 5)
    assert_equivariant(rebuilt, "p4", x)
    assert not hasattr(rebuilt, "unread")


def test_a_limit_that_nothing_reaches_ends():
    class Unread(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.unread = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 4, 3)

        def forward(self, x):
            self.unread(x)
            return self.last(x)

    assert equivariant(Unread(), "p4", input_shape=(3, 9, 9), limit=100_000)(torch.zeros(1, 3, 9, 9)).shape[1] == 8


def test_what_does_not_run_is_named_without_a_traceback(capsys):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    with pytest.raises(ValueError, match=r"does not take inputs of shape \(1, 9, 9\) \(0 .*to have 3 channels"):
        equivariant(network, "p4", input_shape=(1, 9, 9))
    assert capsys.readouterr().err == ""
