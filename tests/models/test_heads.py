"""Features, heads and classifiers, by the methods that networks of timm have."""

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.functional import act
from sepgconv.models import ResNet44, ResNet44Config, RotMNISTCNN, RotMNISTCNNConfig

pytestmark = pytest.mark.usefixtures("shallow_resnets")
SMALL = {"cnn": {"width": 3}, "resnet44": {"widths": (2, 3, 4)}}


def small(name, **config):
    size = next(value for key, value in SMALL.items() if name.endswith(key))
    return sepgconv.create_model(name, **size, **config).eval()


@pytest.fixture(params=sepgconv.list_models())
def name(request):
    return request.param


def images(model, batch=2):
    return torch.randn(batch, model.in_channels, model.input_size, model.input_size)


def test_forward_is_the_head_of_the_features(name):
    model = small(name)
    x = images(model)
    with torch.no_grad():
        maps = model.forward_features(x)
        assert maps.ndim == 5
        pooled = model.forward_head(maps, pre_logits=True)
        assert pooled.shape == (2, model.num_features)
        assert torch.equal(model.forward_head(maps), model.classifier(pooled))
        assert torch.equal(model(x), model.forward_head(maps))
        assert model(x).shape == (2, model.num_classes) == (2, 10)


def test_features_turn_with_the_image():
    model = small("gc_p4cnn", group="p4m").double()
    x = torch.randn(2, 1, 32, 32, dtype=torch.float64)
    for g in range(8):
        expected = act("p4m", g, model.forward_features(x))
        torch.testing.assert_close(model.forward_features(act("p4m", g, x)), expected)
    turned = model.forward_head(model.forward_features(act("p4m", 3, x)), pre_logits=True)
    torch.testing.assert_close(turned, model.forward_head(model.forward_features(x), pre_logits=True))


def test_without_classes_the_output_are_the_pooled_features(name, tmp_path):
    torch.manual_seed(3)
    model = small(name, num_classes=0)
    assert isinstance(model.get_classifier(), nn.Identity)
    assert (model.num_classes, model.config["num_classes"]) == (0, 0)
    x = images(model)
    with torch.no_grad():
        assert model(x).shape == (2, model.num_features)
        again = sepgconv.load(sepgconv.save(model, tmp_path / "net"))
        assert torch.equal(again(x), model(x))


def test_a_new_classifier_leaves_the_features_alone(name, tmp_path):
    model = small(name).double()
    x = images(model).double()
    with torch.no_grad():
        before = model.forward_features(x)
    model.reset_classifier(3)
    assert model.classifier.weight.dtype == torch.float64
    assert (model.num_classes, model.config["num_classes"]) == (3, 3)
    with torch.no_grad():
        assert torch.equal(model.forward_features(x), before)
        assert model(x).shape == (2, 3)
        again = sepgconv.load(sepgconv.save(model, tmp_path / "net"))  # the config has followed
        assert torch.equal(again(x), model(x))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("number", [-1, 2.5, "3", True, None])
def test_a_wrong_number_of_classes_changes_nothing(number):
    model = small("gc_p4cnn")
    before = model.classifier
    with pytest.raises(ValueError, match="gc_p4cnn: num_classes must be a positive integer, or 0"):
        model.reset_classifier(number)
    assert model.classifier is before
    assert model.num_classes == 10


def test_configs_of_networks_that_were_built_without_a_name():
    one = RotMNISTCNN(RotMNISTCNNConfig(width=2, group="p4", sharing="gc"))
    assert one.config["width"] == 2
    assert one.config["sharing"] == "gc"
    other = ResNet44(ResNet44Config(widths=(1, 2, 3), group="p4", sharing="full"))
    assert other.config["widths"] == [1, 2, 3]


def test_in_chans_is_another_name_of_in_channels():
    model = small("gc_p4cnn", in_chans=4)
    assert model.in_channels == model.config["in_channels"] == 4
    assert "in_chans" not in model.config
    assert small("gc_p4cnn", in_chans=4, in_channels=4).in_channels == 4
    with pytest.raises(ValueError, match="in_chans=4 and in_channels=3 are two names for one option"):
        small("gc_p4cnn", in_chans=4, in_channels=3)
