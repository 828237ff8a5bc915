"""to_plain: a network of group layers as a network of ordinary ones."""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from sepgconv._arguments import checked_input_shape
from sepgconv._comparison import answer_of, explained, largest_difference, precisions, widened
from sepgconv._foreign import acting_hooks, foreign_layers, refuse_hooks_of_all
from sepgconv._modules import copy_network, settled_copy
from sepgconv._nan_check import raise_if_not_finite
from sepgconv.convert.plain.layers import is_layer
from sepgconv.convert.plain.norms import activate_in_place, fold_norms
from sepgconv.convert.plain.operations import Conversion
from sepgconv.convert.plain.refusal import refuse
from sepgconv.convert.tracing import record
from sepgconv.inference import FrozenConv2d, FrozenNorm2d
from sepgconv.inference.probes import default_shape, example_input


@torch.no_grad()
def to_plain(
    model: nn.Module, *, input_shape: tuple[int, ...] | None = None, composed: bool | None = None
) -> fx.GraphModule:
    """Return a network of ordinary torch layers that gives the same answers; it runs without this package.

    Poses are folded into channels, (batch, |G| * channel, height, width): a group convolution becomes one `nn.Conv2d`
    with all copies of its filters; a gc-separable one a 1x1 and a depthwise `nn.Conv2d`; batch norm is folded into
    the convolution before it, or becomes `nn.BatchNorm2d`. What torch has no layer for (pools over poses, additions)
    are functions of torch in the graph. Inputs and outputs keep their axes. `print(plain.code)` shows what it does.

    The forward code of the network is read with torch.fx; its layers of the library and of torch.nn are taken as they
    are. Questions it asks of shapes are answered as on pictures of `input_shape`; the result is compared with the
    network on these, on another number of them, and on larger ones where the network takes them. A network in half
    precision is converted and compared in float32; then its weights are rounded.

    Layers of the library with a hook that changes something, or with code of their own, are refused; hooks that only
    look at such a layer are left out. Weights that are computed (pruned, normed, parametrised) are taken as the next
    call in evaluation mode would compute them. What `torch.compile`, `DistributedDataParallel`, `DataParallel` and
    `AveragedModel` wrap is taken out of them.

    Args:
        model: a network with layers of the library, or one layer. It is not changed.
        input_shape: (channels, height, width) of the pictures, or (channels, |G|, height, width) where the network
            begins on feature maps. Default: 32 x 32, or the typical size of a network of the registry.
        composed: whether a gc-separable layer becomes one `nn.Conv2d` with the full filter bank. Default: whichever of
            the two forms needs fewer multiplications on maps of the size that come in. Sharing "g" is always one,
            because the other form has a map for every pair of channels.

    Returns:
        A `torch.fx.GraphModule` in evaluation mode, on the device and in the precision of the model.

    Raises:
        ValueError: weights that are not finite; batch norm without running statistics; a layer that does more than its
            class, a wrapper that cannot be taken off, something that cannot be copied; code or operators that cannot be
            written in ordinary layers, with their place; an `input_shape` that the network does not take, or that is
            needed and missing; an answer that is not the network's, because its code depends on the picture.
    """
    network = evaluating_copy(model)
    if input_shape is not None:
        input_shape = checked_input_shape(input_shape, "to_plain", feature_maps=True)
    shape = input_shape or default_shape(network)
    reference = copy_network(model, "conversion").eval()  # weights computed at every call, as in the network itself
    wide, types = widened(network), precisions(network)
    if wide is network or len(types) > 1 or not takes(wide, example_input(wide, shape)):
        return _converted(network, reference, shape, composed)
    plain = _converted(wide, widened(reference), shape, composed)
    plain.to(dtype=types.pop())
    for inputs in probes(reference, shape):
        _compare(plain, reference, inputs)
    return plain


def _converted(
    network: nn.Module, reference: nn.Module, shape: tuple[int, ...], composed: bool | None
) -> fx.GraphModule:
    """Convert a network, and compare the result with a reference that computes the same."""
    example = example_input(network, shape)
    recording = record(network, example, _knows(network, example))
    written = Conversion(recording, composed).run()
    plain = fx.GraphModule(dict(written.layers), written.graph, class_name="PlainNetwork").eval()
    plain.graph.eliminate_dead_code()  # checks of shapes, whose answers are in
    fold_norms(plain)
    activate_in_place(plain)
    plain.requires_grad_(True)
    for tensor in (*plain.parameters(), *plain.buffers()):
        tensor.data = tensor.data.contiguous()  # as safetensors asks for
    for inputs in probes(reference, shape):
        _compare(plain, reference, inputs)
    return plain


def _knows(network: nn.Module, example: Tensor) -> Callable[[nn.Module, str], bool]:
    """Return what tells whether a module is a layer with a rule; it refuses one with a hook that changes something."""
    acting: dict[nn.Module, str] = {}
    with contextlib.suppress(Exception):  # a network that does not run is explained by the recording
        acting = acting_hooks(network, lambda: answer_of(network, example))

    def knows(module: nn.Module, place: str) -> bool:
        known = is_layer(module, place)
        if known and module in acting:
            where = f"{place} ({type(module).__name__})" if place else type(module).__name__
            refuse(where, f"it has {acting[module]}; put what the hook does into a module beside it")
        return known

    return knows


def evaluating_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a network in evaluation mode, whose weights are known to be numbers.

    Raises:
        ValueError: weights that are not finite, or not in memory; a network that `compile_for_inference` made.
    """
    for name, module in model.named_modules():
        if isinstance(module, FrozenConv2d | FrozenNorm2d):
            refuse(name, "compile_for_inference made it; give the network that it was made from")
    refuse_hooks_of_all("conversion")
    raise_if_not_finite(model, "conversion")
    return settled_copy(model, "conversion")


def probes(model: nn.Module, shape: tuple[int, ...]) -> list[Tensor]:
    """Return inputs to compare two networks on: of the shape, a single one, and larger ones where the model takes them.

    Args:
        model: in evaluation mode.
        shape: without the batch.
    """
    found = [example_input(model, shape, batch=3), example_input(model, shape, batch=1)]
    larger = example_input(model, (*shape[:-2], shape[-2] + 4, shape[-1] + 8))
    return [*found, larger] if takes(model, larger) else found


def takes(model: nn.Module, x: Tensor) -> bool:
    """Tell whether a model has an answer to an input."""
    try:
        with torch.no_grad():
            model(x)
    except Exception:  # noqa: BLE001 (whatever the user's code raises)
        return False
    return True


def _compare(plain: nn.Module, model: nn.Module, x: Tensor) -> None:
    """Refuse a plain network that does not answer as the one it was made from.

    Raises:
        ValueError: it does not run on an input, or its answer differs by more than rounding explains.
    """
    expected = model(x.clone())
    why = "the code of the network depends on its input in a way that could not be written down"
    suspects = foreign_layers(model)
    why = f"{why} ({suspects})" if suspects else why
    try:
        difference = largest_difference(plain(x.clone()), expected)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"the plain network does not run on {tuple(x.shape)} ({error}): {why}") from error
    if difference > explained(model, x):
        raise ValueError(
            f"the plain network differs by {difference:.1e} of the largest answer on {tuple(x.shape)}: {why}"
        )
