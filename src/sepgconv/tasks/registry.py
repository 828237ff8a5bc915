"""Tasks by name: one table."""

from sepgconv._messages import unknown_name
from sepgconv.tasks.classification import Classification
from sepgconv.tasks.task import Task

_TASKS: dict[str, Task] = {task.name: task for task in (Classification(),)}


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
        >>> class Orientation(Classification):
        ...     "Which way up an image is: four classes."
        ...
        ...     name = "orientation"
        >>> _ = register_task(Orientation())
        >>> TrainingConfig(task="orientation", model="z2cnn", data="rotated_digits").task
        'orientation'
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


def get_task(name: str) -> Task:
    """Return the task of a name.

    Raises:
        ValueError: there is none; the known ones are listed.

    Example:
        >>> get_task("classification").metrics[0].title
        'error in %'
    """
    if not isinstance(name, str) or name not in _TASKS:
        raise ValueError(unknown_name("task", name, _TASKS))
    return _TASKS[name]
