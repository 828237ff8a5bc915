"""The page in a real browser, headless Chromium: pictures decode, nothing sticks out on a phone, it prints."""

import json
import re
import shutil
import subprocess
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from sepgconv.analysis import redundancy
from sepgconv.analysis.redundancy.report import render_redundancy
from sepgconv.nn import GroupConv2d, LiftingConv2d

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on the PATH: pages are not looked at")

ATTEMPTS = 3
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

# What a test wants to know, measured by the page itself and told to the page around it.
MEASURE = """
<script>
addEventListener("load", async () => {
  const pictures = [...document.images];
  await Promise.all(pictures.map((picture) => picture.decode()));
  const beyond = (element) => element.getBoundingClientRect().right > innerWidth + 1 && !element.closest(".scroll");
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    scroll: document.documentElement.scrollWidth,
    pictures: pictures.length,
    decoded: pictures.filter((picture) => picture.complete && picture.naturalWidth > 0).length,
    drawings: document.querySelectorAll("svg").length,
    empty: [...document.querySelectorAll("svg")].filter((svg) => svg.getBoundingClientRect().height < 40).length,
    beyond: [...document.querySelectorAll("body *")].filter(beyond).map((element) => element.tagName),
    ink: getComputedStyle(document.body).color,
    letters: Math.min(...[...document.querySelectorAll("svg text")].map((t) => t.getBoundingClientRect().height)),
  }), "*");
});
</script>
"""

# Chromium's windows are 500 pixels wide or more; in a frame of 390 a page is laid out as on a phone.
FRAME = """<!DOCTYPE html><body style="margin:0">
<iframe src="page.html" style="width:{width}px;height:{height}px;border:0"></iframe>
<script>onmessage = (event) => document.body.setAttribute("data-found", event.data)</script></body>"""


def chromium(folder: Path, *words: str, page: str) -> str:
    """Run the browser with a new, empty profile; return what it prints."""
    profile = folder / "profile"
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *words, (folder / page).as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The report of a small network before and after, with the script of this test at its end."""
    torch.manual_seed(0)
    now, before = (
        nn.Sequential(
            OrderedDict(
                lifting=LiftingConv2d(1, 8, 3, "p4m"),
                a_name_that_is_longer_than_others=GroupConv2d(8, 14, 3, "p4m"),
                group=GroupConv2d(14, 8, 3, "p4m"),
            )
        )
        for _ in range(2)
    )
    report = redundancy(now, inputs=torch.rand(2, 1, 9, 9))
    path = tmp_path_factory.mktemp("page")
    text = render_redundancy(report, before=redundancy(before))
    (path / "page.html").write_text(text.replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    return path


def look(folder: Path, width: int, height: int, *words: str, page: str = "page.html") -> tuple[dict, Image.Image]:
    """Lay a page out at a width; return what it measured, and its picture."""
    frame = FRAME.format(width=width, height=height).replace("page.html", page)
    (folder / "frame.html").write_text(frame, encoding="utf-8")
    shot = folder / f"{width}.png"
    window = (f"--window-size={max(width, 500)},{height}", "--virtual-time-budget=20000", *words)
    # Virtual time does not wait for the message from the frame, which a busy machine may deliver too late.
    for _ in range(ATTEMPTS):
        dom = chromium(folder, *window, "--dump-dom", page="frame.html")
        if found := re.search(r'data-found="([^"]+)"', dom):
            break
    assert found, "the page did not load"
    chromium(folder, *window, f"--screenshot={shot}", page="frame.html")
    with Image.open(shot) as picture:
        return json.loads(found.group(1).replace("&quot;", '"')), picture.convert("RGB").crop((0, 0, width, height))


def written(picture: Image.Image) -> float:
    """The share of a picture that is not its background."""
    background = picture.getpixel((2, 2))
    pixels = picture.width * picture.height
    return sum(number for number, colour in picture.getcolors(pixels) if colour != background) / pixels


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
def test_the_page_reads_well(folder, width, height):
    found, picture = look(folder, width, height)
    assert found["width"] == width
    assert found["scroll"] <= width, "the page sticks out to the side"
    assert found["beyond"] == []
    assert found["pictures"] == found["decoded"] == 5  # two for each group convolution, one for the lifting
    assert found["drawings"] == 12
    assert found["empty"] == 0
    assert found["letters"] >= 8, "letters of a figure are too small"
    assert written(picture) > 0.05, "the picture is blank"
    assert picture.getpixel((2, 2)) == (255, 255, 255)


def test_the_page_is_dark_where_the_reader_wants_it(folder):
    found, picture = look(folder, 1280, 900, "--blink-settings=preferredColorScheme=0")
    assert picture.getpixel((2, 2)) == (0x14, 0x17, 0x1A)
    assert found["ink"] == "rgb(230, 233, 236)"


def test_the_page_prints(folder):
    chromium(folder, "--no-pdf-header-footer", f"--print-to-pdf={folder / 'page.pdf'}", page="page.html")
    content = (folder / "page.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 5
    assert len(content) > 50_000


def test_the_look_sees_a_page_that_is_not_right(folder):
    """Negative control: too wide, with a picture that is none."""
    broken = '<!DOCTYPE html><body><div style="width:600px">wide</div><svg></svg><svg><text>x</text></svg>'
    (folder / "broken.html").write_text(broken + MEASURE.replace("picture.decode()", "0"), encoding="utf-8")
    found, picture = look(folder, 390, 844, page="broken.html")
    assert found["scroll"] > 390
    assert "DIV" in found["beyond"]
    assert found["pictures"] == 0
    assert written(picture) < 0.01
    shown = (
        (folder / "page.html").read_text(encoding="utf-8").replace("data:image/png;base64,", "data:image/png;base64,X")
    )
    (folder / "broken.html").write_text(shown.replace("picture.decode()", "0"), encoding="utf-8")
    assert look(folder, 390, 844, page="broken.html")[0]["decoded"] == 0
