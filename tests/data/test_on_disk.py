"""A folder of images that stays on the disk gives what it gives in memory, bit for bit, from a cache or without one."""

import os
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sepgconv._files import locked
from sepgconv.data import (
    DataOptions,
    Dataset,
    cache,
    decoding,
    image_files,
    load_dataset,
    load_labelled_images,
    read_image,
)
from sepgconv.data.preprocessing import MeanStd, fit_mean_std
from tests.covering import named
from tests.data.builders import deep_images, images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of grey images in two sizes, with names that are special to shells and searches."""
    root = tmp_path / "my [odd] data*"
    images(root / "ant", 9)
    for number in range(9):
        pixels = np.random.default_rng(number).integers(0, 200, (11, 7)).astype(np.uint8)
        path = root / "Train" / f"{number} (copy).png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which files are decoded."""
    found: list[Path] = []
    real = image_files.read_pixels

    def spy(path: Path, *arguments: object, **options: object):
        found.append(path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(image_files, "read_pixels", spy)
    return found


def ways(folder: Path, kept: Path, **options: object) -> dict[str, Dataset]:
    """The same data set in every way of keeping it."""
    return {
        "in memory": load_dataset(str(folder), **options),
        "in memory, as asked for": load_dataset(str(folder), in_memory=True, **options),
        "cached": load_dataset(str(folder), in_memory=False, cache=kept, **options),
        "from the cache": load_dataset(str(folder), in_memory=False, cache=kept, **options),
        "from the cache into memory": load_dataset(str(folder), cache=kept, **options),
        "from the files": load_dataset(str(folder), in_memory=False, cache=False, **options),
    }


def test_every_way_of_keeping_images_gives_the_same(folder: Path, kept: Path):
    digests: list[str] = []
    pad, resize = {"options": DataOptions(fit="pad")}, {"options": DataOptions(fit="resize")}
    for options in ({}, {"preprocessing": "identity"}, pad, resize, {"image_size": 5}):
        with named(options=options):
            found = ways(folder, kept, **options)
            assert len({dataset.digest() for dataset in found.values()}) == 1
            assert [dataset.in_memory for dataset in found.values()] == [True, True, False, False, True, False]
            assert {dataset.preprocessing.name for dataset in found.values()} == {
                options.get("preprocessing", "mean-std")
            }
            assert {dataset.fit for dataset in found.values()} == {options.get("options", DataOptions()).fit}
            assert all(dataset.classes == ("Train", "ant") for dataset in found.values())
            digests.append(found["in memory"].digest())
    assert len(set(digests)) == 5
    assert not (kept.parent / "user-cache").exists()


def test_images_that_cannot_be_read_are_left_out_everywhere(folder: Path, kept: Path):
    (folder / "ant" / "2b.png").write_text("no image")
    whole = (folder / "ant" / "3.png").read_bytes()
    (folder / "ant" / "5b.png").write_bytes(whole[: len(whole) // 2])  # its header is fine
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = ways(folder, kept)
    assert len({dataset.digest() for dataset in found.values()}) == 1
    assert {dataset.skipped for dataset in found.values()} == {("ant/2b.png", "ant/5b.png")}
    assert [str(warning.message).split(": ")[1] for warning in told] == [
        "2 of 20 images cannot be read and are left out"
    ] * len(found)


def test_masks_stay_on_the_disk_with_their_images(tmp_path: Path, kept: Path):
    root = tmp_path / "cells"
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 200, (9, 6)).astype(np.uint8)
        for name, content in (("images", pixels), ("masks", (pixels > (90 if number % 4 else 250)).astype(np.uint8))):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(root / name / f"{number}.png")
    (root / "masks" / "7.png").write_text("no mask")
    for options in (DataOptions(), DataOptions(fit="pad")):
        with named(options=options), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = ways(root, kept, options=options, image_size=8)
            assert len({dataset.digest() for dataset in found.values()}) == 1
            assert {dataset.skipped for dataset in found.values()} == {("images/7.png",)}
            assert len(told) == len(found)
            stored = found["from the cache"].train
            assert (stored.labels.shape[1:], stored.labels.dtype, stored.in_memory) == ((8, 8), torch.int64, False)
            assert torch.equal(stored.labels[:], found["in memory"].train.labels)
    shutil.copy(root / "masks" / "3.png", root / "masks" / "4.png")  # the cache is stale where a mask changed
    with pytest.warns(UserWarning, match="7.png"):
        changed = load_dataset(str(root), in_memory=False, cache=kept, image_size=8)
    assert changed.digest() != found["cached"].digest()


def test_the_bit_depth_is_kept_in_the_cache(tmp_path: Path, kept: Path):
    for name in ("a", "b"):
        deep_images(tmp_path / "deep" / name, 12)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = ways(tmp_path / "deep", kept)
    assert {(dataset.bit_depth, dataset.digest()) for dataset in found.values()} == {(12, found["cached"].digest())}
    assert ["12 images of 16 bits a pixel reach 4095" in str(warning.message) for warning in told] == [True] * len(
        found
    )


def test_the_cache_is_one_file_and_nothing_is_decoded_twice(folder: Path, kept: Path, read: list[Path]):
    first = load_dataset(str(folder), in_memory=False, cache=kept)
    assert sorted(read) == sorted(folder.glob("*/*.png"))
    (file,) = kept.iterdir()
    assert file.name.startswith("my_odd_data_-")
    read.clear()
    again = load_dataset(str(folder), in_memory=False, cache=str(kept))
    # The size that came out, asked for, as a run does that is evaluated.
    sized = load_dataset(str(folder), in_memory=False, cache=kept, image_size=first.image_shape[1])
    assert again.digest() == sized.digest() == first.digest()
    assert read == []
    load_dataset(str(folder), in_memory=False, cache=kept, image_size=5)
    assert len(read) == 18
    assert len(list(kept.iterdir())) == 2  # another size is another file
    shutil.rmtree(kept)
    assert again.digest() == first.digest()  # whoever has loaded it keeps it


def test_files_that_changed_make_the_cache_stale(folder: Path, kept: Path, read: list[Path]):
    one = folder / "ant" / "3.png"

    def grow() -> None:
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / "ant" / "99.png")

    def shrink() -> None:
        (folder / "ant" / "99.png").unlink()

    def rename() -> None:
        one.rename(folder / "ant" / "33.png"), (folder / "ant" / "4.png").rename(one)

    def touch() -> None:
        os.utime(one, ns=(1, 1))

    load_dataset(str(folder), in_memory=False, cache=kept)
    for change in (grow, shrink, rename, touch):
        with named(change=change.__name__):
            change()
            read.clear()
            found = load_dataset(str(folder), in_memory=False, cache=kept)
            assert sorted(read) == sorted(folder.glob("*/*.png"))
            assert found.digest() == load_dataset(str(folder)).digest()
            assert len(list(kept.iterdir())) == 1


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a pixel": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "the last pixel": lambda content: content[: 18 * 64 - 1] + bytes([content[18 * 64 - 1] ^ 128]) + content[18 * 64 :],
    "the description": lambda content: content.replace(b'"images": 18', b'"images": 17'),
    "cut off": lambda content: content[:-9],
    "cut in front": lambda content: content[5:],
    "empty": lambda content: b"",
    "the mark": lambda content: content[:-1] + b"2",
}


def test_a_damaged_cache_is_told_and_written_anew(folder: Path, kept: Path):
    digest = load_dataset(str(folder), in_memory=False, cache=kept).digest()
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    for damage, change in DAMAGES.items():
        with named(damage=damage):
            assert change(whole) != whole
            file.write_bytes(change(whole))
            with pytest.warns(UserWarning, match="is damaged, or of another version; the images are decoded anew"):
                assert load_dataset(str(folder), in_memory=False, cache=kept).digest() == digest
            assert file.read_bytes() == whole


def test_where_nothing_can_be_kept_the_files_are_read(folder: Path, kept: Path, monkeypatch: pytest.MonkeyPatch):
    digest = load_dataset(str(folder)).digest()
    kept.write_text("a file")
    sentence = r"the cache of decoded images cannot be used \(.*kept: .*\), so the files are decoded whenever"
    with pytest.warns(UserWarning, match=sentence):
        assert load_dataset(str(folder), in_memory=False, cache=kept).digest() == digest
    kept.unlink()
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.warns(UserWarning, match=r"the images take 0.0 GiB, and 0.0 are free"):
        assert load_dataset(str(folder), in_memory=False, cache=kept).digest() == digest
    assert list(kept.iterdir()) == []


def test_two_at_once_decode_once(folder: Path, kept: Path, read: list[Path]):
    load_dataset(str(folder), in_memory=False, cache=kept)
    (file,) = kept.iterdir()
    content = file.read_bytes()
    file.unlink()
    read.clear()
    found: list[Dataset] = []
    waiting = threading.Thread(
        target=lambda: found.append(load_dataset(str(folder), in_memory=False, cache=kept)), daemon=True
    )
    with locked(file.with_suffix(".lock")):  # as another process holds it that decodes the same images
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        file.write_bytes(content)
    waiting.join(60)
    assert (len(found), read) == (1, [])


def test_the_size_decides_and_says_so(folder: Path, kept: Path, monkeypatch: pytest.MonkeyPatch):
    whole = load_dataset(str(folder), cache=kept)
    assert (whole.in_memory, kept.exists()) == (True, False)
    monkeypatch.setattr(decoding, "_MOST_IN_MEMORY", 4 * 18 * 64 - 1)
    sentence = r"18 images of shape \(1, 8, 8\) would take 0.0 GiB of memory, more than 0.0; so they stay on the disk"
    with pytest.warns(UserWarning, match=sentence):
        stored = load_dataset(str(folder), cache=kept)
    assert (stored.in_memory, stored.digest()) == (False, whole.digest())
    assert load_dataset(str(folder), in_memory=True).in_memory
    with pytest.warns(UserWarning, match="in their files"):
        found = load_labelled_images(str(folder), classes=("Train", "ant"), image_shape=(1, 8, 8))
    again = load_labelled_images(str(folder), classes=("Train", "ant"), image_shape=(1, 8, 8), in_memory=True)
    assert torch.equal(found.split.images[:], again.split.images[:])
    assert (found.split.in_memory, again.split.in_memory) == (False, True)
    monkeypatch.setattr(decoding, "_MOST_IN_MEMORY", 4 * 18 * 64)
    assert load_dataset(str(folder)).in_memory


def test_many_files_are_decoded_by_several_processes(folder: Path, kept: Path, monkeypatch: pytest.MonkeyPatch):
    one = load_dataset(str(folder), in_memory=False, cache=False).digest()
    (folder / "ant" / "99.png").write_text("no image")
    monkeypatch.setattr(image_files, "_FEW", 3)
    monkeypatch.setattr(image_files, "_AT_ONCE", 4)
    monkeypatch.setattr(image_files, "cores", lambda: 2)
    for options in ({"in_memory": True}, {"in_memory": False, "cache": kept}, {"in_memory": False, "cache": False}):
        with pytest.warns(UserWarning, match=r"ant/99.png \(not an image"):
            assert load_dataset(str(folder), **options).digest() == one


def test_a_file_that_vanishes_is_named(folder: Path):
    found = load_dataset(str(folder), in_memory=False, cache=False)
    gone = folder / "ant" / "3.png"
    gone.unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no image .*ant/3\.png"):
        [split.images[:] for split in (found.train, found.validation, found.test)]


def test_what_other_data_sets_do_not_have_is_refused(tmp_path: Path, folder: Path):
    np.savez(tmp_path / "a.npz", images=np.zeros((9, 4, 4), np.uint8), labels=np.arange(9) % 2)
    npz = str(tmp_path / "a.npz")
    cases = [
        ("rotated_digits", {"options": DataOptions(fit="pad")}, "rotated_digits is read in one way; fit is for your"),
        ("rotated_digits", {"preprocessing": "identity"}, "has a preprocessing of its own"),
        ("rotated_digits", {"in_memory": False}, "rotated_digits is always read into memory"),
        (npz, {"in_memory": False}, "is always read into memory; in_memory=False is for images that"),
        (npz, {"preprocessing": "gcn"}, r"unknown preprocessing 'gcn' \(valid: identity, mean-std\)"),
        (str(folder), {"preprocessing": "mean"}, "unknown preprocessing 'mean'; did you mean 'mean-std'"),
    ]
    for name, options, sentence in cases:
        with named(name=name, options=options), pytest.raises(ValueError, match=sentence):
            load_dataset(name, **options)


def test_mean_and_deviation_are_those_of_the_training_images(folder: Path, kept: Path):
    raw = load_dataset(str(folder), preprocessing="identity")
    found = load_dataset(str(folder), in_memory=False, cache=kept)
    module = found.preprocessing
    values = raw.train.images[:].double()
    torch.testing.assert_close(module.mean.double(), values.mean((0, 2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(module.std.double(), values.std((0, 2, 3), correction=0), rtol=1e-6, atol=0)
    everything = torch.cat([raw.train.images[:], raw.validation.images[:], raw.test.images[:]])
    assert float(module.mean) != pytest.approx(float(everything.mean()), rel=1e-4)  # nothing of the other parts
    assert torch.equal(found.test.images[:], (raw.test.images[:] - module.mean) / module.std)
    again = load_dataset(str(folder), preprocessing=module)
    assert again.digest() == found.digest()


def test_mean_and_deviation_from_the_definition():
    pixels = torch.randint(0, 256, (40, 3, 5, 4), dtype=torch.uint8)
    pixels[:, 1] = 77  # a channel of one value
    fitted = fit_mean_std(pixels)
    values = pixels.double() / 255
    torch.testing.assert_close(fitted.mean.double(), values.mean((0, 2, 3)), rtol=1e-6, atol=1e-7)
    expected = values.std((0, 2, 3), correction=0)
    expected[1] = 1
    torch.testing.assert_close(fitted.std.double(), expected, rtol=1e-6, atol=1e-7)
    floats = fit_mean_std(pixels.float() / 255)
    torch.testing.assert_close(floats.std, fitted.std, rtol=1e-5, atol=1e-6)
    result = fitted(pixels.float() / 255)
    assert torch.equal(result[3:5], fitted(pixels[3:5].float() / 255))  # batches do not matter
    torch.testing.assert_close(result.double().mean((0, 2, 3)), torch.zeros(3).double(), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="fitted on images of 3 channels"):
        fitted(torch.zeros(2, 1, 5, 4))
    for mean, std in (
        (torch.zeros(2), torch.zeros(2)),
        (torch.zeros(2), torch.ones(3)),
        (torch.zeros(1, 1), torch.ones(1, 1)),
    ):
        with pytest.raises(ValueError, match="expected a mean and a deviation above 0"):
            MeanStd(mean, std)


def test_how_an_image_is_brought_to_a_size(tmp_path: Path):
    """A bar on the left of a wide image: cut off, kept and squeezed, kept and small."""
    pixels = np.zeros((20, 60), np.uint8)
    pixels[:, :12] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    crop, resize, pad = (
        read_image(tmp_path / "wide.png", (1, 20, 20), fit=fit)[0] for fit in ("crop", "resize", "pad")
    )
    assert torch.equal(crop, read_image(tmp_path / "wide.png", (1, 20, 20))[0])  # the default
    assert float(crop.max()) == 0
    assert resize[:, :3].min() > 0.99
    assert resize[:, 5:].max() < 0.01
    assert pad[8:12, :3].min() > 0.99
    assert float(pad[:6].max()) == float(pad[14:].max()) == 0
    same = [read_image(tmp_path / "wide.png", (1, 20, 60), fit=fit) for fit in ("crop", "resize", "pad")]
    assert torch.equal(same[0], same[1])
    assert torch.equal(same[0], same[2])
    with pytest.raises(ValueError, match="unknown fit 'stretch'"):
        read_image(tmp_path / "wide.png", (1, 20, 20), fit="stretch")
    with pytest.raises(ValueError, match="unknown fit 'stretch'"):
        DataOptions(fit="stretch")
