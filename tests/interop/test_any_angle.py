"""Models of e2cnn on C_n and D_n for any n: the same outputs, by the weights of the same filters."""

import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv import nn as snn
from sepgconv._gspaces import ElementMatching, match_group
from sepgconv.convert import fields_to_maps, from_e2cnn, from_escnn, maps_to_fields, separate, to_onnx, to_plain
from sepgconv.interop.e2cnn import convolutions
from sepgconv.interop.e2cnn import fields as field_types
from sepgconv.interop.e2cnn.cosets import CosetReordering
from sepgconv.symmetry.circular_filters import default_rings
from tests.covering import each, named
from tests.interop.test_escnn import escnn

# e2cnn 0.2.3 indexes with bytes where it builds a basis.
pytestmark = pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8:UserWarning:e2cnn")

GROUPS = {  # which space is which group, and with which weights it is read
    "C8": ("auto", lambda spaces: spaces.Rot2dOnR2(8)),
    "C16": ("auto", lambda spaces: spaces.Rot2dOnR2(16)),
    "C6": ("auto", lambda spaces: spaces.Rot2dOnR2(6)),
    "D8": ("auto", lambda spaces: spaces.FlipRot2dOnR2(8)),
    "D3": ("auto", lambda spaces: spaces.FlipRot2dOnR2(3)),
    "D6": ("auto", lambda spaces: spaces.FlipRot2dOnR2(6, axis=math.pi / 3)),
    "D4": ("steerable", lambda spaces: spaces.FlipRot2dOnR2(4)),
    "C4": ("steerable", lambda spaces: spaces.Rot2dOnR2(4)),
}


def typed(e2cnn, space, kind, count):
    return e2cnn[1].FieldType(space, count * [getattr(space, f"{kind}_repr")])


def trained(model):
    """Give a module numbers that are not those of a new one; e2cnn begins with filters of one weight in all."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if "running_var" in name:
            nn.init.uniform_(value, 0.5, 2)
        elif "weights" in name or "bias" in name.split(".")[-1:] or "running_mean" in name:
            nn.init.normal_(value, 0, 0.3)
    return model


def conv(e2cnn, source, target, size, **arguments):
    # Bases are kept for later layers in the dtype of the first; each test has its own.
    return trained(e2cnn[1].R2Conv(source, target, size, recompute=True, **arguments))


def chain(e2cnn, space, size=5):
    lib, image = e2cnn[1], typed(e2cnn, space, "trivial", 2)
    maps, last = typed(e2cnn, space, "regular", 2), typed(e2cnn, space, "regular", 3)
    return trained(
        lib.SequentialModule(
            OrderedDict(
                stem=conv(e2cnn, image, maps, size, padding=size // 2),
                norm=lib.InnerBatchNorm(maps),
                relu=lib.ReLU(maps),
                blur=lib.PointwiseAvgPoolAntialiased(maps, 0.66, 2),
                body=conv(e2cnn, maps, last, 3, padding=1),
                elu=lib.ELU(last),
                pool=lib.PointwiseMaxPoolAntialiased(last, 2),
                head=conv(e2cnn, last, image, 3),
            )
        )
    )


def assert_same(found, expected, tolerance):
    assert found.shape == expected.shape
    error, scale = float((found - expected).detach().abs().max()), float(expected.detach().abs().max())
    assert error <= tolerance * scale, (error, scale)
    assert scale > 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_whole_models_give_the_same(e2cnn, dtype, tolerance, request):
    """In training and in evaluation, on sides that are odd and even and not equal."""
    if dtype == torch.float64:
        request.getfixturevalue("float64")
    for name, (kernel, build) in GROUPS.items():
        with named(group=name):
            torch.manual_seed(0)
            model = chain(e2cnn, build(e2cnn[0]))
            converted = from_e2cnn(model, kernel=kernel)
            assert {p.dtype for p in converted.parameters()} == {dtype}
            assert converted.stem.group == sepgconv.group(name)
            assert converted.stem.spec.basis.family == "rings"
            for sides in ((13, 13), (12, 15)):
                x = torch.randn(2, 2, *sides)
                for mode in (True, False):
                    expected = model.train(mode)(e2cnn[1].GeometricTensor(x, model.in_type)).tensor
                    assert_same(converted.train(mode)(x), expected, tolerance)
            # As many numbers are trained as in e2cnn: the weights are the coefficients of the same filters.
            for part in ("stem", "body", "norm"):
                ours, theirs = (
                    sum(p.numel() for p in each.get_submodule(part).parameters()) for each in (converted, model)
                )
                assert ours == theirs, part


def network(e2cnn, space):
    """As the network that e2cnn's documentation begins with: a masked image, blurred pools, and an ordinary head."""
    lib, image = e2cnn[1], typed(e2cnn, space, "trivial", 1)
    first, second = typed(e2cnn, space, "regular", 2), typed(e2cnn, space, "regular", 3)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.input_type = image
            self.block1 = lib.SequentialModule(
                lib.MaskModule(image, 17, margin=1),
                conv(e2cnn, image, first, 7, padding=1, bias=False),
                lib.InnerBatchNorm(first),
                lib.ReLU(first, inplace=True),
            )
            self.pool1 = lib.SequentialModule(lib.PointwiseAvgPoolAntialiased(first, sigma=0.66, stride=2))
            self.block2 = lib.SequentialModule(
                conv(e2cnn, first, second, 5, padding=2, bias=False), lib.InnerBatchNorm(second), lib.ReLU(second)
            )
            self.pool2 = lib.PointwiseAvgPoolAntialiased(second, sigma=0.66, stride=1, padding=0)
            self.gpool = lib.GroupPooling(second)
            self.head = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ELU(inplace=True), nn.Linear(4, 2))

        def forward(self, x):
            x = self.pool1(self.block1(lib.GeometricTensor(x, self.input_type)))
            x = self.gpool(self.pool2(self.block2(x))).tensor
            return self.head(x.amax((2, 3)))

    return trained(Net())


@pytest.mark.usefixtures("unchecked")
def test_a_network_of_modules_of_its_own_is_separated_and_exported(e2cnn, tmp_path):
    pytest.importorskip("onnxruntime")
    model, x = network(e2cnn, e2cnn[0].Rot2dOnR2(8)), torch.randn(3, 1, 17, 17)
    converted = from_e2cnn(model)
    for mode in (True, False):
        assert_same(converted.train(mode)(x), model.train(mode)(x), 1e-5)
    separation = separate(converted, "gc", rank=11)
    assert_same(separation.model(x), model(x), 1e-5)
    written = to_onnx(separate(converted, "gc", rank=2).model, tmp_path / "net.onnx", input_shape=(1, 17, 17))
    assert written.difference < 1e-5
    plain = to_plain(converted, input_shape=(1, 17, 17))
    assert_same(plain(x), model(x), 1e-5)
    assert all(type(m).__module__.startswith(("torch.nn", "torch.fx")) for m in plain.modules())


RESTRICTIONS = {
    "C8": (lambda spaces: spaces.Rot2dOnR2(8), 4, "C4"),
    "C6": (lambda spaces: spaces.Rot2dOnR2(6), 1, "C1"),
    "D8": (lambda spaces: spaces.FlipRot2dOnR2(8), (0, 4), "D4"),
    "D6": (lambda spaces: spaces.FlipRot2dOnR2(6), (None, 3), "C3"),
    "D4": (lambda spaces: spaces.FlipRot2dOnR2(4), (0, 1), "D1"),
}


@pytest.mark.usefixtures("float64", "unchecked")
@each("name", RESTRICTIONS)
def test_networks_go_on_with_a_subgroup(e2cnn, name):
    build, identifier, smaller = RESTRICTIONS[name]
    space, lib = build(e2cnn[0]), e2cnn[1]
    image, maps = typed(e2cnn, space, "trivial", 1), typed(e2cnn, space, "regular", 2)
    restriction = lib.RestrictionModule(maps, identifier)
    between = lib.DisentangleModule(restriction.out_type).double()
    last = typed(e2cnn, between.out_type.gspace, "regular", 3)
    model = lib.SequentialModule(
        conv(e2cnn, image, maps, 5),
        lib.ReLU(maps),
        restriction,
        between,
        conv(e2cnn, between.out_type, last, 3),
        trained(lib.InnerBatchNorm(last)),
    )
    converted, x = from_e2cnn(model), torch.randn(2, 1, 9, 10)
    assert (converted[0].group, converted[4].group) == (sepgconv.group(name), sepgconv.group(smaller))
    for mode in (True, False):
        expected = model.train(mode)(e2cnn[1].GeometricTensor(x, image)).tensor
        assert_same(converted.train(mode)(x), fields_to_maps(expected, last), 1e-10)
    # Of D6 over C3, the second coset of mirrors begins with r f in e2cnn, with f r here.
    assert type(converted[2]) is (CosetReordering if name == "D6" else snn.RestrictGroup)
    assert_same(to_plain(converted, input_shape=(1, 9, 9))(x), converted(x), 1e-10)
    if len(last.representations[0].irreps) > 1:
        with pytest.raises(ValueError, match=r"\(InnerBatchNorm\) takes fields of a larger group than .* as they are"):
            from_e2cnn(lib.InnerBatchNorm(between.out_type))


LAYERS = {
    "even kernel": (4, {"padding": 1}),
    "circular": (7, {"padding": 3, "padding_mode": "circular"}),
    "stride": (3, {"stride": 2, "padding": 1, "bias": False}),
    "dilation": (3, {"dilation": 2, "padding": 2}),
    "channel groups": (3, {"groups": 2, "padding_mode": "reflect", "padding": 1}),
    "another cut-off": (5, {"frequencies_cutoff": lambda radius: 3 * radius}),
    "other rings": (5, {"rings": [0.5, 1.5, 2.2], "sigma": [0.4, 0.5, 0.7]}),
    "few intertwiners": (5, {"maximum_offset": 0}),
    "a filter of the basis": (5, {"basis_filter": lambda element: element["frequency"] != 1}),
}


@pytest.mark.usefixtures("float64")
@each("case", LAYERS)
def test_every_layer_is_read_in_its_own_rings(e2cnn, case):
    size, arguments = LAYERS[case]
    space = e2cnn[0].Rot2dOnR2(8)
    for source in ("trivial", "regular"):
        for target in ("trivial", "regular"):
            with named(source=source, target=target):
                given, wanted = typed(e2cnn, space, source, 2), typed(e2cnn, space, target, 4)
                layer = conv(e2cnn, given, wanted, size, **arguments).eval()
                converted, x = from_e2cnn(layer), torch.randn(2, given.size, 9, 12)
                found = converted(fields_to_maps(x, given))
                expected = layer(e2cnn[1].GeometricTensor(x, given)).tensor
                assert_same(maps_to_fields(found, wanted), expected, 1e-10)


@pytest.mark.usefixtures("float64", "unchecked")
def test_a_layer_with_other_rings_than_it_says_is_refused(e2cnn, monkeypatch):
    """Negative control of the fit, and what is said of a layer that does not say which rings it has."""
    given = typed(e2cnn, e2cnn[0].Rot2dOnR2(8), "regular", 1)
    usual, wide = (
        conv(e2cnn, given, given, 5),
        conv(e2cnn, given, given, 5, frequencies_cutoff=lambda radius: 3 * radius),
    )
    monkeypatch.setattr(convolutions, "_rings", lambda module: None)
    assert from_e2cnn(usual).spec.basis.family == "rings"
    with pytest.raises(ValueError, match=r"\(R2Conv\) has a filter .* under C8, or no sum of the 11 ring filters"):
        from_e2cnn(wide)
    monkeypatch.setattr(convolutions, "_rings", lambda module: default_rings(3))  # the first two of its three rings
    with pytest.raises(ValueError, match=r"or no sum of the 6 ring filters .*: it deviates by"):
        from_e2cnn(usual)
    with pytest.raises(ValueError, match=r"C8 has elements that do not take pixels to pixels"):
        from_e2cnn(usual, kernel="pixel")
    with pytest.raises(ValueError, match=r"unknown kernel 'rings'"):
        from_e2cnn(usual, kernel="rings")


def clockwise(elements, turns):
    """Rotations in the other direction, an order that multiplies alike: only filters and images tell it apart."""
    return tuple(elements[part + -t % turns] for part in range(0, len(elements), turns) for t in range(turns))


def other_axis(elements, turns):
    """Every mirror one step further, which multiplies alike as well."""
    return (*elements[:turns], *(elements[turns + (t + 1) % turns] for t in range(turns)))


@pytest.mark.usefixtures("float64")
@each(
    ("name", "wrong"), [("C8", clockwise), ("C6", clockwise), ("D8", clockwise), ("D8", other_axis), ("D3", other_axis)]
)
def test_a_wrong_order_and_a_wrong_axis_are_found(e2cnn, monkeypatch, name, wrong):
    """Negative control: with elements matched wrongly, the filters are those of no weights."""
    space = GROUPS[name][1](e2cnn[0])
    matching = match_group(space)
    turns = int(name[1:])
    swapped = ElementMatching(space, matching.group, wrong(matching.elements, turns))  # it multiplies as it should
    assert swapped.elements != matching.elements
    image, given = typed(e2cnn, space, "trivial", 1), typed(e2cnn, space, "regular", 1)
    for source in (image, given):
        layer = conv(e2cnn, source, given, 5)
        from_e2cnn(layer)
        with monkeypatch.context() as patch:
            patch.setattr(field_types, "match_group", lambda gspace: swapped)
            with pytest.raises(ValueError, match=r"\(R2Conv\) has a filter that is not equivariant under"):
                from_e2cnn(layer)


@pytest.mark.usefixtures("float64")
@each("name", ["C8", "D8", "C6", "D3"])
def test_elements_are_those_with_the_same_matrices(e2cnn, name):
    """Against waves, which every element rotates exactly: a wave of their representation is that of our pose."""
    space, group = GROUPS[name][1](e2cnn[0]), sepgconv.group(name)
    matching = match_group(space)
    assert matching.group == group
    lifted = typed(e2cnn, space, "regular", 1)
    turns = int(name[1:])
    for g, element in enumerate(matching.elements):
        flip, steps = (0, element) if name.startswith("C") else element
        # e2cnn: r^k f^m, f the mirror at the line of slope `axis`, r counter-clockwise; x to the right, y upwards.
        axis, angle = getattr(space, "axis", 0), 2 * math.pi * steps / turns
        rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        mirror = torch.tensor([[math.cos(2 * axis), math.sin(2 * axis)], [math.sin(2 * axis), -math.cos(2 * axis)]])
        theirs = rotation @ mirror if flip else rotation
        exchange = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # a pixel (y, x), y downwards, as (x, y), y upwards
        pixel = torch.tensor(group.matrices[g], dtype=torch.float64)
        upwards = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        torch.testing.assert_close(upwards @ pixel @ exchange, theirs, atol=1e-9, rtol=0)
        # The delta at the identity, moved by g, is the delta at g.
        delta = torch.zeros(1, 1, group.order, 1, 1)
        delta[0, 0, 0] = 1
        moved = torch.as_tensor(space.regular_repr(element)).round() @ maps_to_fields(delta, lifted)[0, :, 0, 0]
        assert int(fields_to_maps(moved.view(1, -1, 1, 1), lifted).flatten().argmax()) == g


@pytest.mark.usefixtures("float64")
def test_single_pixels_to_trivial_fields():
    """With escnn's stand-in: e2cnn 0.2.3 cannot build a basis of one element on this torch."""
    space = escnn.flipRot2dOnR2(6)
    for source, kinds in (("trivial", [nn.Conv2d]), ("regular", [snn.GroupMeanPool, nn.Conv2d])):
        given = escnn.FieldType(space, 4 * [getattr(space, f"{source}_repr")])
        wanted = escnn.FieldType(space, 2 * [space.trivial_repr])
        layer = escnn.R2Conv(given, wanted, 1, stride=2)
        converted, x = from_escnn(layer), torch.randn(2, given.size, 5, 7)
        assert [type(m) for m in converted.modules() if not list(m.children())] == kinds
        expected = layer(escnn.GeometricTensor(x, given)).tensor
        assert_same(converted(fields_to_maps(x, given)), expected, 1e-12)
        broken = layer.eval()
        if source == "regular":
            with torch.no_grad():
                broken.filter[:, 0] += 1e-3
            with pytest.raises(ValueError, match="has a filter that differs between poses: it deviates by"):
                from_escnn(broken)
