"""Division: which image of a data set is in which part, printed as a table and stored with a run."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sepgconv._numbers import count, plural
from sepgconv._table import Printed, Table
from sepgconv.data.origin import Origin
from sepgconv.data.part_names import PARTS, Part
from sepgconv.data.splitting import Indices

_SHOWN = 20  # classes that the table has


@dataclass(frozen=True)
class DividedImage:
    """One image of a division.

    Attributes:
        path: its file, from the folder of the data set; for an array, the file that holds it.
        part: which part it is in.
        label: its class, or its target as text; "" where there is none.
        group: what it must not be separated from; "" where there are no groups.
        page: which image of a file that holds several, counted from 0; None where a file is an image.

    Example:
        >>> DividedImage("slides/a.png", "test", "benign", group="patient 7").origin
        Origin(path='slides/a.png', group='patient 7', page=None)
    """

    path: str
    part: Part
    label: str = ""
    group: str = ""
    page: int | None = None

    @property
    def origin(self) -> Origin:
        """Where it is from."""
        return Origin(self.path, self.group, self.page)


@dataclass(frozen=True, eq=False, repr=False)
class Division(Printed):
    """Which image of a data set is in which part, and by what rule. It prints as images and classes of each part.

    `to_csv` gives a file that is a data set itself where images have classes or labels: `sepgconv.data.load_dataset`
    reads the same parts from it.

    Attributes:
        title: what is divided.
        rule: by what rule, in words.
        images: all images; those of one part stand in the order in which the data set has them.
        grouped_by: what the groups are called; None where there are none.

    Example:
        >>> parts = ("train", "train", "test")
        >>> images = [DividedImage(f"{name}/{i}.png", part, name) for name in "ab" for i, part in enumerate(parts)]
        >>> division = Division("cells", "every third", tuple(images))
        >>> print(division)
        cells: every third
        part        images  a  b
        ────────────────────────
        train            4  2  2
        validation       0  0  0
        test             2  1  1
        >>> division.to_csv().splitlines()[:2]
        [b'path,label,split', b'a/0.png,a,train']
    """

    title: str
    rule: str
    images: tuple[DividedImage, ...]
    grouped_by: str | None = None

    def to_csv(self) -> bytes:
        """Return the images as a CSV file in UTF-8: path, page where there is one, label, split, group."""
        columns = ["path", "page", "label", "split", "group"]
        if all(image.page is None for image in self.images):
            columns.remove("page")
        if self.grouped_by is None:
            columns.remove("group")
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for image in self.images:
            writer.writerow({**vars(image), "split": image.part})
        return text.getvalue().encode(errors="surrogateescape")

    def digest(self) -> str:
        """Return the SHA-256 (64 hexadecimal digits) of the file that `to_csv` gives."""
        return hashlib.sha256(self.to_csv()).hexdigest()

    def taken(self, chosen: Mapping[Part, Indices], said: str) -> "Division":
        """Return the division of a choice of the images.

        Args:
            chosen: of each part, the positions within it of the images to keep, in their new order; parts that are not
                named stay whole.
            said: what the rule says of the choice.
        """
        kept: list[DividedImage] = []
        for part in PARTS:
            members = [image for image in self.images if image.part == part]
            kept += [members[index] for index in chosen[part]] if part in chosen else members
        return replace(self, images=tuple(kept), rule=f"{self.rule}; {said}")

    def groups_in_several_parts(self) -> dict[str, tuple[Part, ...]]:
        """Return the groups of which more than one part has images, with those parts."""
        found: dict[str, set[Part]] = {}
        for image in self.images:
            if image.group:
                found.setdefault(image.group, set()).add(image.part)
        return {
            group: tuple(part for part in PARTS if part in parts) for group, parts in found.items() if len(parts) > 1
        }

    def _printed_parts(self) -> Sequence[Table | str]:
        labels = Counter(image.label for image in self.images)
        shown = sorted(labels, key=_order) if 1 < len(labels) <= _SHOWN else []  # numbers and masks are no classes
        cells = Counter((image.part, image.label) for image in self.images)
        columns = ["part", "images", *(["groups"] if self.grouped_by else []), *shown]
        rows: list[list[str]] = []
        for part in PARTS:
            members = [image for image in self.images if image.part == part]
            groups = [count(len({image.group for image in members}))] if self.grouped_by else []
            rows.append([part, count(len(members)), *groups, *(count(cells[part, label]) for label in shown)])
        said: list[Table | str] = [Table(f"{self.title}: {self.rule}", columns, rows)]
        if len(labels) > _SHOWN:
            said.append(f"The table leaves out the labels, which are {count(len(labels))}.")
        if broken := self.groups_in_several_parts():
            said.append(f"In more than one part: {plural(len(broken), 'group')} ({', '.join(sorted(broken)[:5])}).")
        return said


def _order(label: str) -> tuple[bool, int, str]:
    # Numbers by their size, before names.
    return (not label.isdecimal(), int(label) if label.isdecimal() else 0, label)
