"""What a record is: one JSON object, and all that is asked of it before it counts."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias, cast

from experiments.cells import COMPARABLE_VERSIONS, PROTOCOL, fingerprint, row_fingerprint
from sepgconv._files import DIGEST, unseal

Record: TypeAlias = dict[str, Any]
_Check: TypeAlias = Callable[[Any], bool]

FINISHED, DIVERGED = "finished", "diverged"

# What every line has at its top level.
REQUIRED = (
    "fingerprint", "row", "status", "cell", "model", "width", "seed", "data", "epochs", "test_error", "parameters",
    "seconds", "device", "commit", "versions", "measures",
)  # fmt: skip


def parse(line: bytes) -> tuple[Record, bool]:
    """Return the record that a line holds, without its digest, and whether it had one: older versions wrote none.

    Raises:
        ValueError: it is none, or not what its digest was taken of; of a record of another version or protocol, little
            more is asked than that it says so.
    """
    try:
        values = json.loads(line, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got a {type(values).__name__}")
    found = {key: value for key, value in cast("Record", values).items() if key != DIGEST}
    _require(found, REQUIRED)
    if not (isinstance(found["cell"], Mapping) and isinstance(found["versions"], Mapping)):
        raise ValueError("cell and versions must be objects")
    _require(found["cell"], ("protocol", "config"))
    if is_comparable(found):
        try:
            _check(found)
        except (KeyError, TypeError, AttributeError, OverflowError) as error:  # a cell of another shape, most likely
            raise ValueError(f"{type(error).__name__}: {error}") from error
    return unseal(cast("Record", values))  # last: what is wrong in it says more than that its digest is another


def is_comparable(record: Record) -> bool:
    """Return whether a record is of this protocol and of a version that gives the same numbers."""
    version, protocol = record["versions"].get("sepgconv"), record["cell"]["protocol"]
    return version in COMPARABLE_VERSIONS and protocol == PROTOCOL


def _require(values: Mapping[str, Any], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in values]:
        raise ValueError(f"it lacks {', '.join(missing)}")


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_number(value: Any) -> bool:
    return _is_real(value) and value >= 0


def _is_percentage(value: Any) -> bool:
    return _is_number(value) and value <= 100


def _is_count(value: object) -> bool:
    return _is_number(value) and isinstance(value, int)


def _is_name(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_list_of(check: _Check, depth: int = 1) -> _Check:
    inner = check if depth == 1 else _is_list_of(check, depth - 1)
    return lambda value: isinstance(value, list) and all(inner(entry) for entry in cast("list[Any]", value))


def _has(**checks: _Check) -> _Check:
    return lambda value: (
        isinstance(value, Mapping) and all(name in value and check(value[name]) for name, check in checks.items())
    )


# What a field must be, and whether it may be null or missing.
_TYPES: Mapping[str, tuple[_Check, str, bool]] = MappingProxyType(
    {
        "data": (_is_name, "a string", False),
        "device": (_is_name, "a string", False),
        "commit": (_is_name, "a string", True),
        "measures_commit": (_is_name, "a string", True),
        "seed": (_is_count, "a whole number", False),
        "epochs": (_is_count, "a whole number", False),
        "parameters": (_is_count, "a whole number", True),
        "nominal_macs": (_is_count, "a whole number", True),
        "executed_macs": (_is_count, "a whole number", True),
        "seconds": (_is_number, "a number, 0 or more", False),
        "cpu_seconds": (_is_number, "a number, 0 or more", True),
        "images": (_has(train=_is_count), "an object with the whole number train", True),
        "measures": (_is_object, "an object", False),
    }
)

_SHARES = _has(before=_is_list_of(_is_real), after=_is_list_of(_is_real), shuffled=_is_list_of(_is_real))
_LAYERS = _has(layers=_is_list_of(_SHARES)), "layers, each with lists of numbers before, after and shuffled"
_ERROR = _has(error=_is_number), "error, a number"
_ALIKE = ("second_filters", "second_symmetry", "second_maps", "third_filters")
_SHOWN = _has(**dict.fromkeys(("second_filters", "second_maps", "third_filters"), _is_list_of(_is_real, depth=4)))
# What each measure must hold.
_MEASURED: Mapping[str, tuple[_Check, str]] = MappingProxyType(
    {
        "redundancy": _LAYERS,
        "standardised_redundancy": _LAYERS,
        "convergence": (_has(validation_error=_is_list_of(_is_number)), "validation_error, a list of numbers"),
        "equivariance": _ERROR,
        "initial_error": _ERROR,
        "similarity": (
            _has(**dict.fromkeys(_ALIKE, _is_list_of(_is_real)), shown=_SHOWN),
            f"lists of numbers {', '.join(_ALIKE)}, and shown",
        ),
    }
)
# What a task always measures.
_OF_TASK: Mapping[str, str] = MappingProxyType({"controlled": "similarity", "equivariance": "equivariance"})


def _check(record: Record) -> None:
    cell, config = record["cell"], record["cell"]["config"]
    if record["fingerprint"] != fingerprint(cell) or record["row"] != row_fingerprint(cell):
        raise ValueError("its fingerprint is not that of its cell")
    for name, (accepts, expected, optional) in _TYPES.items():
        value = record.get(name)
        if not (accepts(value) or (optional and value is None)):
            raise ValueError(f"{name} must be {expected}, got {value!r}")
    for name, values in record["measures"].items():
        if name in _MEASURED and not _MEASURED[name][0](values):
            raise ValueError(f"the measure {name} must hold {_MEASURED[name][1]}")
    if record["model"] != config["model"] or record["seed"] != config["seed"]:
        raise ValueError("model or seed are not those of its cell")
    if record["status"] == DIVERGED:
        return
    if record["status"] != FINISHED:
        raise ValueError(f"unknown status {record['status']!r}")
    if (measured := _OF_TASK.get(cell["task"])) and measured not in record["measures"]:
        raise ValueError(f"it lacks the measure {measured}")
    if cell["task"] == "equivariance":
        return
    if not _is_percentage(record["test_error"]):
        raise ValueError(f"test_error must be a number from 0 to 100, got {record['test_error']!r}")
    if record["epochs"] != config["epochs"]:
        raise ValueError(f"{record['epochs']!r} epochs, its cell has {config['epochs']}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
