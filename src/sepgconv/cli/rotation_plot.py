"""The plot of `sepgconv certify --curve`: how a network's output changes over 360 degrees."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate

from sepgconv._drawing import literal_text
from sepgconv._files import write_atomically
from sepgconv._text import shortened, visible
from sepgconv.analysis import RotationCurve
from sepgconv.symmetry import group as get_group

TITLE = 100  # letters that fit above the plot
COARSE = 7  # random pixels along a side, before they are made smooth


def smooth_images(count: int, channels: int, side: int, seed: int) -> Tensor:
    """Make images of soft blobs, (count, channels, side, side): unlike noise, they can be rotated by any angle."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, COARSE, COARSE, dtype=torch.float64, generator=generator)
    return interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False).clamp(0, 1)


def rotation_angles(group: str) -> tuple[float, ...]:
    """Return the angles of the rotations of a group of the plane, in degrees, counter-clockwise, from 0 to 360.

    Example:
        >>> rotation_angles("p4m")
        (0.0, 90.0, 180.0, 270.0, 360.0)
    """
    rotations = [((c, s), (t, d)) for (c, s), (t, d) in get_group(group).matrices if c * d - s * t > 0]
    angles = {round(math.degrees(math.atan2(t, c)) % 360, 6) for (c, _), (t, _) in rotations}
    return (*sorted(angles), 360.0)


def draw_rotation_curve(curve: RotationCurve, path: Path, *, title: str, group: str) -> None:
    """Draw mean and worst change over the angle, with lines at the rotations of the group.

    Args:
        curve: what to draw.
        path: the PNG file, written whole or not at all.
        title: stands above.
        group: name of the group the network was certified for.
    """
    with literal_text():
        figure = _figure(curve, f"{title} (certified for {group})", rotation_angles(group))
        write_atomically(path, lambda part: figure.savefig(part, dpi=110, format="png"))


def _figure(curve: RotationCurve, title: str, rotations: Sequence[float]) -> Figure:
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.fill_between(curve.angles, curve.mean, curve.worst, alpha=0.25, linewidth=0, label="up to the worst image")
    axes.plot(curve.angles, curve.mean, marker=".", markersize=4, label="mean over images")
    for angle in rotations:
        axes.axvline(angle, color="black", linestyle=":", linewidth=0.8, label="rotations of the group" * (angle == 0))
    axes.set_title(shortened(visible(title), TITLE), fontsize=11)
    axes.set_xlabel("angle in degrees, counter-clockwise")
    axes.set_ylabel("relative change of the output")
    axes.set_xticks(range(0, 361, 45))
    axes.set_xlim(min(0, *curve.angles), max(360, *curve.angles))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    return figure
