"""What a training run does: `TrainingConfig`, checked when it is built, and the named recipes."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sepgconv._messages import unknown_name
from sepgconv.data import DataOptions
from sepgconv.data.augmentation import check_augmentation
from sepgconv.models import INITIALISATIONS
from sepgconv.tasks.registry import get_task

DEFAULT_TASK = "classification"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object, at_least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


def _is_rising(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        _is_whole(entry, at_least=1) and (i == 0 or entry > value[i - 1]) for i, entry in enumerate(value)
    )


def _is_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(entry, str) and entry for entry in value)


def _is_json_object(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return isinstance(value, dict)


_Rule = tuple[str, Callable[[Any], bool]]  # the words for the message, and the check


def _one_of(*choices: str) -> _Rule:
    return " or ".join(f"'{choice}'" for choice in choices), lambda value: value in choices


_NAME: _Rule = "a name", lambda value: isinstance(value, str) and value != ""
_POSITIVE: _Rule = "a number above 0", lambda value: _is_number(value) and value > 0
_COUNT: _Rule = "a whole number above 0", lambda value: _is_whole(value, at_least=1)

_ACCEPTED: Mapping[str, _Rule] = {
    "model": _NAME,
    "data": _NAME,
    "task": _NAME,
    "data_options": ("a mapping that JSON can hold", _is_json_object),
    "task_options": ("a mapping that JSON can hold", _is_json_object),
    "model_config": ("a mapping that JSON can hold", _is_json_object),
    "recipe": _NAME,
    "initialisation": _NAME,
    "optimizer": _one_of("adam", "adamw", "sgd"),
    "lr": _POSITIVE,
    "momentum": ("a number from 0 to below 1", lambda value: _is_number(value) and 0 <= value < 1),
    "weight_decay": ("a number, 0 or more", lambda value: _is_number(value) and value >= 0),
    "batch_size": ("a whole number, 2 or more", lambda value: _is_whole(value, at_least=2)),
    "epochs": _COUNT,
    "schedule": _one_of("cosine", "step", "one-cycle"),
    "milestones": ("rising whole numbers above 0", _is_rising),
    "gamma": _POSITIVE,
    "augmentation": _NAME,
    "sampling": _one_of("shuffle", "balanced"),
    "label_smoothing": ("a number from 0 to below 1", lambda value: _is_number(value) and 0 <= value < 1),
    "seed": ("a whole number from 0 to below 2**63", lambda value: _is_whole(value, at_least=0) and value < 2**63),
    "hold_out": ("True or False", lambda value: isinstance(value, bool)),
    "keep_best": ("True or False", lambda value: isinstance(value, bool)),
    "early_stopping": ("a whole number, 0 or more", lambda value: _is_whole(value, at_least=0)),
    "extended_at": ("rising whole numbers above 0", _is_rising),
    "freeze": ("names of parts of the network", _is_names),
    "lr_backbone": ("a number above 0, or None", lambda value: value is None or (_is_number(value) and value > 0)),
}


def _check(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        expected, accepts = _ACCEPTED[name]
        if not accepts(value):
            raise ValueError(f"{name} must be {expected}, got {value!r}")
    get_task(values.get("task", DEFAULT_TASK), values.get("task_options"))
    DataOptions.from_dict(values.get("data_options", {}))
    check_augmentation(values.get("augmentation", "none"))
    if (initialisation := values.get("initialisation", "sepgconv")) not in INITIALISATIONS:
        raise ValueError(unknown_name("initialisation", initialisation, INITIALISATIONS))


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run, completely: the same config on the same data gives the same network.

    The defaults are the recipe "default".

    Attributes:
        model: a name of `sepgconv.list_models()`.
        data: a name that `sepgconv.data.load_dataset` takes.
        data_options: how files of the user's own are read and divided, as `sepgconv.data.DataOptions.to_dict` gives it.
            Default: {}, as they are without options.
        task: what the network is trained for, a name of `list_tasks()`. Default: "classification".
        task_options: options of the task, as in `{"class_weights": "balanced"}`. Default: none.
        model_config: what `sepgconv.create_model` gets beside the name, as in `{"width": 30}`; channels and classes
            come from the data where they are left out.
        recipe: the recipe the values come from; a label, the values count.
        initialisation: how the weights are drawn, a name that `sepgconv.models.initialise` takes. Default: "sepgconv".
        optimizer: "adam", "adamw" or "sgd". Default: "adam".
        lr: learning rate of the first epoch; of "one-cycle", the largest one. Default: 0.01.
        momentum: of "sgd"; the others do not use it. Default: 0.9.
        weight_decay: L2 penalty, as torch's optimisers add it to the gradient; of "adamw", the share of the learning
            rate by which every step shrinks the weights (Loshchilov & Hutter, ICLR 2019). Default: 1e-4.
        batch_size: images in a step, over all processes together. Default: 64.
        epochs: times every image is seen. Default: 40.
        schedule: "cosine" falls from `lr` towards 0 over all epochs; "step" multiplies by `gamma` after each milestone;
            "one-cycle" rises from `lr` / 25 to `lr` in the first 30 % of the steps and falls towards 0 in the rest,
            along cosines, anew in every step (Smith & Topin 2018, arXiv:1708.07120). Default: "cosine".
        milestones: epochs, counted from 1, after which "step" lowers the rate; those beyond `epochs` never come.
        gamma: the factor of "step". Default: 0.1.
        augmentation: a name of `sepgconv.data.list_augmentations()`, or several with commas between them, as in
            "turn,colour". Default: "none".
        sampling: "shuffle", every image once in an epoch; or "balanced", as many images of each class: those of small
            classes come again, of large ones some come in a later epoch. An epoch has as many images either way.
            Default: "shuffle".
        label_smoothing: share of every target that is spread over all classes in the training loss. Default: 0.
        seed: fixes initial weights, order of the images, augmentation and dropout. Default: 1.
        hold_out: True keeps the validation part out of the training and logs its error after every epoch; False trains
            on it too, as the paper does. Neither picks an epoch: the last one counts. Default: True.
        keep_best: the result is the network of the epoch with the best figure on the validation part, the first one of
            several, instead of the last epoch's. Its figure on that part is then too good. Default: False.
        early_stopping: training ends after so many epochs without a better figure on the validation part; 0: it does
            not. Default: 0.
        extended_at: epochs, counted from 1, after which a run that was finished was trained further
            (`sepgconv.tasks.extend`): the schedules "cosine" and "one-cycle" begin anew there. Default: none.
        freeze: parts of the network that do not learn, by their paths or patterns of them, as in ("features.0",); they
            stay in evaluation mode, so that their running statistics stay, too. Default: none.
        lr_backbone: learning rate of all parts but the head, the last layer with weights, where it is another one; it
            rises and falls as `lr` does. Default: `lr`.

    Raises:
        ValueError: a value is out of range, or a name is unknown.

    Example:
        >>> config = TrainingConfig(model="gc_p4cnn", data="rotated_digits", model_config={"width": 8}, epochs=3)
        >>> config.batch_size, config.learning_rate(0), round(config.learning_rate(2), 6)
        (64, 0.01, 0.0025)
        >>> TrainingConfig.from_dict(config.to_dict()) == config
        True
    """

    model: str
    data: str
    data_options: dict[str, Any] = field(default_factory=lambda: {})
    task: str = DEFAULT_TASK
    task_options: dict[str, Any] = field(default_factory=lambda: {})
    model_config: dict[str, Any] = field(default_factory=lambda: {})
    recipe: str = "default"
    initialisation: str = "sepgconv"
    optimizer: str = "adam"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 64
    epochs: int = 40
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    augmentation: str = "none"
    sampling: str = "shuffle"
    label_smoothing: float = 0.0
    seed: int = 1
    hold_out: bool = True
    keep_best: bool = False
    early_stopping: int = 0
    extended_at: tuple[int, ...] = ()
    freeze: tuple[str, ...] = ()
    lr_backbone: float | None = None

    def __post_init__(self) -> None:
        _check({f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
        for name in ("keep_best", "early_stopping"):
            if getattr(self, name) and not self.hold_out:
                raise ValueError(f"{name} asks the validation part for the best epoch; leave hold_out at True")
        # A copy in JSON's own types: what the caller changes later is not this run's config, and a config read back
        # from its file compares equal.
        object.__setattr__(self, "data_options", DataOptions.from_dict(self.data_options).to_dict())
        for name in ("model_config", "task_options"):
            object.__setattr__(self, name, json.loads(json.dumps(getattr(self, name))))

    @classmethod
    def from_recipe(cls, recipe: str, *, model: str, data: str, **overrides: Any) -> "TrainingConfig":
        """Return the config of a named recipe.

        Args:
            recipe: a name in `RECIPES`.
            model: a name of `sepgconv.list_models()`.
            data: a name that `sepgconv.data.load_dataset` takes.
            overrides: fields that differ from the recipe; a value of None leaves the recipe's own.

        Raises:
            ValueError: no such recipe or field, or a value is out of range.
        """
        if recipe not in RECIPES:
            raise ValueError(unknown_name("recipe", recipe, RECIPES))
        given = {name: value for name, value in overrides.items() if value is not None}
        return cls.from_dict({"model": model, "data": data, "recipe": recipe, **RECIPES[recipe], **given})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingConfig":
        """Return the config that `to_dict` or a JSON file describes.

        Raises:
            ValueError: a key is unknown (the nearest is named) or missing, or a value is not what the key takes.
        """
        for key in values:
            if key not in _ACCEPTED:
                raise ValueError(unknown_name("training option", key, _ACCEPTED))
        missing = [name for name in ("model", "data") if name not in values]
        if missing:
            raise ValueError(
                f"a training config needs {' and '.join(missing)}; it has: {', '.join(values) or 'nothing'}"
            )
        _check(values)
        # JSON knows no tuples, and people write 1 for 1.0.
        given = dict(values)
        for field_ in dataclasses.fields(cls):
            value = given.get(field_.name)
            if field_.type in (float, float | None) and value is not None:
                given[field_.name] = float(value)
            elif isinstance(field_.default, tuple) and value is not None:
                given[field_.name] = tuple(value)
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Return every field in types that JSON keeps; those that are newer only where they are not the default.

        Configs of older versions did not have them, and compare equal to those that are written now.
        """
        values = {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }
        return {name: value for name, value in values.items() if name not in NEWER or value != NEWER[name]}

    def fine_tuning(self, *, model: str, model_config: Mapping[str, Any], epochs: int) -> "TrainingConfig":
        """Return the config that trains on what was made of this run's network: the same recipe in fewer epochs.

        The learning rate begins as high as here and falls as here, its milestones moved in proportion.

        Args:
            model: name of the new network.
            model_config: its options.
            epochs: how many.

        Raises:
            ValueError: a value is out of range.
        """
        moved = {max(1, round(milestone * epochs / self.epochs)) for milestone in self.milestones}
        return dataclasses.replace(
            self,
            model=model,
            model_config=dict(model_config),
            epochs=epochs,
            milestones=tuple(sorted(moved)),
            extended_at=(),
            freeze=(),  # the parts of another network
            lr_backbone=None,
        )

    def learning_rate(self, epoch: int | float) -> float:
        """Return the learning rate.

        Args:
            epoch: counted from 0. Only "one-cycle" changes within an epoch: there 2.5 is the middle of the third one.
        """
        start = max((0, *(begun for begun in self.extended_at if begun <= epoch)))
        end = min((self.epochs, *(begun for begun in self.extended_at if begun > epoch)))
        if self.schedule == "one-cycle":
            return self.lr * _one_cycle((epoch - start) / (end - start))
        epoch = math.floor(epoch)
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * (epoch - start) / (end - start))) / 2
        return self.lr * self.gamma ** sum(milestone <= epoch for milestone in self.milestones)


# Options that older versions did not have, with what they were then.
NEWER: Mapping[str, Any] = {
    "data_options": {},
    "task": DEFAULT_TASK,
    "task_options": {},
    "sampling": "shuffle",
    "label_smoothing": 0.0,
    "keep_best": False,
    "early_stopping": 0,
    "extended_at": [],
    "freeze": [],
    "lr_backbone": None,
}

_RISE, _FIRST = 0.3, 1 / 25  # of "one-cycle", as torch's OneCycleLR has them


def _one_cycle(progress: float) -> float:
    """Return the learning rate as a share of the largest one, for a progress from 0 to 1."""
    if progress < _RISE:
        return _FIRST + (1 - _FIRST) * (1 - math.cos(math.pi * progress / _RISE)) / 2
    return (1 + math.cos(math.pi * min(1.0, (progress - _RISE) / (1 - _RISE)))) / 2


_PAPER_CIFAR10: Mapping[str, Any] = {
    "initialisation": "published",
    "optimizer": "sgd",
    "lr": 0.05,
    "momentum": 0.9,
    "weight_decay": 1e-5,
    "batch_size": 128,
    "epochs": 300,
    "schedule": "step",
    "milestones": (50, 100, 150),
    "gamma": 0.1,
    "augmentation": "none",
    "hold_out": False,
}

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Small data sets on a CPU: the defaults of TrainingConfig.
        "default": MappingProxyType({}),
        # Table 1 of arXiv:2106.04914: all 12,000 training images of Rotated MNIST, the error of the last epoch. The
        # paper trains separable layers composed, which gives the same numbers to rounding; add execution="composed" for
        # that.
        "paper": MappingProxyType(
            {
                "initialisation": "published",
                "optimizer": "adam",
                "lr": 0.01,
                "weight_decay": 1e-5,
                "batch_size": 256,
                "epochs": 50,
                "schedule": "step",
                "milestones": (40,),
                "gamma": 0.1,
                "augmentation": "none",
                "hold_out": False,
            }
        ),
        # Small images without an up or down, at any angle: what did best in trials of gc-P4CNN on Rotated MNIST.
        # `python -m experiments record` measures what each part is worth.
        "best": MappingProxyType(
            {
                "optimizer": "adamw",
                "lr": 0.02,
                "weight_decay": 1e-2,
                "batch_size": 128,
                "epochs": 60,
                "schedule": "one-cycle",
                "augmentation": "fine-turn",
                "hold_out": False,
            }
        ),
        # Table 2, CIFAR-10 without and with augmentation.
        "paper-cifar10": MappingProxyType(_PAPER_CIFAR10),
        "paper-cifar10+": MappingProxyType({**_PAPER_CIFAR10, "augmentation": "crop-flip"}),
    }
)
