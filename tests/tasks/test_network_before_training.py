import dataclasses

import numpy as np
import pytest
import torch

from sepgconv.data import load_dataset
from sepgconv.tasks import RunRecord, TrainingConfig, initial_network, network_before_training, train


@pytest.mark.parametrize("initialisation", ["sepgconv", "published"])
def test_the_weights_are_those_the_run_began_with(tmp_path, initialisation):
    arrays = {}
    for seed, part in enumerate(("train", "test")):
        arrays[f"x_{part}"] = np.random.default_rng(seed).integers(0, 255, (20, 28, 28)).astype(np.uint8)
        arrays[f"y_{part}"] = np.arange(20) % 3
    np.savez(tmp_path / "pictures.npz", **arrays)
    data = load_dataset(str(tmp_path / "pictures.npz"))
    config = TrainingConfig(
        model="gc_p4cnn",
        data=data.name,
        model_config={"width": 3, "group": "p4m"},
        epochs=1,
        seed=5,
        batch_size=8,
        initialisation=initialisation,
    )
    train(config, folder=tmp_path / "run", data=data, threads=1, progress=False)
    record = RunRecord.read(tmp_path / "run" / "record.json")
    expected = initial_network(config, data).state_dict()
    torch.manual_seed(0)
    generator = torch.get_rng_state()
    found = network_before_training(record)
    assert torch.equal(torch.get_rng_state(), generator)  # left as it was
    assert found.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())
    assert found.config["num_classes"] == 3
    other = network_before_training(dataclasses.replace(record, seed=6))  # negative control
    assert not torch.equal(other.classifier.weight, found.classifier.weight)
