"""from_escnn, against a stand-in with escnn's names and mathematics of its own; never against escnn itself."""

import importlib.util
import math
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv import nn as snn
from sepgconv.convert import fields_to_maps, from_e2cnn, from_escnn, maps_to_fields
from sepgconv.functional import act
from sepgconv.testing import assert_equivariant

_SPEC = importlib.util.spec_from_file_location("escnn_stand_in", Path(__file__).with_name("escnn_stand_in.py"))
escnn = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(escnn)

SPACES = {
    "p1": lambda: escnn.rot2dOnR2(1),
    "p2": lambda: escnn.rot2dOnR2(2),
    "p4": lambda: escnn.rot2dOnR2(4),
    "pm": lambda: escnn.flipRot2dOnR2(1),
    "pmm": lambda: escnn.flipRot2dOnR2(2),
    "p4m": lambda: escnn.flipRot2dOnR2(4),
}
pytestmark = pytest.mark.usefixtures("float64")


def network(space, channels=2):
    image = escnn.FieldType(space, [space.trivial_repr])
    maps = escnn.FieldType(space, channels * [space.regular_repr])
    first = image if len(space.fibergroup.elements) > 1 else maps
    model = escnn.SequentialModule(
        OrderedDict(
            stem=escnn.R2Conv(first, maps, 3, padding=1),
            norm=escnn.InnerBatchNorm(maps),
            relu=escnn.ReLU(maps),
            body=escnn.SequentialModule(escnn.R2Conv(maps, maps, 3, padding=1, padding_mode="circular")),
            pool=escnn.PointwiseMaxPool2D(maps, 2),
            mean=escnn.PointwiseAvgPool2D(maps, 3, 1, 1),
        )
    )
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm3d)):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.weight)
    return model


@pytest.mark.parametrize("name", SPACES)
def test_the_same_outputs(name):
    model = network(SPACES[name]())
    x = torch.randn(2, model.in_type.size, 6, 8)
    converted = from_escnn(model)
    assert type(converted) is snn.Sequential
    for mode in (True, False):
        theirs = model.train(mode)(escnn.GeometricTensor(x, model.in_type)).tensor
        expected = fields_to_maps(theirs, model.out_type)
        found = converted.train(mode)(fields_to_maps(x, model.in_type))
        assert found.shape == expected.shape
        assert float((found - expected).detach().abs().max()) <= 1e-10 * float(expected.detach().abs().max())
    assert converted.stem.group == sepgconv.group(name)


def test_the_converted_network_is_equivariant():
    model = from_escnn(network(SPACES["p4m"]())).eval()
    assert_equivariant(model, "p4m", torch.randn(1, 1, 8, 8))


def test_their_action_is_ours():
    space = SPACES["p4m"]()
    given, group = escnn.FieldType(space, 2 * [space.regular_repr]), sepgconv.group("p4m")
    x, picture = torch.randn(1, 16, 5, 5), torch.randn(1, 1, 5, 5)
    for element in space.fibergroup.elements:
        plane = space.basespace_action(element)
        (g,) = (g for g in range(8) if torch.equal(act(group, g, picture), escnn.move_pixels(picture, plane)))
        moved = torch.einsum("ij,bjyx->biyx", given.matrix(element).round(), escnn.move_pixels(x, plane))
        assert torch.allclose(fields_to_maps(moved, given), act(group, g, fields_to_maps(x, given)))
    there = fields_to_maps(x, given).flatten(1, 2)
    assert not torch.equal(fields_to_maps(there, given).flatten(1, 2), x)  # the order is not its own inverse
    assert torch.equal(maps_to_fields(fields_to_maps(x, given), given), x)


def test_pooling_and_modules_of_their_own():
    space = SPACES["p4"]()
    body = network(space)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.pool = body, escnn.GroupPooling(body.out_type)

        def forward(self, x):
            return self.pool(self.body(escnn.GeometricTensor(x, self.body.in_type))).tensor.mean((-2, -1))

    model, x = Net().eval(), torch.randn(2, 1, 8, 8)
    converted = from_escnn(model)
    assert any(isinstance(m, snn.GroupMaxPool) for m in converted.modules())
    assert torch.allclose(converted(x), model(x))
    assert_equivariant(converted, "p4", x)


def test_what_has_no_counterpart_is_named():
    slant = escnn.flipRot2dOnR2(1, axis=math.pi / 8)
    with pytest.raises(ValueError, match=r"is of the space D1_on_R2, whose elements are not those of p2, pm, cm"):
        from_escnn(escnn.ReLU(escnn.FieldType(slant, [slant.regular_repr])))
    continuous = escnn.GSpace2D(escnn.Group("SO(2)", 1, 1, order=-1))
    with pytest.raises(ValueError, match=r"is of the continuous group SO\(2\)"):
        from_escnn(escnn.ReLU(escnn.FieldType(continuous, [continuous.trivial_repr])))
    four = escnn.rot2dOnR2(4)
    maps = escnn.FieldType(four, [four.regular_repr])
    model = escnn.SequentialModule(escnn.NormNonLinearity(maps), escnn.PointwiseAvgPool2D(maps, 2, ceil_mode=True))
    with pytest.raises(ValueError, match=r"0 \(NormNonLinearity\) has no .* here; 1 \(PointwiseAvgPool2D\) has ceil"):
        from_escnn(model)
    with pytest.raises(ValueError, match="from_e2cnn: there is no module of e2cnn in this ReLU"):
        from_e2cnn(escnn.ReLU(maps))
