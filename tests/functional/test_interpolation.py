"""`act` between the pixels: band-limited images come out as their closed form says, all others as the definition."""

import itertools
import math
import re

import pytest
import torch

import sepgconv
from sepgconv._rotation import rotate_images
from sepgconv.functional import act
from sepgconv.ops.interpolation import RADIUS, SHAPE, interpolate
from sepgconv.symmetry import pose_division
from sepgconv.symmetry.planar import rotation
from tests.covering import each, named

# Measured under all elements of the groups below: 3.1e-4, 4.0e-4 for waves of equal energy, 1.8e-3 for a single wave.
NATURAL, WHITE, SINGLE = 4e-4, 5e-4, 2e-3
BAND = 0.75 * math.pi


def pixels(sides, matrix=((1, 0), (0, 1))):
    """Where the pixels come from that a matrix moves to the pixels of a grid, (2, height, width) from the middle."""
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) - (side - 1) / 2 for side in sides), indexing="ij")
    (a, b), (c, d) = matrix
    return torch.stack((a * y + c * x, b * y + d * x))  # the inverse is the transpose


def waves(maps, sides, matrix=((1, 0), (0, 1)), *, power=-1.0, seed=0):
    """Sums of 40 plane waves under a Gaussian, moved by a matrix; (maps, height, width).

    With what the Gaussian adds they have |w| < 0.75 pi. The energy of a wave is |w|^(power - 1): for a power of -1 that
    of natural images, of 1 the same for all.
    """
    generator = torch.Generator().manual_seed(seed)
    sigma = min(sides) / 11
    radii = (torch.arange(40, dtype=torch.float64) + 0.5) / 40 * (BAND - 2.5 / sigma)
    angles, phases = torch.rand(2, maps, 40, dtype=torch.float64, generator=generator) * 2 * math.pi
    y, x = pixels(sides, matrix)
    there = (radii * angles.sin())[..., None, None] * y + (radii * angles.cos())[..., None, None] * x
    each_wave = (radii ** (power / 2))[:, None, None] * torch.cos(there + phases[..., None, None])
    return each_wave.sum(1) * torch.exp(-(y**2 + x**2) / 2 / sigma**2)


def error(found, expected):
    return float((found - expected).norm() / expected.norm())


@each(("name", "sides"), [("C8", (64, 64)), ("D8", (65, 65)), ("C6", (64, 71)), ("D5", (65, 64)), ("C64", (64, 64))])
def test_band_limited_maps_move_as_their_closed_form(name, sides):
    group = sepgconv.group(name)
    images = waves(2, sides)[None]
    between = [g for g in range(group.order) if g not in group.grid_elements][:: 1 if group.order < 32 else 9]
    for g in between:
        with named(g=g):
            expected = waves(2, sides, group.matrices[g])[None]
            assert error(act(group, g, images), expected) < NATURAL
    g, maps = between[-1], waves(group.order, sides)[None, None]
    moved = waves(group.order, sides, group.matrices[g])[None, None]
    assert error(act(group, g, maps), moved[:, :, pose_division(group)[g]]) < NATURAL
    assert error(act(group, g, maps), moved) > 1  # poses that stay


def test_the_error_of_fine_waves_and_of_bilinear_interpolation():
    """The negative control: what is bilinear, or beyond the band, is far off."""
    x, moved = waves(4, (64, 64), power=1.0)[None], waves(4, (64, 64), rotation(1, 8), power=1.0)[None]
    assert error(act("C8", 1, x), moved) < WHITE
    assert error(rotate_images(x, torch.tensor([math.pi / 4])), moved) > 100 * WHITE
    assert error(act("C8", 7, act("C8", 1, x)), x) < 2 * WHITE
    for angle in torch.linspace(0, math.pi, 9, dtype=torch.float64):
        wave = BAND * torch.stack((angle.sin(), angle.cos()))
        plane = [torch.cos(torch.tensordot(wave, at, 1)) for at in (pixels((64, 64)), pixels((64, 64), rotation(1, 8)))]
        moved_wave = interpolate(plane[0], rotation(1, 8))
        assert error(moved_wave[20:44, 20:44], plane[1][20:44, 20:44]) < SINGLE  # away from the border
        assert error(moved_wave, plane[1]) > SINGLE
    noise = torch.randn(1, 1, 64, 64, dtype=torch.float64)
    assert error(act("C8", 7, act("C8", 1, noise)), noise) > 0.1
    assert error(act("C8", 3, x), moved) > 1  # another element


def test_rotations_compose():
    group = sepgconv.group("D8")
    x = waves(group.order, (64, 64))[None, None]
    single = [act(group, g, x) for g in range(group.order)]
    for g, h in itertools.product((1, 9), range(group.order)):
        assert error(act(group, g, single[h]), single[group.table[g][h]]) < 2 * NATURAL, (g, h)


def kernel(distance):
    """The windowed sinc, by its definition; the Bessel function by its series."""
    if abs(distance) >= RADIUS:
        return 0.0
    bessel = lambda z: sum((z / 2) ** (2 * k) / math.factorial(k) ** 2 for k in range(30))  # noqa: E731
    sinc = 1.0 if distance == 0 else math.sin(math.pi * distance) / (math.pi * distance)
    return sinc * bessel(SHAPE * math.sqrt(1 - (distance / RADIUS) ** 2)) / bessel(SHAPE)


@each(("name", "g", "sides"), [("C8", 3, (5, 8)), ("D6", 7, (19, 8)), ("C16", 1, (1, 3)), ("D3", 4, (33, 2))])
def test_every_pixel_is_the_sum_of_the_definition(name, g, sides):
    """Zeros beyond the image, and weights whose sum over the whole grid is 1."""
    matrix = sepgconv.group(name).matrices[g]
    x = torch.randn(1, 1, *sides, dtype=torch.float64)
    expected = torch.zeros(sides, dtype=torch.float64)
    centre = [(side - 1) / 2 for side in sides]
    for v in itertools.product(*map(range, sides)):
        y, z = (at - middle for at, middle in zip(v, centre, strict=True))
        point = [matrix[0][axis] * y + matrix[1][axis] * z + centre[axis] for axis in (0, 1)]
        along = []
        for at, side in zip(point, sides, strict=True):
            taps = {u: kernel(at - u) for u in range(math.floor(at) - RADIUS, math.floor(at) + RADIUS + 2)}
            along.append([taps.get(u, 0.0) / sum(taps.values()) for u in range(side)])
        expected[v] = (
            torch.tensor(along[0], dtype=torch.float64) @ x[0, 0] @ torch.tensor(along[1], dtype=torch.float64)
        )
    torch.testing.assert_close(act(name, g, x)[0, 0], expected, rtol=0, atol=1e-12)


def test_elements_of_the_grid_are_as_exact_as_those_of_p4():
    x = torch.randint(0, 9, (1, 2, 8, 5, 6))
    for g in range(4):
        assert torch.equal(act("C8", 2 * g, x[:, :, 0]), act("p4", g, x[:, :, 0]))
        assert torch.equal(act("C8", 2 * g, x)[:, :, 2 * g], act("p4", g, x[:, :, 0]))


@each("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.complex64])
def test_every_number_type(dtype):
    x = waves(8, (40, 40))[None, None]
    moved = act("C8", 1, x.to(dtype))
    assert moved.dtype == dtype
    rounding = 4 * torch.finfo(dtype).eps
    expected = act("C8", 1, x.to(dtype).to(torch.complex128 if dtype.is_complex else torch.float64))
    assert error(moved.to(expected.dtype), expected) < rounding


def test_is_differentiable_and_the_middle_stays(float64):
    x = torch.randn(1, 1, 8, 4, 3, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: act("C8", 1, x), x)
    assert torch.func.vmap(lambda one: act("C8", 1, one))(x[None]).shape == (1, *x.shape)
    image = torch.randn(1, 1, 9, 9)
    assert float(act("C8", 1, image)[0, 0, 4, 4]) == pytest.approx(float(image[0, 0, 4, 4]), abs=1e-14)
    constant = interpolate(torch.ones(40, 40), rotation(1, 12))
    torch.testing.assert_close(constant[14:26, 14:26], torch.ones(12, 12), rtol=0, atol=1e-12)
    assert interpolate(torch.ones(2, 0, 5, 5), rotation(1, 12)).shape == (2, 0, 5, 5)


@each("dtype", [torch.int64, torch.uint8, torch.bool])
def test_integers_cannot_be_interpolated(dtype):
    message = (
        f"act: element 1 of C8, a turn by 45°, takes pixels between pixels, where {dtype} has no values; use x.float()"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        act("C8", 1, torch.ones(1, 1, 4, 4, dtype=dtype))
