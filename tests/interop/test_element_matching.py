"""The one way of matching group elements, against images that e2cnn itself moves."""

import dataclasses

import pytest
import torch

import sepgconv
from sepgconv._gspaces import ElementMatching, match_elements, match_group
from sepgconv.analysis.certify.fields import field_action
from sepgconv.functional import act
from tests.covering import each

# e2cnn 0.2.3 indexes with bytes where it builds a basis.
pytestmark = pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8:UserWarning:e2cnn")

# Black at the edge, where e2cnn loses pixels when it rotates by an angle that is rounded.
IMAGE = torch.nn.functional.pad(torch.arange(1.0, 10.0).view(1, 1, 3, 3), (1, 1, 1, 1))


def moved_by_e2cnn(e2cnn, space, element, image):
    scalar = e2cnn[1].FieldType(space, [space.trivial_repr])
    return e2cnn[1].GeometricTensor(image, scalar).transform(element).tensor


def test_matched_elements_move_an_image_alike(e2cnn, space):
    name, space = space
    matching = match_group(space)
    assert matching.group == sepgconv.group(name)
    for g, element in enumerate(matching.elements):
        assert torch.equal(moved_by_e2cnn(e2cnn, space, element, IMAGE), act(matching.group, g, IMAGE))


LARGER = {
    "C8": lambda spaces: spaces.Rot2dOnR2(8),
    "D8": lambda spaces: spaces.FlipRot2dOnR2(8),
    "SO(2)": lambda spaces: spaces.Rot2dOnR2(-1, maximum_frequency=2),
    "O(2)": lambda spaces: spaces.FlipRot2dOnR2(-1, maximum_frequency=2),
}


@pytest.mark.parametrize("name", ["p2", "p4", "pm", "p4m"])
@each("larger", LARGER)
def test_elements_of_larger_spaces(e2cnn, name, larger):
    space, group = LARGER[larger](e2cnn[0]), sepgconv.group(name)
    matching = match_elements(space, group)
    if "m" in name and not hasattr(space, "axis"):
        assert matching is None
        assert field_action(group, e2cnn[1].FieldType(space, [space.trivial_repr])) is None
        return
    assert matching is not None
    for g, element in enumerate(matching.elements):
        found = moved_by_e2cnn(e2cnn, space, element, IMAGE)
        torch.testing.assert_close(found, act(group, g, IMAGE), rtol=0, atol=1e-3)


def test_certificates_and_conversions_match_alike(e2cnn, space):
    """Maps that are moved by the certificate's action are the maps of ours, moved."""
    name, space = space
    group = sepgconv.group(name)
    regular = e2cnn[1].FieldType(space, 2 * [space.regular_repr])
    x, action = torch.randn(2, regular.size, 5, 5, dtype=torch.float64), field_action(group, regular)
    assert action is not None
    for g in range(group.order):
        found = sepgconv.convert.fields_to_maps(action.move(g, x), regular)
        torch.testing.assert_close(found, act(group, g, sepgconv.convert.fields_to_maps(x, regular)))


def test_a_wrong_matching_is_seen(e2cnn):
    """Negative control: two mirrors of D4 exchanged."""
    matching = match_group(e2cnn[0].FlipRot2dOnR2(4))
    swapped = list(matching.elements)
    swapped[4], swapped[5] = swapped[5], swapped[4]
    with pytest.raises(ValueError, match="whose elements do not multiply as those of"):
        ElementMatching(matching.space, matching.group, tuple(swapped))
    assert dataclasses.replace(matching) == matching
