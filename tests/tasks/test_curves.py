import pytest
from matplotlib.figure import Figure

from sepgconv.tasks import get_task
from sepgconv.tasks.curves import draw_curves

CLASSIFICATION = get_task("classification")
ROWS = [
    {"epoch": 1, "train_loss": 2.0, "train_error": 50.0, "validation_loss": 2.5, "validation_error": 60.0},
    {"epoch": 2, "train_loss": 1.0, "train_error": 30.0, "validation_loss": 1.5, "validation_error": 40.0},
]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures = []
    savefig = Figure.savefig

    def keep(self, *arguments, **options):
        figures.append(self)
        savefig(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_both_curves_are_drawn_with_labels_and_the_test_error(tmp_path, drawn):
    draw_curves(tmp_path / "curves.png", ROWS, title="a run", task=CLASSIFICATION, test=45.0)
    loss, error = drawn[0].axes
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "cross entropy")
    assert (error.get_xlabel(), error.get_ylabel()) == ("epoch", "error in %")
    lines = {line.get_label(): line.get_xydata().tolist() for line in loss.get_lines()}
    assert lines == {"train, running mean": [[1, 2.0], [2, 1.0]], "validation": [[1, 2.5], [2, 1.5]]}
    lines = {line.get_label(): line.get_xydata().tolist() for line in error.get_lines()}
    assert lines == {
        "train, running mean": [[1, 50.0], [2, 30.0]],
        "validation": [[1, 60.0], [2, 40.0]],
        "test, last epoch": [[2, 45.0]],
    }


def test_without_validation_there_is_no_curve_of_it(tmp_path, drawn):
    rows = [{key: value for key, value in row.items() if "validation" not in key} for row in ROWS]
    draw_curves(tmp_path / "curves.png", rows, title="a run", task=CLASSIFICATION, test=45.0)
    assert [line.get_label() for line in drawn[0].axes[0].get_lines()] == ["train, running mean"]


def test_no_window_system_and_no_global_figure_is_touched(tmp_path):
    import sys

    loaded = "matplotlib.pyplot" in sys.modules
    draw_curves(tmp_path / "curves.png", ROWS, title="a run", task=CLASSIFICATION, test=45.0)
    assert ("matplotlib.pyplot" in sys.modules) == loaded


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("net on npz:w$x_$", "net on npz:w$x_$"),
        ("$\\frac{$ \\alpha^{", "$\\frac{$ \\alpha^{"),
        ("a\nb\x1b[31m\udcff", "a\\nb\\x1b[31m\\udcff"),
        ("日本 \U0001f600", "日本 \U0001f600"),
        (200 * "x" + "end", 54 * "x" + "…" + 52 * "x" + "end"),
    ],
)
def test_a_title_is_text_and_no_formula(tmp_path, drawn, title, shown):
    draw_curves(tmp_path / "curves.png", ROWS, title=title, task=CLASSIFICATION, test=45.0)
    words = drawn[0].get_suptitle()
    assert words == shown
    assert not drawn[0]._suptitle.get_parse_math()


def test_a_users_settings_for_formulas_change_nothing(tmp_path, drawn):
    import matplotlib as mpl

    with mpl.rc_context({"text.usetex": True}):
        draw_curves(tmp_path / "curves.png", ROWS, title="w$x_$", task=CLASSIFICATION, test=45.0)
    assert not drawn[0]._suptitle.get_usetex()


def test_without_a_row_there_is_a_picture_all_the_same(tmp_path):
    draw_curves(tmp_path / "curves.png", [], title="a run", task=CLASSIFICATION, test=45.0)
    assert (tmp_path / "curves.png").stat().st_size > 1000
