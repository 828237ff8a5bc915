"""The picture of `sepgconv demo`: a digit and the digit turned, with the feature maps of each network."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from sepgconv.functional import act

LAYER = 1  # the second convolution: large maps that already see more than edges


def draw_turned_digit(models: Mapping[str, nn.Module], image: Tensor, path: Path) -> None:
    """Draw a digit, its feature maps and its class probabilities beside those of the same digit, turned by 90 degrees.

    Args:
        models: trained Rotated MNIST networks by name, in evaluation mode.
        image: (1, height, width).
        path: the PNG file, written whole or not at all.
    """
    turned = act("p4", 1, image[None])[0]
    figure = Figure(figsize=(13, 3.6 * len(models)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("A digit, and the same digit turned by 90°: what each network makes of them", fontsize=14)
    looks = {name: [_look(model, picture) for picture in (image, turned)] for name, model in models.items()}
    columns = max(maps.shape[0] for seen in looks.values() for maps, _ in seen)
    for block, (name, seen) in zip(figure.subfigures(len(models), 1, squeeze=False)[:, 0], looks.items(), strict=True):
        block.suptitle(name, fontsize=12, fontweight="bold")
        poses = seen[0][0].shape[0]
        axes = block.subplots(2, columns + 2, squeeze=False, width_ratios=[1] * (columns + 1) + [1.6])
        brightest = max(float(maps.max()) for maps, _ in seen)
        for row, (picture, (maps, probabilities)) in zip(axes, zip((image, turned), seen, strict=True), strict=True):
            row[0].imshow(picture[0].numpy(), cmap="gray", vmin=0, vmax=1)
            row[0].set_ylabel("digit" if picture is image else "turned", fontsize=11)
            for pose, (axis, feature_map) in enumerate(zip(row[1:], maps, strict=False)):
                axis.imshow(feature_map.numpy(), cmap="viridis", vmin=0, vmax=brightest)
                axis.set_title(f"pose {pose}" if poses > 1 else "feature map", fontsize=9)
            for column, axis in enumerate(row[:-1]):
                axis.set_xticks([])
                axis.set_yticks([])
                axis.set_visible(column <= poses)
            row[-1].bar(range(len(probabilities)), probabilities.tolist(), color="#4477aa")
            row[-1].set_xticks(range(len(probabilities)))
            row[-1].set_ylim(0, 1)
            row[-1].set_title("class probabilities", fontsize=9)
    beside = path.with_name(f".{path.name}.{os.getpid()}.png")
    try:
        figure.savefig(beside, dpi=110)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _look(model: nn.Module, picture: Tensor) -> tuple[Tensor, Tensor]:
    """Return the strongest channel of a layer, (pose, height, width), and the class probabilities."""
    features = model.get_submodule("features")
    with torch.inference_mode():
        maps = picture[None]
        for layer in list(features.children())[: LAYER + 1]:
            maps = layer(maps)
        # The mean over poses and positions does not change when the picture is turned, so both rows show one channel.
        channel = int(maps[0].mean((1, 2, 3)).argmax())
        return maps[0, channel], model(picture[None])[0].softmax(0)
