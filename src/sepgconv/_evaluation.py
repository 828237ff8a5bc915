"""evaluation: run a module as it will be used, and put every part back into the mode it was in."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluation(module: nn.Module) -> Generator[None, None, None]:
    """Within the block the module is in evaluation mode and nothing records gradients.

    Args:
        module: the module; each of its parts gets back its own mode, also after an error.
    """
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training
