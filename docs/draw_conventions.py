"""Draw conventions.png: the elements of p4m, and how a feature map rotates. Run: python docs/draw_conventions.py."""

from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import sepgconv
from sepgconv.functional import act

F_SHAPE = ["........", ".#####..", ".#......", ".####...", ".#......", ".#......", ".#......", "........"]


def main() -> None:
    """Draw the image beside this file."""
    letter = torch.tensor([[float(c == "#") for c in row] for row in F_SHAPE])[None, None]
    torch.manual_seed(3)
    layer = sepgconv.nn.LiftingConv2d(1, 1, 5, "p4", padding=2, bias=False)
    maps, rotated_maps = layer(letter).detach(), layer(act("p4", 1, letter)).detach()

    figure = Figure(figsize=(12, 7.4), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.15, 2])[:, 0]
    top.suptitle("The elements of p4m in order, g = 4 m + t: rotate by t · 90° counter-clockwise, then mirror if m = 1")
    for g, axis in enumerate(top.subplots(1, 8)):
        axis.imshow(act("p4m", g, letter)[0, 0].numpy(), cmap="gray_r")
        (a, b), (c, d) = sepgconv.group("p4m").matrices[g]
        axis.set_title(f"g = {g}\n[{a} {b}; {c} {d}]", fontsize=10)
    bottom.suptitle(
        "A lifted letter (p4, one channel), and the rotated letter lifted: maps rotate, and pose h becomes pose 1 · h"
    )
    axes = bottom.subplots(2, 5)
    for row, (image, lifted) in zip(axes, ((letter, maps), (act("p4", 1, letter), rotated_maps)), strict=True):
        row[0].imshow(image[0, 0].numpy(), cmap="gray_r")
        row[0].set_title("f" if image is letter else "g · f, g = 1", fontsize=10)
        for pose, axis in enumerate(row[1:]):
            axis.imshow(lifted[0, 0, pose].numpy(), cmap="viridis", vmin=float(maps.min()), vmax=float(maps.max()))
            axis.set_title(
                f"pose {pose}" + ("" if image is letter else f"\n= pose {(pose - 1) % 4} above, rotated"), fontsize=10
            )
    for axis in figure.axes:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.savefig(Path(__file__).with_name("conventions.png"), dpi=90)


if __name__ == "__main__":
    main()
