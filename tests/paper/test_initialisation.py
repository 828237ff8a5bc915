import math

import pytest
import torch

from sepgconv import create_model
from sepgconv.nn import SeparableGroupConv2d
from sepgconv.paper.initialisation import INITIALISATIONS, draw_as_published


@pytest.mark.parametrize("sharing", ["gc", "g"])
@pytest.mark.parametrize("group", ["p4", "p4m"])
def test_both_factors_have_the_fan_in_without_the_group(sharing, group):
    layer = SeparableGroupConv2d(32, 64, 3, group, sharing=sharing)
    draw_as_published(layer)
    for factor in (layer.pointwise, layer.depthwise):
        assert factor.abs().max() <= 1.000001 / math.sqrt(32 * 9)
        assert float(factor.detach().std()) == pytest.approx(1 / math.sqrt(3 * 32 * 9), rel=0.1)


def test_the_output_is_about_30_times_too_small_at_32_channels():
    """METHOD section 6: beside the sqrt(2) that He et al. ask for before a ReLU."""
    ratios = []
    for group, order in (("p4", 4), ("p4m", 8)):
        layer = SeparableGroupConv2d(32, 32, 3, group, bias=False)
        x = torch.randn(4, 32, order, 12, 12)
        with torch.no_grad():
            ours = layer(x).std()
            draw_as_published(layer)
            ratios.append(float(ours / layer(x).std()))
    assert all(20 < ratio < 45 for ratio in ratios)


def test_only_the_separable_factors_are_drawn_anew():
    model = create_model("gc_p4cnn", width=3)
    before = {name: value.clone() for name, value in model.named_parameters()}
    INITIALISATIONS["published"](model)
    changed = {
        name.rsplit(".", 1)[1] for name, value in model.named_parameters() if not torch.equal(value, before[name])
    }
    assert changed == {"pointwise", "depthwise"}
    before = {name: value.clone() for name, value in model.named_parameters()}
    INITIALISATIONS["sepgconv"](model)
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
