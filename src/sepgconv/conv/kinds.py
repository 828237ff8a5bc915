"""The kinds of convolution on a group: the shapes of their weights, what they cost, and their filters.

A kind is an immutable value with the members of `ConvKind`. Layers, functions, cost, initialisation, inference, export
and analysis know a convolution by its `ConvSpec`, which asks its kind; another kind is another class here or elsewhere.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from sepgconv.conv.checks import is_integer
from sepgconv.conv.steps import Lowered, Work
from sepgconv.symmetry import GroupFFT
from sepgconv.symmetry.basis import constant, fourier_tables, pose_action
from sepgconv.symmetry.group_fft import IDENTITY

if TYPE_CHECKING:
    from sepgconv.conv.spec import ConvSpec

Sharing = Literal["gc", "g"]
SHARINGS: tuple[Sharing, ...] = ("gc", "g")
Parameters = Mapping[str, Tensor]


class ConvKind(ABC):
    """What distinguishes one kind of convolution on a group from another.

    Attributes:
        name: the word for it, as "gc".
        lifts: whether it takes images, without a pose axis.

    Example:
        >>> import sepgconv
        >>> spec = sepgconv.nn.SeparableGroupConv2d(8, 16, 3, "p4").spec
        >>> spec.kind.name, spec.kind.macs_per_output(spec)  # C |G| + k^2
        ('gc', 41)
    """

    name: str
    lifts: bool = False

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *sorted(vars(self).items())))

    def __deepcopy__(self, memo: dict[int, object]) -> "ConvKind":
        return self  # a value that never changes

    @abstractmethod
    def parameter_shapes(self, spec: "ConvSpec") -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight by name; the bias is left out."""

    @abstractmethod
    def deviations(self, spec: "ConvSpec") -> dict[str, float]:
        """Return the standard deviation with which each weight is drawn, so that E[y^2] = 2 E[x^2] before a ReLU."""

    @abstractmethod
    def macs_per_output(self, spec: "ConvSpec") -> int:
        """Return the multiply-accumulates of one number of the output by the paper's formulas (theory.md, Cost)."""

    @abstractmethod
    def work(self, spec: "ConvSpec", sides: tuple[int, ...]) -> dict[str, Work]:
        """Return, for each execution that there is, what one image of those sides costs; the preferred ones first."""

    @abstractmethod
    def lower(self, spec: "ConvSpec", parameters: Parameters, bias: Tensor | None, execution: str) -> Lowered:
        """Return the filters of every step of an execution."""

    @abstractmethod
    def bank(self, spec: "ConvSpec", parameters: Parameters) -> Tensor:
        """Return the filters before the group moves them, (out, in, [|G|,] *weight_shape)."""

    def filter_channels(self, spec: "ConvSpec") -> int:
        """Return how many channels one filter reads."""
        return spec.channels_per_group

    def check(self, spec: "ConvSpec", caller: str) -> None:
        """Raise if a layer with that spec makes no sense; asked before it gets parameters. By default, any does."""
        return


class Lifting(ConvKind):
    """From images to feature maps: `X'[n,h] = sum_c (T_h F[n,c]) * X[c]` (theory.md, Convolutions)."""

    name, lifts = "lifting", True

    def parameter_shapes(self, spec: "ConvSpec") -> dict[str, tuple[int, ...]]:
        """`weight`: F, (out, in, *weight_shape)."""
        return {"weight": (spec.out_channels, spec.channels_per_group, *spec.basis.weight_shape)}

    def deviations(self, spec: "ConvSpec") -> dict[str, float]:
        """Return the deviation of the variance 2 / fan-in (He et al. 2015)."""
        return {"weight": math.sqrt(2 / (spec.channels_per_group * spec.kernel_energy))}

    def macs_per_output(self, spec: "ConvSpec") -> int:
        """Return C k^2."""
        return spec.channels_per_group * spec.geometry.taps

    def work(self, spec: "ConvSpec", sides: tuple[int, ...]) -> dict[str, Work]:
        """Return the cost of one planar convolution, "direct"."""
        return {"direct": Work(self.macs_per_output(spec) * spec.numbers_out(sides))}

    def lower(self, spec: "ConvSpec", parameters: Parameters, bias: Tensor | None, execution: str) -> Lowered:
        """Return a filter for every channel and pose of the output."""
        filters = pose_rows(spec.basis.expand(parameters["weight"]).movedim(2, 1), spec.groups)
        return Lowered("direct", filters, _bias(bias, spec), spec.groups)

    def bank(self, spec: "ConvSpec", parameters: Parameters) -> Tensor:
        """Return F itself."""
        return parameters["weight"]


class Full(ConvKind):
    """Group convolution: `X'[n,h] = sum_c sum_g (T_h F[n,c,h^-1 g]) * X[c,g]` (Cohen & Welling, ICML 2016)."""

    name = "full"

    def parameter_shapes(self, spec: "ConvSpec") -> dict[str, tuple[int, ...]]:
        """`weight`: F, (out, in, |G|, *weight_shape)."""
        return {"weight": (spec.out_channels, spec.channels_per_group, spec.order, *spec.basis.weight_shape)}

    def deviations(self, spec: "ConvSpec") -> dict[str, float]:
        """Return the deviation of the variance 2 / fan-in (He et al. 2015)."""
        return {"weight": math.sqrt(2 / (spec.channels_per_group * spec.order * spec.kernel_energy))}

    def macs_per_output(self, spec: "ConvSpec") -> int:
        """Return C |G| k^2."""
        return spec.channels_per_group * spec.order * spec.geometry.taps

    def work(self, spec: "ConvSpec", sides: tuple[int, ...]) -> dict[str, Work]:
        """Return the cost of one planar convolution, "direct"."""
        return {"direct": Work(self.macs_per_output(spec) * spec.numbers_out(sides))}

    def lower(self, spec: "ConvSpec", parameters: Parameters, bias: Tensor | None, execution: str) -> Lowered:
        """Return a filter for every channel and pose of the output."""
        return Lowered("direct", dense_filters(spec, parameters["weight"]), _bias(bias, spec), spec.groups)

    def bank(self, spec: "ConvSpec", parameters: Parameters) -> Tensor:
        """Return F itself."""
        return parameters["weight"]


class Depthwise(ConvKind):
    """A kernel for each channel, rotated to every pose: `X'[n,h] = (T_h K[n]) * X[n,h]`.

    Attributes:
        gain: of the variance, 2 where a ReLU follows. The filtering after a mixing has 1, because the mixing has the 2.
    """

    name = "depthwise"

    def __init__(self, gain: int = 2) -> None:
        self.gain = gain

    def parameter_shapes(self, spec: "ConvSpec") -> dict[str, tuple[int, ...]]:
        """`weight`: K, (channels, *weight_shape)."""
        return {"weight": (spec.out_channels, *spec.basis.weight_shape)}

    def deviations(self, spec: "ConvSpec") -> dict[str, float]:
        """Return the deviation of the variance 2 / k^2, or 1 / k^2 after a mixing."""
        return {"weight": math.sqrt(self.gain / spec.kernel_energy)}

    def macs_per_output(self, spec: "ConvSpec") -> int:
        """Return k^2."""
        return spec.geometry.taps

    def work(self, spec: "ConvSpec", sides: tuple[int, ...]) -> dict[str, Work]:
        """Return the cost of one depthwise planar convolution, "direct"."""
        return {"direct": Work(0, self.macs_per_output(spec) * spec.numbers_out(sides))}

    def lower(self, spec: "ConvSpec", parameters: Parameters, bias: Tensor | None, execution: str) -> Lowered:
        """Return a filter for every map."""
        filters = pose_rows(spec.basis.expand(parameters["weight"])).unsqueeze(1)
        return Lowered("direct", filters, _bias(bias, spec), filters.shape[0])

    def bank(self, spec: "ConvSpec", parameters: Parameters) -> Tensor:
        """Return K, as filters that read one channel: (channels, 1, *weight_shape)."""
        return parameters["weight"].unsqueeze(1)

    def filter_channels(self, spec: "ConvSpec") -> int:
        """Return 1."""
        return 1


class Separable(ConvKind):
    """A group convolution whose filters are products, or sums of `rank` products (arXiv:2106.04914, section 3.3).

    gc: `F[n,c,g] = w[n,c,g] K[n]`; g: `F[n,c,g] = w[n,c,g] K[n,c]`.

    Attributes:
        sharing: what shares a spatial kernel: "gc" all poses and input channels, "g" all poses.
    """

    sharing: Sharing

    def __init__(self, sharing: Sharing) -> None:
        self.name, self.sharing = sharing, sharing

    def parameter_shapes(self, spec: "ConvSpec") -> dict[str, tuple[int, ...]]:
        """`pointwise`: w, (out, [rank,] in, |G|); `depthwise`: K, (out, [rank,] *weight_shape), for g with in too."""
        lead = (spec.out_channels,) if spec.rank == 1 else (spec.out_channels, spec.rank)
        channels = spec.channels_per_group
        inner = () if self.sharing == "gc" else (channels,)
        return {"pointwise": (*lead, channels, spec.order), "depthwise": (*lead, *inner, *spec.basis.weight_shape)}

    def deviations(self, spec: "ConvSpec") -> dict[str, float]:
        """Return deviations by which the composed filter has the variance 2 / (C |G| k^2) of He et al. (2015).

        The maps between the factors are neither small nor large: the mixing alone keeps E[y^2] = 2 E[x^2].
        """
        channels = spec.channels_per_group
        mixed, filtered = (channels, 1) if self.sharing == "gc" else (1, channels)
        return {
            "pointwise": math.sqrt(2 / (spec.order * mixed)),
            "depthwise": math.sqrt(1 / (spec.rank * filtered * spec.kernel_energy)),
        }

    def macs_per_output(self, spec: "ConvSpec") -> int:
        """Return C |G| + k^2 for gc and C (|G| + k^2) for g, once for every term."""
        channels, taps = spec.channels_per_group, spec.geometry.taps
        return spec.rank * (channels * spec.order + (taps if self.sharing == "gc" else channels * taps))

    def work(self, spec: "ConvSpec", sides: tuple[int, ...]) -> dict[str, Work]:
        """Return the costs of mixing at *input* and filtering at output resolution, or of one dense convolution.

        Separable: the mixing as it is. Fourier (gc, one channel group): the mixing in the irreps of the group
        (theory.md, Mixing in irreps). Composed: the filter bank is built, then one dense convolution, whatever the
        rank. Building filters is left out: it does not grow with the image.
        """
        order, channels, taps = spec.order, spec.channels_per_group, spec.geometry.taps
        pixels_in, pixels_out = math.prod(sides), math.prod(spec.geometry.output_size(*sides))
        terms = spec.rank * spec.out_channels
        mixing, filtering = terms * order * channels * order * pixels_in, terms * order * taps * pixels_out
        composed = Work(spec.out_channels * order * channels * order * taps * pixels_out)
        if self.sharing == "g" and spec.groups == 1:
            return {"separable": Work(0, mixing + channels * filtering), "composed": composed}
        if self.sharing == "g":
            return {"composed": composed}
        found = {"separable": Work(mixing, filtering)}
        if spec.groups == 1 and order > 1:
            fft = spec.group.fft
            numbers = (channels + terms) * pixels_in
            products = fft.products * channels * terms * pixels_in
            transforms = (fft.additions * numbers, fft.turned * numbers, fft.turn_macs * numbers)
            found["fourier"] = Work(products, filtering, *transforms)
        return {**found, "composed": composed}

    def lower(self, spec: "ConvSpec", parameters: Parameters, bias: Tensor | None, execution: str) -> Lowered:
        """Return the mixing and the filter of each map between; composed, one dense filter bank."""
        biases = _bias(bias, spec)
        if execution == "composed":
            return Lowered("direct", dense_filters(spec, self.bank(spec, parameters)), biases, spec.groups)
        pointwise, depthwise = parameters["pointwise"], parameters["depthwise"]
        axes = len(spec.basis.size)
        filters = pose_rows(_beside(spec.basis.expand(depthwise), axes), spec.groups)
        filters = filters.reshape(filters.shape[0], -1, *spec.basis.size).contiguous()  # terms and channels summed over
        if self.sharing == "gc":
            mixing, transform = _mixing(spec, pointwise, execution)
            groups = transform.copies if spec.groups == 1 else (spec.groups,)
            return Lowered("gc", filters, biases, filters.shape[0], mixing, transform, groups)
        joined = pointwise.flatten(0, 1) if pointwise.ndim == 4 else pointwise  # terms join the sum over channels
        poses = over_relative_poses(joined, constant(pose_action, spec.group, like=joined))  # (o*r, h, c, g)
        channels, order = joined.shape[-2:]
        per_channel = poses.permute(2, 1, 0, 3).reshape(-1, order, *(1,) * axes)  # (c*h*o*r, g, 1, 1)
        return Lowered("g", filters, biases, filters.shape[0], (per_channel,), IDENTITY, (channels,))

    def check(self, spec: "ConvSpec", caller: str) -> None:
        """Raise if there are no terms, or more than any filters need.

        Raises:
            ValueError: the rank is no integer from 1 to the full rank.
        """
        weights = math.prod(spec.basis.weight_shape)
        most = min(weights, spec.order * (spec.channels_per_group if self.sharing == "gc" else 1))
        if not is_integer(spec.rank) or not 1 <= spec.rank.__index__() <= most:
            raise ValueError(
                f"{caller}: rank must be an integer from 1 to {most}, the full rank of these filters, got {spec.rank!r}"
            )

    def bank(self, spec: "ConvSpec", parameters: Parameters) -> Tensor:
        """Return F, the factors multiplied out."""
        return compose(parameters["pointwise"], parameters["depthwise"], self.sharing)


LIFTING, FULL, DEPTHWISE = Lifting(), Full(), Depthwise()
SECOND_STEP = Depthwise(gain=1)
SEPARABLE: Mapping[str, Separable] = {sharing: Separable(sharing) for sharing in SHARINGS}


def compose(pointwise: Tensor, depthwise: Tensor, sharing: Sharing) -> Tensor:
    """Multiply separable factors, of which the shapes fit, out to F (out, in, |G|, *weight_shape)."""
    if pointwise.ndim == 4:
        return torch.einsum("nrcg,nr...->ncg..." if sharing == "gc" else "nrcg,nrc...->ncg...", pointwise, depthwise)
    lead = 1 if sharing == "gc" else 2
    planar = depthwise[:, None, None] if sharing == "gc" else depthwise[:, :, None]
    return pointwise.reshape(*pointwise.shape, *(1,) * (depthwise.ndim - lead)) * planar


def over_relative_poses(weight: Tensor, table: Tensor) -> Tensor:
    """Return weights (out, ..., |G|) for every pose h of the output: (out, h, ..., g) holds w[..., h^-1 g]."""
    return weight.index_select(-1, table.flatten()).unflatten(-1, table.shape).movedim(-2, 1)


def pose_rows(filters: Tensor, groups: int = 1) -> Tensor:
    """Put (out, pose, ...) into one axis as maps lie, (pose * out, ...); channel groups come before poses.

    Example:
        >>> import torch
        >>> filters = torch.arange(4).view(2, 2, 1)  # (out, pose, ...)
        >>> pose_rows(filters).flatten().tolist()
        [0, 2, 1, 3]
    """
    if groups == 1:
        return filters.transpose(0, 1).flatten(0, 1)
    return filters.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 2)


def over_poses(values: Tensor, spec: "ConvSpec") -> Tensor:
    """Repeat values (out,) for every pose, as maps lie.

    Example:
        >>> import torch
        >>> from sepgconv.nn import LiftingConv2d
        >>> over_poses(torch.arange(3), LiftingConv2d(1, 3, 3, "p2").spec).tolist()
        [0, 1, 2, 0, 1, 2]
    """
    if spec.groups == 1:
        return values.repeat(spec.order)
    return pose_rows(values[:, None].expand(-1, spec.order), spec.groups)


def _bias(bias: Tensor | None, spec: "ConvSpec") -> Tensor | None:
    return None if bias is None else over_poses(bias, spec)


def dense_filters(spec: "ConvSpec", bank: Tensor) -> Tensor:
    """Write F (out, in, |G|, *weight_shape) as filters of one planar convolution, (|G| * out, |G| * in, *size).

    Example:
        >>> from sepgconv.nn import GroupConv2d
        >>> layer = GroupConv2d(2, 3, 3, "p4")
        >>> dense_filters(layer.spec, layer.weight).shape
        torch.Size([12, 8, 3, 3])
    """
    moved = spec.basis.expand(bank, over_poses=True)  # (o, c, h, g, k, l)
    moved = moved.movedim(2, 1).transpose(2, 3)  # (o, h, g, c, k, l)
    return pose_rows(moved, spec.groups).flatten(1, 2)


def _beside(filters: Tensor, axes: int) -> Tensor:
    """Bring the pose axis of expanded kernels (out, ..., pose, *size) beside the first one."""
    return filters.movedim(-axes - 1, 1)


def _mixing(spec: "ConvSpec", pointwise: Tensor, execution: str) -> tuple[tuple[Tensor, ...], GroupFFT]:
    groups, axes = spec.groups, len(spec.basis.size)
    if pointwise.ndim == 4:  # every term is mixed as output channels of its own: (group, term, out of the group)
        by_group = pointwise.unflatten(0, (groups, -1)) if groups > 1 else pointwise[None]
        pointwise = by_group.transpose(1, 2).flatten(0, 2)
    if execution == "fourier":
        tables = fourier_tables(spec.group, like=pointwise)
        return tuple(block_weights(pointwise, tables, axes)), spec.group.fft
    table = constant(pose_action, spec.group, like=pointwise)
    return (dense_weight(pointwise, table, groups, axes),), IDENTITY


def dense_weight(pointwise: Tensor, table: Tensor, groups: int = 1, axes: int = 2) -> Tensor:
    """Return the mixing w, (out, in, |G|), as the kernel (|G|*out, |G|*in, 1, 1) of a 1x1 convolution.

    `table` is `pose_action(group)`; the rows of each channel group lie together; `axes` are those of space.
    """
    poses = over_relative_poses(pointwise, table).transpose(2, 3)  # (o, h, g, c)
    matrix = pose_rows(poses, groups).flatten(1, 2)
    return matrix.reshape(*matrix.shape, *(1,) * axes)


def block_weights(pointwise: Tensor, tables: Sequence[Tensor], axes: int = 2) -> list[Tensor]:
    """Return the mixing in the irreps as kernels (copies*length*out, length*in, 1, 1) of grouped 1x1 convolutions.

    `tables` are `fourier_tables(group)`; for groups whose rotations are by 90 degrees their entries are multiples of
    powers of 2, exact in every precision.
    """
    weights: list[Tensor] = []
    for table in tables:
        copies, length = table.shape[:2]
        entries = pointwise @ table.flatten(0, 2).T.to(pointwise)  # (o, c, s*i*j)
        blocks = entries.unflatten(2, (copies, length, length)).permute(2, 3, 0, 4, 1)  # (s, i, o, j, c)
        sides = (copies * length * pointwise.shape[0], length * pointwise.shape[1])
        weights.append(blocks.reshape(*sides, *(1,) * axes))
    return weights
