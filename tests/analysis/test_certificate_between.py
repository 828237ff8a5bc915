"""The certificate at elements that take pixels between pixels: what is measured, against closed forms and faults."""

import functools
import json
import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import sepgconv
import sepgconv.nn as snn
from sepgconv._rotation import rotate_images
from sepgconv.analysis import certify, equivariance_error
from sepgconv.analysis.certify.band_limited import WaveImages
from sepgconv.analysis.certify.between import _middle_pixel, measure_between
from sepgconv.analysis.certify.grids import Grid
from sepgconv.analysis.certify.kernel_error import kernel_error
from sepgconv.functional import act
from sepgconv.symmetry import SteerableBasis, pose_division
from sepgconv.symmetry.waves import RADII
from sepgconv.testing import assert_equivariant
from tests.covering import each

SHAPE = (1, 21, 21)


def network(*middle, group="C8", size=5, **options):
    lift = snn.LiftingConv2d(1, 4, size, group, padding=size // 2, **options)
    return nn.Sequential(lift, nn.ReLU(), *middle, snn.GroupMaxPool())


def convolution(group="C8", size=5, **options):
    return snn.SeparableGroupConv2d(4, 4, size, group, padding=size // 2, **options)


@dataclass(frozen=True)
class BilinearBasis:
    """Kernels of pixels, rotated bilinearly as images are: exact by 90 degrees, wrong between."""

    group: sepgconv.FiniteGroup
    size: tuple[int, int]

    @property
    def weight_shape(self):
        return self.size

    def expand(self, weight, *, over_poses=False):
        if over_poses:
            division = torch.from_numpy(pose_division(self.group))
            return torch.stack([self._moved(weight[..., row, :, :], h) for h, row in enumerate(division)], -4)
        return torch.stack([self._moved(weight, h) for h in range(self.group.order)], -3)

    def _moved(self, weight, h):
        kernels = weight.reshape(-1, 1, *self.size)
        angle = torch.full((len(kernels),), 2 * math.pi * h / self.group.order, dtype=weight.dtype)
        return rotate_images(kernels, angle).reshape(weight.shape)


BILINEAR = BilinearBasis(sepgconv.group("C8"), (5, 5))


@each(
    ("group", "exact_for", "worst"),
    [("C8", "C4", "turn by 45°"), ("D6", "D2", "turn by 60°"), ("C6", "C2", "turn by 60°"), ("C3", "C1", "turn by")],
)
def test_a_network_is_exact_on_the_grid_and_nearly_so_between(group, exact_for, worst):
    certificate = certify(network(convolution(group), group=group), group, SHAPE)
    assert (certificate.exact, certificate.exact_for, certificate.first_fault) == (False, exact_for, None)
    found = sepgconv.group(group)
    assert [element.keeps_grid for element in certificate.elements] == [
        g in found.grid_elements for g in range(found.order)
    ]
    for element in certificate.elements:
        assert element.exact == element.keeps_grid
        assert element.error < 1e-12 if element.keeps_grid else 1e-3 < element.error < 0.15
    assert worst in certificate.elements[1].name
    assert certificate.error == certificate.elements[certificate.worst_element].error
    assert certificate.loses_most in {"0", "2"}
    assert "the own error of its filters" in certificate.reason
    count = found.order - len(found.grid_elements)
    for row in certificate.layers:
        assert row.exact
        assert len(row.off_grid_errors) == count
        if row.kind in ("LiftingConv2d", "SeparableGroupConv2d"):
            assert row.own_error == pytest.approx(row.kernel_error, rel=0.6)
        else:
            assert (row.own_error, row.kernel_error) == (0.0, None)


def test_it_is_readable_and_json():
    certificate = certify(network(), "C8", SHAPE)
    text, page = str(certificate), certificate._repr_html_()
    for said in (
        "turn by 45°",
        "Off the grid: the worst",
        "Exact for C4: worst relative error",
        "loses most",
        "own error of its filters",
    ):
        assert said in text
        assert said in page
    assert all(len(line) < 110 for line in text.splitlines() if "─" in line)
    values = json.loads(json.dumps(certificate.to_dict(), allow_nan=False))
    assert values["exact_for"] == "C4"
    assert [element["exact"] for element in values["elements"]] == [True, False] * 4
    assert len(values["layers"][0]["off_grid_errors"]) == 4
    # Groups that keep the grid print as ever.
    ordinary = certify(network(group="p4", size=3), "p4", SHAPE)
    assert (ordinary.exact_for, ordinary.band_limited_images, ordinary.loses_most) == ("p4", 0, None)
    assert "off the grid" not in str(ordinary)


def test_filters_that_do_not_rotate_are_found_in_the_layer_that_has_them():
    """The negative control: pixels turned bilinearly, in all layers and in one."""
    everywhere = certify(network(convolution(basis=BILINEAR), basis=BILINEAR), "C8", SHAPE)
    assert everywhere.exact_for == "C4"
    assert min(element.error for element in everywhere.elements if not element.keeps_grid) > 0.2
    assert 'use kernel="steerable"' in everywhere.reason
    for place, damaged in enumerate(["2", "4", "6"]):
        middle = [convolution(basis=BILINEAR if index == place else None) for index in range(3)]
        certificate = certify(network(*(each for one in middle for each in (one, nn.ReLU()))), "C8", SHAPE)
        assert certificate.exact_for == "C4"
        assert certificate.loses_most == damaged
        assert 'use kernel="steerable"' in certificate.reason
        rows = {row.name: row for row in certificate.layers}
        assert rows[damaged].kernel_error > 0.2
        assert rows[damaged].own_error > 3 * max(row.own_error for name, row in rows.items() if name != damaged)
        assert max(rows[damaged].off_grid_errors) > 0.2


def test_networks_without_the_elements():
    certificate = certify(network(group="p4", size=3), "C8", SHAPE)
    assert (certificate.exact_for, certificate.first_fault, certificate.loses_most) == ("C4", None, "0")
    assert "LiftingConv2d is a layer on p4, which does not have all elements of C8" in certificate.reason
    assert max(certificate.layers[0].off_grid_errors) > 0.2
    ordinary = certify(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU()), "C8", SHAPE)
    assert (ordinary.exact_for, ordinary.first_fault) == ("C1", "0")
    assert "ordinary convolution" in ordinary.reason
    assert "The other 4 of C8 take pixels between pixels" in str(ordinary)
    # A network on a larger group, and a group of which it keeps some elements.
    larger = certify(network(convolution("C16"), group="C16"), "C8", SHAPE)
    assert larger.layers[0].carries == "a feature map on C16"
    assert larger.exact_for == "C4"
    assert max(larger.layers[0].off_grid_errors) < 0.1
    assert certify(network(group="p4", size=3), "p4m", SHAPE).exact_for == "p4"


def test_what_commutes_with_every_rotation_is_exact():
    blur = torch.exp(-(torch.arange(-2.0, 3) ** 2))
    certificate = certify(nn.Sequential(nn.ReLU(), nn.Sigmoid()), "C8", SHAPE)
    assert (certificate.exact, certificate.exact_for, certificate.loses_most) == (True, "C8", None)
    smooth = nn.Conv2d(1, 1, 5, padding=2, bias=False)
    smooth.weight.data = (blur[:, None] * blur)[None, None]  # round, but for its corners
    assert certify(smooth, "C8", SHAPE).error < 0.01


@each(("sides", "middle"), [((20, 20), (0.0, 0.0)), ((21, 17), (-0.5, -0.5)), ((16, 23), (0.0, 1.0))])
def test_images_are_written_down_rotated(sides, middle):
    generator = torch.Generator().manual_seed(0)
    waves = WaveImages.draw(2, 3, generator)
    still = waves.at(((1, 0), (0, 1)), (65, 65))
    for g, matrix in enumerate(sepgconv.group("D8").matrices):
        moved = waves.at(matrix, (65, 65))
        expected = act("D8", g, still)
        assert float((moved - expected).norm() / moved.norm()) < (0.02 if g % 2 else 1e-12)
        # The middle of the images stays, wherever it lies on the grid; nothing reaches the border.
        here = waves.at(matrix, sides, middle)
        assert float(here[..., 0, :].abs().max() + here[..., :, -1].abs().max()) < 1e-12
        fine = waves.at(matrix, sides, middle, in_disc=False)
        at = [middle[axis] + (sides[axis] - 1) / 2 for axis in (0, 1)]
        if all(point == int(point) for point in at):
            assert torch.allclose(fine[..., int(at[0]), int(at[1])], still[..., 32, 32], atol=1e-12)
    assert float(still[..., 20:45, 20:45].var()) == pytest.approx(1, rel=0.5)


@each("side", [20, 21, 22, 23])
def test_maps_are_compared_where_their_middle_pixels_lie(side, monkeypatch):
    """Strides and pools, maps of even and odd sides; as a control, points that are one pixel off."""
    pooled = network(snn.AvgPool2d(2), convolution(size=3), snn.AvgPool2d(2), size=3)
    strided = nn.Sequential(snn.LiftingConv2d(1, 4, 5, "C8", stride=2, padding=1), snn.GroupMeanPool())
    errors = []
    for model in (snn.AvgPool2d(2), strided[0]):
        shape = (1, side, side) if model is strided[0] else (2, 8, side, side)
        errors.append(measured(model, shape))
    assert max(errors) < 0.1
    assert measured(pooled.double(), (1, side, side)) < 0.3
    with monkeypatch.context() as patched:
        right = Grid.middle_pixel.fget
        patched.setattr(Grid, "middle_pixel", property(lambda grid: tuple(at + grid.step[0] for at in right(grid))))
        assert measured(strided[0], (1, side, side)) > 0.3


def measured(model, shape):
    generator = torch.Generator().manual_seed(1)
    return max(measure_between(model.double(), shape, sepgconv.group("C8"), (1, 3), generator)[0].errors)


def test_the_error_of_filters_is_that_of_their_responses():
    """From the definition, wave by wave, on the layer's filters for the first pose and the one it is moved to."""
    for layer in (snn.LiftingConv2d(2, 3, 4, "C8"), snn.SeparableGroupConv2d(2, 3, 5, "C8")):
        spec = layer.double().spec
        filters = spec.basis.expand(spec.kind.bank(spec, layer.weights()).detach()).flatten(0, -4)  # (n, pose, y, x)
        error = response = 0.0
        at = torch.arange(filters.shape[-1], dtype=torch.float64) - (filters.shape[-1] - 1) / 2
        angles = torch.arange(0.02, 2 * math.pi, 2 * math.pi / 60, dtype=torch.float64)[:, None, None]
        for radius in (torch.arange(RADII) + 0.5) / RADII * 0.75 * math.pi:
            answers = []
            for pose in (0, 1):
                turned = angles + pose * math.pi / 4  # counter-clockwise on the screen: y points down
                phases = float(radius) * (-turned.sin() * at[:, None] + turned.cos() * at)
                answers.append(torch.einsum("nyx,ayx->na", filters[:, pose] + 0j, torch.exp(1j * phases)))
            error += float(((answers[1] - answers[0]).abs() ** 2).sum() / radius)
            response += float((answers[0].abs() ** 2).sum() / radius)
        assert kernel_error(layer, layer.group, 1) == pytest.approx(math.sqrt(error / response), rel=1e-3)
        assert kernel_error(layer, layer.group, 2) < 1e-12
        assert kernel_error(layer, sepgconv.group("D8"), 9) is None
    assert kernel_error(nn.Conv2d(1, 1, 3), sepgconv.group("C8"), 1) is None


def test_equivariance_of_a_layer_alone():
    layer = convolution(size=3)
    x = torch.randn(1, 4, 8, 9, 10)
    errors = equivariance_error(layer, "C8", x)
    assert list(errors) == list(range(1, 8))
    assert max(errors[g] for g in (2, 4, 6)) < 1e-5
    assert 1e-3 < min(errors[g] for g in (1, 3, 5, 7)) <= max(errors.values()) < 0.1
    assert_equivariant(layer, "C8", x)
    with pytest.raises(AssertionError, match=r"of C8, which takes pixels between pixels: .* allowed 0.001"):
        assert_equivariant(layer, "C8", x, off_grid_tolerance=1e-3)
    wrong = convolution(basis=BILINEAR)
    with pytest.raises(AssertionError, match="takes pixels between pixels"):
        assert_equivariant(wrong, "C8", x)
    with pytest.raises(ValueError, match="act: expected an image"):
        equivariance_error(layer, "C3", x)


@pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8:UserWarning:e2cnn")
def test_networks_of_e2cnn():
    e2 = pytest.importorskip("e2cnn")
    space = e2.gspaces.Rot2dOnR2(8)
    image = e2.nn.FieldType(space, [space.trivial_repr])
    maps = e2.nn.FieldType(space, 3 * [space.regular_repr])
    model = e2.nn.SequentialModule(e2.nn.R2Conv(image, maps, 5, padding=2), e2.nn.ReLU(maps), e2.nn.GroupPooling(maps))
    certificate = certify(model, "C8", SHAPE)
    assert certificate.exact_for == "C4"
    assert certificate.layers[0].own_error < 0.1
    assert 1e-3 < certificate.error < 0.1


def test_pools_lose_what_they_miss():
    losses = {}
    for pool in (snn.MaxPool2d(2), snn.AntialiasedMaxPool2d(2), snn.AvgPool2d(2)):
        certificate = certify(network(pool), "C8", (1, 24, 24))
        losses[type(pool).__name__] = certificate.layers[2].own_error
        if isinstance(pool, snn.MaxPool2d):
            assert certificate.loses_most == "2"
            assert "AvgPool2d and AntialiasedMaxPool2d lose less" in certificate.reason
    assert losses["MaxPool2d"] > 2 * losses["AntialiasedMaxPool2d"] > 4 * losses["AvgPool2d"]


@functools.cache
def steerable(tolerance):
    return SteerableBasis(sepgconv.group("C8"), (5, 5), tolerance=tolerance)


def test_worse_filters_have_larger_errors():
    errors = [certify(network(basis=steerable(tolerance)), "C8", SHAPE).layers[0] for tolerance in (0.003, 0.01, 0.3)]
    assert errors[0].own_error < errors[1].own_error < errors[2].own_error
    assert errors[0].kernel_error < errors[1].kernel_error < errors[2].kernel_error


def test_the_middle_pixel_of_maps():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    assert _middle_pixel(x).flatten().tolist() == [5.0]


def test_layers_of_a_larger_group_alone():
    """A ReLU on D8 does not say that it is on D8; the network does. Maps moved as on C8 would be off by about 1."""
    torch.manual_seed(0)
    layers = (
        snn.LiftingConv2d(1, 3, 5, "D8", padding=2),
        nn.ReLU(),
        snn.RestrictGroup("D8", "C8"),
        snn.GroupConv2d(6, 2, 5, "C8", padding=2),
    )
    certificate = certify(nn.Sequential(*layers), "C8", (1, 16, 16))
    assert [layer.kind for layer in certificate.layers if layer.own_error == 0] == ["ReLU", "RestrictGroup"]
    assert all(layer.own_error < 0.05 for layer in certificate.layers)
    assert certificate.loses_most != "1"
