"""Files on the disk: written whole or not at all, locked, sealed with a digest. Imports nothing of the package."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

# All of a file, or what writes it into the (empty) file of the given name.
Content: TypeAlias = bytes | memoryview | Callable[[Path], object]

DIGEST = "sha256"  # the key of sealed values under which their digest stands
_ATTEMPTS = 100
# Of file systems that have none.
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL, errno.EBADF)


class LockedError(BlockingIOError):
    """Another process holds the lock."""


def write_atomically(path: Path, content: Content) -> None:
    """Write a file so that a kill or a full disk at any moment leaves the old one or the new one, never a part.

    The content is written beside, under a name that cannot be guessed, flushed to the disk, then renamed; the mode is
    what the umask leaves. Temporary files that killed processes left beside it are removed.

    Args:
        path: where to; the folder is made when it is missing.
        content: all of it, or a function that writes it into the file whose name it gets.

    Raises:
        IsADirectoryError: `path` is a folder.
        OSError: it could not be written; what was there before is untouched, the part is removed.
    """
    write_together({path: content})


def write_together(contents: Mapping[Path, Content]) -> None:
    """Write several files that belong together: all are on the disk before the first is renamed to its place.

    If one cannot be renamed, those before it become what they were. A kill between two renames leaves new files beside
    old ones: their readers must notice.

    Raises:
        IsADirectoryError: one is a folder.
        OSError: one could not be written; all are as before.
    """
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(_part(path)) for path in contents]
        for part, content in zip(parts, contents.values(), strict=True):
            part.fill(content)
        for part in parts[:-1]:
            stack.enter_context(_put_back_on_error(part.path))
            part.rename()
        parts[-1].rename()
    for folder in {path.parent for path in contents}:
        _sync_folder(folder)


class _Part:
    """A file under its temporary name, open and locked, so that no other process removes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name, self._descriptor = _create_beside(path)

    def fill(self, content: Content) -> None:
        if callable(content):
            content(self.name)
            self._follow()
        else:
            with os.fdopen(os.dup(self._descriptor), "wb") as file:
                file.write(content)
        os.fsync(self._descriptor)

    def _follow(self) -> None:
        # Some writers put a new file, of a mode of their own, in the place of the one they were given.
        mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
        if not os.path.samestat(os.fstat(self._descriptor), os.lstat(self.name)):
            os.close(self._descriptor)
            self._descriptor = _open(self.name)
            _try_lock(self._descriptor)
            self.name.chmod(mode)

    def rename(self) -> None:
        if os.name != "posix":
            self.close()  # elsewhere an open file cannot be renamed
        self.name.replace(self.path)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextlib.contextmanager
def _part(path: Path) -> Generator[_Part, None, None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_replaceable(path)
    _remove_leftovers(path)
    part = _Part(path)
    try:
        yield part
    except BaseException as error:  # also Ctrl-C: nothing half-written stays behind
        part.close()
        part.name.unlink(missing_ok=True)
        if isinstance(error, OSError) and str(error.filename) == str(part.name):  # the user knows the file by its name
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    part.close()


def _create_beside(path: Path) -> tuple[Path, int]:
    for _ in range(_ATTEMPTS):
        name = _name_beside(path)
        try:
            descriptor = _open(name, os.O_CREAT | os.O_EXCL)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        # Between the two steps another process may have taken it for a leftover.
        if _try_lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            return name, descriptor
        os.close(descriptor)
    raise OSError(errno.EBUSY, "other processes remove what is written", str(path))


def _name_beside(path: Path) -> Path:
    return path.with_name(f"{_prefix(path)}{secrets.token_hex(8)}.part")


def _open(name: Path, flags: int = 0) -> int:
    flags |= os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return os.open(name, flags, 0o666)


def _prefix(path: Path) -> str:
    return f".{path.name[:50]}."  # a name may have 255 bytes, a letter four


def _check_replaceable(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder, a file must have another name", str(path))
    if path.exists() and not path.is_file():  # as /dev/null, which would become a file
        raise OSError(errno.EINVAL, "it is a device or a pipe, which cannot be replaced by a file", str(path))


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files whose writers are dead: the operating system has released their locks."""
    pattern = re.compile(re.escape(_prefix(path)) + r"[0-9a-f]{16}\.part")
    for name in os.listdir(path.parent):
        if not pattern.fullmatch(name):
            continue
        part = path.with_name(name)
        with contextlib.suppress(OSError):  # a link, another user's, or gone by now
            descriptor = _open(part)
            try:
                if stat.S_ISREG(os.fstat(descriptor).st_mode) and _try_lock(descriptor):
                    part.unlink()
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def _put_back_on_error(path: Path) -> Generator[None, None, None]:
    """Keep what a file holds while the block replaces it and others; if the block fails, the file holds it again."""
    if not path.exists():
        try:
            yield
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return
    former = _name_beside(path)
    try:
        try:
            os.link(path, former)
        except OSError:  # not every file system has second names
            shutil.copyfile(path, former)
        try:
            yield
        except BaseException:
            former.replace(path)
            raise
    finally:
        former.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # A rename is on the disk only when its folder is; Windows cannot open folders and needs no such step.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Generator[None, None, None]:
    """Hold a lock of the operating system on a file, made for it and removed afterwards.

    It ends with the process, however that ends; a file that a killed process left blocks no other process. If the file
    system has no locks (as some network file systems), nothing is locked.

    Args:
        path: the file; its folder must exist.

    Raises:
        LockedError: another process, or another part of this one, holds it.
        OSError: the file cannot be made.
    """
    for _ in range(_ATTEMPTS):
        descriptor = _open(path, os.O_CREAT)
        try:
            if _try_lock(descriptor) is False:
                raise LockedError(errno.EAGAIN, "another process holds the lock", str(path))
            if not _is_there(descriptor, path):  # its last holder removed it in the meantime
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)
    raise LockedError(errno.EAGAIN, "other processes take and give up the lock", str(path))


def _is_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


if sys.platform == "win32":

    def _try_lock(descriptor: int) -> bool | None:
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(descriptor: int) -> bool | None:
        """Take the lock of an open file; False if somebody has it, None where the file system has no locks."""
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _WITHOUT_LOCKS:
                return None
            return False
        return True


def digest(content: bytes | memoryview) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with the digest of their contents, which `unseal` compares; their order and layout do not count.

    Args:
        values: in types that JSON keeps.

    Raises:
        ValueError: JSON cannot hold a number in them.
    """
    plain = {key: value for key, value in values.items() if key != DIGEST}
    return {**plain, DIGEST: values_digest(plain)}


def unseal(values: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return values without their digest, and whether they had one: older versions wrote none.

    Raises:
        ValueError: the digest is not that of the values.
    """
    plain = {key: value for key, value in values.items() if key != DIGEST}
    if DIGEST not in values:
        # What holds a digest under another name was sealed, and it is the name that is damaged.
        if any(isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) for value in plain.values()):
            raise ValueError(f"its digest stands under another name than {DIGEST}")
        return plain, False
    if values[DIGEST] != values_digest(plain):
        raise ValueError("its contents are not those that its digest was taken of")
    return plain, True


def values_digest(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of values in types that JSON keeps; their order and layout do not count.

    Raises:
        ValueError: JSON cannot hold a number in them.
    """
    read_back = json.loads(json.dumps(values, allow_nan=False))  # tuples become lists, numbers as keys become strings
    return digest(json.dumps(read_back, sort_keys=True, separators=(",", ":")).encode())


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values and their digest as indented JSON, whole or not at all.

    Raises:
        OSError: it could not be written.
    """
    write_atomically(path, (json.dumps(seal(values), indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that `write_json` wrote, and compare its digest; a file of an older version has none.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        ValueError: it is not a JSON object, or not the one that was written.
    """
    return read_sealed_json(path)[0]


def read_sealed_json(path: Path) -> tuple[dict[str, Any], bool]:
    """Read a file as `read_json` does; say also whether it had a digest.

    Raises:
        OSError, ValueError: as `read_json`.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also a UnicodeDecodeError
        raise ValueError(f"{path} is not JSON ({error}); it was damaged or edited") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, it holds a {type(values).__name__}")
    try:
        return unseal(cast("dict[str, Any]", values))
    except ValueError as error:
        raise ValueError(f"{path} was damaged or edited: {error}") from error
