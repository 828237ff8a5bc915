"""The table "What it must reach": each row, and what the results say about it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks import any_angle, labels, suite
from benchmarks.results import Result
from benchmarks.series import Series, paired_ratios

Measure = Literal["times faster", "times the time", "times the input", "share of the bytes", "seconds"]

STEP, INFER_MANY, INFER_ONE = "training step", "inference, many", "inference, one"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One row.

    Attributes:
        words: the case.
        case: where it is measured.
        task: kind of task; "inference, many" and "inference, one" tell the two batches apart.
        ours: label of our contender.
        opponents: labels; the fastest (or smallest) of them counts.
        measure: "times faster" is best large, the others are best small; "seconds" compares with nobody.
        at_least: the bound that must be met.
        aim: the one that is hoped for; None where the table has none.
        slack: part of the bound that counts as met, for what is no difference; its reason is in `words`.
    """

    words: str
    case: str
    task: str
    ours: str = labels.OURS
    opponents: tuple[str, ...] = ()
    measure: Measure = "times faster"
    at_least: float
    aim: float | None = None
    slack: float = 0.0


_SEPARABLE = (labels.ORDINARY_SEPARABLE, labels.ORDINARY_SEPARABLE_LAST)
_E2CNN = (labels.E2CNN, labels.E2CNN_DEFAULT)

_PAPER: tuple[Target, ...] = (
    Target(
        words="gc-P4CNN w=30, training step, batch 128: ours against the reference execution, default allocator",
        case=suite.GC_NETWORK, task=STEP, opponents=(labels.REFERENCE_DEFAULT,), at_least=3, aim=5,
    ),
    Target(
        words="same, both with the tuned allocator",
        case=suite.GC_NETWORK, task=STEP, opponents=(labels.REFERENCE,), at_least=1.3, aim=2,
    ),
    Target(
        words="gc-P4CNN w=30 against our own P4CNN w=10 (equal parameters and MACs), training step",
        case=suite.GC_NETWORK, task=STEP, opponents=(labels.OWN_P4CNN,), measure="times the time", at_least=1.7, aim=1,
    ),
    Target(
        words="P4CNN w=10 against e2cnn's, training step, batch 128",
        case=suite.P4_NETWORK, task=STEP, opponents=_E2CNN, at_least=1.3, aim=2,
    ),
    Target(
        words="P4CNN w=10 against e2cnn's, inference, batch 128 (compile_for_inference; e2cnn keeps its filters, too)",
        case=suite.P4_NETWORK, task=INFER_MANY, ours=labels.FOR_INFERENCE, opponents=_E2CNN, at_least=1.5, aim=2,
    ),
    Target(
        words="P4CNN w=10 against e2cnn's, inference, batch 1 (compile_for_inference; e2cnn keeps its filters, too)",
        case=suite.P4_NETWORK, task=INFER_ONE, ours=labels.FOR_INFERENCE, opponents=_E2CNN, at_least=1.5, aim=2,
    ),
    Target(
        words="gc layer p4m, 64 -> 64, 3x3, 32x32, batch 8, forward + backward: against GroupConv2d",
        case=suite.LAYER, task="forward + backward", opponents=(labels.GROUP_CONV,), at_least=6, aim=12,
    ),
    Target(
        words="same, against an ordinary depthwise-separable layer with the same 512 maps (the faster memory format)",
        case=suite.LAYER, task="forward + backward", opponents=_SEPARABLE, at_least=1.3, aim=2.5,
    ),
    Target(
        words="bytes kept for backward by a gc layer: its input, once (transformed filters may add a tenth)",
        case=suite.LAYER_MEMORY, task="memory", measure="times the input", at_least=1, slack=0.1,
    ),
    Target(
        words="bytes kept for backward, gc-P4CNN w=30 network, recompute=True, against the reference execution",
        case=suite.NETWORK_MEMORY, task="memory", ours=labels.RECOMPUTED, opponents=(labels.REFERENCE,),
        measure="share of the bytes", at_least=1 / 2, aim=1 / 3,
    ),
    Target(
        words="allocator, layouts and fusion: effect on the ordinary Z2CNN, training step: not slower (2 % is noise)",
        case=suite.Z2_NETWORK, task=STEP, opponents=(labels.PLAIN_DEFAULT, labels.OURS_DEFAULT), at_least=1, slack=0.02,
    ),
)  # fmt: skip


def _any_angle() -> Iterator[Target]:
    """Return the rows of groups whose rotations are not by 90 degrees, each for training and inference."""
    step, e2cnn = "forward + backward", (labels.E2CNN,)
    for pixels, batch in any_angle.SIZES.items():
        where = f"batch {batch} at {pixels} x {pixels}"
        for group in any_angle.FULL_GROUPS:
            words, case = (
                f"group convolution {group}, 5 x 5, {where}, against e2cnn",
                any_angle.full_case(group, pixels),
            )
            yield Target(words=f"{words}, {step}", case=case, task=step, opponents=e2cnn, at_least=1.2, aim=2)
            yield Target(
                words=f"{words}, inference (compile_for_inference; e2cnn keeps its filters, too)",
                case=case, task="inference", ours=labels.FOR_INFERENCE, opponents=e2cnn, at_least=1.2, aim=2,
            )  # fmt: skip
        for task in (step, "inference"):
            yield Target(
                words=f"gc layer C8, 64 channels, against a full one of equal parameters, {where}, {task}",
                case=any_angle.layer_case(pixels), task=task, opponents=(labels.EQUAL_FULL,), at_least=1, aim=2,
            )  # fmt: skip
            yield Target(
                words=f"gc layer C16, 64 channels, in irreps against its dense mixing, {where}, {task}",
                case=any_angle.mixing_case(64, pixels), task=task, ours=labels.FOURIER,
                opponents=(labels.SEPARABLE,), at_least=1.5, aim=3,
            )  # fmt: skip
    words = "gc network C8 of 25k parameters against a full one, batch 128 at 28 x 28"
    network, opponents = any_angle.NETWORK, (labels.EQUAL_FULL,)
    yield Target(
        words=f"{words}, training step", case=network, task=STEP, opponents=opponents, measure="times the time",
        at_least=1.6, aim=1,
    )  # fmt: skip
    yield Target(
        words=f"{words}, inference (both compile_for_inference)", case=network, task="inference",
        ours=labels.FOR_INFERENCE, opponents=(labels.EQUAL_FULL_INFERENCE,), measure="times the time", at_least=1.6,
        aim=1,
    )  # fmt: skip
    for ours in (labels.OURS, labels.SEPARABLE_NETWORK):
        yield Target(
            words="building a network of seven convolutions on C16" + (", gc" if ours != labels.OURS else ""),
            case=any_angle.BUILDING, task="build", ours=ours, measure="seconds", at_least=0.5, aim=0.05,
        )  # fmt: skip


TARGETS = (*_PAPER, *_any_angle())


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A row with what was measured.

    Attributes:
        target: the row.
        opponent: the one that counted.
        measured: in the target's measure; None where there are no numbers.
        spread: smallest and largest over the rounds that both ran in; None for memory.
        rounds: how many those are.
        missing: why there are no numbers.
    """

    target: Target
    opponent: str = ""
    measured: float | None = None
    spread: tuple[float, float] | None = None
    rounds: int = 0
    missing: str | None = None

    def reaches(self, bound: float | None) -> bool | None:
        """Return whether a bound is met; None without numbers or bound."""
        if self.measured is None or bound is None:
            return None
        slack = self.target.slack * bound
        return (
            self.measured >= bound - slack if self.target.measure == "times faster" else self.measured <= bound + slack
        )

    @property
    def met(self) -> bool | None:
        """Whether the column "at least" is met."""
        return self.reaches(self.target.at_least)


def outcomes(results: Mapping[str, Result]) -> list[Outcome]:
    """Return every row with what the results say."""
    return [_outcome(target, results.get(target.case)) for target in TARGETS]


def _outcome(target: Target, result: Result | None) -> Outcome:
    if result is None:
        return Outcome(target=target, missing="not run")
    if result.refused is not None:
        return Outcome(target=target, missing=f"refused: {result.refused}")
    try:
        return _memory_outcome(target, result) if target.task == "memory" else _time_outcome(target, result)
    except KeyError as error:
        label = str(error.args[0])
        return Outcome(target=target, missing=result.skipped.get(label, f"no numbers of {label}"))


def find_task(result: Result, task: str) -> str:
    """Return the full name of a task of a result.

    Raises:
        KeyError: there is none.
    """
    kind, _, which = task.partition(", ")
    names = [name for name in (*result.tasks, *result.memory) if name.startswith(f"{kind}, batch ")]
    if not names:
        raise KeyError(task)
    if len(names) == 1:
        return names[0]
    return (min if which == "one" else max)(names, key=lambda name: int(name.rpartition(" ")[2]))


def _time_outcome(target: Target, result: Result) -> Outcome:
    series: Mapping[str, Series] = result.tasks[find_task(result, target.task)]
    mine = series[target.ours]
    if target.measure == "seconds":
        spread = min(mine.seconds), max(mine.seconds)
        return Outcome(target=target, measured=mine.median, spread=spread, rounds=len(mine.rounds))
    present = [label for label in target.opponents if label in series]
    if not present:
        raise KeyError(target.opponents[0])
    opponent = min(present, key=lambda label: series[label].median)
    pair = (series[opponent], mine) if target.measure == "times faster" else (mine, series[opponent])
    ratios = paired_ratios(*pair)
    return Outcome(
        target=target,
        opponent=opponent,
        measured=pair[0].median / pair[1].median,
        spread=(min(ratios), max(ratios)) if ratios else None,
        rounds=len(ratios),
    )


def _memory_outcome(target: Target, result: Result) -> Outcome:
    weights = result.memory[find_task(result, target.task)]
    mine = weights[target.ours]
    kept = mine["kept"] or 0
    if target.measure == "times the input":
        return Outcome(target=target, opponent="its input", measured=kept / (mine["input"] or 1), rounds=1)
    opponent = target.opponents[0]
    return Outcome(target=target, opponent=opponent, measured=kept / (weights[opponent]["kept"] or 1), rounds=1)
