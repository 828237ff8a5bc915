"""The convolutions against a third implementation, written pixel by pixel from theory.md for this file alone.

It takes nothing from the library but a group's matrices and Cayley table, so that it checks the tables, the fast
functions and the library's own loop reference alike. Two properties follow: the size of the result, and when a stride
keeps the equivariance.
"""

import numpy as np
import pytest
import torch
from hypothesis import assume, event, given
from hypothesis import strategies as st

import sepgconv
from sepgconv.functional import (
    act,
    compose_kernel,
    conv_geometry,
    depthwise_group_conv2d,
    group_conv2d,
    lift_conv2d,
    separable_group_conv2d,
)
from sepgconv.ops import reference as loops

IN, OUT = 2, 3


def inverse(group, h):
    return group.table[h].index(0)


def turn(group, h, kernels):
    """T_h: the value at pixel v is the kernel's at h^-1 v, pixels counted from the middle; of kernels (..., k, l)."""
    moved, sides = np.empty_like(kernels), kernels.shape[-2:]
    middle = (np.array(sides) - 1) / 2
    for v in np.ndindex(sides):
        source = np.array(group.matrices[inverse(group, h)]) @ (np.array(v) - middle) + middle
        moved[..., v[0], v[1]] = kernels[..., int(source[0]), int(source[1])]
    return moved


def correlate(images, kernels, stride, padding, dilation):
    """Planar cross-correlation, zero outside the picture, of images (..., height, width) with their kernels."""
    sides, taps = images.shape[-2:], kernels.shape[-2:]
    size = [(sides[i] + 2 * padding[i] - dilation[i] * (taps[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    out = np.zeros((*np.broadcast_shapes(images.shape[:-2], kernels.shape[:-2]), *size))
    for y, x in np.ndindex(*size):
        for i, j in np.ndindex(taps):
            row, column = (
                y * stride[0] - padding[0] + i * dilation[0],
                x * stride[1] - padding[1] + j * dilation[1],
            )
            if 0 <= row < sides[0] and 0 <= column < sides[1]:
                out[..., y, x] += kernels[..., i, j] * images[..., row, column]
    return out


def turned(group, kernels_of):
    """T_h of the kernels of every pose h, which become their second axis."""
    return np.stack([turn(group, h, kernels_of(h)) for h in range(group.order)], 1)


def divided(group, h):
    """h^-1 g of every g"""
    return [group.table[inverse(group, h)][g] for g in range(group.order)]


def lifting(group, x, weight, planar):
    """X'[n,h] = sum_c (T_h F[n,c]) * X[c]"""
    return correlate(x, turned(group, lambda h: weight), *planar).sum(2)


def full(group, x, weight, planar):
    """X'[n,h] = sum_c sum_g F~[n,h,c,g] * X[c,g] with F~[n,h,c,g] = T_h F[n,c,h^-1 g]"""
    return correlate(x, turned(group, lambda h: weight[:, :, divided(group, h)]), *planar).sum((2, 3))


def mixed(group, x, pointwise):
    """sum_g w[n,c,h^-1 g] X[c,g], as (n, h, c, height, width)"""
    weights = np.stack([pointwise[:, :, divided(group, h)] for h in range(group.order)], 1)  # (n, h, c, g)
    return (weights[..., None, None] * x).sum(3)


def g_separable(group, x, pointwise, depthwise, planar):
    """X'[n,h] = sum_c (T_h K[n,c]) * (sum_g w[n,c,h^-1 g] X[c,g])"""
    return correlate(mixed(group, x, pointwise), turned(group, lambda h: depthwise), *planar).sum(2)


def gc_separable(group, x, pointwise, depthwise, planar):
    """X'[n,h] = (T_h K[n]) * (sum_c sum_g w[n,c,h^-1 g] X[c,g])"""
    return correlate(mixed(group, x, pointwise).sum(2), turned(group, lambda h: depthwise), *planar)


def filtering(group, x, weight, planar):
    """X'[n,h] = (T_h K[n]) * X[n,h]"""
    return correlate(x, turned(group, lambda h: weight), *planar)


@st.composite
def problems(draw):
    """A group, a size and planar arguments that fit; different on both axes wherever the group allows it."""
    group = sepgconv.group(draw(st.sampled_from(["p1", "p2", "p4", "pm", "pmm", "p4m"])))

    def pair(low, high):
        values = st.integers(low, high)
        return (draw(values),) * 2 if group.exchanges_axes else (draw(values), draw(values))

    kernel, stride, dilation = pair(1, 4), pair(1, 3), pair(1, 2)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    padding = tuple(min(p, r) for p, r in zip(pair(0, 3), reach, strict=True))
    size = tuple(draw(st.integers(max(1, r + 1 - 2 * p), r + 5)) for r, p in zip(reach, padding, strict=True))
    return group, size, kernel, {"stride": stride, "padding": padding, "dilation": dilation}


def tensors(group, size, kernel):
    torch.manual_seed(0)
    shapes = {
        "image": (1, IN, *size),
        "maps": (1, IN, group.order, *size),
        "lift": (OUT, IN, *kernel),
        "weight": (OUT, IN, group.order, *kernel),
        "pointwise": (OUT, IN, group.order),
        "gc": (OUT, *kernel),
        "g": (OUT, IN, *kernel),
        "filter": (IN, *kernel),
    }
    return {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}


def run(group, t, planar):
    """Every convolution of the library once: its name -> result."""
    separable = {
        f"{sharing} {execution}": separable_group_conv2d(
            t["maps"], t["pointwise"], t[sharing], group, sharing=sharing, execution=execution, **planar
        )
        for sharing in ("gc", "g")
        for execution in ("separable", "composed", "auto", *(["fourier"] if sharing == "gc" else []))
    }
    return separable | {
        "lifting": lift_conv2d(t["image"], t["lift"], group, **planar),
        "full": group_conv2d(t["maps"], t["weight"], group, **planar),
        "depthwise": depthwise_group_conv2d(t["maps"], t["filter"], group, **planar),
    }


@given(problems())
def test_convolutions_are_the_equations(problem):
    group, size, kernel, planar = problem
    t = tensors(group, size, kernel)
    a = {name: tensor.numpy() for name, tensor in t.items()}
    maps, three = a["maps"][0], (planar["stride"], planar["padding"], planar["dilation"])
    expected = {
        "lifting": lifting(group, a["image"][0], a["lift"], three),
        "full": full(group, maps, a["weight"], three),
        "depthwise": filtering(group, maps, a["filter"], three),
        "gc": gc_separable(group, maps, a["pointwise"], a["gc"], three),
        "g": g_separable(group, maps, a["pointwise"], a["g"], three),
    }
    for name, result in run(group, t, planar).items():
        assert result.shape[-2:] == conv_geometry(group, kernel, **planar).output_size(*size), name
        np.testing.assert_allclose(result[0], expected[name.split()[0]], rtol=1e-12, atol=1e-12, err_msg=name)

    if all(along_y == along_x for along_y, along_x in planar.values()):
        single = {name: value[0] for name, value in planar.items()}
        slow = {
            "lifting": loops.lift_conv2d_reference(t["image"], t["lift"], group, **single),
            "full": loops.group_conv2d_reference(t["maps"], t["weight"], group, **single),
            "depthwise": loops.depthwise_group_conv2d_reference(t["maps"], t["filter"], group, **single),
        } | {
            sharing: loops.separable_group_conv2d_reference(
                t["maps"], t["pointwise"], t[sharing], group, sharing=sharing, **single
            )
            for sharing in ("gc", "g")
        }
        for name, result in slow.items():
            np.testing.assert_allclose(result[0], expected[name], rtol=1e-12, atol=1e-12, err_msg=f"{name} reference")


def test_separable_equations_are_the_full_one_with_product_filters(group):
    t = tensors(group, (4, 5), (3, 3))
    planar = ((1, 1), (1, 1), (1, 1))
    for sharing, separable in (("gc", gc_separable), ("g", g_separable)):
        bank = compose_kernel(t["pointwise"], t[sharing], sharing).numpy()
        x, pointwise, depthwise = t["maps"][0].numpy(), t["pointwise"].numpy(), t[sharing].numpy()
        np.testing.assert_allclose(
            separable(group, x, pointwise, depthwise, planar), full(group, x, bank, planar), rtol=1e-12, atol=1e-12
        )


def reversed_axes(matrix):
    """The input axes that an element runs through backwards: those whose entry in its matrix is -1."""
    return {axis for row in matrix for axis, entry in enumerate(row) if entry == -1}


@given(problems())
def test_a_stride_is_exact_where_it_divides_what_is_left_along_reversed_axes(problem):
    """theory.md, Strides: (S + 2p - d(k - 1) - 1) mod stride = 0, axis by axis and element by element.

    An element that does not reverse an axis asks nothing of it: pm leaves the height free, p1 everything, and the two
    mirrors of p4m at the diagonals, which only exchange the axes, are exact at every size.
    """
    group, size, kernel, planar = problem
    t = tensors(group, size, kernel)
    rest = [
        (s + 2 * p - d * (k - 1) - 1) % step
        for s, p, d, k, step in zip(size, planar["padding"], planar["dilation"], kernel, planar["stride"], strict=True)
    ]
    # A window that sees nothing but padding is the same at every shift.
    reach = zip(size, planar["padding"], planar["dilation"], kernel, strict=True)
    assume(all(d * (k - 1) - p < s for s, p, d, k in reach))
    before = run(group, t, planar)
    exchanging = [g for g in range(group.order) if group.matrices[g][0][0] == 0]
    for elements in (sorted({*range(group.order)} - {*exchanging}), exchanging):  # images of one size
        if not elements:
            continue
        moved = {name: torch.cat([act(group, g, t[name]) for g in elements]) for name in ("image", "maps")}
        after = run(group, t | moved, planar)
        for i, g in enumerate(elements):
            exact = all(rest[axis] == 0 for axis in reversed_axes(group.matrices[g]))
            event("exact" if exact else "not exact")
            for name, result in before.items():
                error = (after[name][i : i + 1] - act(group, g, result)).abs().max() / result.abs().max()
                assert error < 1e-12 if exact else error > 1e-4, (name, g, rest)


@pytest.mark.parametrize(("name", "free"), [("p1", {0, 1}), ("pm", {0}), ("p2", set()), ("p4m", set())])
def test_axes_that_no_element_reverses(name, free):
    assert {0, 1} - set().union(*map(reversed_axes, sepgconv.group(name).matrices)) == free
