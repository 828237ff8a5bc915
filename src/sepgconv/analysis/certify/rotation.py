"""How the output of a network changes over the full circle, also at angles that its group does not have."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sepgconv._numbers import plural
from sepgconv._table import Printed, Table
from sepgconv.analysis.certify.fields import is_field, wrap
from sepgconv.analysis.certify.float64_copy import float64_copy
from sepgconv.ops.interpolation import interpolate

EDGE = 4  # pixels, or a quarter of the side of small images
EVERY_FIVE_DEGREES = tuple(float(angle) for angle in range(0, 361, 5))


@dataclass(frozen=True, slots=True, repr=False)
class RotationCurve(Printed):
    """Change of a network's output with the angle, relative: |f(rotated) - f(image)| / |f(image)|, Euclidean.

    It prints as a row for each angle, in a notebook too.

    Attributes:
        angles: in degrees, counter-clockwise.
        mean: for each angle, the mean over the images.
        worst: for each angle, the largest among the images.
        images: how many images.

    Example:
        >>> from sepgconv.analysis import RotationCurve
        >>> RotationCurve(angles=(0.0, 45.0), mean=(0.0, 0.125), worst=(0.0, 0.25), images=2)
        Relative change of the output over 2 rotated images
        angle in degrees     mean    worst
        ──────────────────────────────────
                       0  0.0e+00  0.0e+00
                      45  1.2e-01  2.5e-01
    """

    angles: tuple[float, ...]
    mean: tuple[float, ...]
    worst: tuple[float, ...]
    images: int

    def _printed_parts(self) -> Sequence[Table | str]:
        rows = [
            (f"{angle:g}", f"{mean:.1e}", f"{worst:.1e}")
            for angle, mean, worst in zip(self.angles, self.mean, self.worst, strict=True)
        ]
        title = f"Relative change of the output over {plural(self.images, 'rotated image')}"
        return (Table(title, ("angle in degrees", "mean", "worst"), rows, left=0),)


def rotation_curve(
    model: nn.Module, images: Tensor, angles: Sequence[int | float] = EVERY_FIVE_DEGREES
) -> RotationCurve:
    """Rotate images by any angle and measure how much the output of a network changes, in float64.

    Only a disc within each image is kept, so that no corner leaves the frame; it fades to zero over the outer 4 pixels,
    so that its edge is no sharper than a grid of pixels shows. Multiples of 90 degrees move pixels onto pixels; between
    them the images are interpolated as by `sepgconv.functional.act`, which keeps all but the finest waves.

    Args:
        model: images to vectors, (n, channels, height, width) -> (n, ...), also (n, ..., 1, 1); not changed.
        images: (n, channels, height, width), square.
        angles: in degrees, counter-clockwise.

    Raises:
        ValueError: no square images, no angles, weights that are not finite, or an output with positions, which would
            have to be rotated back.

    Example:
        >>> import sepgconv, torch
        >>> network = sepgconv.create_model("p4cnn", width=2)
        >>> curve = sepgconv.analysis.rotation_curve(network, torch.rand(2, 1, 28, 28), [0, 45, 90])
        >>> curve.mean[0] < 1e-6, curve.mean[1] > 1e-3, curve.mean[2] < 1e-6
        (True, True, True)
    """
    if images.ndim != 4 or images.shape[-1] != images.shape[-2] or len(images) == 0:
        raise ValueError(f"rotation_curve: expected square images (n, channels, side, side), got {tuple(images.shape)}")
    if len(angles) == 0:
        raise ValueError("rotation_curve: expected at least one angle, got none")
    twin = float64_copy(model, "rotation_curve")
    discs = images.detach().to("cpu", torch.float64) * _disc(images.shape[-1])
    before = _outputs(twin, discs)

    def rotated(degrees: int | float) -> Tensor:
        angle = math.radians(degrees)
        return interpolate(discs, ((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))))

    scale = before.norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
    changes = [(_outputs(twin, rotated(angle)) - before).norm(dim=1) / scale for angle in angles]
    return RotationCurve(
        tuple(float(angle) for angle in angles),
        tuple(float(change.mean()) for change in changes),
        tuple(float(change.max()) for change in changes),
        len(images),
    )


def _disc(side: int) -> Tensor:
    """Return a mask (side, side): 1 in the middle, falling to 0 over the last pixels within the inscribed circle."""
    away = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    inside = (side / 2 - torch.hypot(away[:, None], away[None, :])) / min(EDGE, side / 4)
    return (1 - torch.cos(math.pi * inside.clamp(0, 1))) / 2


def _outputs(twin: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        output = twin(wrap(twin, images.clone()))
    tensor = output.tensor if is_field(output) else output
    if not isinstance(tensor, Tensor) or (tensor.ndim > 3 and tensor.shape[-2:] != (1, 1)):
        raise ValueError(
            f"rotation_curve: expected a network that gives vectors, got "
            f"{tuple(tensor.shape) if isinstance(tensor, Tensor) else type(output).__name__}; pool over positions first"
        )
    return tensor.flatten(1)
