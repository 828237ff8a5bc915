"""What one case of the benchmark is: who takes part, on which input, doing what. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TaskKind = Literal["training step", "forward + backward", "inference", "memory", "build"]
Allocator = Literal["default", "tuned"]
Finish = Literal["eager", "compiled", "for inference", "exported"]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One participant, in its own process.

    Attributes:
        label: its name in the tables, unique in a case.
        kind: its name in `benchmarks.contenders.kinds.KINDS`.
        arguments: of that kind, as JSON can hold them.
        allocator: "tuned" calls `sepgconv.tune_allocator()` before the first large tensor.
        finish: what is done to the built module: nothing, `torch.compile(fullgraph=True)`,
            `sepgconv.compile_for_inference`, or e2cnn's export.
        tasks: kinds of task it takes part in; None for all.
        reads: how many channels of a layer's input it reads, the first ones; None for all.
    """

    label: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    allocator: Allocator = "tuned"
    finish: Finish = "eager"
    tasks: tuple[TaskKind, ...] | None = None
    reads: int | None = None

    def takes_part(self, task: "Task") -> bool:
        """Return whether this contender does a task."""
        return self.tasks is None or task.kind in self.tasks


@dataclass(frozen=True)
class Task:
    """What is timed (or, "memory", weighed), on how many images; "build" makes the module, in a new process each."""

    kind: TaskKind
    batch: int

    @property
    def name(self) -> str:
        """The task in words."""
        return f"{self.kind}, batch {self.batch}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Contenders that are compared with each other, in one run.

    Attributes:
        name: file name of its results, unique.
        section: heading in the report.
        title: in words.
        shape: of one input without the batch: (channels, poses, height, width) for a layer, (channels, height, width)
            for a network.
        contenders: all of them; the first is "ours", which the others are compared with.
        tasks: one after the other.
        seconds: its share of the time budget.
        check_batch: images in the check of outputs and gradients.
        least: rounds that every contender gets, whatever the budget.
        profiled: contenders whose profile is taken, in those of their tasks that are timed.
        setting: the point in the curves, by axis; None for a case that is in none.
    """

    name: str
    section: str
    title: str
    shape: tuple[int, ...]
    contenders: tuple[Contender, ...]
    tasks: tuple[Task, ...]
    seconds: float
    check_batch: int = 4
    least: int = 3
    profiled: tuple[str, ...] = ()
    setting: Mapping[str, Any] | None = None

    @property
    def is_layer(self) -> bool:
        """Whether feature maps go in and out, or images in and logits out."""
        return len(self.shape) == 4
