import collections
import sys

import pytest
import torch

from sepgconv._rotation import rotate_images
from sepgconv.data import augmentation, list_augmentations
from sepgconv.data.preprocessing import GcnZca, MeanStd
from tests.covering import each


@each("name", list_augmentations())
@each("shape", [(6, 1, 28, 28), (5, 3, 32, 32), (1, 2, 9, 9)])
def test_shape_and_dtype_stay_and_the_input_is_not_touched(name: str, shape: tuple[int, ...]):
    images = torch.rand(shape)
    before = images.clone()
    result = augmentation(name)(images)
    assert result.shape == images.shape
    assert result.dtype == images.dtype
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", [name for name in list_augmentations() if name != "none"])
def test_random_numbers_come_from_the_global_generator_alone(name: str):
    images, module = torch.rand(32, 1, 12, 12), augmentation(name)
    torch.manual_seed(3)
    module(images)
    state = torch.get_rng_state()
    first, after = module(images), torch.get_rng_state()
    assert not torch.equal(state, after)
    torch.set_rng_state(state)
    assert torch.equal(augmentation(name)(images), first)
    assert not torch.equal(module(images), first)


def test_none_changes_nothing():
    images = torch.rand(4, 1, 5, 5)
    assert torch.equal(augmentation("none")(images), images)


def test_a_turn_turns_about_the_centre_by_angles_of_the_whole_circle():
    module, side = augmentation("turn"), 33
    y, x = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * 2, indexing="ij")
    spot = torch.exp(-((x - 9) ** 2 + y**2) / 8).expand(400, 1, side, side)  # right of the centre
    turned = module(spot)
    mass = turned.sum((1, 2, 3))
    angle = torch.atan2(-(turned * y).sum((1, 2, 3)) / mass, (turned * x).sum((1, 2, 3)) / mass)
    expected = rotate_images(spot, angle)
    torch.testing.assert_close(turned, expected, rtol=0, atol=0.02)
    counts = torch.histc(angle, bins=4, min=-torch.pi, max=torch.pi)
    assert 70 < float(counts.min())


def test_a_quarter_turn_is_exact_and_every_one_is_equally_likely():
    images, counts = torch.rand(2000, 2, 7, 7), collections.Counter[int]()
    for image, turned in zip(images, augmentation("quarter-turn")(images), strict=True):
        found = [k for k in range(4) if torch.equal(torch.rot90(image, k, (-2, -1)), turned)]
        counts.update(found)
        assert len(found) == 1
    assert min(counts[k] for k in range(4)) > 430  # kornia's own would give 0 and 3 about 333 each


def test_a_quarter_turn_refuses_what_is_not_square():
    with pytest.raises(ValueError, match="expected square images"):
        augmentation("quarter-turn")(torch.rand(2, 1, 4, 6))


def test_a_flip_flips_half_of_the_images():
    images = torch.rand(400, 1, 4, 6)
    result = augmentation("flip")(images)
    flipped = [torch.equal(a, b.flip(-1)) for a, b in zip(result, images, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(result, images, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 150 < sum(flipped) < 250


def test_crop_flip_is_every_shift_by_up_to_four_pixels_of_image_or_mirror_image():
    images = torch.rand(600, 1, 8, 10) + 0.1
    found = collections.Counter[tuple[bool, int, int]]()
    for image, result in zip(images, augmentation("crop-flip")(images), strict=True):
        options = {
            (mirrored, dy, dx)
            for mirrored in (False, True)
            for padded in [torch.nn.functional.pad(image.flip(-1) if mirrored else image, (4, 4, 4, 4))]
            for dy in range(9)
            for dx in range(9)
            if torch.equal(padded[:, dy : dy + 8, dx : dx + 10], result)
        }
        assert len(options) == 1
        found.update(options)
    assert {dy for _, dy, _ in found} == {dx for _, _, dx in found} == set(range(9))
    assert 230 < sum(count for (mirrored, _, _), count in found.items() if mirrored) < 370


def test_unknown_names_get_the_nearest():
    with pytest.raises(ValueError, match="unknown augmentation 'crop-flop'; did you mean 'crop-flip'"):
        augmentation("crop-flop")


def test_a_missing_kornia_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "kornia", None)
    with pytest.raises(ImportError, match=r"the augmentation 'turn' needs 'kornia'.*sepgconv\[train\]"):
        augmentation("turn")
    augmentation("quarter-turn")  # needs no kornia


def test_a_fine_turn_turns_like_a_turn_and_blurs_less():
    """By the same angles, drawn in the same order; stripes keep more of their contrast, at every angle as much."""
    stripes = torch.sin(torch.arange(33.0) * 1.6).expand(64, 1, 33, 33).clone()
    found = {}
    for name in ("turn", "fine-turn"):
        torch.manual_seed(3)
        found[name] = augmentation(name)(stripes)[..., 11:22, 11:22]
    coarse, fine = found["turn"].flatten(1), found["fine-turn"].flatten(1)
    likeness = torch.nn.functional.cosine_similarity(coarse, fine)
    assert likeness.median() > 0.97
    assert torch.nn.functional.cosine_similarity(coarse, fine.roll(1, 0)).median() < 0.6  # other angles are seen
    assert fine.std(1).mean() > 1.04 * coarse.std(1).mean()
    assert fine.std(1).std() < 0.5 * coarse.std(1).std()


def of_kornia(name, images):
    """What the augmentations of earlier versions gave, from kornia and torch alone."""
    from kornia.augmentation import RandomCrop, RandomHorizontalFlip, RandomRotation

    if name == "turn":
        return RandomRotation(180.0, resample="bilinear", p=1.0)(images)
    if name == "fine-turn":
        large = torch.nn.functional.interpolate(images, scale_factor=3, mode="bicubic", align_corners=False)
        return torch.nn.functional.avg_pool2d(RandomRotation(180.0, resample="bilinear", p=1.0)(large), 3)
    if name == "quarter-turn":
        quarters = torch.randint(4, (len(images),))
        return torch.stack([torch.rot90(one, int(k), (-2, -1)) for one, k in zip(images, quarters, strict=True)])
    flipped = RandomHorizontalFlip(p=0.5)(images)
    if name == "flip":
        return flipped
    return RandomCrop(tuple(images.shape[-2:]), padding=4, fill=0, cropping_mode="slice")(flipped)


@each("name", ["turn", "fine-turn", "quarter-turn", "flip", "crop-flip"])
def test_the_draws_of_earlier_versions_stay(name: str):
    images, module = torch.rand(16, 2, 12, 12), augmentation(name)
    torch.manual_seed(7)
    expected = [of_kornia(name, images) for _ in range(2)]
    torch.manual_seed(7)
    assert all(torch.equal(module(images), one) for one in expected)


@each("name", [name for name in list_augmentations() if name != "none"])
def test_images_move_alike_with_and_without_masks(name: str):
    images, module = torch.rand(8, 3, 12, 12), augmentation(name)
    found = []
    for masks in (None, torch.randint(5, (8, 12, 12))):
        torch.manual_seed(5)
        found.append(module.move(images, masks).images)
    torch.manual_seed(5)
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(module(images), found[0])


def test_all_eight_poses_are_equally_likely_and_exact():
    images, counts = torch.rand(2400, 2, 7, 7), collections.Counter[int]()
    poses = [torch.rot90(images, k, (-2, -1)) for k in range(4)]
    poses += [pose.flip(-1) for pose in poses]
    for i, moved in enumerate(augmentation("poses")(images)):
        (found,) = [k for k, pose in enumerate(poses) if torch.equal(pose[i], moved)]
        counts[found] += 1
    assert min(counts[k] for k in range(8)) > 240


def test_several_augmentations_follow_each_other():
    images = torch.rand(6, 3, 12, 12)
    listed, written = augmentation(["poses", "colour"]), augmentation(" poses , colour")
    one, other = augmentation("poses"), augmentation("colour")
    found = []
    for apply in (listed, written, lambda x: other(one(x))):
        torch.manual_seed(2)
        found.append(apply(images))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert float(found[0].min()) >= 0
    assert float(found[0].max()) <= 1
    from kornia.augmentation import RandomVerticalFlip

    moved = augmentation(["none", RandomVerticalFlip(p=1.0)]).move(
        images, torch.arange(144).view(1, 12, 12).repeat(6, 1, 1)
    )
    assert torch.equal(moved.images, images.flip(-2))
    assert torch.equal(moved.masks[0], torch.arange(144).view(12, 12).flip(0))
    assert torch.equal(moved.matrices, torch.tensor([[1.0, 0.0], [0.0, -1.0]]).repeat(6, 1, 1))


@each("names, message", [("turn,", "unknown augmentation ''"), ([], "expected one name or more"), ("a,flip", "'a'")])
def test_lists_with_no_such_name(names, message: str):
    with pytest.raises(ValueError, match=message):
        augmentation(names)


def test_colours_change_on_raw_images():
    raw = torch.rand(6, 3, 8, 8)
    fitted = MeanStd(raw.mean((0, 2, 3)), raw.std((0, 2, 3)))
    torch.manual_seed(1)
    expected = fitted(augmentation("colour")(raw))
    torch.manual_seed(1)
    found = augmentation("colour", preprocessing=fitted)(fitted(raw))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.manual_seed(1)
    assert float((augmentation("colour")(fitted(raw)) - expected).abs().max()) > 0.5  # kornia cuts at 0 and 1
    with pytest.raises(ValueError, match=r"is for images in .0, 1., and the preprocessing 'gcn-zca' cannot be undone"):
        augmentation("colour", preprocessing=GcnZca(torch.zeros(3, 2, 2), torch.eye(12)))
    assert augmentation("flip", preprocessing=GcnZca(torch.zeros(3, 2, 2), torch.eye(12)))(raw).shape == raw.shape
