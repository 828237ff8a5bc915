"""`sepgconv certify` as a user or CI types it: table, verdict, JSON, curve, exit status, refusals."""

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

import sepgconv
from sepgconv.cli import main
from tests.covering import each
from tests.networks import SMALL

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture
def certify(monkeypatch, capsys, tmp_path):
    """Call the command; return its exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["sepgconv", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return lambda *words: call("certify", *words)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, small):
    """A run of one epoch on made-up pictures."""
    from sepgconv.data import load_dataset
    from sepgconv.tasks import TrainingConfig, train

    folder = tmp_path_factory.mktemp("certify")
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 12), ("test", 6)):
        arrays[f"x_{part}"] = generator.integers(0, 255, (count, 28, 28)).astype(np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % 2
    np.savez(folder / "pictures.npz", **arrays)
    data = str(folder / "pictures.npz")
    config = TrainingConfig(model=small, data=data, model_config={"width": 3}, epochs=1, batch_size=4)
    train(config, folder=folder / "run", data=load_dataset(data), threads=1, progress=False)
    return folder / "run"


def test_exact_is_status_0(certify):
    status, out, err = certify(SMALL, "--width", 3)
    assert (status, err) == (0, "")
    assert f"{SMALL} with random weights, under p4, on 28 x 28 images" in out
    assert "features.1.0" in out
    verdict = out.strip().splitlines()[-1]
    said = re.fullmatch(
        r"Exact: worst relative error of the network's output (\S+), over all elements of p4 and 3 images\.", verdict
    )
    assert said is not None
    # One name, one number: what the table calls the layers' errors is never called the same as the verdict's.
    assert "layer's relative error" in out
    assert "relative error" not in out.replace("layer's relative error", "").replace("worst relative error of the", "")


def test_not_exact_is_status_1_with_the_reason(certify):
    status, out, _ = certify(SMALL, "--width", 3, "--size", 29)
    assert status == 1
    assert "Not exact (worst relative error of the network's output " in out
    assert "first at features.2: a stride of 2 on a map of 25 x 25" in out
    assert "images of side 26, 28, 30, 32 suit every stride" in out
    rows = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line.strip().endswith(("yes", "no"))}
    assert (rows["features.1.2"], rows["features.2"], rows["classifier"]) == ("yes", "no", "no")


def test_the_group_is_the_networks_own_or_p4_or_as_asked_for(certify):
    assert ", under p4m, on " in certify(SMALL, "--width", 2, "-o", "group=p4m", "--samples", 2)[1]
    assert ", under p4, on " in certify("z2cnn", "--width", 2)[1]
    status, out, _ = certify(SMALL, "--width", 4, "-o", "group=cmm", "--samples", 2)
    assert status == 0
    assert ", under cmm, on " in out
    status, out, _ = certify(SMALL, "--width", 2, "--group", "p4m")
    assert (status, "LiftingConv2d is a layer on p4" in out) == (1, True)


def test_rotations_that_take_pixels_between_pixels(certify):
    status, out, _ = certify(SMALL, "--width", 2, "-o", "group=C8", "--samples", 2)
    assert status == 1
    assert "Exact for C4: worst relative error of the network's output" in out
    assert "features.2 (MaxPool2d) loses most" in out
    rows = [line.split() for line in out.splitlines()]
    assert [row[-1] for row in rows if row[1:3] == ["turn", "by"]] == ["no", "yes"] * 3 + ["no"]
    assert all(len(line) <= 120 for line in out.splitlines() if "features" in line.split(" ")[:3])
    status, out, _ = certify(SMALL, "--width", 2, "-o", "group=C8", "--group", "C4", "--samples", 2)
    assert status == 0
    assert "over all elements of C4" in out
    status, out, _ = certify(SMALL, "--width", 2, "--group", "C8", "--samples", 2, "--json", "-")
    values = json.loads(out)
    assert (status, values["exact_for"], values["loses_most"]) == (1, "C4", "features.0.0")
    assert "LiftingConv2d is a layer on p4, which does not have all elements of C8" in values["reason"]


def test_json_in_a_file_and_on_standard_output(certify, tmp_path):
    status, out, _ = certify(SMALL, "--width", 3, "--json", tmp_path / "new" / "certificate.json")
    assert (status, "Exact: " in out) == (0, True)
    values = json.loads((tmp_path / "new" / "certificate.json").read_text())
    assert values["exact"] is True
    assert values["network"] == f"{SMALL} with random weights"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["certificate.json"]
    status, out, _ = certify(SMALL, "--width", 3, "--size", 29, "--json", "-")
    values = json.loads(out)  # and nothing else
    assert (status, values["first_fault"]) == (1, "features.2")
    assert {28, 30} <= set(values["exact_sizes"])
    assert 29 not in values["exact_sizes"]


def test_a_saved_network(certify, tmp_path):
    sepgconv.save(sepgconv.create_model(SMALL, width=3, group="pm"), tmp_path / "net")
    status, out, _ = certify(tmp_path / "net", "--size", 30)
    assert status == 0
    assert f"{SMALL} from " in out
    assert ", under pm, on 30 x 30 images" in " ".join(out.split())  # a long path breaks the title


def test_a_run_with_real_pictures_and_a_curve(certify, run_folder, tmp_path):
    picture = tmp_path / "curve.png"
    status, out, err = certify(run_folder, "--images", 4, "--curve", picture)
    assert status == 0, err
    assert "and 7 images." in out
    with Image.open(picture) as image:
        assert image.width > 800
        assert len(image.convert("L").getcolors()) > 20  # something is drawn
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]
    status, _, err = certify(run_folder, "--images", 4, "--size", 30)
    assert (status, "leave out --size 30 or --images" in err) == (2, True)


def test_a_curve_without_real_pictures(certify, tmp_path):
    assert certify("z2cnn", "--width", 2, "--curve", tmp_path / "new" / "curve.png")[0] == 1
    assert (tmp_path / "new" / "curve.png").stat().st_size > 5000


@each(
    ("words", "sentence"),
    [
        (("p4cn",), "did you mean 'p4cnn'"),
        (("p4cn",), "or give the folder of a run or of a saved network"),
        (("p4cnn", "--size", 20), "images of 20 x 20 are too small; the smallest size is 28 x 28"),
        (("p4cnn", "--group", "p5"), "unknown group 'p5'"),
        (("p4cnn", "-o", "width"), "KEY=VALUE"),
        (("p4cnn", "--images", 3), "--images takes images of a run's data"),
        (("p4cnn", "--tolerance", 0), "tolerance must be a number above 0"),
        ((".",), "holds no network"),
    ],
)
def test_what_cannot_be_measured_is_status_2_and_one_sentence(certify, tmp_path, words, sentence):
    status, out, err = certify(*words)
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_options_do_not_change_a_saved_network(certify, tmp_path):
    sepgconv.save(sepgconv.create_model("p4cnn", width=2), tmp_path / "net")
    status, _, err = certify(tmp_path / "net", "--width", 3)
    assert (status, "is as it is; leave out width" in err) == (2, True)


def test_weights_that_are_not_numbers(certify, tmp_path):
    model = sepgconv.create_model("p4cnn", width=2)
    model.classifier.bias.data[0] = float("nan")
    sepgconv.save(model, tmp_path / "net")
    status, out, err = certify(tmp_path / "net", "--json", tmp_path / "c.json", "--curve", tmp_path / "c.png")
    assert (status, out) == (2, "")
    assert "classifier.bias holds values that are not finite" in err
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
