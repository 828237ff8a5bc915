"""The pipeline of Table 2 on real CIFAR-10 images: every network, and both augmentations, for two steps."""

import dataclasses
import os
from pathlib import Path

import pytest

from experiments.table2 import rows
from sepgconv.data import Split, load_dataset
from sepgconv.tasks import TrainingConfig, train

DATA = "cifar10-lossless-subset"
FOLDER = Path(os.environ.get("SEPGCONV_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
ROWS = {f"{row.cell.model}-{row.cell.config.augmentation}": row for row in rows(DATA)}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not any(FOLDER.glob("**/cifar10_lossless_subset.npz")), reason="needs images of CIFAR-10 in SEPGCONV_DATA"
    ),
]


@pytest.fixture(scope="module")
def images():
    """Four images to learn from and two to test on, of the whitened whole."""
    whole = load_dataset(DATA, data_dir=FOLDER)

    def first(split, count):
        return Split(split.images[:count], split.labels[:count])

    train, validation, test = first(whole.train, 3), first(whole.validation, 1), first(whole.test, 2)
    return dataclasses.replace(whole, train=train, validation=validation, test=test)


def test_there_are_four_networks_and_two_augmentations():
    assert len(ROWS) == 8


@pytest.mark.parametrize(
    "name", ["resnet44-none", "p4m_resnet44-crop-flip", "g_p4m_resnet44-none", "gc_p4m_resnet44-crop-flip"]
)
def test_two_steps(name, images, tmp_path):
    config = ROWS[name].cell.config
    short = TrainingConfig.from_dict({**config.to_dict(), "batch_size": 2, "epochs": 1})
    record = train(short, folder=tmp_path / "run", data=images, progress=False, threads=1)
    assert record.data == DATA
    assert record.config["augmentation"] in name
    assert record.images == {"train": 4, "test": 2}
    assert record.seconds > 0
