"""What a run begins with: its task, with what it takes from the targets, and its network with the weights drawn."""

import torch
from torch import Tensor, nn

from sepgconv.data import Dataset
from sepgconv.data.column import join
from sepgconv.models import initialise, rebuild_model
from sepgconv.tasks.config import TrainingConfig
from sepgconv.tasks.record import RunRecord
from sepgconv.tasks.registry import get_task
from sepgconv.tasks.task import Task


def fitted_task(config: TrainingConfig, dataset: Dataset) -> Task:
    """Return the task of a run with what it takes from the targets that the run learns from.

    Args:
        config: the run's.
        dataset: the run's.

    Raises:
        ValueError: the task does not have the config's options.
    """
    targets = dataset.train.labels
    if not config.hold_out:
        targets = join((targets, dataset.validation.labels))
    task = get_task(config.task, config.task_options)
    if isinstance(targets, Tensor):
        return task.fit(targets)
    return task if type(task).fit is Task.fit else task.fit(targets[:])  # most tasks take nothing of masks


def initial_network(config: TrainingConfig, dataset: Dataset) -> nn.Module:
    """Return the network with the weights that a run begins with; torch's global generator is seeded for it.

    Args:
        config: the run's.
        dataset: says how many channels and, as the task of the config wants them, outputs there are.

    Raises:
        ValueError: the config's network does not fit the data.

    Example:
        >>> from sepgconv.data import load_dataset
        >>> config = TrainingConfig(model="z2cnn", data="rotated_digits", model_config={"width": 2})
        >>> initial_network(config, load_dataset("rotated_digits")).num_classes
        10
    """
    found = {"in_channels": dataset.image_shape[0], **fitted_task(config, dataset).head(dataset.classes)}
    for key, value in found.items():
        if config.model_config.get(key, value) != value:
            raise ValueError(f"model_config has {key}={config.model_config[key]}, but {dataset.name} has {value}")
    torch.manual_seed(config.seed)
    network = rebuild_model(config.model, found | config.model_config)
    initialise(network, config.initialisation)
    return network


def network_before_training(record: RunRecord) -> nn.Module:
    """Return the network with the weights that a finished run began with, drawn again from its seed.

    They are the same where torch draws the same numbers as then (`record.versions` names its version) and the run had
    no `train(prepare=...)`: what that changed is not in the record. No data is read, and torch's global generator is
    left as it was.

    Args:
        record: the run's.

    Example:
        >>> import tempfile, torch
        >>> from sepgconv.data import load_dataset, take_images
        >>> config = TrainingConfig(model="z2cnn", data="rotated_digits", model_config={"width": 2}, epochs=1)
        >>> digits = take_images(load_dataset("rotated_digits"), 40, seed=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = train(config, folder=folder, data=digits, progress=False, accelerator="cpu")
        >>> first = network_before_training(record).classifier.weight
        >>> torch.equal(first, initial_network(config, digits).classifier.weight)
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(record.seed)
        network = rebuild_model(record.model, record.model_config)
        initialise(network, record.config.get("initialisation", "sepgconv"))  # records of older versions lack it
        return network
