"""Layers as kinds of `ConvSpec`: the library's tools know them without a rule for any of them."""

import math
from typing import Any

import torch
from torch import Tensor

from another_package.basis import EvenPixels
from sepgconv import FiniteGroup
from sepgconv.conv import SEPARABLE, ConvKind, ConvSpec, Lowered, Parameters, Work, over_poses, pose_rows
from sepgconv.nn import GroupConvLayer


class Posewise(ConvKind):
    """A convolution that does not mix poses: `X'[n,h] = sum_c (T_h K[n,c]) * X[c,h]`."""

    name = "posewise"

    def parameter_shapes(self, spec: ConvSpec) -> dict[str, tuple[int, ...]]:
        """`weight`: K, (out, in, *weight_shape)."""
        return {"weight": (spec.out_channels, spec.channels_per_group, *spec.basis.weight_shape)}

    def deviations(self, spec: ConvSpec) -> dict[str, float]:
        """Variance 2 / fan-in."""
        return {"weight": math.sqrt(2 / self.macs_per_output(spec))}

    def macs_per_output(self, spec: ConvSpec) -> int:
        """C k^2."""
        return spec.channels_per_group * spec.geometry.taps

    def work(self, spec: ConvSpec, sides: tuple[int, ...]) -> dict[str, Work]:
        """One planar convolution, grouped by poses."""
        return {"direct": Work(0, self.macs_per_output(spec) * spec.numbers_out(sides))}

    def lower(self, spec: ConvSpec, parameters: Parameters, bias: Tensor | None, execution: str) -> Lowered:
        """A filter for every channel and pose of the output, which reads the channels of its pose."""
        filters = pose_rows(spec.basis.expand(parameters["weight"]).movedim(2, 1), spec.groups)
        biases = None if bias is None else over_poses(bias, spec)
        return Lowered("direct", filters, biases, spec.groups * spec.order)

    def bank(self, spec: ConvSpec, parameters: Parameters) -> Tensor:
        """K at the pose of the output, and nothing at the others: (out, in, |G|, *weight_shape)."""
        weight = parameters["weight"].unsqueeze(2)
        return torch.cat((weight, torch.zeros_like(weight).repeat_interleave(spec.order - 1, 2)), 2)


class PosewiseConv2d(GroupConvLayer):
    """A front for that kind."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, group: FiniteGroup | str, **options: Any
    ) -> None:
        super().__init__(Posewise(), in_channels, out_channels, kernel_size, group, **options)


class EvenSeparableConv2d(GroupConvLayer):
    """A gc-separable convolution, whose spatial kernels are even."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, group: FiniteGroup, **options: Any
    ) -> None:
        basis = EvenPixels(group, (kernel_size, kernel_size))
        super().__init__(
            SEPARABLE["gc"], in_channels, out_channels, kernel_size, group, padding="same", basis=basis, **options
        )
