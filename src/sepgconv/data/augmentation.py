"""Augmentation by name, on whole batches, through kornia. Random numbers come from torch's global generator only."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sepgconv._messages import require, unknown_name

_CROP_PADDING = 4


class RandomQuarterTurn(nn.Module):
    """Rotate every image of a batch by 0, 90, 180 or 270 degrees, equally likely: an exact permutation of its pixels.

    Our own, because kornia's `RandomRotation90` rounds a uniform number and so draws the first and the last number of
    rotations half as often as the others.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Rotate square images (n, channels, side, side); the shape stays.

        Raises:
            ValueError: images that are not square.
        """
        if images.ndim != 4 or images.shape[-1] != images.shape[-2]:
            raise ValueError(f"quarter-turn: expected square images (n, c, side, side), got {tuple(images.shape)}")
        quarters = torch.randint(4, (len(images),)).to(images.device)
        rotated = images.clone()
        for k in (1, 2, 3):
            rotated[quarters == k] = torch.rot90(images[quarters == k], k, (-2, -1))
        return rotated


class RandomCropFlip(nn.Module):
    """Flip half of the images left to right and shift each by up to 4 pixels, zeros coming in (C10+)."""

    def __init__(self) -> None:
        super().__init__()
        self.flip = _flip()

    def forward(self, images: Tensor) -> Tensor:
        """Augment images (n, channels, height, width); the shape stays."""
        from kornia.augmentation import RandomCrop

        # The crop is built here because kornia wants its size beforehand, and the images know theirs.
        crop = RandomCrop((images.shape[-2], images.shape[-1]), padding=_CROP_PADDING, fill=0, cropping_mode="slice")
        return crop(self.flip(images))


def _turn(resample: str = "bilinear") -> nn.Module:
    from kornia.augmentation import RandomRotation

    return RandomRotation(180.0, resample=resample, p=1.0)


class RandomFineTurn(nn.Module):
    """Rotate every image by a uniform random angle at three times its resolution, so that little is blurred.

    The image is enlarged three times (bicubic), rotated (bilinear, zeros outside) and averaged back, as in the
    published work on Rotated MNIST (Weiler & Cesa, NeurIPS 2019).
    """

    def forward(self, images: Tensor) -> Tensor:
        """Rotate images (n, channels, height, width); the shape stays."""
        large = F.interpolate(images, scale_factor=3, mode="bicubic", align_corners=False)
        return F.avg_pool2d(_turn()(large), 3)


def _flip() -> nn.Module:
    from kornia.augmentation import RandomHorizontalFlip

    return RandomHorizontalFlip(p=0.5)


_AUGMENTATIONS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "turn": _turn,
    "fine-turn": RandomFineTurn,
    "quarter-turn": RandomQuarterTurn,
    "flip": _flip,
    "crop-flip": RandomCropFlip,
}


def list_augmentations() -> tuple[str, ...]:
    """Return the names that `augmentation` takes.

    Example:
        >>> list_augmentations()
        ('none', 'turn', 'fine-turn', 'quarter-turn', 'flip', 'crop-flip')
    """
    return tuple(_AUGMENTATIONS)


def augmentation(name: str) -> nn.Module:
    """Return an augmentation: a module from a batch (n, channels, height, width) to a batch of the same shape.

    It augments in training and in evaluation mode alike: apply it to training batches only. It draws from torch's
    global CPU generator and from nothing else, so restoring that generator's state repeats it.

    Args:
        name: "none"; "turn", by a uniform random angle, bilinear, zeros outside; "fine-turn", the same at three times
            the resolution; "quarter-turn", by 0, 90, 180 or 270
            degrees, exact; "flip", left to right with probability 1/2; "crop-flip", a flip and then a crop of the size
            of the image from the image padded with 4 zeros on every side (C10+).

    Raises:
        ValueError: an unknown name.
        ImportError: kornia is not installed.

    Example:
        >>> import torch
        >>> images = torch.rand(8, 1, 28, 28)
        >>> rotated = augmentation("quarter-turn")(images)
        >>> torch.equal(rotated.flatten(1).sort().values, images.flatten(1).sort().values)  # the same pixels
        True
    """
    if name not in _AUGMENTATIONS:
        raise ValueError(unknown_name("augmentation", name, _AUGMENTATIONS))
    if name in ("turn", "fine-turn", "flip", "crop-flip"):
        # Imported here and not above: kornia takes more than a second to import, and most commands do without it.
        require("kornia", extra="train", purpose=f"the augmentation {name!r}")
    return _AUGMENTATIONS[name]()
