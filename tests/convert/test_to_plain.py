"""`to_plain`: the same answers from ordinary layers of torch alone, the model untouched."""

import copy
import io

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

import sepgconv
from sepgconv import functional
from sepgconv.convert import to_plain
from sepgconv.nn import (
    AdaptiveAvgPool2d,
    AntialiasedMaxPool2d,
    AvgPool2d,
    DepthwiseGroupConv2d,
    DepthwiseSeparableGroupConv2d,
    DropPath,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupDropout,
    GroupGroupNorm,
    GroupInstanceNorm2d,
    GroupLayerNorm,
    GroupMaxPool,
    GroupMeanPool,
    LayerScale,
    LiftingConv2d,
    MaxPool2d,
    RestrictGroup,
    SeparableGroupConv2d,
    Sequential,
)

# The annotations of forward code that is only read, not run, cannot be checked.
pytestmark = pytest.mark.usefixtures("float64", "unchecked", "shallow_resnets")


def assert_plain(model, x, **options):
    """Compare with the model, look at what is left, and return the plain network."""
    before = copy.deepcopy(model.state_dict())
    plain = to_plain(model, input_shape=tuple(x.shape[1:]), **options)
    expected = model(x.clone()).detach()
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(plain(x.clone()), expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    ours = [type(m) for m in plain.modules() if not type(m).__module__.startswith(("torch.nn", "torch.fx"))]
    assert ours == []
    return plain


def layers_of(plain, kind):
    return [module for module in plain.modules() if isinstance(module, kind)]


LAYERS = {
    "lifting": lambda g: LiftingConv2d(3, 2, 3, g, padding=1, stride=2),
    "group": lambda g: GroupConv2d(3, 2, 3, g, padding=1, dilation=2),
    "group without bias": lambda g: GroupConv2d(3, 2, 2, g, bias=False, stride=2),
    "depthwise": lambda g: DepthwiseGroupConv2d(3, 3, g, padding="same", padding_mode="replicate"),
    "two-step": lambda g: DepthwiseSeparableGroupConv2d(3, 2, 3, g, padding=1),
    "gc": lambda g: SeparableGroupConv2d(3, 2, 3, g, padding=1, padding_mode="circular"),
    "gc, rank 3": lambda g: SeparableGroupConv2d(3, 2, 3, g, rank=3, padding=1, stride=2),
    "g, rank 2": lambda g: SeparableGroupConv2d(3, 2, 3, g, sharing="g", rank=min(2, g.order), padding=1),
    "gc, strided": lambda g: SeparableGroupConv2d(3, 2, 3, g, stride=2, dilation=2, bias=False, execution="separable"),
    "gc, fourier": lambda g: SeparableGroupConv2d(3, 2, 4, g, execution="fourier", padding=2, padding_mode="reflect"),
    "gc, composed": lambda g: SeparableGroupConv2d(3, 2, 3, g, execution="composed"),
    "g": lambda g: SeparableGroupConv2d(3, 2, 3, g, sharing="g", padding=1),
    "batch norm": lambda g: GroupBatchNorm2d(3),
    "batch norm, not affine": lambda g: GroupBatchNorm2d(3, affine=False, eps=0.1),
    "layer norm": lambda g: GroupLayerNorm(3),
    "layer norm, no bias": lambda g: GroupLayerNorm(3, bias=False),
    "layer norm, not affine": lambda g: GroupLayerNorm(3, affine=False),
    "max pool": lambda g: MaxPool2d(3, 2, 1, 2),
    "average pool": lambda g: AvgPool2d(2, padding=1),
    "adaptive pool": lambda g: AdaptiveAvgPool2d(3),
    "pose maximum": lambda g: GroupMaxPool(),
    "pose mean": lambda g: GroupMeanPool(),
    "dropout": lambda g: GroupDropout(0.5),
    "instance norm": lambda g: GroupInstanceNorm2d(3),
    "group norm": lambda g: GroupGroupNorm(3, 3, bias=False),
    "layer scale": lambda g: LayerScale(3),
    "drop path": lambda g: DropPath(0.5),
    "antialiased pool": lambda g: AntialiasedMaxPool2d(3, 2, 1, blur_size=5),
    "restriction": lambda g: RestrictGroup(g, "p1"),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.covering(1)
def test_every_layer_on_every_group(group, kind, stir):
    layer = stir(LAYERS[kind](group))
    x = torch.randn(2, 3, 9, 8) if kind == "lifting" else torch.randn(2, 3, group.order, 9, 8)
    assert_plain(layer, x)


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
@pytest.mark.parametrize("composed", [False, True])
def test_padding_modes(mode, composed, stir):
    layer = stir(SeparableGroupConv2d(2, 2, (3, 1), "pmm", padding=(2, 1), padding_mode=mode))
    plain = assert_plain(layer, torch.randn(2, 2, 4, 7, 8), composed=composed)
    assert len(layers_of(plain, nn.Conv2d)) == 2 - composed


def network(name, **options):
    size = {"widths": (2, 3, 4)} if "resnet" in name else {"width": 3}
    return sepgconv.create_model(name, **size, **options)


EXECUTIONS = [
    (name, {"execution": execution} | ({"recompute": True} if execution == "separable" else {}))
    for name in ("g_p4cnn", "gc_p4cnn")
    for execution in ("separable", "composed", "fourier")
    if (name, execution) != ("g_p4cnn", "fourier")
]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in sepgconv.list_models()),
        *EXECUTIONS,
        *(("gc_p4cnn", {"group": group}) for group in ("p2", "pm", "pmm", "p4m", "cm", "cmm")),
        *(
            (name, {"downsampling": "exact", "head": "invariant"})
            for name in ("p4m_resnet44", "g_p4m_resnet44", "gc_p4m_resnet44")
        ),
    ],
)
def test_every_network(name, options, stir):
    model = stir(network(name, **options))
    side = model.min_input_size if "cnn" in name else 8
    plain = assert_plain(model, torch.randn(2, model.in_channels, side, side))
    # What follows a convolution that nothing else reads is folded: all of the CNNs, one norm of each of the six blocks
    # of the ResNets, and the first one of the exact ones' blocks that pool only where no pool lies between.
    norms = len(layers_of(plain, nn.BatchNorm2d))
    assert norms == (0 if "cnn" in name else 7 + 2 * bool(options))


def test_networks_in_single_precision(stir):
    for name in ("gc_p4cnn", "gc_p4m_resnet44"):
        model = stir(network(name)).float()
        x = torch.randn(2, model.in_channels, model.input_size, model.input_size, dtype=torch.float32)
        found, expected = to_plain(model)(x), model(x).detach()
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_whichever_needs_fewer_multiplications():
    """A 4 x 4 kernel on a 4 x 4 map is cheaper as one convolution; the others are not."""
    plain = to_plain(network("gc_p4cnn"), input_shape=(1, 28, 28))
    two_steps = [name for name, _ in plain.named_modules() if name.endswith("depthwise")]
    assert two_steps == [f"features.{i}.0.depthwise" for i in (1, 3, 4, 5, 6)]
    assert isinstance(plain.get_submodule("features.7.0"), nn.Conv2d)
    large = to_plain(network("gc_p4cnn"), input_shape=(1, 40, 40))
    assert sum(name.endswith("depthwise") for name, _ in large.named_modules()) == 6
    assert not [n for n, _ in to_plain(network("gc_p4cnn"), composed=True).named_modules() if n.endswith("depthwise")]


class Block(nn.Module):
    """What users write between layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = GroupConv2d(2, 2, 3, "p4", padding=1), GroupConv2d(2, 2, 3, "p4", padding=1)
        self.norm, self.relu = GroupBatchNorm2d(2), nn.ReLU(inplace=True)
        self.scale = nn.Parameter(torch.rand(1, 2, 1, 1, 1) + 0.5)

    def forward(self, x):
        kept = x
        x = self.relu(self.norm(self.first(x)))
        x = F.dropout(self.second(x), 0.5, self.training) * self.scale
        x += kept
        return F.relu(x, inplace=True)


class Readout(nn.Module):
    def forward(self, x):
        if x.shape[2] != 4 or len(x.shape) != 5:
            raise ValueError(f"expected maps of p4, got {tuple(x.shape)}")
        both = torch.cat([x, 1 - x.sigmoid()], dim=1)
        poses = [functional.group_max_pool(both), both.mean(2)]
        joined = sum(pose.mean((-2, -1)) for pose in poses)
        return joined.view(x.shape[0], -1)


def users_network(block=Block):
    return Sequential(
        LiftingConv2d(1, 2, 3, "p4"), GroupBatchNorm2d(2), block(), MaxPool2d(2), block(), Readout(), nn.Linear(4, 3)
    )


def test_code_between_the_layers(stir):
    plain = assert_plain(stir(users_network()), torch.randn(2, 1, 12, 10))
    assert not layers_of(plain, nn.BatchNorm2d)
    assert all(torch.isfinite(plain(torch.randn(n, 1, h, w))).all() for n, h, w in [(1, 8, 8), (5, 15, 20)])


def test_poses_are_unfolded_only_where_the_code_needs_it(stir):
    plain = to_plain(stir(network("gc_p4m_resnet44")))
    assert [n.target for n in plain.graph.nodes if n.op == "call_method"] == [
        "unflatten",
        "transpose",
        "mean",
        "flatten",
    ]


def test_a_norm_is_folded_only_where_nothing_else_reads_the_convolution(stir):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.lift, self.norm = LiftingConv2d(1, 2, 3, "p4"), GroupBatchNorm2d(2)
            self.conv = GroupConv2d(2, 2, 3, "p4", padding=1)

        def forward(self, x):
            x = self.lift(x)
            return x + self.norm(x)

    assert len(layers_of(assert_plain(stir(Twice()), torch.randn(2, 1, 8, 8)), nn.BatchNorm2d)) == 1
    convolution, norm = GroupConv2d(2, 2, 3, "p4", padding=1), GroupBatchNorm2d(2)
    shared = Sequential(LiftingConv2d(1, 2, 3, "p4"), convolution, norm, nn.ReLU(), convolution, nn.ReLU(), norm)
    plain = assert_plain(stir(shared), torch.randn(2, 1, 8, 8))
    assert len(layers_of(plain, nn.Conv2d)) == 2
    assert len(layers_of(plain, nn.BatchNorm2d)) == 1


def test_an_activation_writes_only_over_what_nothing_else_reads(stir):
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.lift, self.first, self.second = LiftingConv2d(1, 2, 3, "p4"), nn.ReLU(), nn.ReLU()

        def forward(self, x):
            maps = self.lift(self.first(x) - x)
            return self.second(maps) - maps

    model, x = stir(Reads()), torch.randn(2, 1, 8, 8)
    plain, before = assert_plain(model, x), x.clone()
    plain(x)
    assert torch.equal(x, before)
    chain = to_plain(nn.Sequential(LiftingConv2d(1, 2, 3, "p4"), nn.ReLU(), MaxPool2d(2), nn.ReLU()))
    assert [relu.inplace for relu in layers_of(chain, nn.ReLU)] == [True, False]


def test_names_for_one_tensor_that_is_written_over(stir):
    """What is changed in place is changed for every name it has, as in the network."""

    class Renames(nn.Module):
        def __init__(self):
            super().__init__()
            self.lift, self.same, self.relu = LiftingConv2d(1, 2, 3, "p4"), nn.Identity(), nn.ReLU(inplace=True)

        def forward(self, x):
            maps = self.lift(x)
            same, half = self.same(maps), maps * 0.5
            self.relu(maps)
            same -= 0.25
            return maps.mul_(2) + same + half

    assert_plain(stir(Renames()), torch.randn(2, 1, 8, 8))


def test_ordinary_layers_stay(stir):
    image = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.GELU(), nn.MaxPool2d(2, ceil_mode=True), nn.Dropout2d(),
        LiftingConv2d(3, 2, 3, "p4m"), nn.PReLU(2), nn.Identity(), nn.InstanceNorm3d(2), GroupMeanPool(),
        nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    assert_plain(stir(image), torch.randn(2, 2, 13, 12))


def test_sync_batch_norm_and_weights_made_by_others(stir):
    model = stir(network("p4cnn"))
    nn.utils.parametrizations.weight_norm(model.features[1][0])
    assert_plain(nn.SyncBatchNorm.convert_sync_batchnorm(model).eval(), torch.randn(2, 1, 28, 28))


def test_the_networks_of_several_outputs(stir):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.lift, self.pool = LiftingConv2d(1, 2, 3, "p4"), GroupMaxPool()

        def forward(self, x):
            maps = self.lift(x)
            return {"maps": maps, "pooled": (self.pool(maps), maps.shape[2])}

    model, x = stir(Two()), torch.randn(2, 1, 8, 8)
    found, expected = to_plain(model)(x), model(x)
    torch.testing.assert_close(found["maps"], expected["maps"])
    assert found["pooled"][1] == 4


@pytest.mark.parametrize("name", sepgconv.list_models())
def test_weights_are_contiguous(stir, name, tmp_path):
    """safetensors refuses others."""
    from safetensors.torch import load_file, save_file

    model = stir(network(name))
    plain = to_plain(model)
    state = plain.state_dict()
    assert all(tensor.is_contiguous() for tensor in state.values())
    save_file(state, tmp_path / "net.safetensors")
    again = to_plain(stir(network(name)))
    again.load_state_dict(load_file(tmp_path / "net.safetensors"))
    x = torch.randn(1, model.in_channels, model.input_size, model.input_size)
    torch.testing.assert_close(again(x), model(x))


def test_weights_of_other_layouts_become_contiguous(stir):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), LiftingConv2d(3, 2, 3, "p4"), GroupMaxPool(), nn.PReLU(2))
    plain = assert_plain(stir(model.to(memory_format=torch.channels_last)), torch.randn(2, 2, 9, 8))
    assert all(tensor.is_contiguous() for tensor in plain.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_converted_in_single(dtype):
    """The answers are the network's to rounding, and the weights are those of its copy in float32, rounded."""
    torch.manual_seed(0)
    model = network("gc_p4cnn").eval().to(dtype)
    plain, fine = to_plain(model), to_plain(copy.deepcopy(model).float())
    assert {parameter.dtype for parameter in plain.parameters()} == {dtype}
    for key, tensor in fine.state_dict().items():
        assert torch.equal(plain.state_dict()[key], tensor.to(dtype) if tensor.is_floating_point() else tensor), key
    x = torch.randn(2, 1, 28, 28).to(dtype)
    expected = model(x).detach()
    torch.testing.assert_close(plain(x), expected, rtol=0, atol=0.03 * float(expected.abs().max()))


def test_a_small_fault_of_a_conversion_in_half_precision_is_found(monkeypatch):
    from sepgconv.convert.plain import network as module

    fold = module.fold_norms

    def wrong(plain):
        fold(plain)
        plain.get_submodule("0").weight.data.mul_(1.01)

    model = nn.Sequential(LiftingConv2d(1, 3, 3, "p4"), GroupMaxPool(), nn.Flatten()).eval().bfloat16()
    assert to_plain(model)
    monkeypatch.setattr(module, "fold_norms", wrong)
    with pytest.raises(ValueError, match="the plain network differs by"):
        to_plain(model)


def test_code_that_fixes_its_precision():
    """It cannot be run in float32, and is converted as it is."""

    class Fixed(nn.Module):
        def forward(self, x):
            return torch.nn.functional.linear(x.mean((2, 3)), x.new_ones(2, 3).to(torch.bfloat16))

    model = nn.Sequential(LiftingConv2d(1, 3, 3, "p4"), GroupMaxPool(), Fixed()).eval().bfloat16()
    x = torch.randn(2, 1, 9, 9).bfloat16()
    torch.testing.assert_close(to_plain(model)(x), model(x), rtol=0.02, atol=0.02)


def test_nothing_random_is_drawn_and_training_mode_stays():
    model = network("gc_p4cnn").train()
    before = torch.get_rng_state()
    plain = to_plain(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert not plain.training


def test_equivariance_stays(stir):
    sepgconv.testing.assert_equivariant(to_plain(stir(network("gc_p4cnn"))), "p4", torch.randn(2, 1, 28, 28))


def test_the_result_can_be_converted_copied_and_trained(stir):
    plain, x = to_plain(stir(network("p4cnn"))), torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(to_plain(plain, input_shape=(1, 28, 28))(x), plain(x))
    torch.testing.assert_close(copy.deepcopy(plain)(x), plain(x))
    plain(x).sum().backward()
    assert all(parameter.grad is not None for parameter in plain.parameters())


def test_it_is_written_in_torch_only(stir):
    plain = to_plain(stir(users_network()), input_shape=(1, 12, 10))
    assert isinstance(plain, fx.GraphModule)
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    assert b"sepgconv" not in buffer.getvalue()
    assert "unflatten" in plain.code


def test_a_dilated_and_padded_pool_stays_within_its_maps():
    """Where a window lies in the padding whole, torch's own pool reads and writes beside the maps."""
    net = nn.Sequential(LiftingConv2d(1, 2, 1, "p4"), MaxPool2d(2, padding=1, dilation=3), GroupMaxPool()).eval()
    plain = assert_plain(net, torch.randn(2, 1, 8, 8))
    for height, width in ((2, 8), (8, 2), (1, 1)):
        with pytest.raises(AssertionError, match="than one step of its dilation, 3"):
            plain(torch.randn(1, 1, height, width))
    ordinary = to_plain(nn.Sequential(LiftingConv2d(1, 2, 1, "p4"), MaxPool2d(3, 2, 1)).eval(), input_shape=(1, 8, 8))
    assert "_assert" not in ordinary.code
