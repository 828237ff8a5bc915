"""Cells in processes of this machine, one at a time in each; a process that dies takes nobody with it."""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType

from experiments.work import Job, Outcome, run_job

ATTEMPTS = 3  # of a cell whose process dies


def _begin(device: str | None) -> None:
    """Set a new process up: Ctrl-C is the parent's, the end of the parent is ours, and so is one GPU."""
    from sepgconv._allocator import tune_allocator
    from sepgconv._terminal import one_line

    warnings.formatwarning = one_line  # on the parent's terminal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    tune_allocator()
    parent = multiprocessing.parent_process()
    if parent is not None:
        # All files are written whole, and a claim ends with its process, so this loses an epoch at most.
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _visible_gpus(count: int) -> list[str]:
    """Return the names of the first GPUs that this process may use, as a process below it must call them."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return allowed.split(",")[:count] if allowed else [str(index) for index in range(count)]


class _Worker:
    """One process at a time, begun anew when it dies."""

    def __init__(self, device: str | None) -> None:
        self._device = device
        self._pool: ProcessPoolExecutor | None = None
        self._process_id: int | None = None

    def run(self, job: Job, work: Callable[[Job], Outcome], stopped: threading.Event) -> Outcome:
        """Run a job in the process; if it dies, again in a new one, where the job goes on from its checkpoint."""
        for _ in range(ATTEMPTS):
            if stopped.is_set():
                return Outcome(ending="failed", problem="stopped")
            try:
                if self._pool is None:
                    self._pool = ProcessPoolExecutor(
                        1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin, initargs=(self._device,)
                    )
                    self._process_id = self._pool.submit(os.getpid).result()
                return self._pool.submit(work, job).result()
            except BrokenProcessPool:  # the process is gone, and its number may soon be another's
                self._process_id = None
                self.end()
            except SystemExit:  # SIGTERM came to the process alone, and training ended itself
                self.kill()
                self.end()
        return Outcome(
            ending="failed",
            problem=f"its process died {ATTEMPTS} times (out of memory, perhaps: use fewer --workers); its checkpoint "
            f"is kept in {job.folder}",
        )

    def kill(self) -> None:
        """Stop the process in the middle of its job."""
        if self._process_id is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process_id, signal.SIGKILL)

    def end(self) -> None:
        """Let the process end, which has nothing to do any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._process_id = None


class LocalExecutor:
    """Runs jobs in processes of this machine.

    `ProcessPoolExecutor` gives up all its processes when one dies, so each process has a pool of its own, fed by a
    thread.

    Args:
        workers: how many processes.
        devices: how many GPUs to divide among them, one each, of those that CUDA_VISIBLE_DEVICES allows; 0 for none.
        work: what a process does with a job; for tests.
    """

    def __init__(self, workers: int, *, devices: int = 0, work: Callable[[Job], Outcome] = run_job) -> None:
        self._threads = ThreadPoolExecutor(workers)
        self._work = work
        names = _visible_gpus(devices)
        self._workers = [_Worker(names[index % devices] if devices else None) for index in range(workers)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._stopped = threading.Event()
        for worker in self._workers:
            self._idle.put(worker)

    def submit(self, job: Job) -> Future[Outcome]:
        """Queue a job; the future gives its outcome, also when its process dies again and again."""
        return self._threads.submit(self._run, job)

    def _run(self, job: Job) -> Outcome:
        worker = self._idle.get()
        try:
            return worker.run(job, self._work, self._stopped)
        finally:
            self._idle.put(worker)

    def __enter__(self) -> "LocalExecutor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget what is queued, and stop what runs."""
        self._stopped.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            if kind is not None:
                worker.kill()
            worker.end()
