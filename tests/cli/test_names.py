"""Names from outside in every command: shown as they are, obeyed by nothing, and nothing ends because of them."""

import contextlib
import io
import itertools
import json
import shutil
import sys
import unicodedata

import numpy as np
import pytest
from PIL import Image

from tests.covering import each
from tests.networks import SMALL, register_small

pytestmark = pytest.mark.usefixtures("as_installed")  # conversion cannot read through checks of annotations

# What rich, Matplotlib, a terminal, HTML, Markdown, a format and a shell take for something else than text.
NAME = "[red]t :smile: $x_$ \\alpha^{ \x1b[31m\x1b]8;;u\x07 \n\t\u202e <b>|`* {0}%s $HOME ~"
SHOWN = "[red]t :smile: $x_$ \\alpha^{ \\x1b[31m\\x1b]8;;u\\x07 \\n\\t\\u202e <b>|`* {0}%s $HOME ~"
ENDING = "[/x][/b]"  # ends what nobody began; no name of a file


def run(*words):
    """Call the command line in this process; return its exit status and what it printed.

    If the first word is "experiments", it is that of `python -m experiments`.
    """
    from experiments.__main__ import main as experiments
    from sepgconv.cli import main as sepgconv
    from sepgconv.cli import output

    output.PIPED_WIDTH = 2000  # where a name is folded would depend on the length of the temporary folder's
    program = words[0] if words[0] == "experiments" else "sepgconv"
    main = {"sepgconv": sepgconv, "experiments": experiments}[program]
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [program, *map(str, words[program == "experiments" :])]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = before
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()


def squeezed(text):
    """A text without what tables fold and frame."""
    return "".join(c for c in text if not c.isspace() and c not in "│╭╮╰╯─")


def check(result, shown=SHOWN, *, status=0):
    """The command ended as it should; it showed the name; nothing that a terminal obeys came out."""
    found, out, err = result
    assert found == status, out + err
    assert "Traceback" not in err
    raw = [c for c in out + err if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"]
    assert raw == []
    printed = squeezed(out + err).replace("\\x0a", "\\n").replace("\\x09", "\\t")  # as click writes them
    # Word by word: cells of a table are folded side by side.
    assert [word for word in shown.split() if word not in printed and word not in printed.replace("\\\\", "\\")] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("names")


@pytest.fixture(scope="module")
def data(folder):
    """A folder of classes; its own name, a class and the files are hostile."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(("plain", f"z{NAME}")):
        (folder / NAME / name).mkdir(parents=True)
        for index in range(8):
            pixels = generator.integers(0, 60, (28, 28)) + 190 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / NAME / name / f"{index}{NAME}.png")
    return folder / NAME


@pytest.fixture(scope="module")
def trained(as_installed, folder, data):
    register_small(as_installed)
    words = ("train", SMALL, "--width", 4, "--data", data, "--image-size", 28, "--epochs", 8, "--lr", 0.02)
    result = run(*words, "--batch-size", 4, "--threads", 1, "--out", folder / f"run{NAME}")
    return folder / f"run{NAME}", result


def test_train(trained, folder):
    path, result = trained
    check(result)
    assert {"metrics.csv", "curves.png", "record.json", "tensorboard"} <= {file.name for file in path.iterdir()}
    assert len([file for file in (path / "tensorboard").iterdir() if "tfevents" in file.name]) == 1
    assert json.loads((path / "record.json").read_text())["classes"] == ["plain", f"z{NAME}"]
    assert len(list(folder.iterdir())) == 2  # "$HOME" and "~" made no other folder


def test_evaluate(trained):
    check(run("evaluate", trained[0]))


def test_predict(trained, data, folder):
    picture = folder / f"p{NAME}.png"
    shutil.copy(next((data / f"z{NAME}").iterdir()), picture)
    result = run("predict", trained[0], picture)
    check(result, f"p{SHOWN}.png")
    assert squeezed(f"z{SHOWN}".split()[0]) in squeezed(result[1]), "the class"
    status, out, _ = run("predict", "--json", trained[0], picture)
    assert status == 0
    answer = json.loads(out)
    assert (answer["image"], answer["class"]) == (str(picture), f"z{NAME}")


def test_predict_a_file_whose_name_is_no_utf8(trained, data, folder):
    picture = folder / "p\udcff.png"
    shutil.copy(next((data / "plain").iterdir()), picture)
    check(run("predict", trained[0], picture), "p\\udcff.png")
    assert json.loads(run("predict", "--json", trained[0], picture)[1])["image"] == str(picture)


def test_analyse(trained, folder):
    page = folder / f"r{NAME}.html"
    check(run("analyse", trained[0], "--out", page, "--json", folder / f"r{NAME}.json"), f"r{SHOWN}.html")
    assert page.is_file()


def test_certify(trained, folder):
    check(run("certify", trained[0], "--curve", folder / f"c{NAME}.png"), f"run{SHOWN}")
    with Image.open(folder / f"c{NAME}.png") as picture:
        assert min(picture.size) > 100


def test_separate(folder, data):
    words = ("train", "p4cnn", "--width", 2, "--data", data, "--image-size", 28, "--epochs", 1, "--threads", 1)
    assert run(*words, "--out", folder / f"full{NAME}")[0] == 0
    check(
        run("separate", folder / f"full{NAME}", "--rank", 1, "--finetune", 0, "--out", folder / f"s{NAME}"), f"s{SHOWN}"
    )


def test_export(trained, folder):
    check(run("export", trained[0], "--to", "conv", "--out", folder / f"e{NAME}.pt2"), f"e{SHOWN}.pt2")


@pytest.mark.parametrize("to", ["conv", "onnx"])
def test_export_to_a_file_whose_name_is_no_utf8(trained, folder, to):
    ending = {"conv": "pt2", "onnx": "onnx"}[to]
    check(run("export", trained[0], "--to", to, "--out", folder / f"e\udcff.{ending}"), f"e\\udcff.{ending}")


def test_a_run_in_a_folder_whose_name_is_no_utf8(trained, folder, data):
    """TensorBoard can write to no such folder, which is said; all else is there."""
    path = folder / "r\udcff" / "below"
    words = ("train", SMALL, "--width", 2, "--data", data, "--image-size", 28, "--epochs", 1, "--threads", 1)
    with pytest.warns(UserWarning, match="TensorBoard can write to no such folder"):
        result = run(*words, "--out", path)
    check(result, "r\\udcff/below")
    assert {"metrics.csv", "curves.png", "record.json"} <= {file.name for file in path.iterdir()}
    assert not (path / "tensorboard").exists()
    picture = next((data / "plain").iterdir())
    for command in (("evaluate",), ("predict",), ("certify",), ("analyse",)):
        more = {"predict": (picture,), "analyse": ("--out", path / "r.html")}.get(command[0], ())
        check(run(*command, path, *more), "r\\udcff/below")


WRONG = [
    ("train", "{}"),
    ("train", "p4cnn", "--data", "{}"),
    ("train", "p4cnn", "--recipe", "{}"),
    ("train", "p4cnn", "--augmentation", "{}"),
    ("train", "p4cnn", "--initialisation", "{}"),
    ("train", "p4cnn", "--devices", "{}"),
    ("evaluate", "{}"),
    ("predict", "{}", "a.png"),
    ("analyse", "{}"),
    ("separate", "{}", "--rank", "1"),
    ("certify", "{}"),
    ("certify", "p4cnn", "--width", "2", "--group", "{}"),
    ("export", "{}", "--to", "conv", "--out", "a.pt2"),
    ("info", "{}"),
    ("info", "p4cnn", "--group", "{}"),
    ("info", "p4cnn", "-o", "{}=1"),
    ("paper", "{}"),
    ("experiments", "{}"),
    ("experiments", "table1", "--only", "{}"),
    ("experiments", "table1", "--seeds", "{}"),
    ("experiments", "render", "--results", "{}"),
    ("models", "{}"),
    ("data", "{}"),
    ("demo", "{}"),
    ("{}",),
]


@each(("words", "name"), zip(WRONG, itertools.cycle([NAME, ENDING, "\udcff"])))
def test_a_word_that_is_wrong_is_shown_as_it_was_typed(words, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = run(*(word.replace("{}", name) for word in words))
    status, out, err = result
    assert status in (1, 2)
    check((1, out, err), {NAME: SHOWN, ENDING: ENDING, "\udcff": "\\udcff"}[name], status=1)


def test_options_that_do_not_exist_are_shown(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    check(run("info", "p4cnn", "--[red]\x1b[31m"), "--[red]\\x1b[31m", status=2)


def test_paper_runs_cells_on_data_with_such_a_name(tmp_path, monkeypatch):
    """The bar, the plan and the table show labels and data."""
    words = ("experiments", "table1", "--seeds", 1, "--only", "gc_p4cnn-w10", "--data", f"{tmp_path}/{NAME}")
    words += ("--results", tmp_path / "results")
    check(run(*words, "--dry-run"))
    check(run(*words, "--workers", 1, "--threads", 1), status=1)  # there are no such data


def test_records_with_such_words_are_shown(tmp_path):
    from experiments import append_record
    from experiments.table1 import ROWS

    cell = ROWS[0].cell
    text = f"{NAME} {ENDING}"
    record = {
        "table": "table1", "fingerprint": cell.fingerprint, "row": cell.row_key, "status": "diverged",
        "cell": cell.specification(), "model": cell.model, "width": 1, "seed": 1, "data": text, "parameters": 1,
        "device": text, "commit": text, "versions": {"sepgconv": "0.1.0", "torch": text},
        "config": cell.config.to_dict(), "epochs": 1,
        "seconds": 1.0, "test_error": None, "measures": {}, "problem": text, "threads": 1, "nominal_macs": None,
        "executed_macs": None,
    }  # fmt: skip
    append_record(tmp_path / "table1.jsonl", record)
    check(run("experiments", "table1", "--results", tmp_path, "--longest", 0), f"{SHOWN} {ENDING}")
    docs = tmp_path / "docs"
    assert run("experiments", "render", "--results", tmp_path, "--docs", docs, "--readme", tmp_path / "none")[0] == 0
    page = (docs / "table1.md").read_text()
    assert "<b>" not in page
    assert "\x1b" not in page
    assert "&#60;b>" in page
    assert all(line.count("|") in (0, 9) for line in page.splitlines()), "columns stay columns"


def test_a_saved_network_in_such_a_folder(folder):
    import sepgconv

    path = folder / f"saved{NAME}"
    sepgconv.save(sepgconv.create_model("p4cnn", width=2), path)
    check(run("certify", path, "--samples", 2), f"saved{SHOWN}")
    shutil.rmtree(path)
