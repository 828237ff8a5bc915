"""from_e2cnn and from_escnn: whole models, layer by layer; what cannot be converted is named with its place."""

import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from torch import nn

from sepgconv._customised import custom_behaviour, raise_if_global_hooks
from sepgconv._messages import one_of
from sepgconv._modules import copy_network, home, unwrap
from sepgconv.interop.e2cnn.bridge import FieldBridge
from sepgconv.interop.e2cnn.comparison import compare
from sepgconv.interop.e2cnn.fields import SUPPORTED
from sepgconv.interop.e2cnn.layers import CONVOLUTION, RULES, convert_layer
from sepgconv.nn import Sequential
from sepgconv.symmetry.kernels import KERNELS, Kernel


def from_e2cnn(module: nn.Module, *, kernel: Kernel = "auto") -> nn.Module:
    """Return layers of this library with the outputs of a module of e2cnn 0.2.3, in evaluation and in training.

    `R2Conv` between regular and trivial fields becomes `GroupConv2d` or `LiftingConv2d`, followed by `GroupMeanPool`
    where the output is trivial; a trivial output by a kernel of one pixel becomes `nn.Conv2d`, after that pool where
    the input is regular. `InnerBatchNorm`, `ReLU`, `ELU`, `PointwiseNonLinearity`, `PointwiseMaxPool`,
    `PointwiseAvgPool`, both also `Antialiased`, `PointwiseAdaptiveAvgPool`, `GroupPooling`, `PointwiseDropout`,
    `FieldDropout`, `RestrictionModule`, `DisentangleModule` of regular fields, `MaskModule` and `IdentityModule` become
    what computes the same; a `SequentialModule` becomes a `sepgconv.nn.Sequential` with the same names. Spaces:
    `Rot2dOnR2(N)` and `FlipRot2dOnR2(N)` for N up to 64, `Flip2dOnR2()` and `TrivialOnR2()`.

    The result takes plain tensors: images (batch, channel, height, width) for trivial fields, feature maps (batch,
    channel, pose, height, width) for regular ones. Poses are in the order of docs/conventions.md, which describes how
    the order of e2cnn is mapped to it; `fields_to_maps` and `maps_to_fields` convert tensors.

    A module with a `forward` of its own (an `nn.Module` or `EquivariantModule` of yours) is copied, and every part of
    e2cnn in it is replaced by a bridge around the converted one: the copy has the inputs and outputs of the original.

    Hooks and replaced methods of your own modules stay with them. The outputs of the converted parts are compared with
    those of the originals on random fields.

    The given module does not change. Under groups that keep the pixel grid (C2, C4, D2, D4) the pixels of a filter
    become the weights, so that training goes on in a larger space than that of e2cnn. Under the others, and with
    `kernel="steerable"`, the layer gets the rings of the original, whatever its `rings`, `sigma` and
    `frequencies_cutoff` (`SteerableBasis`), and the weights are the coefficients: the space stays the same. In
    evaluation mode the filter is the one of the last `eval()`, as in e2cnn. The output of `GroupPooling` is float32 in
    e2cnn; after the conversion it has the dtype of its input. Dropout draws other random numbers.

    Args:
        module: a module of e2cnn, or one that has such modules in it.
        kernel: what the weights of convolutions are: "pixel", the pixels, for groups that keep the grid; "steerable",
            coefficients of the filters of the original; "auto", the first where it is possible.

    Returns:
        The converted module, in the mode, dtype and device of the given one.

    Raises:
        ValueError: a layer, a representation or a group has no counterpart; a filter is not equivariant, or is no sum
            of the filters of its layer; there is no module of e2cnn at all. Every layer at fault is named with its
            path.

    Examples:
        >>> from e2cnn import gspaces, nn as e2nn
        >>> from sepgconv.convert import from_e2cnn
        >>> space = gspaces.Rot2dOnR2(4)
        >>> regular = e2nn.FieldType(space, 3 * [space.regular_repr])
        >>> theirs = e2nn.SequentialModule(e2nn.InnerBatchNorm(regular), e2nn.ReLU(regular), e2nn.GroupPooling(regular))
        >>> [type(layer).__name__ for layer in from_e2cnn(theirs)]
        ['GroupBatchNorm2d', 'ReLU', 'GroupMaxPool']
    """
    return _Conversion("e2cnn", kernel).run(module)


def from_escnn(module: nn.Module, *, kernel: Kernel = "auto") -> nn.Module:
    """Return layers of this library with the outputs of a module of escnn.

    As `from_e2cnn`, with which it shares all rules, for the spaces `rot2dOnR2(N)`, `flipRot2dOnR2(N)`, `flip2dOnR2()`
    and `trivialOnR2()`. Where a layer does not say what its rings are, they are taken to be the default ones. It was
    written after the published documentation and source of escnn 1.0 and tested with a stand-in that has the same
    attributes; it has never run against escnn itself. Compare outputs (`fields_to_maps`) before you rely on it.

    Args:
        module: a module of escnn, or one that has such modules in it.
        kernel: what the weights of convolutions are, as for `from_e2cnn`.

    Returns:
        The converted module, in the mode, dtype and device of the given one.

    Raises:
        ValueError: as `from_e2cnn`.

    Examples:
        >>> from escnn import gspaces, nn as esnn  # doctest: +SKIP
        >>> from sepgconv.convert import from_escnn
        >>> space = gspaces.rot2dOnR2(4)  # doctest: +SKIP
        >>> regular = esnn.FieldType(space, 3 * [space.regular_repr])  # doctest: +SKIP
        >>> theirs = esnn.SequentialModule(esnn.ReLU(regular), esnn.GroupPooling(regular))  # doctest: +SKIP
        >>> [type(layer).__name__ for layer in from_escnn(theirs)]  # doctest: +SKIP
        ['ReLU', 'GroupMaxPool']
    """
    return _Conversion("escnn", kernel).run(module)


class _Conversion:
    """One conversion: the library that the module is from, what weights are, and the problems that were found."""

    def __init__(self, library: str, kernel: Kernel) -> None:
        self.library = library
        self.kernel: Kernel = one_of("kernel", kernel, KERNELS)
        self.problems: list[str] = []
        self.converted: dict[nn.Module, nn.Module] = {}  # a module that is there twice stays one module

    def run(self, module: nn.Module) -> nn.Module:
        caller = f"from_{self.library}"
        module = unwrap(module, caller)
        raise_if_global_hooks(caller)
        if not any(map(self._is_theirs, module.modules())):
            raise ValueError(f"{caller}: there is no module of {self.library} in this {type(module).__name__}")
        is_whole = self._is_convertible(module)
        parts = [("", module)] if is_whole else list(self._outermost(module, ""))
        for path, part in parts:
            self._note_custom_behaviour(part, path)
        whole = module
        if not self.problems:
            whole = self._convert(module, "") if is_whole else self._keep(module)
        if self.problems:
            layers = ", ".join([CONVOLUTION, *RULES])
            raise ValueError(f"{caller}: {'; '.join(self.problems)}. Supported are {SUPPORTED}, and {layers}")
        for path, part in parts:
            compare(caller, _named(path, part), part, self.converted[part])
        return whole

    def _note_custom_behaviour(self, part: nn.Module, path: str) -> None:
        """Note what a part does beyond its class, because the layers that replace it would not do it."""
        for name, module in part.named_modules(prefix=path):
            what = custom_behaviour(module, (type(module),))  # subclasses are named by the conversion itself
            if what is not None:
                self.problems.append(f"{_named(name, module)} has {what}, which would be lost; remove it")

    def _is_theirs(self, module: nn.Module) -> bool:
        return home(type(module)) == self.library

    def _base(self, module: nn.Module) -> type | None:
        """Return the class of the library that a class of the user derives from, or None."""
        return next((base for base in type(module).__mro__ if home(base) == self.library), None)

    def _is_chain(self, module: nn.Module) -> bool:
        base = self._base(module)
        return base is not None and base.__name__ == "SequentialModule" and _runs_as(module, base)

    def _is_convertible(self, module: nn.Module) -> bool:
        """Return whether a module becomes layers of ours as a whole, errors aside."""
        if self._is_chain(module):
            return all(map(self._is_convertible, module.children()))
        return self._is_theirs(module) or self._is_derived_layer(module)

    def _is_derived_layer(self, module: nn.Module) -> bool:
        base = self._base(module)
        return base is not None and base.__name__ not in ("EquivariantModule", "SequentialModule")

    def _convert(self, module: nn.Module, path: str) -> nn.Module:
        if module not in self.converted:
            self.converted[module] = self._convert_once(module, path)
        return self.converted[module]

    def _convert_once(self, module: nn.Module, path: str) -> nn.Module:
        if self._is_chain(module):
            steps = OrderedDict((name, self._convert(child, _join(path, name))) for name, child in _children(module))
            whole = Sequential(steps)
            whole.training = module.training  # `train` would set that of every part as well
            return whole
        where = _named(path, module)
        try:
            if not self._is_theirs(module):
                raise ValueError(f"is a class of its own, derived from {getattr(self._base(module), '__name__', '')}")
            return convert_layer(module, self.kernel)
        except ValueError as error:
            # A sentence of a layer of ours begins with its name, the others with a verb.
            self.problems.append(f"{where}: {error}" if re.match(r"\w+: ", str(error)) else f"{where} {error}")
            return nn.Identity()

    def _keep(self, root: nn.Module) -> nn.Module:
        """Copy a module with a forward of its own, with bridges where modules of the library stood."""
        memo: dict[int, Any] = {}
        for path, part in self._outermost(root, ""):
            converted = self._convert(part, path)
            if not self.problems:
                memo[id(part)] = bridge = FieldBridge(converted, part.in_type, part.out_type)
                bridge.training = part.training
        if self.problems:
            return root
        for part in root.modules():  # field types stay the objects they are: they are compared at every call
            for value in vars(part).values():
                if home(type(value)) == self.library and not isinstance(value, nn.Module):
                    memo[id(value)] = value
        return copy_network(root, f"from_{self.library}", instead=memo)

    def _outermost(self, module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
        if self._is_convertible(module):
            yield path, module
            return
        for name, child in _children(module):
            yield from self._outermost(child, _join(path, name))


def _named(path: str, module: nn.Module) -> str:
    return f"{path or 'the module'} ({type(module).__name__})"


def _runs_as(module: nn.Module, base: type) -> bool:
    return getattr(type(module), "forward", None) is getattr(base, "forward", None)


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the direct children; unlike in `named_children`, one that is there twice comes twice."""
    return [(name, child) for name, child in module._modules.items() if child is not None]  # pyright: ignore[reportPrivateUsage]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
