"""R2Conv of e2cnn and escnn as convolutions of this library: the weights whose filters are theirs, by least squares.

Their filter for every pose is given; ours is linear in its weights (`KernelBasis.expand`). So the weights are those of
the nearest filters, whatever the basis, and what is left over says whether a filter is equivariant and a sum of the
filters of its layer. A trivial field is a regular one whose poses are all alike; the mean over poses reads it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from sepgconv.interop.e2cnn.fields import Fields, read_fields, read_single_fields
from sepgconv.nn import GroupConv2d, GroupMeanPool, LiftingConv2d, Sequential
from sepgconv.symmetry import FiniteGroup, KernelBasis, PixelBasis, SteerableBasis
from sepgconv.symmetry.basis import pose_filters
from sepgconv.symmetry.circular_filters import Ring, default_rings
from sepgconv.symmetry.kernels import Kernel

# Largest deviation of an expanded filter from the nearest one of ours, relative to its largest entry. Their bases are
# sampled in float32, also where the layer is float64 afterwards; a layer that is not equivariant is off by about 1.
TOLERANCE = 1e-5


def convert_convolution(module: Any, kernel: Kernel) -> nn.Module:
    """Return the layers of this library that compute what an `R2Conv` computes.

    Args:
        module: the `R2Conv`.
        kernel: "pixel", "steerable" or "auto", the first where the group keeps the pixel grid.

    Raises:
        ValueError: there are none; the message has the reason, without the name of the layer.
    """
    read = read_fields if module.groups == 1 else read_single_fields
    source, target = read(module.in_type), read(module.out_type)
    # As in their forward: expanded anew in training, kept from the last `eval()` in evaluation.
    filters, bias = module.expand_parameters() if module.training else (module.filter, module.expanded_bias)
    filters, bias = filters.detach(), None if bias is None else bias.detach()
    size = (int(filters.shape[-2]), int(filters.shape[-1]))
    arguments: dict[str, Any] = {
        "kernel_size": size,
        "stride": module.stride,
        "padding": module.padding,
        "dilation": module.dilation,
        "groups": module.groups,
        "padding_mode": module.padding_mode,
        "bias": bias is not None,
        "device": filters.device,
        "dtype": filters.dtype,
    }
    bank, biases = _bank(filters, source, target, module.groups), _biases(bias, target)
    if not target.regular and size == (1, 1):
        layer = nn.Conv2d(source.channels, target.channels, **arguments)
        steps = [GroupMeanPool(), layer] if source.regular else [layer]
        weight = _single_pixels(bank)
    else:
        kind = GroupConv2d if source.regular else LiftingConv2d
        basis = _basis(module, target.group, size, kernel)
        layer = kind(source.channels, target.channels, group=target.group, basis=basis, **arguments)
        steps = [layer] if target.regular else [layer, GroupMeanPool()]
        weight = _fitted(bank, basis, with_poses=source.regular)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if biases is not None and layer.bias is not None:
            layer.bias.copy_(biases)
            layer.bias.requires_grad_(module.bias.requires_grad)
    layer.weight.requires_grad_(module.weights.requires_grad)  # what was frozen stays frozen
    return steps[0] if len(steps) == 1 else Sequential(*steps)


def _bank(filters: Tensor, source: Fields, target: Fields, groups: int) -> Tensor:
    """Return their filter (maps out, maps in of a channel group, k, k) as (out, pose, in, [pose,] k, k) in our order.

    Trivial fields that go out have the same filters at every pose.
    """
    order, channels = target.group.order, source.channels // groups
    # All channel groups have the same fields in the same order.
    index = source.index[: len(source.index) // groups]
    rows = filters[torch.as_tensor(target.index, device=filters.device)]
    bank = rows.unflatten(0, (target.channels, -1))
    bank = bank if target.regular else bank.expand(-1, order, -1, -1, -1)
    bank = bank[:, :, torch.as_tensor(index, device=filters.device)]
    return bank.unflatten(2, (channels, order)) if source.regular else bank


def _biases(bias: Tensor | None, target: Fields) -> Tensor | None:
    """Return a bias for each channel, which all of its poses must share."""
    if bias is None:
        return None
    per_pose = bias[torch.as_tensor(target.index, device=bias.device)].view(target.channels, -1)
    _check_close(per_pose, per_pose[:, :1].expand_as(per_pose), "has a bias that differs between poses")
    return per_pose.mean(1)


def _single_pixels(bank: Tensor) -> Tensor:
    """Return the weight (out, in, 1, 1) of a convolution of the mean over poses, from (out, pose, in, [pose,] 1, 1)."""
    per_pose = bank[:, 0]
    if per_pose.ndim == 4:  # trivial fields come in
        return per_pose
    mean = per_pose.mean(2, keepdim=True)
    _check_close(per_pose, mean.expand_as(per_pose), "has a filter that differs between poses")
    return mean.squeeze(2) * per_pose.shape[2]


def _fitted(bank: Tensor, basis: KernelBasis, *, with_poses: bool) -> Tensor:
    """Return the weights whose filters for all poses are nearest to given ones.

    Args:
        bank: (out, pose, in, [pose,] k, k), equivariant if it is what `basis.expand` makes of a weight.
        basis: of the weights.
        with_poses: whether the filters have a pose axis.

    Returns:
        (out, in, [|G|,] *weight_shape).

    Raises:
        ValueError: the filters are not those of any weight.
    """
    group = basis.group
    filters = bank.double().movedim(1, 2)  # (out, in, h, [g,] k, k)
    if with_poses:  # the kernel of pose u, moved by h, is the one that reads pose h u
        h, hu = torch.arange(group.order)[:, None], torch.tensor(group.table)
        filters = filters[:, :, h, hu].transpose(2, 3)  # (out, in, u, h, k, k)
    wanted = filters.flatten(-len(basis.size)).flatten(-2)
    moves = pose_filters(basis).flatten(1).to(wanted)  # (n, h * taps)
    weight = wanted @ torch.linalg.pinv(moves)
    _check_close(wanted, weight @ moves, _not_of(basis))
    return weight.unflatten(-1, basis.weight_shape)


def _not_of(basis: KernelBasis) -> str:
    if isinstance(basis, PixelBasis):
        return f"has a filter that is not equivariant under {basis.group.name}"
    return (
        f"has a filter that is not equivariant under {basis.group.name}, or no sum of the {basis.weight_shape[0]} ring "
        f"filters that the layer is taken to have"
    )


def _check_close(found: Tensor, expected: Tensor, what: str) -> None:
    scale, error = float(expected.abs().max()), float((found - expected).abs().max())
    if not error <= TOLERANCE * scale:
        raise ValueError(f"{what}: it deviates by {error:.2g}, and its largest value is {scale:.2g}")


def _basis(module: Any, group: FiniteGroup, size: tuple[int, int], kernel: Kernel) -> KernelBasis:
    """Return the basis that spans the filters of a layer, with pixels as weights or the rings that it was built with.

    Raises:
        ValueError: pixels under a group that takes them between pixels, or an even kernel whose rings are not known.
    """
    if kernel == "pixel" or (kernel == "auto" and group.keeps_grid):
        return PixelBasis(group, size)
    rings = _rings(module)
    if rings is None or (size[0] % 2 == 1 and rings == default_rings(size[0])):
        return SteerableBasis(group, size, "rings")
    return SteerableBasis(group, size, rings)


def _rings(module: Any) -> tuple[Ring, ...] | None:
    """Return the rings whose filters span those of a layer, in steps of its dilation; None where it does not say."""
    found: dict[tuple[float, float], set[int]] = {}
    for block in getattr(module, "basisexpansion", nn.Module()).children():
        for filters in getattr(block, "attributes", ()):
            if not {"radius", "sigma", "frequency"} <= set(filters):
                return None
            radius, width = (float(filters[name]) / module.dilation for name in ("radius", "sigma"))
            found.setdefault((radius, width), set()).add(abs(int(filters["frequency"])))
    rings = (Ring(*ring, tuple(sorted(frequencies))) for ring, frequencies in sorted(found.items()))
    return tuple(rings) or None
