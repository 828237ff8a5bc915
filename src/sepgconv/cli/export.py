"""`sepgconv export`: the network of a run as a file that runs without this package."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sepgconv._files import write_atomically
from sepgconv._numbers import count, plural
from sepgconv._terminal import show
from sepgconv._text import visible
from sepgconv.cli import options
from sepgconv.cli.networks import FoundNetwork, RunOrModel, read_network
from sepgconv.cli.output import print_table
from sepgconv.cli.timing import milliseconds

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sepgconv.convert import Export

_COMPARED = 128  # images of the data set
_BATCHES = (1, 128)
_IN_THE_FILE = ("mean-std",)  # preprocessing that is written before the network; whitening is as large as a network
_LARGER = 1.5  # times the weights


def export(
    run: RunOrModel,
    to: Annotated[
        Literal["conv", "onnx", "torch"],
        typer.Option(
            help="conv: ordinary convolutions as a torch.export program. onnx: the same as ONNX. torch: the network's "
            "own layers as a torch.export program.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file: NAME.pt2, or NAME.onnx with --to onnx.", show_default=False)],
    size: Annotated[int | None, typer.Option(min=1, help="Side of the images. Default: that of the run.")] = None,
    checkpoint: options.Checkpoint = None,
    data_dir: options.DataDir = None,
    opset: Annotated[
        int | None, typer.Option(help="With --to onnx: version of its operators, 13 to 23. Default: 18.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads for the timings. Default: torch's.")] = None,
) -> None:
    """Write the network of a run as a file that runs without this package, compared with the run and timed.

    The file takes what is named below the table: images in [0, 1] where the run's preprocessing is none or mean and
    deviation, which is then in the file; otherwise images after the run's preprocessing. Its outputs are compared on
    images of the run's data set if its files are there, else on random ones; if they differ, the file is not written.
    The metadata of an ONNX file say which classes its scores are of and what it takes; the names of the classes are in
    NAME.classes.txt, too, one on each line.
    """
    import torch

    from sepgconv.convert import to_onnx, to_program
    from sepgconv.convert.plain.onnx_graph import NEWEST

    if opset is not None and to != "onnx":
        raise ValueError(f"--opset is the version of ONNX's operators; leave it out with --to {to}")
    if threads is not None:
        torch.set_num_threads(threads)
    loaded = read_network(run, checkpoint)
    shape = loaded.image_shape if size is None else (loaded.image_shape[0], size, size)
    preprocessing = "identity" if loaded.run is None else str(loaded.run.preprocessing.name)
    network: torch.nn.Module = loaded.model
    if loaded.run is not None and preprocessing in _IN_THE_FILE:
        network = torch.nn.Sequential(loaded.run.preprocessing, loaded.model).eval()
    images = _real_images(loaded, preprocessing, data_dir) if shape == loaded.image_shape else None
    if to == "onnx":
        inside = ", in the file" if preprocessing in _IN_THE_FILE else ""
        metadata = _metadata(loaded, preprocessing + inside, shape)
        number = NEWEST if opset is None else opset
        written = to_onnx(network, out, input_shape=shape, opset=number, images=images, metadata=metadata)
    else:
        written = to_program(network, out, plain=to == "conv", input_shape=shape, images=images)
    _print_report(run, loaded, written, shape)
    size_too = " of any size" if "height" in written.free else ""
    show(f"{written.path}: {_kind(to, written)}, for any number of images{size_too}")
    what = "random images"
    if images is not None and loaded.record is not None:
        what = f"{len(images)} images of {loaded.record.data} and random ones"
    show(f"largest difference from the network, on {what}: {written.difference:.1e} of the largest score")
    show(f"input: {_input(loaded, preprocessing, shape, written)}{scale_of_deep_images(loaded)}")
    if loaded.record is not None and {"mean", "scale"} <= set(state := loaded.record.task_state):
        show(f"outputs: standardised; an answer is output * {state['scale']} + {state['mean']}")
    if to != "torch":
        _show_size(loaded, written)
    if loaded.run is not None and loaded.run.classes:
        names = out.with_name(f"{out.stem}.classes.txt")
        write_atomically(names, "".join(f"{visible(name)}\n" for name in loaded.run.classes).encode())
        show(f"{names}: the {plural(len(loaded.run.classes), 'class', 'classes')} of its scores, in their order")


def _metadata(loaded: FoundNetwork, preprocessing: str, shape: tuple[int, ...]) -> dict[str, str]:
    """Return what an ONNX file says of its network, by names that other tools can read."""
    import sepgconv

    found = {
        "model": str(loaded.model.name),
        "sepgconv_version": sepgconv.__version__,
        "input_range": "0 to 1",
        "input_channels": "grey" if shape[0] == 1 else "red, green, blue" if shape[0] == 3 else str(shape[0]),
        "input_height": str(shape[1]),
        "input_width": str(shape[2]),
        "preprocessing": preprocessing,
    }
    if loaded.run is None or loaded.record is None:
        return found
    found |= {"classes": json.dumps(list(loaded.run.classes)), "task": loaded.record.task, "data": loaded.record.data}
    found |= {"epochs": str(loaded.record.epochs), "commit": loaded.record.commit or ""}
    if loaded.record.task_state:
        found["task_state"] = json.dumps(loaded.record.task_state)
    if loaded.run.bit_depth is not None:
        found["bit_depth"] = str(loaded.run.bit_depth)
    return found


def _show_size(loaded: FoundNetwork, written: "Export") -> None:
    """Say how much larger the file is than the weights, where filters are written out for every pose."""
    weights = sum(weight.numel() * weight.element_size() for weight in loaded.model.parameters())
    if weights and (times := written.bytes / weights) >= _LARGER:
        show(
            f"size: {times:.1f} times that of the network's parameters, because filters are written out for every pose"
        )


def scale_of_deep_images(loaded: FoundNetwork) -> str:
    """Return how images of 16 bits become numbers in [0, 1], if the run was trained on such images."""
    bit_depth = None if loaded.run is None else loaded.run.bit_depth
    return "" if bit_depth is None else f"; 16-bit images divided by {2**bit_depth - 1}, the run's bit depth"


def _real_images(loaded: FoundNetwork, preprocessing: str, data_dir: Path | None) -> "Tensor | None":
    """Return test images of the run's data set, in [0, 1], if its files are at hand.

    Whitened data sets are left out: their statistics would be fitted anew, which takes minutes.
    """
    from sepgconv.data import load_dataset
    from sepgconv.data.registry import is_own

    if loaded.run is None or preprocessing not in ("identity", *_IN_THE_FILE):
        return None
    name = str(loaded.run.record.config["data"])
    try:
        if is_own(name):
            height, width = loaded.image_shape[1:]
            size = height if height == width else None
            options = loaded.run.data_options
            dataset = load_dataset(name, data_dir=data_dir, image_size=size, options=options, preprocessing="identity")
        else:
            dataset = load_dataset(name, data_dir=data_dir, download=False)
    except (OSError, ValueError):
        return None
    images = dataset.test.images[:_COMPARED]
    return images if len(images) and tuple(images.shape[1:]) == loaded.image_shape else None


def _print_report(run: Path, loaded: FoundNetwork, written: "Export", shape: tuple[int, ...]) -> None:
    import torch

    from sepgconv.tasks.folder import RunFolder

    folder = run if loaded.record is None else RunFolder(run).model
    state = loaded.model.state_dict().values()
    before = (
        sum(file.stat().st_size for file in folder.iterdir())
        if folder.is_dir()
        else sum(tensor.numel() * tensor.element_size() for tensor in state)  # of a checkpoint
    )
    networks = [
        ("the network", before, loaded.model),
        (written.path.name, written.bytes, _runnable(written)),
    ]
    dtype = _precision(loaded)
    times = [
        milliseconds([network for *_, network in networks], torch.randn(batch, *shape).to(dtype)) for batch in _BATCHES
    ]
    rows = [
        (name, count(size), *(f"{taken[index]:.2f}" for taken in times))
        for index, (name, size, _) in enumerate(networks)
    ]
    columns = ("", "bytes", *(f"ms, batch {batch}" for batch in _BATCHES))
    print_table(loaded.title, columns, rows)
    threads = torch.get_num_threads()
    size = "x".join(map(str, shape))
    kind = _name(dtype) if not written.opset or dtype == torch.float32 else f"{_name(dtype)}, the file in float32"
    show(f"medians, {threads} thread{'s' if threads > 1 else ''}, {kind}, images of {size}")


def _precision(loaded: FoundNetwork) -> "torch.dtype":
    return next(loaded.model.parameters()).dtype


def _name(dtype: "torch.dtype") -> str:
    return str(dtype).removeprefix("torch.")


def _runnable(written: "Export") -> "Callable[[Tensor], Any]":
    import torch

    from sepgconv.convert.plain.onnx import open_session

    if written.opset:
        return open_session(written.path)
    with written.path.open("rb") as file:  # torch opens no name that is not UTF-8
        return torch.export.load(file).module()


def _kind(to: str, written: "Export") -> str:
    if written.opset:
        return f"ONNX, opset {written.opset}"
    return "a torch.export program of " + ("ordinary layers" if to == "conv" else "the network's own layers")


def _input(loaded: FoundNetwork, preprocessing: str, shape: tuple[int, ...], written: "Export") -> str:
    least = getattr(loaded.model, "min_input_size", 1)
    size = f"height and width of {least} or more" if "height" in written.free else f"{shape[1]}, {shape[2]}"
    dtype = "float32" if written.opset else _name(_precision(loaded))
    images = f"{dtype} images (batch, {shape[0]}, {size}) in [0, 1]"
    if preprocessing == "identity":
        return images
    if preprocessing in _IN_THE_FILE:
        return f"{images}; the run's preprocessing, {preprocessing}, is in the file"
    return f"{images} after the run's preprocessing, {preprocessing}, which is not in the file"
