"""A process for one contender: it sleeps on its pipe until it is told to build, to step, or to stop.

Started by a fork server that has torch and the contenders imported and nothing computed, so that it starts in
milliseconds, and the allocator can be tuned before its first large tensor.
"""

import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

import torch

import sepgconv
from benchmarks.case import Case, Contender, Task
from benchmarks.checks import Mismatch, check_contender
from benchmarks.contenders.kinds import build, finish, lacking, seconds_to_build
from benchmarks.memory import bytes_kept, peak_growth
from benchmarks.profiling import profile_step
from benchmarks.steps import make_forward, make_input, make_step

MEMORY_STEPS = 3
LONGEST_MESSAGE = 300  # characters; the compiler writes pages
PATIENCE = 5.0  # seconds for a worker to end by itself


class WorkerError(Exception):
    """A worker could not do what it was told; the message says which and why."""


def set_environment(threads: int) -> None:
    """Set what all workers inherit; call it before the first is started."""
    # As users have it: threads that wait spin for a moment, then sleep. `alternate` lets them fall asleep.
    os.environ.pop("OMP_WAIT_POLICY", None)
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no helpers that compile while another one is timed


def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # The first optimiser imports the compiler, which takes a second.
    context.set_forkserver_preload(["benchmarks.worker", "torch._dynamo"])
    return context


class Worker:
    """The near end: a contender that can be asked. Use as a context; its process ends with it.

    Args:
        case: what it takes part in.
        contender: which one it is; None for a worker that checks.
        threads: of torch.
        seed: of weights and inputs.
    """

    def __init__(self, case: Case, contender: Contender | None, threads: int, seed: int) -> None:
        context = _context()
        self._pipe, far = context.Pipe()
        self._label = "the check" if contender is None else contender.label
        arguments = (far, case, contender, threads, seed)
        self._process: BaseProcess = context.Process(target=_serve, args=arguments, daemon=True)  # pyright: ignore[reportAttributeAccessIssue] (BaseContext has it at run time)
        self._process.start()
        far.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self._pipe.close()  # its next read ends it
        self._process.join(PATIENCE)
        if self._process.is_alive():  # in the middle of something
            self._process.terminate()
            self._process.join()

    def ask(self, order: str, *arguments: Any) -> Any:
        """Give an order and wait for the answer.

        Raises:
            Mismatch: from "check".
            WorkerError: anything else that went wrong over there.
        """
        try:
            self._pipe.send((order, arguments))
            kind, answer = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._process.join()
            code = self._process.exitcode
            raise WorkerError(f"{self._label}: its process ended with code {code} (out of memory?)") from error
        if kind == "mismatch":
            raise Mismatch(answer)
        if kind == "error":
            raise WorkerError(f"{self._label}: {answer}")
        return answer


class _Desk:
    """The far end: what a worker has built, and one method for each order."""

    def __init__(self, case: Case, contender: Contender | None, seed: int) -> None:
        self.case, self.contender, self.seed = case, contender, seed
        self._module: torch.nn.Module | None = None
        self._step: Callable[[], object] | None = None

    def lacking(self) -> dict[str, str]:
        """Return the contenders of the case that cannot run here, with the reason."""
        reasons = {contender.label: lacking(contender) for contender in self.case.contenders}
        return {label: reason for label, reason in reasons.items() if reason is not None}

    def check(self, label: str) -> list[Any]:
        """Compare a contender with its oracle."""
        contender = next(contender for contender in self.case.contenders if contender.label == label)
        return check_contender(self.case, contender, self.seed)

    def prepare(self, task: Task) -> None:
        """Build, once, and lay out the task's input."""
        assert self.contender is not None, "only workers of a contender are told to prepare"
        if self._module is None:
            self._module = finish(self.contender, build(self.contender, self.seed))
        self._step = make_step(self.case, task, self.contender, self._module, self.seed)

    def time(self, steps: int) -> float:
        """Return the seconds per step."""
        assert self._step is not None, "prepared before"
        start = time.perf_counter()
        for _ in range(steps):
            self._step()
        return (time.perf_counter() - start) / steps

    def build(self) -> float:
        """Return the seconds in which this process makes its contender."""
        assert self.contender is not None, "only workers of a contender are told to build"
        return seconds_to_build(self.contender)

    def profile(self) -> list[dict[str, Any]]:
        """Return where the time of the prepared step goes."""
        assert self._step is not None, "prepared before"
        return profile_step(self._step)

    def weigh(self, task: Task) -> dict[str, int | None]:
        """Return bytes kept for backward, bytes of input and parameters, growth of the process over some steps."""
        assert self.contender is not None, "only workers of a contender are told to weigh"
        module = build(self.contender, self.seed)
        step = make_step(self.case, task, self.contender, module, self.seed)
        growth = peak_growth(lambda: [step() for _ in range(MEMORY_STEPS)])
        forward = make_forward(self.case, task, self.contender, module, self.seed)
        return {
            "kept": bytes_kept(forward, module),
            "input": make_input(self.case, task.batch, self.seed).nbytes,
            "parameters": sum(parameter.nbytes for parameter in module.parameters()),
            "growth": growth,
            "steps": MEMORY_STEPS,
        }


def _serve(pipe: Connection, case: Case, contender: Contender | None, threads: int, seed: int) -> None:
    warnings.simplefilter("ignore")  # of peers; the terminal is for the results
    if contender is not None and contender.allocator == "tuned":
        sepgconv.tune_allocator()
    torch.set_num_threads(threads)
    desk = _Desk(case, contender, seed)
    while True:
        try:
            order, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("answer", getattr(desk, order)(*arguments)))
        except Mismatch as error:
            pipe.send(("mismatch", str(error)))
        except Exception as error:  # noqa: BLE001 (whatever it is, the other end must hear of it)
            where = traceback.extract_tb(error.__traceback__)[-1]
            name = os.path.basename(where.filename)
            words = " ".join(str(error).split())[:LONGEST_MESSAGE]
            pipe.send(("error", f"{type(error).__name__} at {name}:{where.lineno}: {words}"))
