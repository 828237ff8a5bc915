"""Sums of separable terms: the definition in loops, in every execution; counts; what takes no part in rank 1."""

import itertools

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import sepgconv
from sepgconv.conv.cost import BUTTERFLY_COST, GROUPED_MAC_COST
from sepgconv.functional import (
    NormRelu,
    compose_kernel,
    conv_geometry,
    executed_macs,
    group_batch_norm,
    group_conv2d,
    select_execution,
    separable_group_conv2d,
    separate_kernel,
)
from sepgconv.ops import gc_conv
from sepgconv.ops.rank import add_terms, gather_bias, gather_filters, repeat_terms, spread_bias, spread_filters
from sepgconv.ops.reference import group_conv2d_reference, separable_group_conv2d_reference
from tests.covering import each, named

pytestmark = pytest.mark.usefixtures("float64")

IN, OUT = 2, 3
RUN = [("gc", "separable"), ("gc", "fourier"), ("gc", "composed"), ("g", "separable"), ("g", "composed")]
CASES = [  # rank, kernel, planar arguments, size
    (2, 3, {"stride": 2, "padding": 1}, (6, 5)),
    (2, 2, {"padding": 1}, (3, 4)),
    (3, 3, {"dilation": 2, "padding": 2}, (4, 5)),
    (4, 4, {"stride": 2}, (6, 5)),
]


def problem(group, sharing, rank, kernel=3, size=(5, 4), out=OUT):
    """Maps, the two factors with an axis for the terms, and a bias."""
    planar = (out, rank, IN, kernel, kernel) if sharing == "g" else (out, rank, kernel, kernel)
    shapes = ((2, IN, sepgconv.group(group).order, *size), (out, rank, IN, sepgconv.group(group).order), planar, (out,))
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def by_definition(x, pointwise, depthwise, bias, group, sharing, **planar):
    """The sum of what the loops make of every term by itself."""
    terms = [
        separable_group_conv2d_reference(x, pointwise[:, r], depthwise[:, r], group, sharing=sharing, **planar)
        for r in range(pointwise.shape[1])
    ]
    return sum(terms) + bias[:, None, None, None]


@pytest.mark.parametrize("sharing", ["gc", "g"])
@pytest.mark.covering(1)
def test_is_the_sum_of_its_terms_forward_and_backward(group, sharing):
    """Forward against the loops; gradients against those of the composed convolution, which torch differentiates."""
    for case in CASES:
        with named(case=case):
            rank, kernel, planar, size = case
            leaves = problem(group, sharing, rank, kernel, size)
            with torch.no_grad():
                expected = by_definition(*leaves, group, sharing, **planar)
                reference = separable_group_conv2d_reference(*leaves[:3], group, sharing=sharing, **planar)
            torch.testing.assert_close(reference + leaves[3][:, None, None, None], expected, rtol=1e-12, atol=1e-12)
            composed = group_conv2d(leaves[0], compose_kernel(*leaves[1:3], sharing), group, leaves[3], **planar)
            gradients = torch.autograd.grad(composed.sin().sum(), leaves)
            for execution, recompute in itertools.product([e for s, e in RUN if s == sharing], (True, False)):
                options = {"sharing": sharing, "execution": execution, "recompute": recompute, **planar}
                y = separable_group_conv2d(*leaves[:3], group, leaves[3], **options)
                torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
                found = torch.autograd.grad(y.sin().sum(), leaves)
                torch.testing.assert_close(found, gradients, rtol=1e-10, atol=1e-10)
                with torch.no_grad():
                    y = separable_group_conv2d(*leaves[:3], group, leaves[3], **options)
                torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("sharing", "execution"), RUN)
def test_padding_modes_and_no_bias(sharing, execution):
    x, pointwise, depthwise, _ = problem("p4m", sharing, 3)
    for mode, recompute in itertools.product(("circular", "reflect", "replicate"), (True, False)):
        padded = F.pad(x.flatten(1, 2), (2, 2, 2, 2), mode=mode).unflatten(1, x.shape[1:3])
        expected = group_conv2d(padded, compose_kernel(pointwise, depthwise, sharing), "p4m")
        y = separable_group_conv2d(
            x, pointwise, depthwise, "p4m", sharing=sharing, execution=execution, recompute=recompute, padding=2,
            padding_mode=mode,
        )  # fmt: skip
        torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
        leaves = (x, pointwise, depthwise)
        found, wanted = (torch.autograd.grad(result.sin().sum(), leaves) for result in (y, expected))
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("sharing", "execution"), RUN)
@pytest.mark.covering(1)
def test_a_bank_separated_at_full_rank_is_that_convolution(group, sharing, execution):
    weight, x = torch.randn(OUT, IN, group.order, 2, 2), torch.randn(1, IN, group.order, 4, 3)
    rank = sepgconv.functional.full_rank(IN, group.order, (2, 2), sharing)
    factors = separate_kernel(weight, sharing, rank)
    torch.testing.assert_close(compose_kernel(*factors, sharing), weight, rtol=1e-12, atol=1e-12)
    y = separable_group_conv2d(x, *factors, group, sharing=sharing, execution=execution, padding=1)
    expected = group_conv2d_reference(x, weight, group, padding=1)
    torch.testing.assert_close(y, expected, rtol=1e-11, atol=1e-11)
    if rank > 1:  # negative control: one term fewer is another function
        less = separable_group_conv2d(
            x, *separate_kernel(weight, sharing, rank - 1), group, sharing=sharing, execution=execution, padding=1
        )
        assert (less - expected).abs().max() > 1e-3


@pytest.mark.parametrize(("sharing", "execution"), RUN)
def test_an_axis_of_one_term_is_no_axis(sharing, execution):
    leaves = problem("p4", sharing, 1)
    options = {"sharing": sharing, "execution": execution, "padding": 1}
    with_axis = separable_group_conv2d(*leaves[:3], "p4", leaves[3], **options)
    without = separable_group_conv2d(leaves[0], leaves[1][:, 0], leaves[2][:, 0], "p4", leaves[3], **options)
    torch.testing.assert_close(with_axis, without, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("execution", ["separable", "fourier", "composed"])
@pytest.mark.parametrize("recompute", [True, False])
def test_after_batch_norm_and_relu(execution, recompute):
    x, *factors, bias = problem("p4", "gc", 2)
    affine = [torch.rand(IN, requires_grad=True) for _ in range(2)]
    ours, theirs = ([torch.zeros(IN), torch.ones(IN)] for _ in range(2))
    normed = F.relu(group_batch_norm(x, *theirs, *affine, training=True))
    options = {"execution": "composed", "padding": 1}
    expected = separable_group_conv2d(normed, *factors, "p4", bias, **options)
    options |= {"execution": execution, "recompute": recompute, "pre_norm_act": NormRelu(*ours, *affine)}
    y = separable_group_conv2d(x, *factors, "p4", bias, **options)
    torch.testing.assert_close([y, *ours], [expected, *theirs], rtol=1e-11, atol=1e-11)
    leaves = [x, *affine, *factors, bias]
    found, wanted = (torch.autograd.grad(result.sin().sum(), leaves) for result in (y, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("sharing", "execution"), RUN)
def test_second_derivatives_vmap_and_mixed_precision(sharing, execution):
    leaves = problem("p4", sharing, 2, kernel=2, size=(2, 3))

    def run(x, *others):
        options = {"sharing": sharing, "execution": execution, "recompute": True, "padding": 1}
        return separable_group_conv2d(x, *others[:2], "p4", others[2], **options)

    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)
    stacked = torch.vmap(run, (0, None, None, None))(leaves[0].unflatten(0, (2, 1)), *leaves[1:])
    torch.testing.assert_close(stacked.flatten(0, 1), run(*leaves), rtol=1e-12, atol=1e-12)
    single = [leaf.detach().float().requires_grad_() for leaf in leaves]
    with torch.autocast("cpu", torch.bfloat16):
        y = run(*single)
    assert y.dtype == torch.bfloat16
    assert (y.double() - run(*leaves)).norm() < 0.03 * run(*leaves).norm()
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in torch.autograd.grad(y.float().sum(), single))


@pytest.mark.parametrize("group", ["p1", "p4"])
@pytest.mark.parametrize("out", [1, 3])
@pytest.mark.parametrize(("sharing", "execution"), RUN)
@pytest.mark.covering(2)
def test_answers_lie_as_those_of_every_layer_do(group, sharing, execution, out):
    x, *factors, bias = problem(group, sharing, 2, out=out)
    for with_gradients in (True, False):
        with torch.set_grad_enabled(with_gradients):
            y = separable_group_conv2d(x, *factors, group, bias, sharing=sharing, execution=execution)
        assert y.permute(0, 3, 4, 2, 1).is_contiguous()


def test_terms_are_added_up_and_given_back():
    order, terms, out = 4, 3, 2
    image = torch.randn(2, order * terms * out, 3, 5).contiguous(memory_format=torch.channels_last)
    expected = image.unflatten(1, (order, terms, out)).sum(2).flatten(1, 2)
    for with_gradients in (True, False):
        with torch.set_grad_enabled(with_gradients):
            torch.testing.assert_close(add_terms(image, order, terms, in_place=not torch.is_grad_enabled()), expected)
    assert not add_terms(image.requires_grad_(), order, terms, in_place=False).is_leaf
    grad = torch.randn_like(expected)
    (by_image,) = torch.autograd.grad(add_terms(image, order, terms, in_place=False), image, grad)
    torch.testing.assert_close(repeat_terms(grad, order, terms), by_image, rtol=0, atol=0)
    filters, bias = torch.randn(order * out, terms, 3, 3), torch.randn(order * out)
    assert torch.equal(gather_filters(spread_filters(filters, order), order, terms), filters)
    assert torch.equal(gather_bias(spread_bias(bias, order, terms), order, terms), bias)
    assert int(spread_bias(bias, order, terms).count_nonzero()) == order * out


def test_pieces_are_cut_by_the_maps_of_all_terms(monkeypatch):
    """What must fit into the cache is the widest map: that between mixing and filtering."""
    monkeypatch.setattr("sepgconv.ops.dispatch.CHUNK_BYTES", 8 * 24 * 5 * 5)  # three terms of 8 maps, for one picture
    x = torch.randn(4, 8, 5, 5)
    assert [len(gc_conv._cut(x, torch.randn(8, terms, 3, 3))) for terms in (1, 2, 3)] == [2, 2, 4]


@pytest.mark.parametrize("group", ["p1", "p4m"])
@pytest.mark.parametrize("rank", [2, 5])
@pytest.mark.parametrize(("sharing", "execution"), RUN)
@pytest.mark.covering(2)
def test_executed_macs_are_those_that_run(group, sharing, execution, rank):
    planar, group = {"stride": 2, "padding": 1}, sepgconv.group(group)
    x, *factors, _ = problem(group, sharing, rank, size=(7, 9))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        separable_group_conv2d(x[:1], *factors, group, sharing=sharing, execution=execution, **planar)
    counts = counter.get_flop_counts()["Global"]
    sizes = (sharing, IN, OUT, group, conv_geometry(group, 3, **planar), (7, 9))
    assert 2 * executed_macs(execution, *sizes, rank=rank) == counts[torch.ops.aten.convolution]
    times = 1 if execution == "composed" else rank
    assert executed_macs(execution, *sizes, rank=rank) == times * executed_macs(execution, *sizes)


def test_auto_counts_every_term(group):
    chosen, pixels = set(), 8 * 8
    for sharing, channels, rank in itertools.product(("gc", "g"), ((8, 8), (24, 24), (96, 96)), (1, 2, 4, 9)):
        inner, outer = channels
        sizes = (sharing, inner, outer, group, conv_geometry(group, 3, padding=1), (8, 8))
        filtering = rank * outer * group.order * 9 * pixels * (inner if sharing == "g" else 1)
        mixing = rank * outer * inner * group.order**2 * pixels
        costs = {"separable": (GROUPED_MAC_COST if sharing == "g" else 1) * mixing + GROUPED_MAC_COST * filtering}
        if sharing == "gc" and group.order > 1:
            form = group.fft
            costs["fourier"] = GROUPED_MAC_COST * filtering + pixels * (
                rank * form.products * inner * outer + BUTTERFLY_COST * form.additions * (inner + rank * outer)
            )
        costs["composed"] = inner * outer * group.order**2 * 9 * pixels
        choice = select_execution("auto", *sizes, rank=rank)
        assert choice == min(costs, key=costs.get)
        if sharing == "gc":
            chosen.add((rank, choice))
    assert {(1, "separable"), (9, "composed")} <= chosen


# Shapes of the two factors that do not fit.
MISFITS = [
    ("gc", (OUT, 2, IN, 4), (OUT, 3, 3), "depthwise"),
    ("gc", (OUT, 2, IN, 4), (OUT, 3, 3, 3), "depthwise"),
    ("gc", (OUT, IN, 4), (OUT, 2, 3, 3), "depthwise"),
    ("g", (OUT, 2, IN, 4), (OUT, IN, 3, 3), "depthwise"),
    ("g", (OUT, 3, IN, 4), (OUT, 2, IN, 3, 3), "depthwise"),
    ("gc", (OUT, 2, IN, 8), (OUT, 2, 3, 3), "pointwise"),
    ("gc", (1, OUT, 2, IN, 4), (OUT, 2, 3, 3), "pointwise"),
    ("gc", (OUT, 2, IN + 1, 4), (OUT, 2, 3, 3), "feature maps"),
]


@pytest.mark.usefixtures("unchecked")
@each(("sharing", "pointwise", "depthwise", "which"), MISFITS)
def test_factors_that_do_not_fit_are_refused(sharing, pointwise, depthwise, which):
    with pytest.raises(ValueError, match=f"separable_group_conv2d: expected {which} .*, got"):
        separable_group_conv2d(
            torch.zeros(1, IN, 4, 5, 5), torch.zeros(pointwise), torch.zeros(depthwise), "p4", sharing=sharing
        )


def test_composed_filter_is_the_sum_of_products(group):
    pointwise = torch.randn(2, 3, IN, group.order)
    for sharing, shape in (("gc", (2, 3, 4, 3)), ("g", (2, 3, IN, 4, 3))):
        planar = torch.randn(shape)
        bank = compose_kernel(pointwise, planar, sharing)
        for n, c, pose in itertools.product(range(2), range(IN), range(group.order)):
            kernels = planar[n] if sharing == "gc" else planar[n, :, c]
            expected = sum(pointwise[n, r, c, pose] * kernels[r] for r in range(3))
            torch.testing.assert_close(bank[n, c, pose], expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("rank", [1, 9])
def test_auto_runs_what_the_rule_says(rank):
    """One picture through a layer that is cheapest separable with one term and composed with nine."""
    x, pointwise, depthwise = torch.randn(1, 16, 4, 8, 8), torch.randn(16, rank, 16, 4), torch.randn(16, rank, 3, 3)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        separable_group_conv2d(x, pointwise, depthwise, "p4", padding=1)
    sizes = ("gc", 16, 16, sepgconv.group("p4"), conv_geometry(sepgconv.group("p4"), 3, padding=1), (8, 8))
    expected = executed_macs({1: "separable", 9: "composed"}[rank], *sizes, rank=rank)
    assert counter.get_flop_counts()["Global"][torch.ops.aten.convolution] == 2 * expected
