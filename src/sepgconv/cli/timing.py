"""How long a network takes for a batch of images."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

ROUNDS, SECONDS = 51, 2.0  # at most


def milliseconds(networks: "Sequence[Callable[[Tensor], Any]]", images: "Tensor") -> list[float]:
    """Return the median time of a call of each network in milliseconds, timed in turn after one call to warm up.

    Args:
        networks: modules in evaluation mode, or other functions of images (batch, channels, height, width).
        images: a batch.
    """
    import torch

    times: list[list[float]] = [[] for _ in networks]
    with torch.no_grad():
        for network in networks:
            network(images)
        begin = time.perf_counter()
        while len(times[0]) < 3 or (len(times[0]) < ROUNDS and time.perf_counter() - begin < SECONDS):
            for network, taken in zip(networks, times, strict=True):
                start = time.perf_counter()
                network(images)
                taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]
