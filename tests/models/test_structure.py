"""The architectures are those of theory.md (Rotated MNIST, ResNet44): counts, sizes, order of layers, output shapes."""

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.nn import (
    AvgPool2d,
    DepthwiseGroupConv2d,
    DepthwiseSeparableGroupConv2d,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupMaxPool,
    LiftingConv2d,
    MaxPool2d,
    ReLU,
    SeparableGroupConv2d,
)

ROTMNIST = ("z2cnn", "c_z2cnn", "p4cnn", "g_p4cnn", "gc_p4cnn")
RESNETS = ("resnet44", "p4m_resnet44", "g_p4m_resnet44", "gc_p4m_resnet44")
GROUPS = {"p1": 1, "p2": 2, "p4": 4, "pm": 2, "pmm": 4, "p4m": 8}
# How the convolutions after the first are factored: the class, its sharing.
BODY = {
    "z2cnn": (GroupConv2d, None),
    "c_z2cnn": (DepthwiseSeparableGroupConv2d, None),
    "p4cnn": (GroupConv2d, None),
    "g_p4cnn": (SeparableGroupConv2d, "g"),
    "gc_p4cnn": (SeparableGroupConv2d, "gc"),
    "resnet44": (GroupConv2d, None),
    "p4m_resnet44": (GroupConv2d, None),
    "g_p4m_resnet44": (SeparableGroupConv2d, "g"),
    "gc_p4m_resnet44": (SeparableGroupConv2d, "gc"),
}
CONVOLUTIONS = (LiftingConv2d, GroupConv2d, SeparableGroupConv2d, DepthwiseSeparableGroupConv2d)


def count(model):
    return sum(p.numel() for p in model.parameters())


def trace(model, x):
    """Run a network in evaluation mode; return (module, shape in, shape out) of its layers in the order they ran."""
    ran = []
    inner = {id(part) for m in model.modules() if isinstance(m, DepthwiseSeparableGroupConv2d) for part in m}
    handles = [
        module.register_forward_hook(lambda m, i, o: ran.append((m, tuple(i[0].shape), tuple(o.shape))))
        for module in model.modules()
        if id(module) not in inner
        and (isinstance(module, DepthwiseSeparableGroupConv2d) or not list(module.children()))
    ]
    with torch.no_grad():
        model.eval()(x)
    for handle in handles:
        handle.remove()
    return ran


@pytest.mark.parametrize(
    ("name", "width", "parameters"),
    [
        ("z2cnn", 20, 25_210),
        ("c_z2cnn", 57, 25_603),
        ("p4cnn", 10, 24_810),
        ("g_p4cnn", 10, 8_910),
        ("gc_p4cnn", 10, 3_420),
        ("g_p4cnn", 17, 25_255),
        ("gc_p4cnn", 30, 24_640),
    ],
)
def test_parameter_counts_of_table_1(name, width, parameters):
    assert count(sepgconv.create_model(name, width=width)) == parameters


@pytest.mark.parametrize(
    ("name", "width"), [("z2cnn", 20), ("c_z2cnn", 57), ("p4cnn", 10), ("g_p4cnn", 17), ("gc_p4cnn", 30)]
)
def test_presets_are_the_networks_of_about_25000_parameters(name, width):
    assert sepgconv.create_model(name).config["width"] == width


@pytest.mark.parametrize(
    ("name", "widths", "millions"),
    [
        ("resnet44", [32, 64, 128], "2.64"),
        ("p4m_resnet44", [11, 23, 45], "2.62"),
        ("g_p4m_resnet44", [19, 38, 76], "1.78"),
        ("gc_p4m_resnet44", [28, 56, 112], "1.88"),
    ],
)
def test_parameter_counts_of_table_2(name, widths, millions):
    model = sepgconv.create_model(name)
    assert model.config["widths"] == widths
    assert f"{count(model) / 1e6:.2f}" == millions


def test_a_wider_network_has_more_parameters_than_the_table():
    assert count(sepgconv.create_model("gc_p4cnn", width=31)) != 24_640
    assert f"{count(sepgconv.create_model('gc_p4m_resnet44', widths=(29, 56, 112))) / 1e6:.2f}" != "1.88"


@pytest.mark.parametrize("name", ROTMNIST)
def test_rotmnist_layers_sizes_and_order(name):
    model = sepgconv.create_model(name)
    width, order = model.config["width"], 1 if "z2" in name else 4
    ran = trace(model, torch.randn(2, 1, 28, 28))

    convolutions = [(m, shape_out) for m, _, shape_out in ran if isinstance(m, CONVOLUTIONS)]
    assert [shape[-1] for _, shape in convolutions] == [26, 24, 10, 8, 6, 4, 1]
    assert all(shape == (2, width, order, shape[-1], shape[-1]) for _, shape in convolutions)
    pools = [(i, o) for m, i, o in ran if isinstance(m, MaxPool2d)]
    assert [(i[-1], o[-1]) for i, o in pools] == [(24, 12)]

    # Convolution, batch norm, ReLU seven times, the pool after the second; then poses, then classes.
    kinds = [type(m) for m, _, _ in ran]
    body, sharing = BODY[name]
    later = [body, GroupBatchNorm2d, ReLU]
    first = [LiftingConv2d, GroupBatchNorm2d, ReLU]
    assert kinds == [*first, *later, MaxPool2d, *(5 * later), GroupMaxPool, nn.Linear]
    assert all(m.sharing == sharing for m, _ in convolutions if isinstance(m, SeparableGroupConv2d))

    layers = [m for m, _ in convolutions]
    planar = [layer[1] if isinstance(layer, DepthwiseSeparableGroupConv2d) else layer for layer in layers]
    assert [layer.kernel_size for layer in planar] == [(3, 3)] * 6 + [(4, 4)]
    assert all(layer.stride == (1, 1) and layer.padding == (0, 0) and layer.dilation == (1, 1) for layer in planar)
    steps = [m for m in model.modules() if isinstance(m, (*CONVOLUTIONS[:3], DepthwiseGroupConv2d))]
    assert all(step.bias is not None for step in steps)
    assert len(steps) == (13 if name == "c_z2cnn" else 7)
    assert all(m.num_features == width for m, _, _ in ran if isinstance(m, GroupBatchNorm2d))
    assert (model.classifier.in_features, model.classifier.out_features) == (width, 10)
    assert not any("drop" in type(m).__name__.lower() for m in model.modules())


def test_c_z2cnn_is_a_1x1_convolution_then_a_depthwise_one():
    for layer in [
        m for m in sepgconv.create_model("c_z2cnn").modules() if isinstance(m, DepthwiseSeparableGroupConv2d)
    ]:
        mixing, filtering = layer
        assert isinstance(mixing, GroupConv2d)
        assert mixing.weight.shape == (57, 57, 1, 1, 1)
        assert isinstance(filtering, DepthwiseGroupConv2d)
        assert filtering.weight.shape[0] == 57


def test_the_last_features_are_rectified():
    """The seventh convolution has its ReLU: no feature before the classifier is negative, and some are cut to zero."""
    model = sepgconv.create_model("gc_p4cnn")
    pooled = next(i for m, i, _ in trace(model, torch.randn(4, 1, 28, 28)) if isinstance(m, nn.Linear))
    assert pooled == (4, 30)
    features = model.features(torch.randn(4, 1, 28, 28))
    assert features.min() == 0
    assert features.max() > 0


def test_the_poses_are_pooled_by_their_maximum(stirred_model):
    model, x = stirred_model("gc_p4cnn"), torch.randn(3, 1, 28, 28, dtype=torch.float64)
    features = model.features(x)
    assert features.shape[2:] == (4, 1, 1)
    torch.testing.assert_close(model(x), model.classifier(features.amax(2)[..., 0, 0]))
    assert not torch.allclose(model(x), model.classifier(features.mean(2)[..., 0, 0]))


def test_larger_pictures_are_averaged_over_positions(stirred_model):
    model, x = stirred_model("p4cnn"), torch.randn(2, 1, 34, 32, dtype=torch.float64)
    features = model.features(x)
    assert features.shape[-2:] == (4, 3)
    torch.testing.assert_close(model(x), model.classifier(features.amax(2).mean((2, 3))))


@pytest.mark.parametrize("downsampling", ["paper", "exact"])
@pytest.mark.parametrize("name", RESNETS)
def test_resnet44_layers_strides_widths_and_order(name, downsampling):
    widths = (2, 3, 4)
    model = sepgconv.create_model(name, widths=widths, downsampling=downsampling)
    order = 1 if name == "resnet44" else 8
    body, sharing = BODY[name]
    ran = trace(model, torch.randn(2, 3, 32, 32))

    assert len(model.blocks) == 21
    in_blocks = [[m for m in block.residual.modules() if isinstance(m, CONVOLUTIONS)] for block in model.blocks]
    spatial = [model.stem, *(convolution for block in in_blocks for convolution in block)]
    assert len(spatial) == 43
    assert isinstance(model.stem, LiftingConv2d)
    assert all(type(layer) is body for layer in spatial[1:])
    assert all(layer.sharing == sharing for layer in spatial[1:] if isinstance(layer, SeparableGroupConv2d))
    assert all(layer.kernel_size == (3, 3) and layer.padding == (1, 1) for layer in spatial)
    assert len([m for m in model.modules() if isinstance(m, nn.Linear)]) == 1
    assert [(layer.in_channels, layer.out_channels) for layer in spatial] == [
        (3, 2), *[(2, 2)] * 14, (2, 3), *[(3, 3)] * 13, (3, 4), *[(4, 4)] * 13
    ]  # fmt: skip

    # Stride 2 in the first convolution of stages 2 and 3, and nowhere else; "exact" pools instead.
    strided = [
        (block, layer) for block, pair in enumerate(in_blocks) for layer in (0, 1) if pair[layer].stride != (1, 1)
    ]
    assert strided == ([(7, 0), (14, 0)] if downsampling == "paper" else [])
    assert all(in_blocks[block][layer].stride == (2, 2) for block, layer in strided)
    assert model.stem.stride == (1, 1)
    pools = [m for m in model.modules() if isinstance(m, AvgPool2d)]
    assert len(pools) == (0 if downsampling == "paper" else 4)
    assert all(pool.kernel_size == pool.stride == (2, 2) and pool.padding == (0, 0) for pool in pools)

    # Shortcuts: a full 1x1 group convolution with a bias where the width changes, else nothing.
    for index, block in enumerate(model.blocks):
        convolutions = [m for m in block.shortcut.modules() if isinstance(m, CONVOLUTIONS)]
        if index in (7, 14):
            (shortcut,) = convolutions
            assert type(shortcut) is GroupConv2d
            assert shortcut.kernel_size == (1, 1)
            assert shortcut.padding == (0, 0)
            assert shortcut.bias is not None
            assert shortcut.stride == ((2, 2) if downsampling == "paper" else (1, 1))
        else:
            assert isinstance(block.shortcut, nn.Identity)

    # Pre-activation: batch norm and ReLU stand before every convolution of a block, and once more at the end.
    for block in model.blocks:
        kinds = [type(m) for m in block.residual.modules() if not isinstance(m, nn.Sequential | AvgPool2d)]
        assert kinds == [GroupBatchNorm2d, ReLU, body] * 2
    kinds = [type(m) for m, _, _ in ran]
    assert kinds[0] is LiftingConv2d
    assert kinds[-4:] == [GroupBatchNorm2d, nn.ReLU, nn.Flatten, nn.Linear]

    outputs = [shape for m, _, shape in ran if isinstance(m, GroupBatchNorm2d)]
    assert {shape[2] for shape in outputs} == {order}
    assert outputs[0] == (2, 2, order, 32, 32)
    assert outputs[-1] == (2, 4, order, 8, 8)
    assert {shape[1]: shape[-1] for shape in outputs[:-1] if shape[1] != 2} == {3: 16, 4: 8}


def test_resnet44_full_convolutions_have_a_bias():
    for name in ("resnet44", "p4m_resnet44"):
        model = sepgconv.create_model(name, widths=(2, 3, 4))
        assert all(m.bias is not None for m in model.modules() if isinstance(m, CONVOLUTIONS))


@pytest.mark.parametrize(("head", "poses"), [("paper", 8), ("invariant", 1)])
def test_resnet44_heads(stirred_model, head, poses):
    model, x = stirred_model("gc_p4m_resnet44", head=head), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    assert model.classifier.in_features == 4 * poses
    maps = model.norm(model.blocks(model.stem(x))).mean((-2, -1))
    pooled = maps.flatten(1) if head == "paper" else maps.amax(2)
    torch.testing.assert_close(model(x), model.classifier(pooled))


@pytest.mark.parametrize("downsampling", ["paper", "exact"])
@pytest.mark.parametrize("widths", [(4, 4, 4), (2, 2, 4), (2, 4, 4), (4, 3, 2)])
def test_resnet44_runs_at_any_widths(widths, downsampling):
    model = sepgconv.create_model("gc_p4m_resnet44", widths=widths, downsampling=downsampling)
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", ["p4cnn", "g_p4cnn", "gc_p4cnn"])
@pytest.mark.covering(1)
def test_rotmnist_outputs_on_every_group(name, group):
    for in_channels, num_classes, size in [(1, 10, (28, 28)), (3, 7, (31, 28)), (2, 1, (28, 40)), (1, 2, (40, 40))]:
        model = sepgconv.create_model(name, width=2, group=group, in_channels=in_channels, num_classes=num_classes)
        x = torch.randn(2, in_channels, *size)
        assert model(x).shape == (2, num_classes)
        assert model.features(x).shape[2] == GROUPS[group]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", ["p4m_resnet44", "g_p4m_resnet44", "gc_p4m_resnet44"])
@pytest.mark.covering(1)
def test_resnet44_outputs_on_every_group(name, group):
    for options, size in [
        ({}, (32, 32)),
        ({"head": "invariant", "in_channels": 1, "num_classes": 3}, (33, 20)),
        ({"downsampling": "exact", "num_classes": 100}, (12, 16)),
    ]:
        model = sepgconv.create_model(name, widths=(1, 2, 3), group=group, **options)
        x = torch.randn(2, model.in_channels, *size)
        assert model(x).shape == (2, model.config["num_classes"])
        assert model.stem(x).shape[2] == GROUPS[group]


@pytest.mark.parametrize("name", ["z2cnn", "c_z2cnn", "resnet44"])
def test_outputs_of_the_ordinary_networks(small_model, name):
    model = small_model(name, in_channels=2, num_classes=5)
    assert model(torch.randn(3, 2, 30, 37)).shape == (3, 5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", sepgconv.list_models())
def test_smallest_picture(small_model, name):
    """The smallest size works; a pixel less in either direction is refused, and the error names the smallest size."""
    model = small_model(name).eval()
    least, channels = (28, 1) if name in ROTMNIST else (20, 1) if "c8" in name else (4, 3)
    assert model.min_input_size == least
    assert model(torch.randn(1, channels, least, least)).shape == (1, 10)
    for size in [(least - 1, least), (least, least - 1), (1, 1)]:
        with pytest.raises(ValueError, match=rf"{name}.*{size[0]} x {size[1]}.*smallest.*{least} x {least}"):
            model(torch.randn(1, channels, *size))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["gc_p4cnn", "gc_p4m_resnet44"])
def test_wrong_pictures_are_refused_with_a_remedy(small_model, name):
    model = small_model(name)
    channels = model.in_channels
    for x, remedy in [
        (torch.randn(channels, 32, 32), r"x\[None\]"),
        (torch.randn(2, channels + 1, 32, 32), f"in_channels={channels + 1}"),
        (torch.randn(2, 32, 32, channels), "permute"),
        (torch.randn(2, channels, 4, 32, 32), "feature map"),
    ]:
        with pytest.raises(ValueError, match=f"(?s){name}.*{remedy}"):
            model(x)


def test_an_empty_batch_gives_no_scores(small_model):
    for name in ("gc_p4cnn", "gc_p4m_resnet44"):
        model = small_model(name).eval()
        assert model(torch.zeros(0, model.in_channels, 32, 32)).shape == (0, 10)
