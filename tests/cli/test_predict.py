"""`sepgconv predict`: which images are answered, in which files the answers are, and what a kill leaves."""

import csv
import io
import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from sepgconv.data.image_names import find_images, split_names
from sepgconv.tasks import load_run, predict
from tests.class_folders import write
from tests.covering import each


def rows_of(path):
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def answers(out):
    return [json.loads(line) for line in out.splitlines()]


def test_the_answers_are_those_of_the_network(finished, classes):
    """Whatever the batch; by the definition, image by image."""
    run = load_run(finished)
    paths = sorted(classes.glob("*/*.png"))
    found = list(predict(run, paths, batch_size=7, top=2, probabilities=True))
    for path, prediction in zip(paths, found, strict=True):
        pixels = torch.from_numpy(np.array(Image.open(path))).float()[None, None] / 255
        with torch.no_grad():
            expected = run.model(run.preprocessing(pixels)).softmax(1)[0].tolist()
        first, second = sorted(range(2), key=lambda index: -expected[index])
        answer = prediction.answer
        assert (answer["class"], answer["class 2"]) == (run.classes[first], run.classes[second])
        assert answer["probability"] == pytest.approx(expected[first], abs=1e-5)
        assert answer["probability of dark"] == pytest.approx(expected[0], abs=1e-5)
    assert {prediction.answer["class"] for prediction in found} == {"dark", "light"}, "both, or nothing was tested"


def test_folders_patterns_and_lists_name_the_same_images(call, finished, classes, tmp_path, monkeypatch):
    everything = {str(path) for path in classes.glob("*/*.png")}
    names = tmp_path / "names.txt"
    names.write_text("\n".join(sorted(everything)) + "\n\n")
    zeros = "\0".join(sorted(everything)).encode()
    ways = {
        "folder": (classes,),
        "pattern": (f"{str(classes).replace('[', '[[]')}/**/*.png",),
        "list": ("--from", names),
        "twice": (classes, *sorted(everything)[:3], "--from", names),
        "stdin": ("-",),
        "stdin as list": ("--from", "-"),
    }
    for way, words in ways.items():
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(zeros)))
        status, out, err = call("predict", finished, *words, "--json")
        assert (status, err) == (0, ""), (way, err)
        found = [answer["image"] for answer in answers(out)]
        assert sorted(found) == sorted(everything), way


@each(
    ("made", "names", "patterns", "found", "left_out"),
    [
        (["a.png", "b/c.PNG", "b/.hidden.png", "b/n.txt"], ["."], True, ["a.png", "b/c.PNG"], []),
        (["a[1].png", "a1.png"], ["a[1].png"], True, ["a[1].png"], []),
        (["a1.png", "a2.png"], ["a[12].png"], True, ["a1.png", "a2.png"], []),
        (
            ["a1.png"],
            ["a[1].png"],
            False,
            ["a[1].png"],
            [],
        ),  # a name in a list is a name; reading it says what is wrong
        (["x/a.png", "x/y/b.png"], ["x/*"], True, ["x/a.png", "x/y/b.png"], []),
        (["Train/a.png", "with blank/b.png"], ["Train", "with blank"], True, ["Train/a.png", "with blank/b.png"], []),
        (["e/readme.md"], ["e", "no*.png"], True, [], ["e", "no*.png"]),
        (["scan.dat"], ["scan.dat"], True, ["scan.dat"], []),  # asked for by name, whatever its ending
    ],
)
def test_which_files_are_meant(made, names, patterns, found, left_out, tmp_path, monkeypatch):
    shutil.rmtree(tmp_path / "w", ignore_errors=True)
    for name in made:
        (tmp_path / "w" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "w" / name).touch()
    monkeypatch.chdir(tmp_path / "w")
    images = find_images(names, patterns=patterns)
    assert [str(path) for path in images.paths] == found
    assert [str(path) for path in images.left_out] == left_out


def test_names_that_are_no_utf8_and_windows_lines():
    assert split_names(b"\xef\xbb\xbfa.png\r\n caf\xe9.png \r\n") == ["a.png", os.fsdecode(b" caf\xe9.png ")]
    assert split_names(b"a\nb.png\0c.png\0") == ["a\nb.png", "c.png"]


def test_images_that_cannot_be_read_are_named_one_a_line(call, finished, classes, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    good = next(classes.glob("*/*.png"))
    words = (tmp_path / "broken.png", tmp_path / "none.png", tmp_path / "empty", good)
    status, _, err = call("predict", finished, *words, "--csv", tmp_path / "a.csv")
    assert status == 1
    assert [row["image"] for row in rows_of(tmp_path / "a.csv")] == [str(good)]
    lines = err.splitlines()
    assert f"Left out: {tmp_path}/broken.png: not an image of a known format, or damaged" in lines
    assert f"Left out: {tmp_path}/none.png: is not there" in lines
    assert f"Left out: {tmp_path}/empty: is a folder without images" in lines
    assert lines[-1] == "Error: 3 of 4 images left out, for the reasons above"
    status, _, err = call("predict", finished, tmp_path / "none.png", "--csv", tmp_path / "b.csv")
    assert (status, (tmp_path / "b.csv").exists()) == (1, False)
    assert not list(tmp_path.glob("*partial")), "nothing half-written stays"


def test_images_of_another_size_and_colour_are_read_as_the_runs(call, finished, tmp_path):
    Image.new("RGB", (61, 40), "white").save(tmp_path / "wide.jpg")
    status, out, err = call("predict", finished, tmp_path, "--json")
    assert (status, [answer["class"] for answer in answers(out)]) == (0, ["light"]), err


def test_a_csv_goes_on_after_a_kill(call, finished, classes, tmp_path):
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    assert call("predict", finished, classes, "--csv", whole, "--top-k", 2)[0] == 0
    lines = whole.read_bytes().splitlines(keepends=True)
    assert lines[0] == b"image,class,probability,class 2,probability 2\n"
    for kept in (b"".join(lines[:9]) + lines[9][:-3], b"".join(lines[:9]), lines[0], b""):
        cut.with_name("cut.csv.partial").write_bytes(kept)
        cut.unlink(missing_ok=True)
        status, out, err = call("predict", finished, classes, "--csv", cut, "--top-k", 2, "--resume")
        assert (status, f"{cut}: 24 answers" in out) == (0, True), err
        assert rows_of(cut) == rows_of(whole)
        assert not cut.with_name("cut.csv.partial").exists()
    # More images than before: those that are there are passed over, in a finished file, too.
    more = write(tmp_path / "more", {"new": 90}, count=2)
    assert call("predict", finished, classes, more, "--csv", cut, "--top-k", 2, "--resume")[0] == 0
    assert rows_of(cut)[:24] == rows_of(whole)
    assert len(rows_of(cut)) == 26


def test_what_is_kept_is_not_mixed_with_answers_of_another_kind(call, finished, classes, tmp_path):
    file, names = tmp_path / "a.csv", sorted(classes.glob("*/*.png"))
    assert call("predict", finished, *names[:5], "--csv", file)[0] == 0
    whole = file.read_text()
    status, _, err = call("predict", finished, *names, "--csv", file, "--resume", "--top-k", 2)
    assert (status, "has the columns image, class, probability, and these options give" in err) == (1, True), err
    other = {"dark": "light", "light": "dark"}
    lines = [line.split(",") for line in whole.splitlines()]
    file.write_text("\n".join(",".join([name, other.get(answer, answer), p]) for name, answer, p in lines) + "\n")
    status, _, err = call("predict", finished, *names, "--csv", file, "--resume")
    assert (status, "has other answers than this run gives" in err) == (1, True), err
    file.write_text("a,b\n1,2\n")
    status, _, err = call("predict", finished, *names, "--csv", file, "--resume")
    assert (status, "is not a file of answers" in err) == (1, True)
    assert file.read_text() == "a,b\n1,2\n"


def test_ctrl_c_says_what_is_kept(call, finished, classes, tmp_path, monkeypatch):
    from sepgconv.tasks import prediction

    read, left = prediction.read_file, [10]

    def interrupted(run, path):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return read(run, path)

    monkeypatch.setattr(prediction, "read_file", interrupted)
    file = tmp_path / "a.csv"
    status, _, err = call("predict", finished, classes, "--csv", file, "--batch-size", 4)
    assert (status, f"Stopped. {file}.partial has 8 answers; go on with --resume" in err) == (130, True), err
    monkeypatch.undo()
    assert not file.exists()
    assert call("predict", finished, classes, "--csv", file, "--resume")[0] == 0
    assert len(rows_of(file)) == 24


@each(
    ("words", "sentence"),
    [
        ((), "no image is named; give files, a folder"),
        (("--from", "{empty}"), "names no image"),
        (("{image}", "--resume"), "give it with --csv FILE"),
        (("{image}", "--json", "--csv", "a.csv"), "leave out one of the two"),
        (("{image}", "--device", "gpux"), "a device is called auto, cpu"),
        (("{image}", "--device", "cuda:77"), "this machine has no device 'cuda:77'"),
        (("{image}", "--csv", "{folder}"), "is a folder; give the name of a file"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence, call, finished, classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    places = {"empty": tmp_path / "empty.txt", "image": next(classes.glob("*/*.png")), "folder": tmp_path}
    status, out, err = call("predict", finished, *(word.format(**places) for word in words))
    assert (status, out, sentence in err, err.count("\n")) == (1, "", True, 1), err


def test_long_tables_begin_anew(call, finished, classes, monkeypatch):
    monkeypatch.setattr("sepgconv.cli.predict.BLOCK", 10)
    status, out, err = call("predict", finished, classes, "--batch-size", 5)
    assert status == 0, err
    assert out.count("probability") == 3
    assert out.count("0.png") == 4  # 0 and 10 of each class


def test_masks_are_called_like_their_images(tmp_path):
    """Two images that differ in the ending alone, in batches of their own, do not take each other's file."""
    from sepgconv.cli.predict import _writer_of_masks
    from sepgconv.tasks import get_task

    paths = [tmp_path / name for name in ("a/x.png", "a/x.jpg", "b [1]/y.png")]
    write_masks = _writer_of_masks(get_task("segmentation"), paths, tmp_path / "out")
    for path in paths:
        write_masks([path], torch.rand(1, 3, 8, 8))
    found = [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")]
    assert sorted(found) == ["a/x.jpg-mask.png", "a/x.png-mask.png", "b [1]/y-mask.png"]
    with pytest.raises(ValueError, match="the task 'classification' answers with no images; leave out --masks"):
        _writer_of_masks(get_task("classification"), paths, tmp_path)


def test_names_with_signs_that_end_lines_elsewhere_are_resumed(call, finished, classes, tmp_path):
    names = [tmp_path / f"x{sign}y.png" for sign in ("\u2028", "\x85", "\x0b", "\n")]
    for name in names:
        name.write_bytes(next(classes.glob("light/*.png")).read_bytes())
    file = tmp_path / "a.csv"
    assert call("predict", finished, *names[:3], "--csv", file)[0] == 0
    status, _, err = call("predict", finished, *names, "--csv", file, "--resume")
    assert status == 0, err
    assert [row["image"] for row in rows_of(file)] == [str(name) for name in names]


def test_no_masks_are_drawn_for_the_answer_that_a_resume_compares(call, finished, classes, tmp_path, monkeypatch):
    """Its image need not be among those of the call."""
    drawn = []
    monkeypatch.setattr("sepgconv.cli.predict._writer_of_masks", lambda *given: lambda paths, _: drawn.extend(paths))
    first, second = sorted(classes.glob("light/*.png"))[:2]
    for image in (first, second):
        status, _, err = call("predict", finished, image, "--csv", tmp_path / "a.csv", "--masks", tmp_path, "--resume")
        assert status == 0, err
    assert drawn == [first, second]
