import contextlib
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sepgconv import _files as files


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

    def replace(self, target):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "replace", replace)
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


def parts_of(folder):
    return sorted(name for name in os.listdir(folder) if name.endswith(".part"))


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("writer", ["content", "function", "function that replaces the file"])
def test_the_mode_is_what_the_umask_leaves(tmp_path, umask, writer):
    """As safetensors does, some writers put a file of mode 0600 in the place of the one they were given."""

    def replace(part):
        other = tmp_path / "other"
        other.write_bytes(b"x")
        other.chmod(0o600)
        other.replace(part)

    content = {"content": b"x", "function": lambda part: part.write_bytes(b"x")}.get(writer, replace)
    before = os.umask(umask)
    try:
        files.write_atomically(tmp_path / "file", content)
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == b"x"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask
    assert os.listdir(tmp_path) == ["file"]


def test_a_function_that_fails_leaves_the_old_file(tmp_path):
    files.write_atomically(tmp_path / "file", b"old")

    def fail(part):
        part.write_bytes(b"ne")
        raise RuntimeError("in the writer")

    with pytest.raises(RuntimeError, match="in the writer"):
        files.write_atomically(tmp_path / "file", fail)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_links_are_not_followed_and_names_cannot_be_foreseen(tmp_path, monkeypatch):
    """Whoever may write in the folder must not make us write elsewhere."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".file.part").symlink_to(victim)  # the name of older versions
    names = iter(["0" * 16, "1" * 16])
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: next(names))
    (folder / f".file.{'0' * 16}.part").symlink_to(victim)
    with pytest.raises(FileExistsError) as caught:  # even a guessed name is not opened
        files.write_atomically(folder / "file", b"new")
    assert caught.value.filename == str(folder / "file")
    files.write_atomically(folder / "file", b"new")
    assert victim.read_bytes() == b"mine"
    assert (folder / "file").read_bytes() == b"new"
    monkeypatch.undo()
    assert len({files.secrets.token_hex(8) for _ in range(100)}) == 100


def test_the_last_name_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "file").symlink_to(tmp_path / "victim")
    files.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_what_is_no_file_is_not_replaced(tmp_path, what):
    path = tmp_path / "there"
    path.mkdir() if what == "folder" else os.mkfifo(path)
    with pytest.raises(OSError, match="a folder" if what == "folder" else "device or a pipe"):
        files.write_atomically(path, b"new")
    assert os.listdir(tmp_path) == ["there"]


def test_the_longest_names_can_be_written(tmp_path):
    for name in ("x" * 255, "ü" * 127, "\U0001f600" * 63):
        files.write_atomically(tmp_path / name, b"new")
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name).unlink()


def start(script, argument):
    """Run a script that imports the module alone, without the rest of the package, which takes its time."""
    environment = os.environ | {"PYTHONPATH": str(Path(files.__file__).parent)}
    return subprocess.Popen([sys.executable, "-c", script, str(argument)], env=environment, stdout=subprocess.PIPE)


WRITE_AND_HANG = """
import pathlib, sys, time
from _files import write_atomically
def hang(part):
    part.write_bytes(b"half")
    print("here", flush=True)
    time.sleep(600)
write_atomically(pathlib.Path(sys.argv[1]), hang)
"""


@contextlib.contextmanager
def writing(path):
    """A process that is half-way through writing a file; killed at the end."""
    process = start(WRITE_AND_HANG, path)
    try:
        assert process.stdout.readline() == b"here\n"
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path):
    path = tmp_path / "file"
    with writing(path):
        assert len(parts_of(tmp_path)) == 1
        files.write_atomically(path, b"mine")  # while the other one lives, its part is its own
        assert len(parts_of(tmp_path)) == 1
    (tmp_path / ".file.not-ours.part").touch()
    (tmp_path / f".other.{'0' * 16}.part").touch()
    assert len(parts_of(tmp_path)) == 3
    files.write_atomically(path, b"again")
    assert parts_of(tmp_path) == [".file.not-ours.part", f".other.{'0' * 16}.part"]
    assert path.read_bytes() == b"again"


def test_kills_at_any_moment_leave_old_or_new_and_no_litter(tmp_path):
    """A process writes two files that belong together, over and over, and is killed."""
    script = """
import pathlib, sys
from _files import write_together
folder = pathlib.Path(sys.argv[1])
print("here", flush=True)
for n in range(10**9):
    content = str(n).encode() * 20000
    write_together({folder / "a": content, folder / "b": content})
"""
    for moment in (0.0, 0.001, 0.01, 0.02, 0.03):
        process = start(script, tmp_path)
        assert process.stdout.readline() == b"here\n"
        process.stdout.close()
        time.sleep(0.1 + moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for name in ("a", "b"):
            content = (tmp_path / name).read_bytes()
            number = content[: len(content) // 20000]
            assert content == number * 20000
    files.write_together({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("second_names", [True, False])
def test_if_the_second_file_cannot_be_renamed_the_first_is_what_it_was(tmp_path, monkeypatch, there, second_names):
    first, second = tmp_path / "first", tmp_path / "second"
    if there:
        files.write_together({first: b"old", second: b"old"})
    if not second_names:

        def link(*_, **__):
            raise PermissionError(errno.EPERM, "as on exFAT")

        monkeypatch.setattr(os, "link", link)
    rename = Path.replace

    def replace(self, target):
        if target == second:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(PermissionError):
        files.write_together({first: b"new", second: b"new"})
    assert [path.read_bytes() for path in (first, second) if path.exists()] == ([b"old", b"old"] if there else [])
    assert len(os.listdir(tmp_path)) == (2 if there else 0)


def test_a_lock_is_held_once_and_leaves_nothing(tmp_path):
    path = tmp_path / "lock"
    with files.locked(path):
        with pytest.raises(files.LockedError), files.locked(path):
            pass
        assert path.exists()
    assert os.listdir(tmp_path) == []
    path.touch()  # as a killed process leaves it
    with files.locked(path):
        pass
    assert os.listdir(tmp_path) == []


def test_threads_never_hold_a_lock_together(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(200):
            with contextlib.suppress(files.LockedError), files.locked(tmp_path / "lock"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert os.listdir(tmp_path) == []


VALUES = {"name": "ü", "number": 1.5, "list": [1, None, True], "inner": {"b": 1e-5, "a": "x"}}


def test_every_flipped_bit_of_a_sealed_file_is_named_or_changes_nothing(tmp_path):
    path = tmp_path / "values.json"
    files.write_json(path, VALUES)
    whole = path.read_bytes()
    noticed = 0
    for bit in range(8 * len(whole)):
        path.write_bytes(whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])
        problem = ""
        try:
            assert files.read_json(path) == VALUES
        except ValueError as error:
            problem = str(error)
            noticed += 1
        assert not problem or str(path) in problem
    assert noticed > 0.8 * 8 * len(whole)
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"values\.json"):
            files.read_json(path)


def test_a_digest_does_not_depend_on_layout(tmp_path):
    sealed = files.seal(VALUES)
    (tmp_path / "a.json").write_text(json.dumps(dict(reversed(sealed.items()))))
    assert files.read_sealed_json(tmp_path / "a.json") == (VALUES, True)
    (tmp_path / "b.json").write_text(json.dumps(VALUES))
    assert files.read_sealed_json(tmp_path / "b.json") == (VALUES, False)  # of an older version
