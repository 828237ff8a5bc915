"""The processes of one run on several devices: started, and watched, so that none waits for one that has ended."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from sepgconv._terminal import say
from sepgconv.tasks.errors import LostProcessError

LAUNCHER = "SEPGCONV_LAUNCHER"  # environment variable of a process that was started here: who started it
LOOK = 0.2  # seconds between looks at the other processes
GRACE = 5.0  # seconds for this process to notice by itself

_children: list["subprocess.Popen[bytes]"] = []  # a script may train several times in the same processes


@contextlib.contextmanager
def together(trainer: Trainer, left: Callable[[], str]) -> Generator[None, None, None]:
    """Start the other processes of a run unless a launcher did, and stop this one if another ends.

    Lightning would start them, too, but its observer kills all of them without a word when one ends.

    Args:
        trainer: of the run; with a single process nothing happens.
        left: says what the run leaves and how to go on.

    Raises:
        LostProcessError: another process ended.
    """
    if trainer.world_size == 1:
        yield
        return
    _start(trainer)
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(over, left), daemon=True, name="sepgconv-watch")
    watch.start()
    try:
        yield
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise LostProcessError(_sentence(left)) from error
    finally:
        over.set()
        watch.join()


def check_launcher_variables(trainer: Trainer) -> None:
    """Raise if a launcher started this process, as the environment says, but did not say where they all meet.

    Raises:
        ValueError: LOCAL_RANK is set and MASTER_PORT is not; the process would wait for the others for ever.
    """
    if not _is_plain(trainer) or "LOCAL_RANK" not in os.environ or "MASTER_PORT" in os.environ:
        return
    raise ValueError(
        f"the environment variable LOCAL_RANK={os.environ['LOCAL_RANK']} says that another program starts the "
        f"{trainer.world_size} processes of this training, and MASTER_PORT, where they meet, is not set: it would wait "
        "for them for ever; unset LOCAL_RANK, or start it with torchrun"
    )


def _is_plain(trainer: Trainer) -> bool:
    # Lightning's DDP, and no cluster's launcher that has its own variables.
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return isinstance(trainer.strategy, DDPStrategy) and isinstance(environment, LightningEnvironment)


def _start(trainer: Trainer) -> None:
    if not _is_plain(trainer):
        return
    strategy: Any = trainer.strategy
    environment = strategy.cluster_environment
    if environment.creates_processes_externally:  # by torchrun or a script, or here, by an earlier training
        return
    os.environ |= {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "NODE_RANK": str(environment.node_rank()),
        "WORLD_SIZE": str(trainer.world_size),
        "LOCAL_RANK": "0",
    }
    # The very command of this process, with Python's own options.
    command = [sys.executable, *sys.orig_argv[1:]]
    for rank in range(1, trainer.num_devices):
        own = {"LOCAL_RANK": str(rank), LAUNCHER: str(os.getpid())}
        _children.append(subprocess.Popen(command, env=os.environ | own))


def _watch(over: threading.Event, left: Callable[[], str]) -> None:
    while not over.wait(LOOK):
        if _one_is_gone():
            if not over.wait(GRACE):
                # This process waits for the one that is gone, inside a library: no exception reaches it there.
                say(f"Error: {_sentence(left)}")
                os._exit(1)
            return


def _one_is_gone() -> bool:
    launcher = os.environ.get(LAUNCHER)
    if launcher is not None and launcher != str(os.getppid()):
        return True
    return any(child.poll() is not None for child in _children)


def _is_lost_connection(error: RuntimeError) -> bool:
    known = getattr(torch.distributed, "DistError", ())
    words = ("gloo", "Connection closed", "Connection reset", "Broken pipe", "NCCL")
    return isinstance(error, known) or any(word in str(error) for word in words)


def _sentence(left: Callable[[], str]) -> str:
    return f"another process of this training has ended, and it cannot go on without; training stopped: {left()}"
