"""The mixing in the irreps is the dense mixing, with gradients and without; its two transforms are transposes."""

import math

import pytest
import torch

import sepgconv
from sepgconv.conv.kinds import block_weights, dense_weight
from sepgconv.ops.layout import fold_poses
from sepgconv.ops.mixing import group_fft, inverse_group_fft, mix, multiply, multiply_backward
from sepgconv.symmetry import D4, pose_division
from sepgconv.symmetry.basis import fourier_tables, pose_action
from sepgconv.symmetry.group_fft import IDENTITY
from tests.covering import each, named

pytestmark = pytest.mark.usefixtures("float64")

IN, OUT = 3, 2


@pytest.fixture(params=["p1", "p2", "p4", "pm", "p4m", "cmm", "C3", "C6", "C8", "C16", "D3", "D5", "D8"])
def group(request):
    """Groups of every kind of transform: none, butterflies, one matrix, butterflies and then matrices."""
    return sepgconv.group(request.param)


def folded(group, channels=IN, batch=2, **options):
    return fold_poses(torch.randn(batch, channels, group.order, 4, 5, **options))


def weights(group, **options):
    return torch.randn(OUT, IN, group.order, **options)


def blocks_of(group, pointwise):
    return block_weights(pointwise, fourier_tables(group, like=pointwise))


def in_irreps(group, x, pointwise):
    in_place = not torch.is_grad_enabled()  # as dispatch has it
    return mix(x, blocks_of(group, pointwise), group.fft, group.order, group.fft.copies, in_place=in_place)


def by_definition(group, x, pointwise):
    """`out[n,h] = sum_c sum_g w[n,c,h^-1 g] x[c,g]`, term by term."""
    maps, divide = x.unflatten(1, (group.order, -1)), pose_division(group)
    out = [
        sum(
            pointwise[n, c, divide[h, g]] * maps[:, g, c] for c in range(pointwise.shape[1]) for g in range(group.order)
        )
        for h in range(group.order)
        for n in range(len(pointwise))
    ]
    return torch.stack(out, 1)


def test_dense_and_irreps_are_the_definition(group):
    for with_gradients in [True, False]:
        with named(with_gradients=with_gradients):
            x, pointwise = folded(group), weights(group)
            before = x.clone()
            with torch.set_grad_enabled(with_gradients):
                expected = by_definition(group, x, pointwise)
                kernel = dense_weight(pointwise, pose_action(group))
                dense = mix(x, [kernel], IDENTITY, group.order, [1], in_place=not with_gradients)
                found = in_irreps(group, x, pointwise)
            torch.testing.assert_close(dense, expected, rtol=1e-13, atol=1e-13)
            torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
            assert torch.equal(x, before)  # without gradients memory is written over, but not the input's


def test_swapped_blocks_are_noticed():
    """Negative control: the blocks of p4m's irreps of dimension 1 in another order."""
    group = D4
    x, pointwise = folded(group), weights(group)
    blocks = blocks_of(group, pointwise)
    blocks[-1] = blocks[-1].roll(OUT, 0)
    wrong = mix(x, blocks, group.fft, group.order, group.fft.copies, in_place=False)
    assert not torch.allclose(wrong, by_definition(group, x, pointwise), atol=0.1)


def test_gradients_are_those_of_the_definition(group):
    results = []
    for mixing in (by_definition, in_irreps):
        torch.manual_seed(1)
        x, pointwise = folded(group).requires_grad_(), weights(group, requires_grad=True)
        results.append(torch.autograd.grad(mixing(group, x, pointwise).sin().sum(), (x, pointwise)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


def test_the_inverse_transform_is_the_transpose(group):
    """<group_fft(x), c> = <x, inverse_group_fft(c)> for all x and c."""
    for with_gradients in [True, False]:
        with named(with_gradients=with_gradients):
            fft, order, in_place = group.fft, group.order, not with_gradients
            with torch.set_grad_enabled(with_gradients):
                x = folded(group)
                parts = group_fft(x, fft, order, in_place=in_place)
                coefficients = [torch.randn_like(part) for part in parts]
                ahead = sum(float((part * c).sum()) for part, c in zip(parts, coefficients, strict=True))
                copies = [c.clone(memory_format=torch.channels_last) for c in coefficients]
                back = inverse_group_fft(copies, fft, in_place=in_place)
                assert math.isclose(ahead, float((x * back).sum()), rel_tol=1e-12)
                # The transpose, not the inverse: the share of 1 / 2^levels is in the blocks.
                assert not fft.levels or not torch.allclose(inverse_group_fft(parts, fft, in_place=in_place), x)


def test_coefficients_come_in_the_sizes_of_the_blocks(group):
    parts = group_fft(folded(group), group.fft, group.order, in_place=False)
    blocks = group.fft.blocks
    assert [part.shape[1] for part in parts] == [copies * length * IN for copies, length in blocks]
    kernels = blocks_of(group, weights(group))
    assert [kernel.shape for kernel in kernels] == [
        (copies * length * OUT, length * IN, 1, 1) for copies, length in blocks
    ]


@torch.no_grad()
def test_backward_of_the_products_is_that_of_torch(group):
    groups, kernels = group.fft.copies, blocks_of(group, weights(group))
    parts = group_fft(folded(group), group.fft, group.order, in_place=True)
    grads = [torch.randn_like(part) for part in multiply(parts, kernels, groups)]
    found = multiply_backward(grads, parts, kernels, groups)
    with torch.enable_grad():
        leaves = [t.clone().requires_grad_() for t in (*parts, *kernels)]
        out = multiply(leaves[: len(parts)], leaves[len(parts) :], groups)
        expected = torch.autograd.grad(out, leaves, grads)
    torch.testing.assert_close((*found[0], *found[1]), expected, rtol=1e-12, atol=1e-12)


@each("name", ["p1", "p2", "p4", "pmm", "p4m", "cmm"])
def test_tables_without_turns_are_exact_in_every_precision(name):
    for table in fourier_tables(sepgconv.group(name), like=torch.empty(0)):
        assert all(torch.equal(table.to(dtype).to(table), table) for dtype in (torch.bfloat16, torch.float16))
        assert float((table * 2**6).frac().abs().max()) == 0


@pytest.mark.parametrize("channels", [(1, 1), (1, 4), (5, 1)], ids=str)
@pytest.mark.covering(1)
def test_single_channels(group, channels):
    x, pointwise = folded(group, channels[0], batch=1), torch.randn(channels[1], channels[0], group.order)
    torch.testing.assert_close(in_irreps(group, x, pointwise), by_definition(group, x, pointwise))


@pytest.mark.parametrize("with_gradients", [True, False])
@pytest.mark.covering(1)
def test_an_empty_batch_is_mixed_to_an_empty_batch(group, with_gradients):
    with torch.set_grad_enabled(with_gradients):
        assert in_irreps(group, folded(group, batch=0), weights(group)).shape == (0, group.order * OUT, 4, 5)
