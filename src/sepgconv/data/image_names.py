"""Which image files a user means: by name, by folder, by pattern, from a list of names."""

import glob
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sepgconv.data.regular_file import reason
from sepgconv.data.tree import read_tree


@dataclass
class ImageNames:
    """Image files, and what was named besides and is none.

    Attributes:
        paths: the files in the order in which they were named, each once; those of a folder in alphabetical order.
        left_out: what is not there or cannot be looked into, with the reason.
        passed_over: files in the folders whose endings are not those of images, counted by ending.
    """

    paths: list[Path] = field(default_factory=list[Path])
    left_out: dict[Path, str] = field(default_factory=dict[Path, str])
    passed_over: Counter[str] = field(default_factory=Counter[str])


def find_images(names: Iterable[str | Path], *, patterns: bool = True) -> ImageNames:
    """Return the image files that names stand for. No file is opened.

    A name of a file is that file, whatever its ending. A name of a folder is every image in it and in the folders below
    it, as `sepgconv.data.tree.read_tree` finds them. What is neither is a pattern, if it holds one of the signs `*`,
    `?` and `[`: there `**` stands for any number of folders. A file that is named twice comes once.

    Args:
        names: files, folders, patterns.
        patterns: whether names may be patterns.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.png", "a.png", "notes.txt"):
        ...         (Path(folder) / name).touch()
        ...     [path.name for path in find_images([folder]).paths]
        ['a.png', 'b.png']
    """
    found = ImageNames()
    seen: set[str] = set()
    for name in names:
        for path in _matches(Path(name), found) if patterns else [Path(name)]:
            for image in _images_of(path, found):
                if (key := os.path.normpath(image)) not in seen:
                    seen.add(key)
                    found.paths.append(image)
    return found


def split_names(content: bytes) -> list[str]:
    r"""Return the names in a list of files: one on each line, or, as `find -print0` writes them, ended by zero bytes.

    Args:
        content: of the list. Bytes that are no UTF-8 stand for themselves.

    Example:
        >>> split_names(b"a.png\r\nfolder with blanks/b.png\n\n")
        ['a.png', 'folder with blanks/b.png']
    """
    if b"\0" in content:
        parts = content.split(b"\0")
    else:
        parts = [line.removesuffix(b"\r") for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    return [os.fsdecode(part) for part in parts if part.strip()]


def _matches(path: Path, found: ImageNames) -> list[Path]:
    if os.path.lexists(path) or not glob.has_magic(str(path)):
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    if "**" in path.parts:  # it matches the files in every folder itself
        matches = [match for match in matches if not match.is_dir()] or matches
    if not matches:
        found.left_out[path] = "is not there, and no file matches it as a pattern"
    return matches


def _images_of(path: Path, found: ImageNames) -> Iterable[Path]:
    if not os.path.isdir(path):
        return [path]
    try:
        tree = read_tree(path)
    except OSError as error:
        found.left_out[path] = reason(error)
        return []
    odd = tree.unreadable()
    found.left_out |= odd
    for below in tree.walk():
        found.passed_over.update(below.others)
    images = tree.all_images()
    if not images and not odd:
        found.left_out[path] = "is a folder without images"
    return images
