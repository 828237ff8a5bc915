import pytest
import torch

from experiments.beyond import epochs_to
from experiments.measures import Trained, initial_error, output_error, redundancy, standardised_redundancy
from sepgconv import create_model
from sepgconv.data import Split


def training(trained, initial):
    images = torch.rand(20, initial.in_channels, 28, 28)
    return Trained(trained, initial, [], Split(images, initial.eval()(images).argmax(1)))


def test_the_initial_error_is_that_of_the_network_before():
    initial, trained = create_model("p4cnn", width=2), create_model("p4cnn", width=2)
    found = training(trained, initial)
    assert initial_error(found) == {"error": 0.0}
    wrong = Split(found.test.images, (found.test.labels + 1) % 10)
    assert initial_error(Trained(trained, initial, [], wrong)) == {"error": 100.0}


def test_redundancy_sees_kernels_that_are_multiples_of_one():
    initial, trained = create_model("p4cnn", width=3), create_model("p4cnn", width=3)
    with torch.no_grad():
        for module in trained.modules():
            if getattr(module, "weight", torch.empty(0)).ndim == 5:
                module.weight.copy_(module.weight[:, :, :1] * torch.randn(3, 3, 4, 1, 1))
    layers = redundancy(training(trained, initial))["layers"]
    assert len(layers) == 6
    for layer in layers:
        assert len(layer["before"]) == len(layer["after"]) == len(layer["shuffled"]) == 9
        assert min(layer["after"]) > 0.999
        assert sum(layer["before"]) / 9 < 0.95
        assert sum(layer["shuffled"]) / 9 < 0.95


def test_a_kernel_larger_than_the_others_is_no_redundancy_once_they_are_standardised():
    model = create_model("p4cnn", width=3)
    with torch.no_grad():
        for module in model.modules():
            if getattr(module, "weight", torch.empty(0)).ndim == 5:
                module.weight[:, :, 0] *= 100
    found = training(model, create_model("p4cnn", width=3))
    for plain, standardised in zip(redundancy(found)["layers"], standardised_redundancy(found)["layers"], strict=True):
        assert min(plain["after"]) > 0.95
        assert sum(standardised["after"]) / 9 < 0.7
        assert sum(standardised["before"]) / 9 < 0.7


@pytest.mark.parametrize(("group", "sets"), [("p4", 4), ("p4m", 4)])
def test_redundancy_on_other_groups(group, sets):
    model = create_model("p4cnn", width=2, group=group)
    assert [len(layer["after"]) for layer in redundancy(training(model, model))["layers"]] == [sets] * 6


def test_the_shortcuts_of_resnets_are_no_planar_filters():
    model = create_model("p4m_resnet44", widths=(1, 2, 2))
    assert len(redundancy(training(model, model))["layers"]) == 42


def test_output_error_tells_exact_from_paper_and_leaves_the_network():
    options = {"exact": {"downsampling": "exact", "head": "invariant"}, "paper": {}}
    errors = {}
    for name, option in options.items():
        model = create_model("gc_p4m_resnet44", widths=(2, 2, 2), **option)
        errors[name] = output_error(model)
        assert next(model.parameters()).dtype == torch.float32
        assert model.training
    assert errors["exact"] < 1e-9 < 1e-3 < errors["paper"]


def test_epochs_to_a_goal():
    assert epochs_to(3.0, [9.0, 3.0, 4.0, 2.0]) == 2
    assert epochs_to(3.0, [9.0, 3.1]) is None
