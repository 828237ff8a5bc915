import errno
import os
from pathlib import Path

import pytest

from sepgconv.training import files


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "file"
    files.write_atomically(path, b"one")
    files.write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file"]


def fail_to_write(monkeypatch, error):
    def fsync(descriptor):
        raise error

    monkeypatch.setattr(files.os, "fsync", fsync)


def fail_to_rename(monkeypatch, error):
    def replace(self, target):
        raise error

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("fail", [fail_to_write, fail_to_rename])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_goes_wrong_leaves_the_old_file_and_no_part(tmp_path, monkeypatch, fail, error):
    path = tmp_path / "file"
    files.write_atomically(path, b"old")
    fail(monkeypatch, error)
    with pytest.raises(type(error)):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_names_the_file_and_not_its_part(tmp_path, monkeypatch):
    path = tmp_path / "file"
    fail_to_rename(monkeypatch, PermissionError(errno.EACCES, "Permission denied", str(tmp_path / ".file.part")))
    with pytest.raises(PermissionError) as caught:
        files.write_atomically(path, b"new")
    assert caught.value.filename == str(path)


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    path = tmp_path / "file"
    synced = []
    real = os.fsync

    def fsync(descriptor):
        synced.append(path.exists())
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", fsync)
    files.write_atomically(path, b"new")
    assert synced == [False, True]  # the file's content, then its folder's entry


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_device_says_so():
    with pytest.raises(OSError, match="No space left on device") as caught, open("/dev/full", "wb") as file:
        file.write(b"x" * 100_000)
    assert caught.value.errno == errno.ENOSPC


def test_json_comes_back(tmp_path):
    files.write_json(tmp_path / "values.json", {"a": [1, None, "ü"]})
    assert files.read_json(tmp_path / "values.json") == {"a": [1, None, "ü"]}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_json_file_is_named(tmp_path, content):
    path = tmp_path / "values.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"values\.json"):
        files.read_json(path)
