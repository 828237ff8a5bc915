"""The error for image files that cannot be read."""

from pathlib import Path


class UnreadableImageError(ValueError):
    """An image file that cannot be read, or not without guessing.

    Attributes:
        reason: why, without the file's name.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot read the image {path}: {reason}")
        self.reason = reason
