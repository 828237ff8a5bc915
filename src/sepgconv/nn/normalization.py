"""Normalisations whose statistics or affine parameters are shared over poses."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sepgconv.conv.checks import INTEGERS, check_channels, check_eps, check_momentum, check_probability
from sepgconv.nn._base import check_dtype, empty_parameter, memory_for
from sepgconv.nn._hooks import ObservableModule
from sepgconv.ops.batch_norm import NormRelu, check_batch_norm, normalize_batch
from sepgconv.ops.checks import FLOATS, NUMBERS, check_feature_map
from sepgconv.ops.group_norm import check_channel_groups, normalize_channel_groups
from sepgconv.ops.layer_norm import normalize_positions
from sepgconv.ops.layout import fold_poses_into_width, unfold_poses_from_width


class GroupBatchNorm2d(ObservableModule, nn.BatchNorm3d):
    """Batch norm with statistics and affine parameters shared over poses (theory.md, Rotated MNIST).

    Every channel is normalised over batch, poses and positions, which makes it `torch.nn.BatchNorm3d` on the pose axis:
    arguments, attributes and `state_dict` are its own, and `torch.nn.SyncBatchNorm.convert_sync_batchnorm` converts it.
    Shapes: (batch, num_features, |G|, height, width), unchanged.

    Args:
        num_features: channels.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics; None averages over all batches.
        affine: whether to learn a scale and a shift per channel.
        track_running_stats: whether to keep running statistics for `eval()`.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: `num_features` is not positive, eps or momentum no number, or dtype no floating point type; in
            `forward`, no feature map of that many channels, or as `sepgconv.functional.group_batch_norm`.

    Example:
        >>> import torch
        >>> norm = GroupBatchNorm2d(8)
        >>> y = norm(torch.randn(16, 8, 4, 12, 12))  # in training: by the statistics of the batch
        >>> bool(y.mean().abs() < 1e-5), norm.running_mean.shape
        (True, torch.Size([8]))
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        caller = type(self).__name__
        check_channels(caller, num_features=num_features)
        check_eps(eps, caller)
        check_momentum(momentum, caller)
        check_dtype(dtype, caller, FLOATS)
        with memory_for(caller, "weight", (num_features,)):
            super().__init__(num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype)

    def forward(self, input: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y x"]:
        """Normalise feature maps."""
        return self.normalize(input, self.begin(input))

    def begin(self, input: Float[Tensor, "b c g y x"]) -> NormRelu | None:
        """Check feature maps, count the batch, and return what normalises them by their own statistics.

        Returns:
            Running statistics, parameters, momentum and eps; None where the running statistics normalise (evaluation).

        Raises:
            ValueError: no feature map of `num_features` channels.
        """
        caller = self._get_name()
        check_feature_map(input, self.num_features, None, caller)
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        kept = not self.training or self.track_running_stats
        mean, var = (self.running_mean, self.running_var) if kept else (None, None)
        momentum = 0.0 if self.momentum is None else self.momentum
        # Before anything is counted.
        check_batch_norm(input, mean, var, self.weight, self.bias, by_batch, momentum, self.eps, caller)
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the average over all batches so far
                momentum = 1 / float(self.num_batches_tracked)
        return NormRelu(mean, var, self.weight, self.bias, momentum, self.eps) if by_batch else None

    def normalize(
        self, input: Float[Tensor, "b c g y x"], step: NormRelu | None, *, relu: bool = False
    ) -> Float[Tensor, "b c g y x"]:
        """Normalise feature maps by what `begin` returned, with a ReLU after it where asked for."""
        training = step is not None
        if step is None:
            step = NormRelu(self.running_mean, self.running_var, self.weight, self.bias, 0.0, self.eps)
        mean, var = step.running_mean, step.running_var
        return normalize_batch(input, mean, var, step.weight, step.bias, training, step.momentum, step.eps, relu=relu)


class PerChannel(nn.Module):
    """Abstract: a layer on feature maps with a scale and a shift for each channel, the same for all poses.

    Args:
        num_channels: channels.
        scales: whether it has a scale, `weight`.
        shifts: whether it has a shift, `bias`.
        device: of the parameters.
        dtype: of the parameters.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    init_value: float = 1.0  # of a scale

    def __init__(
        self,
        num_channels: int,
        *,
        scales: bool,
        shifts: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        check_channels(type(self).__name__, num_channels=num_channels)
        check_dtype(dtype, type(self).__name__, FLOATS)
        self.num_channels = num_channels
        for name, wanted in {"weight": scales, "bias": shifts}.items():
            parameter = empty_parameter(self, name, (num_channels,), device, dtype) if wanted else None
            self.register_parameter(name, parameter)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the scale to its first value, one in norms, and the shift to zero."""
        if self.weight is not None:
            nn.init.constant_(self.weight, self.init_value)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class GroupLayerNorm(PerChannel):
    """Layer norm of every position over its channels and poses, with one scale and shift per channel (Ba et al. 2016).

    Shapes: (batch, num_channels, |G|, height, width), unchanged.

    Args:
        num_channels: channels.
        eps: added to the variance.
        affine: whether to learn a scale and a shift per channel, shared over poses.
        bias: whether the affine part has a shift.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: in `forward`, an input that is no feature map of `num_channels` channels.

    Example:
        >>> import torch
        >>> norm = GroupLayerNorm(8)
        >>> y = norm(torch.randn(2, 8, 4, 12, 12))
        >>> bool(y.mean((1, 2)).abs().max() < 1e-5)  # at every position
        True
    """

    def __init__(
        self,
        num_channels: int,
        eps: float = 1e-5,
        *,
        affine: bool = True,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_eps(eps, type(self).__name__)
        super().__init__(num_channels, scales=affine, shifts=affine and bias, device=device, dtype=dtype)
        self.eps = eps

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y x"]:
        """Normalise feature maps."""
        return normalize_positions(x, self.weight, self.bias, self.eps, self.num_channels, caller=self._get_name())

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{self.num_channels}, eps={self.eps}, affine={self.weight is not None}"


class GroupGroupNorm(PerChannel):
    """Group norm: every image over poses, pixels and a group of channels, in training and evaluation (Wu & He 2018).

    The groups of the name are of channels that lie beside each other, as in `torch.nn.GroupNorm`; all poses count as
    further pixels, so the layer is exact under every group. Scale and shift are per channel, shared over poses. Shapes:
    (batch, num_channels, |G|, height, width), unchanged.

    Args:
        num_groups: groups of channels; it divides num_channels.
        num_channels: channels.
        eps: added to the variance.
        affine: whether to learn a scale and a shift per channel.
        bias: whether the affine part has a shift.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: an argument is out of range, or the groups do not divide the channels; in `forward`, an input that
            is no feature map of `num_channels` channels, or has one value per group of channels.

    Example:
        >>> import torch
        >>> y = GroupGroupNorm(2, 6)(torch.randn(4, 6, 8, 9, 9))
        >>> bool(y[:, :3].mean((1, 2, 3, 4)).abs().max() < 1e-5)
        True
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        *,
        affine: bool = True,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_eps(eps, type(self).__name__)
        super().__init__(num_channels, scales=affine, shifts=affine and bias, device=device, dtype=dtype)
        check_channel_groups(num_groups, num_channels, type(self).__name__)
        self.num_groups, self.eps = num_groups, eps

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y x"]:
        """Normalise feature maps."""
        return normalize_channel_groups(
            x, self.num_groups, self.weight, self.bias, self.eps, self.num_channels, caller=self._get_name()
        )

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.weight is not None}"


class GroupInstanceNorm2d(GroupGroupNorm):
    """Instance norm: every channel of every image over its poses and pixels (Ulyanov et al. 2016).

    It is `torch.nn.InstanceNorm3d` on the pose axis, without running statistics; as there, it has no parameters unless
    they are asked for. Shapes: (batch, num_channels, |G|, height, width), unchanged.

    Args:
        num_channels: channels.
        eps: added to the variance.
        affine: whether to learn a scale and a shift per channel, shared over poses.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: an argument is out of range; in `forward`, an input that is no feature map of `num_channels`
            channels, or has one value per channel.

    Example:
        >>> import torch
        >>> y = GroupInstanceNorm2d(6)(torch.randn(4, 6, 8, 9, 9))
        >>> bool(y.mean((2, 3, 4)).abs().max() < 1e-5)
        True
    """

    def __init__(
        self,
        num_channels: int,
        eps: float = 1e-5,
        *,
        affine: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_channels, num_channels, eps, affine=affine, device=device, dtype=dtype)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{self.num_channels}, eps={self.eps}, affine={self.weight is not None}"


class GroupDropout(nn.Dropout3d):
    """Dropout of whole channels, all poses and positions alike, so that what stays is still a feature map on the group.

    Shapes: (batch, channels, |G|, height, width), unchanged.

    Args:
        p: probability of a channel to be zeroed in training; the others are scaled by 1 / (1 - p).
        inplace: whether to change the input.

    Raises:
        ValueError: p is no probability; in `forward`, an input that is no feature map.

    Example:
        >>> import torch
        >>> y = GroupDropout(0.5)(torch.ones(2, 8, 4, 12, 12))
        >>> bool((y == y[:, :, :1, :1, :1]).all())  # whole channels, with all poses and positions
        True
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        check_probability(p, type(self).__name__)
        super().__init__(p, inplace)

    def forward(self, input: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y x"]:
        """Drop channels."""
        dtypes = FLOATS if self.training else (*NUMBERS, *INTEGERS, torch.bool)
        check_feature_map(input, None, None, self._get_name(), dtypes)
        if self.inplace:
            return F.dropout3d(input, self.p, self.training, True)
        return unfold_poses_from_width(F.dropout2d(fold_poses_into_width(input), self.p, self.training), input.shape[2])
