"""The rule of the paper's authors, layer by layer, and that the layers' own stays what it is."""

import math

import pytest
import torch

from sepgconv import create_model
from sepgconv.models import INITIALISATIONS, initialise
from sepgconv.nn import SeparableGroupConv2d


@pytest.mark.parametrize("sharing", ["gc", "g"])
@pytest.mark.parametrize("group", ["p4", "p4m"])
def test_both_factors_have_the_fan_in_without_the_group(sharing, group):
    layer = SeparableGroupConv2d(32, 64, 3, group, sharing=sharing)
    initialise(layer, "published")
    for factor in (layer.pointwise, layer.depthwise):
        assert factor.abs().max() <= 1.000001 / math.sqrt(32 * 9)
        assert float(factor.detach().std()) == pytest.approx(1 / math.sqrt(3 * 32 * 9), rel=0.1)


def test_the_output_is_about_30_times_too_small_at_32_channels():
    """theory.md, Initialisation: beside the sqrt(2) that He et al. ask for before a ReLU."""
    ratios = []
    for group, order in (("p4", 4), ("p4m", 8)):
        layer = SeparableGroupConv2d(32, 32, 3, group, bias=False)
        x = torch.randn(4, 32, order, 12, 12)
        with torch.no_grad():
            ours = layer(x).std()
            initialise(layer, "published")
            ratios.append(float(ours / layer(x).std()))
    assert all(20 < ratio < 45 for ratio in ratios)


# c k^2 of each layer's weights, in order: the lifting layer, five 3 x 3 layers, one of 4 x 4.
_SEPARABLE = [9, *[5 * 9] * 10, *[5 * 16] * 2]


@pytest.mark.parametrize(
    ("name", "fan_in"),
    [
        ("z2cnn", [9, *[5 * 9] * 5, 5 * 16]),
        ("c_z2cnn", [9, *[5, 9] * 5, 5, 16]),
        ("p4cnn", [9, *[5 * 9] * 5, 5 * 16]),
        ("g_p4cnn", _SEPARABLE),
        ("gc_p4cnn", _SEPARABLE),
    ],
)
def test_every_convolution_of_a_network_is_drawn_anew(name, fan_in):
    """Of weights of more than a dozen numbers, the largest is near its bound; biases, norms, classifier stay."""
    model = create_model(name, width=5)
    before = {key: value.clone() for key, value in model.named_parameters()}
    initialise(model, "published")
    changed = {key: value for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    kept = [key for key in before if key not in changed]
    assert all(key.endswith("bias") or key.startswith("classifier") or ".1." in key for key in kept)
    assert not any(key.endswith("bias") or key.startswith("classifier") for key in changed)
    reached = [
        float(value.detach().abs().max()) * math.sqrt(n) for value, n in zip(changed.values(), fan_in, strict=True)
    ]
    assert all(0.6 < value <= 1.000001 for value in reached), reached


def test_the_layers_own_rule_changes_nothing_and_draws_nothing():
    model = create_model("gc_p4cnn", width=3)
    before = {key: value.clone() for key, value in model.named_parameters()}
    state = torch.random.get_rng_state()
    initialise(model, "sepgconv")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.named_parameters())


def test_an_unknown_name_is_one_sentence():
    with pytest.raises(ValueError, match=r"initialisation 'publish'.*'published'"):
        initialise(create_model("z2cnn", width=2), "publish")
    assert tuple(INITIALISATIONS) == ("sepgconv", "published")
