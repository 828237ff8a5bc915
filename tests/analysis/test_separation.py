import dataclasses

import pytest
import torch

from sepgconv.analysis import cost, macs, redundancy, separability
from sepgconv.analysis.redundancy.separation import rank_options, separation_options, within_budget
from sepgconv.functional import separate_kernel
from sepgconv.nn import GroupConv2d, SeparableGroupConv2d


def options(layer, macs=None):
    return separation_options("here", layer, [separability(layer.weight, s) for s in ("gc", "g")], macs)


@pytest.mark.parametrize("bias", [True, False])
def test_rank_one_is_the_separable_layer(group, bias):
    """Parameters and multiplications are those that the library counts for the layer itself."""
    layer = GroupConv2d(20, 7, 3, group, bias=bias)
    shapes = (20, group.order, 9, 9), (7, group.order, 7, 7)
    before = macs(layer, *shapes)[0]
    for sharing in ("gc", "g"):
        separable = SeparableGroupConv2d(20, 7, 3, group, sharing=sharing, bias=bias)
        numbers = sum(p.numel() for p in separable.parameters())
        option = [o for o in options(layer, before) if (o.sharing, o.rank) == (sharing, 1)]
        if numbers >= sum(p.numel() for p in layer.parameters()):
            assert option == []  # g on p1 and p2 saves nothing here
            continue
        assert option[0].parameters_after == numbers
        assert option[0].parameters_saved == sum(p.numel() for p in layer.parameters()) - numbers
        assert option[0].macs_before == before
        assert option[0].macs_after == macs(separable, *shapes)[0]
        assert option[0].macs_saved == before - option[0].macs_after


def test_higher_ranks_count_their_factors():
    layer = GroupConv2d(10, 10, 3, "p4")
    for option in options(layer, 360 * 50):  # 50 outputs a channel, each of 360 multiplications
        factors = separate_kernel(layer.weight, option.sharing, option.rank)
        assert option.parameters_after == sum(f.numel() for f in factors) + 10
        assert option.macs_after == 50 * sum(f[0].numel() for f in factors)
    assert [(o.sharing, o.rank) for o in options(layer)] == [*(("gc", r) for r in range(1, 8)), ("g", 1), ("g", 2)]
    assert options(layer)[0].macs_after is None is options(layer)[0].macs_saved


def test_kernels_of_one_pixel_save_nothing():
    assert options(GroupConv2d(4, 4, 1, "p4")) == ()


def test_the_ranking_is_by_parameters_saved_for_energy_lost():
    base = options(GroupConv2d(10, 10, 3, "p4"))[0]
    cheap = dataclasses.replace(base, layer="cheap", energy_lost=0.1)
    dear = dataclasses.replace(base, layer="dear", energy_lost=0.5)
    large = dataclasses.replace(dear, layer="large", parameters_before=100_000)
    second = dataclasses.replace(cheap, layer="second", rank=2)
    assert [o.layer for o in rank_options([dear, cheap, second, large], rank=1)] == ["large", "cheap", "dear"]
    assert {o.layer for o in rank_options([dear, second])} == {"dear", "second"}
    assert dataclasses.replace(base, energy_lost=0.0).merit > cheap.merit


def test_a_budget_takes_the_smallest_that_fits():
    found = options(GroupConv2d(10, 10, 3, "p4"))
    for budget in (0.0, 0.2, 0.5, 1.0):
        fitting = [o for o in found if o.energy_lost <= budget]
        smallest = min(fitting, key=lambda o: o.parameters_after, default=None)
        assert within_budget(found, budget) == (() if smallest is None else (smallest,))
    with pytest.raises(ValueError, match=r"from 0 to 1; got 5\.0"):
        within_budget(found, 5.0)


def test_options_of_a_network_need_its_size_for_multiplications():
    layer = torch.nn.Sequential(GroupConv2d(3, 4, 3, "p2"))
    assert redundancy(layer).options[0].macs_before is None
    assert redundancy(torch.nn.Sequential(GroupConv2d(3, 4, 3, "p1"))).options == ()  # one pose: an ordinary layer

    class Lifted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GroupConv2d(3, 4, 3, "p2")

        def forward(self, x):
            return self.conv(x.unsqueeze(2).expand(-1, -1, 2, -1, -1))

    report = redundancy(Lifted(), input_shape=(3, 8, 8))
    assert report.options[0].macs_before == cost(Lifted(), (3, 8, 8)).nominal_macs == report.nominal_macs
