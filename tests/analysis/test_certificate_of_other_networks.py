"""The certificate on ordinary networks and on those of e2cnn, where it must find what their users report."""

import warnings

import pytest
import torch
from torch import nn

from sepgconv.analysis import certify, sizes
from sepgconv.functional import act
from sepgconv.symmetry import group as find_group

# Of e2cnn, an old package on a new torch and NumPy.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


def ordinary():
    """An ordinary CNN with the habits of many: in-place ReLU, `+=`, flattening in `forward`."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.relu = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.norm(self.conv(x))
            y += x
            return self.relu(y)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block, self.head = nn.Conv2d(3, 8, 3, padding=1), Block(), nn.Linear(8, 5)

        def forward(self, x):
            return self.head(self.block(self.stem(x)).mean((-2, -1)))

    return Net()


def symmetrize(model, group):
    """Make every kernel symmetric: the one way in which an ordinary convolution is exact."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            moved = [act(group, g, module.weight.data) for g in range(find_group(group).order)]
            module.weight.data = torch.stack(moved).mean(0)
    return model


def test_an_ordinary_network_fails_at_its_first_convolution():
    model = ordinary()
    for group in ("p2", "p4", "pm", "p4m"):
        certificate = certify(model, group, (3, 8, 8))
        assert certificate.first_fault == "stem"
        assert f"ordinary convolution, whose kernels are not symmetric under {group}" in certificate.reason


def test_with_symmetric_kernels_it_is_exact():
    """In float32, so to the rounding of its kernels; the fault is then where one kernel is not symmetric."""
    model = symmetrize(ordinary(), "p4")
    certificate = certify(model, "p4", (3, 8, 8))
    assert certificate.exact
    assert certificate.error > 1e-12  # the kernels are no more symmetric than float32 allows
    model.block.conv.weight.data[0, 0, 0, 0] += 0.5
    assert certify(model, "p4", (3, 8, 8)).first_fault == "block.conv"
    half_turns = symmetrize(ordinary(), "p2")
    assert certify(half_turns, "p2", (3, 8, 8)).exact
    assert certify(half_turns, "p4", (3, 8, 8)).first_fault == "stem"


def test_strides_of_ordinary_layers():
    model = symmetrize(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(1)), "p4"
    )
    certificate = certify(model, "p4", (1, 8, 8))
    assert certificate.first_fault == "1"
    assert "a stride of 2 on a map of 8 x 8" in certificate.reason
    assert certificate.exact_sizes[:2] == (7, 9)
    assert certify(model, "p4", (1, 9, 9)).exact
    strided = symmetrize(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, stride=2), nn.AdaptiveAvgPool2d(1)), "p4")
    assert "a stride of 2" in certify(strided, "p4", (1, 8, 8)).reason


def test_a_step_that_is_no_module_is_found_in_the_network_itself():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 1)

        def forward(self, x):
            return nn.functional.max_pool2d(self.conv(x), 2).mean((-2, -1))

    certificate = certify(Net(), "p4", (1, 7, 7))
    assert (certificate.first_fault, "between its layers" in certificate.reason) == ("Net", True)
    assert certify(Net(), "p4", (1, 8, 8)).exact


@pytest.fixture(scope="module")
def e2():
    pytest.importorskip("e2cnn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an old package on a new torch and NumPy
        import e2cnn.gspaces
        import e2cnn.nn

        yield e2cnn


class Field(nn.Module):
    """A network of e2cnn as it is usually wrapped: an ordinary tensor in, scores out."""

    def __init__(self, e2, *middle, turns=4, head="invariant", pooled=True):
        super().__init__()
        space = e2.gspaces.Rot2dOnR2(N=turns)
        self.image = e2.nn.FieldType(space, [space.trivial_repr] * 2)
        # Fields of two kinds, so that channels are no multiple of the order of the group.
        self.maps = e2.nn.FieldType(space, 2 * [space.regular_repr] + [space.trivial_repr])
        regular = e2.nn.FieldType(space, 3 * [space.regular_repr])
        layers = [e2.nn.R2Conv(self.image, self.maps, 3, padding=1), e2.nn.InnerBatchNorm(self.maps)]
        layers += [e2.nn.ReLU(self.maps, inplace=True), *(make(e2, self.maps) for make in middle)]
        layers += [e2.nn.R2Conv(self.maps, regular, 3, padding=1)]
        layers += [e2.nn.GroupPooling(regular)] if head == "invariant" else []
        self.body = e2.nn.SequentialModule(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1) if pooled else nn.Identity()
        self.wrap = e2.nn.GeometricTensor
        self.classifier = nn.LazyLinear(5)

    def forward(self, x):
        return self.classifier(self.pool(self.body(self.wrap(x, self.image)).tensor).flatten(1))


def built(model, side=8):
    model(torch.randn(2, 2, side, side))  # the last layer takes what size there is
    return model


def conv(stride, padding=1, kernel=3):
    return lambda e2, maps: e2.nn.R2Conv(maps, maps, kernel, stride=stride, padding=padding)


def pool(size):
    return lambda e2, maps: e2.nn.PointwiseMaxPool(maps, size)


@pytest.mark.parametrize("training", [True, False])
def test_an_e2cnn_network_is_exact(e2, training):
    model = built(Field(e2, conv(1), pool(2))).train(training)
    before = model(torch.ones(1, 2, 8, 8))
    certificate = certify(model, "p4", (2, 8, 8))
    assert certificate.exact, certificate.reason
    assert certificate.varies
    rows = {row.name: row for row in certificate.layers}
    assert rows["body.1"].kind == "InnerBatchNorm"  # a layer, not what it is made of
    assert rows["body.3"].carries == "fields of 4-Rotations"
    assert rows["body.3"].output_shape == (9, 8, 8)
    # The model still works, in its own precision: double() on a layer of e2cnn would reach others.
    torch.testing.assert_close(model.train(training)(torch.ones(1, 2, 8, 8)), before)
    assert model(torch.ones(1, 2, 8, 8)).dtype == torch.float32


def test_groups_that_an_e2cnn_network_has_and_has_not(e2):
    model = built(Field(e2, turns=8))
    assert certify(model, "p2", (2, 8, 8)).exact
    assert certify(model, "p4", (2, 8, 8)).exact
    certificate = certify(model, "p4m", (2, 8, 8))
    assert certificate.first_fault == "body.0"
    assert "R2Conv is a layer on 8-Rotations, which does not have all elements of p4m" in certificate.reason


def test_a_stride_on_an_even_map_is_found(e2):
    """e2cnn#11, #36: invariant at some widths only, since strides do not divide the map."""
    model = built(Field(e2, conv(2)))
    certificate = certify(model, "p4", (2, 8, 8))
    assert certificate.first_fault == "body.3"
    assert "a stride of 2 on a map of 8 x 8" in certificate.reason
    assert "a 4 x 4 window of stride 2 and padding 1" in certificate.reason
    assert certificate.exact_sizes[:2] == (7, 9)
    assert [side for side in range(5, 12) if certify(model, "p4", (2, side, side)).exact] == [5, 7, 9, 11]
    assert sizes(model, 5, 11, group="p4") == (5, 7, 9, 11)
    assert certify(built(Field(e2, conv(2, kernel=4))), "p4", (2, 8, 8)).exact


def test_a_pool_on_an_odd_map_is_found(e2):
    model = built(Field(e2, pool(2)))
    certificate = certify(model, "p4", (2, 9, 9))
    assert (certificate.first_fault, "a map of 9 x 9" in certificate.reason) == ("body.3", True)


def test_a_flattening_head_is_found(e2):
    poses = certify(built(Field(e2, head="flattened")), "p4", (2, 8, 8))
    assert (poses.first_fault, "poses are flattened into the classifier" in poses.reason) == ("classifier", True)
    positions = certify(built(Field(e2, pooled=False)), "p4", (2, 8, 8))
    assert (positions.first_fault, "positions are flattened" in positions.reason) == ("classifier", True)


def test_an_ordinary_layer_between_those_of_e2cnn_is_found(e2):
    class Ordinary(nn.Module):
        def __init__(self, wrap, maps):
            super().__init__()
            self.conv, self.wrap = nn.Conv2d(maps.size, maps.size, 3, padding=1), wrap

        def forward(self, x):
            return self.wrap(self.conv(x.tensor), x.type)

    model = built(Field(e2))
    steps = list(model.body.children())
    model.body = nn.Sequential(*steps[:3], Ordinary(model.wrap, model.maps), *steps[3:])
    certificate = certify(model, "p4", (2, 8, 8))
    assert certificate.first_fault == "body.3"


def test_a_module_of_e2cnn_alone(e2):
    model = Field(e2, conv(1)).body
    certificate = certify(model, "p4", (2, 8, 6))
    assert certificate.exact
    assert sizes(Field(e2, conv(2)).body, 5, 8) == (5, 7)
