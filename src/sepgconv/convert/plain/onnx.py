"""to_onnx: a network as an ONNX file of ordinary operators."""

import contextlib
import logging
import re
import warnings
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from sepgconv._arguments import checked_input_shape
from sepgconv._comparison import ROUNDING, Pair, widened
from sepgconv._messages import require
from sepgconv.convert.plain.errors import first_line, raise_unconvertible
from sepgconv.convert.plain.files import Export
from sepgconv.convert.plain.network import evaluating_copy, takes, to_plain
from sepgconv.convert.plain.onnx_graph import NEWEST, lower, name_axes, settle_shapes
from sepgconv.convert.plain.program import export, export_file
from sepgconv.inference.probes import default_shape, example_input

OPSETS = (13, 23)  # from 18 on torch's exporter writes them; older ones are made of 18


def to_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    input_shape: tuple[int, ...] | None = None,
    opset: int = 18,
    images: Tensor | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Export:
    """Write a network as an ONNX file, run it with onnxruntime and compare the outputs. Needs the extra "export".

    The network goes through `to_plain` and torch's exporter: the file holds standard operators (Conv, Relu, MaxPool,
    Gemm) with weights in single precision. Its input is called "image", its output "scores". The number of images is
    free, and so are their height and width if the network and the exporter allow it: these axes are called "batch",
    "height" and "width". Ranks are fixed everywhere, and onnxruntime's `quant_pre_process` takes the file as it is.

    A network in half precision is written as its copy in single precision, and compared with that copy.

    Args:
        model: the network, with one tensor as its output. It does not change.
        path: the file; an earlier one is replaced once the new one is known to be right.
        input_shape: (channels, height, width) of the images, as in `to_plain`.
        opset: version of the operators, 13 to 23. Before 18 some operators are missing: Mish came with 18,
            LayerNormalization with 17, HardSwish with 14.
        images: further inputs to compare outputs on, (n, channels, height, width).
        metadata: what the file says of itself, by name (`metadata_props`); onnxruntime gives it back as
            `session.get_modelmeta().custom_metadata_map`. Default: nothing.

    Returns:
        What was written, with the largest difference between its outputs and those of the network (in single
        precision, if the network has a higher one).

    Raises:
        ValueError: as `to_plain`; ONNX, or this version of its operators, does not have an operator of the network (its
            place is named); the outputs of the file differ. No file is left then.
        OSError: the file cannot be written.
        ImportError: the extra "export" is not installed.

    Examples:
        >>> import tempfile
        >>> from torch import nn
        >>> from sepgconv.convert import to_onnx
        >>> from sepgconv.nn import GroupMaxPool, LiftingConv2d
        >>> model = nn.Sequential(LiftingConv2d(1, 2, 3, "p4"), nn.ReLU(), GroupMaxPool()).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = to_onnx(model, f"{folder}/network.onnx", input_shape=(1, 8, 8))
        >>> written.opset, written.free, written.difference < 1e-4
        (18, ('batch', 'height', 'width'), True)
    """
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ValueError(f"opset must be {OPSETS[0]} to {OPSETS[1]}, got {opset}")
    for library in ("onnx", "onnxscript", "onnxruntime"):
        require(library, extra="export", purpose="writing ONNX files")
    given = evaluating_copy(model)
    network = widened(given)
    if input_shape is not None:
        input_shape = checked_input_shape(input_shape, "to_onnx", feature_maps=True)
    shape = input_shape or default_shape(network)
    if takes(given, example_input(given, shape)) and not takes(network, example_input(network, shape)):
        raise ValueError(
            f"{type(model).__name__} cannot be written as ONNX: files are in single precision, and its code fixes "
            "another one; let it take the precision of its weights"
        )
    plain = to_plain(network, input_shape=shape).float()

    def write(any_size: bool) -> bytes:
        return _onnx_of(export(plain, shape, any_size=any_size), opset, metadata or {})

    def load(content: bytes) -> list[Pair]:
        return [Pair(_runner(content), network, ROUNDING[torch.float32])]

    return export_file(network, Path(path), shape, images, write, load, opset=opset)


def open_session(path: Path, *, threads: int | None = None) -> Callable[[Tensor], Tensor]:
    """Open an ONNX file with one input and one output in onnxruntime; return what runs it on a tensor.

    Args:
        path: the file.
        threads: of onnxruntime. Default: as many as torch has.
    """
    return _runner(Path(path).read_bytes(), threads=threads)


def _runner(content: bytes, *, threads: int | None = None) -> Callable[[Tensor], Tensor]:
    runtime = require("onnxruntime", extra="export", purpose="running ONNX files")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions, and need not be printed too
    options.intra_op_num_threads = threads or torch.get_num_threads()
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: x.detach().cpu().float().numpy()})[0])

    return run


def _onnx_of(program: ExportedProgram, opset: int, metadata: Mapping[str, str]) -> bytes:
    """Write a program as ONNX; return the contents of the file.

    Raises:
        ValueError: an operator that ONNX does not have, or a version of the operators that the exporter cannot give.
    """
    if sum(node.op == "output" and len(node.args[0]) for node in program.graph.nodes) != 1:
        raise ValueError("a network with several outputs cannot be written as ONNX here; wrap it so that it has one")
    asked = max(opset, NEWEST)
    with _quietly():
        try:
            written = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=asked,
                input_names=["image"],
                output_names=["scores"],
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # noqa: BLE001 (torch's errors of export have no public common class)
            _explain(program, error)
    if written is None:
        raise ValueError("torch's exporter gave no ONNX network")
    model = written.model_proto
    (got,) = (entry.version for entry in model.opset_import if entry.domain == "")
    if got != asked:
        raise ValueError(f"torch's exporter wrote opset {got} instead of {asked}; ask for opset={got}")
    name_axes(model)
    settle_shapes(model)
    if opset < NEWEST:
        lower(model, opset)
    for key, value in metadata.items():
        # Names may come from bytes that are no UTF-8, which the file cannot hold.
        model.metadata_props.add(key=key, value=value.encode(errors="backslashreplace").decode())
    return bytes(model.SerializeToString())


@contextlib.contextmanager
def _quietly() -> Generator[None, None, None]:
    """Silence the warnings of torch's exporter that are not for the user: torchvision is missing, it uses old names."""
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
            raise_unconvertible(
                f"{path} ({name.rpartition('.')[2]})", f"ONNX has no operator for its {operator}", error
            )
    raise_unconvertible("the network", f"ONNX has no operator for its {operator}", error)
