"""Networks by name: families register themselves with `register_model`, those of this package and those of others."""

import dataclasses
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from sepgconv._messages import one_of, unknown_name
from sepgconv.conv import SHARINGS
from sepgconv.models.network import Network, check_classes, plain_config
from sepgconv.models.pretrained import load_pretrained, pretrained_config
from sepgconv.models.renaming import current_options
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as get_group

Build = TypeVar("Build", bound=Callable[[Any], Network])


@dataclass(frozen=True)
class Entry:
    """How a name becomes a network.

    Attributes:
        build: the network's class, or a function of the config.
        config: the dataclass of its options.
        fixed: options that the name fixes.
        preset: options that the name presets and callers may change.
        summary: a few words for `sepgconv models`.

    Example:
        >>> entry = model_entry("gc_p4cnn")
        >>> entry.build.__name__, dict(entry.preset)
        ('RotMNISTCNN', {'width': 30, 'group': 'p4'})
    """

    build: Callable[[Any], Network]
    config: type
    fixed: Mapping[str, object]
    preset: Mapping[str, object]
    summary: str

    @property
    def options(self) -> tuple[str, ...]:
        """The config keys that a caller may set."""
        return tuple(field.name for field in dataclasses.fields(self.config) if field.name not in self.fixed)

    @property
    def required(self) -> tuple[str, ...]:
        """The config keys that a caller must set: they have no default, and the name presets none."""
        return tuple(
            field.name
            for field in dataclasses.fields(self.config)
            if field.name not in {*self.fixed, *self.preset}
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        )


MODELS: dict[str, Entry] = {}


def register_model(
    name: str,
    *,
    config: type,
    summary: str = "",
    preset: Mapping[str, object] = MappingProxyType({}),
    fixed: Mapping[str, object] = MappingProxyType({}),
) -> Callable[[Build], Build]:
    """Return a decorator that gives a network a name, for `create_model`, `list_models`, `load` and the command line.

    A family may have several names that fix and preset different options of one config class. Registered names last for
    the process: import the module that registers them before `create_model` or `load` needs them.

    Args:
        name: as in `create_model(name)`.
        config: a dataclass with all options of the network, JSON-able, where tuples count as lists. Those that other
            networks have should have the same names: `width` (an integer, channels of every convolution), `widths` (a
            tuple, channels of each stage), `group` (a name), `sharing`, `in_channels`, `num_classes`; all of them but
            `sharing` are checked by `create_model`.
        summary: a few words for `sepgconv models`.
        preset: options that callers may change.
        fixed: options that they may not.

    Returns:
        A decorator for a subclass of `sepgconv.models.Network` that is built from the config, or for a function of the
        config that returns one. It returns what it decorates.

    Raises:
        ValueError: the name is taken or no word, the config is no dataclass, or preset and fixed are no options of it.

    Example:
        >>> from dataclasses import dataclass
        >>> from sepgconv import create_model, nn
        >>> from sepgconv.models import MODELS, Network, register_model
        >>> @dataclass(frozen=True, kw_only=True)
        ... class TinyConfig:
        ...     width: int
        ...     group: str = "p4"
        ...     in_channels: int = 1
        ...     num_classes: int = 10
        >>> @register_model("tiny_cnn", config=TinyConfig, preset={"width": 8}, summary="one convolution")
        ... class Tiny(Network):
        ...     min_input_size, input_size = 3, 28
        ...
        ...     def __init__(self, config):
        ...         super().__init__()
        ...         self.in_channels, self.num_features = config.in_channels, config.width
        ...         self.lift = nn.LiftingConv2d(config.in_channels, config.width, 3, config.group)
        ...         self._build_classifier(config.num_classes)
        ...
        ...     def forward_features(self, x):
        ...         self.check_images(x)
        ...         return self.lift(x)
        ...
        ...     def pool_features(self, maps):
        ...         return maps.amax((2, 3, 4))
        >>> create_model("tiny_cnn", num_classes=3).config
        {'width': 8, 'group': 'p4', 'in_channels': 1, 'num_classes': 3}
        >>> _ = MODELS.pop("tiny_cnn")  # so that this example leaves nothing behind
    """
    if not isinstance(name, str) or not name or not all(letter.isalnum() or letter in "_-." for letter in name):
        raise ValueError(f"register_model: the name must be of letters, digits, _, - and dots, got {name!r}")
    if name in MODELS:
        raise ValueError(f"register_model: the name {name!r} is taken ({MODELS[name].summary}); choose another one")
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise ValueError(f"register_model: config must be a dataclass with the options of {name}, got {config!r}")
    fields = [field.name for field in dataclasses.fields(config)]
    for option in (*preset, *fixed):
        if option not in fields:
            raise ValueError(unknown_name(f"option of {config.__name__}", option, fields))
    if both := [option for option in preset if option in fixed]:
        raise ValueError(f"register_model: {name} presets and fixes {', '.join(both)}; leave it out of one of the two")

    def register(build: Build) -> Build:
        if name in MODELS:  # meanwhile
            raise ValueError(f"register_model: the name {name!r} is taken ({MODELS[name].summary}); choose another one")
        MODELS[name] = Entry(build, config, dict(fixed), dict(preset), summary)
        return build

    return register


def list_models(pattern: str | Sequence[str] = "*") -> tuple[str, ...]:
    """Return the names that `create_model` knows.

    Args:
        pattern: only those that it matches, with *, ? and [] as in file names: `list_models("gc*")`. Several: those
            that any of them matches.

    Example:
        >>> from sepgconv import list_models
        >>> list_models("gc*")
        ('gc_p4cnn', 'gc_p4m_resnet44', 'gc_c8cnn')
    """
    patterns = (pattern,) if isinstance(pattern, str) else tuple(pattern)
    return tuple(name for name in MODELS if any(fnmatch.fnmatchcase(name, one) for one in patterns))


def model_entry(name: str) -> Entry:
    """Return how a name becomes a network.

    Raises:
        ValueError: an unknown name; the nearest ones are given.

    Example:
        >>> from sepgconv.models import model_entry
        >>> model_entry("p4cnn").options
        ('width', 'group', 'in_channels', 'num_classes', 'kernel')
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

    Example:
        >>> from sepgconv.models import separable_name
        >>> separable_name("p4cnn", "gc")
        'gc_p4cnn'
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
    known = get_group(group.name if isinstance(group, FiniteGroup) else group)
    if isinstance(group, FiniteGroup) and group != known:
        raise ValueError(
            f"the group {group.name!r} is not the one that this name stands for, so a config could not hold it; "
            f"build the network from layers of sepgconv.nn instead"
        )
    return known.name


def create_model(name: str, *, pretrained: bool | str = False, **config: Any) -> Network:
    """Build a network.

    Args:
        name: one of `list_models()`.
        pretrained: trained weights: True for the first that there are, or their tag, as in "seed1"
            (`sepgconv.models.list_pretrained`). Options default to those they were trained with. Another `num_classes`
            leaves the classifier random. False: random weights.
        config: any field of the network's config, such as `width=30` (channels of every convolution), or for ResNets
            `widths=(28, 56, 112)` (channels of each stage), `group="p4m"`, `in_channels=3` (or `in_chans`, as in timm),
            `num_classes=10` (0: pooled features, no classifier), `execution="separable"`, and for ResNets
            `downsampling="exact"`, `head="invariant"`; what is left out is as in the paper. For separable networks
            `rank=2`, or a list with one number for each convolution in order, where 0 keeps it a full one.

    Returns:
        The network, in training mode, with random weights unless `pretrained`. Its `name` and `config` (every option,
        JSON-able) are what `sepgconv.save` writes.

    Raises:
        ValueError: an unknown name, option or value, the nearest ones are given; no such trained weights, or an option
            that they do not fit; a network of others that needs an option that is missing, or is no `Network`.

    Example:
        >>> from sepgconv import create_model
        >>> model = create_model("gc_p4cnn", width=8, group="p4m")
        >>> model.config["group"], model.num_classes, sum(p.numel() for p in model.parameters())
        ('p4m', 10, 3890)
    """
    entry = model_entry(name)
    known = [field.name for field in dataclasses.fields(entry.config)]
    config = current_options(config, known, name)
    if "in_chans" in config and "in_chans" not in known:
        if config.get("in_channels", config["in_chans"]) != config["in_chans"]:
            raise ValueError(
                f"{name}: in_chans={config['in_chans']!r} and in_channels={config['in_channels']!r} are two names for "
                "one option; give one of them"
            )
        config["in_channels"] = config.pop("in_chans")
    if pretrained is not False:
        config = pretrained_config(name, pretrained, config)
    config = {key: value for key, value in config.items() if key not in entry.fixed or entry.fixed[key] != value}
    for key in config:
        if key not in entry.options:
            raise ValueError(unknown_name(f"option of {name}", key, entry.options))
    if missing := [key for key in entry.required if key not in config]:
        raise ValueError(f"{name} needs {' and '.join(missing)}; give {missing[0]}=... to create_model")
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in {**entry.preset, **config}.items()
    }
    _check_common(name, settings)
    if "group" in settings:
        settings["group"] = _group_name(settings["group"])
    full = entry.config(**entry.fixed, **settings)
    model = entry.build(full)
    if not isinstance(model, Network):
        raise ValueError(
            f"{name}: what register_model decorates must build a sepgconv.models.Network, got {type(model).__name__}"
        )
    model.name = name
    model.config = {key: value for key, value in plain_config(full).items() if key in entry.options}
    if pretrained is not False:
        load_pretrained(model, name, pretrained)
    return model


def rebuild_model(name: str, config: Mapping[str, Any]) -> Network:
    """Build a network from a config that a file has kept, where options may have the names of older versions.

    Raises:
        ValueError: as `create_model`.

    Example:
        >>> from sepgconv.models import rebuild_model
        >>> rebuild_model("gc_p4cnn", {"width": 2, "convolution": "gc"}).config["width"]
        2
    """
    known = [field.name for field in dataclasses.fields(model_entry(name).config)]
    return create_model(name, **current_options(config, known, name, warn=False))


def _check_common(name: str, settings: Mapping[str, Any]) -> None:
    """Raise if an option that all networks share has a value that none can take."""
    for key in ("width", "in_channels"):
        if key in settings and not _is_count(settings[key]):
            raise ValueError(f"{name}: {key} must be a positive integer, got {settings[key]!r}")
    check_classes(settings.get("num_classes", 0), name)
    widths = settings.get("widths", (1,))
    if not isinstance(widths, tuple) or not widths or not all(map(_is_count, widths)):
        raise ValueError(f"{name}: widths must be positive integers, one for each stage, got {widths!r}")
