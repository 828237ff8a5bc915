"""The image of `sepgconv demo`: a digit and the digit rotated, with the feature maps of each network."""

from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from sepgconv._files import write_atomically
from sepgconv.functional import act

LAYER = 1  # the second convolution: large maps that already see more than edges


def draw_rotated_digit(models: Mapping[str, nn.Module], image: Tensor, path: Path) -> None:
    """Draw a digit, its feature maps and class probabilities, and beside it the same for the digit rotated by 90°.

    Args:
        models: trained Rotated MNIST networks by name, in evaluation mode.
        image: (1, height, width).
        path: the PNG file, written whole or not at all.
    """
    rotated = act("p4", 1, image[None])[0]
    looks = {name: [_look(model, shown) for shown in (image, rotated)] for name, model in models.items()}
    columns = 2 + max(maps.shape[0] for seen in looks.values() for maps, _ in seen)  # image, maps, probabilities
    figure = Figure(figsize=(20, 2.1 * len(models) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    sides = list(figure.subfigures(1, 2, squeeze=False)[0])
    for side, title in zip(sides, ("A digit", "The same digit, rotated by 90°"), strict=True):
        side.suptitle(title, fontsize=15)
    grids = [side.subplots(len(models), columns, squeeze=False) for side in sides]
    for row, (name, seen) in enumerate(looks.items()):
        brightest = max(float(maps.max()) for maps, _ in seen)
        for grid, shown, (maps, probabilities) in zip(grids, (image, rotated), seen, strict=True):
            axes = grid[row]
            axes[0].imshow(shown[0].numpy(), cmap="gray", vmin=0, vmax=1)
            axes[0].set_ylabel(name, fontsize=12)
            for pose, (axis, feature_map) in enumerate(zip(axes[1:], maps, strict=False)):
                axis.imshow(feature_map.numpy(), cmap="viridis", vmin=0, vmax=brightest)
                axis.set_title(f"pose {pose}" if len(maps) > 1 else "feature map", fontsize=10)
            for column, axis in enumerate(axes[:-1]):
                axis.set_xticks([])
                axis.set_yticks([])
                axis.set_visible(column <= len(maps))
            axes[-1].bar(range(len(probabilities)), probabilities.tolist(), color="#4477aa")
            axes[-1].set_xticks(range(len(probabilities)))
            axes[-1].set_ylim(0, 1)
            axes[-1].set_box_aspect(1)
            axes[-1].set_title("class probabilities", fontsize=10)
    write_atomically(path, lambda part: figure.savefig(part, dpi=80, format="png"))


def _look(model: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the strongest channel of a layer, (pose, height, width), and the class probabilities."""
    features = model.get_submodule("features")
    with torch.inference_mode():
        maps = image[None]
        for layer in list(features.children())[: LAYER + 1]:
            maps = layer(maps)
        # The mean over poses and positions does not change when the image is rotated, so both rows show one channel.
        channel = int(maps[0].mean((1, 2, 3)).argmax())
        return maps[0, channel], model(image[None])[0].softmax(0)
