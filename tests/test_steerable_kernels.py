"""The comparison of steerable kernels in docs/theory.md: rendered from its record, which is what is measured."""

import copy
import io
import math
import re

import numpy as np
import pytest
from PIL import Image

from experiments.render.pictures import CONTENT, content_hash, png
from tests.covering import named
from tools import steerable_kernels
from tools.kernel_families import families
from tools.steerable_kernels import PAGE, PICTURE, ROOT, measure, measure_choices, measure_families, page_with, picture

RECORD = steerable_kernels.read()
# From another program, written before: |w| < 0.75 pi, at 45 degrees natural and white, at 22.5 natural and white.
MEASURED = {
    (3, "free pixels, bilinear"): (9, (0.368, 0.451, 0.235, 0.382)),
    (3, "free pixels, cubic spline"): (9, (0.323, 0.358, 0.198, 0.261)),
    (3, "F-Conv"): (9, (0.194, 0.217, 0.106, 0.123)),
    (3, "PDO, finite differences"): (6, (0.197, 0.352, 0.139, 0.250)),
    (3, "PDO, Gaussian"): (6, (0.076, 0.219, 0.054, 0.155)),
    (5, "free pixels, bilinear"): (25, (0.370, 0.454, 0.298, 0.414)),
    (5, "free pixels in a disc, cubic spline"): (21, (0.079, 0.201, 0.165, 0.245)),
    (5, "F-Conv"): (25, (0.252, 0.335, 0.290, 0.402)),
    (5, "PDO, finite differences"): (15, (0.277, 0.432, 0.228, 0.358)),
    (5, "PDO, Gaussian"): (15, (0.258, 0.180, 0.181, 0.134)),
    (7, "free pixels, cubic spline"): (49, (0.405, 0.422, 0.331, 0.355)),
    (7, "free pixels in a disc, cubic spline"): (37, (0.190, 0.285, 0.160, 0.208)),
    (7, "F-Conv"): (49, (0.307, 0.530, 0.199, 0.330)),
}


def stale(record, text):
    """Whether the page and the picture are others than the record gives."""
    with Image.open(ROOT / "docs" / PICTURE) as committed:
        return page_with(text, record) != text, committed.info.get(CONTENT) != content_hash(picture(record))


def test_the_page_and_the_picture_are_what_the_record_gives():
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    how = "run `python -m tools.steerable_kernels --render` and commit what it writes"
    assert stale(RECORD, text) == (False, False), how
    # Negative control: another error, another page and picture; another text, another page.
    other = copy.deepcopy(RECORD)
    other["families"][0]["45_natural"] += 0.1
    assert stale(other, text) == (True, True)
    assert stale(RECORD, text.replace("| optimal | 6:", "| optimal | 7:")) == (True, False)
    with pytest.raises(ValueError, match=r"theory\.md lacks the line '<!-- families"):
        page_with("a page without marks", RECORD)
    with Image.open(io.BytesIO(png(picture(RECORD)))) as made, Image.open(ROOT / "docs" / PICTURE) as committed:
        assert made.size == committed.size
        difference = np.asarray(made.convert("L"), float) - np.asarray(committed.convert("L"), float)
        assert np.abs(difference).mean() < 2


def test_the_record_is_what_is_measured():
    for kind, found in (("families", measure_families((3, 5))), ("choices", measure_choices((3, 5)))):
        recorded = [row for row in RECORD[kind] if row["side"] in (3, 5)]
        assert len(recorded) == len(found) > 10
        for row, again in zip(recorded, found, strict=True):
            with named(row=row):
                assert row.keys() == again.keys()
                assert all(again[key] == row[key] for key in ("kernels", "tolerance", "band", "filters") if key in row)
                for key in (key for key in row if key.startswith(("45", "22.5"))):
                    assert again[key] == pytest.approx(row[key], rel=1e-4), key
                # The worst filter of free pixels hardly responds, so that rounding is a part of its error.
                assert again["worst"] == pytest.approx(row["worst"], rel=1e-2)


def test_the_page_for_users_has_the_errors_of_the_record():
    text = (ROOT / "docs" / "any-angle.md").read_text(encoding="utf-8")
    said = re.search(r"error of (\S+) % at 3 x 3, (\S+) % at 5 x 5 and (\S+) % at 7 x 7", text)
    found = [row["45_natural"] for row in RECORD["families"] if row["kernels"] == "optimal"]
    assert said
    assert list(said.groups()) == [f"{100 * error:.1f}" for error in found]


def test_other_kernels_are_what_another_program_made_of_their_formulas():
    rows = {(row["side"], row["kernels"]): row for row in RECORD["families"]}
    for case, (filters, errors) in MEASURED.items():
        with named(case=case):
            found = [rows[case][f"{degrees}_{spectrum}"] for degrees in (45, 22.5) for spectrum in ("natural", "white")]
            assert rows[case]["filters"] == filters
            assert np.abs(np.array(found) - errors).max() < 0.0006
    assert all(row["90_white"] < 1e-7 for rows in RECORD.values() for row in rows)


def test_a_rotation_by_90_degrees_moves_pixels_counter_clockwise():
    for family in families(5):
        with named(family=family.name):
            expected = np.rot90(family.rotated(0.3), 1, (-2, -1))
            assert np.abs(family.rotated(0.3 + math.pi / 2) - expected).max() < 1e-6
    # Negative control: one that rotates the other way has a large error.
    wrong = families(5)[-1].rotated
    assert measure(lambda angle: wrong(-angle))["90_white"] > 0.5
