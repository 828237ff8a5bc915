"""The tolerances of every dtype stand above what is measured, not far above, and below what a fault makes."""

import statistics

import pytest
import torch

import sepgconv
from sepgconv._comparison import ROUNDING, explained, largest_difference, rounding
from sepgconv.analysis import certify, equivariance_error
from sepgconv.convert import to_plain
from sepgconv.nn import DepthwiseGroupConv2d, GroupConv2d, GroupMeanPool, LiftingConv2d, SeparableGroupConv2d
from sepgconv.testing import TOLERANCE, assert_equivariant

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# How far a tolerance may be above what is measured here. Wide precisions leave room for GPUs and large networks.
ROOM = {torch.float64: 1000, torch.float32: 50, torch.float16: 20, torch.bfloat16: 20}


def test_every_floating_dtype_that_layers_run_in_has_a_figure():
    assert set(TOLERANCE) == set(ROUNDING) == set(DTYPES)


def layers(group):
    """Layers of every kind and execution, with the rank of their input."""
    return [
        (LiftingConv2d(8, 8, 3, group, padding=1), 4),
        (GroupConv2d(8, 8, 3, group, padding=1), 5),
        (SeparableGroupConv2d(8, 8, 3, group, padding=1, execution="separable"), 5),
        (SeparableGroupConv2d(8, 8, 3, group, padding=1, execution="fourier"), 5),
        (SeparableGroupConv2d(8, 8, 3, group, padding=1, sharing="g"), 5),
        (DepthwiseGroupConv2d(8, 3, group, padding=1), 5),
        (GroupMeanPool(), 5),
    ]


def network(name):
    model = sepgconv.create_model(name, width=6).eval()
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(getattr(module, "running_mean", None), torch.Tensor):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


def worst_error(dtype):
    torch.manual_seed(0)
    found = []
    for group in ("p4", "p4m"):
        for layer, rank in layers(group):
            shape = (2, 8, sepgconv.group(group).order, 16, 16) if rank == 5 else (2, 8, 16, 16)
            found += equivariance_error(layer.to(dtype), group, torch.randn(shape).to(dtype)).values()
    for name in ("p4cnn", "gc_p4cnn", "g_p4cnn"):
        found += equivariance_error(network(name).to(dtype), "p4", torch.randn(2, 1, 28, 28).to(dtype)).values()
    return max(found)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tolerance_of_equivariance_is_what_is_measured_and_some_room(dtype):
    assert TOLERANCE[dtype] / ROOM[dtype] < worst_error(dtype) < TOLERANCE[dtype] / 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_fault_is_seen_in_every_dtype(dtype):
    """Negative control: the layers pass, and one whose filters are not symmetric does not."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 12, 12).to(dtype)
    lifting = LiftingConv2d(3, 4, 3, "p4", padding=1).to(dtype)
    assert_equivariant(lifting, "p4", x)
    with pytest.raises(AssertionError, match="is not equivariant"):
        assert_equivariant(torch.nn.Conv2d(3, 4, 3, padding=1).to(dtype), "p4", x)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_of_comparisons_is_what_is_measured_and_some_room(dtype):
    """`compile_for_inference` and `to_plain` compare by it what they made with the network."""
    torch.manual_seed(0)
    x, found = torch.randn(4, 1, 28, 28).to(dtype), []
    for name in ("p4cnn", "gc_p4cnn", "g_p4cnn"):
        model = network(name).to(dtype)
        with torch.no_grad():
            expected = model(x)
            differences = [
                largest_difference(made(x), expected)
                for made in (sepgconv.compile_for_inference(model), to_plain(model))
            ]
        assert max(differences) <= explained(model, x)
        found += differences
    room = {torch.float64: 1e6, torch.float32: 1000}.get(dtype, 20)
    assert ROUNDING[dtype] / room < statistics.median(found) < ROUNDING[dtype] / 1.5


def test_a_dtype_that_is_not_known_is_one_clear_sentence():
    with pytest.raises(ValueError, match=r"^how much torch.int8 rounds is not known, .*; use float64, float32"):
        rounding(torch.int8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_certificates_are_measured_in_float64_whatever_the_weights_are(dtype):
    """Weights that were rounded are as symmetric as before: one tolerance is enough."""
    model = network("gc_p4cnn").to(dtype)
    found = certify(model, "p4", (1, 28, 28), samples=2)
    assert found.exact
    assert found.error < 1e-12
    head = torch.nn.Sequential(model.features, torch.nn.Flatten(1, 2), torch.nn.Conv2d(24, 3, 1)).to(dtype)
    assert not certify(head, "p4", (1, 28, 28), samples=2).exact
