"""Networks by name: the only place with strings such as "gc_p4cnn"."""

import dataclasses
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sepgconv._messages import one_of, unknown_name
from sepgconv.conv import SHARINGS
from sepgconv.models.network import Network, check_classes
from sepgconv.models.resnet44 import ResNet44, ResNet44Config
from sepgconv.models.rotmnist_cnn import RotMNISTCNN, RotMNISTCNNConfig
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as find_group


@dataclass(frozen=True)
class Entry:
    """How a name becomes a network: the class, its config class, what the name fixes and what it presets."""

    build: Callable[[Any], Network]
    config: type
    fixed: Mapping[str, object]
    preset: Mapping[str, object]
    summary: str

    @property
    def options(self) -> tuple[str, ...]:
        """The config keys that a caller may set."""
        return tuple(field.name for field in dataclasses.fields(self.config) if field.name not in self.fixed)


def _variation(convolution: str, group: str, size: dict[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Sort the options into those that a name fixes and those that it presets."""
    fixed: dict[str, object] = {"convolution": convolution}
    if convolution not in ("g", "gc"):
        # Only separable convolutions have a choice.
        fixed |= {"execution": "auto", "recompute": None, "rank": 1}
    if group == "p1":
        return {**fixed, "group": group}, size
    return fixed, {**size, "group": group}


def _cnn(summary: str, width: int, convolution: str, group: str) -> Entry:
    return Entry(RotMNISTCNN, RotMNISTCNNConfig, *_variation(convolution, group, {"width": width}), summary)


def _resnet(summary: str, widths: tuple[int, int, int], convolution: str, group: str) -> Entry:
    return Entry(ResNet44, ResNet44Config, *_variation(convolution, group, {"widths": widths}), summary)


# The presets are the networks of about 25,000 parameters in Table 1, and those of Table 2.
MODELS: dict[str, Entry] = {
    "z2cnn": _cnn("ordinary CNN", 20, "full", "p1"),
    "c_z2cnn": _cnn("ordinary CNN, depthwise-separable", 57, "two-step", "p1"),
    "p4cnn": _cnn("group CNN", 10, "full", "p4"),
    "g_p4cnn": _cnn("group CNN, g-separable", 17, "g", "p4"),
    "gc_p4cnn": _cnn("group CNN, gc-separable", 30, "gc", "p4"),
    "resnet44": _resnet("ordinary ResNet44", (32, 64, 128), "full", "p1"),
    "p4m_resnet44": _resnet("group ResNet44", (11, 23, 45), "full", "p4m"),
    "g_p4m_resnet44": _resnet("group ResNet44, g-separable", (19, 38, 76), "g", "p4m"),
    "gc_p4m_resnet44": _resnet("group ResNet44, gc-separable", (28, 56, 112), "gc", "p4m"),
}


def list_models(pattern: str | Sequence[str] = "*") -> tuple[str, ...]:
    """Return the names that `create_model` knows.

    Args:
        pattern: only those that it matches, with *, ? and [] as in file names: `list_models("gc*")`. Several: those
            that any of them matches.
    """
    patterns = (pattern,) if isinstance(pattern, str) else tuple(pattern)
    return tuple(name for name in MODELS if any(fnmatch.fnmatchcase(name, one) for one in patterns))


def model_entry(name: str) -> Entry:
    """Return how a name becomes a network.

    Raises:
        ValueError: an unknown name; the nearest ones are given.
    """
    if not isinstance(name, str) or name not in MODELS:
        raise ValueError(unknown_name("model", name, MODELS))
    return MODELS[name]


def separable_name(name: str, sharing: str) -> str:
    """Return the name of the network that is built like another one, from separable convolutions.

    Args:
        name: of a network of full group convolutions, as "p4cnn".
        sharing: "gc" or "g".

    Returns:
        As "gc_p4cnn". It takes every option that the other one takes.

    Raises:
        ValueError: an unknown name or sharing, or a network without a separable counterpart; those that have one are
            given.
    """
    model_entry(name)
    one_of("sharing", sharing, SHARINGS)
    counterparts = {full: f"{sharing}_{full}" for full in MODELS if f"{sharing}_{full}" in MODELS}
    if name not in counterparts:
        raise ValueError(
            f"separable_name: {name} has no {sharing}-separable counterpart; those that have one are "
            f"{', '.join(counterparts)}"
        )
    return counterparts[name]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _group_name(group: str | FiniteGroup) -> str:
    """Return the name that a config can hold for a group."""
    known = find_group(group.name if isinstance(group, FiniteGroup) else group)
    if isinstance(group, FiniteGroup) and group != known:
        raise ValueError(
            f"the group {group.name!r} is not the one that this name stands for, so a config could not hold it; "
            f"build the network from layers of sepgconv.nn instead"
        )
    return known.name


def create_model(name: str, **config: Any) -> Network:
    """Build a network.

    Args:
        name: one of `list_models()`.
        config: any field of the network's config, such as `width=30` (`widths=(28, 56, 112)` for ResNets),
            `group="p4m"`, `in_channels=3` (or `in_chans`, as in timm), `num_classes=10` (0: pooled features, no
            classifier), `execution="separable"`, and for ResNets
            `downsampling="exact"`, `head="invariant"`; what is left out is as in the paper. For separable networks
            `rank=2`, or a list with one number for each convolution in order, where 0 keeps it a full one.

    Returns:
        The network, in training mode, with random weights. Its `name` and `config` (every option, JSON-able) are what
        `sepgconv.save` writes.

    Raises:
        ValueError: an unknown name, option or value; the nearest ones are given.
    """
    entry = model_entry(name)
    if "in_chans" in config:
        if config.get("in_channels", config["in_chans"]) != config["in_chans"]:
            raise ValueError(
                f"{name}: in_chans={config['in_chans']!r} and in_channels={config['in_channels']!r} are two names for "
                "one option; give one of them"
            )
        config["in_channels"] = config.pop("in_chans")
    config = {key: value for key, value in config.items() if key not in entry.fixed or entry.fixed[key] != value}
    for key in config:
        if key not in entry.options:
            raise ValueError(unknown_name(f"option of {name}", key, entry.options))
    settings: dict[str, Any] = {**entry.preset, **config}
    for key in ("width", "in_channels"):
        if key in settings and not _is_count(settings[key]):
            raise ValueError(f"{name}: {key} must be a positive integer, got {settings[key]!r}")
    check_classes(settings.get("num_classes", 0), name)
    if "group" in settings:
        settings["group"] = _group_name(settings["group"])
    if "widths" in settings:
        widths = settings["widths"]
        if not isinstance(widths, list | tuple) or len(widths) != 3 or not all(map(_is_count, widths)):
            raise ValueError(f"{name}: widths must be three positive integers, one for each stage, got {widths!r}")
        settings["widths"] = tuple(widths)
    if isinstance(settings.get("rank"), list):
        settings["rank"] = tuple(settings["rank"])
    full = entry.config(**entry.fixed, **settings)
    model = entry.build(full)
    model.name = name
    model.config = {key: value for key, value in model.config.items() if key in entry.options}
    return model
