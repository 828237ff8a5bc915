"""Columns that are read when they are asked for give what the tensor of the same entries gives, bit for bit."""

import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sepgconv.data import Column, Dataset, Split, take_images
from sepgconv.data.column import chunks, convert, join, take
from sepgconv.data.labelled import Labelled, unit_range
from sepgconv.tasks import evaluate
from tests.covering import named


class Stored(Column):
    """Entries that count how often they are read."""

    def __init__(self, entries: Tensor) -> None:
        super().__init__(entries.shape, entries.dtype)
        self._entries, self.reads = entries, 0

    def read(self, indices: Tensor) -> Tensor:
        self.reads += len(indices)
        return self._entries[indices]


@pytest.fixture
def pixels() -> Tensor:
    return torch.randint(0, 256, (23, 3, 4, 5), dtype=torch.uint8)


def equal(column: Column | Tensor, tensor: Tensor) -> None:
    """In every way of asking."""
    assert (column.shape, column.dtype, column.ndim, len(column)) == (
        tensor.shape,
        tensor.dtype,
        tensor.ndim,
        len(tensor),
    )
    shuffled = torch.randperm(len(tensor))
    odd = torch.arange(len(tensor)) % 2 == 1
    for chosen in (slice(None), slice(2, 5), slice(-3, None), slice(1, None, 2), shuffled, shuffled[:0], odd, 0, -1):
        with named(chosen=chosen):
            assert torch.equal(column[chosen], tensor[chosen])
    assert torch.equal(torch.cat(list(chunks(column, 4))), tensor)
    assert [len(part) for part in chunks(column, 4)] == [len(part) for part in tensor.split(4)]
    assert torch.equal(torch.cat(list(chunks(column))), tensor)


def test_what_is_made_of_a_column_is_what_is_made_of_its_tensor(pixels: Tensor):
    order = torch.randperm(23)[:17]
    made = {
        "itself": (lambda entries: entries),
        "taken": (lambda entries: take(entries, order)),
        "taken twice": (lambda entries: take(take(entries, order), slice(1, None, 3))),
        "joined": (lambda entries: join([take(entries, order), entries, take(entries, slice(0, 1))])),
        "converted": (lambda entries: convert(entries, unit_range, dtype=torch.float32)),
        "all": (lambda entries: take(convert(join([entries, entries]), unit_range, dtype=torch.float32), order + 20)),
    }
    for title, make in made.items():
        with named(title=title):
            column = make(Stored(pixels))
            assert isinstance(column, Column)
            equal(column, make(pixels))
            equal(pickle.loads(pickle.dumps(column)), make(pixels))  # it goes to other processes


def test_nothing_is_read_before_it_is_asked_for(pixels: Tensor):
    stored = Stored(pixels)
    split = Labelled(stored, torch.arange(23) % 3).taken(np.arange(10)).split().take(torch.tensor([9, 0]))
    Dataset("toy", ("a", "b", "c"), split, split, split, nn.Identity())
    assert stored.reads == 0
    assert torch.equal(split.images[:], pixels[[9, 0]].float() / 255)
    assert stored.reads == 2


@pytest.mark.parametrize("wrong", [23, -24, torch.tensor([0, 23]), torch.tensor([-24])])
def test_an_entry_that_is_not_there_is_an_error(pixels: Tensor, wrong: int | Tensor):
    with pytest.raises(IndexError, match="there are 23 entries"):
        Stored(pixels)[wrong]


def test_columns_of_two_kinds_do_not_become_one(pixels: Tensor):
    with pytest.raises(ValueError, match=r"one has torch.uint8 \(3, 4, 5\), another torch.float32 \(3, 4, 5\)"):
        join([Stored(pixels), Stored(pixels.float())])


def both(pixels: Tensor) -> list[Dataset]:
    """The same data set in memory and not."""
    found: list[Dataset] = []
    for make in (lambda tensor: tensor, Stored):
        whole = Split(make(pixels.float() / 255), make(torch.arange(23) % 3))
        parts = [whole.take(chosen) for chosen in (slice(0, 12), slice(12, 18), slice(18, 23))]
        found.append(Dataset("toy", ("a", "b", "c"), *parts, nn.Identity()))
    return found


def test_a_data_set_is_the_same_in_memory_and_not(pixels: Tensor):
    inside, outside = both(pixels)
    assert (inside.in_memory, outside.in_memory) == (True, False)
    assert "read from the disk" in str(outside)
    assert "read from the disk" not in str(inside)
    assert inside.image_shape == outside.image_shape == (3, 4, 5)
    assert inside.digest() == outside.digest()
    few = [take_images(dataset, 9, seed=2) for dataset in (inside, outside)]
    assert not few[1].train.in_memory
    assert few[0].digest() == few[1].digest() != inside.digest()
    network = nn.Sequential(nn.Flatten(), nn.Linear(60, 3))
    assert evaluate(network, inside.train) == evaluate(network, outside.train, batch_size=5)


def test_a_changed_pixel_changes_the_digest_of_what_is_not_in_memory(pixels: Tensor):
    before = both(pixels)[1].digest()
    pixels[20, 0, 0, 0] += 1
    assert both(pixels)[1].digest() != before


def test_a_split_is_a_data_set_of_torch(pixels: Tensor):
    for split in (dataset.train for dataset in both(pixels)):
        image, label = split[3]
        assert (image.shape, int(label)) == ((3, 4, 5), 0)
        assert len(list(split)) == 12  # an index beyond the end ends a loop
        batches = list(DataLoader(split, batch_size=5))
        assert torch.equal(torch.cat([images for images, _ in batches]), split.images[:])
        assert torch.equal(torch.cat([labels for _, labels in batches]), split.labels[:])
        assert torch.equal(torch.cat([images for images, _ in split.batches(7)]), split.images[:])


def test_labels_that_are_not_in_memory_may_be_masks():
    masks = torch.arange(60).view(3, 4, 5) % 2
    labelled = Labelled(torch.zeros(3, 1, 4, 5), Stored(masks))
    assert (labelled.classes(), labelled.strata().tolist()) == ([0, 1], [0, 0, 0])
    assert labelled.split().has_classes
