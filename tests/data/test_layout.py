"""Which folders are parts and which are classes, in folders as people have them."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from sepgconv.data import Dataset, load_dataset
from sepgconv.data.part_names import part_of
from tests.covering import each
from tests.data.builders import folders, images


def sizes(dataset: Dataset) -> list[int]:
    return [len(part) for part in (dataset.train, dataset.validation, dataset.test)]


@pytest.mark.parametrize(
    ("train", "test", "validation"),
    [
        ("Train", "Test", "Validation"),
        ("TRAIN", "TEST", "VAL"),
        ("training", "testing", "valid"),
        ("training_set", "test set", "dev"),
        ("train-images", "test-images", "validation-data"),
    ],
)
def test_parts_are_known_by_any_usual_name(tmp_path: Path, train: str, test: str, validation: str):
    root = folders(tmp_path, f"{train}/a", f"{train}/b", f"{test}/a", f"{test}/b")
    dataset = load_dataset(str(root))
    assert dataset.classes == ("a", "b")
    assert sizes(dataset) == [10, 2, 12]
    folders(tmp_path, f"{validation}/a", f"{validation}/b")
    assert sizes(load_dataset(str(root))) == [12, 12, 12]


@each("name", ["trained", "contest", "evaluation", "a", "set", "images", ""])
def test_other_names_are_no_parts(name: str):
    assert part_of(name) is None


@pytest.mark.parametrize(
    ("names", "classes", "expected", "gone_into"),
    [
        (("PetImages/cat", "PetImages/dog"), ("cat", "dog"), [8, 2, 2], ["PetImages"]),
        (("ds/train/a", "ds/train/b", "ds/test/a", "ds/test/b"), ("a", "b"), [10, 2, 12], ["ds"]),
        (("x/y/z/a", "x/y/z/b"), ("a", "b"), [8, 2, 2], ["x", "y", "z"]),
        (("train/train/a", "train/train/b", "test/a", "test/b"), ("a", "b"), [10, 2, 12], ["train"]),
    ],
)
def test_a_folder_that_only_wraps_another_is_gone_into(
    tmp_path: Path, names: Sequence[str], classes: tuple[str, ...], expected: list[int], gone_into: list[str]
):
    folders(tmp_path / "data", *names, "__MACOSX/PetImages", ".cache/x")
    (tmp_path / "data" / "readme.txt").write_text("no image")
    with pytest.warns(UserWarning, match="its only folder with images is") as told:
        dataset = load_dataset(str(tmp_path / "data"))
    assert (dataset.name, dataset.classes, sizes(dataset)) == ("folder:data", classes, expected)
    assert [str(warning.message).rpartition(" ")[2] for warning in told] == gone_into
    assert all("its only folder with images is" in str(warning.message) for warning in told)


def test_a_class_of_one_folder_is_no_wrapper(tmp_path: Path):
    folders(tmp_path, "train/n1/images", "train/n2/images", "test/n1/images", "test/n2/images")
    assert load_dataset(str(tmp_path)).classes == ("n1", "n2")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a",), r"only one class, a; expected a folder for each of two or more classes"),
        (
            ("images", "masks", "other"),
            r"images, masks, other are images beside their annotations, as for segmentation",
        ),
        (("train/images", "test/images"), r"train: only one class, images"),
        (("fold1/a", "fold1/b", "fold2/a", "fold2/b"), r"fold1 and fold2 hold folders of the same names \(a, b\)"),
        (("fold1/a", "fold2/a"), r"fold1 and fold2 hold folders of the same names \(a\)"),
        (("fold1/a", "fold1/b", "fold2/a", "fold2/b", "fold2/c"), r"fold1 and fold2 hold folders of the same names"),
        (
            ("cat/train", "cat/test", "dog/train", "dog/test"),
            r"cat and dog hold folders of the same names \(test, train",
        ),
        (
            ("s_train/s_train/a", "s_train/s_train/b", "s_test/s_test/a", "s_test/s_test/b"),
            r"of the same names \(a, b\)",
        ),
        (("Train/a", "Train/b", "train/a", "train/b", "test/a"), r"Train and train both hold train images; keep one"),
        (("train/a", "train/b", "training/a", "test/a"), r"train and training both hold train images; keep one"),
        (("train/a", "test/a", "val/a", "dev/a"), r"dev and val both hold validation images; keep one"),
        (("val/a", "val/b", "test/a", "test/b"), r"has validation and test but no train"),
        (("train/a", "train/b", "test"), r"test: 6 images lie in it directly; expected class folders in it"),
        (("Train", "Test"), r"Test and Train hold images directly; expected class folders in them"),
        (("images/train", "images/val"), r"train and val hold images directly"),
        (("train/Cat", "train/Dog", "test/cat"), r"test has classes that train does not have: cat"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(tmp_path: Path, names: Sequence[str], message: str):
    with pytest.raises(ValueError, match=message):
        load_dataset(str(folders(tmp_path / "data", *names)))


def test_folders_below_classes_are_read_where_their_names_differ(tmp_path: Path):
    dataset = load_dataset(str(folders(tmp_path, "cat/kitten", "cat/adult", "dog/puppy", "dog/old")))
    assert dataset.classes == ("cat", "dog")
    assert sum(sizes(dataset)) == 24


def test_what_is_left_out_is_told(tmp_path: Path):
    root = folders(tmp_path, "train/a", "train/b", "test/a", "test/b", "unlabelled/x")
    images(root / "train", 7)
    with pytest.warns(UserWarning, match="left out") as told:
        dataset = load_dataset(str(root))
    assert sizes(dataset) == [10, 2, 12]
    assert [str(warning.message) for warning in told] == [
        f"{root}: unlabelled is left out, because it is none of the parts train, test",
        f"{root}/train: 7 images beside the class folders are left out, because they have no class: 0.png, 1.png, "
        "2.png, 3.png, 4.png and 2 more",
    ]


def test_a_class_without_images_is_told_and_left_out(tmp_path: Path):
    root = folders(tmp_path, "a", "b", "d")
    (root / "c").mkdir()
    shutil.rmtree(images(root / "e"))
    images(root / "e", 1)
    (root / "e" / "0.png").write_text("damaged")
    with pytest.warns(UserWarning, match="left out|cannot be read") as told:
        dataset = load_dataset(str(root))
    assert dataset.classes == ("a", "b", "d")
    assert dataset.skipped == ("e/0.png",)
    assert str(told[-1].message) == f"{root}: no images of c, e, which is left out of the classes"
    assert dataset.test.labels.tolist() == [0, 1, 2]
    assert sorted(set(dataset.train.labels.tolist())) == [0, 1, 2]


def test_a_class_missing_from_a_part_is_told(tmp_path: Path):
    root = folders(tmp_path, "train/a", "train/b", "test/a")
    (root / "test" / "b").mkdir()
    with pytest.warns(UserWarning, match=r"the test part has no images of b$"):
        assert sizes(load_dataset(str(root))) == [10, 2, 6]


def test_litter_is_passed_over_in_silence(tmp_path: Path):
    root = folders(tmp_path, "a", "b", ".ipynb_checkpoints", "__MACOSX/a")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", "notes.txt", "labels.csv"):
        (root / "a" / name).write_bytes(b"x")
    dataset = load_dataset(str(root))
    assert (dataset.classes, dataset.skipped) == (("a", "b"), ())


def test_other_endings_are_counted_and_named(tmp_path: Path):
    root = folders(tmp_path, "a", "b")
    for number in range(20):
        (root / "a" / f"{number}.jp2").write_bytes(b"x")
    for name in ("a/x.dcm", "b/y.NPY", "b/none"):
        (root / name).write_bytes(b"x")
    images(root / "a", 1, suffix=".jpg").joinpath("0.jpg").rename(root / "a" / "more.jfif")
    images(root / "b", 1, suffix=".jpg").joinpath("0.jpg").rename(root / "b" / "wrong.png")  # readable all the same
    with pytest.warns(UserWarning, match=r"23 files .* endings: 1 x \.dcm, 20 x \.jp2, 1 x \.npy, 1 x no ending"):
        assert sum(sizes(load_dataset(str(root)))) == 14


def test_where_nothing_else_lies_the_endings_that_are_read_are_named(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.dcm").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no class folders with images.*\.png \.jpg.*2 files are passed.*2 x \.dcm"):
        load_dataset(str(tmp_path))
