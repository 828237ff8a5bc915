"""Packed JPEG sets: an `.npz` holding thousands of JPEG files end to end, which is far smaller than their pixels.

Arrays, for the splits train and test: `<split>_jpeg` (uint8, the files one after the other), `<split>_length` (bytes of
each), `<split>_labels`; `header` (bytes that begin every file and were left out of it; may be empty), `classes`.
"""

import io
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Int, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from sepgconv._messages import require

Pixels = UInt8[ndarray, "..."]

PACKED_KEYS = ("header", "train_jpeg", "train_length", "train_labels", "test_jpeg", "test_length", "test_labels")


def unpack_jpegs(
    arrays: Mapping[str, Shaped[ndarray, "..."]], split: str, title: str
) -> tuple[UInt8[Tensor, "n c h w"], Int[Tensor, " n"]]:
    """Decode one split.

    Args:
        arrays: the arrays of the file.
        split: "train" or "test".
        title: what errors call the file.

    Raises:
        ValueError: lengths that do not add up, an image that does not decode, images of unequal shapes.
    """
    require("PIL", extra="train", purpose="decoding JPEG images")
    from PIL import Image

    header, data = arrays["header"].tobytes(), arrays[f"{split}_jpeg"].tobytes()
    lengths, labels = arrays[f"{split}_length"], arrays[f"{split}_labels"]
    ends = np.cumsum(lengths, dtype=np.int64)
    if len(lengths) == 0 or len(lengths) != len(labels) or ends[-1] != len(data):
        raise ValueError(
            f"{title}: {split} has {len(lengths)} lengths that add up to {int(lengths.sum())}, "
            f"{len(labels)} labels and {len(data)} bytes of images"
        )
    images: list[Pixels] = []
    for number, (start, end) in enumerate(zip(ends - lengths, ends, strict=True)):
        try:
            image = np.asarray(Image.open(io.BytesIO(header + data[start:end]), formats=["JPEG"]))
        except OSError as error:
            raise ValueError(f"{title}: {split} image {number} does not decode ({error})") from error
        if images and image.shape != images[0].shape:
            raise ValueError(
                f"{title}: {split} image {number} has shape {image.shape}, the first one {images[0].shape}"
            )
        images.append(image)
    stacked = torch.from_numpy(np.stack(images))
    channels_first = stacked.unsqueeze(1) if stacked.ndim == 3 else stacked.movedim(-1, 1)
    return channels_first.contiguous(), torch.from_numpy(labels.astype(np.int64))
