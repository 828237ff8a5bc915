"""What a layer stores: its parameters and running statistics, in train and eval alike; bias; printing."""

import io

import pytest
import torch

import sepgconv


def sizes(layer, group):
    sides = {"k": 3, "|G|": group.order}
    return {name: tuple(sides.get(side, side) for side in shape) for name, shape in layer.state.items()}


@pytest.mark.covering(1)
def test_state_dict_holds_parameters_and_running_statistics_only(layer, group):
    module, expected = layer.build(group, 3), sizes(layer, group)
    assert {name: tuple(value.shape) for name, value in module.state_dict().items()} == expected
    statistics = {"running_mean", "running_var", "num_batches_tracked"}
    assert {name for name, _ in module.named_parameters()} == set(expected) - statistics
    # Moving averages, `to_empty` and distributed training would average, erase or send index tables in buffers.
    assert {name for name, _ in module.named_buffers()} == statistics & set(expected)
    # Other tensors would stay where they are when torch moves the state, or takes it from elsewhere.
    parts = module.modules()
    assert not [name for part in parts for name, value in vars(part).items() if isinstance(value, torch.Tensor)]


@pytest.mark.covering(1)
def test_state_dict_is_the_same_in_train_and_eval(layer, group):
    module, x = layer.build(group, 3), layer.input(group)
    keys = list(module.state_dict())
    module.train()(x)
    values = {key: value.clone() for key, value in module.state_dict().items()}
    assert list(values) == keys
    module.eval()(x)
    after = module.state_dict()
    assert list(after) == keys
    assert all(torch.equal(after[key], values[key]) for key in keys)


@pytest.mark.covering(1)
def test_state_makes_a_strict_round_trip_through_a_file(layer, group):
    module, other, x = layer.build(group, 3), layer.build(group, 3), layer.input(group)
    module.train()(x)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert torch.equal(other.eval()(x), module.eval()(x))


def test_other_states_are_refused(convolution):
    """A state of another group does not fit, except where the weights have no pose axis."""
    module, other = convolution.build("p4", 3), convolution.build("p4m", 3)
    if "|G|" in str(convolution.state):
        with pytest.raises(RuntimeError, match="size mismatch"):
            module.load_state_dict(other.state_dict())
    else:
        module.load_state_dict(other.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        module.load_state_dict({})


@pytest.mark.covering(1)
def test_without_bias_there_is_none(convolution, group):
    module, x = convolution.build(group, 3, bias=False), convolution.input(group)
    assert not [name for name in module.state_dict() if name.endswith("bias")]
    assert not module(torch.zeros_like(x)).any()


def test_attributes_are_those_of_conv2d(convolution):
    module = convolution.build("p4", 3, stride=2, padding=1, dilation=1, padding_mode="circular")
    if convolution.name == "two-step":
        module = module[1]
    assert (module.kernel_size, module.stride, module.padding, module.dilation) == ((3, 3), (2, 2), (1, 1), (1, 1))
    assert (module.padding_mode, module.group) == ("circular", sepgconv.group("p4"))
    assert module.in_channels == (4 if convolution.name == "two-step" else 3)
    assert module.out_channels == (3 if convolution.name == "depthwise" else 4)


def test_repr_tells_what_differs_from_the_defaults(convolution):
    plain = repr(convolution.build("p4", 3))
    assert convolution.class_name in plain
    assert "DepthwiseGroupConv2d" in plain or convolution.name != "two-step"
    assert "group='p4'" in plain
    assert "kernel_size=(3, 3)" in plain
    assert not any(word in plain for word in ("stride", "padding", "dilation", "bias"))
    full = repr(convolution.build("p4", 3, stride=2, padding=1, padding_mode="reflect", bias=False))
    assert "stride=(2, 2), padding=(1, 1), padding_mode='reflect', bias=False" in full
    if "sharing" in convolution.options:
        sharing, execution = convolution.name.split()
        assert f"sharing='{sharing}', execution='{execution}'" in plain


@pytest.mark.covering(1)
def test_device_and_dtype_are_those_of_the_parameters(convolution, group, tables_of):
    module = convolution.build(group, 3, device="meta", dtype=torch.float64)
    assert all(parameter.is_meta and parameter.dtype == torch.float64 for parameter in module.parameters())
    tables = tables_of(module, convolution.input(group, device="meta", dtype=torch.float64))
    assert tables
    assert all(table.is_meta for table in tables)
    # Indices, and the shares of weights in the blocks of irreps, in the precision of the weights.
    assert {table.dtype for table in tables} <= {torch.int64, torch.float64}
    assert (torch.float64 in {table.dtype for table in tables}) == (convolution.name == "gc fourier")
