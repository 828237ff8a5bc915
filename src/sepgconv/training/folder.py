"""The folder of a run: where everything lies, and whether a run may start or resume there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sepgconv._files import read_json, write_json
from sepgconv.training.environment import versions

# Options that the configs of older versions lack, and how it was without them.
_ONCE_UNSAID = {"initialisation": "sepgconv"}


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        root: the folder; it need not exist yet.
    """

    root: Path

    @property
    def setup(self) -> Path:
        """The config, the precision, the data and the versions of the run; written before the first epoch."""
        return self.root / "config.json"

    @property
    def checkpoint(self) -> Path:
        """The state after the last complete epoch."""
        return self.root / "checkpoints" / "last.ckpt"

    @property
    def history(self) -> Path:
        """A row for each epoch."""
        return self.root / "metrics.csv"

    @property
    def tensorboard(self) -> Path:
        """The same figures for TensorBoard."""
        return self.root / "tensorboard"

    @property
    def curves(self) -> Path:
        """The same figures as a picture."""
        return self.root / "curves.png"

    @property
    def model(self) -> Path:
        """What `sepgconv.save` wrote."""
        return self.root / "model"

    @property
    def preprocessing(self) -> Path:
        """Name and tensors of the preprocessing of the images."""
        return self.root / "preprocessing.safetensors"

    @property
    def record(self) -> Path:
        """The `RunRecord`; written last, so the run is finished when it is there."""
        return self.root / "record.json"

    def refuse_existing(self) -> None:
        """Make sure that a new run would write over nothing.

        Raises:
            FileExistsError: the folder holds a run, or files of the same names.
            NotADirectoryError: it is a file.
        """
        if self.root.exists() and not self.root.is_dir():
            raise NotADirectoryError(f"{self.root} is a file; a run needs a folder of its own")
        own = (self.setup, self.checkpoint.parent, self.history, self.tensorboard, self.curves, self.model)
        there = [path.name for path in (*own, self.preprocessing, self.record) if path.exists()]
        if there:
            raise FileExistsError(
                f"{self.root} already holds a run ({', '.join(there)}); continue it with resume=True (--resume), "
                "or choose another folder"
            )

    def begin(self, setup: Mapping[str, Any]) -> None:
        """Make the folder and note what the run is, and the versions that it was begun with.

        Args:
            setup: "config", "precision" and "data", each in types that JSON keeps.

        Raises:
            OSError: it could not be written.
        """
        write_json(self.setup, {**setup, "versions": versions()})

    def refuse_other(self, setup: Mapping[str, Any]) -> None:
        """Make sure that what is to be resumed is the run that was begun.

        Args:
            setup: as in `begin`, or a part of it.

        Raises:
            FileNotFoundError: no run was begun here.
            ValueError: it was another; the message names every difference.
        """
        if not self.setup.is_file():
            raise FileNotFoundError(
                f"{self.root} holds no run to resume (no {self.setup.name}); start it without resume (--resume)"
            )
        begun = read_json(self.setup)
        if isinstance(begun.get("config"), dict):
            begun["config"] = {**_ONCE_UNSAID, **begun["config"]}
        differences = [line for part in setup for line in _differences(part, begun.get(part), setup[part])]
        if differences:
            raise ValueError(
                f"the run in {self.root} was started otherwise: {'; '.join(differences)}. Resume it as it was, "
                "or train in another folder"
            )

    def what_is_left(self, epoch: int, epochs: int) -> str:
        """Say which checkpoint a stopped run left.

        Args:
            epoch: the checkpoint's, counted from 1; 0 for none.
            epochs: how many the run has.
        """
        if epoch == 0:
            return "no epoch was complete, so there is no checkpoint yet"
        return f"the last good checkpoint is {self.checkpoint} (epoch {epoch} of {epochs})"

    def how_to_go_on(self) -> str:
        """Say how a stopped run is continued."""
        return f"continue with resume=True (--resume) and the folder {self.root}"


def _differences(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [line for key in old | new for line in _differences(key, old.get(key), new.get(key))]
    return [] if old == new else [f"{name} was {old!r}, is {new!r}"]
