"""Norms share statistics and affine parameters over poses; dropout drops channels with all their poses."""

import copy
import itertools
import math
import re

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv import functional
from sepgconv.functional import act
from sepgconv.nn import (
    DropPath,
    GroupBatchNorm2d,
    GroupDropout,
    GroupGroupNorm,
    GroupInstanceNorm2d,
    GroupLayerNorm,
    LayerScale,
)
from sepgconv.testing import assert_equivariant


def maps(group, batch=4):
    return torch.randn(batch, 3, group.order, 5, 6) * 2 + torch.arange(3.0)[:, None, None, None]


@pytest.mark.usefixtures("float64")
class TestGroupBatchNorm2d:
    def test_every_channel_is_normalised_over_batch_poses_and_positions(self, group):
        norm, x = GroupBatchNorm2d(3, eps=0.1), maps(group)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        y = norm(x)
        for c in range(3):
            expected = (x[:, c] - x[:, c].mean()) / (x[:, c].var(correction=0) + 0.1).sqrt()
            expected = expected * norm.weight[c] + norm.bias[c]
            torch.testing.assert_close(y[:, c], expected, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(norm.running_mean[c], 0.1 * x[:, c].mean(), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(norm.running_var[c], 0.9 + 0.1 * x[:, c].var(), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize(
        "options", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}], ids=str
    )
    @pytest.mark.covering(1)
    def test_is_batch_norm_with_the_poses_as_further_pictures(self, group, options):
        norm, plain = GroupBatchNorm2d(3, **options), nn.BatchNorm2d(3, **options)
        for step in range(3):
            x = maps(group) + step
            expected = plain(x.movedim(2, 1).flatten(0, 1)).unflatten(0, (4, group.order)).movedim(1, 2)
            torch.testing.assert_close(norm(x), expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(norm.state_dict(), plain.state_dict(), rtol=1e-12, atol=1e-12)
        expected = plain.eval()(x.movedim(2, 1).flatten(0, 1)).unflatten(0, (4, group.order)).movedim(1, 2)
        torch.testing.assert_close(norm.eval()(x), expected, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("group", ["p1", "p4m"], indirect=True)
    def test_becomes_a_synchronised_batch_norm(self, group):
        """Outside of a process group, the synchronised one computes the same."""
        net = nn.Sequential(GroupBatchNorm2d(3))
        net(maps(group))
        nn.init.normal_(net[0].weight)
        converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(net))
        assert type(converted[0]) is nn.SyncBatchNorm
        x = maps(group)
        torch.testing.assert_close(converted(x), net(x))
        torch.testing.assert_close(converted.state_dict(), net.state_dict())
        torch.testing.assert_close(converted.eval()(x), net.eval()(x))


@pytest.mark.usefixtures("float64")
class TestGroupLayerNorm:
    def test_every_position_is_normalised_over_channels_and_poses(self, group):
        norm, x = GroupLayerNorm(3, eps=0.1), maps(group)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        mean = x.mean((1, 2), keepdim=True)
        variance = x.var((1, 2), keepdim=True, correction=0)
        expected = (x - mean) / (variance + 0.1).sqrt() * norm.weight[:, None, None, None]
        torch.testing.assert_close(norm(x), expected + norm.bias[:, None, None, None], rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize(
        ("options", "names"), [({}, ["weight", "bias"]), ({"bias": False}, ["weight"]), ({"affine": False}, [])]
    )
    def test_affine_parameters_are_those_asked_for(self, options, names):
        norm = GroupLayerNorm(3, **options)
        assert list(norm.state_dict()) == names
        x = torch.randn(1, 3, 4, 2, 2)
        torch.testing.assert_close(norm(x).mean((1, 2)), torch.zeros(1, 2, 2), atol=1e-12, rtol=0)

    @pytest.mark.parametrize("group", ["p1", "p4m"], indirect=True)
    def test_starts_as_the_plain_normalisation(self, group):
        x = maps(group)
        torch.testing.assert_close(GroupLayerNorm(3)(x), GroupLayerNorm(3, affine=False)(x))


@pytest.mark.usefixtures("float64")
class TestGroupGroupNorm:
    @pytest.mark.parametrize("size", [(5, 6), (4, 4)], ids=str)
    @pytest.mark.covering(1)
    def test_every_group_of_channels_is_normalised_over_poses_and_positions(self, group, size):
        x = torch.randn(2, 6, group.order, *size) * 2 + torch.arange(6.0)[:, None, None, None]
        for groups, norm in (
            (1, GroupGroupNorm(1, 6, eps=0.1)),
            (2, GroupGroupNorm(2, 6, eps=0.1)),
            (6, GroupInstanceNorm2d(6, eps=0.1, affine=True)),
        ):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            y = norm(x)
            assert torch.equal(norm.eval()(x), y)
            for b, c in itertools.product(range(2), range(6)):
                first = c // (6 // groups) * (6 // groups)
                beside = x[b, first : first + 6 // groups]
                expected = (x[b, c] - beside.mean()) / (beside.var(correction=0) + 0.1).sqrt()
                expected = expected * norm.weight[c] + norm.bias[c]
                torch.testing.assert_close(y[b, c], expected, rtol=1e-12, atol=1e-12)

    def test_functions_and_defaults(self):
        x, weight, bias = torch.randn(2, 4, 8, 5, 5), torch.randn(4), torch.randn(4)
        expected = functional.group_group_norm(x, 2, weight, bias, 0.1)
        torch.testing.assert_close(nn.functional.group_norm(x, 2, weight, bias, 0.1), expected)
        torch.testing.assert_close(functional.group_instance_norm(x), GroupInstanceNorm2d(4)(x))
        torch.testing.assert_close(functional.group_instance_norm(x), nn.InstanceNorm3d(4)(x))
        assert not GroupInstanceNorm2d(4).state_dict()
        assert list(GroupGroupNorm(2, 4, bias=False).state_dict()) == ["weight"]

    @pytest.mark.usefixtures("unchecked")
    def test_what_cannot_be_normalised_is_refused(self):
        with pytest.raises(ValueError, match="GroupGroupNorm: num_groups must divide the 4 channels, got 3"):
            GroupGroupNorm(3, 4)
        with pytest.raises(ValueError, match="GroupGroupNorm: num_groups must be a positive integer, got 0"):
            GroupGroupNorm(0, 4)
        with pytest.raises(ValueError, match="GroupInstanceNorm2d: expected more than 1 value per group of channels"):
            GroupInstanceNorm2d(4)(torch.zeros(2, 4, 1, 1, 1))


@pytest.mark.usefixtures("float64")
class TestResidualBranches:
    def test_layer_scale_multiplies_every_channel(self, group):
        x, scale = maps(group), LayerScale(3, 0.5)
        assert torch.equal(scale.weight, torch.full((3,), 0.5))
        nn.init.normal_(scale.weight)
        torch.testing.assert_close(scale(x), x * scale.weight[:, None, None, None], rtol=1e-14, atol=0)
        scale.reset_parameters()
        assert torch.equal(scale.weight, torch.full((3,), 0.5))

    def test_drop_path_drops_whole_images_and_scales_the_others(self, group):
        x = torch.rand(2000, 2, group.order, 2, 1) + 1
        for p in (0.2, 0.7):
            y = DropPath(p)(x)
            kept = (y != 0).flatten(1)
            assert torch.equal(kept.any(1), kept.all(1))
            kept = kept.any(1)
            torch.testing.assert_close(y[kept], x[kept] / (1 - p))
            # Binomial with 2000 images, five standard deviations.
            assert abs(float(kept.double().mean()) - (1 - p)) < 5 * math.sqrt(p * (1 - p) / 2000)
        assert torch.equal(DropPath(0.5).eval()(x), x)
        assert torch.equal(DropPath(0.0)(x), x)
        assert not DropPath(1.0)(x).any()

    @pytest.mark.usefixtures("unchecked")
    def test_arguments_out_of_range_are_refused(self):
        with pytest.raises(ValueError, match="DropPath: p must be a probability between 0 and 1, got"):
            DropPath(1.5)
        with pytest.raises(ValueError, match="LayerScale: init_value must be a finite number, got nan"):
            LayerScale(3, float("nan"))
        with pytest.raises(ValueError, match="LayerScale: num_channels must be a positive integer, got 0"):
            LayerScale(0)


class TestGroupDropout:
    @pytest.mark.parametrize("p", [0.2, 0.7])
    @pytest.mark.covering(1)
    def test_drops_whole_channels_with_all_poses_and_scales_the_others(self, group, p):
        x = torch.rand(40, 50, group.order, 2, 3) + 1
        y = GroupDropout(p)(x)
        kept = (y != 0).flatten(2)
        assert torch.equal(kept.any(2), kept.all(2))
        kept = kept.any(2)
        torch.testing.assert_close(y[kept], x[kept] / (1 - p))
        # Binomial with 2000 channels, five standard deviations.
        assert abs(float(kept.float().mean()) - (1 - p)) < 5 * math.sqrt(p * (1 - p) / kept.numel())

    @pytest.mark.parametrize("group", ["p1", "p4m"], indirect=True)
    def test_evaluation_changes_nothing(self, group):
        x = maps(group)
        assert torch.equal(GroupDropout(0.5).eval()(x), x)
        assert torch.equal(GroupDropout(0.0)(x), x)
        assert not GroupDropout(1.0)(x).any()

    @pytest.mark.parametrize("group", ["p1", "p4m"], indirect=True)
    def test_in_place(self, group):
        x = maps(group)
        y = GroupDropout(0.5, inplace=True)(x)
        assert y.data_ptr() == x.data_ptr()

    @pytest.mark.parametrize("p", [-0.1, 1.5])
    def test_refuses_what_is_no_probability(self, p):
        with pytest.raises(ValueError, match="between 0 and 1"):
            GroupDropout(p)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("size", [(4, 4), (5, 6)], ids=str)
@pytest.mark.parametrize("layer", [GroupBatchNorm2d, GroupLayerNorm, lambda channels: GroupDropout()])
@pytest.mark.covering(2)
def test_is_equivariant_under_every_element(group, layer, size):
    module = layer(3)
    for name, value in module.state_dict().items():
        if name != "num_batches_tracked":
            nn.init.uniform_(value, 1, 2)
    x = torch.randn(2, 3, group.order, *size)
    assert_equivariant(module, group, x)
    if not isinstance(module, GroupDropout):  # in training, too: the statistics do not see where a value stands
        expected = module.train()(x)
        for g in range(group.order):
            torch.testing.assert_close(module(act(group, g, x)), act(group, g, expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["p2", "p4", "pm", "pmm", "p4m"])
def test_norms_and_dropout_over_folded_poses_are_not_equivariant(name):
    """Negative control: what torch offers on (batch, channel * pose, height, width)."""
    order = sepgconv.group(name).order
    x, folded = torch.randn(2, 3, order, 4, 4), nn.BatchNorm2d(3 * order)
    nn.init.uniform_(folded.running_mean)
    with pytest.raises(AssertionError, match="is not equivariant"):
        assert_equivariant(nn.Sequential(nn.Flatten(1, 2), folded, nn.Unflatten(1, (3, order))), name, x)
    ones = torch.ones(50, 3, order, 4, 4)
    kept = nn.Dropout2d(0.5)(ones.flatten(1, 2)).unflatten(1, (3, order)).flatten(2) != 0
    assert not torch.equal(kept.any(2), kept.all(2))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("norm", "shape", "message"),
    [
        (GroupBatchNorm2d(3), (2, 3, 5, 5), "(batch, 3, poses, height, width), got (2, 3, 5, 5); lift images"),
        (GroupBatchNorm2d(3), (2, 4, 4, 5, 5), "got (2, 4, 4, 5, 5); build the layer for 4 channels"),
        (GroupLayerNorm(3), (2, 3, 5, 5), "(batch, 3, poses, height, width), got (2, 3, 5, 5); lift images"),
        (GroupLayerNorm(3), (2, 4, 4, 5, 5), "got (2, 4, 4, 5, 5); build the layer for 4 channels"),
        (GroupDropout(), (2, 3, 5, 5), "(batch, channels, poses, height, width), got (2, 3, 5, 5); lift images"),
    ],
    ids=str,
)
def test_inputs_that_do_not_fit_are_refused_with_the_remedy(norm, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refusal:
        norm(torch.zeros(shape))
    assert str(refusal.value).startswith(f"{type(norm).__name__}: expected feature maps")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("channels", [0, -1])
def test_layer_norm_needs_a_channel(channels):
    with pytest.raises(ValueError, match=f"GroupLayerNorm: num_channels must be a positive integer, got {channels}"):
        GroupLayerNorm(channels)
