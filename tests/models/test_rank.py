"""Networks whose separable convolutions have ranks: what the option takes, how they are kept, made from full ones."""

import json

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import sepgconv
from sepgconv.analysis import cost
from sepgconv.functional import separate_kernel
from sepgconv.models import RotMNISTCNN, RotMNISTCNNConfig, resnet44, separable_name
from sepgconv.nn import GroupConv2d, SeparableGroupConv2d
from tests.covering import each

SEPARABLE = ("g_p4cnn", "gc_p4cnn", "g_p4m_resnet44", "gc_p4m_resnet44")
MIXED = (0, 2, 1, 3, 0, 4)


def pictures(model):
    """Two pictures, as small as makes sense."""
    side = max(model.min_input_size, 8)
    return torch.randn(2, model.in_channels, side, side, dtype=torch.float64)


def convolutions(model):
    """The convolutions that `rank` counts, in order."""
    kinds = (GroupConv2d, SeparableGroupConv2d)
    return [module for module in model.modules() if isinstance(module, kinds) and module.kernel_size != (1, 1)]


def ranks(model):
    return [getattr(module, "rank", 0) for module in convolutions(model)]


def mixed(name):
    return MIXED * resnet44.BLOCKS_PER_STAGE if "resnet" in name else MIXED


@pytest.mark.parametrize("name", SEPARABLE)
def test_one_rank_for_all_or_one_for_each(small_model, name):
    assert ranks(small_model(name)) == [1] * len(mixed(name))
    assert small_model(name).config["rank"] == 1
    assert ranks(small_model(name, rank=2)) == [2] * len(mixed(name))
    for given in (mixed(name), list(mixed(name))):
        model = small_model(name, rank=given)
        assert ranks(model) == list(mixed(name))
        assert model.config["rank"] == list(mixed(name))
    assert {module.sharing for module in convolutions(model) if isinstance(module, SeparableGroupConv2d)} == {
        name.partition("_")[0]
    }


@pytest.mark.usefixtures("shallow_resnets")
@pytest.mark.parametrize(("name", "rank"), [*((name, None) for name in SEPARABLE), ("gc_p4cnn", 2)])
def test_round_trip_bit_for_bit(stirred_model, assert_same_network, tmp_path, name, rank):
    model = stirred_model(name, rank=rank or mixed(name))
    assert json.loads(json.dumps(model.config)) == model.config
    found = sepgconv.load(sepgconv.save(model, tmp_path))
    assert_same_network(found, model)
    assert str(found) == str(model)
    x = pictures(model)
    assert torch.equal(found(x), model(x))
    y = found.train()(x)
    y.square().sum().backward()
    assert all(p.grad is not None for p in found.parameters())


def test_folders_written_before_there_were_ranks_are_read(stirred_model, assert_same_network, tmp_path):
    model = stirred_model("gc_p4cnn")
    folder = sepgconv.save(model, tmp_path)
    described = json.loads((folder / "config.json").read_text())
    del described["config"]["rank"]
    (folder / "config.json").write_text(json.dumps(described))
    weights = safetensors_with(folder / "model.safetensors", json.dumps(described))
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.warns(UserWarning, match="was written by an older version"):
        assert_same_network(sepgconv.load(folder), model)


def safetensors_with(path, described):
    """The bytes of a file of weights whose header says another config."""
    from safetensors.torch import load_file, save

    return save(load_file(path), metadata={"sepgconv": described})


@pytest.mark.usefixtures("shallow_resnets")
@pytest.mark.parametrize("name", SEPARABLE)
def test_a_trained_full_network_becomes_one_of_full_ranks_without_a_change(stirred_model, name):
    """Weights, biases and statistics are taken over exactly; the rest of the state has the same names."""
    sharing, _, full_name = name.partition("_")
    assert separable_name(full_name, sharing) == name
    full = stirred_model(full_name)
    most = [
        sepgconv.functional.full_rank(m.in_channels, m.group.order, m.kernel_size, sharing) for m in convolutions(full)
    ]
    x = pictures(full)
    every_other = [rank if at % 2 else 0 for at, rank in enumerate(most)]
    for wanted in [every_other] if "resnet" in name else [[0] * len(most), most, every_other]:
        size = {key: full.config[key] for key in ("width", "widths") if key in full.config}
        model = sepgconv.create_model(name, **size, rank=wanted).double().eval()
        state = full.state_dict()
        for key, module in model.named_modules():
            if isinstance(module, SeparableGroupConv2d):
                factors = separate_kernel(state.pop(f"{key}.weight"), sharing, module.rank)
                state[f"{key}.pointwise"] = factors[0].view_as(module.pointwise)
                state[f"{key}.depthwise"] = factors[1].view_as(module.depthwise)
        model.load_state_dict(state)
        torch.testing.assert_close(model(x), full(x), rtol=1e-9, atol=1e-9)
    with torch.no_grad():  # negative control: one bias is lost
        [m for m in convolutions(model) if m.bias is not None][-1].bias.zero_()
    assert not torch.allclose(model(x), full(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["g_p4m_resnet44", "gc_p4m_resnet44"])
def test_biases_in_resnets(small_model, name):
    """One rank: none, as in the paper. A rank for each: all, as in the full network."""
    for rank in (1, 2):
        assert all(module.bias is None for module in convolutions(small_model(name, rank=rank)))
    for rank in ([1] * 42, mixed(name)):
        assert all(module.bias is not None for module in convolutions(small_model(name, rank=rank)))


@pytest.mark.usefixtures("shallow_resnets")
@pytest.mark.parametrize("name", SEPARABLE)
def test_costs_are_those_that_run(small_model, name):
    options = {"rank": list(mixed(name)), "execution": "separable"}
    model = small_model(name, **options).eval()
    shape = tuple(pictures(model).shape[1:])
    report = cost(model, shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *shape))
    assert 2 * report.executed_macs == counter.get_total_flops()
    assert sum(layer.parameters for layer in report.layers) == report.parameters
    once = {layer.name: layer for layer in cost(small_model(name, rank=1), shape).layers}
    rows = {layer.name: layer for layer in report.layers}
    for key, module in model.named_modules():
        if isinstance(module, SeparableGroupConv2d):
            bias = 0 if module.bias is None else module.out_channels
            assert rows[key].nominal_macs == module.rank * once[key].nominal_macs
            weights = once[key].parameters - (bias if "resnet" not in name else 0)
            assert rows[key].parameters == module.rank * weights + bias


@pytest.mark.usefixtures("shallow_resnets")
@pytest.mark.parametrize("name", SEPARABLE)
def test_compiled_for_inference(stirred_model, name):
    cheap = () if "resnet" in name else ("composed", *(["fourier"] if name.startswith("gc") else []))
    for execution in ("separable", *cheap):
        model = stirred_model(name, rank=list(mixed(name)), execution=execution)
        x = pictures(model)
        compiled = sepgconv.compile_for_inference(model, input_shape=tuple(x.shape[1:]))
        expected = model(x)
        torch.testing.assert_close(compiled(x), expected, rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), expected, rtol=1e-9, atol=1e-9)
        assert not any(isinstance(module, SeparableGroupConv2d) for module in compiled.modules())


@pytest.mark.usefixtures("unchecked")
@each(
    ("rank", "message"),
    [
        (0, r"convolution 1 of 6 must be an integer from 1 to 9, its full rank, got 0"),
        (10, r"convolution 1 of 6 must be an integer from 1 to 9, its full rank, got 10"),
        (-1, "got -1"),
        (None, "got None"),
        ("2", "got '2'"),
        (True, "got True"),
        (1.5, "got 1.5"),
        ([1, 2], "one number, or one for each of the 6 convolutions that can be separable, got 2"),
        ([], "got 0"),
        ([1] * 7, "got 7"),
        ([1, 1, 10, 1, 1, 1], r"convolution 3 of 6 must be an integer from 0 \(which keeps it full\) to 9, .*, got 10"),
        ([1, 1, 1, 1, 1, 17], r"convolution 6 of 6 must be an integer from 0 \(which keeps it full\) to 16, .* got 17"),
        ([1, -1, 1, 1, 1, 1], "convolution 2 of 6 .*got -1"),
        ([1, 1, 1, 1, True, 1], "convolution 5 of 6 .*got True"),
        ([1, 1, 1, "1", 1, 1], "convolution 4 of 6 .*got '1'"),
    ],
)
def test_ranks_that_there_are_not_are_refused(rank, message):
    with pytest.raises(ValueError, match=f"RotMNISTCNN: .*{message}"):
        sepgconv.create_model("gc_p4cnn", width=4, rank=rank)


@pytest.mark.usefixtures("unchecked")
def test_ranks_of_resnets_are_checked_stage_by_stage():
    """Of two convolutions a block, the first takes the channels that come into it."""
    most = [min(8 * 1, 9)] * 15 + [9] * 27  # the first stage has one channel, and so has the way into the second
    options = {"widths": (1, 2, 3)}
    assert ranks(sepgconv.create_model("gc_p4m_resnet44", **options, rank=most)) == most
    with pytest.raises(ValueError, match=r"ResNet44: the rank of convolution 15 of 42 must be .* to 8, .* got 9"):
        sepgconv.create_model("gc_p4m_resnet44", **options, rank=[8] * 14 + [9] * 28)
    with pytest.raises(ValueError, match=r"ResNet44: rank must be one number, or one for each of the 42 .* got 44"):
        sepgconv.create_model("gc_p4m_resnet44", **options, rank=[1] * 44)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["z2cnn", "c_z2cnn", "p4cnn", "p4m_resnet44"])
def test_other_networks_have_no_rank(name):
    assert sepgconv.create_model(name, rank=1).name == name
    with pytest.raises(ValueError, match=f"unknown option of {name} 'rank'"):
        sepgconv.create_model(name, rank=2)
    assert "rank" not in sepgconv.create_model(name).config


@pytest.mark.parametrize("convolution", ["full", "two-step"])
def test_a_rank_of_what_is_not_separable_is_refused(convolution):
    with pytest.raises(ValueError, match=f"rank is of separable convolutions, those here are {convolution}; got 2"):
        RotMNISTCNN(RotMNISTCNNConfig(width=2, group="p4", sharing=convolution, rank=2))


@pytest.mark.usefixtures("unchecked")
def test_names_of_separable_counterparts():
    pairs = [("p4cnn", "gc"), ("p4cnn", "g"), ("p4m_resnet44", "gc"), ("p4m_resnet44", "g")]
    for name, sharing in pairs:
        found = separable_name(name, sharing)
        assert found == f"{sharing}_{name}"
        full, separable = (set(sepgconv.models.model_entry(n).options) for n in (name, found))
        assert full < separable
    for name in ("z2cnn", "c_z2cnn", "gc_p4cnn", "resnet44", "g_p4m_resnet44"):
        with pytest.raises(ValueError, match=f"{name} has no g-separable counterpart; .* are p4cnn, p4m_resnet44"):
            separable_name(name, "g")
    with pytest.raises(ValueError, match="unknown model 'p5cnn'"):
        separable_name("p5cnn", "g")
    with pytest.raises(ValueError, match="unknown sharing 'c'"):
        separable_name("p4cnn", "c")


def test_training_moves_every_term(small_model):
    torch.manual_seed(0)
    model = small_model("gc_p4cnn", rank=[2, 0, 3, 1, 2, 2])
    before = {key: value.clone() for key, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    nn.functional.cross_entropy(model(torch.randn(8, 1, 28, 28)), torch.arange(8)).backward()
    optimizer.step()
    for key, value in model.named_parameters():
        moved = (value - before[key]).abs()
        if key.endswith(("pointwise", "depthwise")):
            terms = moved.transpose(0, 1).flatten(1) if "depthwise" in key and moved.ndim == 4 else moved.flatten(1)
            assert (terms.amax(1) > 0).all(), key
