"""Processes of their own that are there at once: forks of a process that has imported what they need.

A new process takes seconds of processor time until torch, Lightning and the package are imported. Tests of signals,
exit statuses, standard streams and locks do not ask how a process begins, so theirs are forks of one process, which
imports all that once, by the fork server of `multiprocessing`. The package there is as users have it, without checks
of annotations. What is read when a library is imported, as Lightning reads RANK, a fork does not read again.
"""

import atexit
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
IMPORTED = ["sepgconv.cli.app", "sepgconv.tasks.fitting", "sepgconv.tasks.results", "torch.utils.tensorboard"]
IMPORTED += ["experiments.command", "benchmarks.worker", "torch._dynamo"]  # the benchmarks use the same server
CLOSED = "closed"  # in place of the file that a stream goes to
STREAMS = ("stdin", "stdout", "stderr")


@atexit.register
def _end() -> None:
    """Kill what failed tests left; Python would wait for it."""
    for process in multiprocessing.active_children():
        process.kill()


def start_server() -> None:
    """Start the process that forks, unless it runs; whoever starts it decides what it has imported."""
    CONTEXT.set_forkserver_preload(IMPORTED)
    forkserver._forkserver.ensure_running()


def fork(
    function: Callable[..., object],
    *arguments: Any,
    stdin: str | Path | None = None,
    stdout: str | Path | None = None,
    stderr: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Start a function in a process of its own.

    Args:
        function: a public one of a module, which the process imports.
        arguments: of it.
        stdin: a file, or `CLOSED`. Default: empty.
        stdout: the same for standard output. Default: that of the tests.
        stderr: the same for standard error.
        environment: all variables of its environment. Default: those of this process.
    """
    streams = [None if each is None else str(each) for each in (stdin, stdout, stderr)]
    variables = dict(os.environ if environment is None else environment)
    start_server()
    process = CONTEXT.Process(target=_begin, args=(function, arguments, streams, variables))
    process.start()
    return process


def _begin(
    function: Callable[..., object],
    arguments: Sequence[Any],
    streams: Sequence[str | None],
    variables: Mapping[str, str],
) -> None:
    forkserver._forkserver.ensure_running = lambda: None  # what this process forks, it forks from the same server
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests that run in the background ignore
    os.environ.clear()
    os.environ.update(variables)
    for descriptor, (name, place) in enumerate(zip(STREAMS, streams, strict=True)):
        if place == CLOSED:
            os.close(descriptor)
            setattr(sys, name, None)  # as Python does when it starts without it
        elif place is not None:
            file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            os.dup2(file, descriptor)
            os.close(file)
    function(*arguments)


def command(*words: object) -> None:
    """Call the command line `sepgconv`, as `python -m sepgconv` does."""
    from sepgconv.cli import main

    sys.argv = ["sepgconv", *map(str, words)]
    sys.orig_argv[:] = [sys.executable, "-m", *sys.argv]
    main()


def ended(process: BaseProcess, seconds: float = 120.0) -> int:
    """Wait for the end of a process; return its exit status, or minus the number of the signal that ended it.

    Raises:
        TimeoutError: it runs on; it is killed.
    """
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"process {process.pid} ran for more than {seconds} seconds")
    return process.exitcode
