"""Mask: an image or feature map times a fixed mask, as e2cnn and escnn cut off the corners of images."""

from jaxtyping import Float
from torch import Tensor, nn


class Mask(nn.Module):
    """The product of every map with one mask, which is not trained; rotations keep the disc that it leaves.

    Shapes: (batch, channels, [|G|,] height, width), unchanged; height and width are those of the mask.

    Args:
        mask: (height, width).

    Raises:
        ValueError: in `forward`, maps of another size.
    """

    mask: Tensor

    def __init__(self, mask: Float[Tensor, "y x"]) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, input: Float[Tensor, "b ... y x"]) -> Float[Tensor, "b ... y x"]:
        """Multiply."""
        if input.shape[-2:] != self.mask.shape:
            expected, got = (" x ".join(map(str, shape)) for shape in (self.mask.shape, input.shape[-2:]))
            raise ValueError(f"Mask: expected maps of {expected} pixels, as the mask is made for, got {got}")
        return input * self.mask
