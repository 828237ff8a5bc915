"""Training a network for a purpose: tasks, configs and recipes, runs that can be killed and resumed, their records.

Importing this package does not import Lightning; `train`, `TaskModule` and the metrics to log do, on first use.
"""

from typing import TYPE_CHECKING, Any

from sepgconv._messages import require
from sepgconv.tasks.beginning import initial_network, network_before_training
from sepgconv.tasks.classification import Classification
from sepgconv.tasks.config import RECIPES, TrainingConfig
from sepgconv.tasks.embedding import embed
from sepgconv.tasks.environment import is_main_process
from sepgconv.tasks.errors import CheckpointError, DivergedError, LostImagesError, LostProcessError
from sepgconv.tasks.evaluation import Run, evaluate, load_run, measure, measure_each
from sepgconv.tasks.extension import extend
from sepgconv.tasks.history import read_history
from sepgconv.tasks.instances import split_instances
from sepgconv.tasks.judgement import ClassFigures, Confusion, Judgement, judge
from sepgconv.tasks.lr_finder import LearningRateSweep, find_learning_rate
from sepgconv.tasks.multi_label import MultiLabel
from sepgconv.tasks.prediction import Prediction, predict
from sepgconv.tasks.pretrained import pretrained
from sepgconv.tasks.record import RunRecord
from sepgconv.tasks.registry import get_task, list_tasks, register_task
from sepgconv.tasks.regression import Regression
from sepgconv.tasks.run import train
from sepgconv.tasks.segmentation import Segmentation
from sepgconv.tasks.task import Metric, Task
from sepgconv.tasks.turning import Orientation, VectorRegression
from sepgconv.tasks.written import write_images

if TYPE_CHECKING:
    from sepgconv.tasks.equivariance import EquivarianceError, InvarianceRate
    from sepgconv.tasks.lightning import ImageDataModule, TaskModule

__all__ = [
    "RECIPES",
    "CheckpointError",
    "ClassFigures",
    "Classification",
    "Confusion",
    "DivergedError",
    "EquivarianceError",
    "ImageDataModule",
    "InvarianceRate",
    "Judgement",
    "LearningRateSweep",
    "LostImagesError",
    "LostProcessError",
    "Metric",
    "MultiLabel",
    "Orientation",
    "Prediction",
    "Regression",
    "Run",
    "RunRecord",
    "Segmentation",
    "Task",
    "TaskModule",
    "TrainingConfig",
    "VectorRegression",
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
    "measure_each",
    "network_before_training",
    "predict",
    "pretrained",
    "read_history",
    "register_task",
    "split_instances",
    "train",
    "write_images",
]

_ON_FIRST_USE = {
    "EquivarianceError": "equivariance",
    "ImageDataModule": "lightning",
    "InvarianceRate": "equivariance",
    "TaskModule": "lightning",
}


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        import importlib

        require("lightning", extra="train", purpose=f"sepgconv.tasks.{name}")
        return getattr(importlib.import_module(f"sepgconv.tasks.{_ON_FIRST_USE[name]}"), name)
    raise AttributeError(f"module 'sepgconv.tasks' has no attribute {name!r}")
