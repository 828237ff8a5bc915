"""What a user of `another_package` does: a program of its own, so that what it registers stays in its process."""

import json
import sys
from pathlib import Path

import another_package
import torch
from torch.nn import functional as F

import sepgconv
from sepgconv import compile_for_inference, create_model, load, save
from sepgconv.analysis import certify, cost
from sepgconv.convert import to_onnx, to_plain
from sepgconv.convert.plain.onnx import open_session
from sepgconv.data import list_datasets, load_dataset
from sepgconv.tasks import TrainingConfig, evaluate, load_run, measure, train

SHAPE = (1, 16, 16)
SAME = {"rtol": 1e-4, "atol": 1e-5}


def network() -> sepgconv.models.Network:
    torch.manual_seed(0)
    model = create_model("ring_net", num_classes=3)
    model.train()(torch.rand(8, *SHAPE))  # batch statistics that are no zeros and ones
    return model.eval()


def names() -> None:
    assert sepgconv.group("updown") == another_package.group.UPDOWN
    assert "ring_net" in sepgconv.list_models("ring*")
    assert "light" in list_datasets()


def storage(folder: Path) -> None:
    model, x = network(), torch.rand(2, *SHAPE)
    torch.testing.assert_close(load(save(model, folder / "model"))(x), model(x))


def counted() -> None:
    report = cost(network(), SHAPE)
    layers = {row.kind: row.nominal_macs for row in report.layers}
    assert layers["RingConv2d"] == 9 * 4 * 2 * 16 * 16, layers  # taps, channels, poses, positions
    assert report.uncounted == (), report.uncounted


def certified() -> None:
    model = network()
    assert certify(model, SHAPE, "updown").exact
    # The negative control: rings that are not round.
    ring = model.features[3]
    assert isinstance(ring, another_package.layer.RingConv2d)
    uneven = torch.arange(9.0).view(1, 3, 3).expand(4, 3, 3)

    class Uneven(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return another_package.layer.filter_rings(x, uneven.to(x.dtype))

    model.features[3] = Uneven()
    certificate = certify(model, SHAPE, "updown")
    assert not certificate.exact
    assert certificate.first_fault == "features.3", certificate.first_fault


def compiled() -> None:
    model, x = network(), torch.rand(3, *SHAPE)
    frozen = compile_for_inference(model, input_shape=SHAPE)
    assert any(isinstance(layer, another_package.layer.FrozenRing) for layer in frozen.modules())
    torch.testing.assert_close(frozen(x), model(x), **SAME)


def plain() -> None:
    model, x = network(), torch.rand(3, *SHAPE)
    ordinary = to_plain(model, input_shape=SHAPE)
    assert {type(layer).__module__.split(".")[0] for layer in ordinary.modules()} == {"torch"}
    torch.testing.assert_close(ordinary(x), model(x), **SAME)


def onnx(folder: Path) -> None:
    model, x = network(), torch.rand(1, *SHAPE)
    export = to_onnx(model, folder / "network.onnx", input_shape=SHAPE)
    torch.testing.assert_close(open_session(export.path)(x), model(x), **SAME)


def trained(folder: Path) -> None:
    config = TrainingConfig(task="brightness", model="ring_net", data="light", batch_size=8, epochs=1)  # two steps
    record = train(config, folder=folder / "run", progress=False, threads=1, accelerator="cpu")
    assert (record.task, record.classes, record.model_config["num_classes"]) == ("brightness", [], 1)
    assert json.loads((folder / "run" / "record.json").read_text())["test_deviation"] == record.test_deviation
    run, light = load_run(folder / "run"), load_dataset("light")
    answers = run.model(light.test.images)[:, 0].detach()
    assert abs(evaluate(run, light.test) - float(F.l1_loss(answers, light.test.labels))) < 1e-6
    assert evaluate(run, light.test) == record.test_deviation
    assert measure(run, light.test)["hits"] == record.test_hits
    longer = TrainingConfig(task="brightness", model="ring_net", data="light", batch_size=8, epochs=30)
    better = train(longer, folder=folder / "longer", progress=False, threads=1, accelerator="cpu")
    assert better.train_deviation < record.train_deviation / 2  # it learns
    again = train(config, folder=folder / "run", resume=True, progress=False)
    assert again == record


def commands(folder: Path) -> None:
    from PIL import Image

    Image.new("L", (16, 16), 200).save(folder / "bright.png")
    for words in (
        [
            "train",
            "ring_net",
            "--task",
            "brightness",
            "--data",
            "light",
            "--epochs",
            "1",
            "--out",
            folder / "by_command",
        ],
        ["evaluate", folder / "by_command"],
        ["predict", folder / "by_command", folder / "bright.png", "--json"],
        ["certify", "ring_net", "--group", "updown"],
    ):
        sys.argv = ["sepgconv", *map(str, words)]
        try:
            sepgconv.cli.main()
        except SystemExit as end:
            if end.code:
                raise


if __name__ == "__main__":
    place = Path(sys.argv[1])
    torch.set_num_threads(1)
    for step in (names, counted, certified, compiled, plain):
        step()
        print(f"{step.__name__}: done")
    for step in (storage, onnx, trained, commands):
        step(place)
        print(f"{step.__name__}: done")
