"""A stand-in for escnn, which cannot be installed here: what its documentation and source say of names and attributes.

Written after escnn 1.0.13. Its mathematics is its own: elements, representations and filters come from the group law
and from coordinates (x, y) with y up, not from the tables of this package. Only what `from_escnn` may touch is here.
"""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class GroupElement:
    """r^turn f^flip of D_N, or of C_N where flip is always 0; no number or tuple, unlike in e2cnn."""

    def __init__(self, group, flip, turn):
        self.group, self.flip, self.turn = group, flip, turn % group.rotation_order

    def __matmul__(self, other):
        turn = self.turn + (-other.turn if self.flip else other.turn)
        return GroupElement(self.group, (self.flip + other.flip) % 2, turn)

    def __invert__(self):
        return GroupElement(self.group, self.flip, self.turn if self.flip else -self.turn)

    def __eq__(self, other):
        return (self.flip, self.turn) == (other.flip, other.turn)

    def __hash__(self):
        return hash((self.flip, self.turn))


class Representation:
    def __init__(self, group, name, size, matrix):
        self.group, self.name, self.size, self._matrix = group, name, size, matrix

    def __call__(self, element):
        assert isinstance(element, GroupElement)
        return self._matrix(element)


class Group:
    def __init__(self, name, turns, flips, order=None):
        self.name, self.rotation_order = name, turns
        # Another order than that of e2cnn, so that nothing may lean on it.
        self.elements = [GroupElement(self, flip, turn) for turn in reversed(range(turns)) for flip in range(flips)]
        self._order = len(self.elements) if order is None else order
        self.trivial_representation = Representation(self, "irrep_0", 1, lambda g: np.eye(1))
        self.regular_representation = Representation(self, "regular", len(self.elements), self._regular)

    def order(self):
        return self._order

    def _regular(self, g):
        matrix = np.zeros((len(self.elements), len(self.elements)))
        for column, h in enumerate(self.elements):
            matrix[self.elements.index(g @ h), column] = 1
        return matrix + 1e-13  # theirs is a product with the change of basis, exact to rounding only


class GSpace2D:
    def __init__(self, group, axis=np.pi / 2):
        self.fibergroup, self.name = group, f"{group.name}_on_R2"
        self._axis = axis

    @property
    def basespace_action(self):
        def matrix(g):
            angle = g.turn * 2 * np.pi / self.fibergroup.rotation_order + (2 * self._axis if g.flip else 0)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            return turn @ np.diag([1, -1]) if g.flip else turn

        return Representation(self.fibergroup, "plane", 2, matrix)

    @property
    def trivial_repr(self):
        return self.fibergroup.trivial_representation

    @property
    def regular_repr(self):
        return self.fibergroup.regular_representation


def rot2dOnR2(N):
    return GSpace2D(Group(f"C{N}", N, 1))


def flipRot2dOnR2(N, axis=np.pi / 2):
    return GSpace2D(Group(f"D{N}", N, 2), axis)


class FieldType:
    def __init__(self, gspace, representations):
        self.gspace, self.representations = gspace, tuple(representations)
        self.size = sum(r.size for r in representations)

    def __eq__(self, other):
        return self.gspace is other.gspace and self.representations == other.representations

    def __hash__(self):
        return hash(self.representations)

    def matrix(self, g):
        return torch.block_diag(*(torch.tensor(r(g)) for r in self.representations))


class GeometricTensor:
    def __init__(self, tensor, type, coords=None):
        assert tensor.shape[1] == type.size
        self.tensor, self.type, self.coords = tensor, type, coords


def move_pixels(x, plane):
    """Return f(g^-1 v) on a square grid: pixel (row, column) is the point (x, y) = (column, -row) from the middle."""
    side, moved = x.shape[-1], torch.empty_like(x)
    middle = (side - 1) / 2
    for row in range(side):
        for column in range(side):
            from_x, from_y = np.linalg.inv(plane) @ np.array([column - middle, middle - row])
            moved[..., row, column] = x[..., round(middle - from_y), round(middle + from_x)]
    return moved


class EquivariantModule(nn.Module):
    pass


class R2Conv(EquivariantModule):
    """A random filter, averaged over the group; `weights` is all of it instead of coefficients of a basis."""

    def __init__(self, in_type, out_type, kernel_size, padding=0, stride=1, dilation=1, padding_mode="zeros", groups=1,
                 bias=True):  # fmt: skip
        super().__init__()
        self.in_type, self.out_type, self.kernel_size, self.groups = in_type, out_type, kernel_size, groups
        self.padding, self.stride, self.dilation, self.padding_mode = padding, stride, dilation, padding_mode
        self.weights = nn.Parameter(torch.randn(out_type.size, in_type.size, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.randn(len(out_type.representations))) if bias else None
        self.register_buffer("filter", torch.zeros_like(self.weights))
        self.register_buffer("expanded_bias", torch.zeros(out_type.size) if bias else None)

    def expand_parameters(self):
        gspace, total = self.in_type.gspace, torch.zeros_like(self.weights)
        for g in gspace.fibergroup.elements:
            moved = move_pixels(self.weights, gspace.basespace_action(g))
            total = total + torch.einsum("ij,jkyx,kl->ilyx", self.out_type.matrix(g), moved, self.in_type.matrix(~g))
        sizes = torch.tensor([r.size for r in self.out_type.representations])
        bias = None if self.bias is None else self.bias.repeat_interleave(sizes)
        return total / len(gspace.fibergroup.elements), bias

    def train(self, mode=True):
        if mode:
            self.__dict__["_buffers"].pop("filter", None)
            self.__dict__["_buffers"].pop("expanded_bias", None)
        elif self.training:
            filters, bias = self.expand_parameters()
            self.register_buffer("filter", filters)
            self.register_buffer("expanded_bias", bias)
        return super().train(mode)

    def forward(self, input):
        filters, bias = self.expand_parameters() if self.training else (self.filter, self.expanded_bias)
        x = input.tensor
        if self.padding_mode != "zeros":
            x = F.pad(x, 4 * (self.padding,), self.padding_mode)
        padding = self.padding if self.padding_mode == "zeros" else 0
        return GeometricTensor(F.conv2d(x, filters, bias, self.stride, padding, self.dilation), self.out_type)


class InnerBatchNorm(EquivariantModule):
    def __init__(self, in_type, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        super().__init__()
        self.in_type = self.out_type = in_type
        (self._size,) = {r.size for r in in_type.representations}
        norm = nn.BatchNorm3d(len(in_type.representations), eps, momentum, affine, track_running_stats)
        self.add_module(f"batch_norm_[{self._size}]", norm)

    def forward(self, input):
        fields = input.tensor.unflatten(1, (-1, self._size))
        return GeometricTensor(getattr(self, f"batch_norm_[{self._size}]")(fields).flatten(1, 2), self.out_type)


class ReLU(EquivariantModule):
    def __init__(self, in_type, inplace=False):
        super().__init__()
        self.in_type = self.out_type = in_type
        self._inplace = inplace

    def forward(self, input):
        return GeometricTensor(F.relu(input.tensor, self._inplace), self.out_type)


class PointwiseMaxPool2D(EquivariantModule):
    """As in version 1.0.11 and before: the arguments are attributes."""

    def __init__(self, in_type, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
        super().__init__()
        self.in_type = self.out_type = in_type
        self.kernel_size, self.stride = 2 * (kernel_size,), 2 * (stride or kernel_size,)
        self.padding, self.dilation, self.ceil_mode = 2 * (padding,), 2 * (dilation,), ceil_mode

    def forward(self, input):
        y = F.max_pool2d(input.tensor, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return GeometricTensor(y, self.out_type)


class PointwiseAvgPool2D(EquivariantModule):
    """As in later versions: a pool of torch is wrapped."""

    def __init__(self, in_type, kernel_size, stride=None, padding=0, ceil_mode=False):
        super().__init__()
        self.in_type = self.out_type = in_type
        self.pool = nn.AvgPool2d(kernel_size, stride, padding, ceil_mode)

    def forward(self, input):
        return GeometricTensor(self.pool(input.tensor), self.out_type)


class GroupPooling(EquivariantModule):
    def __init__(self, in_type):
        super().__init__()
        self.in_type = in_type
        self.out_type = FieldType(in_type.gspace, len(in_type.representations) * [in_type.gspace.trivial_repr])

    def forward(self, input):
        fields = input.tensor.unflatten(1, (len(self.in_type.representations), -1))
        return GeometricTensor(fields.amax(2), self.out_type)


class NormNonLinearity(EquivariantModule):
    def __init__(self, in_type):
        super().__init__()
        self.in_type = self.out_type = in_type


class SequentialModule(EquivariantModule):
    def __init__(self, *args):
        super().__init__()
        steps = args[0] if isinstance(args[0], OrderedDict) else {str(i): step for i, step in enumerate(args)}
        for name, step in steps.items():
            self.add_module(name, step)
        first, *_, last = [*self.children(), *self.children()]
        self.in_type, self.out_type = first.in_type, last.out_type

    def forward(self, input):
        for step in self._modules.values():
            input = step(input)
        return input


for _value in list(vars().values()):  # where `from_escnn` looks for the library a class is of
    if isinstance(_value, type) and _value.__module__ == __name__:
        _value.__module__ = "escnn.nn"
