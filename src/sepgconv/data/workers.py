"""Processes that read ahead: what is asked of them comes back in order, while more is being read."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_AHEAD = 2  # requests that each process answers before the answers are wanted


class Workers(Generic[Request, Answer]):
    """Processes that answer requests, in their order and ahead of time.

    They are torch's (`torch.utils.data.DataLoader`): started with the first request, kept until `close`, and ended with
    the process that started them, however that ends. Nothing is drawn from torch's global generator.

    Args:
        function: from a request to its answer; an exception in it would come back as a traceback, so it catches what
            may happen. Where processes are not forked (macOS, Windows), it can be pickled.
        count: how many processes; 0: none, the caller's process answers.

    Raises:
        ValueError: a negative number.

    Example:
        >>> workers = Workers(abs, 0)
        >>> list(workers.map([-2, 3]))
        [2, 3]
    """

    def __init__(self, function: Callable[[Request], Answer], count: int) -> None:
        if count < 0:
            raise ValueError(f"workers must be a number of processes, 0 or more, got {count}")
        self._function, self._count = function, count
        self._requests = _Requests()
        self._loader: DataLoader[Any] | None = None

    def map(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield the answers; one sequence of requests at a time.

        Raises:
            RuntimeError: a process was killed, for example for want of memory.
        """
        if self._count == 0:
            yield from map(self._function, requests)
            return
        self._requests.now = requests
        if self._loader is None:
            self._loader = DataLoader(
                _Answers(self._function),  # pyright: ignore[reportArgumentType]  # any object with __getitem__
                batch_size=None,
                sampler=self._requests,
                num_workers=self._count,
                prefetch_factor=_AHEAD,
                persistent_workers=True,
                collate_fn=_unchanged,
                worker_init_fn=_leave_interrupts_to_the_first_process,
                generator=torch.Generator(),  # its own: the global one is the caller's
            )
        yield from self._loader

    def close(self) -> None:
        """End the processes, if there are any; another request starts new ones."""
        loader: Any = self._loader
        self._loader = None
        if loader is not None and loader._iterator is not None:
            loader._iterator._shutdown_workers()  # as Lightning does, too: torch has no public way
            loader._iterator = None


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Requests:
    # What torch's DataLoader goes through anew, in the first process, whenever it is iterated.
    now: Sequence[Any] = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)


class _Answers:
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __getitem__(self, request: Any) -> Any:
        return self._function(request)


def _unchanged(answer: Any) -> Any:
    return answer


def _leave_interrupts_to_the_first_process(worker: int) -> None:
    # Ctrl-C reaches all processes of a terminal: the first one ends these when it has closed its files.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
