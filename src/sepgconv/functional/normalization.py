"""Normalisations that treat the poses of a channel alike."""

from jaxtyping import Float
from torch import Tensor

from sepgconv.ops.batch_norm import check_batch_norm, normalize_batch
from sepgconv.ops.checks import check_feature_map
from sepgconv.ops.group_norm import normalize_channel_groups
from sepgconv.ops.layer_norm import normalize_positions


def group_batch_norm(
    x: Float[Tensor, "b c g y x"],
    running_mean: Float[Tensor, " c"] | None,
    running_var: Float[Tensor, " c"] | None,
    weight: Float[Tensor, " c"] | None = None,
    bias: Float[Tensor, " c"] | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    relu: bool = False,
) -> Float[Tensor, "b c g y x"]:
    """Batch norm with statistics and affine parameters shared over poses, as `torch.nn.functional.batch_norm`.

    Args:
        x: feature maps (batch, channel, pose, height, width).
        running_mean: (channel,); used if not training, else moved towards the batch's.
        running_var: (channel,); the same.
        weight: scale (channel,), or None for 1.
        bias: shift (channel,), or None for 0.
        training: whether to normalise by the statistics of this batch.
        momentum: weight of this batch in the running statistics.
        eps: added to the variance.
        relu: whether to follow with a ReLU in the same step, which then keeps no map of its own for backward. That pays
            where nothing else keeps the result: it takes as long as two steps.

    Returns:
        Feature maps of the same shape.

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: x is no feature map of floating point numbers; a tensor on another device, of a dtype that does not
            go with that of x (half precision goes with float32) or of another shape than (channel,); training on a
            single value per channel, which has no variance, or with an eps that is not positive; or not training
            without statistics.

    Example:
        >>> import torch
        >>> y = group_batch_norm(torch.rand(8, 3, 4, 5, 5), None, None, training=True)
        >>> bool(y.mean((0, 2, 3, 4)).abs().max() < 1e-5)
        True
    """
    caller = "group_batch_norm"
    check_feature_map(x, None, None, caller)
    check_batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps, caller)
    return normalize_batch(x, running_mean, running_var, weight, bias, training, momentum, eps, relu=relu)


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

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: x is no feature map of floating point numbers; a tensor on another device, of a dtype that does not
            go with that of x (half precision goes with float32) or of another shape than (channel,); a negative eps.

    Example:
        >>> import torch
        >>> y = group_layer_norm(torch.rand(8, 3, 4, 5, 5))
        >>> bool(y.mean((1, 2)).abs().max() < 1e-5)
        True
    """
    return normalize_positions(x, weight, bias, eps, None, caller="group_layer_norm")


def group_instance_norm(
    x: Float[Tensor, "b c g y x"],
    weight: Float[Tensor, " c"] | None = None,
    bias: Float[Tensor, " c"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "b c g y x"]:
    """Normalise every channel of every image over its poses and pixels, then scale and shift it (Ulyanov et al. 2016).

    Args:
        x: feature maps (batch, channel, pose, height, width).
        weight: scale (channel,), the same for all poses, or None for 1.
        bias: shift (channel,), the same for all poses, or None for 0.
        eps: added to the variance.

    Returns:
        Feature maps of the same shape.

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: x is no feature map of floating point numbers, or has one value per channel, which has no variance;
            a tensor on another device, of a dtype that does not go with that of x (half precision goes with float32)
            or of another shape than (channel,); a negative eps.

    Example:
        >>> import torch
        >>> y = group_instance_norm(torch.rand(8, 3, 4, 5, 5))
        >>> bool(y.mean((2, 3, 4)).abs().max() < 1e-5)
        True
    """
    return normalize_channel_groups(x, None, weight, bias, eps, None, caller="group_instance_norm")


def group_group_norm(
    x: Float[Tensor, "b c g y x"],
    num_groups: int,
    weight: Float[Tensor, " c"] | None = None,
    bias: Float[Tensor, " c"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "b c g y x"]:
    """Normalise every group of channels of every image over poses and pixels, then scale and shift each channel.

    It is the group norm of Wu & He (2018) with poses as further pixels.

    Args:
        x: feature maps (batch, channel, pose, height, width).
        num_groups: groups of channels, which lie beside each other; it divides their number.
        weight: scale (channel,), the same for all poses, or None for 1.
        bias: shift (channel,), the same for all poses, or None for 0.
        eps: added to the variance.

    Returns:
        Feature maps of the same shape.

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: as `group_instance_norm`, or the groups do not divide the channels.

    Example:
        >>> import torch
        >>> y = group_group_norm(torch.rand(8, 6, 4, 5, 5), 2)
        >>> bool(y[:, :3].mean((1, 2, 3, 4)).abs().max() < 1e-5)
        True
    """
    return normalize_channel_groups(x, num_groups, weight, bias, eps, None, caller="group_group_norm")
