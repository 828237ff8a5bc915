"""Field types of e2cnn and escnn: which channel of theirs is which pose of which channel of ours.

Both libraries let g act by `(g · f)(x) = rho(g) f(g^-1 x)`. In a regular representation rho(g) permutes the components
of a field, simply transitively, so choosing component 0 as pose 0 settles all others: component j is the pose of the g
for which rho(g) takes component 0 to j. Any other choice differs by a multiplication from the right, which commutes
with the action. Neither library is imported; only attributes of their objects are read.
"""

import itertools
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
        channels: number of regular fields or of trivial ones.
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
    # By orbit: regular fields of a group, restricted to a subgroup, are several of the subgroup. Those of the first
    # orbits come first, as in `RestrictGroup`.
    index: dict[int, list[int]] = {}
    read: dict[int, tuple[bool, list[tuple[int, ...]]]] = {}  # by representation; most fields of a type share one
    start = 0
    for representation in field_type.representations:
        if id(representation) not in read:
            read[id(representation)] = _orbits(representation, matching)
        regular, orbits = read[id(representation)]
        kinds.add(regular)
        for number, orbit in enumerate(orbits):
            index.setdefault(number, []).extend(start + component for component in orbit)
        start += int(representation.size)
    if len(kinds) != 1:
        raise ValueError(f"has regular and trivial fields in one type {field_type}; give each a layer of its own")
    regular, components = kinds.pop(), tuple(itertools.chain(*index.values()))
    channels = len(components) // (matching.group.order if regular else 1)
    return Fields(matching.group, channels, regular, components)


def read_single_fields(field_type: Any) -> Fields:
    """Read a `FieldType` for a module that takes the components of a field together.

    Raises:
        ValueError: as `read_fields`; or fields of a larger group, which are several of this one.
    """
    fields = read_fields(field_type)
    if fields.channels != len(field_type.representations):
        raise ValueError(
            f"takes fields of a larger group than {fields.group.name} as they are; put it before the restriction, or a "
            f"convolution between the two"
        )
    return fields


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


def _orbits(representation: Any, matching: ElementMatching) -> tuple[bool, list[tuple[int, ...]]]:
    """Return whether a representation is regular, or else trivial, and the components of each orbit, pose by pose.

    A regular one has one orbit; one that permutes its components freely has several, and is as many regular ones.
    """
    size, order = int(representation.size), matching.group.order
    # On the trivial group both are the same matrix, and only the name tells them apart.
    may_be_trivial = size == 1 and (order > 1 or representation.name != "regular")
    images = [_images(representation, element) for element in matching.elements]
    orbits: list[tuple[int, ...]] = []
    for first in range(size):
        if not any(first in orbit for orbit in orbits):
            orbits.append(tuple(image[first] if image else -1 for image in images))
    if may_be_trivial and set(orbits[0]) == {0}:
        return False, [(0,)]
    if not may_be_trivial and all(images) and all(len(set(orbit)) == order for orbit in orbits):
        return True, orbits
    raise ValueError(f"has fields of the representation {representation.name!r} of {representation.group.name}")


def _images(representation: Any, element: Any) -> tuple[int, ...]:
    """Return the component to which an element moves each component; nothing if its matrix is no permutation."""
    matrix = torch.as_tensor(representation(element), dtype=torch.float64)
    rounded = matrix.round()
    one = torch.ones(len(matrix), dtype=torch.float64)
    permutes = all(torch.equal(sums, one) for sums in (rounded.sum(1), rounded.abs().sum(0), rounded.abs().sum(1)))
    if not permutes or not torch.allclose(matrix, rounded, rtol=0, atol=1e-6):
        return ()
    return tuple(rounded.argmax(0).tolist())
