"""What a user of `another_package` does: a program of its own, so that what it registers stays in its process."""

import json
import sys
from pathlib import Path

import another_package
import torch
from another_package.basis import EvenPixels
from another_package.convolution import EvenSeparableConv2d, PosewiseConv2d
from torch.nn import functional as F

import sepgconv
from sepgconv import compile_for_inference, create_model, load, save
from sepgconv.analysis import certify, cost, redundancy
from sepgconv.convert import to_onnx, to_plain
from sepgconv.convert.plain.onnx import open_session
from sepgconv.data import list_datasets, load_dataset
from sepgconv.inference import FrozenConv2d, freeze
from sepgconv.nn import GroupConv2d, LiftingConv2d, SeparableGroupConv2d
from sepgconv.symmetry import KernelBasis, PixelBasis
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


def basis() -> None:
    for name in ("updown", "p4m", "pmm"):
        group = sepgconv.group(name)
        size = (3, 3) if group.exchanges_axes else (3, 5)
        even, weight = EvenPixels(group, size), torch.rand(2, *EvenPixels(group, size).weight_shape)
        assert isinstance(even, KernelBasis)
        filters = even.expand(weight)
        assert torch.equal(filters, filters.flip(-2, -1))
        for g in range(group.order):
            assert torch.equal(filters[:, g], PixelBasis(group, size).expand(filters[:, 0])[:, g])
        poses = even.expand(torch.rand(group.order, *even.weight_shape), over_poses=True)
        assert poses.shape == (group.order, group.order, *size)
    try:
        PosewiseConv2d(4, 4, 3, "p4", basis=EvenPixels(sepgconv.group("p2"), (3, 3)))
        said = ""
    except ValueError as error:
        said = str(error)
    assert "the basis is that of p2 and kernels of 3 x 3, and the convolution one on p4" in said, said


def kinds() -> None:
    """What the library makes of a kind and of a basis without a rule for either."""
    for layer, twin in (
        (
            PosewiseConv2d(4, 8, 3, "p4m", padding=1, groups=2),
            GroupConv2d(4, 8, 3, "p4m", padding=1, groups=2),
        ),
        (EvenSeparableConv2d(4, 8, 3, sepgconv.group("p4m")), GroupConv2d(4, 8, 3, "p4m", padding=1)),
    ):
        assert freeze.dispatch(type(layer)) is freeze.dispatch(GroupConv2d)
        x = torch.rand(2, 4, 8, 9, 7)
        twin.load_state_dict({"weight": layer.filter_bank(), "bias": layer.bias})
        torch.testing.assert_close(layer(x), twin(x), **SAME)
        gradients = [torch.autograd.grad(each(x).square().sum(), each.bias)[0] for each in (layer, twin)]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)
        network = torch.nn.Sequential(LiftingConv2d(1, 4, 3, "p4m"), layer).eval()
        assert certify(network, "p4m", (1, 9, 9)).exact
        assert isinstance(compile_for_inference(network, input_shape=(1, 9, 9))[1], FrozenConv2d)
        found = redundancy(layer).layers[0]
        torch.testing.assert_close(found.bank, twin.weight.detach().double())
        torch.testing.assert_close(to_plain(layer, input_shape=(4, 8, 7, 7))(x), layer(x), **SAME)
    even, planar = EvenSeparableConv2d(4, 8, 3, sepgconv.group("p4m")), SeparableGroupConv2d(4, 8, 3, "p4m")
    assert planar.depthwise.numel() - even.depthwise.numel() == 8 * 4
    assert redundancy(even).layers[0].role == "separable"


def published() -> None:
    model = create_model("ring_net", initialisation="published")
    drawn = {"features.4.depthwise": 4 * 9, "features.4.pointwise": 4 * 9, "features.7.weight": 4 * 9}
    for name, reads in drawn.items():
        weight = model.get_parameter(name)
        assert weight.abs().max() <= reads**-0.5, name
        assert weight.abs().mean() > reads**-0.5 / 4, name


def storage(folder: Path) -> None:
    model, x = network(), torch.rand(2, *SHAPE)
    torch.testing.assert_close(load(save(model, folder / "model"))(x), model(x))


def counted() -> None:
    report = cost(network(), SHAPE)
    layers = {row.kind: row.nominal_macs for row in report.layers}
    assert layers["RingConv2d"] == 9 * 4 * 2 * 16 * 16, layers  # taps, channels, poses, positions
    assert layers["EvenSeparableConv2d"] == (4 * 2 + 9) * 8 * 2 * 16 * 16, layers
    assert layers["PosewiseConv2d"] == 9 * 4 * 4 * 2 * 16 * 16, layers  # two groups of four channels
    assert report.uncounted == (), report.uncounted


def certified() -> None:
    model = network()
    assert certify(model, "updown", SHAPE).exact
    # The negative controls: a basis that does not move its kernels, then rings that are not round.

    class Unmoved(EvenPixels):
        def expand(self, weight: torch.Tensor, *, over_poses: bool = False) -> torch.Tensor:
            return super().expand(weight, over_poses=over_poses).roll(1, -2)

    convolution, unmoved = model.features[7], Unmoved(another_package.group.UPDOWN, (3, 3))
    model.features[7] = PosewiseConv2d(8, 4, 3, "updown", padding=1, basis=unmoved)
    assert certify(model, "updown", SHAPE).first_fault == "features.7"
    model.features[7] = convolution
    ring = model.features[3]
    assert isinstance(ring, another_package.layer.RingConv2d)
    uneven = torch.arange(9.0).view(1, 3, 3).expand(4, 3, 3)

    class Uneven(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return another_package.layer.filter_rings(x, uneven.to(x.dtype))

    model.features[3] = Uneven()
    certificate = certify(model, "updown", SHAPE)
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
    for step in (names, basis, kinds, published, counted, certified, compiled, plain):
        step()
        print(f"{step.__name__}: done")
    for step in (storage, onnx, trained, commands):
        step(place)
        print(f"{step.__name__}: done")
