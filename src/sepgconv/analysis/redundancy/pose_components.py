"""How alike the kernels of a filter are along the pose axis: principal components (theory.md, Redundancy)."""

import torch
from torch import Tensor


def pose_components(weight: Tensor, *, standardise: bool = False) -> Tensor:
    """Return the share of variance of each principal component of every set of kernels along the poses.

    For each pair of output and input channel, the |G| kernels are the features and their k^2 pixels the samples, as in
    arXiv:2106.04914, section 3.2. A share of 1 for the first component means that the kernels are multiples of one
    kernel, but for a constant.

    Args:
        weight: a filter bank (out, in, |G|, k, k), as `GroupConv2d.weight` or `SeparableGroupConv2d.compose()`.
        standardise: scale every kernel to unit variance first, as is usual where features differ in scale. Otherwise a
            kernel that is much larger than the others makes up most of the variance, also if their shapes differ; the
            paper does not scale. A constant kernel counts as zero.

    Returns:
        (out * in, |G|), float64, every row descending with the sum 1; NaN where all kernels of a set are constant.

    Raises:
        ValueError: the weight is not of rank 5.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import pose_components
        >>> kernel = torch.randn(1, 1, 1, 3, 3, generator=torch.Generator().manual_seed(0))
        >>> multiples = kernel * torch.tensor([1.0, 2.0, -1.0, 3.0]).view(4, 1, 1)
        >>> shares = pose_components(multiples)
        >>> tuple(shares.shape), round(float(shares[0, 0]), 6)
        ((1, 4), 1.0)
    """
    if weight.ndim != 5:
        raise ValueError(f"pose_components: expected a filter bank (out, in, |G|, k, k), got {tuple(weight.shape)}")
    sets = weight.detach().double().flatten(0, 1).flatten(2)  # (out * in, |G|, k * k)
    centred = sets - sets.mean(-1, keepdim=True)
    # What is left of constant kernels is rounding, and shares of it would mean nothing.
    squares = centred.square().sum(-1, keepdim=True)
    smallest = torch.finfo(torch.float32).eps * sets.square().sum(-1, keepdim=True)
    if standardise:
        centred = torch.where(squares > smallest, centred / squares.sqrt(), 0.0)
    variances = torch.linalg.eigvalsh(centred @ centred.mT).clamp(min=0).flip(-1)
    varies = squares.sum(-2) > smallest.sum(-2)
    return torch.where(varies, variances / variances.sum(-1, keepdim=True), torch.nan)


def shuffle_kernels(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Return the filter bank with its kernels shuffled over channels and poses: a control for `pose_components`.

    The kernels do not change; which of them stand together along the poses becomes random.

    Args:
        weight: (out, in, |G|, k, k).
        generator: decides the order.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import shuffle_kernels
        >>> bank = torch.arange(8.0).view(1, 2, 4, 1, 1)
        >>> dealt = shuffle_kernels(bank, torch.Generator().manual_seed(0))
        >>> dealt.shape == bank.shape, sorted(dealt.flatten().tolist()) == bank.flatten().tolist()
        (True, True)
    """
    kernels = weight.detach().flatten(0, 2)
    order = torch.randperm(len(kernels), generator=generator)
    return kernels[order].view_as(weight)
