"""Training a network for a purpose: tasks, configs and recipes, runs that can be killed and resumed, their records.

Importing this package does not import Lightning; `train` does.
"""

from sepgconv.tasks.beginning import initial_network, network_before_training
from sepgconv.tasks.classification import Classification
from sepgconv.tasks.config import RECIPES, TrainingConfig
from sepgconv.tasks.embedding import embed
from sepgconv.tasks.environment import is_main_process
from sepgconv.tasks.errors import CheckpointError, DivergedError, LostProcessError
from sepgconv.tasks.evaluation import Run, evaluate, load_run, measure
from sepgconv.tasks.extension import extend
from sepgconv.tasks.history import read_history
from sepgconv.tasks.judgement import ClassFigures, Confusion, Judgement, judge
from sepgconv.tasks.lr_finder import LearningRateSweep, find_learning_rate
from sepgconv.tasks.prediction import Prediction, predict
from sepgconv.tasks.pretrained import pretrained
from sepgconv.tasks.record import RunRecord
from sepgconv.tasks.registry import get_task, list_tasks, register_task
from sepgconv.tasks.run import train
from sepgconv.tasks.task import Metric, Task

__all__ = [
    "RECIPES",
    "CheckpointError",
    "ClassFigures",
    "Classification",
    "Confusion",
    "DivergedError",
    "Judgement",
    "LearningRateSweep",
    "LostProcessError",
    "Metric",
    "Prediction",
    "Run",
    "RunRecord",
    "Task",
    "TrainingConfig",
    "embed",
    "evaluate",
    "extend",
    "find_learning_rate",
    "get_task",
    "initial_network",
    "is_main_process",
    "judge",
    "list_tasks",
    "load_run",
    "measure",
    "network_before_training",
    "predict",
    "pretrained",
    "read_history",
    "register_task",
    "train",
]
