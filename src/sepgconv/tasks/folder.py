"""The folder of a run: where everything lies, and whether a run may start or resume there."""

import contextlib
import secrets
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sepgconv._files import LockedError, locked, read_json, write_json
from sepgconv.models.storage import CONFIG, WEIGHTS
from sepgconv.tasks.conditions import Conditions, changes, known_data, unknown
from sepgconv.tasks.config import NEWER
from sepgconv.tasks.environment import versions

# Options that configs leave out, those of older versions at least, and what they are then.
_ONCE_UNSAID = {"initialisation": "sepgconv", **NEWER}
READING = "reading"  # in config.json: how one's own images became those that the run learns from
_PLAIN_READING = {"preprocessing": "identity", "fit": "crop"}  # where config.json does not say it
PREPARED = "prepared"  # in config.json: whether the weights that the run began with were other than its seed draws
ORIGIN = "origin"  # in config.json: where these weights came from, as far as it is known
TASK_STATE = "task_state"  # in config.json: what predictions need of the targets that are trained on
IDENTITY = "run"  # in config.json: a random number by which the run's checkpoints are known


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
    def best(self) -> Path:
        """The same after the epoch with the best figure on the validation part, where the config asks for it."""
        return self.root / "checkpoints" / "best.ckpt"

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
        """The same figures as an image."""
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
    def split(self) -> Path:
        """Which file of the data set was in which part, as a CSV file; only where the data are files of the user's."""
        return self.root / "split.csv"

    @property
    def record(self) -> Path:
        """The `RunRecord`; written last, so the run is finished when it is there."""
        return self.root / "record.json"

    @property
    def results(self) -> dict[str, Path]:
        """What a finished run leaves beside its record, by names from the folder; the record has their digests."""
        found = (self.history, self.curves, self.preprocessing, self.model / CONFIG, self.model / WEIGHTS)
        return {path.relative_to(self.root).as_posix(): path for path in found}

    @contextlib.contextmanager
    def locked(self) -> Generator[None, None, None]:
        """Keep other trainings out of the folder, which is made for it, and removed again if nothing was begun.

        The lock is the operating system's and ends with the process. On network file systems without locks, trainings
        on other machines are not noticed.

        Raises:
            BlockingIOError: another training is at work in the folder.
            NotADirectoryError: it is a file.
        """
        self._check_is_folder()
        made = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(locked(self.root / ".lock"))
                except LockedError as error:
                    raise BlockingIOError(
                        f"another process trains in {self.root} at this moment; wait until it has ended, or choose "
                        "another folder (--out)"
                    ) from error
                yield
        finally:
            for folder in made:
                with contextlib.suppress(OSError):  # it holds something
                    folder.rmdir()

    def _check_is_folder(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise NotADirectoryError(f"{self.root} is a file; a run needs a folder of its own")

    def check_unused(self) -> None:
        """Raise if a new run would overwrite something.

        Raises:
            FileExistsError: the folder holds a run, or files of the same names.
            NotADirectoryError: it is a file.
        """
        self._check_is_folder()
        own = (self.setup, self.checkpoint.parent, self.history, self.tensorboard, self.curves, self.model)
        there = [path.name for path in (*own, self.preprocessing, self.split, self.record) if path.exists()]
        if there:
            raise FileExistsError(
                f"{self.root} already holds a run ({', '.join(there)}); continue it with resume=True (--resume), "
                "or choose another folder"
            )

    def begin(self, setup: Mapping[str, Any]) -> None:
        """Make the folder and note what the run is, and the versions that it was begun with.

        Args:
            setup: "config", "precision", "data", "conditions" and "prepared", each in types that JSON keeps.

        Raises:
            OSError: it could not be written.
        """
        write_json(self.setup, {**setup, "versions": versions(), IDENTITY: secrets.token_hex(16)})

    def read_setup(self) -> dict[str, Any]:
        """Return what `begin` noted.

        Raises:
            FileNotFoundError: no run was begun here.
            ValueError: the file is damaged.
        """
        if not self.setup.is_file():
            raise FileNotFoundError(
                f"{self.root} holds no run to resume (no {self.setup.name}); start it without resume (--resume)"
            )
        return read_json(self.setup)

    @property
    def reading(self) -> dict[str, Any]:
        """How one's own images became those of the run: options of `sepgconv.data.load_dataset` to load them again.

        They are "preprocessing", "fit" for images of a folder, and "image_size" where they are square. Older versions
        kept pixels as they were.

        Raises:
            OSError, ValueError: as `read_setup`.
        """
        setup = self.read_setup()
        data = setup.get("data")
        _, height, width = data["image_shape"] if isinstance(data, dict) else (0, 0, 1)
        size = {"image_size": height} if height == width else {}
        return {"preprocessing": _PLAIN_READING["preprocessing"], **setup.get(READING, {}), **size}

    @property
    def identity(self) -> str | None:
        """The random number that `begin` drew, by which the run's checkpoints are known.

        None of an older version, and where no run was begun.

        Raises:
            OSError, ValueError: as `read_setup`.
        """
        return self.read_setup().get(IDENTITY) if self.setup.is_file() else None

    @property
    def prepared(self) -> bool | None:
        """Whether it began with other weights than its seed draws (`train(prepare=...)`); None of an older version.

        Raises:
            OSError, ValueError: as `read_setup`.
        """
        return self.read_setup().get(PREPARED)

    @property
    def origin(self) -> dict[str, Any] | None:
        """Where the weights came from that it began with, as `sepgconv.tasks.pretrained` says; None: they were drawn.

        Raises:
            OSError, ValueError: as `read_setup`.
        """
        return self.read_setup().get(ORIGIN)

    @property
    def data_digest(self) -> str | None:
        """The SHA-256 of the data set that the run was trained with; None of an older version.

        Raises:
            OSError, ValueError: as `read_setup`.
        """
        return known_data(self.read_setup())

    def check_same_setup(self, setup: Mapping[str, Any]) -> None:
        """Raise if the run to resume is not the run that was begun.

        Args:
            setup: "config", "precision" and "data" as in `begin`, or a part of it.

        Raises:
            FileNotFoundError: no run was begun here.
            ValueError: another run was begun; the message names every difference.
        """
        begun, wanted = _said(self.read_setup()), _said(setup)
        differences = [line for part in wanted for line in _differences(part, begun.get(part), wanted[part])]
        if differences:
            raise ValueError(
                f"the run in {self.root} was started otherwise: {'; '.join(differences)}. Resume it as it was, "
                "or train in another folder"
            )

    def check_same_beginning(self, *, prepared: bool) -> None:
        """Raise if a run without a checkpoint was to begin with other weights.

        Args:
            prepared: whether they are other than its seed draws.

        Raises:
            ValueError: it was to begin with other weights.
        """
        if self.prepared not in (None, prepared):
            was = "weights of its own, given by" if self.prepared else "the weights that its seed draws, without"
            raise ValueError(
                f"the run in {self.root} has no checkpoint yet and was to begin with {was} prepare=... (as `sepgconv "
                "separate` gives it); resume it as it was started, or train in another folder"
            )

    def check_conditions(self, now: Conditions, *, force: bool) -> list[str]:
        """Raise if anything else changed that may change the numbers of the run to resume.

        What an older version did not note cannot be compared, which a warning says.

        Args:
            now: of this process.
            force: accept every change.

        Returns:
            A sentence for each accepted change.

        Raises:
            ValueError: something changed, and `force` is False; the message names it all.
        """
        begun = self.read_setup()
        found = changes(begun, now)
        if found and not force:
            raise ValueError(
                f"what the numbers of the run in {self.root} depend on has changed: {'; '.join(found)}. Resume it as "
                "it was, or accept it with force=True (--force); the run's config.json and record then say so"
            )
        if missing := unknown(begun):
            warnings.warn(
                f"{self.setup} was written by an older version and does not say {', '.join(missing)}: whether that "
                "is as it was could not be compared",
                stacklevel=2,
            )
            found.append(f"not known to be as it was: {', '.join(missing)}")
        return found

    def note_resume(self, epoch: int, found: Sequence[str], now: Conditions) -> None:
        """Note what has changed from an epoch on; nothing is written if nothing has.

        Args:
            epoch: the last one as before, counted from 1; 0 for none.
            found: what `check_conditions` returned.
            now: of this process.

        Raises:
            OSError: it could not be written.
        """
        if found:
            begun = self.read_setup()
            noted = [*begun.get("resumed", []), *(f"after epoch {epoch}: {change}" for change in found)]
            write_json(self.setup, {**begun, "versions": versions(), "conditions": now, "resumed": noted})

    def noted_changes(self) -> list[str]:
        """Return all that `note_resume` wrote down.

        Raises:
            OSError, ValueError: as `read_setup`.
        """
        noted: list[str] = self.read_setup().get("resumed", [])
        return noted

    def what_is_left(self, epoch: int, epochs: int) -> str:
        """Return a sentence on which checkpoint a stopped run left.

        Args:
            epoch: the checkpoint's, counted from 1; 0 for none.
            epochs: how many the run has.
        """
        if epoch == 0:
            return "no epoch was complete, so there is no checkpoint yet"
        return f"the last good checkpoint is {self.checkpoint} (epoch {epoch} of {epochs})"

    def how_to_go_on(self) -> str:
        """Return a sentence on how a stopped run is continued."""
        return f"continue with resume=True (--resume) and the folder {self.root}"


def what_is_noted(origin: object, task_state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `RunFolder.begin` is to note of the origin of the weights and of the task, if there is any."""
    noted = {ORIGIN: origin if isinstance(origin, dict) else None, TASK_STATE: dict(task_state)}
    return {name: value for name, value in noted.items() if value}


def _said(setup: Mapping[str, Any]) -> dict[str, Any]:
    said = dict(setup)
    if isinstance(config := setup.get("config"), dict):
        said["config"] = {**_ONCE_UNSAID, **config}
    if "data" in setup:
        said[READING] = {**_PLAIN_READING, **setup.get(READING, {})}
    return said


def _differences(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [line for key in old | new for line in _differences(key, old.get(key), new.get(key))]
    return [] if old == new else [f"{name} was {old!r}, is {new!r}"]
