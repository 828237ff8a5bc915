"""SIGTERM in a run: all its processes stop in the same batch, even if only one of them got the signal."""

import contextlib
import signal
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException


class StopTogether(Callback):
    """Notes SIGTERM, and ends the training after the batch in which the processes exchanged this.

    Lightning's own handler sends a message from inside the signal, which the other processes do not wait for: all of
    them then wait for ever.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the handler of whoever called."""
        self._before = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler, which puts back the caller's when the training is over."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)

    @staticmethod
    def asked_of(trainer: Trainer) -> bool:
        """Return whether SIGTERM has come to a trainer that has this callback."""
        callbacks: list[Any] = getattr(trainer, "callbacks")  # noqa: B009 (put there at run time)
        return any(callback._asked for callback in callbacks if isinstance(callback, StopTogether))

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if callable(self._before):
            self._before(number, frame)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the training if any process got SIGTERM.

        Raises:
            SIGTERMException: one was; it is a SystemExit.
        """
        self._end_if_asked(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """The same."""
        self._end_if_asked(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same, when the epoch's checkpoint is written."""
        self._end_if_asked(trainer)

    def _end_if_asked(self, trainer: Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self._asked, all=False):
            raise SIGTERMException


@contextlib.contextmanager
def ended_by_sigterm(sentence: Callable[[], str]) -> Generator[None, None, None]:
    """Let SIGTERM raise a SystemExit with a sentence, where it would otherwise end the process without a word."""
    in_charge = threading.current_thread() is threading.main_thread()
    if not in_charge or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(sentence())

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
