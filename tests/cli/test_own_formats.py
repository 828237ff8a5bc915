"""A CSV file with patients, through the command line: options, the division that the run keeps, and what reads it."""

import csv
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sepgconv._files import file_digest
from sepgconv.cli import main
from sepgconv.cli.data_of_runs import load_data_of
from sepgconv.cli.data_options import data_options
from sepgconv.data import DataOptions, load_dataset
from sepgconv.tasks import RunRecord, TrainingConfig
from sepgconv.tasks import train as run_training
from sepgconv.tasks.folder import RunFolder
from sepgconv.tasks.record import read_record
from sepgconv.tasks.results import faults

WORDS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "path": (["--path-column", "file"], {"path_column": "file"}),
    "labels": (["--label-column", "a", "--label-column", "b"], {"label_columns": ["a", "b"]}),
    "split": (["--split-column", "s"], {"split_column": "s"}),
    "group": (["--group-column", "patient"], {"group_column": "patient"}),
    "targets": (["--targets", "numbers"], {"targets": "numbers"}),
    "pattern": (["--group-pattern", r"^[^_]+"], {"group_pattern": r"^[^_]+"}),
    "pages": (["--pages", "channels"], {"pages": "channels"}),
    "range": (["--value-range", "-1,4095.5"], {"value_range": [-1.0, 4095.5]}),
    "fit": (["--fit", "pad"], {"fit": "pad"}),
    "keys": (["--images-key", "x", "--labels-key", "y"], {"images_key": "x", "labels_key": "y"}),
    "masks": (["--masks", "_mask"], {"masks": "_mask"}),
    "values": (["--mask-values", "0,3,7"], {"mask_values": [0, 3, 7]}),
    "foreground": (["--foreground"], {"foreground": True}),
    "shares": (["--validation", "0.2", "--test", "0.3"], {"validation": 0.2, "test": 0.3}),
    "folds": (["--folds", "5", "--fold", "2"], {"folds": 5, "fold": 2}),
    "seed": (["--split-seed", "7"], {"split_seed": 7}),
}


def cells(folder: Path) -> Path:
    """Write 40 images of 28 x 28 of ten patients, and the file that lists them."""
    rows: list[tuple[str, str, str]] = []
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 160, (28, 28)) + 90 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        rows.append((f"{number}.png", "ab"[number % 2], f"p{number // 4}"))
    with (folder / "cells.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "diagnosis", "patient"), *rows])
    return folder / "cells.csv"


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["sepgconv", *map(str, words)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(SystemExit) as stop:
            main()
    return int(stop.value.code or 0)


def test_every_option_reaches_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[DataOptions] = []

    def stop(name: str, *, options: DataOptions, **others: object) -> None:
        seen.append(options)
        raise ValueError("enough")

    monkeypatch.setattr("sepgconv.data.load_dataset", stop)
    for words, expected in WORDS.values():
        assert call(monkeypatch, "train", "z2cnn", "--data", tmp_path, "--out", tmp_path / "run", *words) == 1
        assert seen.pop().to_dict() == expected
    given = {name: None for _, options in WORDS.values() for name in options}
    assert set(given) == set(DataOptions.__dataclass_fields__), "an option that this test does not know"
    for name, option in (("value_range", "--value-range"), ("mask_values", "--mask-values")):
        with pytest.raises(ValueError, match=rf"{option} must be numbers and commas, as in 0,4095; got 'x'"):
            data_options(**{name: "x"})
    with pytest.raises(ValueError, match="--value-range must be two numbers"):
        data_options(value_range="1,2,3")


def test_a_run_keeps_its_division(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    path, run = cells(tmp_path), tmp_path / "run"
    words = ["--label-column", "diagnosis", "--path-column", "file", "--folds", "4", "--fold", "3"]
    sizes = ["--width", 2, "--epochs", 1, "--threads", 1]
    assert call(monkeypatch, "train", "z2cnn", "--data", path, "--out", run, *sizes, *words) == 0
    said = capsys.readouterr().err
    assert "table:cells: fold 3 of 4, 15 % of the rest for validation, by patient, seed 20210919" in said
    options = DataOptions(label_columns=("diagnosis",), path_column="file", folds=4, fold=3)
    division = load_dataset(str(path), options=options).division
    assert division is not None
    files = RunFolder(run)
    assert files.split.read_bytes() == division.to_csv()
    begun = json.loads(files.setup.read_text())
    assert begun["split"] == {"rule": division.rule, "sha256": division.digest()}
    kept = read_record(files.record)
    assert kept.files["split.csv"] == file_digest(files.split)
    assert faults(files, kept) == []
    record = RunRecord.read(files.record)
    assert TrainingConfig.from_dict(record.config).data_options == options.to_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load_data_of(run, record, None)  # what evaluate and analyse use
    assert again.division is not None
    assert again.division.digest() == division.digest()
    whole = files.split.read_bytes()
    for damage in (lambda: files.split.unlink(), lambda: files.split.write_bytes(whole[:-20])):
        damage()
        assert faults(files, kept) == ["split.csv"]
        run_training(TrainingConfig.from_dict(record.config), folder=run, resume=True, progress=False, threads=1)
        assert files.split.read_bytes() == whole
    # The file is a data set itself: the same parts without any option.
    same = load_dataset(str(files.split), data_dir=tmp_path)
    assert same.division is not None
    assert same.division.digest() == division.digest()
