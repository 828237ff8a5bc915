"""Draw any-angle.png: how features of p4, C8 and C16 networks move when an image is rotated through 360 degrees.

Run: python docs/draw_any_angle.py FOLDER, where FOLDER holds dsb2018_fluorescence.npz (nuclei, CC0).
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

import sepgconv

GROUPS = {"p4": 24, "C8": 16, "C16": 12}  # and their widths
STEP = 5
IMAGE = 6


def read_image(folder: Path) -> Tensor:
    """Return an image of nuclei, (1, 1, 256, 256), in [0, 1], dark outside of a disc with a soft edge."""
    with np.load(folder / "dsb2018_fluorescence.npz", allow_pickle=False) as archive:
        pixels = archive["images"][IMAGE].astype(np.float64)
    image = torch.from_numpy(pixels / pixels.max())[None, None]
    along = torch.linspace(-1, 1, 256, dtype=torch.float64)
    radius = torch.hypot(along[:, None], along[None])
    return image * ((0.9 - radius) / 0.2).clamp(0, 1)


def rotated(image: Tensor, degrees: float) -> Tensor:
    """Rotate at four times the resolution that the networks see: (1, 1, 64, 64)."""
    angle = math.radians(degrees)
    matrix = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])
    grid = F.affine_grid(matrix[None].double(), list(image.shape), align_corners=False)
    return F.avg_pool2d(F.grid_sample(image, grid, mode="bicubic", align_corners=False), 4)


def network(group: str, width: int) -> nn.Module:
    """Return three convolutions with random weights, in evaluation mode."""
    torch.manual_seed(1)
    kernel = {"kernel": "steerable"} if group != "p4" else {}
    size = 5
    layers = nn.Sequential(
        sepgconv.nn.LiftingConv2d(1, width, size, group, padding=size // 2, **kernel),
        nn.ReLU(),
        sepgconv.nn.SeparableGroupConv2d(width, width, size, group, padding=size // 2, **kernel),
        nn.ReLU(),
        sepgconv.nn.SeparableGroupConv2d(width, width, size, group, padding=size // 2, **kernel),
    )
    return layers.double().eval()


def main(folder: Path) -> None:
    """Draw the image beside this file."""
    image = read_image(folder)
    degrees = list(range(0, 361, STEP))
    images = torch.cat([rotated(image, angle) for angle in degrees])
    along = torch.arange(64, dtype=torch.float64) - 31.5
    inside = (torch.hypot(along[:, None], along[None]) < 30).double()
    figure = Figure(figsize=(12, 8.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.6])
    top, bottom = left.subfigures(2, 1, height_ratios=[1, 1.9])
    for axis, angle in zip(top.subplots(1, 3), (0, 30, 60), strict=True):
        axis.imshow(images[angle // STEP, 0].numpy(), cmap="gray")
        axis.set_title(f"{angle}°", fontsize=10)
        axis.axis("off")
    change = bottom.subplots()
    heat = right.subplots(len(GROUPS), 1)
    for axis, (group, width) in zip(heat, GROUPS.items(), strict=True):
        with torch.no_grad():
            maps = network(group, width)(images)  # (angle, channel, pose, y, x)
        responses = (maps.relu() * inside).sum((-2, -1))  # (angle, channel, pose)
        pooled = (maps.amax(2) * inside).sum((-2, -1))
        relative = (pooled - pooled[:1]).norm(dim=1) / pooled[:1].norm()
        change.plot(degrees, 100 * relative, label=f"{group}, {width} channels")
        spread = responses.std((0, 2)) / responses.mean((0, 2))
        channel = int(spread.argmax())
        axis.imshow(
            responses[:, channel].T.numpy(), aspect="auto", origin="lower", extent=(0, 360, -0.5, maps.shape[2] - 0.5)
        )
        axis.set_title(f"{group}: response of one channel, by pose", fontsize=10)
        axis.set_ylabel("pose")
        axis.set_yticks(range(0, maps.shape[2], max(1, maps.shape[2] // 4)))
        axis.set_xticks(range(0, 361, 45))
    heat[-1].set_xlabel("rotation of the image in degrees, counter-clockwise")
    change.set_xlabel("rotation of the image in degrees")
    change.set_ylabel("change of the invariant features in %")
    change.set_xticks(range(0, 361, 90))
    change.set_ylim(bottom=0)
    change.legend(fontsize=9, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 1.12))
    change.grid(alpha=0.3)
    figure.savefig(Path(__file__).with_name("any-angle.png"), dpi=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
