"""Draw demo.png from the runs of `make demo`: a digit and the same digit rotated, seen by both networks.

Run: python docs/draw_demo.py [folder of the demo]
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from sepgconv.data import load_dataset
from sepgconv.functional import act
from sepgconv.tasks import load_run

LAYERS = 2  # the maps after so many convolutions: large, and they already see more than edges
NAMES = {"z2cnn": "an ordinary CNN", "gc_p4cnn": "a group CNN (four poses)"}


def main(folder: Path) -> None:
    """Draw the image beside this file.

    Args:
        folder: where `make demo` left its runs.
    """
    models = [load_run(folder / name).model.eval() for name in NAMES]
    test = load_dataset("rotated_digits").test
    digit = changing_digit(models, test.images, test.labels)
    figure = Figure(figsize=(8.8, 3.1), layout="constrained")
    FigureCanvasAgg(figure)
    sides = figure.subfigures(1, 2, squeeze=False, width_ratios=[3, 6])[0]
    for side, model, name in zip(sides, models, NAMES.values(), strict=True):
        side.suptitle(name, fontsize=11)
        looks = [look(model, image) for image in (digit, act("p4", 1, digit))]
        brightest = max(float(maps.max()) for maps, _ in looks)
        for axes, image, (maps, scores) in zip(
            side.subplots(2, 2 + len(looks[0][0])), (digit, act("p4", 1, digit)), looks, strict=True
        ):
            show(axes[0], image[0, 0], "input", "gray", 1)
            for pose, (axis, found) in enumerate(zip(axes[1:], maps, strict=False)):
                show(axis, found, f"pose {pose}" if len(maps) > 1 else "a map", "viridis", brightest)
            draw_scores(axes[-1], scores)
    figure.savefig(Path(__file__).with_name("demo.png"), dpi=160)


def changing_digit(models: Sequence[nn.Module], images: Tensor, labels: Tensor) -> Tensor:
    """Return the first digit, (1, 1, y, x), that both networks know, but the first network only before the rotation."""
    with torch.inference_mode():
        known = [model(images).argmax(1) == labels for model in models]
        changed = models[0](act("p4", 1, images)).argmax(1) != labels
    return images[(known[0] & known[1] & changed).nonzero()[0]]


def look(model: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the strongest channel after some layers, (pose, height, width), and the class probabilities."""
    with torch.inference_mode():
        maps = image
        for layer in list(model.get_submodule("features").children())[:LAYERS]:
            maps = layer(maps)
        # The mean over poses and positions does not change with a rotation, so both rows show one channel.
        return maps[0, int(maps[0].mean((1, 2, 3)).argmax())], model(image)[0].softmax(0)


def show(axis: Axes, pixels: Tensor, title: str, colours: str, brightest: float) -> None:
    """Draw an image or a map."""
    axis.imshow(pixels.numpy(), cmap=colours, vmin=0, vmax=brightest)
    axis.set_title(title, fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])


def draw_scores(axis: Axes, scores: Tensor) -> None:
    """Draw the class probabilities as bars."""
    axis.bar(range(len(scores)), scores.tolist(), color="#4477aa")
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    axis.set_xticks(range(0, len(scores), 3))
    axis.tick_params(labelsize=8)
    axis.set_box_aspect(1)
    axis.set_title(f"answer: {int(scores.argmax())}", fontsize=9)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
