"""The cells are those of the paper: theory.md, Rotated MNIST and ResNet44, and what the issue asks beyond."""

import pytest

from experiments import EXPERIMENTS, find_experiment
from experiments.figure3 import IMAGES, IMAGES_ROWS, NETWORKS, WIDTH_ROWS
from sepgconv import create_model
from tests.covering import each

PARAMETERS = {
    ("z2cnn", 20): 25_210,
    ("c_z2cnn", 57): 25_603,
    ("p4cnn", 10): 24_810,
    ("g_p4cnn", 10): 8_910,
    ("gc_p4cnn", 10): 3_420,
    ("g_p4cnn", 17): 25_255,
    ("gc_p4cnn", 30): 24_640,
}
RANGES = {"z2cnn": (10, 100), "c_z2cnn": (25, 311), "p4cnn": (5, 50), "g_p4cnn": (8, 85), "gc_p4cnn": (10, 158)}


def parameters(cell):
    return sum(p.numel() for p in create_model(cell.model, **cell.model_config).parameters())


def test_table_1_has_35_cells_of_the_published_networks():
    cells = EXPERIMENTS["table1"].cells()
    assert len(cells) == len({cell.fingerprint for cell in cells}) == 35
    assert {cell.seed for cell in cells} == {1, 2, 3, 4, 5}
    assert {(cell.model, cell.width): parameters(cell) for cell in cells} == PARAMETERS


def test_table_1_uses_the_published_recipe():
    for cell in EXPERIMENTS["table1"].cells():
        config = cell.config
        assert (config.optimizer, config.lr, config.weight_decay, config.batch_size) == ("adam", 0.01, 1e-5, 256)
        assert (config.epochs, config.schedule, config.milestones, config.gamma) == (50, "step", (40,), 0.1)
        assert (config.augmentation, config.hold_out, cell.images, cell.data) == ("none", False, None, "rotmnist")


def test_the_first_cells_are_one_seed_of_every_row():
    first = EXPERIMENTS["table1"].cells()[:7]
    assert {cell.seed for cell in first} == {1}
    assert len({cell.row_key for cell in first}) == 7


def test_figure_3_has_the_published_ranges_and_shares_cells_with_table_1():
    assert len(IMAGES) >= 5
    assert (min(IMAGES), max(IMAGES)) == (600, 12_000)
    assert {row.cell.model for row in IMAGES_ROWS} == {model for _, model, _ in NETWORKS}
    for model, (smallest, largest) in RANGES.items():
        widths = [row.cell.width for row in WIDTH_ROWS if row.cell.model == model]
        assert (min(widths), max(widths)) == (smallest, largest)
    rows = [row.cell.row_key for row in EXPERIMENTS["figure3"].rows]
    assert len(rows) == len(set(rows))
    assert {row.cell.row_key for row in EXPERIMENTS["table1"].rows} <= {
        row.cell.row_key for row in IMAGES_ROWS + WIDTH_ROWS
    }


def test_table_2_begins_with_all_seeds_of_the_fifth():
    """A GPU that is lent for a while should give p4m and gc-p4m of the same seeds before anything else."""
    for seeds in (None, (3, 1, 2)):
        cells = EXPERIMENTS["table2"].cells(seeds)
        order = [(cell.model, cell.seed) for cell in cells if cell.images == 10_000]
        models = ("p4m_resnet44", "gc_p4m_resnet44")
        assert order == [(model, seed) for seed in seeds or (1, 2, 3) for model in models]
        assert [cell.images for cell in cells[:7]] == [10_000] * 6 + [None]
        assert len(cells) == 30


def test_table_2_has_both_augmentations():
    cells = EXPERIMENTS["table2"].cells((1,))
    assert [cell.model for cell in cells[:2]] == ["p4m_resnet44", "gc_p4m_resnet44"]
    assert {cell.images for cell in cells[:2]} == {10_000}
    augmented = {(cell.model, cell.config.augmentation) for cell in cells[2:]}
    models = ("resnet44", "p4m_resnet44", "g_p4m_resnet44", "gc_p4m_resnet44")
    assert augmented == {(model, name) for model in models for name in ("none", "crop-flip")}
    assert {cell.config.epochs for cell in cells} == {300}


@each("name", EXPERIMENTS)
def test_every_cell_can_be_told_from_the_others_by_its_label(name):
    cells = EXPERIMENTS[name].cells()
    assert len({cell.label for cell in cells}) == len({cell.fingerprint for cell in cells}) == len(cells)


@each("name", EXPERIMENTS)
def test_at_least_three_seeds(name):
    assert len(EXPERIMENTS[name].seeds) >= 3


def test_an_unknown_table_is_named():
    with pytest.raises(ValueError, match="unknown table or figure 'tabel1'; did you mean 'table1'"):
        find_experiment("tabel1")
