"""A batch in chunks is the batch: sizes that do not divide it, every operation that goes chunk by chunk."""

import pytest
import torch

import sepgconv
from sepgconv.functional import NormRelu, group_batch_norm, separable_group_conv2d
from sepgconv.ops import dispatch
from sepgconv.ops.layout import map_chunks
from tests.covering import named

pytestmark = pytest.mark.usefixtures("float64")


def covered(cut):
    return [index for chunk in cut for index in range(chunk.start, chunk.stop)]


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 64, 129])
def test_every_image_is_in_one_chunk_in_order(monkeypatch, batch):
    for size in [1, 100, 10**4, 10**9]:
        with named(size=size):
            monkeypatch.setattr(dispatch, "CHUNK_BYTES", size)
            cut = dispatch.chunks(torch.zeros(batch, 2, 3, 4), widest=5)
            assert covered(cut) == list(range(batch))
            image = 8 * 5 * 12
            lengths = [chunk.stop - chunk.start for chunk in cut]
            assert max(lengths) == 1 or max(lengths) * image <= size
            assert max(lengths) - min(lengths[:-1], default=max(lengths)) == 0
            assert len(cut) <= max(1, -(-batch * image // size))


def test_a_batch_without_images_is_one_chunk():
    assert dispatch.chunks(torch.zeros(0, 2, 3, 4), widest=5) == [slice(0, 0)]


def test_other_devices_take_the_batch_whole(monkeypatch):
    monkeypatch.setattr(dispatch, "CHUNK_BYTES", 1)
    assert dispatch.chunks(torch.zeros(5, 2, 3, 4, device="meta"), widest=5) == [slice(0, 5)]
    assert len(dispatch.chunks(torch.zeros(5, 2, 3, 4), widest=5)) == 5


def test_results_of_chunks_are_put_together(monkeypatch):
    x = torch.randn(7, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    for size in (1, 2 * 8 * 60, 10**9):
        monkeypatch.setattr(dispatch, "CHUNK_BYTES", size)
        cut, calls = dispatch.chunks(x, widest=3), []
        y = map_chunks(cut, lambda chunk, calls=calls: calls.append(chunk) or 2 * x[chunk])
        assert torch.equal(y, 2 * x)
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert calls == cut


def run_convolution(options, training):
    def run(x, running, scale, shift, pointwise, depthwise, bias):
        step = NormRelu(*running, scale, shift) if training else None
        return separable_group_conv2d(
            x, pointwise, depthwise, "p4m", bias, recompute=True, padding=1, pre_norm_act=step, **options
        )

    return run


def run_norm(relu):
    def run(x, running, scale, shift, *unused):
        return group_batch_norm(x, *running, scale, shift, training=True, relu=relu)

    return run


OPERATIONS = {
    "separable": run_convolution({"execution": "separable"}, False),
    "fourier": run_convolution({"execution": "fourier"}, False),
    "norm, relu, separable": run_convolution({"execution": "separable"}, True),
    "norm, relu, fourier": run_convolution({"execution": "fourier"}, True),
    "reflect": run_convolution({"execution": "fourier", "padding_mode": "reflect"}, True),
    "norm": run_norm(False),
    "norm and relu": run_norm(True),
}
BATCH, MAPS = 7, 8 * 8 * 4 * 5 * 6  # bytes of the widest map of a image: 8 poses of 4 channels


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_chunks_give_the_numbers_and_gradients_of_the_whole(monkeypatch, operation, count):
    order, results, cuts = sepgconv.group("p4m").order, [], set()
    true_cut = dispatch.chunks

    def watched(*args, **kwargs):
        cut = true_cut(*args, **kwargs)
        cuts.add(len(cut))
        return cut

    monkeypatch.setattr(dispatch, "chunks", watched)
    for size in (10**9, BATCH * MAPS // count + MAPS // 8):
        monkeypatch.setattr(dispatch, "CHUNK_BYTES", size)
        torch.manual_seed(2)
        shapes = [(BATCH, 3, order, 5, 6), (3,), (3,), (4, 3, order), (4, 3, 3), (4,)]
        x, *leaves = [torch.randn(shape, requires_grad=True) for shape in shapes]
        running, watched_cuts = [torch.zeros(3), torch.ones(3)], cuts
        watched_cuts.clear()
        y = OPERATIONS[operation](x, running, *leaves)
        used = [x, *(leaf for leaf in leaves if leaf.grad_fn is None)]
        found = torch.autograd.grad((y * torch.randn_like(y)).sum(), used, allow_unused=True)
        results.append([y, *running, *(g for g in found if g is not None)])
        assert (max(cuts) > 1) == (size < 10**9)
        with torch.no_grad():  # coefficients are used up where no gradients are asked for
            assert torch.allclose(OPERATIONS[operation](x, running, *leaves), y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-10)
