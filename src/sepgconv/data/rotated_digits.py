"""`rotated_digits`: scikit-learn's handwritten digits, rotated at random. Small, embedded, needs no network."""

import numpy as np
import torch
from torch.nn.functional import interpolate, pad

from sepgconv._messages import require
from sepgconv._rotation import rotate_images
from sepgconv.data.dataset import Dataset, Split
from sepgconv.data.preprocessing import Identity
from sepgconv.data.rotation import random_angles
from sepgconv.data.splitting import permutation

_SEED = 20210919
_SIDE = 28
_TRAIN, _VALIDATION = 1000, 200


def load_rotated_digits() -> Dataset:
    """Load 1,797 real handwritten digits, 28x28 grey, each rotated by its own angle, uniform in [0, 2 pi).

    The 8x8 scans of scikit-learn's `load_digits` (17 grey levels, scaled to [0, 1]; E. Alpaydin and C. Kaynak, UCI,
    1998) get an empty frame of one pixel, so that no stroke leaves the image when it is rotated, are scaled to 28x28
    (bicubic, clamped to [0, 1]) and rotated (bilinear). Order, angles and split (1,000 train, 200 validation, 597 test)
    come from a fixed seed.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    require("sklearn", extra="train", purpose="the data set rotated_digits")
    # Imported here and not above: it takes a second, and only this data set needs it.
    from sklearn.datasets import load_digits

    pixels, digits = map(np.asarray, load_digits(return_X_y=True))
    generator = np.random.default_rng(_SEED)
    order = permutation(len(digits), generator)
    scans = torch.from_numpy(pixels[order] / 16).unflatten(1, (1, 8, 8))
    scaled = interpolate(pad(scans, (1, 1, 1, 1)), size=(_SIDE, _SIDE), mode="bicubic").clamp(0, 1)
    images = rotate_images(scaled, random_angles(len(order), generator)).float()
    labels = torch.from_numpy(digits[order].astype(np.int64))
    sizes = (_TRAIN, _VALIDATION, len(order) - _TRAIN - _VALIDATION)
    train, validation, test = map(Split, images.split(sizes), labels.split(sizes))
    return Dataset("rotated_digits", tuple("0123456789"), train, validation, test, Identity())
