"""How exactly a layer or network commutes with a group."""

import torch
from torch import Tensor, nn

from sepgconv._arguments import accept_old_order
from sepgconv._evaluation import evaluation
from sepgconv.analysis.certify.actions import declared_action
from sepgconv.analysis.certify.between import output_errors
from sepgconv.analysis.certify.errors import relative_error
from sepgconv.analysis.certify.float64_copy import float64_copy
from sepgconv.functional import act
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as get_group


@accept_old_order("module", "x", "group")
def equivariance_error(module: nn.Module, group: FiniteGroup | str, x: Tensor) -> dict[int, float]:
    """Return the relative error of L(g·x) against g·L(x) for every element g but the identity.

    The output may be a feature map (batch, channel, |G|, height, width), an image (batch, channel, height, width), both
    of which the group moves, or a vector (batch, ...) of rank 2 or 3, which it must leave alone. Of a layer whose
    output turns otherwise, as `sepgconv.nn.GroupToVector`, its method `output_matrices(group)` says how.

    For elements that keep the pixel grid it is max|L(g·x) - g·L(x)| / max|L(x)| on the input x. The others take pixels
    between pixels, where noise has no values: for these it is the root mean square on random band-limited inputs of
    the shape of x, compared in the middle of the output, as in `certify`; nothing is interpolated.

    Args:
        module: a layer or network, used in evaluation mode and put back as it was.
        group: the group or its name.
        x: an input of it, an image or a feature map on the group. In float64 rounding is far smaller than real faults.

    Raises:
        ValueError: the group cannot act on the input.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import equivariance_error
        >>> x = torch.rand(1, 1, 5, 5, dtype=torch.float64)
        >>> equivariance_error(torch.nn.ReLU(), "p4", x)
        {1: 0.0, 2: 0.0, 3: 0.0}
        >>> errors = equivariance_error(torch.nn.Conv2d(1, 1, 3).double(), "p4", x)
        >>> min(errors.values()) > 1e-3
        True
    """
    group, errors = get_group(group), dict[int, float]()
    grid = group.grid_elements
    with evaluation(module):
        y = module(x)
        for g in grid[1:]:
            errors[g] = relative_error(module(act(group, g, x)), move_output(module, group, g, y))
    between = [g for g in range(group.order) if g not in grid]
    if between:
        act(group, between[0], x)  # for the error that it raises on what is no input of the group
        twin, generator = float64_copy(module, "equivariance_error"), torch.Generator().manual_seed(0)
        found = output_errors(twin, tuple(x.shape[1:]), group, between, generator)
        errors |= dict(zip(between, found, strict=True))
    return dict(sorted(errors.items()))


def move_output(module: nn.Module, group: FiniteGroup, g: int, y: Tensor) -> Tensor:
    """Return what a module should give for an input that an element has moved.

    Args:
        module: a layer or network.
        group: the group.
        g: the element.
        y: what the module gives for the input as it was.
    """
    said = declared_action(module, group)
    if said is not None:
        return said.move(g, y)
    return act(group, g, y) if y.ndim >= 4 else y


@accept_old_order("model", "images", "group")
def answer_changes(
    model: nn.Module, images: Tensor, *, group: FiniteGroup | str = "p4", batch_size: int = 500
) -> float:
    """Return the share of images, in percent, whose class changes when a group element moves them.

    Args:
        model: a classifier (batch, channels, height, width) -> (batch, classes), used in evaluation mode and put back.
        images: (n, channels, height, width).
        group: the group or its name; an image counts once if any element changes its class. Elements that take pixels
            between pixels interpolate the image (see `sepgconv.functional.act`).
        batch_size: images at a time.

    Raises:
        ValueError: there are no images, or the group cannot act on them.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import answer_changes
        >>> brightest_pixel = torch.nn.Flatten()  # of which the class is the place
        >>> images = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> answer_changes(brightest_pixel, images, group="p4")
        100.0
        >>> answer_changes(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), images, group="p4")
        0.0
    """
    if len(images) == 0:
        raise ValueError("answer_changes: expected at least one image, got none")
    group, changed = get_group(group), 0
    with evaluation(model):
        for batch in images.split(batch_size):
            answers = [model(act(group, g, batch)).argmax(1) for g in range(group.order)]
            changed += int(torch.stack([answer != answers[0] for answer in answers]).any(0).sum())
    return 100 * changed / len(images)
