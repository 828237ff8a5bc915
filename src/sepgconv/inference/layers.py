"""The layers of a network that only runs: constant tensors in the form in which they are used."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sepgconv.conv.kinds import over_poses
from sepgconv.conv.spec import ConvSpec
from sepgconv.conv.steps import Lowered, Steps
from sepgconv.ops.convolution import run_lowered
from sepgconv.ops.layout import fold_poses, unfold_poses
from sepgconv.ops.vectors import pool_vectors
from sepgconv.symmetry import FiniteGroup


class FrozenConv2d(nn.Module):
    """A convolution on a group with its filters computed once, and the norm and activation after it folded in.

    Shapes: (batch, in, |G|, height, width), or an image for a lifting convolution, -> (batch, out, |G|, height',
    width').

    Args:
        description: what the layer was, for `repr`.
        spec: what the convolution is.
        lowered: its filters in the execution that was chosen.

    Attributes:
        relu: whether a ReLU follows in the same step.

    Example:
        >>> import sepgconv
        >>> sepgconv.compile_for_inference(sepgconv.nn.LiftingConv2d(3, 8, 3, "p4"))
        FrozenConv2d(LiftingConv2d(3, 8, kernel_size=(3, 3), group='p4'))
    """

    filters: Tensor
    bias: Tensor | None

    def __init__(self, description: str, spec: ConvSpec, lowered: Lowered) -> None:
        super().__init__()
        self.description, self.spec, self.relu = description, spec, False
        self.steps: Steps = lowered.steps
        self.groups, self.transform = lowered.groups, lowered.transform
        self.mixing_groups = lowered.mixing_groups
        self.register_buffer("filters", lowered.filters.contiguous())
        self.register_buffer("bias", lowered.bias)
        self._mixing_names = tuple(f"mixing{index}" for index in range(len(lowered.mixing)))
        for name, weight in zip(self._mixing_names, lowered.mixing, strict=True):
            self.register_buffer(name, weight.contiguous())

    @property
    def mixing(self) -> tuple[Tensor, ...]:
        """The kernels of the mixing, none where there is none."""
        return tuple(getattr(self, name) for name in self._mixing_names)

    def scale_output(self, slope: Tensor, offset: Tensor) -> None:
        """Fold `slope * y + offset` per channel, each (out,), into filters and bias."""
        factors, shift = over_poses(slope, self.spec), over_poses(offset, self.spec)
        self.bias = shift if self.bias is None else self.bias * factors + shift
        self.filters = self.filters * factors.reshape(-1, *(1,) * (self.filters.ndim - 1))

    def forward(self, x: Tensor) -> Float[Tensor, "b o g y2 x2"]:
        """Convolve."""
        lowered = Lowered(
            self.steps, self.filters, self.bias, self.groups, self.mixing, self.transform, self.mixing_groups
        )
        y = run_lowered(self.spec, x, lowered, self.description)
        return y.relu_() if self.relu else y

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

    Example:
        >>> import sepgconv
        >>> sepgconv.compile_for_inference(sepgconv.nn.GroupBatchNorm2d(8))
        FrozenNorm2d(8)
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


class FrozenVector(nn.Module):
    """A `GroupToVector` with its linear map computed once.

    Shapes: (batch, channels, |G|, height, width) -> (batch, vectors, 2).

    Args:
        description: what the layer was, for `repr`.
        filters: (vectors * 2, |G| * channels).
        channels: of the feature maps.
        group: that they are on.

    Example:
        >>> import sepgconv
        >>> sepgconv.compile_for_inference(sepgconv.nn.GroupToVector(8, 1, "p4"))
        FrozenVector(GroupToVector(8, vectors=1, group='p4', frequency=1))
    """

    filters: Tensor

    def __init__(self, description: str, filters: Tensor, channels: int, group: FiniteGroup) -> None:
        super().__init__()
        self.description, self.channels, self.group = description, channels, group
        self.register_buffer("filters", filters)

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b k 2"]:
        """Give the vectors."""
        return pool_vectors(x, self.filters, self.channels, self.group, self.description)

    def extra_repr(self) -> str:
        """Return what the layer was."""
        return self.description
