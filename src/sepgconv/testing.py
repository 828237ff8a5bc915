"""For tests of layers on a group, yours included: one assertion and the tolerances it uses."""

import math

import torch
from torch import Tensor, nn

from sepgconv._arguments import accept_old_order
from sepgconv.analysis import equivariance_error
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as get_group

__all__ = ["TOLERANCE", "assert_equivariant"]

# Relative to the largest output. Pixels are permuted exactly, so what is left is rounding in sums of some thousand
# terms. tests/test_tolerances.py measures the layers and networks of this package: 3e-15, 2e-6, 2e-3 and 1e-2.
TOLERANCE: dict[torch.dtype, float] = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 4e-3,
    torch.bfloat16: 3e-2,
}
# At elements that take pixels between pixels: filters of 3 x 3 pixels, the worst ones, have 0.03 to 0.06.
OFF_GRID_TOLERANCE = 0.1


@accept_old_order("module", "x", "group", "tolerance")
def assert_equivariant(
    module: nn.Module,
    group: FiniteGroup | str,
    x: Tensor,
    tolerance: float | None = None,
    *,
    off_grid_tolerance: float = OFF_GRID_TOLERANCE,
) -> None:
    """Assert that a module commutes with every element of a group (see `sepgconv.analysis.equivariance_error`).

    Elements that keep the pixel grid must be exact, to rounding, on the input. The others take pixels between pixels,
    where filters are exact to a few percent only: for these the root mean square on band-limited inputs of the same
    shape must be small. To see which layer loses what, print `sepgconv.analysis.certify`.

    Args:
        module: a layer or network.
        group: the group or its name.
        x: an input of it, an image or a feature map on the group.
        tolerance: largest relative error that passes; that of the input's dtype in `TOLERANCE` if not given.
        off_grid_tolerance: the same for elements that take pixels between pixels. The default suits a layer; of a deep
            network the errors add up.

    Raises:
        AssertionError: an element's error is larger; the message names the worst.
        ValueError: the group cannot act on the input, or there is no tolerance for its dtype.

    Example:
        >>> import sepgconv, torch
        >>> from sepgconv.testing import assert_equivariant
        >>> layer = sepgconv.nn.SeparableGroupConv2d(3, 4, 3, "p4", padding=1)
        >>> assert_equivariant(layer, "p4", torch.randn(1, 3, 4, 8, 8))
        >>> assert_equivariant(torch.nn.Conv2d(1, 1, 3), "p4", torch.randn(1, 1, 8, 8))
        Traceback (most recent call last):
        AssertionError: Conv2d is not equivariant to element ...
    """
    if tolerance is None and x.dtype not in TOLERANCE:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in TOLERANCE)
        raise ValueError(
            f"assert_equivariant: there is no tolerance for {x.dtype}, only for {known}; give one with tolerance="
        )
    group = get_group(group)
    errors = equivariance_error(module, group, x)
    on_grid = {g: error for g, error in errors.items() if g in group.grid_elements}
    off_grid = {g: error for g, error in errors.items() if g not in on_grid}
    name, what = type(module).__name__, f"of {group.name}"
    allowed = TOLERANCE[x.dtype] if tolerance is None else tolerance
    _assert_small(on_grid, allowed, f"{name} is not equivariant to element {{}} {what}: relative error")
    where = "which takes pixels between pixels: relative error (root mean square, on band-limited inputs)"
    _assert_small(off_grid, off_grid_tolerance, f"{name} is not equivariant to element {{}} {what}, {where}")


def _assert_small(errors: dict[int, float], allowed: float, sentence: str) -> None:
    """Raise with the worst element, if its error is too large."""
    # nan compares false with everything, so it is asked for: neither small nor the largest.
    worst = max(errors, key=lambda g: math.inf if math.isnan(errors[g]) else errors[g], default=0)
    if errors and not errors[worst] <= allowed:
        raise AssertionError(f"{sentence.format(worst)} {errors[worst]:.2g}, allowed {allowed:.2g}")
