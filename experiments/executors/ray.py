"""Cells as tasks of a Ray cluster, one cell a task. Needs the extra "cluster"."""

import functools
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from experiments.work import Job, Outcome, run_job
from sepgconv._messages import require

RETRIES = 2  # of a task whose process or machine dies


class RayExecutor:
    """Runs jobs on a Ray cluster.

    Every machine needs this package, the data, and the folder of results under the same path: checkpoints and claims
    are files there.

    Args:
        address: of a running cluster, as in "auto" or "ray://host:10001". Default: one is started here.
        workers: processors of a cluster started here. Default: Ray's choice.
        threads: processors that a task asks for.
        gpus: GPUs that a task asks for; a fraction lets several share one.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: there is no cluster at the address.
    """

    def __init__(self, *, address: str | None, workers: int | None, threads: int, gpus: float) -> None:
        self._ray: Any = require("ray", extra="cluster", purpose="--executor ray")
        own: dict[str, Any] = {"num_cpus": workers and workers * threads, "include_dashboard": False}
        # "local", because without an address Ray joins any cluster that this machine has, or had.
        self._ray.init(address=address or "local", log_to_driver=False, **({} if address else own))
        task: Any = self._ray.remote(run_job)
        self._task = task.options(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)

    def submit(self, job: Job) -> Future[Outcome]:
        """Queue a job; Ray runs it when a machine has room, and again, from its checkpoint, if that machine dies.

        The future cannot be cancelled: it does not know whether Ray has begun the task, on whatever machine.
        """
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()
        self._task.remote(job).future().add_done_callback(functools.partial(_pass_on, future))
        return future

    def __enter__(self) -> "RayExecutor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster; one started here ends, and with it what still runs."""
        self._ray.shutdown()


def _pass_on(future: "Future[Outcome]", done: "Future[Outcome]") -> None:
    if (problem := done.exception()) is not None:
        future.set_exception(problem)
    else:
        future.set_result(done.result())
