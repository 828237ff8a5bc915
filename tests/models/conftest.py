"""Small networks, as built, and with biases, scales and running statistics far from their initial values."""

import pytest
import torch
from torch import nn

import sepgconv


def _small_model(name, *, package=sepgconv, **config):
    size = {"widths": (2, 3, 4)} if "resnet" in name else {"width": 4}
    return package.create_model(name, **{**size, **config})


def _stirred_model(name, *, dtype=torch.float64, seed=0, package=sepgconv, **config):
    torch.manual_seed(seed)
    model = _small_model(name, package=package, **config).to(dtype).train()
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.ndim == 1 and key.endswith("bias"):
                value.uniform_(-0.5, 0.5)
            elif value.ndim == 1 and key.endswith("weight"):
                value.uniform_(0.5, 1.5)
        # Statistics near the true ones keep a narrow network from rectifying everything away.
        for norm in norms:
            norm.momentum = 1.0
        model(torch.randn(8, model.in_channels, model.min_input_size, model.min_input_size, dtype=dtype))
        for norm in norms:
            norm.momentum = 0.1
            norm.running_mean += 0.3 * torch.randn_like(norm.running_mean)
            norm.running_var *= 0.5 + torch.rand_like(norm.running_var)
    return model.eval()


@pytest.fixture(scope="session")
def small_model():
    """Build a network by name, a few channels wide, in training mode; `package` may be the one as installed."""
    return _small_model


@pytest.fixture(scope="session")
def stirred_model():
    """Build a small network in evaluation mode whose biases, scales and running statistics are random as well."""
    return _stirred_model


def _assert_same_network(found, expected):
    assert (found.name, found.config) == (expected.name, expected.config)
    assert type(found) is type(expected)
    state, reference = found.state_dict(), expected.state_dict()
    assert list(state) == list(reference)
    for key, value in reference.items():
        assert state[key].dtype == value.dtype, key
        assert torch.equal(state[key], value), key


@pytest.fixture(scope="session")
def assert_same_network():
    """Assert that two networks have the same name, config, and every tensor in common, bit for bit."""
    return _assert_same_network


@pytest.fixture
def saved(stirred_model, tmp_path):
    """A network and the folder it is in."""
    model = stirred_model("gc_p4cnn")
    return model, sepgconv.save(model, tmp_path / "net")
