"""Links in image folders, and what lies there and is no file."""

import os
import socket
from pathlib import Path

import pytest

from sepgconv.data import load_dataset, read_image
from tests.data.builders import folders, images


def count(root: Path) -> int:
    dataset = load_dataset(str(root))
    return sum(len(part) for part in (dataset.train, dataset.validation, dataset.test))


def test_linked_folders_and_files_are_read(tmp_path: Path):
    root = folders(tmp_path / "data", "a", "b")
    (root / "a" / "more").symlink_to(images(tmp_path / "elsewhere", 4))
    (root / "b" / "one.png").symlink_to(images(tmp_path / "another") / "0.png")
    assert count(root) == 6 + 4 + 6 + 1


def test_classes_of_nothing_but_links_are_read(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "link").symlink_to(images(tmp_path / f"of {name}"))
    assert count(tmp_path / "data") == 12
    (tmp_path / "classes").mkdir()
    for name in ("a", "b"):
        (tmp_path / "classes" / name).symlink_to(tmp_path / f"of {name}")
    assert count(tmp_path / "classes") == 12


def test_a_validation_part_may_be_a_link_to_the_test_part(tmp_path: Path):
    root = folders(tmp_path, "train/a", "train/b", "test/a", "test/b")
    (root / "val").symlink_to(root / "test")
    with pytest.warns(UserWarning, match=r"12 images are in two parts: val/a/0.png \(validation\) and test/a/0.png"):
        dataset = load_dataset(str(root))
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [12, 12, 12]


def test_links_in_circles_end_and_are_named(tmp_path: Path):
    root = folders(tmp_path / "data", "a", "b", "a/deep")
    (root / "a" / "self").symlink_to(root / "a")
    (root / "a" / "up").symlink_to(root)
    (root / "b" / "top").symlink_to(tmp_path)
    (root / "b" / "here").symlink_to(".")
    (root / "around").symlink_to(root)
    with pytest.warns(UserWarning, match=r"not followed: around, a/self, a/up, b/here, b/top$"):
        assert count(root) == 18


def test_folders_that_link_to_each_other_end(tmp_path: Path):
    root = folders(tmp_path / "data", "a/x", "a/y", "b")
    (root / "a" / "x" / "link").symlink_to(root / "a" / "y")
    (root / "a" / "y" / "link").symlink_to(root / "a" / "x")
    with pytest.warns(UserWarning, match=r"links to folders .* are not followed: a/x/link, a/y/link$"):
        assert count(root) == 18
    for name, other in (("one", "two"), ("two", "one")):
        (images(tmp_path / "away" / name) / "link").symlink_to(tmp_path / "away" / other)
    (root / "b" / "more").symlink_to(tmp_path / "away" / "one")
    with pytest.warns(UserWarning, match=r"are not followed: .*b/more/link/link$"):
        assert count(root) == 30


@pytest.mark.parametrize(("link", "target"), [("b/link", "a"), ("b/9.png", "a/3.png"), ("c", "a")])
def test_an_image_of_two_classes_is_refused(tmp_path: Path, link: str, target: str):
    root = folders(tmp_path, "a", "b")
    (root / link).symlink_to(root / target)
    with pytest.raises(ValueError, match=r"a/\d\.png and .*\.png are one image, through a link, but of two classes"):
        load_dataset(str(root))


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path):
    root = folders(tmp_path, "a", "b")
    os.mkfifo(root / "a" / "pipe.png")
    (root / "a" / "folder.png").mkdir()
    (root / "b" / "device.png").symlink_to("/dev/zero")
    (root / "b" / "gone.png").symlink_to("nowhere.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "b" / "s.png"))
        with pytest.warns(UserWarning, match=r"5 of 17 images cannot be read and are left out: ") as told:
            dataset = load_dataset(str(root))
    assert dataset.skipped == ("a/folder.png", "a/pipe.png", "b/device.png", "b/gone.png", "b/s.png")
    for reason in ("a folder", "a pipe", "a device", "a link to nowhere.png, which is not there", "a socket"):
        assert f"(is {reason}" in str(told[0].message)


@pytest.mark.parametrize("name", ["pipe.png", "/dev/zero", "folder.png"])
def test_one_image_that_is_no_file_is_refused(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match=r"cannot read the image .*: is a (pipe|device|folder), not a file"):
        read_image(tmp_path / name, (1, 8, 8))


@pytest.mark.parametrize("name", ["pipe.npz", "/dev/zero"])
def test_a_data_set_that_is_no_file_is_refused(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(ValueError, match=r"is a (pipe|device), not a file; expected an \.npz file"):
        load_dataset(str(tmp_path / name))


def test_what_may_not_be_read_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = folders(tmp_path, "a", "b", "a/closed")

    def refuse(kind):
        def opener(path, *args, **kwargs):
            if str(path).endswith(("closed", "0.png", ".npz")):
                raise PermissionError(13, "Permission denied", str(path))
            return kind(path, *args, **kwargs)

        return opener

    monkeypatch.setattr(os, "scandir", refuse(os.scandir))
    monkeypatch.setattr("builtins.open", refuse(open))
    with pytest.warns(UserWarning, match="cannot be read") as told:
        dataset = load_dataset(str(root))
    assert dataset.skipped == ("a/0.png", "a/closed", "b/0.png")
    assert "a/0.png (permission denied), a/closed (permission denied)" in str(told[0].message)
    with pytest.raises(ValueError, match=r"cannot read the image .*0\.png: permission denied"):
        read_image(root / "a" / "0.png", (1, 8, 8))
    (tmp_path / "x.npz").write_bytes(b"PK")
    monkeypatch.setattr(Path, "open", refuse(Path.open))
    with pytest.raises(PermissionError, match=r"x\.npz cannot be read: permission denied$"):
        load_dataset(str(tmp_path / "x.npz"))
