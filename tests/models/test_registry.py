"""Networks by name: which exist, what may be set, what is refused and with what advice, and configs as JSON."""

import dataclasses
import inspect
import json

import pytest
import torch

import sepgconv
from sepgconv.models import MODELS, Network, group_convolution, model_entry
from sepgconv.symmetry import GROUPS, planar_group
from sepgconv.symmetry.planar import LEFT_RIGHT
from tests.covering import each, named

NAMES = (
    "z2cnn",
    "c_z2cnn",
    "p4cnn",
    "g_p4cnn",
    "gc_p4cnn",
    "resnet44",
    "p4m_resnet44",
    "g_p4m_resnet44",
    "gc_p4m_resnet44",
    "c8cnn",
    "gc_c8cnn",
)
SMALL_OPTIONS = {
    "z2cnn": {"width": 3, "in_channels": 2, "num_classes": 4},
    "c_z2cnn": {"width": 3, "in_channels": 2, "num_classes": 4},
    "p4cnn": {"width": 3, "group": "p4m", "in_channels": 2, "num_classes": 4},
    "g_p4cnn": {"width": 3, "group": "pmm", "num_classes": 4, "execution": "composed"},
    "gc_p4cnn": {"width": 3, "group": "C2", "num_classes": 4, "execution": "separable", "recompute": False},
    "resnet44": {"widths": (1, 2, 3), "downsampling": "exact", "num_classes": 4},
    "p4m_resnet44": {"widths": (1, 2, 3), "group": "p4", "head": "invariant"},
    "g_p4m_resnet44": {"widths": (1, 2, 3), "group": "pm", "downsampling": "exact", "in_channels": 1},
    "gc_p4m_resnet44": {"widths": (1, 2, 3), "execution": "composed", "head": "invariant", "downsampling": "exact"},
    "c8cnn": {"width": 2, "group": "D4", "kernel": "steerable", "in_channels": 2, "num_classes": 4},
    "gc_c8cnn": {"width": 3, "group": "C6", "kernel_size": 3, "num_classes": 4, "rank": 2, "dropout": 0.1},
}


def shapes(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def test_list_models():
    assert sepgconv.list_models() == NAMES
    assert sepgconv.list_models("gc*") == ("gc_p4cnn", "gc_p4m_resnet44", "gc_c8cnn")
    assert sepgconv.list_models(["z2*", "*resnet44"])[:2] == ("z2cnn", "resnet44")
    assert sepgconv.list_models("nothing") == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_all_that_is_needed(name):
    model = sepgconv.create_model(name)
    assert isinstance(model, Network)
    assert model.name == name
    assert model.training
    assert set(model.config) == set(model_entry(name).options)
    assert model.config["num_classes"] == 10
    assert model.config["in_channels"] == model.in_channels == (3 if "resnet" in name else 1)


def test_options_are_those_that_the_name_leaves_open():
    assert model_entry("z2cnn").options == ("width", "in_channels", "num_classes", "kernel")
    assert model_entry("p4cnn").options == ("width", "group", "in_channels", "num_classes", "kernel")
    assert model_entry("gc_p4cnn").options == (
        "width", "group", "in_channels", "num_classes", "rank", "execution", "recompute", "kernel"
    )  # fmt: skip
    assert set(model_entry("gc_p4m_resnet44").options) == {
        "widths", "group", "downsampling", "head", "in_channels", "num_classes", "rank", "execution", "recompute",
        "kernel"
    }  # fmt: skip
    assert all(entry.summary for entry in MODELS.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_config_survives_json_and_builds_the_same_network(name):
    model = sepgconv.create_model(name, **SMALL_OPTIONS[name])
    config = json.loads(json.dumps(model.config))
    assert config == model.config
    for key, value in SMALL_OPTIONS[name].items():
        assert config[key] == (list(value) if isinstance(value, tuple) else value)
    twin = sepgconv.create_model(name, **config)
    assert twin.config == model.config
    assert str(twin) == str(model)
    assert shapes(twin) == shapes(model)
    twin.load_state_dict(model.state_dict())
    x = torch.randn(2, model.in_channels, 28, 28)
    torch.testing.assert_close(twin.eval()(x), model.eval()(x), rtol=0, atol=0)


def test_another_config_is_another_network():
    """Negative control of the test above."""
    one, other = sepgconv.create_model("gc_p4cnn", width=3), sepgconv.create_model("gc_p4cnn", width=4)
    assert one.config != other.config
    assert shapes(one) != shapes(other)


def test_weights_are_random_and_follow_the_seed():
    def weights(seed):
        torch.manual_seed(seed)
        return torch.nn.utils.parameters_to_vector(sepgconv.create_model("gc_p4cnn", width=3).parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@each("group", sorted(GROUPS))
def test_a_group_or_its_name(group):
    by_name = sepgconv.create_model("gc_p4cnn", width=2, group=group)
    by_value = sepgconv.create_model("gc_p4cnn", width=2, group=sepgconv.group(group))
    assert by_name.config == by_value.config
    assert by_name.config["group"] == group
    assert shapes(by_name) == shapes(by_value)


@pytest.mark.usefixtures("unchecked")
def test_a_group_that_no_name_stands_for_is_refused():
    """The config must be able to name it: a group that merely borrows a name must not become the one of that name."""
    with pytest.raises(ValueError, match="mine"):
        sepgconv.create_model("gc_p4cnn", width=2, group=planar_group("mine", turns=4))
    impostor = planar_group("p4", turns=4, mirror=LEFT_RIGHT)
    with pytest.raises(ValueError, match="group"):
        sepgconv.create_model("gc_p4cnn", width=2, group=impostor)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("gc_p4_cnn", "gc_p4cnn"),
        ("GC-P4CNN", "gc_p4cnn"),
        ("Z2CNN", "z2cnn"),
        ("resnet18", "resnet44"),
        ("P4M-ResNet44", "p4m_resnet44"),
    ],
)
def test_an_unknown_name_is_refused_and_the_nearest_offered_first(name, nearest):
    for find in (sepgconv.create_model, model_entry):
        with pytest.raises(ValueError, match=rf"model '{name}'; did you mean '{nearest}'"):
            find(name)


def test_an_unknown_name_lists_all():
    with pytest.raises(ValueError, match="unknown model 'zzz'") as error:
        sepgconv.create_model("zzz")
    assert all(name in str(error.value) for name in NAMES)


@pytest.mark.usefixtures("unchecked")
@each(
    ("name", "config", "message"),
    [
        ("gc_p4cnn", {"widht": 3}, "option.*'widht'.*'width'"),
        ("gc_p4m_resnet44", {"width": 3}, "option.*'width'.*'widths'"),
        ("gc_p4cnn", {"classes": 3}, "option.*'classes'.*'num_classes'"),
        ("z2cnn", {"group": "p4"}, "option of z2cnn 'group'.*width"),
        ("p4cnn", {"execution": "composed"}, "option of p4cnn 'execution'"),
        ("p4cnn", {"recompute": False}, "option of p4cnn 'recompute'"),
        ("p4cnn", {"sharing": "gc"}, "option of p4cnn 'sharing'"),
        ("gc_p4cnn", {"group": "p8"}, "group 'p8'.*p4"),
        ("gc_p4cnn", {"group": "P4M"}, "group 'P4M'.*did you mean 'p4m'"),
        ("gc_p4cnn", {"group": 4}, "group.*4"),
        ("gc_p4cnn", {"group": None}, "group.*None"),
        ("gc_p4cnn", {"execution": "compose"}, "execution 'compose'.*'composed'"),
        ("gc_p4cnn", {"execution": None}, "execution None"),
        ("gc_p4m_resnet44", {"downsampling": "exakt"}, "downsampling 'exakt'.*'exact'"),
        ("gc_p4m_resnet44", {"head": "invariance"}, "head 'invariance'.*'invariant'"),
        ("gc_p4m_resnet44", {"head": None}, "head None"),
    ],
)
def test_unknown_options_and_values_are_refused_and_the_nearest_offered(name, config, message):
    with pytest.raises(ValueError, match=message):
        sepgconv.create_model(name, **config)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("option", ["width", "in_channels", "num_classes"])
def test_sizes_are_positive_integers(option):
    for value in [0, -1, 2.5, "3", None, True, [3]]:
        with named(value=value):
            if (option, value) == ("num_classes", 0):
                continue  # a network without classifier
            with pytest.raises(ValueError, match=f"gc_p4cnn.*{option}.*positive integer"):
                sepgconv.create_model("gc_p4cnn", **{option: value})


@pytest.mark.usefixtures("unchecked")
@each(
    "value",
    [3, None, (1, 2), (1, 2, 3, 4), (1, 2, 0), (1, 2, -3), (1, 2, 2.5), (True, 2, 3), (1, None, 3), "123", ("1", "2")],
)
def test_widths_are_three_positive_integers(value):
    with pytest.raises(ValueError, match="widths"):
        sepgconv.create_model("gc_p4m_resnet44", widths=value)


def test_widths_may_be_a_list():
    assert sepgconv.create_model("resnet44", widths=[1, 2, 3]).config["widths"] == [1, 2, 3]


def test_configs_of_two_networks_are_their_own():
    one, other = (sepgconv.create_model("gc_p4m_resnet44", widths=(1, 2, 3)) for _ in range(2))
    one.config["widths"].append(4)
    assert other.config["widths"] == [1, 2, 3]


def test_entries_are_immutable_and_complete():
    for name, entry in MODELS.items():
        with pytest.raises(dataclasses.FrozenInstanceError):
            entry.summary = ""
        fields = {field.name for field in dataclasses.fields(entry.config)}
        assert set(entry.fixed) | set(entry.options) == fields, name
        assert not set(entry.fixed) & set(entry.options), name
        assert set(entry.preset) <= set(entry.options), name


@pytest.mark.parametrize(
    ("convolution", "kind"),
    [
        ("full", "GroupConv2d"),
        ("g", "SeparableGroupConv2d"),
        ("gc", "SeparableGroupConv2d"),
        ("two-step", "DepthwiseSeparable"),
    ],
)
def test_group_convolution(convolution, kind):
    layer = group_convolution(convolution, 2, 3, 3, "p4", stride=2, padding=1, bias=False)
    assert type(layer).__name__.startswith(kind)
    assert layer(torch.randn(1, 2, 4, 9, 9)).shape == (1, 3, 4, 5, 5)
    assert not any(key.endswith("bias") for key in layer.state_dict())
    with_bias = group_convolution(convolution, 2, 3, 3, "p4")
    assert any(key.endswith("bias") for key in with_bias.state_dict())


def test_group_convolution_hands_on_the_execution_and_refuses_unknown_kinds():
    assert group_convolution("g", 2, 3, 3, "p4", execution="composed").execution == "composed"
    with pytest.raises(ValueError, match=r"sharing 'gcc'.*'gc'"):
        group_convolution("gcc", 2, 3, 3, "p4")


def test_the_package_hands_out_the_same_functions():
    for function in (sepgconv.create_model, sepgconv.list_models, sepgconv.save, sepgconv.load):
        assert inspect.getmodule(inspect.unwrap(function)).__name__.startswith("sepgconv.models.")
