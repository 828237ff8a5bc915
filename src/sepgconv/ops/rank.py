"""Several separable terms in one gc convolution: the maps between mixing and filtering are (|G|, term, out).

Every term is mixed and filtered as an output channel of its own, and then they are added up. torch's grouped
convolution, which could add them up itself, took 2 to 26 times as long on a CPU (rank 2 to 9, p4 and p4m, 10 to 64
channels), because it has no fast kernel for groups of a few maps.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv.ops.layout import like_image


def spread_filters(filters: Tensor, order: int) -> Tensor:
    """Take filters (|G| * out, terms, k, k) as one for each map between, (|G| * terms * out, 1, k, k)."""
    return filters.unflatten(0, (order, -1)).transpose(1, 2).flatten(0, 2).unsqueeze(1)


def gather_filters(filters: Tensor, order: int, terms: int) -> Tensor:
    """Undo `spread_filters`."""
    return filters.squeeze(1).unflatten(0, (order, terms, -1)).transpose(1, 2).flatten(0, 1).contiguous()


def spread_bias(bias: Tensor, order: int, terms: int) -> Tensor:
    """Give a bias (|G| * out,) to the first term and none to the others: (|G| * terms * out,)."""
    return F.pad(bias.unflatten(0, (order, 1, -1)), (0, 0, 0, terms - 1)).flatten()


def gather_bias(bias: Tensor, order: int, terms: int) -> Tensor:
    """Take the bias of the first term: the transpose of `spread_bias`."""
    return bias.unflatten(0, (order, terms, -1))[:, 0].flatten()


def add_terms(image: Tensor, order: int, terms: int, *, in_place: bool) -> Tensor:
    """Add up two or more terms of a channels_last image (batch, |G| * terms * out, height, width).

    Args:
        image: the maps.
        order: |G|.
        terms: how many.
        in_place: whether sums may be written over, as nothing differentiates or traces them.
    """
    first, second, *others = _rows(image, order, terms).unbind(4)
    if not in_place:
        total = first + second
        for more in others:
            total = total + more
        return _image(total)
    # Written into an image of its own: what an autograd function returns must not be a view.
    result = like_image(image[:, : image.shape[1] // terms])
    total = _rows(result, order, 1)[:, :, :, :, 0]
    torch.add(first, second, out=total)
    for more in others:
        total.add_(more)
    return result


def repeat_terms(image: Tensor, order: int, terms: int) -> Tensor:
    """Give the same image to every term: the transpose of `add_terms`."""
    return _image(_rows(image, order, 1).expand(-1, -1, -1, -1, terms, -1))


def _rows(image: Tensor, order: int, terms: int) -> Tensor:
    """See a channels_last image as (batch, height, width, pose, term, channel)."""
    return image.permute(0, 2, 3, 1).unflatten(3, (order, terms, -1))


def _image(rows: Tensor) -> Tensor:
    return rows.flatten(3).permute(0, 3, 1, 2)
