"""Cells: what is run, as data. A cell is one training or measurement with one seed; a row is a cell of any seed."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from sepgconv.models import model_entry
from sepgconv.tasks import TrainingConfig
from sepgconv.tasks.record import width_of

Task = Literal["train", "controlled", "equivariance"]

SEPARATED = "separated"  # an initialisation

# Raised when cells mean something else than before, so that older records are no longer theirs.
PROTOCOL = 1

# Names of data that may load one or the other kind of images, whatever files there are, and the names of the kinds.
KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType({"rotmnist": ("rotmnist-official", "rotmnist-generated")})

# Versions of this package that give the same numbers, but for rounding. Records of others are kept apart. Whoever
# changes the version decides whether the new one belongs here.
COMPARABLE_VERSIONS = ("0.1.0",)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training or measurement, completely.

    Attributes:
        model: a name of `sepgconv.list_models()`; for the task "controlled", a label.
        model_config: the network's options beside the name.
        seed: fixes initial weights, order of the images and the choice of a part of them.
        data: a name that `sepgconv.data.load_dataset` takes.
        images: how many training images are used. Default: all.
        recipe: a name in `sepgconv.tasks.RECIPES`.
        overrides: fields of the `TrainingConfig` that differ from the recipe.
        initialisation: a name that `sepgconv.models.initialise` takes, or "separated": the trained group network of the
            same width, data and seed, separated at the ranks of this one. Default: the recipe's.
        task: "train"; "controlled", the experiment of Figure 1; "equivariance", nothing is trained.
        measures: names in `experiments.measures.MEASURES`: what is measured on the trained network.
    """

    model: str
    model_config: Mapping[str, Any] = field(default_factory=lambda: {})
    seed: int = 1
    data: str = "rotmnist"
    images: int | None = None
    recipe: str = "paper"
    overrides: Mapping[str, Any] = field(default_factory=lambda: {})
    initialisation: str | None = None
    task: Task = "train"
    measures: tuple[str, ...] = ()

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def config(self) -> TrainingConfig:
        """The training's complete config."""
        return TrainingConfig.from_recipe(
            self.recipe,
            initialisation="sepgconv" if self.initialisation == SEPARATED else self.initialisation,
            model=self.model,
            data=self.data,
            model_config=dict(self.model_config),
            seed=self.seed,
            **self.overrides,
        )

    @property
    def width(self) -> int | list[int] | None:
        """Channels of the network: one number, or one for each stage."""
        return width_of(_all_options(self))

    @property
    def label(self) -> str:
        """A short name that people can read and `--only` can match; unlike `fingerprint` it may not be unique."""
        width = self.width
        size = "" if width is None else f"-w{'-'.join(map(str, width)) if isinstance(width, list) else width}"
        options = [str(value) for key, value in self.model_config.items() if key not in ("width", "widths")]
        differences = [f"{key}-{value}" for key, value in self.overrides.items() if key != "milestones"]
        parts = [self.model + size, *options, *differences, self.data.rsplit("/", 1)[-1]]
        parts += [f"{self.images}-images"] if self.images else []
        parts += [self.initialisation] if self.initialisation and self.task == "train" else []
        parts += ["augmented"] if self.recipe.endswith("+") else []
        parts += [self.task] if self.task != "train" else []
        return "-".join([*parts, f"seed{self.seed}"])

    def specification(self) -> dict[str, Any]:
        """Return all that decides the numbers, in types that JSON keeps: what `fingerprint` is made of."""
        config = self.config.to_dict()
        config["model_config"] = _all_options(self)
        del config["recipe"]  # a label; the values count
        drawn = config.pop("initialisation")  # stands beside it, where "separated" has its place too
        return {
            "protocol": PROTOCOL,
            "task": self.task,
            "images": self.images,
            "initialisation": self.initialisation or drawn,
            "config": config,
        }

    @property
    def fingerprint(self) -> str:
        """What tells this cell from every other: 16 hexadecimal digits."""
        return fingerprint(self.specification())

    @property
    def row_key(self) -> str:
        """What tells this cell from all others but those that differ in the seed only: the fingerprint of its row."""
        return row_fingerprint(self.specification())

    @property
    def equivalent_keys(self) -> tuple[str, ...]:
        """The keys of the rows that are reported as this cell's: its own, then those on each kind of its data."""
        kinds = (dataclasses.replace(self, data=data) for data in KINDS.get(self.data, ()))
        return (self.row_key, *(cell.row_key for cell in kinds))

    @property
    def equivalent_cells(self) -> "tuple[Cell, ...]":
        """The cells that may be the same run: on a kind of this one's data, or on what that is a kind of."""
        names = (*KINDS.get(self.data, ()), *(name for name, kinds in KINDS.items() if self.data in kinds))
        return tuple(dataclasses.replace(self, data=name) for name in names)


def fingerprint(specification: Mapping[str, Any]) -> str:
    """Return the fingerprint of what `Cell.specification` gave, or of its JSON read back."""
    text = json.dumps(specification, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def row_fingerprint(specification: Mapping[str, Any]) -> str:
    """Return the fingerprint without the seed."""
    config = {key: value for key, value in specification["config"].items() if key != "seed"}
    return fingerprint({**specification, "config": config})


def with_seed(cell: Cell, seed: int) -> Cell:
    """Return the cell of the same row with another seed."""
    return dataclasses.replace(cell, seed=seed)


def _all_options(cell: Cell) -> dict[str, Any]:
    # Those that the name presets are written out: a preset may change, the record must still say what was run.
    given = dict(cell.model_config)
    preset = {} if cell.task == "controlled" else dict(model_entry(cell.model).preset)
    return json.loads(json.dumps({**preset, **given}))
