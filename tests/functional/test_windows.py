"""Max-pools with a window that lies in the padding whole are refused, and no others; torch writes beside such maps."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sepgconv
from sepgconv.functional import max_pool2d

pytestmark = pytest.mark.usefixtures("unchecked")


def taps(side, kernel, stride, padding, dilation):
    """The places that each window looks at, along one axis, by the definition."""
    windows = (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return [[i * stride - padding + j * dilation for j in range(kernel)] for i in range(windows)]


def has_maxima(side, *window):
    return all(any(0 <= place < side for place in places) for places in taps(side, *window))


def is_refused(x, window):
    try:
        max_pool2d(x, *window)
    except ValueError as error:
        assert "lies in the padding whole and has no maximum" in str(error)  # noqa: PT017 (one of many in a loop)
        return True
    return False


def test_exactly_the_windows_without_a_maximum_are_refused():
    """All small pools along one axis; the other axis is never at fault."""
    seen = {True: 0, False: 0}
    sizes = itertools.product(range(1, 6), range(1, 5), range(4), range(1, 7), range(1, 9))
    for kernel, stride, padding, dilation, side in sizes:
        if 2 * padding > kernel or not taps(side, kernel, stride, padding, dilation):
            continue
        lacks = not has_maxima(side, kernel, stride, padding, dilation)
        for x, pair in ((torch.zeros(1, 1, 1, side, 9), 0), (torch.zeros(1, 1, 1, 9, side), 1)):
            window = [[1, 1], [1, 1], [0, 0], [1, 1]]
            for values, value in zip(window, (kernel, stride, padding, dilation), strict=True):
                values[pair] = value
            assert is_refused(x, [tuple(values) for values in window]) == lacks
        seen[lacks] += 1
    assert min(seen.values()) >= 20


sides = st.tuples(st.integers(1, 9), st.integers(1, 9))
small = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(sides, small, small, st.tuples(st.integers(0, 2), st.integers(0, 2)), small, st.integers(1, 3))
def test_what_is_not_refused_has_the_maxima_of_the_definition(size, kernel, stride, padding, dilation, batch):
    axes = [taps(*one) for one in zip(size, kernel, stride, padding, dilation, strict=True)]
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)) or not all(axes):
        return
    x = torch.randn(batch, 2, 1, *size, dtype=torch.float64, requires_grad=True)
    if not all(has_maxima(*one) for one in zip(size, kernel, stride, padding, dilation, strict=True)):
        assert is_refused(x, (kernel, stride, padding, dilation))
        return
    y = max_pool2d(x, kernel, stride, padding, dilation)
    rows, columns = (
        [[p for p in places if 0 <= p < side] for places in axis] for axis, side in zip(axes, size, strict=True)
    )
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        assert torch.equal(y[..., i, j], x[..., row, :][..., column].amax((-2, -1)))
    (grad,) = torch.autograd.grad(y[0].sum(), x)
    assert grad[0].sum() == y[0].numel()
    assert not grad[1:].any()


@pytest.mark.parametrize(
    ("size", "window"), [((1, 1), (2, None, 1, 2)), ((2, 9), (2, 3, 1, 3)), ((9, 2), (3, 1, 1, 3))], ids=str
)
def test_layers_refuse_in_one_sentence(size, window):
    layer = sepgconv.nn.MaxPool2d(*window)
    smallest = window[3]
    x = torch.zeros(2, 3, 4, *size)
    if size != (9, 2):
        with pytest.raises(
            ValueError, match=rf"MaxPool2d: on maps of \d x \d a window .* at least {smallest} x {smallest}"
        ):
            layer(x)
    assert layer(torch.zeros(2, 3, 4, 9, 9)).isfinite().all()
    assert layer(torch.zeros(0, 3, 4, 9, 9)).shape[0] == 0
