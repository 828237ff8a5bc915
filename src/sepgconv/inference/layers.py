"""The layers of a network that only runs: constant tensors in the form in which they are used."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sepgconv.functional.derivatives import by_hand
from sepgconv.functional.gc_convolution import GcPlan, gc_convolution
from sepgconv.functional.geometry import Geometry
from sepgconv.functional.layout import fold_image, fold_poses, unfold_poses
from sepgconv.functional.planar import planar_conv2d
from sepgconv.symmetry import Butterflies


class FrozenConv2d(nn.Module):
    """A convolution on a group whose filters are laid out, with whatever follows it folded in.

    Shapes: (batch, in, |G|, height, width), or an image for a lifting convolution, -> (batch, out, |G|, height',
    width').

    Args:
        description: what the layer was, for `repr`.
        order: |G|.
        geometry: planar arguments.
        filters: kernels of the planar convolution over poses and channels, (|G|*out, maps in / channel_groups, k, k);
            after a mixing (|G|*out, terms, k, k).
        bias: (|G|*out,) or None.
        mixing: kernels of the mixing before it and its transforms, or None where the planar convolution is all.
        channel_groups: torch's `groups` of the planar convolution.

    Attributes:
        relu: whether a ReLU follows in the same step.
    """

    filters: Tensor
    bias: Tensor | None

    def __init__(
        self,
        description: str,
        order: int,
        geometry: Geometry,
        filters: Tensor,
        bias: Tensor | None,
        *,
        mixing: tuple[Sequence[Tensor], Butterflies] | None = None,
        channel_groups: int = 1,
    ) -> None:
        super().__init__()
        self.description, self.order, self.geometry, self.relu = description, order, geometry, False
        self.channel_groups = channel_groups
        weights, self.form = ([], None) if mixing is None else mixing
        self.register_buffer("filters", filters.contiguous())
        self.register_buffer("bias", bias)
        for index, weight in enumerate(weights):
            self.register_buffer(f"mixing{index}", weight.contiguous())

    @property
    def mixing(self) -> list[Tensor]:
        """The kernels of the mixing, none where there is none."""
        return [buffer for name, buffer in self.named_buffers() if name.startswith("mixing")]

    def scale_output(self, slope: Tensor, offset: Tensor) -> None:
        """Fold `slope * y + offset` per channel, each (out,), into filters and bias."""
        slope, offset = slope.repeat(self.order), offset.repeat(self.order)
        self.bias = offset if self.bias is None else self.bias * slope + offset
        self.filters = self.filters * slope[:, None, None, None]

    def forward(self, x: Tensor) -> Float[Tensor, "b o g y2 x2"]:
        """Convolve."""
        maps = fold_image(x) if x.ndim == 4 else fold_poses(x)
        if self.form is None:
            y = planar_conv2d(
                maps,
                self.filters,
                self.bias,
                self.geometry,
                channel_groups=self.channel_groups,
                caller=self.description,
            )
        else:
            plan, mixing = GcPlan(self.form, self.order, self.geometry), self.mixing
            in_pieces = not torch.is_grad_enabled() and by_hand(maps, self.filters, *mixing)
            y = gc_convolution(maps, self.filters, self.bias, mixing, plan, by_hand=in_pieces)
        return unfold_poses(y.relu_() if self.relu else y, self.order)

    def extra_repr(self) -> str:
        """Return what the layer was."""
        return self.description + (", with ReLU" if self.relu else "")


class FrozenNorm2d(nn.Module):
    """A batch norm with fixed statistics that could not be folded into a convolution: `slope * x + offset`.

    Shapes: (batch, channels, |G|, height, width), unchanged.

    Args:
        slope: (channels,).
        offset: (channels,).

    Attributes:
        relu: whether a ReLU follows in the same step.
    """

    slope: Tensor
    offset: Tensor

    def __init__(self, slope: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.relu = False
        self.register_buffer("slope", slope)
        self.register_buffer("offset", offset)

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y x"]:
        """Scale and shift."""
        order = x.shape[2]
        slope, offset = (part.repeat(order)[:, None, None] for part in (self.slope, self.offset))
        y = torch.addcmul(offset, fold_poses(x), slope)
        return unfold_poses(y.relu_() if self.relu else y, order)

    def extra_repr(self) -> str:
        """Return the number of channels."""
        return f"{len(self.slope)}" + (", with ReLU" if self.relu else "")
