"""`groups=J`: a layer is J layers on slices of the channels, in every kind, execution, mode and tool."""

import copy
import inspect
import itertools

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.analysis import certify, cost, redundancy
from sepgconv.convert import separate, to_onnx, to_plain
from sepgconv.convert.plain.onnx import open_session
from sepgconv.inference import FrozenConv2d, compile_for_inference
from sepgconv.nn import (
    DepthwiseGroupConv2d,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupMaxPool,
    LiftingConv2d,
    NormActConv,
    SeparableGroupConv2d,
)
from tests.covering import each

IN, OUT = 4, 8
KINDS = {
    "lifting": (LiftingConv2d, {}),
    "full": (GroupConv2d, {}),
    "gc separable": (SeparableGroupConv2d, {"execution": "separable"}),
    "gc composed": (SeparableGroupConv2d, {"execution": "composed"}),
    "gc auto": (SeparableGroupConv2d, {}),
    "gc rank 2": (SeparableGroupConv2d, {"rank": 2, "execution": "separable"}),
    "gc rank 2 composed": (SeparableGroupConv2d, {"rank": 2, "execution": "composed"}),
    "gc recomputed": (SeparableGroupConv2d, {"execution": "separable", "recompute": True}),
    "g composed": (SeparableGroupConv2d, {"sharing": "g", "execution": "composed"}),
    "g rank 2": (SeparableGroupConv2d, {"sharing": "g", "rank": 2}),
}
GEOMETRIES = [
    {},
    {"padding": 1},
    {"stride": 2, "padding": 1},
    {"dilation": 2, "padding": 2, "padding_mode": "circular"},
    {"padding": 1, "padding_mode": "reflect", "bias": False},
    {"padding": "same", "padding_mode": "replicate"},
]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def build(kind, group="p4", groups=2, inside=IN, outside=OUT, package=sepgconv, **options):
    front, more = KINDS[kind]
    return getattr(package.nn, front.__name__)(inside, outside, 3, group, groups=groups, **more, **options)


def maps(kind, group="p4", batch=2, height=7, width=9, **options):
    poses = () if kind == "lifting" else (sepgconv.group(group).order,)
    return torch.randn(batch, IN, *poses, height, width, **options)


def slices(layer, kind, group="p4", **options):
    """J layers without channel groups, each with the weights of a slice of the output's channels."""
    count = layer.groups
    inside, outside = layer.in_channels // count, layer.out_channels // count
    parts = [build(kind, group, 1, inside, outside, **options) for _ in range(count)]
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            for part, piece in zip(parts, weight.chunk(count), strict=True):
                part.get_parameter(name).copy_(piece)
    return [part.to(weight) for part in parts]


def by_slices(parts, x):
    return torch.cat([part(piece) for part, piece in zip(parts, x.chunk(len(parts), 1), strict=True)], 1)


def outcome(run, x, parameters):
    x = x.detach().clone().requires_grad_()
    y = run(x)
    return [y, *torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).to(y).view(y.shape)).sum(), [x, *parameters])]


def gradients_by_slices(parts, x):
    names = [name for name, _ in parts[0].named_parameters()]
    flat = [part.get_parameter(name) for name in names for part in parts]
    y, by_x, *rest = outcome(lambda x: by_slices(parts, x), x, flat)
    count = len(parts)
    return [y, by_x, *(torch.cat(rest[i * count : (i + 1) * count]) for i in range(len(names)))]


@pytest.mark.usefixtures("float64")
@each("geometry", GEOMETRIES)
def test_a_layer_is_layers_on_slices(kind, geometry):
    layer = build(kind, **geometry)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    x, parts = maps(kind), slices(layer, kind, **geometry)
    torch.testing.assert_close(outcome(layer, x, layer.parameters()), gradients_by_slices(parts, x))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), by_slices(parts, x))


@pytest.mark.usefixtures("float64")
@each("kind", KINDS)
def test_on_every_group(group, kind):
    if "rank" in kind and group.order == 1:  # the full rank of filters that read one number is 1
        return
    layer, x = build(kind, group.name, 4, padding=1), maps(kind, group.name)
    parts = slices(layer, kind, group.name, padding=1)
    torch.testing.assert_close(outcome(layer, x, layer.parameters()), gradients_by_slices(parts, x))


def test_the_comparison_sees_channels_of_another_group(kind):
    """Negative control: the slices of the input in another order."""
    layer, x = build(kind), maps(kind)
    parts = slices(layer, kind)
    assert torch.allclose(layer(x), by_slices(parts, x), atol=1e-5)
    assert not torch.allclose(layer(x), by_slices(parts, x.roll(2, 1)), atol=1e-2)
    assert not torch.allclose(layer(x), by_slices(parts[::-1], x), atol=1e-2)


@pytest.mark.usefixtures("float64")
def test_as_many_groups_as_channels(kind):
    layer, x = build(kind, groups=IN), maps(kind)
    torch.testing.assert_close(layer(x), by_slices(slices(layer, kind), x))
    name, shape = layer.spec.shapes[0]
    assert shape[1 + (layer.spec.rank > 1)] == 1, name


@pytest.mark.usefixtures("float64")
def test_a_depthwise_convolution_is_a_full_one_that_reads_one_pose():
    full, depthwise = GroupConv2d(3, 3, 3, "p4m", groups=3, padding=1), DepthwiseGroupConv2d(3, 3, "p4m", padding=1)
    with torch.no_grad():
        full.weight.zero_()
        full.weight[:, 0, 0] = depthwise.weight
        full.bias.copy_(depthwise.bias.normal_())
    x = torch.randn(2, 3, 8, 6, 5)
    torch.testing.assert_close(full(x), depthwise(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"groups": 2, "execution": "fourier"},
            'execution="fourier" mixes all channels and needs groups=1, got groups=2',
        ),
        (
            {"groups": 2, "sharing": "g", "execution": "separable"},
            'execution="separable" with sharing="g" needs groups=1, got groups=2',
        ),
        ({"groups": 4, "rank": 10}, "rank must be an integer from 1 to 4"),
        ({"groups": 3}, "groups must be a positive integer that divides in_channels=4 and out_channels=8, got 3"),
    ],
)
def test_what_there_is_not_is_one_sentence(options, message):
    with pytest.raises(ValueError, match=message) as error:
        SeparableGroupConv2d(IN, OUT, 3, "p4", **options)
    assert "\n" not in str(error.value)


def test_an_execution_that_was_assigned_later_is_checked():
    layer = SeparableGroupConv2d(IN, OUT, 3, "p4", groups=2)
    layer.execution = "fourier"
    with pytest.raises(ValueError, match="needs groups=1, got groups=2"):
        layer(maps("gc auto"))


def test_auto_is_an_execution_that_there_is(kind):
    layer = build(kind)
    for side in (3, 8, 64):
        assert layer.selected_execution(side, side) in layer.spec.kind.work(layer.spec, (side, side))


# torch's own modules, at import and while they trace.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["full", "gc separable", "g composed"])
def test_compiled(name, as_installed):
    torch._dynamo.reset()
    layer, x = build(name, package=as_installed, padding=1), maps(name)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    found, expected = (outcome(run, x, layer.parameters()) for run in (compiled, layer))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def network(kind, group="p4"):
    """A grouped layer with a batch norm to be folded into it, below a classifier."""
    steps = [] if kind == "lifting" else [LiftingConv2d(IN, IN, 3, group, padding=1), nn.ReLU()]
    layers = [*steps, build(kind, group, padding=1), GroupBatchNorm2d(OUT), nn.ReLU(), GroupMaxPool()]
    return nn.Sequential(*layers)


@pytest.fixture
def settled(kind, stir):
    return stir(network(kind))


SHAPE = (IN, 9, 9)
SAME = {"rtol": 1e-4, "atol": 1e-4}


def test_frozen_with_the_norm_folded_in(settled):
    frozen, x = compile_for_inference(settled, input_shape=SHAPE), torch.randn(3, *SHAPE)
    grouped = [layer for layer in frozen if isinstance(layer, FrozenConv2d)][-1]
    assert grouped.spec.groups == 2
    assert grouped.relu
    assert not any(isinstance(layer, sepgconv.inference.FrozenNorm2d) for layer in frozen)
    torch.testing.assert_close(frozen(x), settled(x), **SAME)


def test_a_scale_for_the_wrong_channels_is_seen(settled):
    """Negative control of the folding: the scales of one channel group at the other one."""
    frozen, x = compile_for_inference(settled, input_shape=SHAPE), torch.randn(3, *SHAPE)
    grouped = [layer for layer in frozen if isinstance(layer, FrozenConv2d)][-1]
    scale = torch.linspace(0.5, 2, OUT)
    grouped.scale_output(scale, torch.zeros(OUT))
    grouped.scale_output(1 / scale.roll(OUT // 2), torch.zeros(OUT))
    assert not torch.allclose(frozen(x), settled(x), **SAME)


@each("composed", [None, True, False])
def test_plain(settled, composed):
    plain, x = to_plain(settled, input_shape=SHAPE, composed=composed), torch.randn(3, IN, 11, 9)
    torch.testing.assert_close(plain(x), settled(x), **SAME)
    groups = [layer.groups for layer in plain.modules() if isinstance(layer, nn.Conv2d)]
    assert max(groups) >= 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx(stir, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, x = stir(network("gc separable")), torch.randn(1, *SHAPE)
    export = to_onnx(model, tmp_path / "network.onnx", input_shape=SHAPE)
    torch.testing.assert_close(open_session(export.path)(x), model(x), **SAME)


def test_certified_exact(settled):
    assert certify(settled, "p4", SHAPE).exact


def test_counted_as_one_group_of_the_slices(kind):
    """The mixing and the full convolutions cost 1/J; so does the filtering of g, not that of gc, which has no sum."""
    layers = [build(kind, groups=groups, padding=1) for groups in (1, 2)]
    whole, split = (
        cost(nn.Sequential(*([] if kind == "lifting" else [LiftingConv2d(IN, IN, 1, "p4")]), layer), SHAPE).layers[-1]
        for layer in layers
    )
    out = OUT * 4 * 9 * 9
    filtering = 9 * layers[0].spec.rank * out if kind.startswith("gc") else 0
    assert split.nominal_macs - filtering == (whole.nominal_macs - filtering) // 2
    if kind.startswith(("lifting", "full")) or "composed" in kind:
        assert split.executed_macs * 2 == whole.executed_macs
    assert split.parameters < whole.parameters


def test_a_block_with_channel_groups_runs_as_one_step():
    options = {"padding": 1, "groups": 2, "recompute": True}
    blocks = [NormActConv(IN, OUT, 3, "p4", joint=joint, **options) for joint in (True, False)]
    blocks[1].load_state_dict(blocks[0].state_dict())
    x = maps("gc auto")
    found, expected = (outcome(block, x, block.parameters()) for block in blocks)
    torch.testing.assert_close(found, expected, **SAME)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sharing", ["gc", "g"])
def test_separated_at_full_rank(sharing):
    layer = GroupConv2d(IN, OUT, 3, "p4", padding=1, groups=2).eval()
    nn.init.normal_(layer.bias)
    separation = separate(layer, sharing, rank=99)
    found = separation.model
    assert isinstance(found, SeparableGroupConv2d)
    assert (found.groups, found.sharing) == (2, sharing)
    assert found.rank == {"gc": min(9, IN // 2 * 4), "g": 4}[sharing]
    x = maps("full")
    torch.testing.assert_close(found(x), layer(x))
    torch.testing.assert_close(found.compose(), layer.weight)


def test_redundancy_looks_at_the_filters_of_the_slices(kind):
    layer = build(kind)
    found = redundancy(layer, input_shape=None).layers[0]
    assert found.bank.shape[:2] == (OUT, IN // 2)
    parts = [redundancy(part).layers[0] for part in slices(layer, kind)]
    torch.testing.assert_close(found.bank, torch.cat([part.bank for part in parts]))
    torch.testing.assert_close(found.invariance, torch.cat([part.invariance for part in parts]))
    if kind == "full":
        option = found.option("gc", 1)
        assert option.parameters_after == sum(
            p.numel() for p in SeparableGroupConv2d(IN, OUT, 3, "p4", groups=2).parameters()
        )


@each("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(kind, dtype):
    layer, x = build(kind, padding=1), maps(kind)
    expected, tolerance = layer(x), {"rtol": 5e-2, "atol": 5e-2}
    with torch.autocast("cpu", dtype):
        mixed = layer(x)
    assert mixed.dtype == dtype
    torch.testing.assert_close(mixed.float(), expected, **tolerance)
    mixed.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layer.parameters())
    half = copy.deepcopy(layer).to(dtype)(x.to(dtype))
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), expected, **tolerance)


@each("front", [LiftingConv2d, GroupConv2d, SeparableGroupConv2d])
def test_positional_arguments_are_those_of_torch(front):
    ours = [name for name, p in inspect.signature(front).parameters.items() if p.kind is not p.KEYWORD_ONLY]
    torchs = list(inspect.signature(nn.Conv2d).parameters)
    assert ours[:4] == [*torchs[:3], "group"]
    assert ours[4:] == torchs[3:]
    layer = front(IN, OUT, 3, "p4", 2, 1, 1, 2, False, "reflect", "cpu", torch.float64)
    assert (layer.stride, layer.padding, layer.groups, layer.bias) == ((2, 2), (1, 1), 2, None)
    assert (layer.padding_mode, next(layer.parameters()).dtype) == ("reflect", torch.float64)


def test_the_depthwise_layer_has_them_without_groups():
    ours = [n for n, p in inspect.signature(DepthwiseGroupConv2d).parameters.items() if p.kind is not p.KEYWORD_ONLY]
    torchs = [name for name in inspect.signature(nn.Conv2d).parameters if name not in ("out_channels", "groups")]
    assert ours[0] in ("channels", "in_channels")
    assert [*ours[1:2], *ours[3:]] == torchs[1:]


def test_repr_and_state(kind):
    layer = build(kind)
    assert "groups=2" in repr(layer)
    twin = build(kind)
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(twin(x := maps(kind)), layer(x))
    whole = build(kind, groups=1)
    with pytest.raises(RuntimeError, match="size mismatch"):
        whole.load_state_dict(layer.state_dict())


def test_drawn_so_that_the_variance_stays():
    """E[y^2] = 2 E[x^2] with channel groups as without."""
    for kind, groups in itertools.product(("lifting", "full", "gc separable", "g composed"), (1, 4)):
        front, options = KINDS[kind]
        layer = front(64, 64, 3, "p4", groups=groups, bias=False, **options)
        poses = () if kind == "lifting" else (4,)
        with torch.no_grad():
            y = layer(torch.randn(2, 64, *poses, 12, 12))
        assert 1.5 < y.square().mean() < 2.6, (kind, groups, y.square().mean())
