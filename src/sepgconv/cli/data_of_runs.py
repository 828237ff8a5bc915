"""The data set of a run, for commands that come after it."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sepgconv.data import Dataset
    from sepgconv.training import RunRecord


def load_data_of(record: "RunRecord", data_dir: Path | None, *, name: str | None = None) -> "Dataset":
    """Load the data set that a run was trained on, or another one; pictures of a folder get the size of the run's.

    Args:
        record: the run's.
        data_dir: where the files are; see `sepgconv.data.load_dataset`.
        name: of another data set, or a path.
    """
    from sepgconv.data import list_datasets, load_dataset

    name = name or str(record.config["data"])
    height, width = record.image_shape[1:]
    # Your own pictures come in any size; they are brought to that of the run.
    own = name == "folder" or name not in list_datasets()
    return load_dataset(name, data_dir=data_dir, image_size=height if own and height == width else None)
