"""to_onnx: a network as an ONNX file of ordinary operators."""

import contextlib
import logging
import re
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from sepgconv._messages import require
from sepgconv.convert.plain.files import Export
from sepgconv.convert.plain.network import evaluating_copy, to_plain
from sepgconv.convert.plain.program import export, export_file, first_line
from sepgconv.convert.plain.refusal import refuse
from sepgconv.inference.probes import default_shape

OPSETS = (18, 23)  # what torch's exporter writes


def to_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    input_shape: tuple[int, ...] | None = None,
    opset: int = 18,
    images: Tensor | None = None,
) -> Export:
    """Write a network as an ONNX file, run it with onnxruntime and compare it. Needs the extra "export".

    The network goes through `to_plain` and torch's exporter: the file holds Conv, Relu, MaxPool, Gemm and the like with
    weights in single precision. Its input is called "image", its output "scores". The number of pictures is free, and
    so are their height and width where the network and the exporter allow it.

    Args:
        model: the network, with one tensor as its output; it is not changed.
        path: the file; an earlier one is replaced when the new one is right.
        input_shape: (channels, height, width) of the pictures; as for `to_plain`.
        opset: version of the operators, 18 to 23.
        images: further inputs to compare on, (n, channels, height, width).

    Returns:
        What was written, with its largest difference from the network.

    Raises:
        ValueError: what `to_plain` says; an operator that ONNX does not have, with its place; a file that answers
            otherwise than the network. No file is left then.
        OSError: the file cannot be written.
        ImportError: the extra "export" is not installed.
    """
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ValueError(f"opset must be {OPSETS[0]} to {OPSETS[1]}, got {opset}")
    for library in ("onnx", "onnxscript", "onnxruntime"):
        require(library, extra="export", purpose="writing ONNX files")
    network = evaluating_copy(model)
    shape = default_shape(network) if input_shape is None else input_shape
    plain = to_plain(network, input_shape=shape).float()

    def write(any_size: bool, part: Path) -> None:
        _write(export(plain, shape, any_size=any_size), part, opset)

    return export_file(network, Path(path), shape, images, write, open_session, dtype=torch.float32, opset=opset)


def open_session(path: Path, *, threads: int | None = None) -> Callable[[Tensor], Tensor]:
    """Open an ONNX file with one input and one output in onnxruntime; return what runs it on a tensor.

    Args:
        path: the file.
        threads: of onnxruntime. Default: as many as torch has.
    """
    runtime = require("onnxruntime", extra="export", purpose="running ONNX files")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions, and need not be printed too
    options.intra_op_num_threads = threads or torch.get_num_threads()
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: x.detach().cpu().float().numpy()})[0])

    return run


def _write(program: ExportedProgram, path: Path, opset: int) -> None:
    """Write a program as ONNX.

    Raises:
        ValueError: an operator that ONNX does not have, or a version of the operators that the exporter cannot give.
    """
    if sum(node.op == "output" and len(node.args[0]) for node in program.graph.nodes) != 1:
        raise ValueError("a network with several outputs cannot be written as ONNX here; wrap it so that it has one")
    with _quietly():
        try:
            written = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset,
                input_names=["image"],
                output_names=["scores"],
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # noqa: BLE001 (torch's errors of export have no public common class)
            _explain(program, error)
    if written is None:
        raise ValueError("torch's exporter gave no ONNX network")
    got = written.model.opset_imports[""]
    if got != opset:
        raise ValueError(f"torch's exporter wrote opset {got} instead of {opset}; ask for opset={got}")
    written.save(str(path), external_data=False)


@contextlib.contextmanager
def _quietly() -> Generator[None, None, None]:
    """Silence what torch's exporter says of itself: that torchvision is missing, and its own use of old names."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            yield
    finally:
        logger.setLevel(before)


def _explain(program: ExportedProgram, error: Exception) -> NoReturn:
    """Raise a sentence with the operator that stops the exporter, and the place of it in the network."""
    missing = re.search(r"No ONNX function found for <OpOverload\(op='\w+\.(\w+)'", str(error))
    if missing is None:
        raise ValueError(f"torch's ONNX exporter failed: {first_line(error)}") from error
    operator = missing[1]
    for node in program.graph.nodes:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if operator in str(node.target) and stack and stack[-1][0]:
            path, kind = stack[-1]
            name = kind if isinstance(kind, str) else kind.__name__
            refuse(f"{path} ({name.rpartition('.')[2]})", f"ONNX has no operator for its {operator}", error)
    refuse("the network", f"ONNX has no operator for its {operator}", error)
