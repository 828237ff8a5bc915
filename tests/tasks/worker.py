"""Run by tests in processes of their own: trainings that get killed, and trainings in several processes."""

import contextlib
import json
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from sepgconv.data import load_dataset
from sepgconv.tasks import TrainingConfig, is_main_process, train
from tests.forks import command, fork


def hang(here: Path) -> None:
    """Tell the test that the moment has come, and wait to be killed."""
    here.touch()
    time.sleep(600)


def train_and_hang(config: dict, folder: str, moment: str, here: str) -> None:
    """Train, and hang in the third epoch's second batch, or half-way through writing a file of the given name.

    Args:
        config: the run's.
        folder: the run's.
        moment: "batch", or the name of a file; one that is written every epoch counts in the third.
        here: the file that tells the test.
    """
    from sepgconv.tasks.module import TrainingModule

    step, rename, written = TrainingModule.training_step, Path.replace, Counter()

    def training_step(self, batch, batch_idx):
        if moment == "batch" and (self.current_epoch, batch_idx) == (2, 1):
            hang(Path(here))
        return step(self, batch, batch_idx)

    def replace(self, target):
        written[target.name] += 1
        if target.name == moment and written[moment] == (3 if moment == "last.ckpt" else 1):
            self.write_bytes(self.read_bytes()[: self.stat().st_size // 2])
            hang(Path(here))
        return rename(self, target)

    TrainingModule.training_step = training_step
    Path.replace = replace
    train(TrainingConfig.from_dict(config), folder=folder, progress=False, threads=1)


def train_once(config: dict, folder: str) -> None:
    """Train, on one thread."""
    train(TrainingConfig.from_dict(config), folder=folder, progress=False, threads=1)


def call_of_rank(rank: int, *words: object) -> None:
    """Call the command line as a process that has a number, which Lightning reads when it is imported."""
    from lightning.pytorch.utilities import rank_zero_only

    rank_zero_only.rank = rank
    command(*words)


def as_torchrun_does(said: Path, *words: object) -> None:
    """Call the command line in two processes that torch's launcher starts, as forks, with its variables."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="forkserver",
        max_restarts=0,
    )
    elastic_launch(config, call_into)(said, *words)


def call_into(said: Path, *words: object) -> None:
    """Call the command line, and return if it succeeds; append what it prints to a file."""
    with said.open("a") as file, contextlib.redirect_stdout(file):
        try:
            command(*words)
        except SystemExit as end:
            if end.code:
                raise


def in_forks(said: Path, function: Callable[..., object], *arguments: Any) -> None:
    """Call a function that trains in two processes, of which the second is a fork that calls it, too.

    A run starts its second process as the very command of the first, which takes seconds until all is imported.

    Args:
        said: the file that both write errors to. The number of the second process is left beside it.
        function: what both call.
        arguments: of it.
    """
    from sepgconv.tasks import processes

    class Second:
        """Stands in for `subprocess.Popen`."""

        def __init__(self, line: list[str], env: Mapping[str, str]) -> None:
            # Its parent is not the first process, so it does not look whether that one is there.
            variables = {name: value for name, value in env.items() if name != processes.LAUNCHER}
            self._process = fork(in_forks, said, function, *arguments, stderr=said, environment=variables)
            said.with_suffix(".second").write_text(str(self._process.pid))

        def poll(self) -> int | None:
            return self._process.exitcode

    processes.subprocess = SimpleNamespace(Popen=Second)
    function(*arguments)


class Plain(nn.Module):
    """A network without batch norm, so that the images of a batch do not see each other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 5, stride=3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 8 * 8, 3))
        self.double()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images.double())


def gradients(config: TrainingConfig, data, folder: Path, devices: int) -> dict[str, torch.Tensor]:
    """Train `Plain`; return the gradients of every step and the final weights, as the first process has them."""
    from lightning.pytorch import Callback

    from sepgconv.tasks.callbacks import EpochKeeper
    from sepgconv.tasks.fitting import build_trainer, fit
    from sepgconv.tasks.folder import RunFolder
    from sepgconv.tasks.module import EpochBatches, TrainingModule
    from sepgconv.tasks.processes import together

    class Recorder(Callback):
        def __init__(self):
            self.found = {}

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            for name, parameter in pl_module.named_parameters():
                self.found[f"{trainer.global_step} {name}"] = parameter.grad.clone()

    files, recorder, model = RunFolder(folder), Recorder(), Plain()
    keeper = EpochKeeper(files.checkpoint)
    trainer = build_trainer(config, files, keeper, devices=devices, accelerator="cpu", progress=False)
    trainer.callbacks.append(recorder)
    batches = EpochBatches(data.train, data.validation, config, nn.Identity())
    with together(trainer, lambda: "nothing"):
        fit(trainer, TrainingModule(model, config), batches, files, keeper)
    return recorder.found | {f"final {name}": value for name, value in model.state_dict().items()}


def train_in_two(config: dict, folder: str) -> None:
    """In two processes: the gradients of `Plain` into a file, then a whole run; then what each process saw of it."""
    from sepgconv.tasks.module import share_buffers

    warnings.simplefilter("error")
    chosen = TrainingConfig.from_dict(config)
    data = load_dataset(chosen.data)
    root = Path(folder)
    found = gradients(chosen, data, root / "plain", devices=2)
    rank = torch.distributed.get_rank()
    torch.save(found, root / f"gradients-{rank}.pt")
    norm = nn.BatchNorm1d(2)
    norm.running_mean.fill_(1 + rank)
    share_buffers(norm)
    torch.save(norm.running_mean, root / f"mean-{rank}.pt")
    os.environ.pop("OMP_NUM_THREADS")  # Lightning's, from the first training; now it sets the threads again
    record = train(chosen, folder=root / "run", data=data, devices=2, accelerator="cpu", progress=False, threads=3)
    (root / f"record-{rank}.json").write_text(json.dumps(record.to_dict()))
    (root / f"main-{rank}").write_text(str(is_main_process()))
