"""Origin: where an image of a data set is from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an image is from, and what it belongs to.

    Attributes:
        path: its file, from the folder of the data set; for an array, the file that holds it.
        group: what it must not be separated from, as a patient; "" where there are no groups.
        page: which image of a file that holds several, counted from 0; None where the file is the image.

    Example:
        >>> Origin("slides/a.png").name, Origin("stack.tif", page=2).name
        ('slides/a.png', 'stack.tif, image 3')
    """

    path: str
    group: str = ""
    page: int | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.path if self.page is None else f"{self.path}, image {self.page + 1}"
