"""GroupToVector: vectors that turn with the image, against the action of every element."""

import itertools

import pytest
import torch
from torch import nn

from sepgconv import compile_for_inference
from sepgconv import group as get_group
from sepgconv.analysis import certify, cost, equivariance_error
from sepgconv.convert import to_plain
from sepgconv.functional import act, group_to_vector
from sepgconv.nn import GroupConv2d, GroupMaxPool, GroupToVector, LiftingConv2d
from sepgconv.symmetry import vector_matrices
from tests.covering import each

GROUPS = ("p4", "p4m", "C8", "D6", "cm", "pm", "p1", "C5")


@each("name", GROUPS)
@each("frequency", [1, 2, 3])
def test_matrices_are_a_representation_that_turns_with_the_image(name, frequency):
    group, found = get_group(name), vector_matrices(name, frequency)
    for g, h in itertools.product(range(group.order), repeat=2):
        assert abs(found[g] @ found[h] - found[group.table[g][h]]).max() < 1e-12
    if frequency == 1:  # (y, x) with y down, as (x, -y)
        for g, matrix in enumerate(group.matrices):
            y, x = matrix[0][0] * 0.3 + matrix[0][1] * 0.8, matrix[1][0] * 0.3 + matrix[1][1] * 0.8
            assert abs(found[g] @ [0.8, -0.3] - [x, -y]).max() < 1e-12
    turn = torch.tensor(0.4).double()
    vector = torch.stack(((frequency * turn).cos(), (frequency * turn).sin())).numpy()
    for g, matrix in enumerate(found):  # of the pointer at angle t, which each element takes to another angle
        one = vector_matrices(name)[g] @ torch.stack((turn.cos(), turn.sin())).numpy()
        angle = torch.atan2(torch.tensor(one[1]), torch.tensor(one[0])) * frequency
        assert abs(matrix @ vector - torch.stack((angle.cos(), angle.sin())).numpy()).max() < 1e-12


@each("name", GROUPS)
@each("frequency", [1, 2])
def test_vectors_turn_with_the_poses_under_every_element(name, frequency, float64):
    """The poses move exactly under all elements, and the mean over positions forgets where the pixels went."""
    group = get_group(name)
    layer = GroupToVector(3, 2, name, frequency=frequency)
    x = torch.randn(2, 3, group.order, 5, 5)
    expected, matrices = layer(x), torch.from_numpy(vector_matrices(name, frequency))
    assert expected.shape == (2, 2, 2)
    by_definition = torch.einsum("gij,kcj,bcg->bki", matrices, layer.weight, x.mean((-2, -1)))
    torch.testing.assert_close(expected, by_definition)
    wrong = []
    for g in range(group.order):
        moved = act(group, g, x) if g in group.grid_elements else x[:, :, poses(group, g)]
        torch.testing.assert_close(layer(moved), expected @ matrices[g].T)
        wrong.append(float((layer(moved) - expected @ matrices[g]).detach().abs().max()))
    if any(group.table[g][g] != 0 for g in range(group.order)) and frequency == 1:
        assert max(wrong) > 1e-3  # the negative control: the inverse matrices do not fit


def poses(group, g):
    return [group.table[group.inverses[g]][h] for h in range(group.order)]


def network(name, frequency=1, *last):
    torch.manual_seed(0)
    return nn.Sequential(
        LiftingConv2d(1, 4, 5, name),
        nn.ReLU(),
        GroupConv2d(4, 4, 3, name),
        nn.ReLU(),
        GroupToVector(4, 2, name, frequency=frequency),
        *last,
    ).eval()


@each("name", ["p4", "p4m", "cm"])
@each("last", [(), (nn.Flatten(),)])
def test_certificates_know_how_vectors_turn(name, last):
    certificate = certify(network(name, 1, *last), name, (1, 13, 13))
    assert certificate.exact, certificate
    assert certificate.error < 1e-12
    rows = {row.name: row for row in certificate.layers}
    assert rows["4"].carries == "a vector that turns with the image"


class Broken(GroupToVector):
    def output_matrices(self, group):
        return super().output_matrices(group).transpose(1, 2)


def test_certificates_find_vectors_that_turn_the_wrong_way_or_not_at_all():
    broken = network("p4")
    broken[4].__class__ = Broken
    certificate = certify(broken, "p4", (1, 13, 13))
    assert (certificate.exact, certificate.first_fault) == (False, "4")
    for last in ((), (nn.Flatten(),)):  # rotations by 90 degrees of an invariant vector are not its own

        class Still(GroupMaxPool):
            def forward(self, x):
                return super().forward(x).mean((-2, -1))[:, :2].unflatten(1, (1, 2))

            def output_matrices(self, group):
                return torch.from_numpy(vector_matrices(group))

        still = nn.Sequential(LiftingConv2d(1, 4, 5, "p4"), Still(), *last)
        assert not certify(still, "p4", (1, 13, 13)).exact
    mixed = network("p4", 1, nn.Flatten(), nn.Linear(4, 4))  # mixes x and y
    assert certify(mixed, "p4", (1, 13, 13)).first_fault == "6"
    broken[4].output_matrices = lambda group: torch.eye(2)
    with pytest.raises(ValueError, match="output_matrices must give a matrix for each of the 4 elements of p4"):
        certify(broken, "p4", (1, 13, 13))


def test_certificates_measure_vectors_at_any_angle():
    """A mean direction is small beside the maps it is taken of, so what the filters lose counts more in it."""
    torch.manual_seed(0)
    layers = LiftingConv2d(1, 4, 5, "C8", padding=2), nn.ReLU(), GroupToVector(4, 2, "C8")
    certificate = certify(nn.Sequential(*layers), "C8", (1, 31, 31))
    errors = [element.error for element in certificate.elements]
    assert max(errors[::2]) < 1e-12
    assert 1e-6 < max(errors[1::2]) < 0.4
    assert certificate.layers[-1].own_error < 1e-3
    head = GroupToVector(4, 1, "C8").double()
    found = equivariance_error(head, "C8", torch.randn(1, 4, 8, 9, 9, dtype=torch.float64))
    assert max(found.values()) < 1e-3


@each("name", ["p4m", "C8"])
def test_it_is_counted_compiled_and_written_as_ordinary_layers(name):
    model, x = network(name, 2, nn.Flatten()), torch.rand(3, 1, 13, 13)
    report = cost(model, (1, 13, 13))
    (row,) = [row for row in report.layers if row.kind == "GroupToVector"]
    assert (row.parameters, row.nominal_macs) == (2 * 4 * 2, get_group(name).order * 16)
    assert report.uncounted == ()
    compiled = compile_for_inference(model, input_shape=(1, 13, 13))
    assert [type(layer).__name__ for layer in compiled][4] == "FrozenVector"
    assert list(compiled.parameters()) == []
    torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
    ordinary = to_plain(model, input_shape=(1, 13, 13))
    assert {type(layer).__module__.partition(".")[0] for layer in ordinary.modules()} == {"torch"}
    torch.testing.assert_close(ordinary(x), model(x), rtol=1e-4, atol=1e-5)


def test_gradients_and_low_precision():
    layer, x = GroupToVector(2, 1, "D4").double(), torch.randn(1, 2, 8, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: group_to_vector(x, w, "D4"), (x, layer.weight))
    half = GroupToVector(2, 1, "p4").to(torch.bfloat16)
    assert half(torch.rand(1, 2, 4, 3, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16


@each(
    "build, message",
    [
        (lambda: GroupToVector(0, 1, "p4"), "in_channels must be an integer of at least 1, got 0"),
        (lambda: GroupToVector(2, 1.5, "p4"), "vectors must be an integer of at least 1, got 1.5"),
        (lambda: GroupToVector(2, 1, "p4", frequency=0), "frequency must be a whole number, 1 or more, got 0"),
        (lambda: GroupToVector(2, 1, "p5"), "unknown group 'p5'"),
        (lambda: GroupToVector(2, 1, "p4", dtype=torch.int64), "dtype must be a floating point type"),
        (lambda: GroupToVector(2, 1, "p4")(torch.rand(1, 2, 8, 4, 4)), "the maps have 8 poses"),
        (lambda: GroupToVector(2, 1, "p4")(torch.rand(1, 2, 4, 4)), "expected feature maps"),
    ],
)
def test_bad_arguments(build, message, unchecked):
    with pytest.raises(ValueError, match=message):
        build()
