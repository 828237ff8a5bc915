"""Multiplications as torch's own counter sees them, and the rule of execution="auto"."""

import itertools
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sepgconv.functional import conv_geometry, executed_macs, select_execution, separable_group_conv2d
from sepgconv.functional.execution import THIN
from sepgconv.groups import C4

PLANAR = [{}, {"padding": 1}, {"stride": 2, "padding": 1}, {"dilation": 2}]


def arguments(group, sharing, planar, channels=(3, 5), size=(7, 9), kernel=3):
    return sharing, *channels, group.order, conv_geometry(group, kernel, **planar), size


@pytest.mark.parametrize("planar", PLANAR, ids=str)
@pytest.mark.parametrize("execution", ["separable", "composed"])
@pytest.mark.parametrize("sharing", ["gc", "g"])
def test_executed_macs_are_those_that_run(group, sharing, execution, planar):
    x, pointwise = torch.randn(1, 3, group.order, 7, 9), torch.randn(5, 3, group.order)
    depthwise = torch.randn(5, 3, 3) if sharing == "gc" else torch.randn(5, 3, 3, 3)
    with FlopCounterMode(display=False) as counter:
        separable_group_conv2d(x, pointwise, depthwise, group, sharing=sharing, execution=execution, **planar)
    assert 2 * executed_macs(execution, *arguments(group, sharing, planar)) == counter.get_total_flops()


def test_padded_layers_cost_the_formulas_of_the_paper(group):
    """METHOD section 2: with an output as large as the input, executed and nominal are the same."""
    order, pixels = group.order, 7 * 9
    costs = {
        ("composed", "gc"): 3 * order * 9 * pixels * 5 * order,
        ("composed", "g"): 3 * order * 9 * pixels * 5 * order,
        ("separable", "g"): 3 * 5 * order * pixels * (order + 9),
        ("separable", "gc"): 5 * order * pixels * (3 * order + 9),
    }
    for (execution, sharing), expected in costs.items():
        assert executed_macs(execution, *arguments(group, sharing, {"padding": 1})) == expected


def test_auto_takes_the_cheaper_execution(group):
    """Cost is multiplications, those of depthwise and grouped convolutions weighed with THIN; separable where equal."""
    chosen = set()
    for sharing, planar, channels, kernel in itertools.product(
        ("gc", "g"), PLANAR, ((1, 1), (3, 5), (100, 3)), (1, 2, 3, 7)
    ):
        if planar.get("dilation", 1) * (kernel - 1) >= 7:
            continue
        case = arguments(group, sharing, planar, channels, kernel=kernel)
        geometry, (inner, outer), order = case[4], channels, group.order
        pixels_out = math.prod(geometry.output_size(7, 9))
        mixing = outer * order * inner * order * 7 * 9
        filtering = outer * order * kernel**2 * pixels_out * (inner if sharing == "g" else 1)
        separable = (THIN if sharing == "g" else 1) * mixing + THIN * filtering
        composed = executed_macs("composed", *case)
        choice = select_execution("auto", *case)
        assert choice == ("composed" if composed < separable else "separable")
        chosen.add(choice)
    assert chosen == {"separable", "composed"}


@pytest.mark.parametrize("execution", ["separable", "composed"])
def test_an_explicit_execution_is_obeyed(group, execution):
    for kernel in (1, 3):
        assert select_execution(execution, *arguments(group, "gc", {}, kernel=kernel)) == execution


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
