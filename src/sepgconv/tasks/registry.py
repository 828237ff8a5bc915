"""Tasks by name: one table."""

from collections.abc import Mapping
from typing import Any

from sepgconv._messages import unknown_name
from sepgconv.tasks.classification import Classification
from sepgconv.tasks.multi_label import MultiLabel
from sepgconv.tasks.regression import Regression
from sepgconv.tasks.segmentation import Segmentation
from sepgconv.tasks.task import Task
from sepgconv.tasks.turning import Orientation, VectorRegression

_TASKS: dict[str, Task] = {
    task.name: task
    for task in (Classification(), MultiLabel(), Regression(), VectorRegression(), Orientation(), Segmentation())
}


def register_task(task: Task) -> Task:
    """Make a task known by its name: `TrainingConfig(task=...)` and `sepgconv train --task` then take it.

    Args:
        task: the task.

    Returns:
        The task.

    Raises:
        ValueError: it has no name, no metric, or the name of another task.

    Example:
        >>> from sepgconv.tasks import Classification, TrainingConfig, register_task
        >>> class Side(Classification):
        ...     "Which way up an image is: four classes."
        ...
        ...     name = "side"
        >>> _ = register_task(Side())
        >>> TrainingConfig(task="side", model="z2cnn", data="rotated_digits").task
        'side'
    """
    name = getattr(task, "name", "")
    if not isinstance(name, str) or not name:
        raise ValueError(f"register_task: {type(task).__name__} needs a name, a text that is not empty")
    if not getattr(task, "metrics", ()):
        raise ValueError(f"register_task: the task {name!r} needs a metric to be judged by; define `metrics`")
    if name in _TASKS and type(_TASKS[name]) is not type(task):
        raise ValueError(f"register_task: the name {name!r} stands for another task already; choose another one")
    _TASKS[name] = task
    return task


def list_tasks() -> tuple[str, ...]:
    """Return the names of all tasks.

    Example:
        >>> "classification" in list_tasks()
        True
    """
    return tuple(_TASKS)


def get_task(name: str, options: Mapping[str, Any] | None = None) -> Task:
    """Return the task of a name.

    Args:
        name: of `list_tasks()`.
        options: of the task, as `TrainingConfig.task_options`. Default: none.

    Raises:
        ValueError: there is none; the known ones are listed. Or the task does not have these options.

    Example:
        >>> get_task("classification").metrics[0].title
        'error in %'
    """
    if not isinstance(name, str) or name not in _TASKS:
        raise ValueError(unknown_name("task", name, _TASKS))
    return _TASKS[name].with_options(options or {})
