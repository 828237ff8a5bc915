import contextlib
import json
import random
import threading
import time
from pathlib import Path

import pytest

from experiments import EXPERIMENTS, Cell, append_record, read_records
from experiments import record as record_module
from experiments import store as store_module
from experiments.cells import with_seed
from experiments.runner import damage
from sepgconv._files import values_digest
from tests.covering import each

CELL = Cell(model="gc_p4cnn", model_config={"width": 30})


@pytest.fixture
def file(tmp_path):
    return tmp_path / "results" / "table1.jsonl"


def test_a_record_comes_back(file, record):
    assert read_records(file).records == {}
    append_record(file, record(CELL))
    append_record(file, record(with_seed(CELL, 2), 3.0))
    assert len(file.read_text().splitlines()) == 2
    reading = read_records(file)
    assert reading.find(CELL) == record(CELL)
    assert [r["test_error"] for r in reading.of_row(CELL)] == [2.0, 3.0]
    assert reading.find(with_seed(CELL, 3)) is None


def test_a_cell_is_written_once_and_again_only_with_more_measures(file, record):
    append_record(file, record(CELL))
    append_record(file, record(CELL, 9.0))
    assert len(file.read_text().splitlines()) == 1
    measured = Cell(model="gc_p4cnn", model_config={"width": 30}, measures=("redundancy",))
    assert read_records(file).find(measured) is None
    append_record(file, record(measured, measures={"redundancy": {"layers": []}}))
    assert read_records(file).find(measured) is not None
    assert len(read_records(file).of_row(CELL)) == 1  # once in every mean


def with_measure(line, **measures):
    return json.dumps({**json.loads(line), "measures": measures}).encode()


def without(record, key):
    return {name: value for name, value in record.items() if name != key}


DAMAGES = {
    "cut": lambda line: line[: len(line) // 2],
    "not JSON": lambda line: b"nonsense",
    "not UTF-8": lambda line: b"\xff\xfe" + line,
    "no object": lambda line: b"[1, 2]",
    "lacks test_error": lambda line: json.dumps(without(json.loads(line), "test_error")).encode(),
    "NaN": lambda line: line.replace(b'"test_error": 2.0', b'"test_error": NaN'),
    "0 to 100": lambda line: line.replace(b'"test_error": 2.0', b'"test_error": 200.0'),
    "got None": lambda line: line.replace(b'"test_error": 2.0', b'"test_error": null'),
    "its fingerprint": lambda line: line.replace(b'"lr": 0.01', b'"lr": 0.02'),
    "model or seed": lambda line: json.dumps({**json.loads(line), "seed": 9}).encode(),
    "7 epochs": lambda line: json.dumps({**json.loads(line), "epochs": 7}).encode(),
    "unknown status": lambda line: json.dumps({**json.loads(line), "status": "great"}).encode(),
    "cell and versions must be objects": lambda line: json.dumps({**json.loads(line), "cell": None}).encode(),
    "must be objects": lambda line: json.dumps({**json.loads(line), "versions": "0.1.0"}).encode(),
    "it lacks protocol": lambda line: json.dumps({**json.loads(line), "cell": {"config": {}}}).encode(),
    "nested": lambda line: b"[" * 200_000,
    "seconds must be a number": lambda line: json.dumps({**json.loads(line), "seconds": None}).encode(),
    "seconds must be a number, 0": lambda line: line.replace(b'"seconds": 60.0', b'"seconds": 1e999'),
    "too large": lambda line: line.replace(b'"parameters": 1000', b'"parameters": 1' + b"0" * 400),
    "parameters must be a whole number": lambda line: json.dumps({**json.loads(line), "parameters": "x"}).encode(),
    "nominal_macs must be": lambda line: json.dumps({**json.loads(line), "nominal_macs": "x"}).encode(),
    "data must be a string": lambda line: json.dumps({**json.loads(line), "data": None}).encode(),
    "device must be a string": lambda line: json.dumps({**json.loads(line), "device": None}).encode(),
    "commit must be a string": lambda line: json.dumps({**json.loads(line), "commit": 5}).encode(),
    "cpu_seconds must be": lambda line: json.dumps({**json.loads(line), "cpu_seconds": "x"}).encode(),
    "measures must be an object": lambda line: json.dumps({**json.loads(line), "measures": []}).encode(),
    "images must be an object": lambda line: json.dumps({**json.loads(line), "images": "x"}).encode(),
    "redundancy must hold layers": lambda line: with_measure(line, redundancy={}),
    "lists of numbers before, after": lambda line: with_measure(line, redundancy={"layers": [{"before": [0.5]}]}),
    "validation_error, a list": lambda line: with_measure(line, convergence={"validation_error": [2.0, None]}),
    "initial_error must hold error": lambda line: with_measure(line, initial_error={"error": "90"}),
    "similarity must hold": lambda line: with_measure(line, similarity={"shown": {}}),
    "its fingerprint is": lambda line: json.dumps({**json.loads(line), "cell": {"protocol": 1, "config": {}}}).encode(),
}  # fmt: skip


@each("reason", DAMAGES)
def test_a_damaged_line_is_named_and_left_out_and_its_cell_runs_again(reason, file, record):
    file.unlink(missing_ok=True)
    for seed in (1, 2, 3):
        append_record(file, record(with_seed(CELL, seed)))
    lines = file.read_bytes().splitlines()
    damaged = DAMAGES[reason](lines[1])
    assert damaged != lines[1]
    file.write_bytes(b"\n".join([lines[0], damaged, lines[2]]) + b"\n")
    reading = read_records(file)
    (sentence,) = reading.damaged
    assert f"{file}, line 2 is damaged" in sentence
    if reason not in ("cut", "not JSON", "not UTF-8", "no object", "nested"):
        assert reason in sentence
    assert [reading.find(with_seed(CELL, seed)) is not None for seed in (1, 2, 3)] == [True, False, True]
    append_record(file, record(with_seed(CELL, 2)))
    assert read_records(file).find(with_seed(CELL, 2)) is not None
    assert file.read_bytes().splitlines()[:3] == [lines[0], damaged, lines[2]]  # nothing of the user's is touched


def test_a_line_cut_at_the_end_of_the_file_does_not_spoil_the_next(file, record):
    append_record(file, record(CELL))
    file.write_bytes(file.read_bytes()[:-40])
    append_record(file, record(CELL))
    reading = read_records(file)
    assert len(reading.damaged) == 1
    assert reading.find(CELL) is not None


@pytest.mark.parametrize("versions", [{"sepgconv": "0.0.1"}, {}])
def test_records_of_another_version_are_kept_apart(versions, file, record):
    append_record(file, record(CELL, versions=versions))
    reading = read_records(file)
    assert reading.find(CELL) is None
    assert reading.of_row(CELL) == []
    assert [r["versions"] for r in reading.apart] == [versions]


def test_what_a_task_measures_must_be_there(file, record):
    for task, measure in (("controlled", "similarity"), ("equivariance", "equivariance")):
        with pytest.raises(ValueError, match=f"lacks the measure {measure}"):
            append_record(file, record(Cell(model="gc_p4cnn", model_config={"width": 30}, task=task)))


def test_a_record_of_another_protocol_may_look_otherwise(file, record):
    """It is told apart before anything else in it is read."""
    line = record(CELL)
    line["cell"] = {"protocol": 7, "config": {"what": "ever"}}
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(line) + "\n")
    reading = read_records(file)
    assert (reading.records, len(reading.apart), reading.damaged) == ({}, 1, ())


def test_records_of_another_protocol_are_kept_apart(file, record, monkeypatch):
    append_record(file, record(CELL))
    from experiments import cells

    monkeypatch.setattr(cells, "PROTOCOL", 2)
    monkeypatch.setattr(record_module, "PROTOCOL", 2)
    reading = read_records(file)
    assert reading.records == {}
    assert len(reading.apart) == 1


def test_this_version_counts():
    import sepgconv
    from experiments.cells import COMPARABLE_VERSIONS

    assert sepgconv.__version__ in COMPARABLE_VERSIONS, (
        "if the new version trains to the same numbers, add it to COMPARABLE_VERSIONS; "
        "else put it there alone and run the tables again"
    )


def append_from_threads(file, lines):
    threads = [threading.Thread(target=append_record, args=(file, line)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture
def slow_writes(monkeypatch):
    write = store_module.write_atomically

    def wait_and_write(path, content):
        time.sleep(0.02)
        write(path, content)

    monkeypatch.setattr(store_module, "write_atomically", wait_and_write)


@pytest.mark.usefixtures("slow_writes")
def test_writers_at_the_same_time_lose_nothing(file, record):
    append_from_threads(file, [record(with_seed(CELL, seed)) for seed in range(1, 11)])
    assert len(read_records(file).of_row(CELL)) == 10


@pytest.mark.usefixtures("slow_writes")
def test_without_the_lock_they_would(file, record, monkeypatch):
    """Negative control."""
    monkeypatch.setattr(store_module, "FileLock", lambda path: contextlib.nullcontext())
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)  # they also take each other's parts
    append_from_threads(file, [record(with_seed(CELL, seed)) for seed in range(1, 11)])
    assert len(read_records(file).of_row(CELL)) < 10


def test_a_writer_that_dies_leaves_the_file_whole(file, record, monkeypatch):
    append_record(file, record(CELL))
    before = file.read_bytes()

    def die(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", die)
        with pytest.raises(KeyboardInterrupt):
            append_record(file, record(with_seed(CELL, 2)))
    assert file.read_bytes() == before
    append_record(file, record(with_seed(CELL, 2)))  # the lock is free again
    assert len(read_records(file).records) == 2


def test_what_is_no_record_is_not_written(file, record):
    for wrong in ({"test_error": 1.0}, record(CELL, float("nan"))):
        with pytest.raises(ValueError, match=r"it lacks|not JSON compliant|out of range"):
            append_record(file, wrong)
    assert not file.exists()


def test_a_diverged_cell_is_done(file, record):
    append_record(file, record(CELL, None, status="diverged", epochs=3, problem="the loss is nan"))
    assert read_records(file).find(CELL)["status"] == "diverged"


def test_every_flipped_bit_of_a_record_is_named_or_changes_nothing(file, record):
    """One changed a published error from 58.29 to 57.79."""
    append_record(file, record(CELL))
    whole, chance, noticed = file.read_bytes(), random.Random(0), 0
    for _ in range(60):
        bit = chance.randrange(8 * len(whole))
        file.write_bytes(whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])
        reading = read_records(file)
        if reading.damaged:
            noticed += 1
            assert reading.records == {}
            assert f"{file}, line 1 is damaged" in reading.damaged[0]
        else:
            assert list(reading.records.values()) == [record(CELL)]
    assert noticed > 50


@pytest.mark.parametrize("change", [("2.0", "3.0"), ("executed_macs", "exceuted_macs"), ("60.0", "61.0")])
def test_an_edited_record_is_damaged(file, record, change):
    append_record(file, record(CELL))
    file.write_text(file.read_text().replace(*change, 1))
    assert "its contents are not those that its digest was taken of" in read_records(file).damaged[0]


def older(file, *records):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in records))


def test_records_of_an_older_version_are_read_with_one_sentence(file, record):
    older(file, record(CELL), record(with_seed(CELL, 2)))
    before = file.read_bytes()
    append_record(file, record(with_seed(CELL, 3)))
    reading = read_records(file)
    assert (len(reading.records), reading.unsealed, reading.damaged) == (3, 2, ())
    assert file.read_bytes().startswith(before)
    (sentence,) = damage(file.parent, ("table1", "table2"))
    assert sentence.startswith(f"2 records in {file.parent} of an older version, which kept no digests")


def test_records_without_a_digest_are_compared_with_the_file_of_digests(file, record):
    older(file, record(CELL), record(with_seed(CELL, 2)))
    sums = [f"{values_digest(r)}  {file.name} {r['fingerprint']}\n" for r in (record(CELL), record(with_seed(CELL, 2)))]
    (file.parent / "SHA256SUMS").write_text("".join(sums))
    assert damage(file.parent, ("table1",)) == []
    file.write_text(file.read_text().replace('"test_error": 2.0', '"test_error": 3.0', 1))
    (sentence,) = damage(file.parent, ("table1",))
    assert "line 1 is damaged (its contents are not those that SHA256SUMS has the digest of)" in sentence
    assert read_records(file).find(CELL) is None
    assert read_records(file).find(with_seed(CELL, 2)) is not None
    (file.parent / "SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(ValueError, match=r"SHA256SUMS, line 1 is damaged"):
        read_records(file)


def test_the_committed_records_have_their_digests():
    results = Path(__file__).parents[2] / "results"
    tables = tuple(EXPERIMENTS)
    assert damage(results, tables) == []
    assert sum(len(read_records(results / f"{table}.jsonl").records) for table in tables) > 100
