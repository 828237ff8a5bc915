"""Networks of others: registered, built, kept, and asked for on the command line like those of the package."""

import json
import sys
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv import nn as layers
from sepgconv.models import MODELS, Network, list_models, model_entry, rebuild_model, register_model
from tests.covering import each


@dataclass(frozen=True, kw_only=True)
class OuterConfig:
    width: int
    depths: tuple[int, ...] = (1, 2)
    group: str = "p4"
    sharing: str = "gc"
    in_channels: int = 1
    num_classes: int = 10


class Outer(Network):
    min_input_size, input_size = 8, 12

    def __init__(self, config):
        super().__init__()
        self.in_channels, self.num_features = config.in_channels, config.width
        self.lift = layers.LiftingConv2d(config.in_channels, config.width, 3, config.group, padding=1)
        self.blocks = nn.Sequential(
            *(
                layers.NormActConv(config.width, config.width, 3, config.group, padding=1, sharing=config.sharing)
                for _ in range(sum(config.depths))
            )
        )
        self._build_classifier(config.num_classes)

    def forward_features(self, x):
        self.check_images(x)
        return self.blocks(self.lift(x))

    def pool_features(self, maps):
        return maps.amax(2).mean((-2, -1))


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Two names, which are forgotten after the test, like those that it registers."""
    before = dict(MODELS)
    name_it = register_model(
        "gc_outer", config=OuterConfig, preset={"width": 4}, fixed={"sharing": "gc"}, summary="of others"
    )
    assert name_it(Outer) is Outer
    register_model("bare_outer", config=OuterConfig)(Outer)
    yield
    MODELS.clear()
    MODELS.update(before)


def test_it_is_built_and_listed_like_the_others():
    assert list_models("*outer") == ("gc_outer", "bare_outer")
    assert "gc_outer" in sepgconv.list_models("gc*")
    model = sepgconv.create_model("gc_outer", in_chans=3, num_classes=0, depths=[1, 1])
    assert model.name == "gc_outer"
    assert model.config == json.loads(json.dumps(model.config))
    assert model.config == {"width": 4, "depths": [1, 1], "group": "p4", "in_channels": 3, "num_classes": 0}
    x = torch.randn(2, 3, 12, 12)
    assert model.forward_features(x).shape == (2, 4, 4, 12, 12)
    assert model(x).shape == (2, 4)
    model.reset_classifier(5)
    assert model(x).shape == (2, 5)
    with pytest.raises(ValueError, match="gc_outer: images of 4 x 4 are too small; the smallest size is 8 x 8"):
        model(x[..., :4, :4])


def test_it_is_kept_and_read_back(tmp_path):
    model = sepgconv.create_model("gc_outer", width=3, group="p4m").eval()
    again = sepgconv.load(sepgconv.save(model, tmp_path / "net"))
    assert type(again) is Outer
    x = torch.randn(2, 1, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x), rtol=0, atol=0)
        compiled = sepgconv.compile_for_inference(model)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
    del MODELS["gc_outer"]  # negative control: it is read by its name
    with pytest.raises(ValueError, match="unknown model 'gc_outer'"):
        sepgconv.load(tmp_path / "net")


def test_the_command_line_knows_it(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["sepgconv", *words])
        with pytest.raises(SystemExit) as end:
            sepgconv.cli.main()
        assert not end.value.code
        return capsys.readouterr().out

    out = run("info", "gc_outer", "--width", "3", "-o", "depths=1,1")
    assert "width=3" in out
    assert "12 x 12" in out
    out = run("models")
    assert "of others" in out
    assert "bare_outer" in out


@pytest.mark.usefixtures("unchecked")
@each(
    ("name", "options", "message"),
    [
        ("p4cnn", {}, "the name 'p4cnn' is taken .group CNN."),
        ("gc_outer", {}, "'gc_outer' is taken"),
        ("two words", {}, "letters, digits"),
        (3, {}, "letters, digits"),
        ("other", {"config": dict}, "must be a dataclass"),
        ("other", {"preset": {"widht": 3}}, "option of OuterConfig 'widht'; did you mean 'width'"),
        ("other", {"preset": {"width": 3}, "fixed": {"width": 3}}, "presets and fixes width"),
    ],
)
def test_mistakes_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        register_model(name, **{"config": OuterConfig, **options})
    assert "other" not in MODELS


def test_what_it_needs_is_asked_for():
    assert model_entry("bare_outer").required == ("width",)
    assert model_entry("gc_outer").required == ()
    with pytest.raises(ValueError, match="bare_outer needs width; give width="):
        sepgconv.create_model("bare_outer")
    assert sepgconv.create_model("bare_outer", width=2, sharing="g").blocks[0].conv.sharing == "g"


def test_what_is_no_network_is_refused():
    register_model("plain", config=OuterConfig, preset={"width": 2})(lambda config: nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"must build a sepgconv\.models\.Network, got Linear"):
        sepgconv.create_model("plain")


class TestOldNames:
    """They work for one release with a warning, and in files for good without one."""

    def test_of_the_option_sharing(self):
        with pytest.warns(DeprecationWarning, match="bare_outer: convolution is called sharing now"):
            model = sepgconv.create_model("bare_outer", width=2, convolution="g")
        assert model.config["sharing"] == "g"
        assert rebuild_model("bare_outer", {"width": 2, "convolution": "g"}).config == model.config  # silent
        with pytest.raises(ValueError, match="convolution is the old name of sharing; give sharing alone"):
            sepgconv.create_model("bare_outer", width=2, convolution="g", sharing="g")
        with pytest.raises(ValueError, match="option of p4cnn 'sharing'"):
            rebuild_model("p4cnn", {"convolution": "gc"})
        assert rebuild_model("p4cnn", {"convolution": "full"}).name == "p4cnn"

    @pytest.mark.usefixtures("unchecked")
    def test_of_configs_and_of_group_convolution(self):
        with pytest.warns(DeprecationWarning, match="RotMNISTCNNConfig: convolution is called sharing"):
            config = sepgconv.models.RotMNISTCNNConfig(width=2, group="p4", convolution="gc")
        assert config == sepgconv.models.RotMNISTCNNConfig(width=2, group="p4", sharing="gc")
        with pytest.warns(DeprecationWarning, match="is called sharing"):
            assert config.convolution == "gc"
        with pytest.warns(DeprecationWarning, match="group_convolution: convolution is called sharing"):
            layer = sepgconv.models.group_convolution(
                convolution="g", in_channels=1, out_channels=1, kernel_size=3, group="p4"
            )
        assert layer.sharing == "g"

    def test_an_option_that_is_called_so_elsewhere_is_left_alone(self):
        @dataclass(frozen=True, kw_only=True)
        class Config(OuterConfig):
            convolution: str = "mine"

        register_model("own_word", config=Config, preset={"width": 2})(Outer)
        assert sepgconv.create_model("own_word", convolution="x").config["convolution"] == "x"

    def test_of_the_sizes(self):
        model = sepgconv.create_model("gc_outer")
        with pytest.warns(DeprecationWarning, match="smallest is called min_input_size"):
            assert model.smallest == 8
        with pytest.warns(DeprecationWarning, match="typical is called input_size"):
            assert model.typical == 12
        with pytest.warns(DeprecationWarning, match="check_pictures is called check_images"):
            model.check_pictures(torch.zeros(1, 1, 8, 8))
        with pytest.warns(DeprecationWarning, match="is called") as warned:
            old = type("Old", (Network,), {"smallest": 3, "typical": 5})
        assert (len(warned), old.min_input_size, old.input_size) == (2, 3, 5)

    def test_of_a_saved_config(self, tmp_path):
        """A file with the old key, as other versions may have written it."""
        model = sepgconv.create_model("bare_outer", width=2, sharing="g")
        model.config["convolution"] = model.config.pop("sharing")
        again = sepgconv.load(sepgconv.save(model, tmp_path / "net"))
        assert "convolution" in (tmp_path / "net" / "config.json").read_text(encoding="utf-8")
        assert again.config["sharing"] == "g"
