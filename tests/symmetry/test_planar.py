"""The groups by name, and the order of their elements, on which checkpoints depend."""

import pytest
import torch

import sepgconv
from sepgconv.functional import act
from sepgconv.symmetry import C1, C2, C4, CM, CMM, D1, D2, D4, GROUPS, list_groups, planar_group, register_group
from tests.covering import each

POINT_GROUPS = {"p1": C1, "p2": C2, "p4": C4, "pm": D1, "pmm": D2, "p4m": D4}
ORDERS = {"p1": 1, "p2": 2, "p4": 4, "pm": 2, "pmm": 4, "p4m": 8}
DIAGONAL_GROUPS = {"cm": CM, "cmm": CMM}


def test_there_are_fourteen_names():
    assert set(GROUPS) == {*POINT_GROUPS, *DIAGONAL_GROUPS, "C1", "C2", "C4", "D1", "D2", "D4"}
    assert all(GROUPS[name].name == name for name in GROUPS)


def test_every_group_is_listed_once_under_its_plane_group_name():
    assert [group.name for group in list_groups()] == [*POINT_GROUPS, *DIAGONAL_GROUPS]
    assert len(set(list_groups())) == len(list_groups())


@pytest.mark.parametrize("plane", POINT_GROUPS)
def test_plane_group_names_mean_their_point_groups(plane):
    group, point = sepgconv.group(plane), POINT_GROUPS[plane]
    assert group == point == sepgconv.group(point.name)
    assert hash(group) == hash(point)
    assert (group.name, group.order) == (plane, ORDERS[plane])
    assert sum(group == other for other in POINT_GROUPS.values()) == 1


def test_a_group_comes_back_as_it_is(group):
    assert sepgconv.group(group) is group


@each(
    ("name", "nearest"),
    [
        ("P4", "p4"),
        ("P4M", "p4m"),
        ("p4mm", "p4m"),
        ("p3", "p4"),
        ("d4", "D4"),
        ("d4m", "p4m"),
        ("c4", "C4"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"unknown group '{name}'; did you mean .*'{nearest}'.*valid: p1, p2, p4, pm"):
        sepgconv.group(name)


@pytest.mark.parametrize("matrix", [((1, 0), (0, 1)), ((-1, 0), (0, -1)), ((0, -1), (1, 0)), ((1, 1), (0, -1))])
def test_what_is_no_mirror_is_refused(matrix):
    with pytest.raises(ValueError, match=r"odd: (expected the matrix of a mirror|the matrices must be orthogonal)"):
        planar_group("odd", turns=2, mirror=matrix)


@pytest.fixture
def registry():
    before = dict(GROUPS)
    yield
    GROUPS.clear()
    GROUPS.update(before)


@pytest.mark.usefixtures("registry")
def test_a_registered_group_is_known_everywhere_by_its_names():
    mine = register_group(planar_group("mine", turns=1, mirror=((-1, 0), (0, 1))), "pm, top-bottom")
    assert sepgconv.group("mine") == sepgconv.group("pm, top-bottom") == mine
    assert list_groups()[-1].name == "mine"
    network = sepgconv.create_model("gc_p4cnn", width=6, group="mine").eval()
    assert network.config["group"] == "mine"
    certificate = sepgconv.analysis.certify(network, "mine", (1, 28, 28))
    assert certificate.exact
    assert certificate.varies
    assert not sepgconv.analysis.certify(network, "pm", (1, 28, 28)).exact


@pytest.mark.usefixtures("registry")
def test_a_name_stands_for_one_group():
    with pytest.raises(ValueError, match="the name 'p4' stands for another group already"):
        register_group(planar_group("fine", turns=2), "p4")
    assert "fine" not in GROUPS
    with pytest.raises(ValueError, match="needs a name"):
        register_group(planar_group("", turns=2))
    register_group(planar_group("p2", turns=2))  # the same again does no harm


def test_element_order_is_turns_then_mirrored_turns(group):
    """Index m * turns + t is mirror^m turn^t: turns as `torch.rot90`, then a flip of left and right."""
    turns = sum(matrix[0][0] * matrix[1][1] - matrix[0][1] * matrix[1][0] == 1 for matrix in group.matrices)
    mirror = (lambda x: x.transpose(-2, -1)) if group.name in DIAGONAL_GROUPS else (lambda x: x.flip(-1))
    image = torch.randn(1, 1, 5, 5)
    for g in range(group.order):
        mirrored, turned = divmod(g, turns)
        expected = torch.rot90(image, turned * 4 // turns, (-2, -1))
        assert torch.equal(act(group, g, image), mirror(expected) if mirrored else expected)


def test_element_order_in_examples():
    image = torch.tensor([[1, 2], [3, 4]])[None, None]
    assert act("p4", 1, image).tolist() == [[[[2, 4], [1, 3]]]]  # the right column becomes the top row
    assert act("p2", 1, image).tolist() == [[[[4, 3], [2, 1]]]]
    assert act("pm", 1, image).tolist() == [[[[2, 1], [4, 3]]]]
    assert act("pmm", 3, image).tolist() == [[[[3, 4], [1, 2]]]]
    assert act("p4m", 5, image).tolist() == [[[[4, 2], [3, 1]]]]
    assert act("cm", 1, image).tolist() == [[[[1, 3], [2, 4]]]]
    assert act("cmm", 3, image).tolist() == [[[[4, 2], [3, 1]]]]
