"""Multiplications as torch's own counter sees them, and the rule of execution="auto"."""

import itertools
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sepgconv.conv.cost import BUTTERFLY_COST, GROUPED_MAC_COST
from sepgconv.functional import conv_geometry, executed_macs, select_execution, separable_group_conv2d
from sepgconv.symmetry import C4
from sepgconv.symmetry import group as group_named
from tests.covering import named

PLANAR = [{}, {"padding": 1}, {"stride": 2, "padding": 1}, {"dilation": 2}]
RUN = [("gc", "separable"), ("gc", "fourier"), ("gc", "composed"), ("g", "separable"), ("g", "composed")]
# theory.md, Mixing in irreps: multiplications per pair of channels, and additions per channel of a transform.
PRODUCTS = {"p1": 1, "p2": 2, "pm": 2, "cm": 2, "pmm": 4, "cmm": 4, "p4": 6, "p4m": 12}
ADDITIONS = {"p1": 0, "p2": 2, "pm": 2, "cm": 2, "pmm": 8, "cmm": 8, "p4": 6, "p4m": 20}


def arguments(group, sharing, planar, channels=(3, 5), size=(7, 9), kernel=3):
    return sharing, *channels, group, conv_geometry(group, kernel, **planar), size


@pytest.mark.parametrize("planar", PLANAR, ids=str)
@pytest.mark.covering(1)
def test_executed_macs_are_those_that_run(group, planar):
    for sharing, execution in RUN:
        with named(sharing=sharing, execution=execution):
            x, pointwise = torch.randn(1, 3, group.order, 7, 9), torch.randn(5, 3, group.order)
            depthwise = torch.randn(5, 3, 3) if sharing == "gc" else torch.randn(5, 3, 3, 3)
            with FlopCounterMode(display=False) as counter:
                separable_group_conv2d(x, pointwise, depthwise, group, sharing=sharing, execution=execution, **planar)
            counts = counter.get_flop_counts()["Global"]
            assert 2 * executed_macs(execution, *arguments(group, sharing, planar)) == counts.pop(
                torch.ops.aten.convolution
            )
            # What is left makes the blocks of the irreps from the weights: it does not grow with the picture.
            building = 2 * 3 * 5 * group.order * PRODUCTS[group.name]
            assert sum(counts.values()) == (building if execution == "fourier" else 0)


def test_padded_layers_cost_the_formulas_of_the_paper(group):
    """theory.md, Cost: with an output as large as the input, executed and nominal are the same."""
    order, pixels = group.order, 7 * 9
    costs = {
        ("composed", "gc"): 3 * order * 9 * pixels * 5 * order,
        ("composed", "g"): 3 * order * 9 * pixels * 5 * order,
        ("separable", "g"): 3 * 5 * order * pixels * (order + 9),
        ("separable", "gc"): 5 * order * pixels * (3 * order + 9),
        ("fourier", "gc"): 5 * pixels * (3 * PRODUCTS[group.name] + order * 9),
    }
    for (execution, sharing), expected in costs.items():
        assert executed_macs(execution, *arguments(group, sharing, {"padding": 1})) == expected


def test_auto_takes_the_cheaper_execution(group):
    """Cost is dense multiplications; thin ones and additions of the transforms count more; the first where equal."""
    chosen = set()
    for sharing, planar, channels, kernel in itertools.product(
        ("gc", "g"), ({}, {"stride": 2, "padding": 1}), ((1, 1), (3, 5), (100, 3), (96, 96)), (1, 3, 7)
    ):
        case = arguments(group, sharing, planar, channels, kernel=kernel)
        geometry, (inner, outer), order, name = case[4], channels, group.order, group.name
        pixels_out = math.prod(geometry.output_size(7, 9))
        mixing = outer * order * inner * order * 7 * 9
        filtering = outer * order * kernel**2 * pixels_out * (inner if sharing == "g" else 1)
        separable = (GROUPED_MAC_COST if sharing == "g" else 1) * mixing + GROUPED_MAC_COST * filtering
        costs = {"separable": separable, "composed": executed_macs("composed", *case)}
        on_gpu = select_execution("auto", *case, device="cuda")
        assert on_gpu == min(costs, key=costs.get)  # the first of equals
        if sharing == "gc" and order > 1:
            additions = BUTTERFLY_COST * ADDITIONS[name] * (inner + outer)
            in_irreps = 7 * 9 * (PRODUCTS[name] * inner * outer + additions) + GROUPED_MAC_COST * filtering
            costs = {"separable": separable, "fourier": in_irreps, "composed": costs["composed"]}
        choice = select_execution("auto", *case)
        assert choice == select_execution("auto", *case, device="cpu") == min(costs, key=costs.get)
        chosen |= {choice, on_gpu}
    assert chosen == {"separable", "composed"} | ({"fourier"} if order > 1 else set())


@pytest.mark.parametrize("device", ["cpu", "cuda", "meta"])
@pytest.mark.parametrize(("sharing", "execution"), RUN)
@pytest.mark.covering(1)
def test_an_explicit_execution_is_obeyed(group, sharing, execution, device):
    for kernel in (1, 3):
        case = arguments(group, sharing, {}, kernel=kernel)
        assert select_execution(execution, *case, device=device) == execution


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("count", [select_execution, executed_macs])
def test_fourier_is_refused_where_the_mixing_is_no_convolution_on_the_group(count):
    with pytest.raises(ValueError, match=r'execution="fourier" needs sharing="gc", got sharing=\'g\'; use'):
        count("fourier", *arguments(C4, "g", {}))


def test_widths_from_which_auto_runs_in_the_irreps():
    """The figures beside BUTTERFLY_COST and TURN_COST, in channels."""
    for name, about in (("p4", 48), ("p4m", 32), ("C6", 113), ("C8", 78), ("C16", 35), ("D8", 35)):
        for channels, expected in ((about - 4, "separable"), (about + 4, "fourier"), (400, "fourier")):
            case = arguments(group_named(name), "gc", {"padding": 1}, (channels, channels), size=(8, 8))
            assert select_execution("auto", *case) == expected


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("execution", "sharing", "message"),
    [
        ("compose", "gc", "unknown execution 'compose'; did you mean 'composed'"),
        ("auto", "cg", "unknown sharing 'cg'; did you mean .*'gc'"),
    ],
)
def test_unknown_names_are_refused(execution, sharing, message):
    with pytest.raises(ValueError, match=message):
        select_execution(execution, *arguments(C4, sharing, {}))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("execution", "sharing"), [("auto", "gc"), ("compose", "gc"), ("separable", "cg")])
def test_executed_macs_counts_known_executions_only(execution, sharing):
    with pytest.raises(ValueError, match=r"unknown (execution|sharing)"):
        executed_macs(execution, *arguments(C4, sharing, {}))
