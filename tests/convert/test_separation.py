"""separate: the nearest separable network, by rank and by budget; everything else stays as it is."""

import copy

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.convert import separate
from sepgconv.functional import separable_spectrum
from sepgconv.nn import GroupConv2d, GroupMaxPool, LiftingConv2d, SeparableGroupConv2d
from tests.covering import each


def trained(name="p4cnn", **config):
    """A network whose statistics and weights are those of no new one."""
    network = sepgconv.create_model(name, **{"width": 3, **config})
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    for key, value in network.state_dict().items():
        if "running" in key:
            value.uniform_(0.5, 1.5)
    return network.eval().double()


def answers(network, seed=3):
    return network(torch.randn(2, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize(("sharing", "rank"), [("gc", 16), ("g", 4)])
def test_at_full_rank_the_network_answers_the_same(sharing, rank):
    network = trained()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    separation = separate(network, sharing, rank=rank)
    torch.testing.assert_close(answers(separation.model), answers(network))
    torch.testing.assert_close(network.state_dict(), state)
    assert {layer.energy_lost for layer in separation.layers} == {0.0}
    assert separation.ranks == ((9, 9, 9, 9, 9, 12) if sharing == "gc" else (4,) * 6)
    assert not torch.allclose(answers(separate(network, sharing, rank=1).model), answers(network), rtol=0.01)


@pytest.mark.parametrize("sharing", ["gc", "g"])
def test_what_is_lost_is_the_distance_of_the_filters(sharing):
    network = trained()
    separation = separate(network, sharing, rank=2)
    for layer in separation.layers:
        weight = network.get_submodule(layer.name).weight.detach()
        found = separation.model.get_submodule(layer.name)
        lost = (found.compose().detach() - weight).square().sum() / weight.square().sum()
        assert layer.energy_lost == pytest.approx(float(lost), rel=1e-9)
        assert found.rank == layer.rank == 2
        torch.testing.assert_close(found.bias, network.get_submodule(layer.name).bias)
        assert layer.parameters_after == sum(p.numel() for p in found.parameters())


def test_a_network_of_the_registry_becomes_its_separable_counterpart(tmp_path):
    network = trained("p4cnn", group="p4m", num_classes=4).float()
    separation = separate(network, "gc", rank=2)
    assert separation.model.name == "gc_p4cnn"
    assert separation.model.config["rank"] == [2] * 6
    assert not separation.model.training
    sepgconv.save(separation.model, tmp_path / "model")
    again = sepgconv.load(tmp_path / "model").eval()
    x = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(again(x), separation.model(x))
    sepgconv.testing.assert_equivariant(again, "p4m", x)


@pytest.mark.usefixtures("shallow_resnets")
def test_a_resnet_keeps_biases_and_shortcuts():
    network = sepgconv.create_model("p4m_resnet44", widths=(2, 3, 3), head="invariant").eval().double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    separation = separate(network, "g", rank=8)
    assert len(separation.layers) == 12
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(separation.model(x), network(x))


def plant(network):
    """Make every second convolution separable, up to a little."""
    layers = [m for m in network.modules() if isinstance(m, GroupConv2d)]
    for layer in layers[::2]:
        out, channels, order, *size = layer.weight.shape
        mixing, planar = torch.randn(out, channels, order, 1, 1), torch.randn(out, 1, 1, *size)
        layer.weight.data = (mixing * planar + 0.05 * torch.randn_like(layer.weight)).to(layer.weight.dtype)
    return network


def test_a_budget_gives_each_layer_the_fewest_terms_it_allows():
    network = plant(trained(width=6))
    separation = separate(network, "gc", budget=0.2)
    for layer in separation.layers:
        weight = network.get_submodule(layer.name).weight.detach()
        energy = separable_spectrum(weight, "gc").square().sum(0)
        lost = [1 - float(energy[:r].sum() / energy.sum()) for r in range(len(energy) + 1)]
        saves = [r for r in range(1, len(energy) + 1) if 6 * r * (24 + weight[0, 0, 0].numel()) < weight.numel()]
        fitting = [r for r in saves if lost[r] <= 0.2]
        assert layer.rank == (fitting[0] if fitting else 0)
    assert separation.ranks[::2] == (1, 1, 1)
    assert min(separation.ranks[1::2]) > 1
    capped = separate(network, "gc", rank=1, budget=0.2)
    assert capped.ranks == (1, 0, 1, 0, 1, 0)
    kept = [layer for layer in capped.layers if layer.rank == 0]
    assert all(layer.parameters_after == layer.parameters_before and layer.energy_lost == 0 for layer in kept)
    for layer in kept:
        assert type(capped.model.get_submodule(layer.name)) is GroupConv2d


def test_any_module_works_and_its_other_parts_stay():
    shared = GroupConv2d(3, 3, 3, "pm", padding=(1, 2), dilation=(1, 2), padding_mode="circular")
    pointwise, head = GroupConv2d(3, 2, 1, "pm"), nn.Conv2d(2, 2, 1)
    network = nn.Sequential(LiftingConv2d(1, 3, 3, "pm"), shared, nn.ReLU(), shared, pointwise, GroupMaxPool(), head)
    network.double()
    before = copy.deepcopy(network)
    x = torch.randn(2, 1, 9, 12, dtype=torch.float64)
    separation = separate(network, "gc", rank=9)
    model = separation.model
    assert model[1] is model[3]
    assert [type(module) for module in model] == [
        type(module) if index not in (1, 3) else SeparableGroupConv2d for index, module in enumerate(before)
    ]
    torch.testing.assert_close(model(x), before(x))
    assert [layer.name for layer in separation.layers] == ["1"]
    alone = separate(shared, "g", rank=2).model
    assert isinstance(alone, SeparableGroupConv2d)


@each(
    ("make", "options", "message"),
    [
        (trained, {}, "give a rank, a budget, or both"),
        (trained, {"rank": 0}, "rank must be 1 or more, got 0"),
        (trained, {"budget": 1.5}, "from 0 to 1; got 1.5"),
        (trained, {"budget": 0.01, "rank": 1}, r"no layer can be separated up to rank 1 within a budget of 1.0 %"),
        (trained, {"rank": 1, "sharing": "cg"}, "sharing"),
        (lambda: nn.Conv2d(1, 1, 3), {"rank": 1}, "Conv2d has no group convolution of more than one pixel"),
        (lambda: trained("z2cnn"), {"rank": 1}, "z2cnn has no gc-separable counterpart"),
    ],
)
def test_what_cannot_be_is_refused(unchecked, make, options, message):
    with pytest.raises(ValueError, match=message):
        separate(make(), **{"sharing": "gc", **options})


def test_weights_that_are_not_finite_are_named():
    network = trained()
    norm = trained()
    norm.features[0][1].bias.data[0] = torch.nan
    with pytest.raises(ValueError, match=r"features\.0\.1\.bias holds values that are not finite"):
        separate(norm, rank=1)
    network.features[3][0].weight.data[0] = torch.nan
    with pytest.raises(ValueError, match=r"features\.3\.0\.weight holds values that are not finite"):
        separate(network, rank=1)
