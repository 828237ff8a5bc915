"""Weights to begin with: of a run, of a saved network, or known by name; the head is new where classes are others."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv._files import file_digest
from sepgconv._messages import nearest_names
from sepgconv.models import Network, create_model, list_pretrained, load
from sepgconv.models.pretrained import pretrained_record
from sepgconv.models.storage import WEIGHTS
from sepgconv.tasks.evaluation import load_run
from sepgconv.tasks.folder import RunFolder
from sepgconv.tasks.parts import head_of

_NAMED_AT_MOST = 5  # tensors that differ


def pretrained(source: str | Path, *, classes: Sequence[str] = ()) -> Callable[[nn.Module], dict[str, Any]]:
    """Return a function that gives a new network the weights of another one; `train(prepare=...)` takes it.

    All that comes before the head must have the names and shapes of the other network, so that both are of one family
    and width. The head, the last layer with weights, is taken over where the other network is that of a run with the
    same classes in the same order, and else stays as it was drawn.

    Args:
        source: the folder of a run, of which the result is taken, or of a network that `sepgconv.save` wrote; or the
            name of trained weights, as `sepgconv.models.list_pretrained` gives them.
        classes: names of the new network's classes.

    Returns:
        A function of the new network, which changes it and returns where its weights came from, as the record has it.

    Raises:
        FileNotFoundError: it is none of them.
        ValueError: a file in it is damaged. The function raises if the networks differ before the head.

    Example:
        >>> import tempfile, torch
        >>> from sepgconv import create_model, save
        >>> old, new = create_model("z2cnn", width=2), create_model("z2cnn", width=2, num_classes=7)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     origin = pretrained(save(old, folder))(new)
        >>> origin["drawn"], torch.equal(next(old.parameters()), next(new.parameters()))
        (['classifier.weight', 'classifier.bias'], True)
    """
    found = _read(source)
    network, given = found.network, found.network.state_dict()
    about = {"from": str(source), "model": network.name, "data": found.data}
    about |= {} if found.weights is None else {"weights": file_digest(found.weights)}
    same_classes = bool(found.classes) and list(found.classes) == list(classes)

    def prepare(new: nn.Module) -> dict[str, Any]:
        head = head_of(new)[0]
        wanted = new.state_dict()
        of_head = [name for name in wanted if name == head or name.startswith(f"{head}.")]
        if wrong := _differing(given, wanted, of_head):
            more = f" and {len(wrong) - _NAMED_AT_MOST} more" if len(wrong) > _NAMED_AT_MOST else ""
            raise ValueError(
                f"{source} holds another network, {network.name}: {len(wrong)} tensors differ before the head "
                f"({'; '.join(wrong[:_NAMED_AT_MOST])}{more}); give the same model, width and group"
            )
        fits = all(name in given and given[name].shape == wanted[name].shape for name in of_head)
        drawn = [] if same_classes and fits else of_head
        with torch.no_grad():
            for name, value in wanted.items():
                if name not in drawn:
                    value.copy_(given[name])
        return {**about, "drawn": drawn}

    return prepare


@dataclass(frozen=True, eq=False)
class _Source:
    network: Network
    classes: Sequence[str]
    data: str | None
    weights: Path | None  # None: they are known by their name


def _read(source: str | Path) -> _Source:
    folder = Path(source)
    if (folder / WEIGHTS).is_file():
        return _Source(load(folder), (), None, folder / WEIGHTS)
    if folder.is_dir():
        run = load_run(folder)
        return _Source(run.model, run.classes, run.record.data, RunFolder(folder).model / WEIGHTS)
    if str(source) not in list_pretrained():
        near = nearest_names(source, list_pretrained())
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise FileNotFoundError(
            f"{source} is no folder and no name of trained weights{hint}; expected the folder of a run, or of a "
            f"network that sepgconv.save wrote (trained weights: {', '.join(list_pretrained()) or 'none'})"
        )
    name, _, tag = str(source).rpartition(".")
    network = create_model(name, pretrained=tag)
    record: Mapping[str, Any] = {}
    with contextlib.suppress(ValueError):  # they were registered without a run
        record = pretrained_record(name, tag)
    return _Source(network, record.get("classes", ()), record.get("data"), None)


def _differing(given: dict[str, Tensor], wanted: dict[str, Tensor], of_head: Sequence[str]) -> list[str]:
    """Return a sentence for each tensor outside the head that is missing or of another shape."""
    found: list[str] = []
    for name in [*wanted, *(name for name in given if name not in wanted)]:
        shapes = [tuple(state[name].shape) if name in state else None for state in (given, wanted)]
        if name not in of_head and shapes[0] != shapes[1]:
            there, here = ("none" if shape is None else " x ".join(map(str, shape)) or "a number" for shape in shapes)
            found.append(f"{name} is {there} there and {here} here")
    return found
