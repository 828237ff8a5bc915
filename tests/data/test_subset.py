import pytest
import torch

from sepgconv.data import load_dataset, take_images


@pytest.fixture(scope="module")
def digits():
    return load_dataset("rotated_digits")


def rows(split):
    return {(tuple(image.flatten().tolist()), int(label)) for image, label in zip(*split_parts(split), strict=True)}


def split_parts(split):
    return split.images, split.labels


def test_the_proportion_of_train_and_validation_stays_and_the_test_images_too(digits):
    fewer = take_images(digits, 120, seed=1)
    assert (len(fewer.train), len(fewer.validation)) == (100, 20)
    assert fewer.test is digits.test
    assert fewer.name == digits.name
    assert rows(fewer.train) <= rows(digits.train)  # images keep their labels
    assert rows(fewer.validation) <= rows(digits.validation)


def test_a_smaller_choice_lies_within_a_larger_one(digits):
    small, large = (take_images(digits, images, seed=1) for images in (60, 120))
    assert rows(small.train) < rows(large.train)
    assert rows(small.validation) < rows(large.validation)


def test_the_seed_decides(digits):
    first, again, other = (take_images(digits, 60, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.train.images, again.train.images)
    assert rows(first.train) != rows(other.train)


def test_all_images_are_all_images(digits):
    whole = take_images(digits, len(digits.train) + len(digits.validation), seed=1)
    assert rows(whole.train) == rows(digits.train)


@pytest.mark.parametrize("images", [0, 1, 2, 1201])
def test_what_cannot_be_taken_is_refused(digits, images):
    with pytest.raises(ValueError, match=rf"1000 \+ 200 images .+ {images} cannot be taken"):
        take_images(digits, images, seed=1)
