"""Augmentation by name, on whole batches, through kornia. Random numbers come from torch's global generator only.

An augmentation moves masks with the images, and says how it turned them, so that targets that are vectors turn as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sepgconv._messages import require, unknown_name

_CROP_PADDING = 4
SEPARATOR = ","  # between the names of a list that is written as one text, as in "turn,colour"


@dataclass(frozen=True, eq=False)
class Moved:
    """A batch after augmentation.

    Attributes:
        images: (n, channels, height, width).
        masks: int64 (n, height, width), moved as the images are; None if none were given.
        matrices: (n, 2, 2), by which a vector (x, y) on each image is moved, x to the right and y up.

    Example:
        >>> import torch
        >>> moved = augmentation("quarter-turn").move(torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64))
        >>> moved.images.shape, moved.masks.shape, moved.matrices.shape
        (torch.Size([2, 3, 8, 8]), torch.Size([2, 8, 8]), torch.Size([2, 2, 2]))
    """

    images: Tensor
    masks: Tensor | None
    matrices: Tensor


class Augmentation(nn.Module):
    """A random change of images: called, it gives the images; `move` gives what belongs to them as well.

    A subclass defines `forward` and `move`.

    Example:
        >>> import torch
        >>> isinstance(augmentation("flip"), Augmentation)
        True
    """

    def forward(self, images: Tensor) -> Tensor:
        """Augment images (n, channels, height, width); the shape stays."""
        return self.move(images).images

    def move(self, images: Tensor, masks: Tensor | None = None, *, fill: int = 0) -> Moved:
        """Augment images and masks alike.

        Args:
            images: (n, channels, height, width).
            masks: int64 (n, height, width), class indices; they are never interpolated. Default: none.
            fill: of mask pixels that come in from outside of the image. Default: 0.
        """
        raise NotImplementedError  # abstract: each augmentation moves in its own way


def _unturned(images: Tensor) -> Tensor:
    return torch.eye(2, device=images.device).repeat(len(images), 1, 1)


class NoAugmentation(Augmentation):
    """Images stay as they are."""

    def forward(self, images: Tensor) -> Tensor:
        """Return what came."""
        return images

    def move(self, images: Tensor, masks: Tensor | None = None, *, fill: int = 0) -> Moved:
        """Return what came."""
        return Moved(images, masks, _unturned(images))


class RandomPose(Augmentation):
    """Move every image by one of the symmetries of the square, equally likely: an exact permutation of its pixels.

    Our own, because kornia's `RandomRotation90` rounds a uniform number and so draws the first and the last number of
    rotations half as often as the others.

    Args:
        mirrors: whether mirror images are among them: eight poses, else four.
    """

    def __init__(self, *, mirrors: bool = True) -> None:
        super().__init__()
        self._name, self._poses = ("poses", 8) if mirrors else ("quarter-turn", 4)

    def move(self, images: Tensor, masks: Tensor | None = None, *, fill: int = 0) -> Moved:
        """Move square images and their masks.

        Raises:
            ValueError: images that are not square.
        """
        if images.ndim != 4 or images.shape[-1] != images.shape[-2]:
            raise ValueError(f"{self._name}: expected square images (n, c, side, side), got {tuple(images.shape)}")
        drawn = torch.randint(self._poses, (len(images),)).to(images.device)
        matrices = torch.stack([_pose_matrix(pose) for pose in range(self._poses)]).to(images.device)[drawn]
        return Moved(self._posed(images, drawn), None if masks is None else self._posed(masks, drawn), matrices)

    def _posed(self, maps: Tensor, drawn: Tensor) -> Tensor:
        moved = maps.clone()
        for pose in range(1, self._poses):
            chosen = drawn == pose
            turned = torch.rot90(maps[chosen], pose % 4, (-2, -1))
            moved[chosen] = turned.flip(-1) if pose >= 4 else turned
        return moved


def _pose_matrix(pose: int) -> Tensor:
    """Return the matrix of `pose % 4` quarter turns, counter-clockwise, and of a mirror left to right behind them."""
    cos, sin = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[pose % 4]
    sign = -1.0 if pose >= 4 else 1.0
    return torch.tensor([[sign * cos, -sign * sin], [sin, cos]])


class RandomQuarterTurn(RandomPose):
    """Rotate every image of a batch by 0, 90, 180 or 270 degrees, equally likely: an exact permutation of pixels."""

    def __init__(self) -> None:
        super().__init__(mirrors=False)


class OfKornia(Augmentation):
    """Augmentations of kornia, one after the other.

    Args:
        build: returns them, for images of a shape (n, channels, height, width).
    """

    def __init__(self, build: Callable[[Sequence[int]], Sequence[nn.Module]]) -> None:
        super().__init__()
        self._build = build

    def forward(self, images: Tensor) -> Tensor:
        """Augment images (n, channels, height, width); the shape stays."""
        for step in self._build(images.shape):
            images = step(images)
        return images

    def move(self, images: Tensor, masks: Tensor | None = None, *, fill: int = 0) -> Moved:
        """Augment images and masks alike, masks by the nearest pixel."""
        # Outside are zeros, so that the classes are counted from 1 here.
        numbered = torch.zeros_like(images[:, :1]) if masks is None else (masks + 1).unsqueeze(1).to(images.dtype)
        matrices = _unturned(images)
        for step in self._build(images.shape):
            images, numbered, matrix = _together(step, images, numbered)
            if matrix is not None:
                matrices = _seen_upright(matrix[:, :2, :2]) @ matrices
        if masks is None:
            return Moved(images, None, matrices)
        classes = numbered[:, 0].round().long() - 1
        return Moved(images, classes.where(classes >= 0, fill), matrices)


def _together(step: nn.Module, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Apply an augmentation of kornia; return images, masks and its matrices, None of one that has none."""
    from kornia.augmentation import AugmentationSequential
    from kornia.constants import DataKey, Resample

    corners = getattr(step, "flags", {}).get("align_corners")  # masks as the images
    options: Any = {DataKey.MASK: {"resample": Resample.NEAREST, "align_corners": corners}}
    of_kornia: Any = step
    both: Any = AugmentationSequential(of_kornia, data_keys=["input", "mask"], extra_args=options)
    moved, found = both(images, masks)
    return moved, found, both.transform_matrix


def _seen_upright(matrices: Tensor) -> Tensor:
    """Return matrices of (x, y), y pointing down, as those of vectors with y pointing up."""
    return matrices.float() * torch.tensor([[1.0, -1.0], [-1.0, 1.0]], device=matrices.device)


class RandomFineTurn(Augmentation):
    """Rotate every image by a uniform random angle at three times its resolution, so that little is blurred.

    The image is enlarged three times (bicubic), rotated (bilinear, zeros outside) and averaged back, as in the
    published work on Rotated MNIST (Weiler & Cesa, NeurIPS 2019). A mask pixel is what comes to lie on its middle.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Rotate images (n, channels, height, width); the shape stays."""
        large = F.interpolate(images, scale_factor=3, mode="bicubic", align_corners=False)
        return F.avg_pool2d(_TURN(large), 3)

    def move(self, images: Tensor, masks: Tensor | None = None, *, fill: int = 0) -> Moved:
        """Rotate images and masks alike."""
        large = F.interpolate(images, scale_factor=3, mode="bicubic", align_corners=False)
        wide = None if masks is None else masks.repeat_interleave(3, -1).repeat_interleave(3, -2)
        moved = _TURN.move(large, wide, fill=fill)
        middles = None if moved.masks is None else moved.masks[:, 1::3, 1::3]
        return Moved(F.avg_pool2d(moved.images, 3), middles, moved.matrices)


class OnRawImages(Augmentation):
    """An augmentation of raw images in [0, 1], applied to images that have been preprocessed.

    Args:
        step: what augments.
        preprocessing: what the images have been through; it has `undo`.

    Raises:
        ValueError: the preprocessing cannot be undone.
    """

    def __init__(self, step: Augmentation, preprocessing: nn.Module) -> None:
        super().__init__()
        undo: Any = getattr(preprocessing, "undo", None)
        if undo is None:
            raise ValueError(
                f"the augmentation 'colour' is for images in [0, 1], and the preprocessing "
                f"{getattr(preprocessing, 'name', type(preprocessing).__name__)!r} cannot be undone; leave it out"
            )
        self.step, self._again, self._undo = step, preprocessing, undo

    def move(self, images: Tensor, masks: Tensor | None = None, *, fill: int = 0) -> Moved:
        """Augment images and masks alike."""
        moved = self.step.move(self._undo(images), masks, fill=fill)
        return Moved(self._again(moved.images), moved.masks, moved.matrices)


class Augmentations(Augmentation):
    """Several augmentations, one after the other.

    Args:
        steps: in their order.
    """

    def __init__(self, steps: Sequence[Augmentation]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, images: Tensor) -> Tensor:
        """Augment images (n, channels, height, width); the shape stays."""
        for step in self.steps:
            images = step(images)
        return images

    def move(self, images: Tensor, masks: Tensor | None = None, *, fill: int = 0) -> Moved:
        """Augment images and masks alike."""
        matrices = _unturned(images)
        for step in self.steps:
            moved = as_augmentation(step).move(images, masks, fill=fill)
            images, masks, matrices = moved.images, moved.masks, moved.matrices @ matrices
        return Moved(images, masks, matrices)


def _turn(shape: Sequence[int]) -> list[nn.Module]:
    from kornia.augmentation import RandomRotation

    return [RandomRotation(180.0, resample="bilinear", p=1.0)]


_TURN = OfKornia(_turn)


def _flip(shape: Sequence[int]) -> list[nn.Module]:
    from kornia.augmentation import RandomHorizontalFlip

    return [RandomHorizontalFlip(p=0.5)]


def _crop_flip(shape: Sequence[int]) -> list[nn.Module]:
    from kornia.augmentation import RandomCrop

    # kornia wants the size beforehand, and the images know theirs.
    crop = RandomCrop((shape[-2], shape[-1]), padding=_CROP_PADDING, fill=0, cropping_mode="slice")
    return [*_flip(shape), crop]


def _colour(shape: Sequence[int]) -> list[nn.Module]:
    from kornia.augmentation import ColorJiggle, RandomBrightness, RandomContrast

    if shape[1] == 3:
        return [ColorJiggle(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02, p=1.0)]
    return [RandomBrightness((0.8, 1.2), p=1.0), RandomContrast((0.8, 1.2), p=1.0)]


def _elastic(shape: Sequence[int]) -> list[nn.Module]:
    from kornia.augmentation import RandomElasticTransform

    # Waves of a sixteenth of the image; pixels move by about a hundredth of it.
    sigma = max(1.0, max(shape[-2:]) / 16)
    taps = 2 * round(2 * sigma) + 1
    return [RandomElasticTransform((taps, taps), (sigma, sigma), (0.4, 0.4), p=1.0)]


_AUGMENTATIONS: dict[str, Callable[[], Augmentation]] = {
    "none": NoAugmentation,
    "turn": lambda: OfKornia(_turn),
    "fine-turn": RandomFineTurn,
    "quarter-turn": RandomQuarterTurn,
    "poses": RandomPose,
    "flip": lambda: OfKornia(_flip),
    "crop-flip": lambda: OfKornia(_crop_flip),
    "colour": lambda: OfKornia(_colour),
    "elastic": lambda: OfKornia(_elastic),
}
_OF_RAW_IMAGES = ("colour",)  # kornia cuts what is outside of [0, 1] off
_WITHOUT_KORNIA = ("none", "quarter-turn", "poses")


def list_augmentations() -> tuple[str, ...]:
    """Return the names that `augmentation` takes.

    Example:
        >>> list_augmentations()
        ('none', 'turn', 'fine-turn', 'quarter-turn', 'poses', 'flip', 'crop-flip', 'colour', 'elastic')
    """
    return tuple(_AUGMENTATIONS)


def check_augmentation(names: str) -> None:
    """Raise if a text names something that is no augmentation; nothing is imported.

    Raises:
        ValueError: the message has the unknown name.
    """
    for name in _split(names):
        if name not in _AUGMENTATIONS:
            raise ValueError(unknown_name("augmentation", name, _AUGMENTATIONS))


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(SEPARATOR)]


def augmentation(
    names: str | nn.Module | Sequence[str | nn.Module], *, preprocessing: nn.Module | None = None
) -> Augmentation:
    """Return an augmentation: a module from a batch (n, channels, height, width) to a batch of the same shape.

    It augments in training and in evaluation mode alike: apply it to training batches only. It draws from torch's
    global CPU generator and from nothing else, so restoring that generator's state repeats it. Its `move` transforms
    masks with the images and says how each image was turned (`Moved`).

    Args:
        names: one of these, several in a list or with commas between them ("turn,colour"), or a module of kornia's;
            they are applied in this order. "none"; "turn", by a uniform random angle, bilinear, zeros outside;
            "fine-turn", the same at three times the resolution; "quarter-turn", by 0, 90, 180 or 270 degrees, exact;
            "poses", the same and the mirror images, all eight equally likely; "flip", left to right with probability
            1/2; "crop-flip", a flip and then a crop of the size of the image from the image padded with 4 zeros on
            every side (C10+); "colour", brightness and contrast by up to 20 %, of colour images also saturation by up
            to 20 % and hue by up to 2 % of the circle, of raw images in [0, 1]; "elastic", a smooth random deformation
            by about a hundredth of the image.
        preprocessing: what the images have been through, as `Dataset.preprocessing`: "colour" changes what they were
            before. Default: nothing; images are in [0, 1].

    Raises:
        ValueError: an unknown name, or none; "colour" for images whose preprocessing cannot be undone.
        ImportError: kornia is not installed.

    Example:
        >>> import torch
        >>> images = torch.rand(8, 1, 28, 28)
        >>> rotated = augmentation("quarter-turn")(images)
        >>> torch.equal(rotated.flatten(1).sort().values, images.flatten(1).sort().values)  # the same pixels
        True
        >>> augmentation(["poses", "colour"])(images).shape
        torch.Size([8, 1, 28, 28])
    """
    wanted = _split(names) if isinstance(names, str) else [names] if isinstance(names, nn.Module) else list(names)
    if not wanted:
        raise ValueError("augmentation: expected one name or more, got none; 'none' changes nothing")
    steps = [_named(one, preprocessing) if isinstance(one, str) else as_augmentation(one) for one in wanted]
    return steps[0] if len(steps) == 1 else Augmentations(steps)


def _named(name: str, preprocessing: nn.Module | None) -> Augmentation:
    check_augmentation(name)
    if name not in _WITHOUT_KORNIA:
        # Imported here and not above: kornia takes more than a second to import, and most commands do without it.
        require("kornia", extra="train", purpose=f"the augmentation {name!r}")
    found = _AUGMENTATIONS[name]()
    return OnRawImages(found, preprocessing) if name in _OF_RAW_IMAGES and preprocessing is not None else found


def as_augmentation(module: nn.Module) -> Augmentation:
    """Return a module as an augmentation that can move masks; one of kornia's is taken as it is.

    Raises:
        ValueError: it is neither one of this library nor one of kornia's.
    """
    if isinstance(module, Augmentation):
        return module
    if type(module).__module__.partition(".")[0] == "kornia":
        return OfKornia(lambda shape: [module])
    raise ValueError(
        f"{type(module).__name__} moves images only; targets that move with them need an augmentation of "
        "sepgconv.data.augmentation(...) or of kornia"
    )
