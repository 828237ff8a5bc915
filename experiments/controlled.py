"""The controlled experiment of Figure 1: do filters stay equal along the poses, and which ones (theory.md, Redundancy).

A p4 network without activation functions. Its first layer is one fixed filter that no rotation changes, so its maps are
the same in every pose. All filters begin equal along the poses; in layer 2, half of the output channels begin with
kernels that no rotation changes. Prediction: layer 2 stays equal along the poses; its symmetric channels stay
symmetric, their maps are equal in all poses, and the filters of layer 3 that read them stay equal along the poses,
while those that read the others do not. Control: the same network with every filter drawn freely.

It trains in float64. A symmetric kernel gets a symmetric gradient, but in float32 the rounding of its sums is no longer
small beside it, and Adam, which divides by the gradient's size, turns that into asymmetry of several percent within a
hundred steps; in float64 nothing of it is seen.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sepgconv.analysis import cost
from sepgconv.data import Dataset, Split
from sepgconv.data.column import join
from sepgconv.functional import pixel_action, transform_kernel
from sepgconv.nn import GroupBatchNorm2d, GroupConv2d, GroupMaxPool, LiftingConv2d, MaxPool2d
from sepgconv.symmetry import group as get_group
from sepgconv.tasks import TrainingConfig, evaluate
from sepgconv.tasks.conditions import conditions_of
from sepgconv.tasks.environment import device_name, git_commit, versions
from sepgconv.tasks.folder import RunFolder

GROUP = "p4"
# What a cell calls it: torch's and Lightning's names.
PRECISIONS: Mapping[str, tuple[torch.dtype, str]] = MappingProxyType(
    {"float32": (torch.float32, "32-true"), "float64": (torch.float64, "64-true")}
)
# Rises from the corners to the middle and is the same under every rotation and mirror.
INVARIANT_FILTER = ((1.0, 2.0, 1.0), (2.0, 4.0, 2.0), (1.0, 2.0, 1.0))


class ControlledNetwork(nn.Module):
    """Four convolutions on p4 without activation functions: a fixed invariant filter, then three that learn.

    28-26-24-(12)-10-(5)-2: 2x2 max pools follow layers 2 and 3, batch norm the learned layers; then the maximum over
    poses, the mean over positions and a linear layer. Shapes: (batch, 1, 28, 28) -> (batch, 10).

    Args:
        width: output channels of layers 2 to 4; even, because half of those of layer 2 begin symmetric.
        equal: whether the filters begin equal along the poses, and half of layer 2 symmetric; False draws them freely.
        dtype: of its weights. Default: float64.

    Raises:
        ValueError: an odd width.
    """

    def __init__(self, width: int, *, equal: bool, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"the width of the controlled experiment must be even, got {width}")
        self.first = LiftingConv2d(1, 1, 3, GROUP, bias=False)
        self.second = GroupConv2d(1, width, 3, GROUP)
        self.third = GroupConv2d(width, width, 3, GROUP)
        self.fourth = GroupConv2d(width, width, 4, GROUP)
        self.norms = nn.ModuleList(GroupBatchNorm2d(width) for _ in range(3))
        self.halve = MaxPool2d(2)
        self.pool = GroupMaxPool()
        self.classifier = nn.Linear(width, 10)
        self.to(dtype)  # before kernels are averaged, so that they are symmetric to its rounding
        invariant = torch.tensor(INVARIANT_FILTER)
        with torch.no_grad():
            self.first.weight.copy_(invariant / invariant.sum())
            if equal:
                for layer in (self.second, self.third, self.fourth):
                    layer.weight.copy_(layer.weight[:, :, :1].expand_as(layer.weight))
                symmetric = self.second.weight[: width // 2]
                symmetric.copy_(_symmetrised(symmetric))
        self.first.weight.requires_grad_(False)

    def second_maps(self, images: Tensor) -> Tensor:
        """Return the maps of layer 2, (batch, width, |G|, 24, 24), for images (batch, 1, 28, 28)."""
        return self.norms[0](self.second(self.first(images)))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        maps = self.norms[1](self.third(self.halve(self.second_maps(images))))
        maps = self.norms[2](self.fourth(self.halve(maps)))
        return self.classifier(self.pool(maps).mean((-2, -1)))


def train_controlled(
    config: TrainingConfig,
    *,
    folder: Path,
    data: Dataset,
    resume: bool,
    threads: int | None,
    accelerator: str,
) -> dict[str, Any]:
    """Train the network of Figure 1 with the ordinary trainer and return what a record holds.

    Args:
        config: `model_config` has "width", "filters", "equal" or "free", and "precision", a key of `PRECISIONS`.
        folder: for the checkpoint.
        data: 28 x 28 grey images of ten classes.
        resume: go on from the folder's checkpoint.
        threads: torch's threads.
        accelerator: Lightning's.

    Raises:
        DivergedError: loss or weights are not finite.
    """
    from sepgconv.tasks.callbacks import EpochKeeper
    from sepgconv.tasks.checkpoint import own_epochs
    from sepgconv.tasks.fitting import build_trainer, fit
    from sepgconv.tasks.module import EpochBatches, TrainingModule

    commit, files = git_commit(), RunFolder(folder)
    setup = {"config": config.to_dict(), "data": data.name, "images": len(data.train) + len(data.validation)}
    keeper = EpochKeeper(files.checkpoint, epoch=own_epochs(files) if resume else 0)
    dtype, precision = PRECISIONS[config.model_config["precision"]]
    # Apple's GPUs, which "auto" takes where there are such, have no float64.
    accelerator = "cpu" if accelerator == "auto" and not torch.cuda.is_available() else accelerator
    trainer = build_trainer(
        config, files, keeper, accelerator=accelerator, progress=False, threads=threads, precision=precision
    )
    now = conditions_of(trainer, data)
    if resume:
        files.check_same_setup(setup)
        files.note_resume(keeper.epoch, files.check_conditions(now, force=True), now)
    else:
        files.begin({**setup, "conditions": now})
    torch.manual_seed(config.seed)
    equal = config.model_config["filters"] == "equal"
    network = ControlledNetwork(config.model_config["width"], equal=equal, dtype=dtype)
    costs = cost(network, data.image_shape)
    learned = Split(
        join((data.train.images, data.validation.images)), join((data.train.labels, data.validation.labels))
    )
    fit(trainer, TrainingModule(network, config), EpochBatches(learned, None, config, nn.Identity()), files, keeper)
    network.cpu().eval()
    return {
        "model": config.model,
        "width": config.model_config["width"],
        "seed": config.seed,
        "data": data.name,
        "epochs": config.epochs,
        "test_error": evaluate(network, data.test),
        "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "nominal_macs": costs.nominal_macs,
        "executed_macs": costs.executed_macs,
        "seconds": keeper.seconds,
        "cpu_seconds": keeper.cpu_seconds,
        "device": device_name(trainer.strategy.root_device),
        "threads": torch.get_num_threads(),
        "commit": commit,
        "versions": versions(),
        "images": {"train": len(learned), "test": len(data.test)},
        "changes": files.noted_changes(),
        "config": config.to_dict(),
        "measures": {"similarity": similarities(network, data.test.images[:100])},
    }


def similarities(network: ControlledNetwork, images: Tensor) -> dict[str, Any]:
    """Return how alike filters and maps are along the poses, and what Figure 1 shows of them.

    All are mean cosine similarities, 1 for equal: of the kernels of a filter along the poses (`second_filters` by
    output channel, `third_filters` by input channel), of a layer-2 kernel with its rotated copies (`second_symmetry`),
    of the maps of layer 2, each less its mean, along the poses (`second_maps`). The first half of the channels are
    those that begin symmetric.

    Args:
        network: trained.
        images: (n, 1, 28, 28); the maps are measured on all and shown for the first.
    """
    with torch.no_grad():
        maps = network.second_maps(images.to(network.second.weight.dtype))
        second, third = network.second.weight, network.third.weight
        action = pixel_action(network.second.group, (3, 3))
        rotated = transform_kernel(second[:, 0, 0], action)  # (out, |G|, k, k)
        shown = [0, network.second.out_channels // 2]  # a channel that began symmetric, and one that did not
        return {
            "second_filters": _rounded(_likeness(second[:, 0].flatten(2))),
            "second_symmetry": _rounded(_likeness(rotated.flatten(2))),
            "second_maps": _rounded(_likeness(_centred(maps.movedim(0, 2).flatten(2)))),
            "third_filters": _rounded(_likeness(third.flatten(3)).mean(0)),
            "shown": {
                "second_filters": _rounded(second[shown, 0]),
                "second_maps": _grey(maps[0, shown]),
                "third_filters": _rounded(third[0, shown]),
            },
        }


def _centred(vectors: Tensor) -> Tensor:
    # The empty background would make all maps alike.
    return vectors - vectors.mean(-1, keepdim=True)


def _likeness(vectors: Tensor) -> Tensor:
    """Return the mean cosine similarity of the different poses, (..., |G|, n) -> (...)."""
    unit = F.normalize(vectors.double(), dim=-1)
    products, order = unit @ unit.mT, vectors.shape[-2]
    return (products.sum((-1, -2)) - products.diagonal(dim1=-1, dim2=-2).sum(-1)) / (order * (order - 1))


def _symmetrised(weight: Tensor) -> Tensor:
    """Return the filters (out, in, |G|, k, k) with every kernel averaged over its rotated copies."""
    action = pixel_action(get_group(GROUP), (weight.shape[-2], weight.shape[-1]))
    kernels = weight.flatten(0, 2)
    return transform_kernel(kernels, action).mean(1).view_as(weight)


def _rounded(values: Tensor) -> Any:
    return [round(float(value), 5) for value in values] if values.ndim == 1 else [_rounded(part) for part in values]


def _grey(maps: Tensor) -> Any:
    """Return maps as grey levels 0 to 255, each channel on a scale of its own, shared by its poses."""
    low, high = maps.amin((-3, -2, -1), keepdim=True), maps.amax((-3, -2, -1), keepdim=True)
    return ((maps - low) / (high - low) * 255).round().int().tolist()
