"""to_plain: a network of group layers as a network of ordinary ones."""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from sepgconv._arguments import checked_input_shape
from sepgconv._comparison import explained, largest_difference, output_of, precisions, widened
from sepgconv._customised import customised_layers, modifying_hooks, raise_if_global_hooks
from sepgconv._modules import copy_network, settled_copy
from sepgconv._nan_check import raise_if_not_finite
from sepgconv.convert.plain.errors import named, raise_unconvertible
from sepgconv.convert.plain.layers import is_layer
from sepgconv.convert.plain.norms import activate_in_place, fold_norms
from sepgconv.convert.plain.operations import Conversion
from sepgconv.convert.tracing import record
from sepgconv.inference import FrozenConv2d, FrozenNorm2d
from sepgconv.inference.probes import default_shape, example_input


@torch.no_grad()
def to_plain(
    model: nn.Module, *, input_shape: tuple[int, ...] | None = None, composed: bool | None = None
) -> fx.GraphModule:
    """Return a network of ordinary torch layers that computes the same; it runs without this package.

    Poses are folded into channels, (batch, |G| * channel, height, width): a group convolution becomes one `nn.Conv2d`
    with all copies of its filters, a gc-separable one a 1x1 and a depthwise `nn.Conv2d`. Batch norm is folded into the
    convolution before it, or becomes `nn.BatchNorm2d`. What torch has no layer for (pools over poses, additions) is a
    function of torch in the graph. Inputs and outputs keep their axes. `print(plain.code)` shows the result.

    torch.fx reads the forward code of the network; layers of the library and of torch.nn are single steps. Where the
    code asks for a shape, it gets the shape on images of `input_shape`. The outputs of the result are compared with
    those of the network on such images, on another number of them, and on larger ones if the network takes them. A
    network in half precision is converted and compared in float32; then its weights are rounded.

    Computed weights (pruned, normed, parametrised) are taken as the next call in evaluation mode would compute them.
    Wrappers (`torch.compile`, `DistributedDataParallel`, `DataParallel`, `AveragedModel`) are taken off. Hooks
    on layers of the library that only look at what goes through are left out.

    Args:
        model: a network with layers of the library, or one layer. It does not change.
        input_shape: (channels, height, width) of the images, or (channels, |G|, height, width) if the network begins on
            feature maps. Default: `input_size` of a network of the registry, or 32 x 32 pixels.
        composed: whether a gc-separable layer becomes one `nn.Conv2d` with the full filter bank. Default: whichever of
            the two forms needs fewer multiplications on maps of the size that come in. Sharing "g" always becomes one,
            since the other form has a map for every pair of channels.

    Returns:
        A `torch.fx.GraphModule` in evaluation mode, on the device and in the precision of the model.

    Raises:
        ValueError: weights are not finite; a batch norm has no running statistics; a layer has a hook that changes
            something, or code besides that of its class; a wrapper cannot be taken off, or something cannot be copied;
            code or operators cannot be written in ordinary layers (their place is named); the network does not take
            `input_shape`, or it is needed and missing; the outputs differ, because the code depends on the image.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from sepgconv.convert import to_plain
        >>> from sepgconv.nn import GroupMaxPool, LiftingConv2d, SeparableGroupConv2d
        >>> model = nn.Sequential(
        ...     LiftingConv2d(1, 4, 3, "p4"), nn.ReLU(), SeparableGroupConv2d(4, 4, 3, "p4"), GroupMaxPool()
        ... ).eval()
        >>> plain = to_plain(model, input_shape=(1, 16, 16))
        >>> [type(layer).__name__ for layer in plain.modules() if not list(layer.children())]
        ['Conv2d', 'ReLU', 'Conv2d', 'Conv2d']
        >>> images = torch.rand(2, 1, 20, 16)
        >>> torch.allclose(plain(images), model(images), atol=1e-5)
        True
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
    plain.graph.eliminate_dead_code()  # checks of shapes, which are settled
    fold_norms(plain)
    activate_in_place(plain)
    plain.requires_grad_(True)
    for tensor in (*plain.parameters(), *plain.buffers()):
        tensor.data = tensor.data.contiguous()  # as safetensors asks for
    for inputs in probes(reference, shape):
        _compare(plain, reference, inputs)
    return plain


def _knows(network: nn.Module, example: Tensor) -> Callable[[nn.Module, str], bool]:
    """Return a function that returns whether a module has a rule, and raises if a hook changes something."""
    acting: dict[nn.Module, str] = {}
    with contextlib.suppress(Exception):  # a network that does not run is explained by the recording
        acting = modifying_hooks(network, lambda: output_of(network, example))

    def knows(module: nn.Module, place: str) -> bool:
        known = is_layer(module, place)
        if known and module in acting:
            raise_unconvertible(
                named(place, type(module)), f"it has {acting[module]}; put what the hook does into a module beside it"
            )
        return known

    return knows


def evaluating_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a network in evaluation mode, whose weights are known to be numbers.

    Raises:
        ValueError: weights that are not finite, or not in memory; a network that `compile_for_inference` made.
    """
    for name, module in model.named_modules():
        if isinstance(module, FrozenConv2d | FrozenNorm2d):
            raise_unconvertible(name, "compile_for_inference made it; give the network that it was made from")
    raise_if_global_hooks("conversion")
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
    """Return whether a model runs on an input."""
    try:
        with torch.no_grad():
            model(x)
    except Exception:  # noqa: BLE001 (whatever the user's code raises)
        return False
    return True


def _compare(plain: nn.Module, model: nn.Module, x: Tensor) -> None:
    """Raise if the outputs of a plain network are not those of the network that it was made from.

    Raises:
        ValueError: it does not run on an input, or its output differs by more than rounding.
    """
    expected = model(x.clone())
    why = "the code of the network depends on its input in a way that a graph cannot express"
    suspects = customised_layers(model)
    why = f"{why} ({suspects})" if suspects else why
    try:
        difference = largest_difference(plain(x.clone()), expected)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"the plain network does not run on {tuple(x.shape)} ({error}): {why}") from error
    if difference > explained(model, x):
        raise ValueError(
            f"the plain network differs by {difference:.1e} of the largest output on {tuple(x.shape)}: {why}"
        )
