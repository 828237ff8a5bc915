"""Weights to begin with: those of a run or of a saved network, with a new head where the classes are others."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv._files import file_digest
from sepgconv.models import Network, load
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
        source: the folder of a run, of which the result is taken, or of a network that `sepgconv.save` wrote.
        classes: names of the new network's classes.

    Returns:
        A function of the new network, which changes it and returns where its weights came from, as the record has it.

    Raises:
        FileNotFoundError: the folder is neither.
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
    network, known, data, weights = _read(Path(source))
    given = network.state_dict()
    about = {"from": str(source), "model": network.name, "data": data, "weights": file_digest(weights)}
    same_classes = bool(known) and list(known) == list(classes)

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


def _read(source: Path) -> tuple[Network, Sequence[str], str | None, Path]:
    if (source / WEIGHTS).is_file():
        return load(source), (), None, source / WEIGHTS
    if not source.is_dir():
        raise FileNotFoundError(
            f"{source} is no folder; expected that of a run, or of a network that sepgconv.save wrote"
        )
    run = load_run(source)
    return run.model, run.classes, run.record.data, RunFolder(source).model / WEIGHTS


def _differing(given: dict[str, Tensor], wanted: dict[str, Tensor], of_head: Sequence[str]) -> list[str]:
    """Return a sentence for each tensor outside the head that is missing or of another shape."""
    found: list[str] = []
    for name in [*wanted, *(name for name in given if name not in wanted)]:
        shapes = [tuple(state[name].shape) if name in state else None for state in (given, wanted)]
        if name not in of_head and shapes[0] != shapes[1]:
            there, here = ("none" if shape is None else " x ".join(map(str, shape)) or "a number" for shape in shapes)
            found.append(f"{name} is {there} there and {here} here")
    return found
