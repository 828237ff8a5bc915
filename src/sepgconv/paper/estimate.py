"""How long a cell will take: from records of the same network, else from its multiplications."""

import functools
import json
import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch

from sepgconv.analysis import cost
from sepgconv.models import create_model
from sepgconv.paper.cells import Cell
from sepgconv.paper.store import FINISHED, Record
from sepgconv.training.environment import device_name

# Training images of the data sets that cells name; of another, this many.
TRAINING_IMAGES: Mapping[str, int] = MappingProxyType(
    {
        "rotmnist": 12_000,
        "rotmnist-official": 12_000,
        "rotmnist-generated": 12_000,
        "cifar10": 50_000,
        "cifar10-jpeg75": 50_000,
        "cifar10-lossless-subset": 8_068,
    }
)
_UNKNOWN = 1_000
# Where nothing was recorded: multiply-accumulates a second of one CPU thread in training, a middle over the networks of
# Table 1, which range from 13 to 35 (float32, batch 256). A training step costs three passes.
MACS_PER_SECOND = 2e10
PASSES = 3


def work(cell: Cell) -> float:
    """Return the multiply-accumulates of a cell's training; 0 where nothing is trained."""
    if cell.task == "equivariance":
        return 0.0
    hold_out = 5 / 6 if cell.config.hold_out else 1.0
    images = hold_out * (cell.images or TRAINING_IMAGES.get(cell.data, _UNKNOWN))
    return PASSES * images * cell.config.epochs * _macs(cell)


def estimate(cell: Cell, records: Sequence[Record]) -> float:
    """Return the seconds that a cell may take, checkpoints and all.

    Records of the same row give their mean. Others of the same network give their seconds for a unit of work; all
    records together do for a network without any; a constant, for one CPU thread, where there are none. Records of
    different devices are not told apart, so this is a rough figure where they are mixed. Of runs on a CPU like this
    one, what they waited for other processes does not count.

    Args:
        cell: the cell.
        records: of any cells.
    """
    timed = [r for r in records if r["status"] == FINISHED and r["seconds"] and r["epochs"]]
    if same := [_seconds(record) for record in timed if record["row"] == cell.row]:
        return statistics.fmean(same)
    todo = work(cell)
    if not todo:
        return 5.0  # building a network and running it on a few pictures
    network = [r for r in timed if (r["model"], r["width"]) == (cell.model, cell.width)]
    for pool in (network, timed):
        if rates := [rate for record in pool if (rate := _rate(record)) is not None]:
            return todo * statistics.median(rates)
    return todo / MACS_PER_SECOND


def _seconds(record: Record) -> float:
    """Return what a run took, less what it waited for a busy processor, which is known of CPU runs only."""
    spent = record.get("cpu_seconds")
    on_cpu = record["device"] == device_name(torch.device("cpu"))
    return min(record["seconds"], spent) if spent and on_cpu else record["seconds"]


def _rate(record: Record) -> float | None:
    """Return the seconds for each multiply-accumulate of a record's training; None where it does not say."""
    images, macs = (record.get("images") or {}).get("train"), record.get("executed_macs")
    return _seconds(record) / (PASSES * images * record["epochs"] * macs) if images and macs else None


def _macs(cell: Cell) -> int:
    if cell.task == "controlled":
        return 26**2 * 9 + cell.config.model_config["width"] * 4 * 24**2 * 9 * 4  # its first two layers
    return _executed_macs(cell.model, json.dumps(dict(cell.model_config), sort_keys=True))


@functools.cache
def _executed_macs(model: str, options: str) -> int:
    network = create_model(model, **json.loads(options))
    return cost(network, (network.in_channels, network.typical, network.typical)).executed_macs
