"""Field types of e2cnn and escnn: which channel of theirs is which pose of which channel of ours.

Both libraries let g act by `(g · f)(x) = rho(g) f(g^-1 x)`. In a regular representation rho(g) permutes the components
of a field, simply transitively, so choosing component 0 as pose 0 settles all others: component j is the pose of the g
for which rho(g) takes component 0 to j. Any other choice differs by a multiplication from the right, which commutes
with the action. Neither library is imported; only attributes of their objects are read.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sepgconv._gspaces import ElementMatching, match_group
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry.planar import MOST_TURNS

SUPPORTED = (
    f"regular fields of C_n or D_n with n from 1 to {MOST_TURNS} and the left-right mirror (axis pi/2), of the flip "
    f"group with that at the diagonal (axis 3 pi/4) or of D2 with both diagonals, and trivial fields"
)


@dataclass(frozen=True)
class Fields:
    """A field type, read.

    Attributes:
        group: ours, whose matrices are the ways in which their fiber group moves pixels.
        channels: number of fields.
        regular: whether the fields are regular, as feature maps on the group are, or trivial, as images are.
        index: for every field and pose (one for trivial fields), the channel of theirs; in the order of our maps.
    """

    group: FiniteGroup
    channels: int
    regular: bool
    index: tuple[int, ...]

    def from_theirs(self, x: Tensor) -> Tensor:
        """Return (batch, channels of theirs, ...) as ours: with an axis of poses after the channels where regular."""
        x = _reordered(x, self.index)
        return x.unflatten(1, (self.channels, self.group.order)) if self.regular else x

    def to_theirs(self, x: Tensor) -> Tensor:
        """Undo `from_theirs`."""
        x = x.flatten(1, 2) if self.regular else x
        return _reordered(x, tuple(sorted(range(len(self.index)), key=lambda channel: self.index[channel])))


def _reordered(x: Tensor, channels: tuple[int, ...]) -> Tensor:
    in_order = channels == tuple(range(len(channels)))
    return x if in_order else x.index_select(1, torch.tensor(channels, device=x.device))


def read_fields(field_type: Any) -> Fields:
    """Read a `FieldType` of e2cnn or escnn.

    Args:
        field_type: the field type.

    Raises:
        ValueError: a group that has no counterpart here, or fields that are neither all regular nor all trivial.
    """
    matching = match_group(field_type.gspace)
    kinds: set[bool] = set()
    index: list[int] = []
    orders: dict[int, tuple[bool, tuple[int, ...]]] = {}  # by representation; most fields of a type share one
    for representation in field_type.representations:
        if id(representation) not in orders:
            orders[id(representation)] = _components(representation, matching)
        regular, order = orders[id(representation)]
        kinds.add(regular)
        start = len(index)
        index += [start + component for component in order]
    if len(kinds) != 1:
        raise ValueError(f"has regular and trivial fields in one type {field_type}; give each a layer of its own")
    return Fields(matching.group, len(field_type.representations), kinds.pop(), tuple(index))


def fields_to_maps(x: Tensor, field_type: Any) -> Tensor:
    """Return the tensor of a field type of e2cnn or escnn as feature maps of this library.

    Args:
        x: (batch, channels of the field type, height, width), the `.tensor` of a `GeometricTensor`.
        field_type: its `FieldType`, of regular or of trivial fields.

    Returns:
        (batch, fields, |G|, height, width) for regular fields, poses in the order of docs/conventions.md; the image
        (batch, fields, height, width) for trivial ones.

    Raises:
        ValueError: the field type is not supported, or the tensor has another number of channels.

    Examples:
        >>> import torch
        >>> from e2cnn import gspaces, nn as e2nn
        >>> from sepgconv.convert import fields_to_maps, maps_to_fields
        >>> space = gspaces.Rot2dOnR2(4)
        >>> regular = e2nn.FieldType(space, 3 * [space.regular_repr])
        >>> fields_to_maps(torch.rand(2, 12, 5, 5), regular).shape
        torch.Size([2, 3, 4, 5, 5])
    """
    fields = _fields("fields_to_maps", field_type)
    if x.ndim != 4 or x.shape[1] != len(fields.index):
        expected = f"(batch, {len(fields.index)}, height, width)"
        raise ValueError(f"fields_to_maps: expected {expected} for {field_type}, got {tuple(x.shape)}")
    return fields.from_theirs(x)


def maps_to_fields(x: Tensor, field_type: Any) -> Tensor:
    """Return feature maps or an image as the tensor of a field type of e2cnn or escnn: undo `fields_to_maps`.

    Args:
        x: (batch, fields, |G|, height, width), or (batch, fields, height, width) for trivial fields.
        field_type: the `FieldType`.

    Returns:
        (batch, channels of the field type, height, width).

    Raises:
        ValueError: the field type is not supported, or the maps have other channels or poses.

    Examples:
        >>> import torch
        >>> from e2cnn import gspaces, nn as e2nn
        >>> from sepgconv.convert import fields_to_maps, maps_to_fields
        >>> space = gspaces.Rot2dOnR2(4)
        >>> regular = e2nn.FieldType(space, 3 * [space.regular_repr])
        >>> x = torch.rand(2, 12, 5, 5)
        >>> torch.equal(maps_to_fields(fields_to_maps(x, regular), regular), x)
        True
    """
    fields = _fields("maps_to_fields", field_type)
    leading = (fields.channels, fields.group.order) if fields.regular else (fields.channels,)
    if x.ndim != 3 + len(leading) or tuple(x.shape[1:-2]) != leading:
        expected = f"(batch, {', '.join(map(str, leading))}, height, width)"
        raise ValueError(f"maps_to_fields: expected {expected} for {field_type}, got {tuple(x.shape)}")
    return fields.to_theirs(x)


def _fields(caller: str, field_type: Any) -> Fields:
    try:
        return read_fields(field_type)
    except ValueError as error:
        raise ValueError(f"{caller}: the field type {error}; supported are {SUPPORTED}") from None


def _components(representation: Any, matching: ElementMatching) -> tuple[bool, tuple[int, ...]]:
    """Return whether a representation is regular, or else trivial, and the component of every pose."""
    size, order = int(representation.size), matching.group.order
    # On the trivial group both are the same matrix, and only the name tells them apart.
    may_be_trivial = size == 1 and (order > 1 or representation.name != "regular")
    moved = tuple(_image_of_first(representation, element) for element in matching.elements)
    if may_be_trivial and set(moved) == {0}:
        return False, (0,)
    if not may_be_trivial and set(moved) == set(range(size)) and size == order:
        return True, moved
    raise ValueError(f"has fields of the representation {representation.name!r} of {representation.group.name}")


def _image_of_first(representation: Any, element: Any) -> int:
    """Return the component to which an element moves component 0, or -1 if its matrix is no permutation."""
    matrix = torch.as_tensor(representation(element), dtype=torch.float64)
    rounded = matrix.round()
    one = torch.ones(len(matrix), dtype=torch.float64)
    permutes = all(torch.equal(sums, one) for sums in (rounded.sum(1), rounded.abs().sum(0), rounded.abs().sum(1)))
    if not permutes or not torch.allclose(matrix, rounded, rtol=0, atol=1e-6):
        return -1
    return int(rounded[:, 0].argmax())
