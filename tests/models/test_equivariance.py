"""Whole networks under every element of their group, in float64, and the networks that must fail the same check."""

import pytest
import torch
from torch import nn

from sepgconv.analysis import equivariance_error
from sepgconv.functional import act
from sepgconv.symmetry import group as find_group
from sepgconv.testing import assert_equivariant

pytestmark = pytest.mark.usefixtures("shallow_resnets")
ROTMNIST = ("p4cnn", "g_p4cnn", "gc_p4cnn")
RESNETS = ("p4m_resnet44", "g_p4m_resnet44", "gc_p4m_resnet44")
GROUPS = ("p2", "p4", "pm", "pmm", "p4m", "cm", "cmm")
EXACT = {"downsampling": "exact", "head": "invariant"}
BROKEN = 0.02  # relative; what breaks the symmetry shows far above this, rounding far below


def pictures(model, *size):
    torch.manual_seed(1)
    return torch.randn(3, model.in_channels, *size, dtype=torch.float64)


def assert_tells_pictures_apart(model, x):
    """A network that gives all pictures the same scores would be invariant for nothing."""
    with torch.no_grad():
        scores = model(x)
    assert (scores - scores.mean(0)).abs().max() > 1e-3 * scores.abs().max()


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", ROTMNIST)
@pytest.mark.covering(1)
def test_rotmnist_networks_are_invariant_on_even_sizes(stirred_model, name, group):
    model = stirred_model(name, group=group, in_channels=2)
    for size in [(28, 28), (30, 36)]:
        x = pictures(model, *size)
        assert_tells_pictures_apart(model, x)
        assert len(equivariance_error(model, group, x[:1])) == find_group(group).order - 1
        assert_equivariant(model, group, x)


@pytest.mark.parametrize("name", ROTMNIST)
def test_rotmnist_features_turn_with_the_picture(stirred_model, name):
    model = stirred_model(name, group="p4m")
    for depth in range(1, len(model.features) + 1):
        assert_equivariant(model.features[:depth], "p4m", pictures(model, 32, 30))


@pytest.mark.parametrize("name", ROTMNIST)
def test_rotmnist_networks_are_not_invariant_on_odd_sizes(stirred_model, name):
    """An odd side does not survive the 2x2 pool."""
    model = stirred_model(name, group="p4")
    assert min(equivariance_error(model, "p4", pictures(model, 29, 29)).values()) > BROKEN


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.covering(1)
def test_exact_resnets_are_invariant_on_multiples_of_4(stirred_model, name, group):
    model = stirred_model(name, group=group, **EXACT)
    for size in [(16, 16), (12, 20)]:
        x = pictures(model, *size)
        assert_tells_pictures_apart(model, x)
        assert_equivariant(model, group, x)


@pytest.mark.parametrize("name", RESNETS)
def test_exact_resnets_are_invariant_at_the_size_of_cifar10(stirred_model, name):
    model = stirred_model(name, **EXACT)
    assert_equivariant(model, "p4m", pictures(model, 32, 32))


@pytest.mark.parametrize("name", RESNETS)
def test_exact_resnets_are_not_invariant_on_other_sizes(stirred_model, name):
    model = stirred_model(name, group="p4", **EXACT)
    for size in (17, 18):
        assert min(equivariance_error(model, "p4", pictures(model, size, size)).values()) > BROKEN


@pytest.mark.parametrize("name", RESNETS)
def test_strided_resnets_break_the_symmetry_on_even_maps_only(stirred_model, name):
    """theory.md, Strides: a layer of stride 2 is exact where (S + 2 padding - dilation (k - 1) - 1) is even."""
    model = stirred_model(name, group="p4", downsampling="paper", head="invariant")
    features = nn.Sequential(model.stem, model.blocks, model.norm)
    assert min(equivariance_error(features, "p4", pictures(model, 32, 32)).values()) > 0.1
    assert min(equivariance_error(model, "p4", pictures(model, 32, 32)).values()) > BROKEN
    assert_equivariant(features, "p4", pictures(model, 33, 33))
    assert_equivariant(model, "p4", pictures(model, 33, 33))


@pytest.mark.parametrize("name", RESNETS)
def test_the_head_of_the_paper_is_not_invariant_at_any_size(stirred_model, name):
    for downsampling, size in [("exact", 16), ("paper", 17)]:
        model = stirred_model(name, group="p4", downsampling=downsampling, head="paper")
        x = pictures(model, size, size)
        assert_equivariant(nn.Sequential(model.stem, model.blocks, model.norm), "p4", x)
        assert min(equivariance_error(model, "p4", x).values()) > BROKEN


@pytest.mark.parametrize("name", ["z2cnn", "c_z2cnn", "resnet44"])
def test_ordinary_networks_are_not_invariant(stirred_model, name):
    model = stirred_model(name)
    errors = equivariance_error(model, "p4m", pictures(model, 28, 28))
    assert min(errors.values()) > BROKEN
    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(model, "p4m", pictures(model, 28, 28))


def test_a_network_on_a_smaller_group_is_not_invariant_under_a_larger_one(stirred_model):
    model = stirred_model("gc_p4cnn", group="p4")
    errors = equivariance_error(model, "p4m", pictures(model, 28, 28))
    assert max(errors[g] for g in (1, 2, 3)) < 1e-12
    assert min(errors[g] for g in (4, 5, 6, 7)) > BROKEN


@pytest.mark.parametrize(
    ("name", "options", "group"), [("gc_p4cnn", {}, "p4"), ("g_p4cnn", {}, "p4"), ("gc_p4m_resnet44", EXACT, "p4m")]
)
def test_a_training_step_is_the_same_on_moved_pictures(stirred_model, name, options, group):
    """With the statistics of the batch, too: same loss, gradients and running statistics, so the same training."""
    size = 28 if "cnn" in name else 16

    def step(g):
        model = stirred_model(name, **options).train()
        x = act(group, g, pictures(model, size, size))
        loss = nn.functional.cross_entropy(model(x), torch.tensor([0, 1, 2]))
        loss.backward()
        return loss.detach(), *(p.grad for p in model.parameters()), *model.buffers()

    reference = step(0)
    assert reference[0] > 0
    for g in (1, find_group(group).order - 1):
        for value, expected in zip(step(g), reference, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
