"""Training with Lightning: configs and recipes, runs that can be killed and resumed, their records.

Importing this package does not import Lightning; `train` does.
"""

from sepgconv.training.config import RECIPES, TrainingConfig
from sepgconv.training.environment import is_main_process
from sepgconv.training.errors import CheckpointError, DivergedError, LostProcessError
from sepgconv.training.evaluation import Run, evaluate, load_run
from sepgconv.training.history import read_history
from sepgconv.training.record import RunRecord
from sepgconv.training.run import initial_network, network_before_training, train

__all__ = [
    "RECIPES",
    "CheckpointError",
    "DivergedError",
    "LostProcessError",
    "Run",
    "RunRecord",
    "TrainingConfig",
    "evaluate",
    "initial_network",
    "is_main_process",
    "load_run",
    "network_before_training",
    "read_history",
    "train",
]
