"""The mirror that exchanges up and down, which the library does not have."""

from sepgconv.symmetry import planar_group, register_group

UPDOWN = register_group(planar_group("updown", turns=1, mirror=((-1, 0), (0, 1))))
