"""What stands at the end of a residual branch: `LayerScale` and `DropPath`."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sepgconv.conv.checks import check_probability
from sepgconv.nn.normalization import PerChannel
from sepgconv.ops.residual import drop_images, scale_channels


class LayerScale(PerChannel):
    """A learned scale per channel, the same for all poses, small at first (Touvron et al. 2021).

    Shapes: (batch, num_channels, |G|, height, width), unchanged.

    Args:
        num_channels: channels.
        init_value: of every scale at first.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: an argument is out of range; in `forward`, an input that is no feature map of `num_channels`
            channels.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 8, 4, 12, 12)
        >>> LayerScale(8, 0.1)(x).unique()
        tensor([0.1000], grad_fn=<Unique2Backward0>)
    """

    weight: nn.Parameter  # pyright: ignore[reportIncompatibleVariableOverride] (never None)

    def __init__(
        self,
        num_channels: int,
        init_value: float = 1e-5,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        caller = type(self).__name__
        if isinstance(init_value, bool) or not isinstance(init_value, float | int) or not math.isfinite(init_value):
            raise ValueError(f"{caller}: init_value must be a finite number, got {init_value!r}; the usual one is 1e-5")
        super().__init__(num_channels, scales=True, shifts=False, device=device, dtype=dtype)
        self.init_value = init_value
        self.reset_parameters()

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y x"]:
        """Scale feature maps."""
        return scale_channels(x, self.weight, self.num_channels, caller=self._get_name())

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{self.num_channels}, init_value={self.init_value}"


class DropPath(nn.Module):
    """Stochastic depth: in training, whole images of the batch become zero, for a residual branch (Huang et al. 2016).

    All channels, poses and pixels of an image share one draw, so what stays is still a feature map on the group. In
    evaluation mode nothing changes. Shapes: (batch, channels, |G|, height, width), unchanged.

    Args:
        p: probability of an image to be zeroed; the others are scaled by 1 / (1 - p).

    Raises:
        ValueError: p is no probability; in `forward`, an input that is no feature map.

    Example:
        >>> import torch
        >>> y = DropPath(0.5)(torch.ones(16, 8, 4, 12, 12))
        >>> bool((y == y[:, :1, :1, :1, :1]).all()), y.unique()
        (True, tensor([0., 2.]))
    """

    def __init__(self, p: float = 0.0) -> None:
        check_probability(p, type(self).__name__)
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y x"]:
        """Drop images."""
        return drop_images(x, self.p, self.training, caller=self._get_name())

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"
