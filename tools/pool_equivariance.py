"""How much equivariance pools and filters lose between the pixels: the table of docs/layers.md.

    python -m tools.pool_equivariance

The images are sums of plane waves, known at every point, so nothing is interpolated (`closed_form.py`).
"""

import math
from collections.abc import Callable

import torch
from torch import nn

import sepgconv
import sepgconv.nn as snn
from tools.closed_form import draw_waves, element_error

CHANNELS, SEEDS, WIDTH = 32, 4, 6.0
BANDS = (0.25, 0.5, 0.75)  # of the images, in units of pi per pixel
LAYERS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {  # and side of the maps, and stride
    "`MaxPool2d(2)`": (lambda: snn.MaxPool2d(2), 24, 2),
    "`MaxPool2d(3, 2)`": (lambda: snn.MaxPool2d(3, 2), 25, 2),
    "`AvgPool2d(2)`": (lambda: snn.AvgPool2d(2), 24, 2),
    "`AvgPool2d(3, 2)`": (lambda: snn.AvgPool2d(3, 2), 25, 2),
    "`AntialiasedMaxPool2d(2)`": (lambda: snn.AntialiasedMaxPool2d(2), 25, 2),
    "`AntialiasedMaxPool2d(3, 2)`": (lambda: snn.AntialiasedMaxPool2d(3, 2), 25, 2),
    "`AntialiasedMaxPool2d(3, 2, blur_size=5)`": (lambda: snn.AntialiasedMaxPool2d(3, 2, blur_size=5), 25, 2),
    "`AntialiasedMaxPool2d(3, 2, blur_size=7)`": (lambda: snn.AntialiasedMaxPool2d(3, 2, blur_size=7), 25, 2),
    "`DepthwiseGroupConv2d`, 3 x 3": (lambda: snn.DepthwiseGroupConv2d(CHANNELS, 3, "C8"), 25, 1),
    "`DepthwiseGroupConv2d`, 5 x 5": (lambda: snn.DepthwiseGroupConv2d(CHANNELS, 5, "C8"), 25, 1),
}


def error(layer: nn.Module, side: int, step: int, band: float) -> float:
    """Return the relative error of a layer under a rotation by 45 degrees, over several sets of images."""
    group = sepgconv.group("C8")
    matrix = torch.tensor(group.matrices[1], dtype=torch.float64)
    squares = [
        element_error(
            layer,
            draw_waves(CHANNELS, group.order, band=band * math.pi, width=WIDTH, seed=seed),
            matrix,
            side,
            before=group,
            step=step,
        )
        ** 2
        for seed in range(SEEDS)
    ]
    return math.sqrt(sum(squares) / len(squares))


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    bands = " | ".join(f"waves to {band} pi" for band in BANDS)
    print(f"| layer | {bands} |\n| --- |{' --- |' * len(BANDS)}")
    for name, (make, side, step) in LAYERS.items():
        layer = make().double()
        print(f"| {name} | {' | '.join(f'{error(layer, side, step, band):.3f}' for band in BANDS)} |")


if __name__ == "__main__":
    main()
