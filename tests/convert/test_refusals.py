"""What cannot be converted is refused in one sentence that names its place."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import sepgconv
from sepgconv import _comparison as comparison
from sepgconv import functional
from sepgconv._comparison import largest_difference
from sepgconv.convert import to_plain
from sepgconv.convert.plain import layers
from sepgconv.nn import GroupBatchNorm2d, GroupConv2d, GroupMaxPool, LiftingConv2d, SeparableGroupConv2d, Sequential
from tests.covering import each

pytestmark = pytest.mark.usefixtures("float64", "unchecked")


class Step(nn.Module):
    """A module whose code is the function it is given."""

    def __init__(self, code):
        super().__init__()
        self.code = code

    def forward(self, x):
        return self.code(x)


def around(code):
    return Sequential(LiftingConv2d(1, 2, 3, "p4"), nn.Sequential(nn.ReLU(), Step(code)), GroupMaxPool())


def writes_into_a_part(x):
    part = x[:, :1]
    part.relu_()
    return x


def forgets_the_batch(x):
    return x.reshape(int(x.shape[0]), 2, 4, -1).unsqueeze(-1)


@each(
    ("code", "sentence"),
    [
        (
            lambda x: x if x.sum() > 0 else -x,
            r"1\.1 \(Step\) cannot be converted: .* branches on the values of",
        ),
        (lambda x: x * float(x.mean()), r"1\.1 \(Step\) cannot be converted: .* makes a Python number of a value"),
        (lambda x: functional.act("p4", 1, x), r"1\.1 \(Step\) cannot be converted: .*act"),
        (lambda x: x.zero_(), r"1\.1 \(Step\) cannot be converted: zero_ changes a tensor in place"),
        (writes_into_a_part, r"1\.1 \(Step\) cannot be converted: .* shares its memory"),
        (lambda x: torch.add(x, x, out=torch.empty_like(x)), r"1\.1 \(Step\) cannot be converted: add writes into"),
    ],
)
def test_code_that_cannot_be_written_down_is_named(code, sentence):
    with pytest.raises(ValueError, match=sentence):
        to_plain(around(code), input_shape=(1, 10, 10))


def test_code_that_fixes_the_batch_is_seen():
    with pytest.raises(ValueError, match=r"does not run on|differs by"):
        to_plain(around(forgets_the_batch), input_shape=(1, 10, 10))


def test_a_layer_with_a_forward_of_its_own_is_named():
    class Doubled(GroupConv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    with pytest.raises(ValueError, match=r"1 \(Doubled\) cannot be converted: .*GroupConv2d with a forward of its own"):
        to_plain(Sequential(LiftingConv2d(1, 2, 3, "p4"), Doubled(2, 2, 3, "p4")))


def test_a_rule_can_be_added_for_a_layer_of_ones_own():
    class Halved(nn.Module):
        def forward(self, x):
            return x / 2 if bool(x.sum() > -1e9) else x  # code that could not be read

    @layers.plain.register
    def _(module: Halved, to, example):
        half = to.build.graph.call_method("mul", (to.folded, 0.5))
        return type(to.x)(example, folded=half)

    model = Sequential(LiftingConv2d(1, 2, 3, "p4"), Halved())
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(to_plain(model)(x), model(x))


def test_batch_norm_without_statistics_is_named():
    model = Sequential(LiftingConv2d(1, 2, 3, "p4"), GroupBatchNorm2d(2, track_running_stats=False))
    with pytest.raises(ValueError, match=r"1 .*without running statistics .* track_running_stats=True"):
        to_plain(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value):
    model = sepgconv.create_model("p4cnn", width=2)
    with torch.no_grad():
        model.features[3][0].weight[0, 0, 0] = value
    with pytest.raises(ValueError, match=r"features\.3\.0\.weight holds values that are not finite"):
        to_plain(model)


def test_statistics_that_are_no_numbers_are_named():
    model = sepgconv.create_model("p4cnn", width=2)
    model.features[0][1].running_var[0] = float("nan")
    with pytest.raises(ValueError, match=r"features\.0\.1\.running_var holds values that are not finite"):
        to_plain(model)


def test_weights_that_are_nowhere_are_named():
    with torch.device("meta"):
        model = sepgconv.create_model("p4cnn", width=2)
    with pytest.raises(ValueError, match="has no values"):
        to_plain(model)


def test_pictures_that_are_too_small_are_refused_in_the_words_of_the_network():
    with pytest.raises(ValueError, match="smallest size is 28 x 28"):
        to_plain(sepgconv.create_model("p4cnn", width=2), input_shape=(1, 20, 20))
    with pytest.raises(ValueError, match="give the input_shape that it takes"):
        to_plain(nn.Sequential(LiftingConv2d(1, 2, 3, "p4"), GroupMaxPool(), nn.Flatten(), nn.Linear(7, 2)))


def test_an_input_shape_that_nothing_tells_is_asked_for():
    with pytest.raises(ValueError, match="input_shape is needed"):
        to_plain(GroupMaxPool())


def test_a_network_that_was_compiled_is_refused():
    model = sepgconv.compile_for_inference(sepgconv.create_model("p4cnn", width=2))
    with pytest.raises(ValueError, match="give the network that it was made from"):
        to_plain(model)


def test_the_comparison_sees_a_wrong_layer(monkeypatch):
    """Negative control: filters of the plain layers that are mirrored."""
    true = layers._filters_of
    monkeypatch.setattr(layers, "_filters_of", lambda bank: true(bank.flip(-1)))
    with pytest.raises(ValueError, match="differs by"):
        to_plain(Sequential(LiftingConv2d(1, 2, 3, "p4"), SeparableGroupConv2d(2, 2, 3, "p4")))


def test_the_comparison_sees_what_differs():
    x = torch.randn(3, 4)
    assert largest_difference(x, x) == 0
    assert largest_difference((x, {"a": 2 * x}), (x, {"a": x})) == pytest.approx(1)
    infinite = float("inf")
    assert largest_difference(x[:2], x) == infinite
    assert largest_difference((x,), x) == infinite
    assert largest_difference(x * float("nan"), x) == infinite
    assert largest_difference((x, 3), (x, 4)) == infinite
    assert comparison.rounding(torch.float64) < comparison.rounding(torch.float32) < comparison.rounding(torch.bfloat16)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")  # of torch, on reentrant ones
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpoints_change_no_number_and_are_passed_over(use_reentrant):
    """With reentrant ones torch crashed the process, as it takes a recorded value for a tensor."""

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = GroupConv2d(2, 2, 3, "p4")

        def forward(self, x):
            return checkpoint(self.inner, x, use_reentrant=use_reentrant)

    model = Sequential(LiftingConv2d(1, 2, 3, "p4"), Checkpointed()).eval()
    x = torch.randn(2, 1, 9, 9)
    torch.testing.assert_close(to_plain(model, input_shape=(1, 9, 9))(x), model(x))


def test_a_function_of_autograd_is_named():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    with pytest.raises(ValueError, match=r"1\.1 \(Step\) cannot be converted: .*function Doubled of autograd"):
        to_plain(around(lambda x: Doubled.apply(x)), input_shape=(1, 10, 10))
