"""Figure 1, small: what theory.md, Redundancy predicts, and the control in which it must not come out."""

import pytest
import torch

from experiments.controlled import ControlledNetwork, similarities, train_controlled
from sepgconv.data import load_dataset, take_images
from sepgconv.functional import act
from sepgconv.tasks import TrainingConfig


@pytest.fixture(scope="module")
def digits():
    return take_images(load_dataset("rotated_digits"), 200, seed=1)


@pytest.fixture(scope="module", params=["equal", "free"])
def trained(request, digits, tmp_path_factory):
    config = TrainingConfig(
        model="controlled_p4cnn",
        data="rotated_digits",
        model_config={"width": 4, "filters": request.param, "precision": "float64"},
        epochs=6,
        batch_size=25,
        hold_out=False,
    )
    folder = tmp_path_factory.mktemp("controlled") / "run"
    record = train_controlled(config, folder=folder, data=digits, resume=False, threads=1, accelerator="cpu")
    return request.param, record, config, folder


def test_symmetric_filters_make_the_filters_that_read_them_equal(trained):
    filters, record, _, _ = trained
    found = record["measures"]["similarity"]
    symmetric, others = slice(0, 2), slice(2, 4)
    if filters == "equal":
        assert min(found["second_filters"]) == 1.0  # to the five decimals of a record
        for measure in ("second_symmetry", "second_maps", "third_filters"):
            assert min(found[measure][symmetric]) == 1.0, measure
            assert max(found[measure][others]) < 0.95, measure
    else:
        for measure in ("second_filters", "second_symmetry", "third_filters"):
            assert min(found[measure]) < 0.8, measure


def test_symmetric_kernels_stay_so_to_the_rounding_of_float64(trained):
    """In float32 they would be off by 1e-7 at the least, and Adam would make more of it."""
    filters, _, _, folder = trained
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    (second,) = (value for name, value in state.items() if name.endswith("second.weight"))
    off = (second - second.rot90(1, (-2, -1))).abs().amax((1, 2, 3, 4)) / second.abs().amax()
    if filters == "equal":
        assert off[:2].max() < 1e-10 < 1e-3 < off[2:].min()
    else:
        assert off.min() > 1e-3


def test_the_record_has_what_the_picture_shows(trained):
    _, record, _, _ = trained
    shown = record["measures"]["similarity"]["shown"]
    shapes = {key: torch.tensor(value).shape for key, value in shown.items()}
    assert shapes == {
        "second_filters": (2, 4, 3, 3), "second_maps": (2, 4, 24, 24), "third_filters": (2, 4, 3, 3),
    }  # fmt: skip
    assert torch.tensor(shown["second_maps"]).aminmax() == (0, 255)


def test_a_finished_training_resumes_to_the_same_numbers(trained, digits):
    _, record, config, folder = trained
    again = train_controlled(config, folder=folder, data=digits, resume=True, threads=1, accelerator="cpu")
    assert again["test_error"] == record["test_error"]
    assert again["measures"] == record["measures"]


def test_the_first_filter_is_fixed_and_invariant():
    network = ControlledNetwork(2, equal=True)
    assert not network.first.weight.requires_grad
    maps = network.first(torch.randn(2, 1, 28, 28, dtype=torch.float64))
    torch.testing.assert_close(maps, maps[:, :, :1].expand_as(maps))


@pytest.mark.parametrize("equal", [True, False])
def test_the_network_is_invariant(equal):
    network, x = ControlledNetwork(4, equal=equal).eval(), torch.randn(2, 1, 28, 28, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(act("p4", 1, x)), network(x), rtol=1e-4, atol=1e-5)


def test_similarity_of_equal_and_opposite_kernels():
    network = ControlledNetwork(2, equal=True).eval()
    with torch.no_grad():
        network.second.weight[1, 0, 1::2] = -network.second.weight[1, 0, 0]
    found = similarities(network, torch.rand(3, 1, 28, 28))["second_filters"]
    assert found == pytest.approx([1.0, -1 / 3], abs=1e-4)


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="must be even, got 3"):
        ControlledNetwork(3, equal=True)
