"""to_program: a network as a torch.export program, a file that torch runs without this package."""

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config  # pyright: ignore[reportPrivateUsage] (as torch.onnx does)

from sepgconv._arguments import checked_input_shape
from sepgconv._comparison import Pair, explained, largest_difference, widened
from sepgconv.convert.plain.errors import first_line
from sepgconv.convert.plain.files import FREE, Export, write_compared
from sepgconv.convert.plain.network import evaluating_copy, probes, takes, to_plain
from sepgconv.inference.probes import default_shape, example_input

_OURS = "sepgconv"


def to_program(
    model: nn.Module,
    path: str | Path,
    *,
    plain: bool = True,
    input_shape: tuple[int, ...] | None = None,
    images: Tensor | None = None,
) -> Export:
    """Write a network as a torch.export program (`.pt2`): steps and weights, no Python code.

    `torch.export.load(path).module()` runs it where only torch is installed, on any number of images.

    Args:
        model: the network. It does not change, and is written in evaluation mode.
        path: the file, ending in ".pt2"; an earlier one is replaced once the new one is known to be right.
        plain: whether the network goes through `to_plain` first: ordinary convolutions, and images of any size if the
            network takes them. Otherwise the network is written with its own weights and batch norms, filters are
            expanded at every call, and images have one size; it can be trained further and stays equivariant.
        input_shape: (channels, height, width) of the images, as in `to_plain`.
        images: further inputs to compare outputs on, (n, channels, height, width).

    Returns:
        What was written, with the largest difference between its outputs and those of the network.

    Raises:
        ValueError: the name has another ending; as `to_plain`; torch.export cannot read the network (its reason is
            given); the outputs of the program differ. No file is left then.
        OSError: the file cannot be written.

    Examples:
        >>> import tempfile, torch
        >>> from torch import nn
        >>> from sepgconv.convert import to_program
        >>> from sepgconv.nn import GroupMaxPool, LiftingConv2d
        >>> model = nn.Sequential(LiftingConv2d(1, 2, 3, "p4"), nn.ReLU(), GroupMaxPool()).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = to_program(model, f"{folder}/network.pt2", input_shape=(1, 8, 8))
        ...     program = torch.export.load(written.path).module()
        >>> written.free
        ('batch', 'height', 'width')
        >>> images = torch.rand(3, 1, 10, 12)
        >>> torch.allclose(program(images), model(images), atol=1e-5)
        True
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"a torch.export program needs a name that ends in .pt2, got {path.name!r}")
    network = evaluating_copy(model)
    if input_shape is not None:
        input_shape = checked_input_shape(input_shape, "to_program", feature_maps=True)
    shape = input_shape or default_shape(network)
    written = to_plain(network, input_shape=shape) if plain else network

    wide = widened(written)

    def write(any_size: bool) -> bytes:
        content = io.BytesIO()  # on a full disk, torch's own writer of files aborts the process
        with warnings.catch_warnings():
            # torch warns of weights that lie channels last; they are saved whole, and come back so.
            warnings.filterwarnings("ignore", message="No complete tensor found", category=UserWarning)
            torch.export.save(export(written, shape, any_size=any_size), content)
        return content.getvalue()

    def load(content: bytes) -> list[Pair]:
        pairs = [Pair(_loaded(content), network)]
        # Code that fixes its own precision was written into the program so, and does not run in another one.
        if wide is not written and takes(finer := _loaded(content).float(), example_input(wide, shape)):
            pairs.append(Pair(finer, wide))
        return pairs

    return export_file(network, path, shape, images, write, load, any_size=plain)


def _loaded(content: bytes) -> nn.Module:
    return torch.export.load(io.BytesIO(content)).module()


def export(network: nn.Module, shape: tuple[int, ...], *, any_size: bool) -> ExportedProgram:
    """Read a network with torch.export, for any number of images and, if asked for, of any size.

    Raises:
        ValueError: torch cannot read it, or it calls operators of this package.
    """
    axes = {0: Dim.AUTO, **({len(shape) - 1: Dim.AUTO, len(shape): Dim.AUTO} if any_size else {})}
    # On the smallest image the last maps are one pixel wide, and torch would fix that size, or a batch of one.
    patch: Callable[..., Any] = getattr(_config, "patch")  # noqa: B009 (put there at run time)
    oblivious = patch(backed_size_oblivious=True) if any_size else contextlib.nullcontext()
    options: dict[str, Any] = {"prefer_deferred_runtime_asserts_over_guards": True} if any_size else {}
    try:
        with torch.no_grad(), oblivious:
            example = (example_input(network, shape),)
            program = torch.export.export(network, example, dynamic_shapes=(axes,), **options)
    except Exception as error:
        raise ValueError(f"torch.export cannot read {type(network).__name__}: {first_line(error)}") from error
    ours = sorted({str(n.target) for n in program.graph.nodes if getattr(n.target, "namespace", None) == _OURS})
    if ours:
        raise ValueError(f"the program would need this package, for {', '.join(ours)}; give to_plain(model)")
    return program


def export_file(
    network: nn.Module,
    path: Path,
    shape: tuple[int, ...],
    images: Tensor | None,
    write: Callable[[bool], bytes],
    load: Callable[[bytes], list[Pair]],
    *,
    any_size: bool = True,
    opset: int | None = None,
) -> Export:
    """Write a file for images of any size where the network and the exporter allow it, else of one, and compare it.

    Args:
        network: in evaluation mode.
        path: the file.
        shape: of an input, without the batch.
        images: further inputs to compare on.
        write: returns the contents of the file, for any size or not.
        load: reads the contents; returns what runs them, each with the network to compare it with.
        any_size: whether to try for any size.
        opset: for the result.

    Raises:
        ValueError: the file cannot be written, or its outputs are not those of the network.
        OSError: the file cannot be written.
    """
    inputs = probes(network, shape)
    further = [] if images is None else [images.to(inputs[0])]
    same_size = [x for x in inputs if tuple(x.shape[1:]) == tuple(shape)]

    def attempt(free: tuple[str, ...], compared: list[Tensor]) -> Export:
        content = write(len(free) > 1)
        difference = write_compared(path, content, lambda read: _compare(load(read), [*compared, *further]))
        return Export(path, len(content), difference, free, opset)

    if any_size and len(inputs) > len(same_size):  # the network takes other sizes too
        with contextlib.suppress(ValueError):  # but what is written may not
            return attempt(FREE, inputs)
    return attempt(FREE[:1], same_size)


def _compare(pairs: list[Pair], inputs: list[Tensor]) -> float:
    """Return the largest difference of an exported network over inputs.

    Raises:
        ValueError: it is more than rounding explains, or the export does not run.
    """
    worst = 0.0
    for pair in pairs:
        for x in inputs:
            own = x.to(example_input(pair.network, (1,)))
            try:
                with torch.no_grad():
                    difference = largest_difference(pair.run(own.clone()), pair.network(own.clone()))
            except Exception as error:
                raise ValueError(f"the export does not run on inputs {tuple(x.shape)}: {first_line(error)}") from error
            if difference > (explained(pair.network, own) if pair.rounding is None else pair.rounding):
                raise ValueError(
                    f"the export differs from the network by {difference:.1e} of the largest output on inputs "
                    f"{tuple(x.shape)}; no file was written"
                )
            worst = max(worst, difference)
    return worst
