"""The files in a folder of images, listed once; links are followed and no file is opened."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sepgconv.data.image_file import SUFFIXES
from sepgconv.data.regular_file import reason, why_unreadable

# What file managers, archivers and notebooks leave behind; hidden files and folders are passed over, too.
_LITTER = {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
# Files that describe images, or that a file manager made; other files that are no images are reported.
_BESIDE_IMAGES = {
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".md", ".rst", ".html", ".pdf",
    ".db", ".ini", ".py", ".ipynb", ".log", ".lnk", ".bak",
}  # fmt: skip


@dataclass
class Tree:
    """A folder.

    Attributes:
        path: as reached from the root, perhaps through a link.
        images: its own files that end like images, in alphabetical order.
        folders: its folders by name, in alphabetical order.
        others: its own files that end otherwise, counted by ending.
        odd: what cannot be read, with the reason: pipes, broken links, folders that may not be looked into.
        repeats: links to folders that are read already, which are not followed.
        linked: whether anything in it is a link.
    """

    path: Path
    images: list[Path] = field(default_factory=list[Path])
    folders: dict[str, "Tree"] = field(default_factory=dict[str, "Tree"])
    others: Counter[str] = field(default_factory=Counter[str])
    odd: dict[Path, str] = field(default_factory=dict[Path, str])
    repeats: list[Path] = field(default_factory=list[Path])
    linked: bool = False

    def walk(self) -> Iterator["Tree"]:
        """Yield this folder and all below it."""
        yield self
        for folder in self.folders.values():
            yield from folder.walk()

    def all_images(self) -> list[Path]:
        """Return the images of this folder and of all below it, in alphabetical order."""
        return sorted(path for tree in self.walk() for path in tree.images)

    def holding(self) -> dict[str, "Tree"]:
        """Return its folders that have images in them or below."""
        return {name: tree for name, tree in self.folders.items() if any(below.images for below in tree.walk())}

    def unreadable(self) -> dict[Path, str]:
        """Return what cannot be read of this folder and all below it, with the reasons."""
        found: dict[Path, str] = {}
        for tree in self.walk():
            found |= tree.odd
            if tree.path.suffix.lower() in SUFFIXES and not tree.all_images():
                found.setdefault(tree.path, "is a folder, not a file")
        return found

    def leaves(self) -> dict[str, "Tree"]:
        """Return all folders below this one that hold images themselves, by name."""
        return {tree.path.name: tree for tree in self.walk() if tree is not self and tree.images}


def read_tree(root: Path) -> Tree:
    """Look through a folder.

    Links to folders are followed; but one that leads back to a folder above it, or to one that is read already in the
    same folder of the root, is listed in `Tree.repeats` instead.

    Args:
        root: the folder.

    Raises:
        OSError: it may not be looked into.
    """
    tree = Tree(root)
    _list(tree, entries=sorted(os.scandir(root), key=lambda entry: entry.name))
    top = Path(os.path.realpath(root))
    for name, child in list(tree.folders.items()):
        real = Path(os.path.realpath(child.path))
        if top.is_relative_to(real):
            tree.repeats.append(tree.folders.pop(name).path)
            continue
        seen = {top, real}
        links: list[tuple[Tree, str]] = []
        _fill(child, links, seen)
        for parent, link in links:  # grows while it is gone through; real folders come before links to them
            _follow(parent, link, links, seen)
    return tree


def _fill(tree: Tree, links: list[tuple[Tree, str]], seen: set[Path]) -> None:
    try:
        entries = sorted(os.scandir(tree.path), key=lambda entry: entry.name)
    except OSError as error:
        tree.odd[tree.path] = reason(error)
        return
    _list(tree, entries)
    for name, child in list(tree.folders.items()):
        if child.path.is_symlink():
            links.append((tree, name))
            continue
        real = Path(os.path.realpath(child.path))
        if real in seen:
            tree.folders.pop(name)  # reached through a link that leads here, too
            continue
        seen.add(real)
        _fill(child, links, seen)


def _follow(parent: Tree, name: str, links: list[tuple[Tree, str]], seen: set[Path]) -> None:
    child = parent.folders[name]
    target = Path(os.path.realpath(child.path))
    if target in seen or Path(os.path.realpath(parent.path)).is_relative_to(target):
        parent.repeats.append(parent.folders.pop(name).path)
        return
    seen.add(target)
    _fill(child, links, seen)


def _list(tree: Tree, entries: list["os.DirEntry[str]"]) -> None:
    for entry in entries:
        path = tree.path / entry.name
        if entry.name.startswith(".") or entry.name.lower() in _LITTER:
            continue
        tree.linked |= entry.is_symlink()
        ending = path.suffix.lower()
        if os.path.isdir(path):  # False where it may not be looked at
            tree.folders[entry.name] = Tree(path)
        elif ending in SUFFIXES or (entry.is_symlink() and not path.exists()):
            why = why_unreadable(path)
            if why is None:
                tree.images.append(path)
            else:
                tree.odd[path] = why
        elif ending not in _BESIDE_IMAGES:
            tree.others[ending or "no ending"] += 1
