"""The table of operators: its rows say the truth, all who read it read the same, and what is missing is not guessed."""

import operator

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from sepgconv.convert import equivariant, operators, to_plain
from sepgconv.convert.operators import (
    ELEMENTWISE_KINDS,
    OPERATORS,
    OperatorKind,
    find_operator,
    is_in_place,
    out_of_place,
)
from sepgconv.nn import GroupMaxPool, LiftingConv2d, Sequential
from tests.covering import each

pytestmark = pytest.mark.usefixtures("float64", "unchecked")

SECOND = {  # arguments behind the first tensor
    "add sub mul div pow maximum minimum fmax fmin atan2 hypot remainder fmod gt lt ge le eq ne logical_and logical_or "
    "heaviside xlogy logaddexp copysign": lambda x: (x.flip(0).abs(),),
    "lerp": lambda x: (x.flip(0), 0.3),
    "addcmul addcdiv": lambda x: (x.flip(0), x.flip(0) + 3),
    "masked_fill": lambda x: (x.flip(0) > 0, 0.5),
    "threshold": lambda x: (0.1, 2.0),
    "clamp clamp_min clamp_max": lambda x: (0.2,),
    "full_like": lambda x: (2.0,),
    "to type": lambda x: (torch.float32,),
    "type_as": lambda x: (x.float(),),
}
BEHIND = {name: build for names, build in SECOND.items() for name in names.split()}


def run(name, x):
    """Run an operator by its name, as a function of torch or as a method."""
    behind = BEHIND.get(name, lambda x: ())(x)
    if name == "where":
        return torch.where(x > 0, x, x.flip(0))
    function = next((getattr(place, name) for place in (torch, F) if hasattr(place, name)), None)
    return getattr(x, name)(*behind) if function is None or hasattr(x, name) else function(x, *behind)


def acts_elementwise(name):
    """Whether an operator does the same to an element wherever it is, and whatever the others are."""
    x = torch.linspace(-2, 3, 24).view(2, 3, 4)
    result = run(name, x)
    moved = run(name, torch.roll(x, 1, 2))
    changed = run(name, torch.cat([x[..., :3], x[..., 3:] + 1], 2))
    return (
        result.shape == x.shape
        and torch.allclose(moved, torch.roll(result, 1, 2), equal_nan=True)
        and torch.allclose(changed[..., :3], result[..., :3], equal_nan=True)
    )


@each("name", [row.name for row in OPERATORS if row.kind in ELEMENTWISE_KINDS])
def test_operators_of_numbers_are_so(name):
    assert acts_elementwise(name)


@pytest.mark.parametrize("name", ["cumsum", "flip", "softmax"])
def test_others_are_not(name, monkeypatch):
    """Negative control."""
    monkeypatch.setitem(BEHIND, name, lambda x: (2,))
    assert not acts_elementwise(name)


@each("row", [row for row in OPERATORS if row.layer is not None])
def test_layers_do_what_their_functions_do(row):
    rank = {"dropout1d": 3, "dropout3d": 5}.get(row.name, 4)
    x = torch.linspace(-3, 3, 64).view(2, 2, *[1] * (rank - 3), 16)
    arguments = (0.1, 2.0) if row.layer is nn.Threshold else ()
    layer = row.layer(*arguments).eval()
    if row.kind in (OperatorKind.ELEMENTWISE, OperatorKind.NOISE):
        assert operators.is_elementwise(layer)
        assert torch.equal(layer(x), getattr(F, row.name)(x, *arguments))
    else:
        assert operators.passes_through(layer)
        assert not operators.passes_through(layer.train())
        assert torch.equal(layer.eval()(x), x)
    layer.register_forward_hook(lambda *given: None)
    assert not operators.is_elementwise(layer)
    assert not operators.passes_through(layer)


def test_each_name_and_layer_stands_once():
    names = [name for row in OPERATORS for name in (row.name, *row.aliases)]
    layers = [row.layer for row in OPERATORS if row.layer is not None]
    assert len(names) == len(set(names))
    assert len(layers) == len(set(layers))


@each(
    ("name", "targets"),
    [
        ("relu", (F.relu, torch.relu, torch.relu_, "relu", "relu_")),
        ("add", (torch.add, operator.add, operator.iadd, "add", "add_")),
        ("div", (torch.true_divide, operator.truediv, operator.itruediv, "div_", "divide")),
        ("pow", (torch.pow, operator.pow, operator.ipow, "pow_")),
        ("reshape", (torch.flatten, "view", "unsqueeze", "reshape")),
    ],
)
def test_all_ways_to_write_an_operator_are_one(name, targets):
    assert {find_operator(target).name for target in targets} == {name}


@each("target", [operator.and_, operator.not_, "zero_", torch.linalg.svd, "__add__", None])
def test_other_targets_have_no_row(target):
    assert find_operator(target) is None


def test_in_place_calls():
    graph = fx.Graph()
    x = graph.placeholder("x")
    for target, args, kwargs in (
        (F.relu, (x,), {"inplace": True}),
        (F.relu, (x, True), {}),
        (F.leaky_relu, (x, 0.1, True), {}),
        (torch.relu_, (x,), {}),
        (operator.imul, (x, 2), {}),
    ):
        node = graph.call_function(target, args, kwargs)
        assert is_in_place(node)
        written, new_args, new_kwargs = out_of_place(node)
        value = torch.tensor([-1.0, 2.0])
        kept = value.clone()
        found = written(value, *new_args[1:], **new_kwargs)
        assert torch.equal(value, kept)
        assert torch.equal(found, target(value.clone(), *args[1:], **kwargs))
    for target in (F.relu, operator.and_, torch.add):
        assert not is_in_place(graph.call_function(target, (x, False)))
    assert not is_in_place(graph.call_method("__add__", (x, x)))
    assert out_of_place(graph.call_method("gt_", (x, 0))) is None  # it gives numbers, `gt` gives truth values
    assert out_of_place(graph.call_method("zero_", (x,))) is None


class Net(nn.Module):
    """A layer, a function of its maps, a pool; group layers or ordinary ones."""

    def __init__(self, code, conv):
        super().__init__()
        self.code, self.conv, self.pool = code, conv, GroupMaxPool() if conv is not None else nn.Identity()
        self.conv = conv or nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.pool(self.code(self.conv(x)))


def grouped(code):
    return Net(code, LiftingConv2d(1, 2, 3, "p4")).eval()


def squared_in_place(x):
    same = x
    x **= 2
    return same


def counts_on(x):
    n = x.shape[-1]
    n += 1
    return x * n


def written_over_by_position(x):
    same = x
    F.relu(x, True)
    return same + 1


def both(x):
    return x * ((x > 0) & (x < 1))


def of_a_layout(x):
    return x.contiguous(memory_format=torch.channels_last_3d) + x.clone(memory_format=torch.preserve_format)


def asks_for_the_type(x):
    return x.abs() if x.type() == "torch.DoubleTensor" else x


def fills(x):
    x.masked_fill_(x > 0.1, 2.0).floor_()
    return x


CODES = [squared_in_place, counts_on, written_over_by_position, both, of_a_layout, asks_for_the_type, fills]


@pytest.mark.parametrize("code", CODES)
def test_code_is_written_in_plain_layers(code, stir):
    model, x = stir(grouped(code)), torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(to_plain(model, input_shape=(1, 8, 8))(x), model(x))


def test_functions_of_numbers_run_on_folded_maps(stir):
    plain = to_plain(stir(grouped(lambda x: torch.hypot(x.erf().floor(), x.clone()).half().double())))
    assert [node.target for node in plain.graph.nodes if node.target in ("unflatten", "transpose")] == ["unflatten"]


@pytest.mark.parametrize("name", ["relu", "mul"])
def test_an_operator_that_is_missing_is_refused(name, monkeypatch):
    """Negative control: without its row, no reader takes an operator for what it was."""

    def in_place(x):
        return x.relu_() if name == "relu" else x.mul_(2)

    def with_a_result(x):
        return x.relu() if name == "relu" else x * 2

    ordinary = Net(with_a_result, None)
    assert to_plain(grouped(in_place), input_shape=(1, 8, 8))
    assert equivariant(ordinary, "p4", input_shape=(1, 8, 8))
    monkeypatch.delitem(operators._BY_NAME, name)
    with pytest.raises(ValueError, match=rf"{name}_ changes a tensor in place"):
        to_plain(grouped(in_place), input_shape=(1, 8, 8))
    with pytest.raises(ValueError, match=rf"{name}\(\) in the forward of the model: this call has no counterpart"):
        equivariant(ordinary, "p4", input_shape=(1, 8, 8))


def test_a_layer_that_is_missing_is_refused(monkeypatch):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1))
    assert equivariant(model, "p4", input_shape=(1, 8, 8))
    maps = Sequential(LiftingConv2d(1, 2, 3, "p4"), nn.GELU(), GroupMaxPool())
    assert "transpose" not in to_plain(maps, input_shape=(1, 8, 8)).code
    monkeypatch.delitem(operators._BY_LAYER, nn.GELU)
    with pytest.raises(ValueError, match="GELU has no counterpart on a group"):
        equivariant(model, "p4", input_shape=(1, 8, 8))
    assert "transpose" in to_plain(maps, input_shape=(1, 8, 8)).code  # unfolded, as for any layer of torch
