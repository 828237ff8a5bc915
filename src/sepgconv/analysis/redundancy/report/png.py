"""Filter banks as small PNG images with one square for each weight, written into the page."""

import base64
import io
from collections.abc import Sequence

import torch
from markupsafe import Markup, escape
from torch import Tensor

from sepgconv._text import visible

PIXELS = 5  # of the page, for each weight; twice as many in small images


def draw_filters(bank: Tensor, *, label: str, scale: Sequence[float] | None = None) -> Markup:
    """Return filters as an `<img>` element: a row for each output channel, the kernels of an input channel together.

    Red is positive, blue negative, white zero; every row has its own scale.

    Args:
        bank: (out, in, |G|, height, width).
        label: what the image shows, for people who do not see it.
        scale: the weight of the strongest colour, for each row. Default: the largest of the row.
    """
    from matplotlib import colormaps
    from PIL import Image

    rows, channels, poses, height, width = bank.shape
    strongest = bank.abs().flatten(1).amax(1) if scale is None else torch.tensor(list(scale))
    shares = (bank / strongest.clamp_min(torch.finfo(bank.dtype).tiny).view(-1, 1, 1, 1, 1)).clamp(-1, 1)
    # A gap of one pixel between kernels, of three between input channels, of one between rows; gaps are transparent.
    group = poses * (width + 1) - 1
    image = torch.zeros(rows * (height + 1) - 1, channels * (group + 3) - 3, 4, dtype=torch.uint8)
    colours = torch.from_numpy(colormaps["RdBu_r"]((shares.numpy() + 1) / 2, bytes=True).copy())
    for row in range(rows):
        for channel in range(channels):
            for pose in range(poses):
                top, left = row * (height + 1), channel * (group + 3) + pose * (width + 1)
                image[top : top + height, left : left + width] = colours[row, channel, pose]
    file = io.BytesIO()
    Image.fromarray(image.numpy(), "RGBA").save(file, "png", optimize=True)
    content = base64.b64encode(file.getvalue()).decode()
    tall, wide = image.shape[:2]
    side = PIXELS if wide > 60 else 2 * PIXELS
    return Markup(
        f'<img class="filters" alt="{escape(visible(label))}" width="{side * wide}" height="{side * tall}" '
        f'src="data:image/png;base64,{content}">'
    )
