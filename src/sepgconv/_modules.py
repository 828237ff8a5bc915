"""The network inside a wrapper, a copy that shares nothing with its original, the weights that a network uses.

The tools of this package read layers and run copies of networks. torch lets a network be wrapped (compiled,
distributed, averaged), hold tensors that were computed from others, and compute a weight anew at every call. This is
the one place that handles all three.
"""

import copy
import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping, Set
from types import MethodType, ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook, SpectralNormStateDictHook
from torch.nn.utils.weight_norm import WeightNorm

from sepgconv._rebinding import rebind_functions

# Classes of torch that hold a network and have its outputs, with the attribute that holds it. By name, because
# importing them all is slow.
_INSIDE = {
    "OptimizedModule": "_orig_mod",
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "AveragedModel": "module",
}
_SHARDED = ("FullyShardedDataParallel", "FSDPModule")
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
LIBRARIES = ("torch", "sepgconv")


def unwrap(model: object, caller: str) -> nn.Module:
    """Return the network inside `torch.compile`, `DistributedDataParallel`, `DataParallel` and `AveragedModel`.

    Args:
        model: a network, wrapped any number of times or not at all.
        caller: named in errors.

    Raises:
        ValueError: a wrapper cannot be taken off, since its network is sharded, or it has hooks or a `forward` of its
            own; or `model` is no module.
    """
    while True:
        if not isinstance(model, nn.Module):
            raise ValueError(f"{caller}: expected a network (torch.nn.Module), got {type(model).__name__}")
        wrapper = _wrapper(model)
        if wrapper is None:
            return model
        name = wrapper.__name__
        patched = "forward" in vars(model) and name != "OptimizedModule"
        if name in _SHARDED:
            raise ValueError(
                f"{caller}: the network is sharded by {name}, so its weights are not here as a whole; give the network "
                f"inside, with its full weights"
            )
        if any(vars(model).get(kind) for kind in HOOKS):
            raise ValueError(f"{caller}: the {name} around the network has hooks of its own; give the network inside")
        if patched or type(model).forward is not wrapper.forward:
            raise ValueError(
                f"{caller}: the {type(model).__name__} around the network has a forward of its own; give the network "
                f"inside"
            )
        model = model._modules[_INSIDE[name]]  # pyright: ignore[reportPrivateUsage, reportAssignmentType]


def _wrapper(model: nn.Module) -> type[nn.Module] | None:
    """Return the class of torch that wraps a network, or None."""
    names = (*_INSIDE, *_SHARDED)
    found = (kind for kind in type(model).__mro__ if kind.__name__ in names and home(kind) == "torch")
    return cast("type[nn.Module] | None", next(found, None))


def home(kind: type) -> str:
    """Return the package that a class belongs to."""
    return kind.__module__.partition(".")[0]


def reference_tensor(module: nn.Module) -> Tensor:
    """Return a tensor of the dtype and on the device of a module: its first floating-point parameter, or buffer.

    Of a module without any, an empty tensor of the default dtype on the CPU.
    """
    tensors = (*module.parameters(), *module.buffers())
    return next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0))


def copy_network(model: nn.Module, caller: str, *, instead: Mapping[int, Any] | None = None) -> nn.Module:
    """Return a copy of a network that shares nothing with it, in the same modes; the network does not change at all.

    Unlike `copy.deepcopy`, it takes off wrappers, within the network too; copies tensors that were computed from others
    (as pruning, the older `weight_norm` and `spectral_norm` keep after a training step); lets functions that are hooks
    or replace a `forward` use the modules of the copy; and renews weights that a hook computes, which `load_state_dict`
    leaves as they were. Spectral norms take no step of their power iteration.

    Args:
        model: the network.
        caller: named in errors.
        instead: the objects that the copy has in place of others, by the `id` of these.

    Raises:
        ValueError: a wrapper that cannot be taken off (see `unwrap`); something that `copy.deepcopy` cannot copy;
            parameters without values, of a lazy module that never ran; weights that the next calls would change, as
            one hook computes them from what another renews after it.
    """
    model = unwrap(model, caller)
    lazy = next((name for name, p in (*model.named_parameters(), *model.named_buffers()) if is_lazy(p)), None)
    if lazy is not None:
        raise ValueError(f"{caller}: {lazy} has no shape yet; run the network on one batch first")
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in _computed_tensors(model)}
    memo.update(instead or {})
    try:
        for part in reversed(list(model.modules())):  # from the innermost
            if _wrapper(part) is not None:
                memo[id(part)] = copy.deepcopy(unwrap(part, caller), memo)
        twin = copy.deepcopy(model, memo)
    # What `copy.deepcopy` raises: torch of tensors that are no leaves, Python of what cannot be pickled, a module of
    # users in a `__deepcopy__` that is not written yet.
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        raise ValueError(f"{caller}: {type(model).__name__} cannot be copied with copy.deepcopy ({error})") from error
    for path, part in twin.named_modules():
        # A module compiled in place would run what was compiled for the original.
        vars(part).pop("_compiled_call_impl", None)
        if _is_unsettled(part, _renew(part)):
            raise ValueError(
                f"{caller}: layer {path!r} ({plain_class(part).__name__}) computes its weight from one that is "
                f"computed after it, so that the next call still uses the old one; run the network once first"
            )
    rebind_functions(twin, memo, HOOKS)
    return twin


def frozen(model: nn.Module) -> nn.Module:
    """Switch off the gradients of all parameters of a network, except computed ones, and return it."""
    for parameter in model.parameters():
        if parameter.is_leaf:  # scripted modules have no `requires_grad_`
            parameter.requires_grad_(False)
    return model


def settled_copy(model: nn.Module, caller: str) -> nn.Module:
    """Return a copy for inference whose layers hold the weights that the network would use now.

    It is in evaluation mode and has nothing to train. In the layers of torch and of this package, weights that hooks or
    parametrisations compute (pruning, `weight_norm`, `spectral_norm`, those of `torch.nn.utils.parametrize`) are plain
    parameters, so that `layer.weight` is the right one. Modules with a `forward` of the user's keep
    theirs.

    Args:
        model: the network; it does not change.
        caller: named in errors.

    Raises:
        ValueError: as `copy_network`; weights without values (device "meta").
    """
    empty = next((name for name, p in (*model.named_parameters(), *model.named_buffers()) if p.is_meta), None)
    if empty is not None:
        raise ValueError(f"{caller}: {empty} has no values (it is on the device 'meta'); load the weights first")
    twin = copy_network(model, caller).eval()
    with torch.no_grad():
        for part in list(twin.modules()):
            _renew(part)
            if "forward" not in vars(part) and home_of_forward(part) in LIBRARIES:
                _settle_hooks(part)
                _settle_parametrizations(part)
    return frozen(twin)


def home_of_forward(module: nn.Module) -> str:
    """Return the package whose code a module runs as its `forward`."""
    forward: Any = inspect.getattr_static(type(module), "forward", None)
    return str(getattr(forward, "__module__", "")).partition(".")[0]


def _computed_tensors(root: nn.Module) -> Iterator[Tensor]:
    """Walk through the tensors that torch cannot copy, since they were computed from others.

    They may be in buffers, attributes, lists and dictionaries, and in the objects behind hooks.
    """
    waiting: list[Any] = [root]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, str | bytes | int | float | type | ModuleType | None):
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            if value.grad_fn is not None:
                yield value
            elif value.grad is not None:
                waiting.append(value.grad)
        elif isinstance(value, Mapping):
            waiting += value.values()  # pyright: ignore[reportUnknownMemberType]
        elif isinstance(value, list | tuple | Set):
            waiting += cast("Iterable[Any]", value)
        elif isinstance(value, MethodType):
            waiting.append(value.__self__)
        elif isinstance(value, functools.partial):
            waiting += (value.func, value.args, value.keywords)  # pyright: ignore[reportUnknownMemberType]
        elif not callable(value) or not inspect.isroutine(value):
            waiting.append(getattr(value, "__dict__", None))


def _renew(module: nn.Module) -> dict[str, Tensor]:
    """Compute the weights of hooks as the next call in evaluation mode would, and return them by name."""
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for hook in _weight_hooks(module):
            if isinstance(hook, SpectralNorm):
                weight = hook.compute_weight(module, do_power_iteration=False)
            elif isinstance(hook, WeightNorm):
                weight = hook.compute_weight(module)
            else:
                weight = hook.apply_mask(module)
            found[weight_name(hook)] = weight.detach()
            setattr(module, weight_name(hook), weight.detach())
    return found


def _is_unsettled(module: nn.Module, weights: dict[str, Tensor]) -> bool:
    """Return whether renewing weights once more changes them again; a call renews each once, in order."""
    again = _renew(module) if len(weights) > 1 else weights
    return any(not torch.equal(new.nan_to_num(), weights[name].nan_to_num()) for name, new in again.items())


def converted(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert every floating-point tensor of a network, those that are plain attributes of its modules too.

    torch leaves out plain attributes, though layers use them: a weight that was assigned, or that a hook computes.
    """
    for module in network.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and value.is_floating_point():
                vars(module)[name] = value.to(dtype)

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return network._apply(cast)  # pyright: ignore[reportPrivateUsage] (as its `double` does)


def _weight_hooks(module: nn.Module) -> list[Any]:
    return [hook for hook in module._forward_pre_hooks.values() if weight_name(hook)]  # pyright: ignore[reportPrivateUsage]


def weight_name(hook: object) -> str:
    """Return the name of the weight that a hook of torch computes: pruning, the older norms; "" for other hooks."""
    if isinstance(hook, SpectralNorm | WeightNorm):
        return hook.name
    return str(hook._tensor_name) if isinstance(hook, BasePruningMethod) else ""  # pyright: ignore[reportPrivateUsage]


def _settle_hooks(module: nn.Module) -> None:
    """Replace weights that hooks compute by plain parameters of the same value."""
    hooks = _weight_hooks(module)
    values = {weight_name(hook): getattr(module, weight_name(hook)).detach().clone() for hook in hooks}
    for kind in ("_forward_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks"):
        registered: dict[int, Any] = getattr(module, kind)
        for key, hook in list(registered.items()):
            inner = getattr(hook, "hook", hook)  # torch wraps those of state dicts
            if weight_name(hook) or isinstance(inner, SpectralNormStateDictHook | SpectralNormLoadStateDictPreHook):
                del registered[key]
    for name in values:
        for source in (f"{name}_orig", f"{name}_mask", f"{name}_g", f"{name}_v", f"{name}_u"):
            if source not in values and (source in module._parameters or source in module._buffers):  # pyright: ignore[reportPrivateUsage]
                delattr(module, source)
    for name, value in values.items():
        vars(module).pop(name, None)
        setattr(module, name, nn.Parameter(value, requires_grad=False))


def _settle_parametrizations(module: nn.Module) -> None:
    """Replace parametrised weights by plain parameters of the same value.

    Not with `remove_parametrizations`: the class it changes is shared with the module that was copied.
    """
    if not parametrize.is_parametrized(module):
        return
    lists = cast("Mapping[str, nn.Module]", module.parametrizations)
    values: dict[str, Tensor] = {name: one().detach().clone() for name, one in lists.items()}  # pyright: ignore[reportUnknownMemberType]
    module.__class__ = plain_class(module)
    del module.parametrizations
    for name, value in values.items():
        floating = value.is_floating_point() or value.is_complex()
        module.register_parameter(name, nn.Parameter(value, requires_grad=False)) if floating else (
            module.register_buffer(name, value)
        )


def plain_class(module: nn.Module) -> type[nn.Module]:
    """Return the class of a module; of a parametrised one, the class from which torch derived its own."""
    made_by_torch = "torch.nn.utils.parametrize"
    return next(kind for kind in type(module).__mro__ if kind.__module__ != made_by_torch)
