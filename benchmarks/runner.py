"""Run cases: check, start the contenders, time them in turn, within the time there is."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.alternate import Pace, alternate
from benchmarks.case import Case, Contender, Task
from benchmarks.checks import Mismatch
from benchmarks.results import Result
from benchmarks.series import Series
from benchmarks.worker import Worker, WorkerError

GRACE = 0.05  # of the budget, after whose end a case may still begin
PROFILE_SECONDS = 1.2  # that a profile takes, out of the time of its case
# A training step takes about three times as long as an inference.
_WEIGHT = {"training step": 3, "forward + backward": 3, "inference": 1, "memory": 1, "build": 1}


@dataclass(frozen=True)
class Settings:
    """What all cases of a run have in common: torch's threads, the seed, the rounds that are enough."""

    threads: int
    seed: int = 1
    most: int = 60


class Budget:
    """The time of a run, shared among the cases that are left in proportion to their planned seconds.

    What checks and process starts of a case take comes out of its share, what a case leaves over goes to the rest. Slow
    contenders need their fewest rounds in any case, so cases may end late, and a little of that does not cost the last.
    """

    def __init__(self, seconds: float, cases: Sequence[Case]) -> None:
        self._end = time.monotonic() + seconds
        self._grace = GRACE * seconds
        self._planned = {case.name: case.seconds for case in cases}

    def spent(self) -> bool:
        """Return whether there is no time left for another case."""
        return time.monotonic() >= self._end + self._grace

    def take(self, case: Case) -> float:
        """Return the seconds of the next case."""
        left = max(0.0, self._end - time.monotonic())
        share = case.seconds / sum(self._planned.values())
        del self._planned[case.name]
        return left * share


def run_case(case: Case, settings: Settings, environment: Mapping[str, Any], seconds: float) -> Result:
    """Run one case. A failed check, or a contender that breaks, leaves a result without numbers that says why."""
    start = time.monotonic()
    result = Result(
        case=case.name,
        section=case.section,
        title=case.title,
        environment=environment,
        seconds=0.0,
        contenders={contender.label: _describe(contender) for contender in case.contenders},
        setting=case.setting,
    )
    try:
        skipped, checks = _check(case, settings)
        result = dataclasses.replace(result, skipped=skipped, checks=checks)
        able = [contender for contender in case.contenders if contender.label not in skipped]
        left = seconds - (time.monotonic() - start)
        tasks, profiles = _time(case, able, settings, left)
        left = seconds - (time.monotonic() - start)
        tasks |= _build(case, able, settings, left)
        result = dataclasses.replace(result, tasks=tasks, profiles=profiles, memory=_weigh(case, able, settings))
    except (Mismatch, WorkerError) as error:
        result = dataclasses.replace(result, refused=str(error))
    return dataclasses.replace(result, seconds=round(time.monotonic() - start, 1))


def _describe(contender: Contender) -> dict[str, Any]:
    found = {key: value for key, value in vars(contender).items() if key not in ("label", "tasks")}
    return {**found, "arguments": dict(contender.arguments)}


def _check(case: Case, settings: Settings) -> tuple[dict[str, str], list[Mapping[str, Any]]]:
    """Return the contenders that cannot run here with the reason, and the errors of the others."""
    found: list[Mapping[str, Any]] = []
    seen: set[str] = set()
    with Worker(case, None, settings.threads, settings.seed) as worker:
        skipped: dict[str, str] = worker.ask("lacking")
        for contender in case.contenders:
            same = repr((contender.kind, sorted(contender.arguments.items()), contender.finish))
            if contender.label in skipped or same in seen or contender.kind.startswith("paper."):
                continue  # the reference is what the others are compared with
            seen.add(same)
            found += [dataclasses.asdict(check) for check in worker.ask("check", contender.label)]
    return skipped, found


def _time(
    case: Case, contenders: Sequence[Contender], settings: Settings, seconds: float
) -> tuple[dict[str, dict[str, Series]], dict[str, dict[str, list[Mapping[str, Any]]]]]:
    """Return the rounds of every task, and the profiles, taken when the last round is over."""
    tasks = [task for task in case.tasks if task.kind not in ("memory", "build")]
    if not tasks:
        return {}, {}
    profiled = {
        task: [c.label for c in contenders if c.label in case.profiled and c.takes_part(task)] for task in tasks
    }
    end = time.monotonic() + seconds - PROFILE_SECONDS * sum(map(len, profiled.values()))
    found: dict[str, dict[str, Series]] = {}
    profiles: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    with contextlib.ExitStack() as stack:
        workers = {c.label: stack.enter_context(Worker(case, c, settings.threads, settings.seed)) for c in contenders}
        for index, task in enumerate(tasks):
            taking_part = [contender.label for contender in contenders if contender.takes_part(task)]
            for label in taking_part:
                workers[label].ask("prepare", task)
            weight = _WEIGHT[task.kind] / sum(_WEIGHT[later.kind] for later in tasks[index:])
            pace = Pace(max(0.0, end - time.monotonic()) * weight, min(case.least, settings.most), settings.most)
            found[task.name] = alternate({label: _stepper(workers[label]) for label in taking_part}, pace)
            if profiled[task]:
                profiles[task.name] = {label: workers[label].ask("profile") for label in profiled[task]}
    return found, profiles


def _stepper(worker: Worker) -> Callable[[int], float]:
    return functools.partial(worker.ask, "time")


def _build(
    case: Case, contenders: Sequence[Contender], settings: Settings, seconds: float
) -> dict[str, dict[str, Series]]:
    """Return the rounds of building, each in a process of its own, in which nothing was built before."""
    found: dict[str, dict[str, Series]] = {}
    for task in case.tasks:
        if task.kind != "build":
            continue
        end, times = time.monotonic() + seconds, dict[str, list[float]]()
        taking_part = [contender for contender in contenders if contender.takes_part(task)]
        for number in range(settings.most):
            for contender in taking_part if number % 2 == 0 else reversed(taking_part):
                with Worker(case, contender, settings.threads, settings.seed) as worker:
                    times.setdefault(contender.label, []).append(worker.ask("build"))
            if number + 1 >= case.least and time.monotonic() >= end:
                break
        found[task.name] = {
            label: Series(tuple(values), tuple(range(len(values))), 1, 0) for label, values in times.items()
        }
    return found


def _weigh(
    case: Case, contenders: Sequence[Contender], settings: Settings
) -> dict[str, dict[str, dict[str, int | None]]]:
    found: dict[str, dict[str, dict[str, int | None]]] = {}
    for task in case.tasks:
        if task.kind == "memory":
            found[task.name] = {
                contender.label: _weigh_one(case, contender, task, settings)
                for contender in contenders
                if contender.takes_part(task)
            }
    return found


def _weigh_one(case: Case, contender: Contender, task: Task, settings: Settings) -> dict[str, int | None]:
    with Worker(case, contender, settings.threads, settings.seed) as worker:
        return worker.ask("weigh", task)
