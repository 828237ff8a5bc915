import itertools

import pytest
import torch
from torch import nn

from sepgconv.analysis import map_agreement, measured_agreement
from sepgconv.functional import act
from sepgconv.nn import GroupBatchNorm2d, GroupConv2d, LiftingConv2d
from sepgconv.symmetry import pose_division


def network(group, *, bias=True):
    return nn.Sequential(LiftingConv2d(1, 3, 3, group), nn.ReLU(), GroupConv2d(3, 4, 3, group, bias=bias))


def test_the_correlation_is_that_of_the_loop(group, float64):
    model, images = network(group), torch.randn(5, 1, 8, 8)
    nn.init.normal_(model[2].bias, std=3)
    found = measured_agreement(model, {"2": group}, images)["2"]
    maps = model(images).detach()
    apart = pose_division(group)
    for n, h in itertools.product(range(4), range(group.order)):
        centred = maps[:, n] - maps[:, n].mean()
        top = bottom = 0.0
        for a, b in itertools.product(range(group.order), repeat=2):
            if apart[a][b] == h:
                top += float((centred[:, a] * centred[:, b]).sum())
                bottom += float((centred[:, a] ** 2).sum())
        assert float(found[n, h]) == pytest.approx(top / bottom, abs=1e-9)


def test_measured_and_computed_agree_on_planted_filters(group, float64):
    model = network(group)
    with torch.no_grad():
        first = model[2].weight[:1]
        model[2].weight[0] = torch.stack([act(group, g, first)[0] for g in range(group.order)]).mean(0)
    measured = measured_agreement(model, {"2": group}, torch.randn(4, 1, 9, 9))["2"]
    torch.testing.assert_close(measured[0], torch.ones(group.order))
    torch.testing.assert_close(map_agreement(model[2].weight, group)[0], torch.ones(group.order))
    if group.order > 1:
        assert measured[1:, 1:].max() < 0.98  # negative control


def test_on_white_noise_they_are_the_same_number(float64):
    layer = GroupConv2d(2, 3, 3, "p4", bias=False)

    class OnNoise(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(torch.randn(len(x), 2, 4, 60, 60))

    measured = measured_agreement(OnNoise(), {"layer": layer.group}, torch.zeros(40, 1, 1, 1))["layer"]
    torch.testing.assert_close(measured, map_agreement(layer.weight, "p4").detach(), atol=0.02, rtol=0)


def test_runs_are_added_up_and_everything_put_back(float64):
    layer, norm = LiftingConv2d(1, 2, 3, "p4"), GroupBatchNorm2d(2)
    model, images = nn.Sequential(layer, norm).train(), torch.randn(6, 1, 6, 6)
    once = measured_agreement(model, {"0": layer.group}, images)["0"]
    assert model.training
    assert norm.num_batches_tracked == 0
    assert not layer._forward_hooks
    model.forward = lambda x: [layer(x[:2]), layer(x[2:])]
    torch.testing.assert_close(measured_agreement(model, {"0": layer.group}, images)["0"], once)
    model.forward = lambda x: layer(x[:2])
    half = measured_agreement(model, {"0": layer.group}, images)["0"]
    assert (half - once).abs().max() > 1e-3  # negative control


def test_silent_channels_and_layers_that_do_not_run():
    model = network("p4")
    with torch.no_grad():
        model[2].weight.zero_()
    model.idle = GroupConv2d(1, 1, 3, "p4")
    model.forward = lambda x: model[2](model[1](model[0](x)))
    layers = {"2": model[2].group, "idle": model[2].group}
    found = measured_agreement(model, layers, torch.randn(2, 1, 7, 7))
    assert set(found) == {"2"}
    assert found["2"].isnan().all()


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (1, 8, 8)])
def test_inputs_that_are_no_batch_of_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"inputs must be a batch of images \(n, channels, height, width\)"):
        measured_agreement(network("p4"), {}, torch.zeros(shape))
