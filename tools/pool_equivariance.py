"""How much equivariance pools and filters lose between the pixels: the table of docs/layers.md.

    python -m tools.pool_equivariance

The images are sums of plane waves, known at every point, so nothing is interpolated (`closed_form.py`).
"""

import argparse
import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

import sepgconv
import sepgconv.nn as snn
from tools.closed_form import draw_waves, element_error

CHANNELS, WIDTH = 32, 6.0
BANDS = (0.25, 0.5)  # of the images, in units of pi per pixel
LAYERS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # and side of the maps that come in
    "`MaxPool2d(2)`": (lambda: snn.MaxPool2d(2), 24),
    "`MaxPool2d(3, 2)`": (lambda: snn.MaxPool2d(3, 2), 25),
    "`AntialiasedMaxPool2d(2)`": (lambda: snn.AntialiasedMaxPool2d(2), 24),
    "`AntialiasedMaxPool2d(3, 2)`": (lambda: snn.AntialiasedMaxPool2d(3, 2), 25),
    "`AntialiasedMaxPool2d(3, 2, blur_size=5)`": (lambda: snn.AntialiasedMaxPool2d(3, 2, blur_size=5), 25),
    "`AvgPool2d(2)`": (lambda: snn.AvgPool2d(2), 24),
    "`AvgPool2d(3, 2)`": (lambda: snn.AvgPool2d(3, 2), 25),
    "a 5 x 5 filter of stride 2": (lambda: snn.DepthwiseGroupConv2d(CHANNELS, 5, "C8", stride=2), 25),
}


def error(layer: nn.Module, side: int, band: float, seeds: int) -> float:
    """Return the relative error of a layer under a rotation by 45 degrees, over several sets of images."""
    group = sepgconv.group("C8")
    matrix = torch.tensor(group.matrices[1], dtype=torch.float64)
    waves = [draw_waves(CHANNELS, group.order, band=band * math.pi, width=WIDTH, seed=seed) for seed in range(seeds)]
    squares = [element_error(layer, images, matrix, side, before=group, step=2) ** 2 for images in waves]
    return math.sqrt(sum(squares) / len(squares))


def table(seeds: int) -> list[str]:
    """Return the lines of the table."""
    torch.manual_seed(0)
    after = snn.DepthwiseGroupConv2d(CHANNELS, 5, "C8").double()
    lines = ["| layer |" + "".join(f" waves to {band} pi | then a 5 x 5 filter |" for band in BANDS)]
    lines.append("| --- |" + " --- |" * (2 * len(BANDS)))
    for name, (make, side) in LAYERS.items():
        layer = make().double()
        figures = [error(one, side, band, seeds) for band in BANDS for one in (layer, nn.Sequential(layer, after))]
        lines.append(f"| {name} |" + "".join(f" {figure:.3f} |" for figure in figures))
    return lines


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.pool_equivariance", description=str(__doc__).split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="sets of images")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    print("\n".join(table(command_line().parse_args(arguments).seeds)))


if __name__ == "__main__":
    main()
