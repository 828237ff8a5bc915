"""Segmentation against its definition, and trained with an ordinary U-Net."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score
from torch import nn
from torch.nn import functional as F

from sepgconv.data import Dataset, Split, augmentation, build_preprocessing
from sepgconv.models import Network, registry
from sepgconv.tasks import (
    Segmentation,
    TrainingConfig,
    evaluate,
    get_task,
    load_run,
    measure,
    measure_each,
    split_instances,
    train,
    write_images,
)
from sepgconv.tasks.tally import Tally
from tests.covering import each, named


class UNet(nn.Module):
    """A small one with one step down and up, of a user's own."""

    def __init__(self, outputs):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.low = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2))
        self.out = nn.Conv2d(16, outputs, 3, padding=1)

    def forward(self, x):
        fine = self.down(x)
        return self.out(torch.cat((fine, self.low(fine)), 1))


def discs(count=12, side=16, classes=2, seed=0):
    """Images with a disc of some brightness, and masks of its class; some pixels are not judged."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    images, masks = 0.2 * torch.rand(count, 1, side, side, generator=generator), torch.zeros(count, side, side).long()
    for i in range(count):
        middle = 4 + torch.rand(2, generator=generator) * (side - 8)
        inside = (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < 12
        label = 1 + i % (classes - 1)
        images[i, 0][inside] += label / (classes - 1) * 0.8
        masks[i][inside] = label
    masks[:, 0] = 255
    return Split(images, masks)


@each("classes", [2, 4])
def test_metrics_and_loss_are_those_of_the_definition(classes):
    generator = torch.Generator().manual_seed(classes)
    masks = torch.randint(classes, (5, 6, 7), generator=generator)
    masks[:, 0, :3] = 255
    masks[4] = 255  # an image without a pixel to judge
    scores = torch.randn(5, classes, 6, 7, generator=generator)
    task, known = get_task("segmentation"), masks != 255
    truth, found = masks[known].numpy(), scores.argmax(1)[known].numpy()
    counts = sum(task.count(a, b) for a, b in zip(scores.split(2), masks.split(2), strict=True))
    assert np.array_equal(counts.numpy(), confusion_matrix(truth, found))
    average = {"average": "binary"} if classes == 2 else {"average": "macro"}
    values = task.measure(counts)
    assert values["dice"] == pytest.approx(100 * f1_score(truth, found, **average))
    assert values["iou"] == pytest.approx(100 * jaccard_score(truth, found, **average))
    names = [f"class {i}" for i in range(classes)]
    each_class = task.measure_each(counts, names)["iou"]
    assert list(each_class.values()) == pytest.approx(list(100 * jaccard_score(truth, found, average=None)))
    expected = 0.0
    for image, mask in zip(scores[:4], masks[:4], strict=True):
        pixels = mask != 255
        chances, right = image.softmax(0)[:, pixels], F.one_hot(mask[pixels], classes).T
        dice = 1 - (2 * (chances * right).sum(1) + 1) / (chances.sum(1) + right.sum(1) + 1)
        expected += F.cross_entropy(image[None], mask[None], ignore_index=255) + 0.5 * dice.mean()
    torch.testing.assert_close(Segmentation(dice_weight=0.5).loss(scores, masks), expected)
    assert Segmentation(dice_weight=0).loss(scores, masks) < expected  # the Dice loss counts
    if classes == 2:
        single = scores[:, 1:] - scores[:, :1]
        torch.testing.assert_close(task.loss(single, masks), task.loss(scores, masks))
        assert torch.equal(task.count(single, masks), task.count(scores, masks))


def test_gradients_are_finite_without_a_pixel_to_judge():
    scores = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = Segmentation().loss(scores, torch.full((2, 4, 4), 255))
    loss.backward()
    assert (float(loss.detach()), bool(scores.grad.isfinite().all())) == (0.0, True)
    counts = Segmentation().count(scores, torch.full((2, 4, 4), 255))
    assert Segmentation().measure(counts) == {"dice": 100.0, "iou": 100.0}
    assert set(Segmentation().measure_each(counts, "abc")["dice"].values()) == {None}


@each(
    "masks, outputs, message",
    [
        (torch.zeros(2, 4, 4), 2, r"expected int64 masks of shape \(n, height, width\), got torch.float32"),
        (torch.zeros(2, dtype=torch.int64), 2, "expected int64 masks"),
        (torch.tensor([[[0, 3, 7]]]), 3, r"the masks hold 3, 7; expected classes from 0 to 2, or 255 for pixels"),
        (torch.tensor([[[2]]]), 1, r"the masks hold 2; expected classes from 0 to 1"),
    ],
)
def test_masks_of_another_kind(masks, outputs, message):
    with pytest.raises(ValueError, match=message):
        Segmentation().check(masks, outputs)


def test_outputs_of_another_size_and_options_out_of_range(unchecked):
    for judge in (Segmentation().loss, Segmentation().count):
        with pytest.raises(
            ValueError, match=r"as large as the masks, \(1, 8, 8\), got \(1, 2, 4, 4\); let the network"
        ):
            judge(torch.zeros(1, 2, 4, 4), torch.zeros(1, 8, 8).long())
    for options, message in (
        ({"ignore_index": -1}, "ignore_index must be a whole number"),
        ({"dice_weight": -1}, "dice_weight must be a number, 0 or more"),
        ({"instances": 1}, "instances must be True or False"),
    ):
        with named(**options), pytest.raises(ValueError, match=message):
            get_task("segmentation", options)
    with pytest.raises(ValueError, match=r"expected two classes or more, background among them, got \['cell'\]"):
        Segmentation().head(("cell",))


@each(
    "name", ["none", "turn", "fine-turn", "quarter-turn", "poses", "flip", "crop-flip", "elastic", "poses,turn,colour"]
)
def test_masks_move_with_their_images(name):
    """Where the image is bright after augmentation, the mask says so, and nothing but classes is in it."""
    split = discs(40, 24)
    images = (split.labels == 1).float().unsqueeze(1).repeat(1, 3, 1, 1) * 0.8
    masks = (images[:, 0] > 0).long()
    torch.manual_seed(4)
    moved, found = Segmentation().augment(augmentation(name), images, masks)
    assert set(found.unique().tolist()) <= {0, 1, 255}
    known = found != 255
    bright = moved[:, 0] > 0.4
    assert float((bright == (found == 1))[known].float().mean()) > 0.98
    both = (bright & (found == 1)).sum() / (bright | (found == 1))[known.expand_as(bright)].sum()
    assert float(both) > 0.85
    if name not in ("none", "colour"):
        stayed = (bright & (masks == 1)).sum() / (bright | (masks == 1)).sum()
        assert float(stayed) < float(both) - 0.05  # the negative control: a mask that stays is wrong
    exact = name in ("none", "quarter-turn", "poses", "flip")
    assert bool((found == 255).any()) != exact  # what comes in from outside is not judged
    if exact:
        assert torch.equal(bright, found == 1)


@each("outputs", [1, 2, 4])
def test_an_ordinary_network_learns_it(outputs):
    classes = max(2, outputs)
    split = discs(24, classes=classes)
    torch.manual_seed(0)
    model, task = UNet(outputs), get_task("segmentation")
    before = measure(model.eval(), split, task="segmentation")
    optimizer, moves = torch.optim.Adam(model.train().parameters(), lr=0.02), augmentation("poses")
    for _ in range(60):
        images, masks = task.augment(moves, split.images, split.labels)
        optimizer.zero_grad()
        (task.loss(model(images), masks) / len(images)).backward()
        optimizer.step()
    after = measure(model.eval(), split, task="segmentation")
    assert after["dice"] > 60 > before["dice"], (before, after)
    assert evaluate(model, split, task="segmentation") == after["dice"]
    names = [f"class {i}" for i in range(classes)]
    assert measure_each(model, split, classes=names, task=task)["dice"]["class 0"] > 95
    tally = Tally(task)
    with torch.no_grad():
        for part, truth in zip(split.images.split(5), split.labels.split(5), strict=True):
            tally.add(model(part), truth)
    assert tally.measure() == after


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Options of a network of a user's own."""

    in_channels: int = 1
    num_classes: int = 2


class RegisteredUNet(Network):
    """The same network, in the registry."""

    min_input_size, input_size = 4, 16

    def __init__(self, config):
        super().__init__()
        self.in_channels, self.num_features, self.num_classes = config.in_channels, 16, config.num_classes
        self.net = UNet(config.num_classes)

    def forward_features(self, x):
        return x

    def forward(self, x):
        return self.net(x)


def test_a_run_trains_on_masks_and_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "MODELS", dict(registry.MODELS))
    registry.MODELS["tiny_unet"] = registry.Entry(RegisteredUNet, UNetConfig, {}, {}, "a user's own")
    split = discs()
    data = Dataset("discs", ("ground", "disc"), split, split, split, build_preprocessing("identity", {}))
    config = TrainingConfig(
        task="segmentation", model="tiny_unet", data="discs", epochs=2, batch_size=6, augmentation="poses,turn"
    )
    record = train(config, folder=tmp_path / "run", data=data, progress=False, threads=1, accelerator="cpu")
    assert list(record.figures) == [f"{p}_{name}" for name in ("dice", "iou") for p in ("test", "validation", "train")]
    run = load_run(tmp_path / "run")
    assert evaluate(run, split) == record.test_dice
    found = measure_each(run, split)
    assert found["dice"]["disc"] == record.test_dice
    assert list(found["iou"]) == ["ground", "disc"]
    wrong = Dataset("discs", ("a", "b"), discs(classes=3), split, split, build_preprocessing("identity", {}))
    with pytest.raises(ValueError, match=r"the masks hold 2; expected classes from 0 to 1, or 255"):
        train(config, folder=tmp_path / "other", data=wrong, progress=False, accelerator="cpu")


def test_masks_are_written_as_they_are(tmp_path):
    masks = torch.zeros(2, 20, 40).long()
    y, x = torch.meshgrid(torch.arange(20), torch.arange(40), indexing="ij")
    for middle in (10, 26):
        masks[0][(y - 10) ** 2 + (x - middle) ** 2 < 64] = 1  # two discs that touch
    masks[1, 3:6, 3:6] = 2
    scores = F.one_hot(masks, 3).movedim(-1, 1).float()
    names = ["Train [1] a", "ö"]
    task = get_task("segmentation", {"instances": True})
    paths = write_images(task, scores, names, tmp_path / "Train")
    assert [path.name for path in paths] == [f"{name}-{kind}.png" for name in names for kind in ("mask", "instances")]
    for mask, path in zip(masks, paths[::2], strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), mask.numpy())
    objects = np.asarray(Image.open(paths[1]))
    assert sorted(np.unique(objects)) == [0, 1, 2]
    assert np.array_equal(objects > 0, masks[0].numpy() > 0)
    assert objects[10, 6] != objects[10, 30]
    assert np.asarray(Image.open(paths[3])).max() == 1
    assert write_images(get_task("classification"), torch.rand(1, 3), ["a"], tmp_path) == []
    with pytest.raises(ValueError, match="two images are called 'a'"):
        write_images(task, scores, ["a", "a"], tmp_path)
    with pytest.raises(ValueError, match="expected a name for each of 2 images, got 1"):
        write_images(task, scores, ["a"], tmp_path)


def test_objects_of_odd_masks():
    assert split_instances(np.zeros((5, 7), bool)).max() == 0
    assert split_instances(np.ones((1, 1), bool)).max() == 1
    full = split_instances(np.ones((9, 9), bool))
    assert full.min() == 1
    apart = np.zeros((10, 10), bool)
    apart[1:3, 1:3] = apart[7, 7] = True
    assert split_instances(apart).max() == 2
    for arguments, message in (((np.zeros((2, 2, 2), bool),), "expected a mask"), ((apart,), "min_distance must be 1")):
        with pytest.raises(ValueError, match=message):
            split_instances(*arguments, min_distance=0)
