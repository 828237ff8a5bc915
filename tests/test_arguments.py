"""One order of arguments, (model, group, input_shape), and one meaning of input_shape; the old ones warn."""

import inspect
import json
import re
import warnings

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv import analysis, convert, testing
from sepgconv._arguments import accept_old_order, checked_input_shape
from tests.covering import each
from tests.forks import ended, fork

SHAPE = (1, 8, 8)
X = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
P4 = sepgconv.group("p4")


def classifier():
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 2, 3, padding=1), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    return nn.Sequential(*layers).eval()


def rebuilt(network):
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


# What is called, in the old and in the new order.
MOVED = {
    "certify": (
        lambda: analysis.certify(classifier(), SHAPE, "p4", samples=2),
        lambda: analysis.certify(classifier(), "p4", SHAPE, samples=2),
    ),
    "certify, a group": (
        lambda: analysis.certify(classifier(), SHAPE, P4, samples=2),
        lambda: analysis.certify(classifier(), P4, SHAPE, samples=2),
    ),
    "equivariance_error": (
        lambda: analysis.equivariance_error(classifier(), X, "p4"),
        lambda: analysis.equivariance_error(classifier(), "p4", X),
    ),
    "answer_changes": (
        lambda: analysis.answer_changes(classifier(), X, "p2"),
        lambda: analysis.answer_changes(classifier(), X, group="p2"),
    ),
    "sizes": (
        lambda: analysis.sizes(classifier(), 4, 9, "p4"),
        lambda: analysis.sizes(classifier(), 4, 9, group="p4"),
    ),
    "assert_equivariant": (
        lambda: testing.assert_equivariant(nn.Identity(), X, "p4"),
        lambda: testing.assert_equivariant(nn.Identity(), "p4", X),
    ),
    "assert_equivariant, a tolerance": (
        lambda: testing.assert_equivariant(nn.Identity(), X, "p4", 0.0),
        lambda: testing.assert_equivariant(nn.Identity(), "p4", X, 0.0),
    ),
    "equivariant": (
        lambda: rebuilt(convert.equivariant(classifier(), "p4", "gc", input_shape=SHAPE)),
        lambda: rebuilt(convert.equivariant(classifier(), "p4", SHAPE, "gc")),
    ),
    "equivariant, no sharing": (
        lambda: rebuilt(convert.equivariant(classifier(), "p4", None, input_shape=SHAPE)),
        lambda: rebuilt(convert.equivariant(classifier(), "p4", SHAPE)),
    ),
}


@each("name", MOVED)
def test_the_old_order_works_and_warns(name):
    old, new = MOVED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = new()
    with pytest.warns(
        DeprecationWarning, match=rf"^{name.split(',')[0]}: expected \(.*\), got \(.*new order or by name"
    ):
        found = old()
    assert found == expected


def old_calls():
    """Call two functions in the old way; print where their warnings point."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        analysis.equivariance_error(nn.Identity(), torch.ones(1, 1, 2, 2), "p4")
        analysis.cost(nn.Identity(), (1, 1, 2, 2))
    print(json.dumps([warning.filename for warning in caught]))


def test_the_warnings_point_at_the_caller(tmp_path):
    """In a process of its own, where no check of types stands between the caller and the function."""
    assert ended(fork(old_calls, stdout=tmp_path / "said")) == 0
    assert json.loads((tmp_path / "said").read_text()) == [__file__] * 2


def test_wrong_arguments_are_told_by_the_function_itself():
    """Negative control: what fits neither order is not moved about."""

    @accept_old_order("model", "x", "group")
    def given(model, group, x=None):
        return model, group, x

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert given(1, 2.5, 3) == (1, 2.5, 3)
        assert given(1, "p4") == (1, "p4", None)
        with pytest.raises(TypeError, match="4 were given"):
            given(1, X, "p4", 5)
    with pytest.warns(DeprecationWarning, match=r"^given: expected \(model, group, x\), got \(model, x, group\)"):
        assert given(1, X, "p4") == (1, "p4", X)


@pytest.mark.parametrize("module", [analysis, convert, testing])
def test_every_public_function_has_the_order(module):
    """A model first, then a group that has to be given, then what it is tried on; options by keyword."""
    checked = 0
    for name in module.__all__:
        function = getattr(module, name)
        if not inspect.isfunction(function):
            continue
        parameters = inspect.signature(function).parameters
        order = [each for each in parameters if each in ("model", "module", "group", "input_shape", "x", "images")]
        if "model" not in parameters and "module" not in parameters:
            continue
        checked += 1
        # By their places: a shape or a tensor after the group, and none of them with a default by its place.
        places = {"model": 0, "module": 0, "group": 1, "input_shape": 2, "x": 2, "images": 2}
        positional = [each for each in order if parameters[each].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        assert [places[each] for each in positional] == sorted(places[each] for each in positional), name
        assert all(parameters[each].default is inspect.Parameter.empty for each in positional), name
    assert checked >= 1


def test_a_shape_is_that_of_one_input():
    assert checked_input_shape((3, 8, 9), "f") == (3, 8, 9)
    assert checked_input_shape([3, 8, 9], "f") == (3, 8, 9)
    assert checked_input_shape(torch.Size((3, 8, 9)), "f") == (3, 8, 9)
    assert checked_input_shape((3, 4, 8, 9), "f", feature_maps=True) == (3, 4, 8, 9)


@each("shape", [(), (8,), (8, 9), (0, 8, 9), (3, 8, -1), (1, 3, 8, 9), (1, 1, 3, 8, 9)])
def test_another_shape_is_one_clear_sentence(shape):
    with pytest.raises(ValueError, match=re.escape("f: input_shape must be (channels, height, width), positive")) as e:
        checked_input_shape(shape, "f")
    assert str(shape) in str(e.value)
    assert ("leave out the batch axis" in str(e.value)) == (len(shape) == 4)


def test_a_batch_axis_is_dropped_with_a_warning_where_it_was_taken():
    model = classifier()
    with pytest.warns(DeprecationWarning, match=r"^cost: expected input_shape .*, got \(5, 1, 8, 8\)"):
        assert analysis.cost(model, (5, *SHAPE)) == analysis.cost(model, SHAPE)


CALLS = {
    "cost": lambda shape: analysis.cost(classifier(), shape),
    "certify": lambda shape: analysis.certify(classifier(), "p4", shape),
    "redundancy": lambda shape: analysis.redundancy(classifier(), input_shape=shape),
    "equivariant": lambda shape: convert.equivariant(classifier(), "p4", shape),
    "to_plain": lambda shape: convert.to_plain(classifier(), input_shape=shape),
    "to_onnx": lambda shape: convert.to_onnx(classifier(), "x.onnx", input_shape=shape),
    "to_program": lambda shape: convert.to_program(classifier(), "x.pt2", input_shape=shape),
}


@each("shape", [(8, 8), (1, 1, 1, 8, 8)])
@each("name", CALLS)
def test_every_function_checks_the_shape(name, shape, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"^{name}: input_shape must be \(channels, height, width\)"):
        CALLS[name](shape)
