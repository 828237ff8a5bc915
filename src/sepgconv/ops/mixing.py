"""The mixing of a gc-separable convolution, `out[n,h] = sum_c sum_g w[n,c,h^-1 g] x[c,g]` at every position.

It is a convolution on the group. Dense, it is one matrix product; in the irreps of the group it falls apart into blocks
(theory.md, Mixing in irreps), between two transforms: sums and differences of poses, and small dense matrices where
these leave several irreps together. Both are the same code here: with the transform `IDENTITY` there is one block, the
whole.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv.symmetry import GroupFFT
from sepgconv.symmetry.basis import constant
from sepgconv.symmetry.group_fft import runs

# Poses that are turned by one product: positions are taken together up to it, because torch multiplies very small
# matrices one number after the other. For C6 and C8 with 16 channels two positions took 0.3 of the time of one.
JOINT_LENGTH = 16


def group_fft(x: Tensor, transform: GroupFFT, order: int, *, in_place: bool) -> list[Tensor]:
    """Transform an image (batch, |G|*channel, height, width) into one image of coefficients for each size of block.

    Args:
        x: the maps, which are kept.
        transform: the fast Fourier transform of the group.
        order: |G|.
        in_place: whether memory made here may be written over, as nothing differentiates or traces the steps.
    """
    rows, own = _rows(x, 1, order), False
    finished: list[Tensor] = []
    for further in transform.levels:
        first, second = rows.unflatten(2, (2, -1)).unbind(2)
        if further:
            rows = _butterfly(first, second, rows if own else None, in_place).flatten(1, 2)
        else:
            finished.append(first - second)
            rows = first + second
        own = True
    finished.append(rows)
    if not transform.is_dense:
        return [_image(part, x) for part in finished]
    blocks: list[Tensor] = []
    for index, (part, lengths) in enumerate(zip(finished, transform.parts, strict=True)):
        if not lengths:
            blocks.append(part)
            continue
        blocks += [_turn(part, transform, (index, *span), in_place) for span in _spans(lengths)]
    return [_image(block, x) for block in blocks]


def inverse_group_fft(parts: list[Tensor], transform: GroupFFT, *, in_place: bool) -> Tensor:
    """Apply the transpose of `group_fft`: from images of coefficients to an image (batch, |G|*channel, height, width).

    The coefficients are used up: the list is emptied, and with `in_place` its memory written over.
    """
    like = parts[0]
    if not transform.levels and not transform.is_dense:
        return parts.pop()
    if transform.is_dense:
        rest = _segments(parts, transform, in_place)
    else:
        rest = [_rows(part, copies, length) for part, (copies, length) in zip(parts, transform.blocks, strict=True)]
    parts.clear()
    rows = rest.pop()
    for further in reversed(transform.levels):
        if further:
            pairs = rows.unflatten(1, (-1, 2))
            rows = _butterfly(pairs[:, :, 0], pairs[:, :, 1], rows, in_place).flatten(2, 3)
        else:
            rows = _butterfly(rows, rest.pop(), None, in_place).flatten(2, 3)
    return _image(rows, like)


def multiply(
    parts: Sequence[Tensor], weights: Sequence[Tensor], groups: Sequence[int], *, by_block: bool = False
) -> list[Tensor]:
    """Multiply coefficients by their blocks, each a grouped 1x1 convolution.

    Args:
        parts: images of coefficients.
        weights: kernels of the blocks.
        groups: of each product.
        by_block: whether to run a product for each block: faster, but torch cannot differentiate it.
    """
    if by_block:
        return [_multiply_blocks(part, w, count) for part, w, count in zip(parts, weights, groups, strict=True)]
    return [F.conv2d(part, w, groups=count) for part, w, count in zip(parts, weights, groups, strict=True)]


def _multiply_blocks(part: Tensor, weight: Tensor, count: int) -> Tensor:
    blocks = _blocks(weight, count)
    coefficients = _rows(part, count, 1)[:, :, 0]  # (position, block, row * channel)
    product = part.new_empty((len(coefficients), count, blocks.shape[1]))
    for s, block in enumerate(blocks):
        torch.mm(coefficients[:, s], block.T, out=product[:, s])
    return _image(product.unsqueeze(2), part)


def _blocks(weight: Tensor, count: int) -> Tensor:
    """See the kernel of a grouped 1x1 convolution as matrices, (block, rows out, rows in)."""
    return weight.reshape(count, -1, weight.shape[1])


def multiply_backward(
    grads: Sequence[Tensor],
    parts: Sequence[Tensor],
    weights: Sequence[Tensor],
    groups: Sequence[int],
    *,
    by_block: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the gradients of `multiply` with respect to the coefficients and to the blocks."""
    if by_block:
        pairs = [
            _multiply_blocks_backward(grad, part, w, count)
            for grad, part, w, count in zip(grads, parts, weights, groups, strict=True)
        ]
        return [by_part for by_part, _ in pairs], [by_weight for _, by_weight in pairs]
    results = [
        torch.ops.aten.convolution_backward(
            grad, part, w, [0], [1, 1], [0, 0], [1, 1], False, [0, 0], count, [True, True, False]
        )
        for grad, part, w, count in zip(grads, parts, weights, groups, strict=True)
    ]
    return [result[0] for result in results], [result[1] for result in results]


def _multiply_blocks_backward(grad: Tensor, part: Tensor, weight: Tensor, count: int) -> tuple[Tensor, Tensor]:
    blocks, coefficients = _blocks(weight, count), _rows(part, count, 1)[:, :, 0]
    grads = _rows(grad, count, 1)[:, :, 0]
    by_part, by_weight = torch.empty_like(coefficients), torch.empty_like(blocks)
    for s, block in enumerate(blocks):
        torch.mm(grads[:, s], block, out=by_part[:, s])
        torch.mm(grads[:, s].T, coefficients[:, s], out=by_weight[s])
    return _image(by_part.unsqueeze(2), part), by_weight.view(weight.shape)


def mix(
    x: Tensor, weights: Sequence[Tensor], transform: GroupFFT, order: int, groups: Sequence[int], *, in_place: bool
) -> Tensor:
    """Mix the poses and channels of an image (batch, |G|*in, height, width) to (batch, |G|*out, height, width).

    Args:
        x: the maps.
        weights: kernels of the blocks.
        transform: the fast Fourier transform of the group, or `IDENTITY`.
        order: |G|.
        groups: of each block's product.
        in_place: see `group_fft`.
    """
    by_block = in_place and transform.is_dense
    products = multiply(group_fft(x, transform, order, in_place=in_place), weights, groups, by_block=by_block)
    return inverse_group_fft(products, transform, in_place=in_place)


def turn_table(
    transform: GroupFFT,
    index: int,
    start: int,
    stop: int,
    together: int,
    dtype: torch.dtype,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return rows of the matrices that take the copies of one of the segments apart, (copies, rows, length).

    Args:
        transform: the transform.
        index: of the segment.
        start: first row.
        stop: the row after the last one.
        together: how many positions a matrix is for, that many times along its diagonal.
        dtype: of the result.
        device: of the result.
    """
    rows = torch.tensor(transform.turns[index], dtype=torch.float64)[:, start:stop]
    if together > 1:
        rows = torch.stack([torch.block_diag(*[matrix] * together) for matrix in rows])
    return rows.to(device=device, dtype=dtype)


def _spans(lengths: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the rows, from and up to, of all blocks of one length."""
    spans: list[tuple[int, int]] = []  # the compiler cannot call list[...]()
    start = 0
    for length, count in runs(lengths):
        spans.append((start, start + length * count))
        start += length * count
    return spans


def _together(positions: int, length: int, in_place: bool) -> int:
    """Return how many positions one product takes: several where the matrices are small, and the code is not traced."""
    together = 1
    while in_place and 2 * together * length <= JOINT_LENGTH and positions % (2 * together) == 0:
        together *= 2
    return together


def _turn(rows: Tensor, transform: GroupFFT, part: tuple[int, int, int], in_place: bool) -> Tensor:
    """Multiply each segment of (position, segment, pose, channel) by a part, (index, start, stop), of its matrix."""
    together = _together(rows.shape[0], rows.shape[2], in_place)
    matrices = constant(turn_table, transform, *part, together, rows.dtype, like=rows)
    each = [_product(matrix, rows[:, s], together) for s, matrix in enumerate(matrices)]
    return each[0].unsqueeze(1) if len(each) == 1 else torch.stack(each, 1)


def _turn_back(
    pieces: list[Tensor], transform: GroupFFT, parts: list[tuple[int, int, int]], length: int, in_place: bool
) -> Tensor:
    """Apply the transpose of `_turn`: from a piece for each part to (position, segment, pose, channel)."""
    together = _together(pieces[0].shape[0], length, in_place)
    each: list[Tensor] = []
    for segment in range(pieces[0].shape[1]):
        total = None
        for piece, part in zip(pieces, parts, strict=True):
            matrix = constant(turn_table, transform, *part, together, piece.dtype, like=piece)[segment].mT
            total = _product(matrix, piece[:, segment], together, total, in_place)
        each += [] if total is None else [total]
    return each[0].unsqueeze(1) if len(each) == 1 else torch.stack(each, 1)


def _product(
    matrix: Tensor, rows: Tensor, together: int, total: Tensor | None = None, in_place: bool = False
) -> Tensor:
    """Return the products of a matrix with (position, pose, channel), added to a total where there is one."""
    positions, channels = rows.shape[0], rows.shape[2]
    joined = rows.reshape(positions // together, matrix.shape[1], channels)
    # A matrix for every position, without a copy of it: matmul would make one, or transpose the rows.
    each = matrix.expand(positions // together, -1, -1)
    if total is None:
        product = torch.bmm(each, joined)
    else:
        total = total.view(positions // together, matrix.shape[0], channels)
        product = total.baddbmm_(each, joined) if in_place else torch.baddbmm(total, each, joined)
    return product.view(positions, matrix.shape[0] // together, channels)


def _segments(parts: list[Tensor], transform: GroupFFT, in_place: bool) -> list[Tensor]:
    """Put blocks back into segments (position, segment, pose, channel); the transpose of taking them apart."""
    images = iter(parts)
    segments: list[Tensor] = []
    for index, ((copies, length), lengths) in enumerate(zip(transform.segments, transform.parts, strict=True)):
        if not lengths:
            segments.append(_rows(next(images), copies, length))
            continue
        spans = _spans(lengths)
        pieces = [_rows(next(images), copies, stop - start) for start, stop in spans]
        segments.append(_turn_back(pieces, transform, [(index, *span) for span in spans], length, in_place))
    return segments


def _rows(x: Tensor, segments: int, length: int) -> Tensor:
    """See a channels_last image as (position, segment, pose, channel); other layouts are copied."""
    positions = x.shape[0] * x.shape[2] * x.shape[3]
    return x.permute(0, 2, 3, 1).reshape(positions, segments, length, x.shape[1] // (segments * length))


def _image(rows: Tensor, like: Tensor) -> Tensor:
    batch, _, height, width = like.shape
    channels = rows.shape[1] * rows.shape[2] * rows.shape[3]
    return rows.flatten().view(batch, height, width, channels).permute(0, 3, 1, 2)


def _butterfly(first: Tensor, second: Tensor, place: Tensor | None, in_place: bool) -> Tensor:
    """Put the sum and the difference of (position, segment, pose, channel) on a new axis after the segments.

    Args:
        first: one half.
        second: the other half.
        place: memory whose halves `first` and `second` are and which may be written over: no more of it leaves the
            cache than needed.
        in_place: whether memory may be written over at all.
    """
    if not in_place:
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
