import pytest
import torch
from torch import nn

from sepgconv.data import Dataset, Split
from tests.covering import each


def split(n: int = 2, classes: int = 2, shape: tuple[int, int, int] = (1, 4, 5)) -> Split:
    return Split(torch.zeros(n, *shape), torch.arange(n) % classes)


def test_length_and_image_shape():
    dataset = Dataset("toy", ("a", "b"), split(4), split(2), split(3), nn.Identity())
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [4, 2, 3]
    assert dataset.image_shape == (1, 4, 5)
    assert dataset.skipped == ()


@each(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 4, 5), torch.zeros(2, dtype=torch.int64), "expected float32 images of shape"),
        (torch.zeros(2, 1, 4, 5).double(), torch.zeros(2, dtype=torch.int64), "expected float32 images of shape"),
        (torch.zeros(2, 1, 4, 5), torch.zeros(2, dtype=torch.int32), "expected int64 labels"),
        (torch.zeros(2, 1, 4, 5), torch.zeros(2, dtype=torch.float64), "expected int64 labels"),
        (torch.zeros(1, 1, 4, 5), torch.tensor(0), "expected int64 labels"),
        (torch.zeros(2, 1, 4, 5), torch.tensor([1.0, float("inf")]), "the labels hold values that are not finite"),
        (torch.zeros(2, 1, 4, 5), torch.zeros(3, dtype=torch.int64), "2 images but 3 labels"),
        (torch.zeros(0, 1, 4, 5), torch.zeros(0, dtype=torch.int64), "no pixels"),
        (torch.full((1, 1, 4, 5), float("nan")), torch.zeros(1, dtype=torch.int64), "not finite"),
        (torch.zeros(1, 1, 4, 5), torch.tensor([-1]), "must not be negative"),
    ],
)
def test_a_split_refuses(images: torch.Tensor, labels: torch.Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        Split(images, labels)


def test_a_dataset_refuses_a_label_without_a_class():
    with pytest.raises(ValueError, match="test label 2, but there are 2 classes"):
        Dataset("toy", ("a", "b"), split(), split(), split(3, classes=3), nn.Identity())


def test_a_dataset_refuses_unequal_shapes():
    with pytest.raises(ValueError, match=r"validation images have shape \(3, 4, 5\), train images \(1, 4, 5\)"):
        Dataset("toy", ("a", "b"), split(), split(shape=(3, 4, 5)), split(), nn.Identity())


@pytest.mark.parametrize("classes", [(), ("a", "a")])
def test_a_dataset_refuses_classes_that_are_not_distinct(classes: tuple[str, ...]):
    with pytest.raises(ValueError, match="expected distinct class names"):
        Dataset("toy", classes, split(), split(), split(), nn.Identity())


def test_labels_may_be_numbers_or_a_class_for_each_pixel():
    numbers = Split(torch.zeros(3, 1, 4, 5), torch.tensor([0.5, -2.0, 7.0]))
    assert not numbers.has_classes
    assert Dataset("toy", (), numbers, numbers, numbers, nn.Identity()).classes == ()
    masks = Split(torch.zeros(3, 1, 4, 5), torch.arange(60).view(3, 4, 5) % 2)
    assert Dataset("toy", ("a", "b"), masks, masks, masks, nn.Identity()).train.has_classes
    # The pixels of a mask may have a number that is not judged; the labels of whole images may not.
    assert Dataset("toy", ("a",), masks, masks, masks, nn.Identity()).train.has_classes
    labels = Split(torch.zeros(3, 1, 4, 5), torch.tensor([0, 1, 0]))
    with pytest.raises(ValueError, match="train label 1, but there are 1 classes"):
        Dataset("toy", ("a",), labels, labels, labels, nn.Identity())


@pytest.mark.parametrize("classes", [(), ("a", "b")])
def test_a_dataset_refuses_parts_with_labels_of_two_kinds(classes: tuple[str, ...]):
    numbers = Split(torch.zeros(3, 1, 4, 5), torch.tensor([0.5, -2.0, 7.0]))
    first = split() if classes else numbers
    with pytest.raises(ValueError, match="labels of classes are int64, numbers are float32"):
        Dataset("toy", classes, first, first, numbers if classes else split(), nn.Identity())


def changed(title: str, kind: str) -> Dataset:
    """The data set of the test below with one value changed in one tensor."""
    splits = {name: split(count) for name, count in (("train", 5), ("validation", 2), ("test", 3))}
    tensor = getattr(splits[title], kind)
    tensor[1] = torch.nextafter(torch.tensor(0.0), torch.tensor(1.0)) if kind == "images" else 1 - tensor[1]
    return Dataset("toy", ("a", "b"), *splits.values(), nn.Identity())


def test_the_digest_is_that_of_the_content_alone():
    dataset = Dataset("toy", ("a", "b"), split(5), split(2), split(3), nn.Identity())
    digest = dataset.digest()
    assert len(digest) == 64
    assert int(digest, 16) > 0
    again = Dataset("other name", ("a", "b"), split(5), split(2), split(3), nn.Identity(), skipped=("x.png",))
    assert again.digest() == digest == dataset.digest()
    # Strides are no content.
    strided = Split(torch.zeros(5, 1, 5, 4).transpose(2, 3), torch.arange(10)[::2] // 2 % 2)
    assert Dataset("toy", ("a", "b"), strided, split(2), split(3), nn.Identity()).digest() == digest


def test_one_changed_value_changes_the_digest():
    same = Dataset("toy", ("a", "b"), split(5), split(2), split(3), nn.Identity()).digest()
    found = {
        changed(title, kind).digest() for title in ("train", "validation", "test") for kind in ("images", "labels")
    }
    assert len(found | {same}) == 7
    others = [
        Dataset("toy", ("b", "a"), split(5), split(2), split(3), nn.Identity()),  # order of the classes
        Dataset("toy", ("a", "b", "c"), split(5), split(2), split(3), nn.Identity()),
        Dataset("toy", ("a", "b"), split(5), split(3), split(2), nn.Identity()),  # parts exchanged
        Dataset("toy", ("ab",), split(5, 1), split(2, 1), split(3, 1), nn.Identity()),
        Dataset("toy", ("a", "b"), *(split(n, shape=(1, 5, 4)) for n in (5, 2, 3)), nn.Identity()),  # another shape
        Dataset("toy", ("a", "b"), split(5), split(2), split(3), nn.Identity(), bit_depth=10),
        Dataset("toy", ("a", "b"), split(5), split(2), split(3), nn.Identity(), bit_depth=12),
    ]
    assert len({dataset.digest() for dataset in others} | {same}) == 8
