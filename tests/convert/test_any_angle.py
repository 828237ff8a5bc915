"""Every tool on groups of any angle and on steerable kernels, beside the convolutions written from their definition."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F

import sepgconv
from sepgconv import compile_for_inference, create_model, load, save
from sepgconv.analysis import cost
from sepgconv.convert import equivariant, to_plain
from sepgconv.convert.rebuild.windows import FixedFilter
from sepgconv.inference import FrozenConv2d
from sepgconv.nn import (
    DepthwiseSeparableGroupConv2d,
    GroupConv2d,
    GroupConvLayer,
    LiftingConv2d,
    SeparableGroupConv2d,
)
from sepgconv.symmetry import FiniteGroup, Irrep, SteerableBasis, pose_division
from sepgconv.testing import TOLERANCE
from tests.convert.any_angle import layers
from tests.covering import each, named

# Even and odd numbers of turns, with mirrors and without, and a group of the grid whose kernels are steerable.
GROUPS = [("C8", "auto"), ("D8", "auto"), ("D6", "auto"), ("C3", "auto"), ("p4", "steerable")]
SHAPE = (1, 9, 9)
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own
SAME = {"rtol": 1e-10, "atol": 1e-10}


def moved(basis, weight):
    """`T_h K` for every h, from the matrix M of the basis: (..., n) -> (..., |G|, k, k)."""
    found = torch.einsum("gtn,...n->...gt", torch.tensor(basis.matrix), weight)
    return found.unflatten(-1, basis.size)


def by_definition(layer, x):
    """The equations of theory.md, Convolutions, with every filter written out for every pair of poses."""
    spec, axes = layer.spec, len(layer.spec.basis.weight_shape)
    weights = {n: w if n == "pointwise" else w.flatten(-axes) for n, w in layer.weights().items()}
    poses, basis, pad = range(spec.order), spec.basis, spec.geometry.padding
    kind, divide = spec.kind.name, pose_division(spec.group)
    if kind == "depthwise":
        kernels = moved(basis, weights["weight"])  # (n, h, k, k)
        pairs = itertools.product(range(len(kernels)), poses)
        maps = [F.conv2d(x[:, n, h][:, None], kernels[n, h][None, None], padding=pad) for n, h in pairs]
        out = torch.cat(maps, 1).unflatten(1, (len(kernels), -1))
    else:
        if kind in ("gc", "g"):
            w, k = weights["pointwise"], weights["depthwise"]
            w, k = (w, k) if spec.rank > 1 else (w.unsqueeze(1), k.unsqueeze(1))
            bank = torch.einsum("nrcg,nrm->ncgm" if kind == "gc" else "nrcg,nrcm->ncgm", w, k)
        else:
            bank = weights["weight"] if kind == "full" else weights["weight"].unsqueeze(2)
        filters = moved(basis, bank)  # (n, c, g, h, k, k)
        inside = poses if kind != "lifting" else [0]
        rows = [
            torch.stack([filters[:, :, divide[h, g] if kind != "lifting" else 0, h] for g in inside], 2) for h in poses
        ]  # of each h (n, c, g, k, k)
        maps = x.flatten(1, 2) if kind != "lifting" else x
        out = torch.stack([F.conv2d(maps, row.flatten(1, 2), padding=pad) for row in rows], 2)
    return out if layer.bias is None else out + layer.bias[:, None, None, None]


def answers(network, x):
    """What a network gives by the definitions."""
    for module in network.children():
        if isinstance(module, DepthwiseSeparableGroupConv2d):
            x = answers(module, x)
        else:
            x = by_definition(module, x) if isinstance(module, GroupConvLayer) else module(x)
    return x


@pytest.fixture
def network(stir):
    """A network in evaluation mode, in float64."""

    def build(group, kernel="auto", execution="fourier"):
        return stir(layers(sepgconv, group, kernel, execution).double())

    return build


def never(*arguments, **keywords):
    raise AssertionError("the filters are made again")


@torch.no_grad()
@pytest.mark.parametrize(("group", "kernel"), GROUPS)
def test_networks_whose_filters_are_made_once(group, kernel, network, monkeypatch):
    """As ordinary layers and frozen, in every execution: the numbers of the definition, and no filter is made again."""
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    model = network(group, kernel)
    expected = answers(model, x)
    torch.testing.assert_close(model(x), expected, **SAME)
    made = {f"plain, {composed}": to_plain(model, input_shape=SHAPE, composed=composed) for composed in (True, False)}
    for execution in ("separable", "fourier", "composed"):
        other = network(group, kernel, execution)
        other.load_state_dict(model.state_dict())
        frozen = made[execution] = compile_for_inference(other, input_shape=SHAPE)
        mixed = [layer for layer in frozen if isinstance(layer, FrozenConv2d) and layer.steps == "gc"]
        assert len(mixed) == (2 if execution != "composed" else 0)
        blocks = len(model[0].group.fft.blocks) if execution == "fourier" else 1
        assert all(len(layer.mixing) == blocks for layer in mixed)
        made[f"{execution}, pickled"] = pickle.loads(pickle.dumps(copy.deepcopy(frozen)))
    monkeypatch.setattr(SteerableBasis, "expand", never)
    for name, run in made.items():
        with named(name=name):
            torch.testing.assert_close(run(x), expected, **SAME)
    with pytest.raises(AssertionError, match="made again"):  # negative control: the network itself
        model(x)


@torch.no_grad()
@each(("index", "name"), [(0, "weight"), (3, "pointwise"), (3, "depthwise"), (8, "weight"), (11, "weight")])
def test_the_definition_sees_other_numbers_in_each_layer(index, name):
    """Negative control: two weights of one layer exchanged."""
    model, x = layers(sepgconv, "C8").double(), torch.randn(2, *SHAPE, dtype=torch.float64)
    wrong = copy.deepcopy(model)
    wrong[index].get_parameter(name).copy_(wrong[index].get_parameter(name).roll(1, -1))
    assert not torch.allclose(wrong(x), answers(model, x), rtol=1e-3)


def error(found, expected):
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


@pytest.mark.parametrize(("group", "kernel"), [("C8", "auto"), ("D6", "auto"), ("p4", "steerable")])
def test_a_network_in_every_way_of_carrying_it_around(group, kernel, stir):
    model, x = stir(layers(sepgconv, group, kernel)), torch.randn(2, *SHAPE)
    with torch.no_grad():
        expected = model(x)
        for dtype in (torch.float64, torch.bfloat16, torch.float16):
            limit = TOLERANCE[torch.float32 if dtype == torch.float64 else dtype] * 5  # nine layers deep
            half = copy.deepcopy(model).to(dtype)
            for run in (half, to_plain(half, input_shape=SHAPE), compile_for_inference(half, input_shape=SHAPE)):
                with named(dtype=dtype, run=type(run).__name__):
                    assert error(run(x.to(dtype)), expected) < limit
        assert torch.equal(pickle.loads(pickle.dumps(copy.deepcopy(model)))(x), expected)
        assert torch.equal(nn.DataParallel(model)(x), expected)
        with torch.device("meta"):
            blank = layers(sepgconv, group, kernel).eval()
        assert torch.equal(torch.func.functional_call(blank, model.state_dict(), (x,)), expected)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    assert error(y.detach(), expected) < 5 * TOLERANCE[torch.bfloat16]
    y.float().square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # of torch's own pool
def test_derivatives_of_every_kind():
    """Of batches and of each image by `torch.func`, forward, and second ones, which the fast backward pass leaves."""
    model, x = layers(sepgconv, "C6").double().eval(), torch.randn(2, *SHAPE, dtype=torch.float64)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    run = lambda p, z: torch.func.functional_call(model, p, (z,))  # noqa: E731
    torch.testing.assert_close(torch.vmap(lambda z: run(parameters, z))(torch.stack([x, 2 * x]))[0], model(x), **SAME)
    each_image = torch.vmap(torch.func.grad(lambda p, z: run(p, z[None]).square().sum()), (None, 0))(parameters, x)
    for i in range(2):
        expected = torch.autograd.grad(model(x[i : i + 1]).square().sum(), list(model.parameters()))
        torch.testing.assert_close([g[i] for g in each_image.values()], list(expected), rtol=1e-8, atol=1e-8)
    mixing = SeparableGroupConv2d(2, 2, 3, "C8", execution="fourier", dtype=torch.float64)
    maps = torch.randn(1, 2, 8, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(mixing, maps, fast_mode=True)
    assert torch.autograd.gradcheck(mixing, maps, check_forward_ad=True, fast_mode=True)


def test_layers_built_in_any_mode_work_afterwards():
    """What the library keeps is made outside of the mode in which it is first asked for."""
    modes = {"C11": torch.device("meta"), "C13": FakeTensorMode(), "D7": torch.inference_mode()}
    for group, mode in modes.items():
        with named(group=group):
            order = sepgconv.group(group).order
            build = lambda: SeparableGroupConv2d(2, 2, 3, group, execution="fourier")  # noqa: B023, E731
            with mode:
                build()(torch.randn(1, 2, order, 4, 4))
            maps = torch.randn(1, 2, order, 4, 4, requires_grad=True)
            layer = build()
            layer(maps).sum().backward()
            assert all(p.grad.isfinite().all() for p in layer.parameters())
            assert float(layer.spec.kernel_energy) > 1


@pytest.mark.usefixtures("shallow_resnets")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gc_p4cnn", {"group": "C8", "kernel": "steerable", "width": 2}),
        ("p4cnn", {"group": "p4", "kernel": "steerable", "width": 2}),
        ("gc_p4m_resnet44", {"group": "D8", "widths": (1, 2, 2), "rank": 2, "head": "invariant"}),
    ],
)
def test_models_by_name_are_kept(stir, tmp_path, name, options):
    model = stir(create_model(name, **options))
    found, x = load(save(model, tmp_path)), torch.randn(2, model.in_channels, 28, 28)
    assert found.config == model.config
    assert found.config["group"] == options["group"]
    assert all(isinstance(m.spec.basis, SteerableBasis) for m in found.modules() if isinstance(m, GroupConvLayer)) == (
        "resnet" not in name or sepgconv.group(options["group"]).order > 8
    )
    assert torch.equal(found(x), model(x))
    other = create_model(name, **options | {"group": "p4", "kernel": "pixel"}).eval()  # negative control: other shapes
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(model.state_dict())


@each("group", ["C8", "D8", "C16", "C6", "D6", "C3"])
def test_counts_do_not_depend_on_the_kernels(group):
    """Filters of k x k are run whatever their weights; a kernel has as many parameters as filters of its basis."""
    width, order = 3, sepgconv.group(group).order
    model = nn.Sequential(
        LiftingConv2d(1, width, 3, group, padding=1),
        SeparableGroupConv2d(width, width, 3, group, padding=1, execution="separable"),
        GroupConv2d(width, width, 5, group, padding=2, bias=False),
    )
    report = cost(model, SHAPE)
    numbers = width * order * 81
    by_layer = [9 * numbers, (width * order + 9) * numbers, 25 * width * order * numbers]
    assert [row.nominal_macs for row in report.layers] == [row.executed_macs for row in report.layers] == by_layer
    filters = {3: 6, 5: 15}
    parameters = [width * filters[3] + width, width**2 * order + width * filters[3] + width]
    assert [row.parameters for row in report.layers] == [*parameters, width**2 * order * filters[5]]
    rows = sepgconv.explain(model.eval(), torch.randn(2, *SHAPE)).layers
    assert [row.execution for row in rows] == ["direct", "separable", "direct"]


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.Conv2d(8, 16, 2), nn.ReLU(), nn.Conv2d(16, 16, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


@torch.no_grad()
@each(("group", "sharing"), [("C8", "gc"), ("D6", None), ("C3", "g"), ("C16", "gc")])
def test_ordinary_networks_rebuilt(group, sharing):
    """Within the budget, and exactly invariant under the elements that keep the pixel grid."""
    model = cnn()
    rebuilt = equivariant(model, group, (3, 12, 12), sharing).double().eval()
    assert sum(p.numel() for p in rebuilt.parameters()) <= sum(p.numel() for p in model.parameters())
    x, found = torch.randn(2, 3, 12, 12, dtype=torch.float64), sepgconv.group(group)
    expected = rebuilt(x)
    for element in found.grid_elements:
        torch.testing.assert_close(rebuilt(sepgconv.functional.act(found, element, x)), expected, **SAME)
    assert not torch.allclose(rebuilt(x.roll(1, 0)), expected)  # negative control


BLUR = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
EDGES = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
UNEVEN = BLUR + torch.tensor([[0, 0, 0], [0, 0, 0], [0, 0, 0.01]])


@each(("group", "kept"), [("p4m", [True, False, False]), ("C8", [True, False, False]), ("D6", [True, False, False])])
def test_fixed_filters_must_be_round(group, kept):
    """A blur is, to what steerable kernels are exact to; one that finds edges is not, nor one that is uneven."""
    for kernel, right in zip((BLUR, EDGES, UNEVEN), kept, strict=True):
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), FixedFilter(kernel, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        if right:
            rebuilt = equivariant(model, group, (1, 9, 9)).eval()
            x = torch.randn(2, 1, 9, 9)
            torch.testing.assert_close(rebuilt(x), rebuilt(x.rot90(2, (-2, -1))), rtol=1e-4, atol=1e-4)
        else:
            with pytest.raises(ValueError, match="no element of the group may change it, as one does"):
                equivariant(model, group, (1, 9, 9))


def of_somebody_else(order):
    """C8 as a user writes it: matrices by cos and sin, irreps of other planes, elements in another order."""
    turns = [order.index(a) for a in range(8)]  # where each rotation stands

    def rotation(angle):
        return ((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle)))

    table = tuple(tuple(turns[(a + b) % 8] for b in order) for a in order)
    characters = [Irrep("A", (((1,),),) * 8, 1), Irrep("B", tuple((((-1) ** a,),) for a in order), 1)]
    planes = [Irrep(f"E{k}", tuple(rotation(-2 * math.pi * k * a / 8) for a in order), 1) for k in (3, 1, 2)]
    matrices = tuple(rotation(2 * math.pi * a / 8) for a in order)
    return FiniteGroup("somebody's", table, matrices, (*characters, *planes))


@torch.no_grad()
@each("order", [[0, 1, 2, 3, 4, 5, 6, 7], [0, 7, 6, 5, 4, 3, 2, 1], [0, 3, 6, 1, 5, 2, 7, 4]])
def test_a_group_from_outside_gives_the_same_numbers(order):
    ours, theirs = sepgconv.group("C8"), of_somebody_else(order)
    assert theirs.grid_elements == tuple(g for g, a in enumerate(order) if a % 2 == 0)  # cos(pi / 2) is 6e-17
    for execution in ("separable", "fourier", "composed"):
        mine, other = (layers(sepgconv, group, execution=execution).double().eval() for group in (ours, theirs))
        for (name, given), (_, taken) in itertools.product(mine.named_parameters(), other.named_parameters()):
            if name == _:
                over_poses = given.ndim > 2 and 8 in given.shape
                taken.copy_(given.index_select(given.shape.index(8), torch.tensor(order)) if over_poses else given)
        x = torch.randn(2, *SHAPE, dtype=torch.float64)
        torch.testing.assert_close(other(x), mine(x), **SAME)
        lifted = [network[:9](x) for network in (mine, other)]
        torch.testing.assert_close(lifted[1], lifted[0][:, :, order], **SAME)
        if order[1] != 1:  # negative control: the poses stand in another order
            assert not torch.allclose(lifted[1], lifted[0])
        torch.testing.assert_close(to_plain(other, input_shape=SHAPE)(x), mine(x), **SAME)
