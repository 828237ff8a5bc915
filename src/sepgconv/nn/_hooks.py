"""Whether a module is observed: by hooks, as torch's public methods register them, or by a `forward` put in its place.

A block that runs several modules as one step asks here first, because hooks of a module that is skipped would not fire.
"""

from collections.abc import Callable
from typing import Any, cast

from torch import nn
from torch.nn.modules import module as hooks_of_all
from torch.utils.hooks import RemovableHandle


class ObservableModule(nn.Module):
    """Abstract: a module that remembers which hooks were registered on it and not removed since."""

    _handles: tuple[RemovableHandle, ...] = ()  # copied and pickled together with the hooks

    @property
    def is_observed(self) -> bool:
        """Return whether hooks are registered on this module, or its own `forward` was replaced on the instance."""
        return any(_is_registered(handle) for handle in self._handles) or "forward" in vars(self)

    def _remember(self, handle: RemovableHandle) -> RemovableHandle:
        self._handles = (*(one for one in self._handles if _is_registered(one)), handle)
        return handle

    # The five methods of `torch.nn.Module` that register a hook on the way forward or back, with their arguments.
    def register_forward_pre_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """Register as `torch.nn.Module` does."""
        return self._remember(super().register_forward_pre_hook(*args, **kwargs))

    def register_forward_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """Register as `torch.nn.Module` does."""
        return self._remember(super().register_forward_hook(*args, **kwargs))

    def register_full_backward_pre_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """Register as `torch.nn.Module` does."""
        return self._remember(super().register_full_backward_pre_hook(*args, **kwargs))

    def register_full_backward_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """Register as `torch.nn.Module` does."""
        return self._remember(super().register_full_backward_hook(*args, **kwargs))

    def register_backward_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """Register as `torch.nn.Module` does."""
        return self._remember(super().register_backward_hook(*args, **kwargs))


def _is_registered(handle: RemovableHandle) -> bool:
    return handle.id in (handle.hooks_dict_ref() or ())


def _registry(register: Callable[[Callable[..., Any]], RemovableHandle]) -> dict[int, Any]:
    """Return where torch keeps the hooks of one kind that run on every module."""
    handle = register(lambda *unused: None)
    registered = cast("dict[int, Any]", handle.hooks_dict_ref())
    handle.remove()
    return registered


# Not that of `register_module_full_backward_hook`: to register one forbids the older kind for the whole process.
_OF_ALL = (
    _registry(hooks_of_all.register_module_forward_pre_hook),
    _registry(hooks_of_all.register_module_forward_hook),
    _registry(hooks_of_all.register_module_full_backward_pre_hook),
)


def all_modules_are_observed() -> bool:
    """Return whether a forward hook, forward pre-hook or full backward pre-hook runs on every module there is."""
    return any(_OF_ALL)
