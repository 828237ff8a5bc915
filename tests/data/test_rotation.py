import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from sepgconv import _rotation
from sepgconv._rotation import rotate_images
from sepgconv.data.rotation import random_angles
from tests.covering import each


@each("side", [5, 8])
@each("turns", [-1, 0, 1, 2, 3])
def test_quarter_turns_are_those_of_torch(side: int, turns: int):
    images = torch.rand(3, 2, side, side, dtype=torch.float64)
    turned = rotate_images(images, torch.full((3,), turns * math.pi / 2, dtype=torch.float64))
    torch.testing.assert_close(turned, torch.rot90(images, turns, (-2, -1)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(9, 9), (7, 10), (8, 5)])
def test_any_angle_is_that_of_scipy(shape: tuple[int, int]):
    images = torch.rand(4, 1, *shape, dtype=torch.float64)
    angles = torch.tensor([0.3, 1.9, 4.0, -0.7], dtype=torch.float64)
    expected = np.stack(
        [
            ndimage.rotate(image[0].numpy(), math.degrees(angle), reshape=False, order=1, mode="grid-constant")
            for image, angle in zip(images, angles.tolist(), strict=True)
        ]
    )
    np.testing.assert_allclose(rotate_images(images, angles)[:, 0].numpy(), expected, rtol=0, atol=1e-12)
    assert not np.allclose(rotate_images(images, -angles)[:, 0].numpy(), expected, atol=1e-2)  # the other way round


def test_parts_and_whole_agree(monkeypatch: pytest.MonkeyPatch):
    images, angles = torch.rand(5, 1, 6, 6), torch.rand(5)
    whole = rotate_images(images, angles)
    monkeypatch.setattr(_rotation, "_CHUNK", 2)
    assert torch.equal(rotate_images(images, angles), whole)


def test_random_angles_are_uniform_on_the_circle():
    angles = random_angles(20_000, np.random.default_rng(0))
    assert 0 <= float(angles.min())
    assert float(angles.max()) < 2 * math.pi
    counts = torch.histc(angles, bins=8, min=0, max=2 * math.pi)
    assert float((counts / 2500 - 1).abs().max()) < 0.08
