"""Training, evaluating and predicting on folders of one's own images, through the command line."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from sepgconv.cli.export import scale_of_deep_images
from sepgconv.cli.networks import read_network
from sepgconv.tasks import load_run
from tests.class_folders import write


def without_digests(run: Path) -> None:
    """Leave a record as older versions wrote it, so that a file beside it may be another."""
    record = run / "record.json"
    kept = json.loads(record.read_text())
    record.write_text(json.dumps({name: value for name, value in kept.items() if name not in ("files", "sha256")}))


def train(call, data: Path, out: Path) -> str:
    words = ("train", "z2cnn", "--width", 2, "--data", data, "--epochs", 3, "--out", out, "--quiet", "--threads", 1)
    status, _, said = call(*words)
    assert status == 0, said
    return said


def test_a_folder_given_to_evaluate_is_judged_whole(call, tmp_path: Path):
    train(call, write(tmp_path / "seen", {"dark": 0, "light": 150}), tmp_path / "run")
    new = write(tmp_path / "new", {"dark": 0, "light": 150}, count=7)
    status, out, said = call("evaluate", tmp_path / "run", "--data", new)
    assert (status, "14 (all images of folder:new)" in out) == (0, True), said
    # By name: a folder with one of the classes, which would be the other one by position.
    light = write(tmp_path / "some", {"light": 150}, count=5)
    run = load_run(tmp_path / "run")
    status, out, said = call("evaluate", tmp_path / "run", "--data", light)
    assert (status, "5 (all images of folder:some)" in out) == (0, True), said
    lines = call("predict", tmp_path / "run", *sorted(light.glob("*/*")), "--json")[1].splitlines()
    answers = [json.loads(line) for line in lines]
    wrong = sum(answer["class"] != "light" for answer in answers)
    assert f"{100 * wrong / 5:.2f} %" in out
    assert run.classes == ("dark", "light")
    status, out, said = call("evaluate", tmp_path / "run", "--data", tmp_path / "seen")
    assert (status, "24 (all images of folder:seen)" in out) == (0, True), said
    assert "it is judged whole, with the images that were learned from; leave out --data" in said
    status, out, said = call("evaluate", tmp_path / "run")
    assert (status, "4 (test part of folder:seen)" in out) == (0, True), said
    assert "Warning: folder" not in said
    parts = write(tmp_path / "parts" / "Train", {"dark": 0, "light": 150}, count=4).parent
    write(parts / "Test", {"dark": 0, "light": 150}, count=3)
    status, out, said = call("evaluate", tmp_path / "run", "--data", parts)
    assert (status, "6 (test part of folder:parts)" in out) == (0, True), said
    status, out, said = call("evaluate", tmp_path / "run", "--data", parts, "--part", "train")
    assert (status, "8 (train part of folder:parts)" in out) == (0, True), said
    status, _, said = call("evaluate", tmp_path / "run", "--data", write(tmp_path / "other", {"cat": 0, "dog": 90}))
    assert (status, "has images of the classes cat, dog; the network knows dark, light" in said) == (1, True)


def test_data_that_changed_since_the_training_are_told(call, tmp_path: Path):
    data = write(tmp_path / "seen", {"dark": 0, "light": 150})
    train(call, data, tmp_path / "run")
    for number in range(20, 40):
        Image.new("L", (28, 28), number).save(data / "dark" / f"{number}.png")
    status, _, said = call("evaluate", tmp_path / "run")
    assert status == 0
    assert "folder:seen has 30 train, 7 validation, 7 test images, the run was trained with 16 train, 4 val" in said


@pytest.mark.parametrize("words", [["evaluate"], ["certify", "--images", 2], ["analyse", "--pictures", 2]])
def test_other_images_in_the_same_number_are_told(call, tmp_path: Path, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = write(tmp_path / "seen", {"dark": 0, "light": 150})
    train(call, data, tmp_path / "run")
    answered, _, said = call(words[0], tmp_path / "run", *words[1:])
    assert (answered in (0, 1), "folder:seen" in said, "Error" in said) == (True, False, False), said
    one, other = data / "dark" / "3.png", data / "light" / "3.png"
    one.rename(tmp_path / "kept.png"), other.rename(one), (tmp_path / "kept.png").rename(other)
    status, _, said = call(words[0], tmp_path / "run", *words[1:])
    assert status == answered
    assert "folder:seen has as many images as when the run was trained, but images, labels or bit depth" in said


def test_the_bit_depth_of_the_training_images_is_kept(call, tmp_path: Path):
    said = train(call, write(tmp_path / "deep", {"dark": 0, "light": 150}, deep=True), tmp_path / "run")
    assert "24 images of 16 bits a pixel reach 4080 and are read as 12 bits, 0 to 4095" in said
    assert load_run(tmp_path / "run").bit_depth == 12
    deep = tmp_path / "deep" / "light" / "3.tif"
    levels = np.asarray(Image.open(deep))
    Image.fromarray((levels >> 4).astype(np.uint8)).save(tmp_path / "same.png")
    Image.fromarray((levels >> 7).astype(np.uint16)).save(tmp_path / "dim.tif")  # 9 bits alone; 12 in this run
    Image.fromarray((levels >> 7 >> 4).astype(np.uint8)).save(tmp_path / "dim.png")
    names = [deep, tmp_path / "same.png", tmp_path / "dim.tif", tmp_path / "dim.png"]
    status, out, said = call("predict", tmp_path / "run", *names, "--json")
    assert status == 0, said
    answers = [json.loads(line)["probability"] for line in out.splitlines()]
    assert answers[0] == answers[1] != answers[2] == answers[3]
    status, out, said = call("evaluate", tmp_path / "run", "--data", tmp_path / "deep")
    assert (status, "24 (all images of folder:deep)" in out) == (0, True), said
    Image.fromarray((levels << 4).astype(np.uint16)).save(tmp_path / "bright.tif")
    status, _, said = call("predict", tmp_path / "run", tmp_path / "bright.tif")
    assert (status, "holds values up to 65280, but" in said, "hold 12 bits (0 to 4095)" in said) == (1, True, True)
    found = read_network(tmp_path / "run")
    assert scale_of_deep_images(found) == "; 16-bit images divided by 4095, the run's bit depth"

    # A run of a version that kept neither it nor digests reads as it did then, and says so.
    without_digests(tmp_path / "run")
    file = tmp_path / "run" / "preprocessing.safetensors"
    save_file(load_file(file), file, metadata={"name": "mean-std"})
    with pytest.warns(UserWarning, match="written by an older version"):
        assert load_run(tmp_path / "run").bit_depth is None
    Image.fromarray((levels >> 8).astype(np.uint8)).save(tmp_path / "black.png")
    status, out, said = call("predict", tmp_path / "run", deep, tmp_path / "black.png", "--json")
    answers = [json.loads(line)["probability"] for line in out.splitlines()]
    assert (status, answers[0]) == (0, answers[1])
    assert "3.tif has 16 bits a pixel, but values only up to 4080; it is read as 0 to 65535 and is nearly black" in said


def test_own_images_pass_through_the_runs_preprocessing(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As `predict` does; images of a whitened run that came raw would be judged as others than they are."""
    import torch

    from sepgconv.data.preprocessing import fit_gcn_zca

    data = write(tmp_path / "seen", {"dark": 0, "light": 150})
    train(call, data, tmp_path / "run")
    whitening = fit_gcn_zca(torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8))
    without_digests(tmp_path / "run")
    save_file(whitening.state_dict(), tmp_path / "run" / "preprocessing.safetensors", metadata={"name": "gcn-zca"})
    images = sorted(write(tmp_path / "new", {"dark": 0, "light": 150}, count=9).glob("*/*"))
    _, out, said = call("predict", tmp_path / "run", *images, "--json")
    answers = [json.loads(line)["class"] for line in out.splitlines()]
    wrong = sum(answer != path.parent.name for answer, path in zip(answers, images, strict=True))
    status, out, said = call("evaluate", tmp_path / "run", "--data", tmp_path / "new")
    assert (status, f"{100 * wrong / 18:.2f} %" in out) == (0, True), said


def test_predict_names_what_is_no_image_and_goes_on(call, tmp_path: Path):
    train(call, write(tmp_path / "seen", {"dark": 0, "light": 150}), tmp_path / "run")
    os.mkfifo(tmp_path / "pipe.png")
    page = Image.new("L", (28, 28), 99)
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])
    names = [tmp_path / name for name in ("pipe.png", "pages.tif", "none.png", "seen/light/1.png")]
    status, out, said = call("predict", tmp_path / "run", *names, "--json")
    assert status == 1
    assert json.loads(out)["image"] == str(names[-1])
    for sentence in ("pipe.png: is a pipe, not a file", "pages.tif: it has 2 pages", "none.png: is not there"):
        assert sentence in said


@pytest.mark.parametrize(
    ("made", "given", "sentence"),
    [
        (("flowers/a",), "flowres", "there is no folder or file 'flowres', and no data set of that name; did you mean"),
        (("f/a",), "f", "only one class, a"),
        (("f/fold1/a", "f/fold1/b", "f/fold2/a", "f/fold2/b"), "f", "fold1 and fold2 hold folders of the same names"),
    ],
)
def test_train_refuses_in_one_sentence(call, tmp_path: Path, monkeypatch, made, given: str, sentence: str):
    for name in made:
        write(tmp_path / name, {"": 10}, count=4)
    monkeypatch.chdir(tmp_path)
    status, _, said = call("train", "z2cnn", "--data", given, "--out", tmp_path / "run")
    assert (status, sentence in said, "Traceback" in said) == (1, True, False), said
    assert not (tmp_path / "run").exists()


def test_images_that_stay_on_the_disk_and_what_is_done_with_them(call, unchecked, tmp_path: Path):
    """Every option reaches the data; a run keeps what its images were made with, for later commands and a resume."""
    import torch

    data, out, kept = write(tmp_path / "seen", {"dark": 0, "light": 150}), tmp_path / "run", tmp_path / "kept"
    Image.new("L", (40, 28), 90).save(data / "dark" / "wide.png")
    words = ["train", "z2cnn", "--width", 2, "--data", data, "--epochs", 1, "--threads", 1, "--image-size", 28]
    status, _, said = call(*words, "--out", out, "--on-disk", "--cache", kept, "--workers", 1, "--fit", "pad")
    assert (status, "Images: on the disk; other sizes: pad; preprocessing: mean-std." in said) == (0, True), said
    assert len(list(kept.iterdir())) == 1
    run = load_run(out)
    assert (run.preprocessing.name, run.fit, run.data_options.fit) == ("mean-std", "pad", "pad")
    wide = run.read_image(data / "dark" / "wide.png")
    assert float(wide[0, 0].max()) == 0  # black above
    status, table, said = call("evaluate", out)
    assert (status, f"{run.record.test_error:.2f} %" in table) == (0, True), said
    status, lines, said = call("predict", out, data / "dark" / "wide.png", "--json")
    with torch.inference_mode():
        probability = float(run.model(run.preprocessing(wide[None])).softmax(1).max())
    assert json.loads(lines)["probability"] == pytest.approx(probability, abs=1e-5)
    status, said_of_file, said = call("export", out, "--to", "conv", "--out", tmp_path / "net.pt2", "--threads", 1)
    assert (status, "in [0, 1]; the run's preprocessing, mean-std, is in the file" in said_of_file) == (0, True), said
    program = torch.export.load(tmp_path / "net.pt2").module()
    expected = run.model(run.preprocessing(wide[None]))
    torch.testing.assert_close(program(wide[None]), expected, rtol=1e-4, atol=1e-4)
    plain = tmp_path / "plain"
    status, _, said = call(*words, "--out", plain, "--preprocessing", "identity", "--on-disk", "--no-cache")
    assert (status, load_run(plain).preprocessing.name) == (0, "identity"), said
    (plain / "record.json").unlink()
    status, _, said = call(*words, "--out", plain, "--resume", "--quiet")
    assert (status, load_run(plain).preprocessing.name) == (0, "identity"), said
    status, _, said = call(*words, "--out", tmp_path / "x", "--cache", kept, "--no-cache")
    assert (status, "--cache names a folder for decoded images and --no-cache keeps none" in said) == (1, True), said
