"""safetensors files with the digest of their contents in the header, compared whenever one is read."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load, save
from torch import Tensor

from sepgconv._files import DIGEST

HEADER = "sepgconv"  # in the metadata of a network's weights: its name and config, as JSON
_METADATA = "__metadata__"  # safetensors' own key for what is no tensor
_ALIGNMENT = 8  # bytes; where safetensors itself lets the numbers begin


@dataclass(frozen=True, eq=False)
class SealedTensors:
    """What a file of tensors holds.

    Attributes:
        state: the tensors by name, on the CPU.
        metadata: the text beside them, without the digest.
        sealed: whether there was a digest; older versions wrote none.
    """

    state: dict[str, Tensor]
    metadata: dict[str, str]
    sealed: bool


def to_sealed_bytes(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file whose header has the SHA-256 of all that it holds; the same input gives the same bytes.

    Args:
        state: contiguous tensors by name.
        metadata: text to keep beside them.
    """
    header, numbers = _split(save(dict(state)))
    kept = {**metadata, DIGEST: _digest({**header, _METADATA: dict(metadata)}, numbers)}
    text = json.dumps({_METADATA: kept, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text + numbers


def read_sealed(path: Path) -> SealedTensors:
    """Read a file of tensors, and compare its contents with their digest where it has one.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged; the message says how and does not name the file.
    """
    content = path.read_bytes()
    try:
        state = load(content)
        header, numbers = _split(content)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    found: dict[str, str] = header.get(_METADATA, {})
    metadata = {key: value for key, value in found.items() if key != DIGEST}
    if DIGEST not in found and any(re.fullmatch("[0-9a-f]{64}", value) for value in metadata.values()):
        raise ValueError(f"its digest stands under another name than {DIGEST}")
    if DIGEST in found and found[DIGEST] != _digest({**header, _METADATA: metadata}, numbers):
        raise ValueError("its contents are not those that its digest was taken of")
    return SealedTensors(state, metadata, DIGEST in found)


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    begin = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:begin]), content[begin:]


def _digest(header: Mapping[str, Any], numbers: bytes) -> str:
    # Names, dtypes, shapes and places of the tensors and the metadata stand in the header.
    found = hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode())
    found.update(numbers)
    return found.hexdigest()
