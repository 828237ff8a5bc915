"""Training a network for a purpose: tasks, configs and recipes, runs that can be killed and resumed, their records.

Importing this package does not import Lightning; `train` does.
"""

from sepgconv.tasks.classification import Classification
from sepgconv.tasks.config import RECIPES, TrainingConfig
from sepgconv.tasks.environment import is_main_process
from sepgconv.tasks.errors import CheckpointError, DivergedError, LostImagesError, LostProcessError
from sepgconv.tasks.evaluation import Run, evaluate, load_run, measure
from sepgconv.tasks.history import read_history
from sepgconv.tasks.record import RunRecord
from sepgconv.tasks.registry import get_task, list_tasks, register_task
from sepgconv.tasks.run import initial_network, network_before_training, train
from sepgconv.tasks.task import Metric, Task

__all__ = [
    "RECIPES",
    "CheckpointError",
    "Classification",
    "DivergedError",
    "LostImagesError",
    "LostProcessError",
    "Metric",
    "Run",
    "RunRecord",
    "Task",
    "TrainingConfig",
    "evaluate",
    "get_task",
    "initial_network",
    "is_main_process",
    "list_tasks",
    "load_run",
    "measure",
    "network_before_training",
    "read_history",
    "register_task",
    "train",
]
