"""Normalisations that treat the poses of a channel alike."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def group_layer_norm(
    x: Float[Tensor, "b c g y x"],
    weight: Float[Tensor, " c"] | None = None,
    bias: Float[Tensor, " c"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "b c g y x"]:
    """Normalise every position over its channels and poses, then scale and shift each channel (Ba et al. 2016).

    Args:
        x: feature maps (batch, channel, pose, height, width).
        weight: scale (channel,), the same for all poses, or None for 1.
        bias: shift (channel,), the same for all poses, or None for 0.
        eps: added to the variance.

    Returns:
        Feature maps of the same shape.
    """
    channels, poses = x.shape[1:3]
    scale, shift = (None if p is None else p.expand(poses, channels) for p in (weight, bias))
    pixels = x.permute(0, 3, 4, 2, 1)  # (b, y, x, g, c)
    return F.layer_norm(pixels, (poses, channels), scale, shift, eps).permute(0, 4, 3, 1, 2)
