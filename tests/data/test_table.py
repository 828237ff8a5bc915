"""Data sets from CSV and TSV files: columns found or named, kinds of labels, and one sentence for each mistake."""

import csv
import functools
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sepgconv.data import DataOptions, Dataset, load_dataset, load_labelled_images
from sepgconv.data.listed_table import list_table

load = functools.partial(load_dataset, preprocessing="identity")  # pixels as they are

Row = dict[str, object]


def write_images(folder: Path, count: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng([number, len(folder.name)]).integers(0, 256, (6, 6)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"cell [{number}].png")
    return [f"cell [{number}].png" for number in range(count)]


def write_table(path: Path, rows: list[Row], *, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def cells(folder: Path, count: int = 40, **columns: object) -> list[Row]:
    """Return rows of `count` images: two classes, patients of four images; other columns as functions of a number."""
    rows: list[Row] = [
        {"Image Path": name, "diagnosis": "benign" if number % 2 else "malign", "Patient ID": f"p{number // 4}"}
        for number, name in enumerate(write_images(folder, count))
    ]
    for name, value in columns.items():
        for number, row in enumerate(rows):
            row[name] = value(number) if callable(value) else value
    return rows


DIAGNOSIS = DataOptions(label_columns=("diagnosis",))


@pytest.mark.parametrize(
    ("name", "delimiter", "encoding"),
    [("cells.csv", ",", "utf-8"), ("cells.csv", ";", "utf-8-sig"), ("cells.TSV", "\t", "utf-8")],
)
def test_patients_are_not_divided(tmp_path: Path, name: str, delimiter: str, encoding: str):
    path = write_table(tmp_path / name, cells(tmp_path), delimiter=delimiter, encoding=encoding)
    dataset = load(str(path), options=DIAGNOSIS)
    assert (dataset.name, dataset.classes, dataset.image_shape) == ("table:cells", ("benign", "malign"), (1, 6, 6))
    division = dataset.division
    assert division is not None
    assert (division.grouped_by, division.groups_in_several_parts()) == ("Patient ID", {})
    assert len({image.group for image in division.images}) == 10
    for part, split in (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test)):
        members = [image for image in division.images if image.part == part]
        for image, pixels, label in zip(members, split.images, split.labels.tolist(), strict=True):
            number = int(image.path[6:-5])
            assert (image.group, dataset.classes[label]) == (f"p{number // 4}", "benign" if number % 2 else "malign")
            assert (np.asarray(Image.open(tmp_path / image.path)) == pixels[0].mul(255).round().numpy()).all()


def test_given_parts_are_kept_and_groups_in_two_of_them_told(tmp_path: Path):
    rows = cells(tmp_path, split=lambda number: ("Training", "val", "TEST")[min(number // 14, 2)])
    path = write_table(tmp_path / "x.csv", rows)
    said = (
        r"1 group of Patient ID in more than one part: p3 \(train and validation\); leave out the column of the split"
    )
    with pytest.warns(UserWarning, match=said):
        dataset = load(str(path), options=DIAGNOSIS)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [14, 14, 12]
    found = load_labelled_images(
        str(path), classes=("malign", "benign"), image_shape=(3, 6, 6), part="validation", options=DIAGNOSIS
    )
    assert (found.part, found.split.images.shape) == ("validation", (14, 3, 6, 6))
    assert found.split.labels.tolist() == [0, 1] * 7
    assert found.origins[0].path == "cell [14].png"
    with pytest.raises(ValueError, match="images of the classes benign; the network knows malign, odd"):
        load_labelled_images(str(path), classes=("malign", "odd"), image_shape=(1, 6, 6), options=DIAGNOSIS)


def test_paths_are_relative_to_a_folder_of_your_choice(tmp_path: Path):
    rows = cells(tmp_path / "deep" / "images")
    for row in rows:
        row["Image Path"] = f"images\\{row['Image Path']}"  # as written on Windows
    path = write_table(tmp_path / "x.csv", rows)
    assert len(load(str(path), data_dir=tmp_path / "deep", options=DIAGNOSIS).train) == 28
    with pytest.raises(
        ValueError, match=r"x.csv: 40 rows \(lines 2, 3, 4, ...\) without file: there is no images.cell"
    ):
        load(str(path), options=DIAGNOSIS)


def kinds(dataset: Dataset) -> tuple[torch.dtype, int, tuple[str, ...]]:
    return dataset.train.labels.dtype, dataset.train.labels.ndim, dataset.classes


def test_labels_are_what_their_values_say_unless_the_user_does(tmp_path: Path):
    rows = cells(
        tmp_path,
        grade=lambda n: n % 3,
        float_grade=lambda n: f"{n % 3}.0",
        size=lambda n: 0.5 * n,
        round=lambda n: n % 2,
        dark=lambda n: int(n % 5 == 0),
        tags=lambda n: "|".join(["round"] * (n % 2) + ["dark"] * (n % 5 == 0)),
    )
    path = write_table(tmp_path / "x.csv", rows)
    integer, real = torch.int64, torch.float32
    expected: list[tuple[tuple[str, ...], str | None, tuple[torch.dtype, int, tuple[str, ...]]]] = [
        (("grade",), None, (integer, 1, ("0", "1", "2"))),
        (("float_grade",), None, (integer, 1, ("0", "1", "2"))),
        (("grade",), "numbers", (real, 2, ())),
        (("size",), None, (real, 2, ())),
        (("size", "grade"), None, (real, 2, ())),
        (("round", "dark"), None, (real, 2, ("round", "dark"))),
        (("round", "dark"), "numbers", (real, 2, ())),
        (("tags",), None, (real, 2, ("dark", "round"))),
    ]
    for columns, targets, found in expected:
        dataset = load(str(path), options=DataOptions(label_columns=columns, targets=targets))
        assert kinds(dataset) == found, columns
    dataset = load(str(path), options=DataOptions(label_columns=("dark", "round")))
    assert dataset.division is not None
    for image, label in zip(dataset.division.images, dataset.train.labels.tolist(), strict=False):
        number = int(image.path[6:-5])
        assert label == [number % 5 == 0, number % 2]
        assert image.label == rows[number]["tags"] or {*str(rows[number]["tags"]).split("|")} == {
            *image.label.split("|")
        }
    judged = load_labelled_images(
        str(path),
        classes=("round", "dark"),
        image_shape=(1, 6, 6),
        options=DataOptions(label_columns=("dark", "round")),
    )
    assert judged.split.labels[:6].tolist() == [[n % 2, n % 5 == 0] for n in range(6)]
    table = write_table(tmp_path / "age.csv", [{**row, "age": 20 + n} for n, row in enumerate(rows)])
    (note,) = list_table(table, options=DataOptions(label_columns=("age",))).notes
    assert "'age' holds 40 whole numbers, each a class; if they are numbers to predict, say so" in note


MISTAKES: dict[str, tuple[str, DataOptions, str]] = {
    "a column that is not there": (
        "path,label\n0.png,a\n",
        DataOptions(group_column="patien"),
        r"there is no column 'patien' \(group_column, --group-column\).* \(columns: path, label\)",
    ),
    "its nearest": (
        "path,label,patient\n0.png,a,p\n",
        DataOptions(group_column="patien"),
        r"did you mean 'patient' .*\? \(columns: path, label, patient\)",
    ),
    "no column of paths": (
        "name,label\n0.png,a\n",
        DataOptions(),
        r"no column is called path, file, filename, filepath or the like; say which one holds the paths of the images "
        r"\(path_column, --path-column; columns: name, label\)",
    ),
    "two columns of paths": (
        "path,image,label\n0.png,0.png,a\n",
        DataOptions(),
        r"path and image may both be the column with the paths of the images; say which one \(path_column",
    ),
    "an empty label": (
        "path,label\n0.png,a\n1.png,\n",
        DataOptions(),
        r"line 3 without label: the column 'label' is empty",
    ),
    "an empty path": ("path,label\n,a\n", DataOptions(), r"line 2 without path"),
    "an empty group": ("path,label,slide\n0.png,a,\n", DataOptions(), r"line 2 without a group: the column 'slide'"),
    "a repeated path": (
        "path,label\n0.png,a\n1.png,a\n0.png,b\n",
        DataOptions(),
        r"line 4: the path 0.png stands in line 2, too; give each image one row",
    ),
    "no file": ("path,label\n0.png,a\nx.png,a\n", DataOptions(), r"line 3 without file: there is no x.png in "),
    "a part that is none": (
        "path,label,split\n0.png,a,train\n1.png,a,fold1\n",
        DataOptions(),
        r"the column 'split' holds 'fold1'; expected train, validation and test",
    ),
    "no test part": (
        "path,label,split\n0.png,a,train\n1.png,b,train\n",
        DataOptions(),
        r"has train but no test; add it, or give undivided images",
    ),
    "no number": (
        "path,label\n0.png,1.5\n1.png,big\n",
        DataOptions(targets="numbers"),
        r"line 3: the column 'label' holds 'big'; expected a number",
    ),
    "labels that are none": (
        "path,a,b\n0.png,0,1\n1.png,2,0\n",
        DataOptions(label_columns=("a", "b"), targets="labels"),
        r"line 3: the column 'a' holds '2'; expected 0 or 1",
    ),
    "two columns of classes": (
        "path,a,b\n0.png,0,1\n",
        DataOptions(label_columns=("a", "b"), targets="classes"),
        r"2 columns of classes \(a, b\), but an image has one class",
    ),
    "a row too long": ("path,label\n0.png,a,b\n", DataOptions(), r"line 2: 3 cells, but 2 columns; put text"),
    "columns of one name": ("path,label,label\n0.png,a,b\n", DataOptions(), "two columns are called 'label'"),
    "no rows": ("path,label\n", DataOptions(), "has no rows; expected a first line with the names"),
    "no text": ("path,label\n0.png,\0\n", DataOptions(), "is no text"),
    "no image": ("path,label\n0.png,a\n1.png,b\nx.csv,b\n", DataOptions(), "too few|cannot be read"),
    "one class": (
        "path,label\n0.png,a\n1.png,a\n",
        DataOptions(),
        "only one class, a; expected readable images of two",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_with_the_line(tmp_path: Path, mistake: str):
    text, options, said = MISTAKES[mistake]
    for number in (0, 1):
        Image.new("L", (4, 4), 200 + number).save(tmp_path / f"{number}.png")
    (tmp_path / "x.csv").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=said) as raised:
            load(str(tmp_path / "x.csv"), options=options)
    assert "\n" not in str(raised.value)
    assert str(tmp_path / "x.csv") in str(raised.value)


def test_files_that_are_not_there(tmp_path: Path):
    (tmp_path / "cells.csv").write_text("path,label\n")
    with pytest.raises(FileNotFoundError, match=r"there is no folder or file .*cell.csv', .* did you mean .*cells.csv"):
        load(str(tmp_path / "cell.csv"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="no class folders with images"):
        load(str(tmp_path / "folder.csv"))


def test_an_image_that_cannot_be_read_is_left_out(tmp_path: Path):
    path = write_table(tmp_path / "x.csv", cells(tmp_path))
    (tmp_path / "cell [3].png").write_text("damaged")
    with pytest.warns(
        UserWarning, match=r"1 of 40 images cannot be read and are left out: cell \[3\].png \(not an image"
    ):
        dataset = load(str(path), options=DIAGNOSIS)
    assert dataset.skipped == ("cell [3].png",)
    assert dataset.division is not None
    assert len(dataset.division.images) == 39


def test_spellings_of_classes_and_numbers(tmp_path: Path):
    names = write_images(tmp_path, 40)
    rows: list[Row] = [{"path": name, "label": f"{1 + number % 2:02}"} for number, name in enumerate(names)]
    assert load(str(write_table(tmp_path / "codes.csv", rows))).classes == ("01", "02")
    rows = [{"path": name, "label": f"{number % 2}.0"} for number, name in enumerate(names)]
    assert load(str(write_table(tmp_path / "floats.csv", rows))).classes == ("0", "1")
    rows = [{"path": name, "label": f"{number},5"} for number, name in enumerate(names)]
    numbers = load(str(write_table(tmp_path / "comma.csv", rows, delimiter=";")))
    assert numbers.classes == ()
    assert sorted(numbers.train.labels.flatten().tolist())[0] % 1 == 0.5
    rows = [{"path": name, "label": "b\u00f6s" if number % 2 else "gut"} for number, name in enumerate(names)]
    latin = write_table(tmp_path / "latin.csv", rows, encoding="latin-1")
    with pytest.raises(ValueError, match="line 3: the column 'label' holds text that is not UTF-8"):
        load(str(latin))
    assert load(str(write_table(tmp_path / "utf.csv", rows))).classes == ("b\u00f6s", "gut")


def test_an_option_that_is_not_for_the_file_is_named(tmp_path: Path):
    write_images(tmp_path / "seen" / "a", 8)
    write_images(tmp_path / "seen" / "bb", 8)
    rows: list[Row] = [{"path": f"seen/{name}/cell [{i}].png", "label": name} for name in ("a", "bb") for i in range(8)]
    table = write_table(tmp_path / "t.csv", rows)
    with pytest.raises(ValueError, match="group_column and images_key are not for a folder, which takes group_pattern"):
        load(str(tmp_path / "seen"), options=DataOptions(group_column="patient", images_key="x"))
    with pytest.raises(ValueError, match="group_pattern is not for a table, which takes path_column"):
        load(str(table), options=DataOptions(group_pattern="x"))
    options = DataOptions(group_pattern="cell .([0-9]+)", folds=2)  # of a run on a folder
    judged = load_labelled_images(str(table), classes=("a", "bb"), image_shape=(1, 6, 6), options=options)
    assert len(judged.split) == 16


def test_folds_of_images_that_are_divided_already(tmp_path: Path):
    names = write_images(tmp_path, 40)
    parts = ("train", "train", "val", "test")
    rows: list[Row] = [
        {"path": name, "label": "ab"[number // 4 % 2], "split": parts[number % 4]} for number, name in enumerate(names)
    ]
    table = str(write_table(tmp_path / "divided.csv", rows))
    with pytest.raises(ValueError, match="the images are divided already, folds are for undivided ones"):
        load(table, options=DataOptions(folds=5, fold=3))
    assert len(load(table).train) == 20
