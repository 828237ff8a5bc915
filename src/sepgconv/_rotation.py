"""Rotating images about their centre, each by its own angle, as data sets are made. Imports nothing of the package.

It is bilinear, which is fast and which the stored data sets were made with. To move feature maps by elements of a group
there is `sepgconv.functional.act`, which keeps finer waves.
"""

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

_CHUNK = 4096  # images rotated at once: bounds the memory of the sampling grids


def rotate_images(images: Tensor, angles: Tensor) -> Tensor:
    """Rotate every image counter-clockwise about its centre; bilinear, zeros outside the image.

    Args:
        images: (n, channels, height, width); they keep their size, so corners may leave the frame.
        angles: (n,), one angle an image, in radians. A multiple of pi / 2 on a square image moves pixels onto pixels,
            which gives `torch.rot90` up to rounding.
    """
    height, width = images.shape[-2:]
    cos, sin, zero = torch.cos(angles), torch.sin(angles), torch.zeros_like(angles)
    # Output pixel -> source point, in the coordinates of affine_grid: x and y run from -1 to 1 over width and height.
    rows = torch.stack((cos, -sin * height / width, zero, sin * width / height, cos, zero), dim=-1)
    theta = rows.unflatten(-1, (2, 3)).to(images.dtype)
    rotated = torch.empty_like(images)
    for start in range(0, len(images), _CHUNK):
        part = images[start : start + _CHUNK]
        grid = affine_grid(theta[start : start + _CHUNK], list(part.shape), align_corners=False)
        rotated[start : start + _CHUNK] = grid_sample(
            part, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
    return rotated
