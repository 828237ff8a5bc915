"""Watch the calls of modules while a network runs: the one place that registers hooks and removes them again."""

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

from torch import nn

K = TypeVar("K")


@contextmanager
def watch_calls(
    modules: Iterable[tuple[K, nn.Module]],
    *,
    before: Callable[[K, tuple[Any, ...], dict[str, Any]], None] | None = None,
    after: Callable[[K, tuple[Any, ...], dict[str, Any], Any], None] | None = None,
) -> Generator[None, None, None]:
    """Within the block, report every call of some modules; the hooks are removed afterwards, also after an error.

    Args:
        modules: each with what it is to be called in the reports, such as its name.
        before: is given what the module is called, the positional and the keyword arguments.
        after: is given the same and the output.
    """
    with ExitStack() as hooks:
        for key, module in modules:
            if before is not None:
                handle = module.register_forward_pre_hook(partial(_before, before, key), with_kwargs=True)
                hooks.callback(handle.remove)
            if after is not None:
                handle = module.register_forward_hook(partial(_after, after, key), with_kwargs=True)
                hooks.callback(handle.remove)
        yield


def _before(report: Callable[..., None], key: object, module: nn.Module, arguments: Any, keywords: Any) -> None:
    report(key, arguments, keywords)


def _after(
    report: Callable[..., None], key: object, module: nn.Module, arguments: Any, keywords: Any, output: Any
) -> None:
    report(key, arguments, keywords, output)
