"""Trained weights by name: they arrive unchanged, with the options they were trained with, or an error says why not."""

import pytest
import torch

import sepgconv
from sepgconv.data import load_dataset
from sepgconv.models import list_pretrained, pretrained, pretrained_record, register_pretrained
from sepgconv.models.sealed import HEADER, read_sealed, to_sealed_bytes
from sepgconv.tasks import evaluate


@pytest.fixture
def registered(tmp_path, stirred_model, monkeypatch):
    """Weights of a small network with another group than its name presets, registered as "mine"."""
    monkeypatch.setattr(pretrained, "_REGISTERED", {})
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "shipped")
    model = sepgconv.create_model("gc_c8cnn", width=2, group="D4", num_classes=3)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(torch.rand(value.shape).to(value.dtype))
    register_pretrained("gc_c8cnn", "mine", sepgconv.save(model, tmp_path / "trained") / "model.safetensors")
    return model.eval()


def test_the_same_network_comes_back(registered):
    assert "gc_c8cnn.mine" in list_pretrained("gc_c8*")
    x = torch.rand(2, 1, 28, 28)
    for tag in ("mine", True):
        found = sepgconv.create_model("gc_c8cnn", pretrained=tag)
        assert found.training
        assert found.config == registered.config
        assert torch.equal(found.eval()(x), registered(x))
    assert not torch.equal(sepgconv.create_model("gc_c8cnn", **registered.config).eval()(x), registered(x))


def test_options_that_may_differ(registered):
    x = torch.rand(2, 1, 28, 28)
    found = sepgconv.create_model("gc_c8cnn", pretrained=True, num_classes=7, execution="separable", dropout=0.5)
    assert found.eval()(x).shape == (2, 7)
    torch.testing.assert_close(found.forward_features(x), registered.forward_features(x))
    features = sepgconv.create_model("gc_c8cnn", pretrained=True, num_classes=0).eval()
    assert torch.equal(features(x), registered.forward_head(registered.forward_features(x), pre_logits=True))
    same = sepgconv.create_model("gc_c8cnn", pretrained=True, num_classes=3)
    assert torch.equal(same.classifier.weight, registered.classifier.weight)


def test_what_does_not_fit_is_refused(registered, tmp_path):
    # C8 has as many elements as D4: the weights would fit, and mean something else.
    with pytest.raises(ValueError, match="the trained weights are of group='D4', not 'C8'"):
        sepgconv.create_model("gc_c8cnn", pretrained=True, group="C8")
    with pytest.raises(ValueError, match=r"tag of trained weights of gc_c8cnn.*'mime'.*'mine'"):
        sepgconv.create_model("gc_c8cnn", pretrained="mime")
    with pytest.raises(ValueError, match=r"z2cnn has no trained weights; networks that have some: .*gc_c8cnn"):
        sepgconv.create_model("z2cnn", pretrained=True)
    with pytest.raises(ValueError, match="the tag must be of letters"):
        register_pretrained("gc_c8cnn", "a/b", tmp_path / "trained" / "model.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        register_pretrained("gc_c8cnn", "b", tmp_path / "none.safetensors")
    other = sepgconv.save(sepgconv.create_model("z2cnn", width=2), tmp_path / "other") / "model.safetensors"
    with pytest.raises(ValueError, match="has other weights of the tag 'mine'"):
        register_pretrained("gc_c8cnn", "mine", other)
    register_pretrained("gc_c8cnn", "wrong", other)
    with pytest.raises(ValueError, match="holds weights of z2cnn, not of gc_c8cnn"):
        sepgconv.create_model("gc_c8cnn", pretrained="wrong")


def test_a_damaged_file_is_refused(registered, tmp_path):
    file = tmp_path / "trained" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        sepgconv.create_model("gc_c8cnn", pretrained=True)


def test_the_record_of_the_run(registered, tmp_path):
    with pytest.raises(ValueError, match="has no record of a run"):
        pretrained_record("gc_c8cnn", "mine")
    plain = read_sealed(tmp_path / "trained" / "model.safetensors")
    metadata = {HEADER: plain.metadata[HEADER], "record": '{"seed": 3}'}
    (tmp_path / "with.safetensors").write_bytes(to_sealed_bytes(plain.state, metadata))
    register_pretrained("gc_c8cnn", "with", tmp_path / "with.safetensors")
    assert pretrained_record("gc_c8cnn", "with") == {"seed": 3}


def test_the_weights_that_come_with_the_package():
    """Their records are of the networks that they are of, and the first answers as its record says."""
    for name in list_pretrained():
        model, tag = name.rsplit(".", 1)
        record = pretrained_record(model, tag)
        found = sepgconv.create_model(model, pretrained=tag)
        assert found.config == record["model_config"]
        assert sum(parameter.numel() for parameter in found.parameters()) == record["parameters"]
    digits = load_dataset("rotated_digits").test  # others than those it learned, enlarged from 8 x 8 pixels
    assert evaluate(sepgconv.create_model("gc_c8cnn", pretrained=True), digits) < 40
    torch.manual_seed(1)
    assert evaluate(sepgconv.create_model("gc_c8cnn"), digits) > 80
