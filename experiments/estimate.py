"""How long a cell will take: from records of the same network, else from its multiplications."""

import functools
import json
import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch

from experiments.cells import Cell
from experiments.controlled import ControlledNetwork
from experiments.record import FINISHED, Record
from sepgconv.analysis import cost
from sepgconv.models import create_model
from sepgconv.tasks.environment import device_name

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
# The same of one NVIDIA H200, on which p4m- and gc-p4m-ResNet44 trained at once, at 1.7e13 and 1.1e13.
GPU_MACS_PER_SECOND = 1.5e13
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
    records together do for a network without any; a constant where there are none. On a GPU, where work takes a
    hundredth of the time, only records of such a one count; on a CPU those of another CPU do, too, where there are none
    of such a one. Of runs on a CPU like this one, what they waited for other processes does not count.

    Args:
        cell: the cell.
        records: of any cells.
    """
    on_gpu = torch.cuda.is_available()
    here = device_name(torch.device("cuda" if on_gpu else "cpu"))
    complete = [r for r in records if r["status"] == FINISHED and r["seconds"] and r["epochs"]]
    timed = [r for r in complete if r["device"] == here]
    if not timed and not on_gpu:
        timed = complete
    if same := [_seconds(record) for record in timed if record["row"] == cell.row_key]:
        return statistics.fmean(same)
    todo = work(cell)
    if not todo:
        return 5.0  # building a network and running it on a few images
    network = [r for r in timed if (r["model"], r["width"]) == (cell.model, cell.width)]
    for pool in (network, timed):
        if rates := [rate for record in pool if (rate := _rate(record)) is not None]:
            return todo * statistics.median(rates)
    return todo / (GPU_MACS_PER_SECOND if on_gpu else MACS_PER_SECOND)


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
        return _controlled_macs(cell.config.model_config["width"])
    return _executed_macs(cell.model, json.dumps(dict(cell.model_config), sort_keys=True))


@functools.cache
def _controlled_macs(width: int) -> int:
    return cost(ControlledNetwork(width, equal=False), (1, 28, 28)).executed_macs


@functools.cache
def _executed_macs(model: str, options: str) -> int:
    network = create_model(model, **json.loads(options))
    return cost(network, (network.in_channels, network.input_size, network.input_size)).executed_macs
