"""What a module does beyond its class in torch or this package: hooks, replaced and overridden methods.

A tool that replaces a layer according to its class would lose this behaviour, so it checks for it here first.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from sepgconv._modules import LIBRARIES, home, plain_class, weight_name

# The parts of nn.Module that an output goes through.
_RUNNING = ("forward", "__call__", "_call_impl", "_wrapped_call_impl", "_slow_forward", "__getattr__",
              "__getattribute__")  # fmt: skip
# The parts of nn.Module that further training uses besides.
_TRAINING = ("train", "eval", "state_dict", "load_state_dict", "_save_to_state_dict", "_load_from_state_dict")
# The parts of layers that build, initialise or print them, which no output goes through.
_BESIDE = ("reset_parameters", "reset_running_stats", "extra_repr", "_add_parameters", "_checked_rank",
           "_check_input_dim", "_version")  # fmt: skip
_FORWARD_HOOKS = {"_forward_pre_hooks": "forward pre-hook", "_forward_hooks": "forward hook"}
_BACKWARD_HOOKS = {"_backward_pre_hooks": "backward pre-hook", "_backward_hooks": "backward hook"}


def layer_named(path: str, module: nn.Module) -> str:
    """Return the name of a layer in messages: "layer '1.norm' (GroupBatchNorm2d)", or "the network (P4CNN)"."""
    kind = plain_class(module).__name__
    return f"layer {path!r} ({kind})" if path else f"the network ({kind})"


def known_class(module: nn.Module, known: Collection[type] = ()) -> type[nn.Module]:
    """Return the class whose behaviour a tool knows: the nearest base class of torch, of this package, or in `known`.

    Args:
        module: the module.
        known: further classes that the tool has rules for, as those that users registered.
    """
    kinds = plain_class(module).__mro__
    return next(kind for kind in kinds if issubclass(kind, nn.Module) and (home(kind) in LIBRARIES or kind in known))


def overridden_code(
    module: nn.Module, known: Collection[type] = (), *, training: bool = False, patched: bool = True
) -> str | None:
    """Return the code of a module that its known class does not have, as words to follow "has"; None if there is none.

    It may be replaced on the instance (as accelerate and PEFT do), or overridden by a subclass: `forward`, and all
    other parts of the class that an output may go through. Constructors, initialisation, printing and new names do not
    count, nor do new properties in place of parameters: reading them gives the values that count.

    Args:
        module: the module.
        known: further classes that the tool has rules for.
        training: whether what takes part in training and in `state_dict` counts too.
        patched: whether a `forward` that was assigned to the known class itself counts.
    """
    kind, base = plain_class(module), known_class(module, known)
    if (replaced := replaced_code(module)) is not None:
        return replaced
    counted = {name for name in dir(base) if not hasattr(nn.Module, name) and not name.startswith("__")}
    counted = (counted - {*_BESIDE}) | {*_RUNNING} | ({*_TRAINING} if training else set())
    missing = object()
    for name in ("forward", *sorted(counted)):
        if inspect.getattr_static(kind, name, missing) is not inspect.getattr_static(base, name, missing):
            return f"a {name} of its own"
    return patched_class(base) if patched else None


def patched_class(kind: type[nn.Module]) -> str | None:
    """Return the forward that was assigned to a class of torch or this package, as words to follow "has", or None."""
    forward: Any = inspect.getattr_static(kind, "forward", None)
    if home(kind) not in LIBRARIES or not isinstance(forward, FunctionType):
        return None
    # jaxtyping puts its own function around those that it checks.
    known = forward.__globals__.get("__name__", "").partition(".")[0] in (*LIBRARIES, "jaxtyping")
    return None if known else f"a forward that was put into its class ({forward.__qualname__})"


def replaced_code(module: nn.Module) -> str | None:
    """Return the method that was replaced on an instance, as accelerate does, as words to follow "has", or None."""
    kind = plain_class(module)
    replaced = sorted(name for name in vars(module) if inspect.isroutine(inspect.getattr_static(kind, name, None)))
    return f"a {replaced[0]} that was put in its place" if replaced else None


def own_hooks(module: nn.Module, *, backward: bool = True) -> str | None:
    """Return the first hook of a module, as words to follow "has"; None if it has none.

    Args:
        module: the module.
        backward: whether hooks of the backward pass count.
    """
    for kind, words in {**_FORWARD_HOOKS, **(_BACKWARD_HOOKS if backward else {})}.items():
        for hook in getattr(module, kind).values():
            return f"a {words} ({_hook_name(hook)})"
    return None


def modifying_hooks(model: nn.Module, run: Callable[[], Any]) -> dict[nn.Module, str]:
    """Return the modules whose hooks change their inputs or outputs, each with the hook as words to follow "has".

    Hooks that only look are left out: they return nothing and write into none of the tensors that they get.

    Args:
        model: a network; its hooks are watched and put back.
        run: runs it.
    """
    found: dict[nn.Module, str] = {}
    before: list[tuple[dict[int, Any], dict[int, Any]]] = []
    for module in model.modules():
        for kind, words in _FORWARD_HOOKS.items():
            hooks: dict[int, Any] = getattr(module, kind)
            if hooks:
                before.append((hooks, dict(hooks)))
                hooks.update({key: _watched(hook, module, words, found) for key, hook in hooks.items()})
    try:
        if before:
            run()
    finally:
        for hooks, former in before:
            hooks.update(former)
    return found


def _watched(hook: Any, module: nn.Module, words: str, found: dict[nn.Module, str]) -> Any:
    def watch(*arguments: Any, **keywords: Any) -> Any:
        tensors = [t for t in tree_leaves((arguments[1:], keywords)) if isinstance(t, Tensor) and not t.is_inference()]
        versions = [t._version for t in tensors]  # pyright: ignore[reportPrivateUsage] (no other way)
        result = hook(*arguments, **keywords)
        if result is not None or versions != [t._version for t in tensors]:  # pyright: ignore[reportPrivateUsage]
            found.setdefault(module, f"a {words} ({_hook_name(hook)}) that changes what goes through")
        return result

    return watch


def _hook_name(hook: Any) -> str:
    return str(getattr(hook, "__qualname__", type(hook).__name__))


def custom_behaviour(module: nn.Module, known: Collection[type] = (), *, training: bool = False) -> str | None:
    """Return what a tool that replaces a module would lose, as words to follow "has"; None if nothing.

    Args:
        module: the module.
        known: further classes that the tool has rules for, as those that users registered.
        training: whether what takes part in training and in `state_dict` counts too.
    """
    return overridden_code(module, known, training=training) or own_hooks(module)


def raise_if_customised(
    caller: str, layers: Iterable[tuple[str, nn.Module]], advice: str, known: Collection[type] = ()
) -> None:
    """Raise if a layer that would be replaced does more than its class.

    Args:
        caller: the tool.
        layers: path and module of each.
        advice: what to do about it, as the end of a sentence.
        known: further classes that the tool has rules for.

    Raises:
        ValueError: a layer does more; the message names it and what it does.
    """
    for path, module in layers:
        found = custom_behaviour(module, known, training=True)
        if found is not None:
            raise ValueError(f"{caller}: {layer_named(path, module)} has {found}, which would be lost; {advice}")


def customised_layers(model: nn.Module, known: Collection[type] = ()) -> str:
    """Return a clause on the layers of torch and this package that do more than their class; "" if none does.

    Errors about a wrong result use it, because these layers are the likely cause.
    """
    found = [
        f"{layer_named(path, module)} has {what}"
        for path, module in model.named_modules()
        if known_class(module, known) is not nn.Module and (what := custom_behaviour(module, known)) is not None
    ] + [
        f"{layer_named(path, module)} has {what}"
        for path, module in model.named_modules()
        if known_class(module, known) is nn.Module and (what := own_hooks(module) or replaced_code(module)) is not None
    ]
    rest = f", and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{'; '.join(found[:3])}{rest}" if found else ""


def raise_if_lost_in_tracing(caller: str, model: nn.Module) -> None:
    """Raise if tracing a network and building its layers anew would lose something.

    Hooks, replaced methods of layers of torch and of this package, and computed weights would be lost.

    Raises:
        ValueError: the first such module is named.
    """
    for path, module in model.named_modules():
        is_layer = known_class(module) is not nn.Module
        what = own_hooks(module) or (replaced_code(module) if is_layer or not path else None)
        what = what or patched_class(known_class(module))
        if what is None and parametrize.is_parametrized(module):
            what = "a parametrised weight"
        if what is not None:
            raise ValueError(
                f"{caller}: {layer_named(path, module)} has {what}, which would be lost; take it out, and put it into "
                f"the result"
            )


def changed_since_built(
    model: nn.Module, built: nn.Module, acting: Callable[[], Mapping[nn.Module, str]] | None = None
) -> str:
    """Return in one sentence how a network differs from a newly built one; "" if it does not differ.

    Other modules or settings, hooks, code and computed weights count. The values of weights do not, nor do the settings
    of separable convolutions.

    Args:
        model: the network.
        built: as it comes from its constructor.
        acting: returns the modules with hooks that count, as `modifying_hooks` does; by default all hooks count. It is
            called only if there are hooks.
    """
    hooks: Mapping[nn.Module, str] = {}
    if acting is not None and any(own_hooks(module, backward=False) for module in model.modules()):
        hooks = acting()
    before, after = dict(model.named_modules()), dict(built.named_modules())
    for path in (*before, *(path for path in after if path not in before)):
        module, expected = before.get(path), after.get(path)
        if module is None or expected is None:
            other = module or expected
            return f"there is {'a' if module else 'no'} module {path!r} ({type(other).__name__})"
        computed = any(weight_name(hook) for hook in module._forward_pre_hooks.values())  # pyright: ignore[reportPrivateUsage]
        if computed or parametrize.is_parametrized(module):
            return f"{layer_named(path, module)} has a weight that is computed"
        if known_class(module, (type(expected),)) is not type(expected):
            return f"{layer_named(path, module)} is no {type(expected).__name__}"
        # The settings of a layer are what it prints; separable layers also print what they choose on a device.
        if not list(module.children()) and not hasattr(module, "pointwise"):
            found, wanted = type(expected).extra_repr(module), expected.extra_repr()
            if found.replace("inplace=True", "") != wanted.replace("inplace=True", ""):
                return f"{layer_named(path, module)} has other settings, {found} instead of {wanted}"
        what = overridden_code(module, (type(expected),), training=True, patched=False)
        what = what or (own_hooks(module) if acting is None else hooks.get(module))
        if what is not None:
            return f"{layer_named(path, module)} has {what}"
    return ""


def raise_if_global_hooks(caller: str) -> None:
    """Raise if torch runs a hook on every module, because it would not run on layers that are replaced.

    Raises:
        ValueError: a hook is registered for all modules.
    """
    module: Any = torch.nn.modules.module
    for direction in ("forward_pre", "forward", "backward_pre", "backward"):
        if getattr(module, f"_global_{direction}_hooks", None):
            raise ValueError(
                f"{caller}: a hook on all modules is registered (torch.nn.modules.module.register_module_"
                f"{'full_' if direction.startswith('backward') else ''}{direction}_hook), which the layers that "
                f"replace others would not run as before; remove it first"
            )
