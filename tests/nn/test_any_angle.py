"""Every layer under every element of groups of any angle: exact on the grid, and off it as exact as its kernels are.

On the grid, an image is moved pixel by pixel. Off it, images are sums of waves that are known at every point, and a
layer gives its output between the pixels for a shifted image (`tools.closed_form`): nothing is interpolated. How far a
kernel is off is computed from the basis alone, as the response of its filters to the same waves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sepgconv
import sepgconv.nn as snn
from sepgconv import functional
from sepgconv.convert import to_plain
from sepgconv.symmetry import coset_table, kernel_basis, subgroup_elements
from tests.covering import each, named
from tools import pool_equivariance
from tools.closed_form import draw_waves, element_error, moved_poses, pixel_grid

GROUPS = ["C8", "D8", "C6", "C16"]
ON_GRID = GROUPS[:3]  # those of C16 that keep the grid are those of C8
SUBGROUP = {"C8": "C4", "D8": "C8", "C6": "C3", "C16": "C8"}
C = 6
BAND, WIDTH = 0.5 * math.pi, 4.5  # of the images: the largest frequency, and the window in pixels


@dataclass(frozen=True)
class Row:
    """How a layer is built from the name of a group, and what it loses between the pixels.

    loss: "nothing": it treats every pixel by itself; "sums": over all pixels, which are as exact as images are smooth;
    "kernel", and the factor that a nonlinearity adds to it; "pool": see `POOLS`.
    """

    make: Callable[[str, bool], nn.Module]  # name of a group, and whether sides are odd
    loss: str = "nothing"
    factor: float = 1.0
    image: bool = False
    step: int = 1


def _conv(name, loss="kernel", factor=1.0, **options):
    return Row(lambda g, odd: getattr(snn, name)(C, C, 5 if odd else 4, g, **options), loss, factor)


LAYERS = {
    "lifting": Row(lambda g, odd: snn.LiftingConv2d(C, C, 5 if odd else 4, g), "kernel", image=True),
    "lifting, rings": Row(lambda g, odd: snn.LiftingConv2d(C, C, 5, g, basis="rings"), "kernel", image=True),
    "full": _conv("GroupConv2d"),
    "full, grouped": _conv("GroupConv2d", groups=2),
    "gc": _conv("SeparableGroupConv2d", execution="separable"),
    "gc, fourier": _conv("SeparableGroupConv2d", execution="fourier"),
    "gc, rank 2": _conv("SeparableGroupConv2d", rank=2, execution="composed"),
    "g": _conv("SeparableGroupConv2d", sharing="g"),
    "depthwise": Row(lambda g, odd: snn.DepthwiseGroupConv2d(C, 5 if odd else 4, g), "kernel"),
    "two-step": _conv("DepthwiseSeparableGroupConv2d"),
    "conv, norm, act": _conv("ConvNormAct"),
    "norm, act, conv": _conv("NormActConv", factor=4.0),  # the ReLU makes finer waves than the kernels are for
    "chain": Row(lambda g, odd: snn.ConvNormActSequential(snn.ConvNormAct(C, C, 5, g)), "kernel"),
    "sequential": Row(lambda g, odd: snn.Sequential(snn.GroupConv2d(C, C, 5, g), snn.GroupMaxPool()), "kernel"),
    "batch norm": Row(lambda g, odd: snn.GroupBatchNorm2d(C)),
    "batch norm, training": Row(lambda g, odd: snn.GroupBatchNorm2d(C).train(), "sums"),
    "layer norm": Row(lambda g, odd: snn.GroupLayerNorm(C)),
    "instance norm": Row(lambda g, odd: snn.GroupInstanceNorm2d(C, affine=True), "sums"),
    "group norm": Row(lambda g, odd: snn.GroupGroupNorm(2, C), "sums"),
    "dropout": Row(lambda g, odd: snn.GroupDropout(0.5)),
    "drop path": Row(lambda g, odd: snn.DropPath(0.5)),
    "layer scale": Row(lambda g, odd: snn.LayerScale(C)),
    "relu": Row(lambda g, odd: snn.ReLU()),
    "max pool": Row(lambda g, odd: snn.MaxPool2d(3 if odd else 2, 2), "pool", step=2),
    "average pool": Row(lambda g, odd: snn.AvgPool2d(3 if odd else 2, 2), "pool", step=2),
    "antialiased pool": Row(lambda g, odd: snn.AntialiasedMaxPool2d(3 if odd else 2, 2), "pool", step=2),
    "adaptive pool": Row(lambda g, odd: snn.AdaptiveAvgPool2d(1), "sums"),
    "pose maximum": Row(lambda g, odd: snn.GroupMaxPool()),
    "pose mean": Row(lambda g, odd: snn.GroupMeanPool()),
    "restriction": Row(lambda g, odd: snn.RestrictGroup(g, SUBGROUP[g])),
}
# Off the grid, on waves of up to half the finest: a little above what `python -m tools.pool_equivariance` prints.
POOLS = {"max pool": 0.2, "average pool": 0.04, "antialiased pool": 0.12}


def build(row, name, odd):
    """A layer with all its parameters and statistics at random, in evaluation mode unless the row trains it."""
    module = LAYERS[row].make(name, odd)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.ndim == 1 and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return module if row == "batch norm, training" else module.eval()


def groups_of(row, name):
    """The group that goes in, the one that goes out, and the matrices of the elements that the layer commutes with."""
    before = sepgconv.group(name)
    after = sepgconv.group(SUBGROUP[name]) if row == "restriction" else before
    return before, after, torch.tensor(after.matrices, dtype=torch.float64)


def on_grid(x, group, matrix):
    """Move maps by an element that keeps the grid, pixel by pixel: the value at v is that at M^T v."""
    height, width = x.shape[-2:]
    assert height == width
    source = (pixel_grid(height) @ matrix + (height - 1) / 2).round().long()
    moved = x[..., source[..., 0], source[..., 1]]
    return moved[:, :, moved_poses(group, matrix)] if x.ndim == 5 else moved


def test_every_layer_of_the_package_has_a_row():
    kinds = {type(part).__name__ for row in LAYERS for part in LAYERS[row].make("C8", True).modules()}
    # What GroupToVector gives is no map: test_vectors.py.
    assert set(snn.__all__) - {"GroupConvLayer", "GroupToVector"} <= kinds


@pytest.mark.usefixtures("float64")
@each("row", LAYERS)
def test_exact_on_the_elements_that_keep_the_grid(row):
    for name in ON_GRID:
        before, after, matrices = groups_of(row, name)
        for side in (8, 9):
            module = build(row, name, odd=side % 2 == 1)
            x = torch.randn(2, C, *([] if LAYERS[row].image else [before.order]), side, side)
            y, grid = module(x), after.grid_elements
            moved = torch.cat([on_grid(x, before, matrices[g]) for g in grid])
            for g, found in zip(grid, module(moved).chunk(len(grid)), strict=True):
                with named(group=name, side=side, element=g):
                    expected = on_grid(y, after, matrices[g])
                    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def kernel_error(module, matrix, waves):
    """How much the kernels of a layer miss an element, relative, root mean square over waves and random weights.

    The response of filter n to the wave w is sum_v K_n[v] exp(i w v); that of the moved filter to the moved wave should
    be the same.
    """
    layers = [part for part in module.modules() if isinstance(part, snn.GroupConvLayer)]
    basis = max((layer.spec.basis for layer in layers), key=lambda basis: basis.size)
    matrices = torch.tensor(basis.group.matrices, dtype=torch.float64)
    element = int((matrices - matrix).abs().amax((1, 2)).argmin())
    taps = pixel_grid(basis.size[0]).reshape(-1, 2)
    w, power = waves.frequencies.reshape(-1, 2), waves.amplitudes.flatten().square()

    def responses(w, filters):
        return torch.exp(1j * (w @ taps.T)) @ filters.to(torch.complex128)

    first = responses(w, torch.from_numpy(basis.matrix[0]))
    moved = responses(w @ matrix.T, torch.from_numpy(basis.matrix[element]))
    squares = ((moved - first).abs().square().sum(1) * power).sum()
    return float((squares / (first.abs().square().sum(1) * power).sum()).sqrt())


def side_of(row, odd):
    wide = LAYERS[row].loss == "sums"
    return {True: 37, False: 38}[odd] if wide else {True: 15, False: 14}[odd]


def elements_off_the_grid(row, group):
    """Those that take pixels between pixels; of a large group a few, which are others for the next row."""
    found = sorted({*range(group.order)} - {*group.grid_elements})
    step = {8: 3, 12: 5}.get(len(found), 1)
    return found[list(LAYERS).index(row) % step :: step]


def errors_off_the_grid(row, name, odd, module=None, **options):
    """By element that does not keep the grid: the error of the layer, and what its kernels explain."""
    before, after, matrices = groups_of(row, name)
    module = build(row, name, odd) if module is None else module
    waves = draw_waves(C, *([] if LAYERS[row].image else [before.order]), band=BAND, width=WIDTH, seed=1)
    found = {}
    for g in elements_off_the_grid(row, after):
        error = element_error(module, waves, matrices[g], side_of(row, odd), before=before, after=after,
                              step=LAYERS[row].step, **options)  # fmt: skip
        explained = kernel_error(module, matrices[g], waves) if LAYERS[row].loss == "kernel" else 0.0
        found[g] = error, explained
    return found


LARGEST = 0.06  # of kernels of 4 and 5 pixels on these images; that of interpolated ones is 0.3
FLUCTUATION = 2.0  # the weights of a layer are one draw; the kernels' own error is a mean over all


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("row", LAYERS)
def test_off_the_grid_as_exact_as_the_kernels(row):
    kind, ratios = LAYERS[row], []
    for name in GROUPS if kind.loss != "sums" else ON_GRID:  # whose maps are large
        for odd in (True, False):
            for g, (error, explained) in errors_off_the_grid(row, name, odd).items():
                with named(group=name, odd=odd, element=g, error=error, explained=explained):
                    if kind.loss == "kernel":
                        assert explained < LARGEST  # so that wrong filters do not explain themselves
                        assert error <= FLUCTUATION * kind.factor * explained
                        ratios.append(error / explained)
                    else:
                        assert error <= {"nothing": 1e-11, "sums": 1e-4, "pool": POOLS.get(row)}[kind.loss]
    if ratios:  # and what is measured is this error: not less than it
        assert np.mean(ratios) > 0.4


class Interpolated:
    """A kernel of pixels that is rotated by bilinear interpolation, as a basis."""

    def __init__(self, group, size):
        self.group, self.size, self.weight_shape = group, size, size
        eye = torch.eye(size[0] * size[1]).unflatten(-1, size)
        self.matrix = self.expand(eye).flatten(2).permute(1, 2, 0).numpy()

    def __hash__(self):
        return id(self)

    def expand(self, weight, *, over_poses=False):
        assert not over_poses
        kernels = weight.reshape(-1, 1, *self.size)
        moved = []
        for matrix in self.group.matrices:
            places = pixel_grid(self.size[0]) @ torch.tensor(matrix, dtype=torch.float64)
            places = places.flip(-1).to(weight) / ((self.size[0] - 1) / 2)  # grid_sample: (x, y) from -1 to 1
            moved.append(F.grid_sample(kernels, places.expand(len(kernels), -1, -1, -1), align_corners=True))
        return torch.cat(moved, 1).reshape(*weight.shape[:-2], self.group.order, *self.size)


@pytest.mark.usefixtures("float64")
def test_interpolated_kernels_and_wrong_elements_are_noticed():
    """Negative controls."""
    size = (5, 5)
    for name in ON_GRID:
        group = sepgconv.group(name)
        interpolated = snn.LiftingConv2d(C, C, 5, name, basis=Interpolated(group, size))
        steerable = errors_off_the_grid("lifting", name, True)
        for g, (error, explained) in errors_off_the_grid("lifting", name, True, interpolated).items():
            bound = FLUCTUATION * steerable[g][1]
            assert error > 3 * bound, (name, g, error, bound)
            assert 0.5 < error / explained < FLUCTUATION  # and what it is off by is computed rightly
        for row in ("lifting", "gc", "norm, act, conv", "layer norm", "max pool", "restriction"):
            wrong = errors_off_the_grid(row, name, True, backwards=True)
            assert not wrong or wrong[min(wrong)][0] > 0.5, (name, row)  # all of C4 in C8 is on the grid


def test_the_page_has_the_table_of_the_tool():
    """With fewer images, so within a fifth; and what the page says of it holds."""

    def figures(lines):
        cells = [
            line.strip("| ").split(" | ") for line in lines if line.startswith("| `") or "filter of stride" in line
        ]
        return {name: [float(one) for one in numbers] for name, *numbers in cells}

    page = (Path(__file__).parents[2] / "docs/layers.md").read_text(encoding="utf-8")
    printed = figures(pool_equivariance.table(1))
    written = figures(page[page.index("| layer | waves") :].split("\n\n")[0].splitlines())
    assert list(written) == list(printed)
    for name, numbers in printed.items():
        assert numbers == pytest.approx(written[name], rel=0.2, abs=0.003), name
    plain, better, best = (written[f"`{name}`"] for name in (
        "MaxPool2d(3, 2)", "AntialiasedMaxPool2d(3, 2)", "AntialiasedMaxPool2d(3, 2, blur_size=5)"))  # fmt: skip
    assert best[3] < better[3] < plain[3] / 2


@each("name", GROUPS)
def test_functions_take_steerable_kernels(name):
    """As the layers do, of both families and of a tolerance of one's own."""
    group = sepgconv.group(name)
    for k, family in ((4, "optimal"), (5, "optimal"), (5, "rings")):
        basis = kernel_basis(group, (k, k), "steerable", family)
        options = {"padding": 1, "stride": 2}
        image, maps = torch.randn(2, C, 9, 9), torch.randn(2, C, group.order, 9, 9)

        def compare(layer, function, x, *weights, basis=basis, options=options, **more):
            expected = layer(x)
            found = function(x, *weights, name, layer.bias, basis=basis, **options, **more)
            torch.testing.assert_close(found, expected)

        build = {"basis": basis, **options}
        lifting, full = snn.LiftingConv2d(C, 4, k, name, **build), snn.GroupConv2d(C, 4, k, name, **build)
        compare(lifting, functional.lift_conv2d, image, lifting.weight)
        compare(full, functional.group_conv2d, maps, full.weight)
        depthwise = snn.DepthwiseGroupConv2d(C, k, name, **build)
        compare(depthwise, functional.depthwise_group_conv2d, maps, depthwise.weight)
        for more in ({}, {"rank": 2}, {"sharing": "g"}):
            layer = snn.SeparableGroupConv2d(C, 4, k, name, **more, **build)
            shared = {"sharing": more.get("sharing", "gc")}
            compare(layer, functional.separable_group_conv2d, maps, layer.pointwise, layer.depthwise, **shared)


@pytest.mark.usefixtures("unchecked")
def test_functions_say_what_a_kernel_must_be():
    image, basis = torch.zeros(1, 2, 9, 9), kernel_basis(sepgconv.group("C8"), (3, 3))
    for weight, given, kind, words in (
        ((4, 2, 3, 3), {}, ValueError, "C8 has elements that do not take pixels to pixels, so weight cannot be"),
        ((4, 2, 5), {"basis": basis}, ValueError, r"expected weight \(out, in, 6\), got \(4, 2, 5\)"),
        ((4, 2, 3, 3), {"basis": "optimal"}, TypeError, "lift_conv2d: basis must be a KernelBasis, got str"),
        ((4, 2, 6), {"basis": kernel_basis(sepgconv.group("C6"), (3, 3))}, ValueError, "the basis is that of C6"),
    ):
        with pytest.raises(kind, match=words):
            functional.lift_conv2d(image, torch.zeros(weight), "C8", **given)


PAIRS = [("C8", "C4"), ("D8", "C8"), ("D8", "D4"), ("D4", "C4"), ("C16", "C8"), ("p4m", "cm"), ("p4m", "cmm"),
         ("D6", "D3"), ("C12", "C6"), ("D16", "p1"), ("cmm", "p2"), ("C8", "C8")]  # fmt: skip


@each("large, small", PAIRS)
def test_restriction_keeps_every_number_and_commutes_with_the_subgroup(large, small):
    group, subgroup = sepgconv.group(large), sepgconv.group(small)
    matrices = torch.tensor(subgroup.matrices, dtype=torch.float64)
    assert np.allclose([group.matrices[g] for g in subgroup_elements(large, small)], matrices)
    x = torch.randn(2, 3, group.order, 2, 2)
    y = functional.restrict_group(x, large, small)
    assert y.shape == (2, 3 * group.order // subgroup.order, subgroup.order, 2, 2)
    assert torch.equal(y.flatten(1, 2).sort(1).values, x.flatten(1, 2).sort(1).values)
    assert torch.equal(snn.RestrictGroup(large, small)(x), y)
    assert torch.equal(y[:, :3, 0], x[:, :, 0])  # the first coset is the subgroup itself
    for matrix in matrices:  # poses alone: what pixels do is the same on both sides
        moved = x[:, :, moved_poses(group, matrix)]
        expected = y[:, :, moved_poses(subgroup, matrix)]
        assert torch.equal(functional.restrict_group(moved, large, small), expected)


def test_cosets_of_the_other_side_are_noticed():
    """Negative control: with the poses in their order, or by r H, mirrored copies of rotations go the wrong way."""
    group, subgroup = sepgconv.group("D8"), sepgconv.group("C8")
    x, matrix = torch.randn(1, 1, 16, 1, 1), torch.tensor(group.matrices[1], dtype=torch.float64)
    moved = x[:, :, moved_poses(group, matrix)]
    assert coset_table(group, subgroup).T.ravel().tolist() != list(range(16))
    for y, again in ((x.unflatten(2, (2, 8)), moved.unflatten(2, (2, 8))),):
        assert not torch.equal(again, y[:, :, :, moved_poses(subgroup, matrix)])


def test_restriction_needs_a_subgroup():
    for large, small, words in (
        ("C8", "D4", "D4 is no subgroup of C8"),
        ("C8", "C3", "C3 is no subgroup of C8"),
        ("cm", "pm", "pm is no subgroup of cm"),
    ):
        with pytest.raises(ValueError, match=words):
            snn.RestrictGroup(large, small)
    with pytest.raises(ValueError, match="8, height, width"):
        functional.restrict_group(torch.zeros(1, 2, 4, 3, 3), "C8", "C4")


@pytest.mark.usefixtures("float64")
def test_a_network_goes_on_with_a_subgroup():
    """D8 first, then C8, then C4, exactly under the quarter turns, and not under the mirror of D8."""
    net = nn.Sequential(
        snn.LiftingConv2d(1, 3, 5, "D8"), nn.ReLU(), snn.RestrictGroup("D8", "C8"),
        snn.SeparableGroupConv2d(6, 4, 3, "C8"), nn.ReLU(), snn.RestrictGroup("C8", "C4"),
        snn.GroupConv2d(8, 3, 3, "C4"), snn.GroupMaxPool(),
    ).requires_grad_(False)  # fmt: skip
    x, group = torch.randn(2, 1, 11, 11), sepgconv.group("D8")
    for g in group.grid_elements:
        matrix = torch.tensor(group.matrices[g], dtype=torch.float64)
        error = float((net(on_grid(x, group, matrix)) - on_grid(net(x), group, matrix)).abs().max())
        assert error < 1e-12 if g < 8 else error > 1e-3
    for other in (to_plain(net.eval(), input_shape=(1, 11, 11)), sepgconv.compile_for_inference(net)):
        torch.testing.assert_close(other(x), net(x), rtol=1e-10, atol=1e-10)
