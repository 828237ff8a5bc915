"""Training with Lightning: configs and recipes, runs that can be killed and resumed, their records.

Importing this package does not import Lightning; `train` does.
"""

from sepgconv.tasks.config import RECIPES, TrainingConfig
from sepgconv.tasks.environment import is_main_process
from sepgconv.tasks.errors import CheckpointError, DivergedError, LostProcessError
from sepgconv.tasks.evaluation import Run, evaluate, load_run
from sepgconv.tasks.history import read_history
from sepgconv.tasks.record import RunRecord
from sepgconv.tasks.run import initial_network, network_before_training, train

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
