import dataclasses
import statistics as exact

import pytest

from experiments import EXPERIMENTS, Reading, append_record, read_records
from experiments.cells import with_seed
from experiments.comparison import compare, other_records
from experiments.statistics import error, runs_by_data, seconds, seeds
from experiments.table1 import ROWS, SEEDS

ROW = ROWS[-1]
ERRORS = (1.7, 1.8, 1.75, 1.65, 1.9)


@pytest.fixture
def records(record):
    return [record(with_seed(ROW.cell, seed), value) for seed, value in zip(SEEDS, ERRORS, strict=True)]


def reading(records, **fields):
    return Reading({record["fingerprint"]: record for record in records}, **fields)


def line(records, **fields):
    """The row of gc-P4CNN w 30 in Table 1, as text by column."""
    table = compare("", ROWS, SEEDS, reading(records, **fields)).table
    lines = [row for row in table.rows if row[0] == ROW.title]
    return table, [dict(zip(table.columns, row, strict=True)) for row in lines]


def test_mean_and_standard_deviation_of_the_last_epochs(records):
    (runs,) = runs_by_data(records)
    assert runs.mean == pytest.approx(exact.fmean(ERRORS))
    assert runs.deviation == pytest.approx(exact.stdev(ERRORS))
    assert error(runs) == "1.76 ± 0.096"
    assert error(runs_by_data(records[:1])[0]) == "1.70"  # one run has no deviation


def test_a_row_says_all_that_is_asked(records):
    table, (row,) = line(records)
    assert row == {
        "network": "gc-P4CNN, w 30", "data": "rotmnist-generated", "seeds": "1-5", "parameters": "1,000",
        "MACs, nominal / executed (M)": "2.00 / 3.00", "test error %": "1.76 ± 0.096", "paper %": "1.74 ± 0.070",
        "seconds a run (CPU)": "60",
    }  # fmt: skip
    notes = " ".join(table.notes)
    for part in ("5 of 35 cells", "rotmnist-generated", "Epochs: 50", "a processor", "sepgconv 0.1.0", "0123456789ab"):
        assert part in notes


@pytest.mark.parametrize("name", ["figure1", "figure2", "figure3", "beyond", "ranks"])
def test_no_number_is_of_two_data_sets(name, record):
    """Seed 2 was run on other images than seed 1: each is told alone, by the name of its data."""
    experiment = EXPERIMENTS[name]
    shares = {state: [0.25, 0.75] for state in ("before", "after", "shuffled")}
    similarity = {key: [0.5] * 10 for key in ("second_filters", "second_symmetry", "second_maps", "third_filters")}
    found = []
    for cell in (cell for row in experiment.rows if row.seeds is None for cell in row.cells((1, 2))):
        measures = {
            "redundancy": {"layers": [shares] * 6},
            "standardised_redundancy": {"layers": [shares] * 6},
            "convergence": {"validation_error": [2.0 if cell.seed == 1 else 9.0]},
            "equivariance": {"error": 1e-15},
            "initial_error": {"error": 90.0},
            "similarity": {**similarity, "shown": {}},
        }
        if cell.data != "noise":
            data = f"{cell.data}-{'generated' if cell.seed == 1 else 'official'}"
            found.append(record(cell, float(cell.seed), data=data, measures=measures))
    report = experiment.report(reading(found))
    for table in report.tables:
        for line in table.rows:
            assert "1.50" not in line, (table.title, line)  # the mean of both
            assert not any("1.5 " in text for text in line)
    texts = [line[0] for table in report.tables for line in table.rows] + [table.title for table in report.tables]
    for picture in report.pictures:
        if isinstance(picture.content, dict) and "curves" in picture.content:
            texts += picture.content["curves"]
            for curve in picture.content["curves"].values():
                assert len({tuple(point) for point in curve}) == len({point[0] for point in curve}) or name == "ranks"
                assert {point[1] for point in curve} in ({1.0}, {2.0}, {90.0})
    if name != "figure1":
        assert any("official" in text for text in texts)
    else:
        assert sum("official" in text for text in texts) == 4  # two rows of two networks


def test_a_substitutes_record_is_shown_once_and_beside_no_number_of_the_paper(record):
    table2 = EXPERIMENTS["table2"]
    cell = next(row.cell for row in table2.substitutes if row.cell.data == "cifar10-jpeg75")
    found = reading([record(cell)])
    assert other_records(table2, found) is None
    on_it = table2.report(found).tables[1]
    assert {line[on_it.columns.index("paper %")] for line in on_it.rows} == {"other images", "-"}


def test_a_diverged_seed_is_shown_and_enters_no_mean(records, record):
    lost = record(with_seed(ROW.cell, 3), None, status="diverged", epochs=2, problem="the loss is nan in epoch 3")
    table, (row,) = line([*records[:2], lost, *records[3:]])
    assert row["seeds"] == "1-2, 4-5; diverged: 3"
    assert (
        row["test error %"]
        == f"{exact.fmean(ERRORS[:2] + ERRORS[3:]):.2f} ± {exact.stdev(ERRORS[:2] + ERRORS[3:]):.3f}"
    )
    assert "5 of 35 cells, 1 of them diverged." in table.notes
    assert any("Diverged: gc_p4cnn w 30, seed 3: the loss is nan" in note for note in table.notes)
    _, (alone,) = line([lost])
    assert (alone["test error %"], alone["seeds"]) == ("-", "none; diverged: 3")


def test_two_kinds_of_images_are_two_lines(records):
    others = [{**record, "data": "rotmnist-official", "test_error": 50.0} for record in records[3:]]
    _, rows = line([*records[:3], *others])
    assert {row["data"]: row["test error %"] for row in rows} == {
        "rotmnist-generated": "1.75 ± 0.050",
        "rotmnist-official": "50.00 ± 0.000",
    }


def test_runs_that_name_their_kind_of_images_stand_in_the_same_table(records, record):
    """Where generated images were used already, the official ones are another line; no seed counts twice."""
    official = [record(dataclasses.replace(ROW.cell, data="rotmnist-official", seed=seed), 40.0) for seed in (1, 2)]
    again = record(dataclasses.replace(ROW.cell, data="rotmnist-generated", seed=5), 90.0)
    table, rows = line([again, *official, *records])
    assert {row["data"]: (row["seeds"], row["test error %"]) for row in rows} == {
        "rotmnist-generated": ("1-5", "1.76 ± 0.096"),
        "rotmnist-official": ("1-2", "40.00 ± 0.000"),
    }
    assert {row["paper %"] for row in rows} == {ROW.published}
    assert {"rotmnist-generated: 5 of 35 cells.", "rotmnist-official: 2 of 35 cells."} < set(table.notes)
    assert other_records(EXPERIMENTS["table1"], reading([again, *official, *records])) is None


def test_another_config_or_version_enters_no_mean(tmp_path, records, record):
    """The negative control is the first assertion of the last three: without them the mean is what it is."""
    file = tmp_path / "table1.jsonl"
    for each in records:
        append_record(file, each)
    other_config = dataclasses.replace(ROW.cell, overrides={"lr": 0.5}, seed=1)
    append_record(file, record(other_config, 90.0))
    append_record(file, record(with_seed(ROW.cell, 6), 90.0, versions={"sepgconv": "0.0.1"}))
    found = read_records(file)
    table = compare("", ROWS, SEEDS, found).table
    (row,) = [row for row in table.rows if row[0] == ROW.title]
    assert row[5] == "1.76 ± 0.096"
    assert any("Kept apart, in no mean: 1 record of version 0.0.1" in note for note in table.notes)
    others = other_records(EXPERIMENTS["table1"], found)
    assert [row[-1] for row in others.rows] == ["90.00"]
    assert other_records(EXPERIMENTS["table1"], reading(records)) is None
    append_record(file, record(with_seed(ROW.cell, 6), 90.0))  # of this config and version: it does count
    assert compare("", ROWS, SEEDS, read_records(file)).table.rows[-1][5] != "1.76 ± 0.096"


@pytest.mark.parametrize("count", [1, 2])
def test_notes_count_in_english(count, records):
    lines = tuple(f"line {number} is damaged" for number in range(count))
    notes = compare("", ROWS, SEEDS, reading([], damaged=lines, apart=tuple(records[:count]))).table.notes
    ending = "1 damaged line was left out." if count == 1 else "2 damaged lines were left out."
    assert ending in notes
    assert any(f"{count} record{'s' * (count > 1)} of version 0.1.0" in note for note in notes)


def test_table_1_says_how_far_it_is_from_the_paper(record):
    """Ours less the paper's of each row on each kind of images, smallest to largest."""
    from experiments.table1 import findings, report

    found = [record(row.cell, float(row.published.split()[0]) + 0.1 * place) for place, row in enumerate(ROWS)]
    official = record(dataclasses.replace(ROW.cell, data="rotmnist-official"), 1.0)
    (table,) = report(reading([*found, official])).tables
    assert "Our means less the paper's on rotmnist-generated: +0.00 to +0.60 points." in table.notes
    assert "Our means less the paper's on rotmnist-official: -0.74 to -0.74 points." in table.notes
    ranked = findings(reading(found))[0]
    assert ranked.index("gc-P4CNN, w 30: 2.34 (1.74)") < ranked.index("Z2CNN, w 20: 5.20 (5.20)")
    assert findings(Reading()) == ()


def test_a_cell_of_table_1_has_the_papers_value_wherever_it_stands():
    published = {row.cell.row_key: row.published for row in ROWS}
    for name in ("figure3", "beyond"):
        stands = {row.cell.row_key: row.published for row in EXPERIMENTS[name].rows if row.cell.row_key in published}
        assert stands == {row: published[row] for row in stands}
        assert len(stands) == (3 if name == "figure3" else 7) or set(stands) == set(published)


def test_one_run_has_no_bar_of_a_deviation(record):
    from experiments.figure3 import WIDTH_ROWS, curves_of

    row = WIDTH_ROWS[0]
    one, two = ([record(with_seed(row.cell, seed), 2.0 + seed) for seed in seeds] for seeds in ((1,), (1, 2)))
    assert curves_of("", reading(one), [(600, row)]) == {"": [[600.0, 3.0, None]]}
    assert curves_of("", reading(two), [(600, row)]) == {"": [[600.0, 3.5, 0.7071]]}


def test_differences_of_figure_2_spread_over_seeds(record):
    """Two seeds of ten sets each: what counts is that there are two."""
    figure2 = EXPERIMENTS["figure2"]
    cell = figure2.rows[0].cell
    found = []
    for seed, after in ((3, 0.6), (4, 0.7)):
        shares = {"before": [0.4] * 10, "after": [after] * 10, "shuffled": [0.5] * 10}
        measures = {key: {"layers": [shares]} for key in cell.measures}
        found.append(record(with_seed(cell, seed), measures=measures))
    table = next(table for table in figure2.report(reading(found)).tables if "seeds 3-4" in table.title)
    assert table.rows == (("layer 2", "20", "40.0", "65.0", "50.0", "+15.0 ± 7.1"),)
    table = next(table for table in figure2.report(reading(found[:1])).tables if "seed 3" in table.title)
    assert table.rows[0][-1] == "+10.0"


def test_a_row_whose_seeds_all_diverged_is_called_that(record):
    from experiments.beyond import INITIALISATION_ROWS

    lost = record(INITIALISATION_ROWS[0].cell, None, status="diverged", epochs=2, problem="the loss is nan")
    table = next(t for t in EXPERIMENTS["beyond"].report(reading([lost])).tables if "Epochs until" in t.title)
    assert [row[1] for row in table.rows] == ["diverged", "not run", "not run", "not run"]


def test_seconds_of_different_devices_stay_apart(records):
    mixed = [*records[:2], *({**record, "device": "b processor", "seconds": 20.0} for record in records[2:])]
    assert seconds(runs_by_data(mixed)[0]) == "60 / 20"
    assert seconds(runs_by_data(records)[0]) == "60"


def test_seconds_of_the_processor_stand_beside_them_where_all_records_have_them(records):
    timed = [{**record, "cpu_seconds": 40.0 + index} for index, record in enumerate(records[:3])]
    assert seconds(runs_by_data(timed)[0]) == "60 (41)"
    assert seconds(runs_by_data([*timed, *records[3:]])[0]) == "60"


def test_seeds_are_written_shortly(record):
    (runs,) = runs_by_data([record(with_seed(ROW.cell, seed)) for seed in (1, 2, 3, 7, 9)])
    assert seeds(runs) == "1-3, 7, 9"


def test_what_was_not_run_is_called_that():
    table = compare("", ROWS, SEEDS, Reading()).table
    assert {row[5] for row in table.rows} == {"not run"}
    assert "0 of 35 cells." in table.notes


def test_a_substitute_stands_beside_no_number_of_the_paper(record):
    from experiments.table2 import report, rows

    cells = [row.cell for row in rows("cifar10-jpeg75")]
    text = repr(report(reading([record(cell, 33.0) for cell in cells])))
    original, substitute = report(reading([record(cell, 33.0) for cell in cells])).tables
    assert {row[5] for row in original.rows} == {"not run"}
    assert {row[5] for row in substitute.rows} == {"33.00"}
    assert {row[6] for row in substitute.rows} == {"other images", "-"}  # of a short training there is none
    assert "do not compare with the paper's" in text
    originals, *rest = report(reading([record(row.cell, 33.0) for row in rows("cifar10")])).tables
    assert rest == []
    assert {row[6] for row in originals.rows} >= {"13.43", "5.43"}
