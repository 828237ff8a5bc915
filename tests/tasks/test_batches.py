import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sepgconv.tasks.batches import Batches, epoch_order, epoch_seed


def numbered(count):
    """Images whose only pixel is their number."""
    numbers = torch.arange(count)
    return numbers.float().view(-1, 1, 1, 1), numbers


def test_every_image_comes_once_in_the_given_order_and_the_last_batch_is_short():
    order = epoch_order(10, seed=1, epoch=0)
    batches = list(Batches(*numbered(10), batch_size=4, order=order))
    assert [size for _, _, size in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([labels for _, labels, _ in batches]), order)
    assert all(torch.equal(images.flatten(), labels.float()) for images, labels, _ in batches)


def test_the_order_depends_on_seed_and_epoch_alone():
    torch.manual_seed(0)
    first = epoch_order(100, seed=1, epoch=5)
    torch.rand(7)
    assert torch.equal(first, epoch_order(100, seed=1, epoch=5))
    assert not torch.equal(first, epoch_order(100, seed=2, epoch=5))
    assert not torch.equal(first, epoch_order(100, seed=1, epoch=6))
    assert not torch.equal(first, torch.arange(100))


def test_drawing_the_order_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    epoch_order(100, seed=1, epoch=5)
    assert torch.equal(before, torch.get_rng_state())


def test_the_streams_of_a_seed_are_apart():
    seeds = [epoch_seed(s, e, stream) for s in range(5) for e in range(5) for stream in range(5)]
    assert len(set(seeds)) == 125
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_last_batch_of_one_image_joins_the_one_before():
    batches = list(Batches(*numbered(9), batch_size=4))
    assert [labels.tolist() for _, labels, _ in batches] == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    assert len(Batches(*numbered(9), batch_size=4)) == 2
    assert [len(labels) for _, labels, _ in Batches(*numbered(9), batch_size=4, min_share=1)] == [4, 4, 1]


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(1, 60), batch_size=st.integers(1, 40), world_size=st.integers(1, 5), min_share=st.integers(1, 2)
)
def test_the_processes_share_every_batch(count, batch_size, world_size, min_share):
    images, labels = numbered(count)
    options = {"batch_size": batch_size, "world_size": world_size, "min_share": min_share}
    if min(count, batch_size) < min_share * world_size:
        with pytest.raises(ValueError, match=rf"{world_size} process\(es\) need {min_share * world_size} images"):
            Batches(images, labels, **options)
        return
    order = epoch_order(count, seed=1, epoch=0)
    shares = [list(Batches(images, labels, order=order, rank=rank, **options)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    seen = []
    for steps in zip(*shares, strict=True):
        sizes = [len(labels) for _, labels, _ in steps]
        assert min(sizes) >= min_share
        assert max(sizes) - min(sizes) <= 1
        assert {size for _, _, size in steps} == {sum(sizes)}
        seen.append(torch.cat([labels for _, labels, _ in steps]))
    assert torch.equal(torch.cat(seen).sort().values, labels)
