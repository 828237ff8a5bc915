import dataclasses
import json

from experiments import Cell
from experiments.cells import fingerprint, row_fingerprint, with_seed
from tests.covering import each

CELL = Cell(model="gc_p4cnn", model_config={"width": 30})


@each(
    "change",
    [
        {"model": "g_p4cnn"},
        {"model_config": {"width": 31}},
        {"model_config": {"width": 30, "execution": "composed"}},
        {"data": "rotated_digits"},
        {"images": 600},
        {"recipe": "default"},
        {"overrides": {"lr": 0.02}},
        {"initialisation": "sepgconv"},
        {"initialisation": "separated"},
    ],
)
def test_whatever_changes_the_numbers_changes_cell_and_row(change):
    other = dataclasses.replace(CELL, **change)
    assert other.fingerprint != CELL.fingerprint
    assert other.row_key != CELL.row_key


def test_another_seed_is_another_cell_of_the_same_row():
    other = with_seed(CELL, 2)
    assert other.fingerprint != CELL.fingerprint
    assert other.row_key == CELL.row_key
    assert other.label == CELL.label.replace("seed1", "seed2")


def test_what_is_the_same_training_is_the_same_cell():
    written_out = Cell(
        model="gc_p4cnn",
        model_config={"group": "p4", "width": 30},
        overrides={"lr": 0.01},
        measures=("redundancy",),  # measuring changes no training
    )
    assert written_out.fingerprint == CELL.fingerprint


def test_the_recipe_is_a_label_and_its_values_count():
    values = {"weight_decay": 1e-5, "batch_size": 256, "epochs": 50, "schedule": "step", "milestones": (40,)}
    same = Cell(
        model="gc_p4cnn",
        model_config={"width": 30},
        recipe="default",
        initialisation="published",
        overrides={**values, "hold_out": False},
    )
    assert same.config.recipe != CELL.config.recipe
    assert same.fingerprint == CELL.fingerprint


def test_an_initialisation_is_the_recipes_unless_it_is_named():
    assert CELL.specification()["initialisation"] == "published" == CELL.config.initialisation
    assert dataclasses.replace(CELL, initialisation="published").fingerprint == CELL.fingerprint
    assert dataclasses.replace(CELL, recipe="default").config.initialisation == "sepgconv"
    separated = dataclasses.replace(CELL, initialisation="separated")
    assert separated.config.initialisation == "sepgconv"
    assert "separated" in separated.label


def test_a_preset_that_changes_makes_other_cells(monkeypatch):
    from sepgconv.models import registry

    unnamed = Cell(model="gc_p4cnn")
    assert unnamed.fingerprint == CELL.fingerprint
    entry = dataclasses.replace(registry.MODELS["gc_p4cnn"], preset={"width": 5, "group": "p4"})
    monkeypatch.setitem(registry.MODELS, "gc_p4cnn", entry)
    assert unnamed.fingerprint != CELL.fingerprint


def test_fingerprints_outlive_json():
    specification = json.loads(json.dumps(CELL.specification()))
    assert fingerprint(specification) == CELL.fingerprint
    assert row_fingerprint(specification) == CELL.row_key


def test_the_fingerprint_is_not_that_of_another_process():
    """Not Python's own hash, which differs from process to process: records outlive processes."""
    assert fingerprint({"config": {"seed": 1}}) == "532df4b50a4bd15b"


def test_labels_say_what_is_special():
    assert CELL.label == "gc_p4cnn-w30-rotmnist-seed1"
    other = Cell(model="p4m_resnet44", data="cifar10", recipe="paper-cifar10+", images=10_000, seed=3)
    assert other.label == "p4m_resnet44-w11-23-45-cifar10-10000-images-augmented-seed3"
