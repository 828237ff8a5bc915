"""Models of e2cnn, run beside what they are converted to."""

import copy
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

import sepgconv
from sepgconv import nn as snn
from sepgconv.convert import fields_to_maps, from_e2cnn, from_escnn, maps_to_fields, to_onnx, to_plain
from sepgconv.functional import act
from sepgconv.interop.e2cnn.dropout import FieldDropout
from sepgconv.interop.e2cnn.layers import RULES
from sepgconv.testing import assert_equivariant
from tests.covering import each

# e2cnn 0.2.3 indexes with bytes where it builds a basis.
pytestmark = pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8:UserWarning:e2cnn")


def fields(e2cnn, space, kind, count):
    return e2cnn[1].FieldType(space, count * [getattr(space, f"{kind}_repr")])


def conv(e2cnn, source, target, size, **arguments):
    # Bases are kept for later layers in the dtype of the first; each test has its own.
    layer = e2cnn[1].R2Conv(source, target, size, recompute=True, **arguments)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    return layer


def ran(e2cnn, module, x):
    """What a module of e2cnn gives for maps of ours, as maps of ours."""
    y = module(e2cnn[1].GeometricTensor(maps_to_fields(x, module.in_type), module.in_type))
    return fields_to_maps(y.tensor, module.out_type)


def maps(name, channels, *size):
    return torch.randn(2, channels, sepgconv.group(name).order, *size)


def assert_same(found, expected, tolerance=1e-12):
    assert found.shape == expected.shape
    error, scale = float((found - expected).detach().abs().max()), float(expected.detach().abs().max())
    assert scale > 0
    assert error <= tolerance * scale


def disturb(norm):
    """Give a batch norm statistics and parameters that are not those of a new one."""
    for name, value in [*norm.named_parameters(), *norm.named_buffers()]:
        if "running_var" in name:
            nn.init.uniform_(value, 0.5, 2)
        elif value.is_floating_point():
            nn.init.normal_(value, 1)
    return norm


@pytest.mark.usefixtures("float64")
class TestFieldTypes:
    def test_their_action_is_ours(self, e2cnn, space):
        """Which element is which is read off images; maps must then move alike, poses included."""
        name, space = space
        group, used = sepgconv.group(name), set()
        image, regular = fields(e2cnn, space, "trivial", 1), fields(e2cnn, space, "regular", 2)
        picture, x = torch.randint(-99, 99, (1, 1, 5, 5)), torch.randint(-99, 99, (2, 2, group.order, 5, 5))
        for element in space.fibergroup.elements:
            moved = e2cnn[1].GeometricTensor(picture, image).transform(element).tensor.long()
            (g,) = (g for g in range(group.order) if torch.equal(act(group, g, picture), moved))
            used.add(g)
            theirs = e2cnn[1].GeometricTensor(maps_to_fields(x, regular), regular).transform(element).tensor
            assert torch.equal(fields_to_maps(theirs.long(), regular), act(group, g, x))
        assert used == set(range(group.order))

    def test_there_and_back(self, e2cnn, space):
        _, space = space
        regular, image = fields(e2cnn, space, "regular", 3), fields(e2cnn, space, "trivial", 3)
        x = torch.randn(2, regular.size, 4, 5)
        assert torch.equal(maps_to_fields(fields_to_maps(x, regular), regular), x)
        picture = torch.randn(2, 3, 4, 5)
        assert torch.equal(fields_to_maps(picture, image), picture)
        assert torch.equal(maps_to_fields(picture, image), picture)

    def test_the_order_of_d4_is_not_ours(self, e2cnn):
        """Negative control: a plain reshape would have the poses of mirrors in another order."""
        regular = fields(e2cnn, e2cnn[0].FlipRot2dOnR2(4), "regular", 1)
        x = torch.arange(8.0).view(1, 8, 1, 1)
        assert fields_to_maps(x, regular).flatten().tolist() == [0, 1, 2, 3, 4, 7, 6, 5]

    @pytest.mark.usefixtures("unchecked")
    def test_other_tensors_are_refused(self, e2cnn):
        regular = fields(e2cnn, e2cnn[0].Rot2dOnR2(4), "regular", 2)
        with pytest.raises(ValueError, match=r"fields_to_maps: expected \(batch, 8, height, width\)"):
            fields_to_maps(torch.zeros(1, 7, 2, 2), regular)
        with pytest.raises(ValueError, match=r"maps_to_fields: expected \(batch, 2, 4, height, width\)"):
            maps_to_fields(torch.zeros(1, 8, 2, 2), regular)


CONVOLUTIONS = {
    "3x3": (3, {}, (6, 6)),
    "3x3 on a map that is not square": (3, {"padding": 1}, (5, 8)),
    "no bias": (3, {"bias": False}, (5, 5)),
    "1x1": (1, {}, (4, 5)),
    "5x5 circular": (5, {"padding": 2, "padding_mode": "circular"}, (6, 7)),
    "reflect": (3, {"padding": 1, "padding_mode": "reflect"}, (5, 5)),
    "replicate": (3, {"padding": 1, "padding_mode": "replicate"}, (4, 6)),
    "stride": (3, {"stride": 2, "padding": 1}, (7, 8)),
    "dilation": (3, {"dilation": 2, "padding": 2}, (6, 6)),
    "even kernel": (4, {"padding": 1}, (6, 6)),
}


@pytest.mark.usefixtures("float64")
class TestConvolutions:
    @pytest.mark.parametrize("source", ["trivial", "regular"])
    @pytest.mark.parametrize("case", CONVOLUTIONS)
    def test_the_same_outputs(self, e2cnn, source, case):
        if (case, source) == ("1x1", "trivial"):
            pytest.skip("e2cnn 0.2.3 itself cannot build a basis of one element on this torch")
        size, arguments, sides = CONVOLUTIONS[case]
        space = e2cnn[0].FlipRot2dOnR2(4)
        given = fields(e2cnn, space, source, 2)
        layer = conv(e2cnn, given, fields(e2cnn, space, "regular", 3), size, **arguments)
        x = torch.randn(2, 2, *sides) if source == "trivial" else maps("p4m", 2, *sides)
        for mode in (True, False):
            converted = from_e2cnn(layer.train(mode))
            assert type(converted) is (snn.LiftingConv2d if source == "trivial" else snn.GroupConv2d)
            assert converted.training is mode
            assert_same(converted(x), ran(e2cnn, layer, x))

    @pytest.mark.parametrize("source", ["trivial", "regular"])
    def test_every_space(self, e2cnn, space, source):
        name, space = space
        layer = conv(e2cnn, fields(e2cnn, space, source, 2), fields(e2cnn, space, "regular", 3), 3, padding=1)
        x = torch.randn(2, 2, 5, 6) if source == "trivial" and name != "p1" else maps(name, 2, 5, 6)
        x = x[:, :, 0] if source == "trivial" and x.ndim == 5 else x
        converted = from_e2cnn(layer.eval())
        assert converted.group == sepgconv.group(name)
        assert_same(converted(x), ran(e2cnn, layer, x))
        assert_equivariant(converted, name, x)

    def test_evaluation_keeps_the_filter_of_the_last_eval(self, e2cnn):
        space = e2cnn[0].Rot2dOnR2(4)
        layer = conv(e2cnn, fields(e2cnn, space, "regular", 1), fields(e2cnn, space, "regular", 1), 3).eval()
        before = from_e2cnn(layer).weight.clone()
        with torch.no_grad():
            layer.weights.mul_(2)
        x = maps("p4", 1, 5, 5)
        assert torch.equal(from_e2cnn(layer).weight, before)
        assert_same(from_e2cnn(layer)(x), ran(e2cnn, layer, x))
        assert_same(from_e2cnn(layer.train())(x), ran(e2cnn, layer, x))

    def test_a_filter_that_is_not_equivariant_is_refused(self, e2cnn):
        space = e2cnn[0].Rot2dOnR2(4)
        for source, what in (("trivial", "filter"), ("regular", "filter"), ("regular", "bias")):
            layer = conv(e2cnn, fields(e2cnn, space, source, 1), fields(e2cnn, space, "regular", 1), 3).eval()
            with torch.no_grad():
                (layer.filter if what == "filter" else layer.expanded_bias)[0] += 1e-3
            with pytest.raises(ValueError, match=rf"the module \(R2Conv\) has a {what} that .*it deviates by"):
                from_e2cnn(layer)


def layers(e2cnn, given):
    """Every layer that has a rule, on a field type."""
    lib = e2cnn[1]
    return {
        "InnerBatchNorm": disturb(lib.InnerBatchNorm(given, eps=1e-2, momentum=0.3)),
        "InnerBatchNorm, cumulative": disturb(lib.InnerBatchNorm(given, momentum=None)),
        "InnerBatchNorm, plain": lib.InnerBatchNorm(given, affine=False, track_running_stats=False),
        "ReLU": lib.ReLU(given),
        "ReLU, in place": lib.ReLU(given, inplace=True),
        "ELU": lib.ELU(given, alpha=0.7),
        "sigmoid": lib.PointwiseNonLinearity(given, "p_sigmoid"),
        "tanh": lib.PointwiseNonLinearity(given, "p_tanh"),
        "max pool": lib.PointwiseMaxPool(given, 3, 2, 1),
        "max pool, dilated": lib.PointwiseMaxPool(given, 2, 1, 0, 2),
        "average pool": lib.PointwiseAvgPool(given, 3, 2, 1),
        "max pool, anti-aliased": lib.PointwiseMaxPoolAntialiased(given, 3, 2, 1),
        "average pool, anti-aliased": lib.PointwiseAvgPoolAntialiased(given, 0.66, 2),
        "average pool of one pixel": lib.PointwiseAvgPoolAntialiased(given, 0.1, 2),
        "adaptive pool": lib.PointwiseAdaptiveAvgPool(given, 2),
        "identity": lib.IdentityModule(given),
        "mask": lib.MaskModule(given, 7, margin=1),
        "group pool": lib.GroupPooling(given),
    }


LAYERS = ("InnerBatchNorm", "InnerBatchNorm, cumulative", "InnerBatchNorm, plain", "ReLU", "ReLU, in place", "ELU",
          "sigmoid", "tanh", "max pool", "max pool, dilated", "average pool", "max pool, anti-aliased",
          "average pool, anti-aliased", "average pool of one pixel", "adaptive pool", "identity", "mask",
          "group pool")  # fmt: skip


@pytest.mark.usefixtures("float64")
@each("kind", ["regular", "trivial"])
@each("name", LAYERS)
def test_layers_give_the_same(e2cnn, name, kind):
    space = e2cnn[0].FlipRot2dOnR2(4)
    layer = layers(e2cnn, fields(e2cnn, space, kind, 3))[name]
    x = maps("p4m", 3, 7, 6) if kind == "regular" else torch.randn(2, 3, 7, 6)
    converted = from_e2cnn(layer)
    if name == "mask":
        with pytest.raises(ValueError, match="Mask: expected maps of 7 x 7 pixels, as the mask is made for, got 7 x 6"):
            converted(x)
        x = maps("p4m", 3, 7, 7) if kind == "regular" else torch.randn(2, 3, 7, 7)
    for mode in (True, True, False):  # twice in training: statistics run
        found, expected = converted.train(mode)(x.clone()), ran(e2cnn, layer.train(mode), x.clone())
        if name == "group pool":  # theirs is float32, whatever comes in
            assert expected.dtype == torch.float32
            found = found.float()
        assert_same(found, expected)


def test_batch_norm_brings_its_statistics(e2cnn):
    given = fields(e2cnn, e2cnn[0].Rot2dOnR2(4), "regular", 3)
    layer = disturb(e2cnn[1].InnerBatchNorm(given, eps=0.5))
    ran(e2cnn, layer, maps("p4", 3, 4, 4))
    theirs, ours = getattr(layer, "batch_norm_[4]").state_dict(), from_e2cnn(layer).state_dict()
    assert list(theirs) == list(ours)
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert ours["num_batches_tracked"] == 1
    assert from_e2cnn(layer).eps == 0.5


def test_dropout(e2cnn):
    """Whole fibres at single positions stay or go, as in e2cnn, and the mean is kept."""
    given = fields(e2cnn, e2cnn[0].Rot2dOnR2(4), "regular", 3)
    x = torch.ones(4, 3, 4, 30, 30)
    single, field = (from_e2cnn(getattr(e2cnn[1], f"{kind}Dropout")(given, 0.25)) for kind in ("Pointwise", "Field"))
    assert type(single) is nn.Dropout
    assert type(field) is FieldDropout
    for layer, alike in ((single, False), (field, True)):
        y = layer(x)
        kept = y[:, :, 0] != 0
        assert bool((y[:, :, 1:] == y[:, :, :1]).all()) is alike
        assert 0 < float(kept.float().flatten(2).std(2).min())  # not whole channels
        assert float(y.mean()) == pytest.approx(1, abs=0.03)
        assert float(y.max()) == pytest.approx(1 / 0.75)
        assert torch.equal(layer.eval()(x), x)
    changed = FieldDropout(0.5, inplace=True)(x)
    assert changed is x
    with pytest.raises(ValueError, match="dropout probability"):
        FieldDropout(1.5)


def chain(e2cnn, space, **arguments):
    image, maps = fields(e2cnn, space, "trivial", 2), fields(e2cnn, space, "regular", 3)
    lib = e2cnn[1]
    return lib.SequentialModule(
        OrderedDict(
            stem=conv(e2cnn, image, maps, 3, padding=1),
            norm=disturb(lib.InnerBatchNorm(maps)),
            relu=lib.ReLU(maps),
            body=lib.SequentialModule(
                conv(e2cnn, maps, maps, 3, **arguments), disturb(lib.InnerBatchNorm(maps)), lib.ELU(maps)
            ),
            pool=lib.PointwiseMaxPool(maps, 2),
        )
    )


class TestSequentialModules:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
    def test_the_same_outputs_in_training_and_after(self, e2cnn, space, dtype, tolerance, request):
        if dtype == torch.float64:
            request.getfixturevalue("float64")
        name, space = space
        model = chain(e2cnn, space)
        converted, x = from_e2cnn(model), torch.randn(2, 2, 8, 10)
        assert type(converted) is snn.Sequential
        assert {p.dtype for p in converted.parameters()} == {dtype}
        assert [n for n, _ in converted.named_children()] == ["stem", "norm", "relu", "body", "pool"]
        for mode in (True, False):
            y = model.train(mode)(e2cnn[1].GeometricTensor(x, model.in_type))
            found = converted.train(mode)(x)
            assert_same(found, fields_to_maps(y.tensor, model.out_type), tolerance)
        assert found.shape == (2, 3, sepgconv.group(name).order, 3, 4)
        theirs = getattr(model.norm, f"batch_norm_[{found.shape[2]}]")
        assert_same(converted.norm.running_mean, theirs.running_mean, tolerance)
        assert_same(converted.norm.running_var, theirs.running_var, tolerance)

    @pytest.mark.usefixtures("float64")
    def test_modes_and_the_model_are_left_alone(self, e2cnn):
        model = chain(e2cnn, e2cnn[0].Rot2dOnR2(4))
        getattr(model.body, "1").eval()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        converted = from_e2cnn(model)
        assert [converted.norm.training, converted.body[1].training, converted.body.training] == [True, False, True]
        assert not any(module.training for module in from_e2cnn(copy.deepcopy(model).eval()).modules())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        with torch.no_grad():
            for p in converted.parameters():
                p.zero_()
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    @pytest.mark.usefixtures("float64")
    def test_what_it_is_good_for(self, e2cnn):
        """Equivariance, cost, the fast form, and training go on from the converted network."""
        model = from_e2cnn(chain(e2cnn, e2cnn[0].FlipRot2dOnR2(4), padding=1)).eval()
        x = torch.randn(2, 2, 8, 8)
        assert_equivariant(model, "p4m", x)
        assert sepgconv.analysis.cost(model, (2, 8, 8)).uncounted == ()
        assert_same(sepgconv.compile_for_inference(model)(x), model(x), 1e-10)
        model.train()(x).square().mean().backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.body.parameters())

    def test_a_module_that_is_there_twice_stays_one(self, e2cnn):
        given = fields(e2cnn, e2cnn[0].Rot2dOnR2(4), "regular", 2)
        norm = e2cnn[1].InnerBatchNorm(given)
        converted = from_e2cnn(e2cnn[1].SequentialModule(norm, e2cnn[1].ReLU(given), norm))
        assert converted[0] is converted[2]


def own_modules(e2cnn, width=2, space=None):
    lib, space = e2cnn[1], space or e2cnn[0].Rot2dOnR2(4)

    class Block(lib.EquivariantModule):
        def __init__(self, given):
            super().__init__()
            self.in_type = self.out_type = given
            self.branch = lib.SequentialModule(conv(e2cnn, given, given, 3, padding=1), lib.InnerBatchNorm(given))
            self.relu = lib.ReLU(given)

        def forward(self, x):
            return self.relu(x + self.branch(x))

        def evaluate_output_shape(self, input_shape):
            return input_shape

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.image, given = fields(e2cnn, space, "trivial", 1), fields(e2cnn, space, "regular", width)
            self.features = lib.SequentialModule(
                conv(e2cnn, self.image, given, 3, padding=1), Block(given), lib.PointwiseAvgPool(given, 2)
            )
            self.pool = lib.GroupPooling(given)
            self.head = nn.Linear(width, 3, dtype=torch.float32)

        def forward(self, x):
            x = self.pool(self.features(lib.GeometricTensor(x, self.image)))
            return self.head(x.tensor.mean((-2, -1)))

    return Net()


class TestModulesWithAForwardOfTheirOwn:
    def test_it_is_kept(self, e2cnn):
        model, x = own_modules(e2cnn), torch.randn(2, 1, 8, 8)
        converted = from_e2cnn(model)
        assert type(converted) is type(model)
        for mode in (True, False):
            assert_same(converted.train(mode)(x), model.train(mode)(x), 1e-5)
        ours = [m for m in converted.modules() if isinstance(m, snn.GroupConv2d | snn.LiftingConv2d)]
        assert len(ours) == 2
        assert not any(type(m).__name__ in ("R2Conv", "InnerBatchNorm") for m in converted.modules())
        assert converted.head is not model.head
        assert_equivariant(converted, "p4", x)

    @pytest.mark.parametrize("space", ["Rot2dOnR2", "FlipRot2dOnR2"])
    def test_it_is_written_down_in_ordinary_layers(self, e2cnn, space):
        """A forward that checks and wraps tensors is read all the same; nothing of e2cnn is left."""
        model = own_modules(e2cnn, space=getattr(e2cnn[0], space)(4)).eval()
        plain = to_plain(from_e2cnn(model), input_shape=(1, 8, 8))
        for size in ((8, 8), (6, 10)):
            x = torch.randn(2, 1, *size)
            assert_same(plain(x), model(x), 1e-5)
        assert all(type(m).__module__.startswith(("torch.nn", "torch.fx")) for m in plain.modules())

    def test_it_is_exported(self, e2cnn, tmp_path):
        pytest.importorskip("onnxruntime")
        written = to_onnx(from_e2cnn(own_modules(e2cnn).eval()), tmp_path / "net.onnx", input_shape=(1, 8, 8))
        assert written.difference < 1e-5
        assert written.free == ("batch", "height", "width")

    def test_the_bridge_wants_its_field_type(self, e2cnn):
        converted = from_e2cnn(own_modules(e2cnn))
        other = fields(e2cnn, e2cnn[0].Rot2dOnR2(4), "trivial", 1)
        with pytest.raises(ValueError, match="FieldBridge: expected a tensor of"):
            converted.pool(e2cnn[1].GeometricTensor(torch.zeros(1, 1, 4, 4), other))

    def test_the_p4cnn_of_the_benchmarks(self, e2cnn):
        from benchmarks.contenders.peers import E2P4CNN

        model = E2P4CNN(2).eval()
        x = torch.randn(3, 1, 28, 28)
        converted = from_e2cnn(model.features.body)
        assert_same(model.classifier(converted(x).mean((-2, -1))), model(x), 1e-5)


def problem(e2cnn, name):
    """A module with something in it that has no counterpart."""
    spaces, lib = e2cnn
    c4 = spaces.Rot2dOnR2(4)
    image, regular = fields(e2cnn, c4, "trivial", 2), fields(e2cnn, c4, "regular", 2)

    def first(space, kind):
        return lib.SequentialModule(
            conv(e2cnn, fields(e2cnn, space, "trivial", 1), lib.FieldType(space, [kind(space)]), 3)
        )

    class Subclass(lib.ReLU):
        def forward(self, x):
            return super().forward(x)

    return {
        "C65": lambda: lib.SequentialModule(lib.ReLU(fields(e2cnn, spaces.Rot2dOnR2(65), "regular", 1))),
        "SO2": lambda: first(spaces.Rot2dOnR2(-1, maximum_frequency=2), lambda space: space.irrep(1)),
        "irrep": lambda: first(c4, lambda space: space.irrep(1)),
        "sign": lambda: lib.SequentialModule(
            conv(e2cnn, image, lib.FieldType(c4, [c4.irrep(2)]), 3)
        ),
        "axis": lambda: first(spaces.Flip2dOnR2(axis=0.0), lambda space: space.regular_repr),
        "slant": lambda: first(spaces.FlipRot2dOnR2(2, axis=math.pi / 8), lambda space: space.regular_repr),
        "mixed": lambda: lib.SequentialModule(lib.ReLU(image + regular)),
        "quotient": lambda: lib.SequentialModule(lib.ReLU(lib.FieldType(c4, [c4.quotient_repr(2)]))),
        "ceil": lambda: lib.SequentialModule(lib.PointwiseMaxPool(regular, 2, ceil_mode=True)),
        "sides": lambda: lib.SequentialModule(lib.PointwiseMaxPool(regular, (2, 1))),
        "norm": lambda: lib.SequentialModule(lib.NormNonLinearity(regular)),
        "subclass": lambda: lib.SequentialModule(Subclass(regular)),
    }[name]()  # fmt: skip


@each(
    ("name", "words"),
    [
        ("C65", r"0 \(ReLU\) is of the space 65-Rotations with 65 elements, and no group here has so many"),
        ("SO2", r"0 \(R2Conv\) is of the continuous group SO\(2\)"),
        ("irrep", r"0 \(R2Conv\) has fields of the representation 'irrep_1' of C4"),
        ("sign", r"0 \(R2Conv\) has fields of the representation 'irrep_2' of C4"),
        ("axis", r"0 \(R2Conv\) is of the space Flips, whose elements are not those of p2, pm, cm"),
        ("slant", r"0 \(R2Conv\) is of the space Flip_2-Rotations.*, whose elements are not those of p4, pmm, cmm"),
        ("mixed", r"0 \(ReLU\) has regular and trivial fields in one type"),
        ("quotient", r"0 \(ReLU\) has fields of the representation 'quotient\[2\]' of C4"),
        ("ceil", r"0 \(PointwiseMaxPool\) has ceil_mode=True"),
        ("sides", r"0 \(PointwiseMaxPool\).* kernel_size=\(2, 1\) breaks the equivariance"),
        ("norm", r"0 \(NormNonLinearity\) has no counterpart here"),
        ("subclass", r"0 \(Subclass\) is a class of its own, derived from ReLU"),
    ],
)
def test_what_has_no_counterpart_is_named(e2cnn, name, words):
    with pytest.raises(ValueError, match=rf"^from_e2cnn: {words}.*Supported are regular fields of C_n"):
        from_e2cnn(problem(e2cnn, name))


def test_all_problems_are_named_at_once(e2cnn):
    lib, given = e2cnn[1], fields(e2cnn, e2cnn[0].Rot2dOnR2(4), "regular", 1)
    inner = lib.SequentialModule(lib.NormNonLinearity(given), lib.PointwiseMaxPool(given, 2, ceil_mode=True))
    model = nn.ModuleDict({"stem": lib.SequentialModule(lib.ReLU(given), inner), "head": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match=r"stem\.1\.0 \(NormNonLinearity\).*; stem\.1\.1 \(PointwiseMaxPool\)"):
        from_e2cnn(model)


def test_modules_of_others_are_refused(e2cnn):
    given = fields(e2cnn, e2cnn[0].Rot2dOnR2(4), "regular", 1)
    with pytest.raises(ValueError, match="from_e2cnn: there is no module of e2cnn in this Linear"):
        from_e2cnn(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="from_escnn: there is no module of escnn in this ReLU"):
        from_escnn(e2cnn[1].ReLU(given))


@pytest.mark.usefixtures("float64")
def test_another_pose_order_is_noticed(e2cnn):
    """Negative control of the comparisons above."""
    model = chain(e2cnn, e2cnn[0].FlipRot2dOnR2(4)).eval()
    x = torch.randn(1, 2, 8, 8)
    expected = fields_to_maps(model(e2cnn[1].GeometricTensor(x, model.in_type)).tensor, model.out_type)
    converted = from_e2cnn(model)
    assert_same(converted(x), expected)
    broken = copy.deepcopy(converted)
    with torch.no_grad():
        weight = broken.body[0].weight
        weight.copy_(weight[:, :, [0, 1, 2, 3, 4, 7, 6, 5]])
    with pytest.raises(AssertionError):
        assert_same(broken(x), expected)


def test_what_was_frozen_stays_frozen(e2cnn):
    space = e2cnn[0].Rot2dOnR2(4)
    images, maps_ = fields(e2cnn, space, "trivial", 1), fields(e2cnn, space, "regular", 2)
    for frozen in ("weights", "bias"):
        layer = conv(e2cnn, images, maps_, 3)
        getattr(layer, frozen).requires_grad_(False)
        converted = from_e2cnn(layer)
        assert converted.weight.requires_grad == (frozen != "weights")
        assert converted.bias.requires_grad == (frozen != "bias")
    norm = e2cnn[1].InnerBatchNorm(maps_).requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in from_e2cnn(norm).parameters())


def patch(layer):
    layer.forward = layer.forward


def pruned(layer, name):
    prune.l1_unstructured(layer, name, 0.3)


def part(model, name):
    return model.get_submodule(name)


class TestForeignBehaviour:
    """Hooks, patches and computed weights on modules of e2cnn: kept where the module is, else named."""

    def small(self, e2cnn):
        spaces, lib = e2cnn
        c4 = spaces.Rot2dOnR2(4)
        image, regular = fields(e2cnn, c4, "trivial", 1), fields(e2cnn, c4, "regular", 2)
        layers = conv(e2cnn, image, regular, 3), lib.InnerBatchNorm(regular), lib.ReLU(regular)
        return lib.SequentialModule(*layers, lib.GroupPooling(regular)).eval()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda m: part(m, "0").register_forward_hook(lambda *a: None), r"0 \(R2Conv\) has a forward hook"),
            (lambda m: part(m, "2").register_forward_pre_hook(lambda *a: None), r"2 \(ReLU\) has a forward pre-hook"),
            (lambda m: part(m, "0").register_full_backward_hook(lambda *a: None), r"0 \(R2Conv\) has a backward hook"),
            (lambda m: m.register_forward_hook(lambda *a: None), r"the module \(SequentialModule\) has a forward hook"),
            (
                lambda m: setattr(part(m, "2"), "forward", part(m, "2").forward),
                r"2 \(ReLU\) has a forward that was put in its place",
            ),
            (
                lambda m: prune.l1_unstructured(part(m, "0"), "weights", 0.3),
                r"0 \(R2Conv\) has a forward pre-hook \(L1Unstr",
            ),
            (
                lambda m: prune.l1_unstructured(next(part(m, "1").children()), "weight", 0.3),
                r"1\..* \(BatchNorm3d\) has a for",
            ),
        ],
    )
    def test_what_would_be_lost_is_named(self, e2cnn, change, words):
        model = self.small(e2cnn)
        from_e2cnn(model)
        change(model)
        with pytest.raises(ValueError, match=rf"^from_e2cnn: {words}.*, which would be lost; remove it"):
            from_e2cnn(model)

    def test_parametrised_layers_are_named(self, e2cnn):
        model = self.small(e2cnn)
        parametrize.register_parametrization(part(model, "0"), "weights", nn.Identity())
        with pytest.raises(ValueError, match=r"0 \(ParametrizedR2Conv\) is a class of its own, derived from R2Conv"):
            from_e2cnn(model)

    def test_hooks_of_modules_that_are_kept_are_kept(self, e2cnn):
        model, x = own_modules(e2cnn).eval(), torch.randn(2, 1, 8, 8)
        model.register_forward_hook(lambda module, arguments, output: 2 * output)
        model.head.register_forward_pre_hook(lambda module, arguments: (arguments[0] + 1,))
        part(model.features, "1").register_forward_hook(lambda module, arguments, output: output + output)
        torch.testing.assert_close(from_e2cnn(model)(x), model(x))

    def test_computed_weights_of_modules_that_are_kept_are_renewed(self, e2cnn):
        model, x = own_modules(e2cnn), torch.randn(2, 1, 8, 8)
        prune.l1_unstructured(model.head, "weight", 0.3)
        model.train()(x).sum().backward()  # the pruned weight now hangs on a graph
        torch.testing.assert_close(from_e2cnn(model).eval()(x), model.eval()(x))

    def test_a_rule_that_is_wrong_is_seen(self, e2cnn, monkeypatch):
        """Negative control of the comparison."""
        monkeypatch.setitem(RULES, "ReLU", lambda module: nn.Tanh())
        with pytest.raises(ValueError, match=r"^from_e2cnn: the module \(SequentialModule\) would differ by \d"):
            from_e2cnn(self.small(e2cnn))
