"""Graphs of aten operations, as other back ends take them, give the numbers of the network, also for one image."""

import pytest
import torch
from torch import nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # torch's own, while it exports
    pytest.mark.usefixtures("shallow_resnets"),
]


@pytest.fixture(autouse=True)
def _forget_compiled_code():
    torch.compiler.reset()


def decomposed(network, x):
    """Run a network as the graph of operations that torch.export takes it apart into."""
    with torch.no_grad():
        return torch.export.export(network, (x,)).run_decompositions().module()(x)


def by_autograd(network, x):
    """Run a network through the compiler with torch's own kernels."""
    with torch.no_grad():
        return torch.compile(network, backend="aot_eager", fullgraph=True)(x)


class Executions(nn.Module):
    """Separable layers in every execution, side by side on the same maps."""

    def __init__(self, layers):
        super().__init__()
        kinds = [{"execution": "separable"}, {"execution": "fourier"}, {"sharing": "g", "execution": "separable"}]
        self.each = nn.ModuleList(layers.SeparableGroupConv2d(3, 2, 3, "p4", padding=1, **kind) for kind in kinds)

    def forward(self, x):
        return sum(layer(x) for layer in self.each)


POOLS = {
    "max": lambda layers: layers.MaxPool2d(2),
    "average": lambda layers: layers.AvgPool2d(2),
    "overlapping": lambda layers: layers.MaxPool2d(3, 2, 1),
    "adaptive": lambda layers: layers.AdaptiveAvgPool2d(2),
    "to one pixel": lambda layers: layers.AdaptiveAvgPool2d(1),
}


@pytest.mark.parametrize("run", [decomposed, by_autograd])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.covering(1)
def test_a_pool_before_separable_layers(as_installed, pool, batch, run):
    layers = as_installed.nn
    network = nn.Sequential(
        layers.LiftingConv2d(1, 3, 3, "p4"), layers.GroupBatchNorm2d(3), nn.ReLU(), POOLS[pool](layers),
        Executions(layers), layers.GroupBatchNorm2d(2), layers.MaxPool2d(1), layers.GroupMaxPool(),
    ).eval()  # fmt: skip
    x = torch.randn(batch, 1, 8, 10)
    with torch.no_grad():
        torch.testing.assert_close(run(network, x), network(x))


def test_one_channel(as_installed):
    """With one channel, maps lie alike in several layouts."""
    layers = as_installed.nn
    network = nn.Sequential(
        layers.LiftingConv2d(1, 1, 3, "p2"),
        layers.SeparableGroupConv2d(1, 1, 1, "p2", sharing="g", execution="separable"),
        layers.AvgPool2d(2),
        layers.SeparableGroupConv2d(1, 1, 3, "p2", padding=1, execution="separable"),
    ).eval()
    x = torch.randn(1, 1, 9, 12)
    with torch.no_grad():
        torch.testing.assert_close(decomposed(network, x), network(x))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("gc_p4cnn", {"width": 8}),
        ("gc_p4cnn", {"width": 4, "group": "p4m"}),
        pytest.param(
            "gc_p4m_resnet44",
            {"widths": (2, 3, 4), "group": "p2", "downsampling": "exact"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_whole_networks(stirred_model, as_installed, name, config, batch):
    network = stirred_model(name, package=as_installed, dtype=torch.float32, **config)
    x = torch.randn(batch, network.in_channels, network.input_size, network.input_size)
    with torch.no_grad():
        torch.testing.assert_close(decomposed(network, x), network(x))


def test_a_copy_for_inference(stirred_model, as_installed):
    network = as_installed.compile_for_inference(stirred_model("gc_p4cnn", package=as_installed, dtype=torch.float32))
    x = torch.randn(1, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(decomposed(network, x), network(x))


def test_training_mode_without_gradients(stirred_model, as_installed):
    network = stirred_model("gc_p4cnn", package=as_installed).train()
    x = torch.randn(1, 1, 30, 30, dtype=torch.float64)
    torch.testing.assert_close(decomposed(network, x), network(x).detach())
