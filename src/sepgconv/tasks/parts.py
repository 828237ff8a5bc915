"""Parts of a network by name: what is frozen, what learns at another rate, which layer is the head."""

import fnmatch
from collections.abc import Iterator, Sequence

from torch import nn

from sepgconv._messages import nearest_names


def find_parts(network: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Return the parts of a network that names stand for.

    Args:
        network: the network.
        names: paths as `named_modules` gives them, such as "features.0", which stand for all that is in them, or
            patterns, such as "features.*.norm".

    Raises:
        ValueError: a name matches nothing; the nearest names are listed.

    Example:
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
        >>> [type(part).__name__ for part in find_parts(network, ["1"])]
        ['BatchNorm2d']
    """
    known = {path: module for path, module in network.named_modules() if path}
    found: list[nn.Module] = []
    for name in names:
        matches = [path for path in known if path == name or fnmatch.fnmatchcase(path, name)]
        if not matches:
            near = nearest_names(name, known)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            parts = ", ".join(path for path in known if "." not in path)
            raise ValueError(f"no part of the network is called {name!r}{hint} (its parts: {parts})")
        found += [known[path] for path in matches]
    return found


def head_of(network: nn.Module) -> tuple[str, nn.Module]:
    """Return the last layer with weights of its own, and its path: the classifier of our networks.

    Raises:
        ValueError: no layer has weights.

    Example:
        >>> from sepgconv import create_model
        >>> head_of(create_model("z2cnn", width=2))[0]
        'classifier'
    """
    layers = [(path, module) for path, module in network.named_modules() if any(True for _ in _own(module))]
    if not layers:
        raise ValueError(f"{type(network).__name__} has no layer with weights")
    return layers[-1]


def _own(module: nn.Module) -> Iterator[nn.Parameter]:
    return module.parameters(recurse=False)
