import sys

import pytest
import torch
from sklearn.datasets import load_digits

from sepgconv.data import load_dataset


def test_the_embedded_set():
    dataset = load_dataset("rotated_digits")
    assert dataset.name == "rotated_digits"
    assert dataset.image_shape == (1, 28, 28)
    parts = (dataset.train, dataset.validation, dataset.test)
    assert tuple(map(len, parts)) == (1000, 200, 597)
    labels, images = torch.cat([part.labels for part in parts]), torch.cat([part.images for part in parts])
    assert torch.bincount(labels).tolist() == torch.bincount(torch.from_numpy(load_digits().target)).tolist()
    for part in parts:
        counts = torch.bincount(part.labels, minlength=10) / len(part)
        assert 0.05 < float(counts.min()) < float(counts.max()) < 0.16
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    assert len(images.flatten(1).unique(dim=0)) == 1797
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]], -1)
    assert float(border.mean()) < 0.02 * float(images.mean())  # strokes stay inside the picture


def test_it_is_the_same_on_every_call_and_whatever_the_global_seed():
    torch.manual_seed(1)
    first = load_dataset("rotated_digits")
    torch.manual_seed(2)
    second = load_dataset("rotated_digits")
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(first, name).images, getattr(second, name).images)
        assert torch.equal(getattr(first, name).labels, getattr(second, name).labels)
    assert first.test.labels[:12].tolist() == PINNED


PINNED = [4, 0, 8, 5, 0, 1, 8, 3, 4, 3, 1, 5]


def test_digits_lie_in_every_direction():
    ones = load_dataset("rotated_digits").train
    strokes = ones.images[ones.labels == 1][:, 0]
    axis = torch.arange(28) - 13.5
    mass = strokes.sum((1, 2))
    xx, yy = ((strokes * grid).sum((1, 2)) / mass for grid in (axis**2, (axis**2)[:, None]))
    assert float((xx > yy).float().mean()) > 0.25  # lying
    assert float((xx < yy).float().mean()) > 0.25  # standing; upright digits would all be


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"rotated_digits needs 'sklearn'.*sepgconv\[train\]"):
        load_dataset("rotated_digits")
