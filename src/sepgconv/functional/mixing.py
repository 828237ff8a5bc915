"""The mixing of a gc-separable convolution, `out[n,h] = sum_c sum_g w[n,c,h^-1 g] x[c,g]` at every position.

It is a convolution on the group. Dense, it is one matrix product; in the irreps of the group it falls apart into blocks
(theory.md, Mixing in irreps), between two transforms that are sums and differences of poses. Both are the same code
here: without butterflies there is one block, the whole.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv.functional.derivatives import is_transformed
from sepgconv.functional.kernels import transform_kernel
from sepgconv.symmetry import Butterflies, FiniteGroup, block_tables

WHOLE = Butterflies((), ())  # no transform; the block is the matrix itself


def dense_weight(pointwise: Tensor, action: Tensor) -> Tensor:
    """Return the mixing as the kernel (|G|*out, |G|*in, 1, 1) of a 1x1 convolution over poses and channels.

    Args:
        pointwise: w, (out, in, |G|).
        action: `pose_action(group)`.
    """
    return transform_kernel(pointwise, action).permute(1, 0, 3, 2).flatten(2, 3).flatten(0, 1)[..., None, None]


def fourier_tables(group: FiniteGroup, *, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
    """Return the tables by which `block_weights` makes the blocks of the mixing, one for each size of block."""
    return tuple(fourier_table(group, block, device=device) for block in range(len(group.butterflies.blocks)))


def fourier_table(group: FiniteGroup, block: int, *, device: torch.device | str | None = None) -> Tensor:
    """Return one of `fourier_tables`, that of an entry of `group.butterflies.blocks`."""
    return torch.tensor(block_tables(group.table, group.butterflies)[block], dtype=torch.float32, device=device)


def block_weights(pointwise: Tensor, tables: Sequence[Tensor]) -> list[Tensor]:
    """Return the mixing in the irreps as kernels (copies*length*out, length*in, 1, 1) of grouped 1x1 convolutions.

    Args:
        pointwise: w, (out, in, |G|).
        tables: `fourier_tables(group)`; their entries are multiples of powers of 2, exact in every precision.
    """
    weights: list[Tensor] = []
    for table in tables:
        copies, length = table.shape[:2]
        entries = pointwise @ table.flatten(0, 2).T.to(pointwise)  # (o, c, s*i*j)
        blocks = entries.unflatten(2, (copies, length, length)).permute(2, 3, 0, 4, 1)  # (s, i, o, j, c)
        weights.append(blocks.reshape(copies * length * pointwise.shape[0], length * pointwise.shape[1], 1, 1))
    return weights


def analyse(x: Tensor, form: Butterflies, order: int) -> list[Tensor]:
    """Transform an image (batch, |G|*channel, height, width) into one image of coefficients for each size of block."""
    rows, own = _rows(x, 1, order), False
    finished: list[Tensor] = []
    for further in form.levels:
        first, second = rows.unflatten(2, (2, -1)).unbind(2)
        if further:
            rows = _butterfly(first, second, rows if own else None).flatten(1, 2)
        else:
            finished.append(first - second)
            rows = first + second
        own = True
    return [_image(part, x) for part in (*finished, rows)]


def synthesise(parts: list[Tensor], form: Butterflies, order: int) -> Tensor:
    """Apply the transpose of `analyse`: from images of coefficients to an image (batch, |G|*channel, height, width).

    Without gradients the coefficients are used up: the list is emptied, its memory written over.
    """
    like = parts[0]
    if not form.levels:
        return parts.pop()
    rest = [_rows(part, copies, length) for part, (copies, length) in zip(parts, form.blocks, strict=True)]
    parts.clear()
    rows = rest.pop()
    for further in reversed(form.levels):
        if further:
            pairs = rows.unflatten(1, (-1, 2))
            rows = _butterfly(pairs[:, :, 0], pairs[:, :, 1], rows).flatten(2, 3)
        else:
            rows = _butterfly(rows, rest.pop(), None).flatten(2, 3)
    return _image(rows, like)


def multiply(parts: Sequence[Tensor], weights: Sequence[Tensor], form: Butterflies) -> list[Tensor]:
    """Multiply coefficients by their blocks."""
    return [F.conv2d(part, w, groups=groups) for part, w, groups in zip(parts, weights, _groups(form), strict=True)]


def multiply_backward(
    grads: Sequence[Tensor], parts: Sequence[Tensor], weights: Sequence[Tensor], form: Butterflies
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the gradients of `multiply` by the coefficients and by the blocks."""
    results = [
        torch.ops.aten.convolution_backward(
            grad, part, w, [0], [1, 1], [0, 0], [1, 1], False, [0, 0], groups, [True, True, False]
        )
        for grad, part, w, groups in zip(grads, parts, weights, _groups(form), strict=True)
    ]
    return [result[0] for result in results], [result[1] for result in results]


def mix(x: Tensor, weights: Sequence[Tensor], form: Butterflies, order: int) -> Tensor:
    """Mix the poses and channels of an image (batch, |G|*in, height, width) to (batch, |G|*out, height, width)."""
    return synthesise(multiply(analyse(x, form, order), weights, form), form, order)


def _groups(form: Butterflies) -> list[int]:
    return [copies for copies, _ in form.blocks] or [1]


def _rows(x: Tensor, segments: int, length: int) -> Tensor:
    """See a channels_last image as (position, segment, pose, channel); other layouts are copied."""
    positions = x.shape[0] * x.shape[2] * x.shape[3]
    return x.permute(0, 2, 3, 1).reshape(positions, segments, length, x.shape[1] // (segments * length))


def _image(rows: Tensor, like: Tensor) -> Tensor:
    batch, _, height, width = like.shape
    channels = rows.shape[1] * rows.shape[2] * rows.shape[3]
    return rows.flatten().view(batch, height, width, channels).permute(0, 3, 1, 2)


def _butterfly(first: Tensor, second: Tensor, place: Tensor | None) -> Tensor:
    """Put the sum and the difference of (position, segment, pose, channel) on a new axis after the segments.

    Args:
        first: one half.
        second: the other half.
        place: memory whose halves `first` and `second` are and which may be written over: no more of it leaves the
            cache than needed.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or is_transformed():
        return torch.stack((first + second, first - second), 2)
    segments, length = first.shape[1:3]
    if place is not None:
        first.add_(second)
        torch.sub(first, second, alpha=2, out=second)
        return place.view(len(first), segments, 2, length, first.shape[3])
    pair = first.new_empty((len(first), segments, 2, length, first.shape[3]))
    torch.add(first, second, out=pair[:, :, 0])
    torch.sub(first, second, out=pair[:, :, 1])
    return pair
