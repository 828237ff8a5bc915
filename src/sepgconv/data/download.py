"""Finding published files on disk and fetching them with pooch: checksums, and who owns which folder.

Two kinds of folders are searched. The user's: the data folder (`data_dir`, else the environment variable SEPGCONV_DATA)
and a few subfolders of it; nothing is written or removed there, but damaged files are renamed. Ours: `downloads` inside
the data folder, then the user cache of the operating system; downloads go to the first of these, and damaged files in
them are removed.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sepgconv._messages import require
from sepgconv.data.regular_file import reason

DATA_VARIABLE = "SEPGCONV_DATA"


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        name: its file name.
        checksum: "md5:..." or "sha256:..." of its bytes.
        urls: where it can be fetched, tried in this order; none if it cannot be.
    """

    name: str
    checksum: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Places:
    """Where files are looked for: the user's folders, then ours; the first of ours receives downloads."""

    user: tuple[Path, ...]
    ours: tuple[Path, ...]

    def __str__(self) -> str:
        return ", ".join(str(folder) for folder in (*self.user, *self.ours))


class DownloadError(Exception):
    """No address gave the file; the message says why, for each."""


def search_places(data_dir: str | Path | None, subfolders: Sequence[str] = ()) -> Places:
    """Return the folders to search for a data set.

    Args:
        data_dir: the data folder; None means the environment variable SEPGCONV_DATA, or no such folder.
        subfolders: folders inside the data folder that may hold the files.
    """
    pooch = require("pooch", extra="train", purpose="finding and fetching data sets")
    cache = Path(pooch.os_cache("sepgconv"))
    root = data_dir or os.environ.get(DATA_VARIABLE)
    if not root:
        return Places((), (cache,))
    folder = Path(root).expanduser()
    return Places((folder, *(folder / name for name in subfolders)), (folder / "downloads", cache))


def is_intact(path: Path, checksum: str) -> bool:
    """Return whether a file has the checksum "algorithm:hexadecimal".

    Raises:
        OSError: it cannot be read, as without permission.
    """
    pooch = require("pooch", extra="train", purpose="checking files")
    algorithm, _, expected = checksum.partition(":")
    try:
        return pooch.file_hash(str(path), alg=algorithm) == expected
    except OSError as error:  # it may be whole
        raise type(error)(f"{path} cannot be read: {reason(error)}") from error


def find_intact(file: RemoteFile, places: Places) -> Path | None:
    """Return the first copy of a file with the right checksum, or None.

    A damaged copy is named in a warning and never used; in a folder of ours it is removed, in the user's renamed.
    """
    for folder in (*places.user, *places.ours):
        path = folder / file.name
        if not path.is_file():
            continue
        if is_intact(path, file.checksum):
            return path
        if folder in places.ours:
            path.unlink(missing_ok=True)
            what = "was removed"
        else:
            what = _put_aside(path)
        warnings.warn(f"{path} is damaged (expected {file.checksum}) and {what}", stacklevel=2)
    return None


def _put_aside(path: Path) -> str:
    """Rename a damaged file of the user's, so that it is out of the way and yet not lost."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        os.replace(path, aside)
    except OSError:
        return "is not used; replace or remove it"
    return f"was renamed to {aside.name}"


def fetch(file: RemoteFile, places: Places) -> Path:
    """Download a file into our first folder, with a progress bar; only a file with the right checksum is kept.

    Raises:
        DownloadError: no address gave the file, or what came had another checksum.
    """
    pooch = require("pooch", extra="train", purpose="fetching data sets")
    if not file.urls:
        raise DownloadError(f"{file.name} cannot be downloaded")
    failures: list[str] = []
    for url in file.urls:
        try:
            return Path(pooch.retrieve(url, file.checksum, fname=file.name, path=places.ours[0], progressbar=True))
        except (OSError, ValueError) as error:  # requests raises OSErrors, pooch a ValueError for a wrong checksum
            failures.append(f"{urlsplit(url).netloc}: {_failure(error)}")
    raise DownloadError(f"download of {file.name} failed ({'; '.join(failures)})")


def find_or_fetch(file: RemoteFile, places: Places, *, download: bool) -> Path:
    """Return an intact copy of a file, from disk or else from the network.

    Raises:
        FileNotFoundError: there is none; the message says what was looked for, where, and where it comes from.
    """
    if path := find_intact(file, places):
        return path
    reason = "downloading was not allowed"
    if download or not file.urls:
        try:
            return fetch(file, places)
        except DownloadError as error:
            reason = str(error)
    raise FileNotFoundError(missing_files([file], places, reason))


def missing_files(files: Sequence[RemoteFile], places: Places, reason: str) -> str:
    """Return the sentence for files that are not there: which, where they were looked for, where they come from."""
    names = ", ".join(file.name for file in files)
    servers = dict.fromkeys(file.urls[0].rpartition("/")[0] for file in files if file.urls)
    origin = f" (published at {', '.join(servers)})" if servers else ""
    return f"no intact {names} in {places}; {reason}. Put the files{origin} there or into a folder given as data_dir"


def _failure(error: Exception) -> str:
    """Return in a few words why a download failed; the texts of requests run over many lines."""
    from requests.exceptions import ConnectionError, HTTPError, Timeout

    match error:
        case HTTPError() if error.response is not None:
            return f"HTTP status {error.response.status_code}"
        case Timeout():
            return "no answer in time"
        case ConnectionError():
            return "no connection"
        case ValueError():
            return "what came has another checksum and was thrown away"
        case _:
            return str(error)
