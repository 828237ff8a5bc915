"""The page as text: well-formed, whole, nothing from elsewhere, nobody's markup but ours."""

import base64
import io
import itertools
import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image
from torch import nn

import sepgconv
from sepgconv._numbers import hundredths
from sepgconv.analysis import redundancy
from sepgconv.analysis.redundancy.report import render_redundancy
from sepgconv.analysis.redundancy.report.filters import filters_block
from sepgconv.analysis.redundancy.report.png import draw_filters
from sepgconv.analysis.redundancy.report.svg import draw_svg
from sepgconv.functional import separate_kernel
from sepgconv.nn import GroupConv2d, LiftingConv2d, SeparableGroupConv2d

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Collects what a page holds; refuses elements that are not closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.ids, self.open, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> where </{self.open[-1]}> is due"
        self.open.pop()

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    def of(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def network(group="p4"):
    return nn.Sequential(
        nn.Conv2d(1, 2, 3),
        LiftingConv2d(2, 3, 3, group),
        GroupConv2d(3, 4, 3, group),
        SeparableGroupConv2d(4, 3, 3, group),
    )


@pytest.fixture(scope="module")
def page():
    torch.manual_seed(0)
    report = redundancy(network(), inputs=torch.rand(2, 1, 12, 12))
    return Page(render_redundancy(report, before=redundancy(network()))), report


@pytest.fixture(scope="module")
def alone():
    torch.manual_seed(0)
    return render_redundancy(redundancy(network()))


def test_the_page_is_well_formed_and_its_ids_are_unique(page):
    found, _ = page
    assert len(found.ids) == len(set(found.ids))
    targets = [a["href"] for a in found.of("a")] + [a["xlink:href"] for a in found.of("use")]
    assert targets
    assert all(target[0] == "#" and target[1:] in found.ids for target in targets)


def test_nothing_is_loaded_from_elsewhere(page, alone):
    assert "http" not in alone.lower()
    found, _ = page
    assert found.of("script", "link", "iframe", "object", "embed", "base") == []
    assert all(image["src"].startswith("data:image/png;base64,") for image in found.of("img", "image"))
    assert "@import" not in alone
    assert re.findall(r"url\((?!#)", alone) == []
    assert "arXiv:2106.04914" in found.text


def test_a_reader_who_sees_nothing_is_told_what_the_pictures_show(page):
    found, _ = page
    assert all(image["alt"] for image in found.of("img"))
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in found.of("svg"))
    labels = [picture["aria-label"] for picture in found.of("svg")]
    assert len(labels) == len(set(labels))
    assert len(found.of("figcaption")) == len(found.of("figure")) == len(found.of("svg")) + len(found.of("img"))
    assert found.of("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 == levels.count(1)
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))  # no level left out
    assert found.of("meta")[1]["content"] == "width=device-width, initial-scale=1"


def test_the_page_says_what_the_report_says(page):
    found, report = page
    words = found.text.replace("\N{NO-BREAK SPACE}", " ")
    assert report.summary in words
    for layer in report.layers:
        assert layer.summary.partition(": ")[2][5:] in words
    option = report.ranked(1)[0]
    assert f"{option.parameters_before:,} → {option.parameters_after:,}" in words
    assert "What separating a layer would save and cost" in words
    correlation = report.layers[2].correlation.mean
    assert hundredths(float(correlation[0, 1])) in words
    assert "measured on images" in words
    assert "“before” is the other state" in words
    rows = [line for line in found.text.split("turn by 180°")]
    assert len(rows) > 3  # in figures and tables of every layer


def test_without_before_nothing_is_said_of_it(alone):
    words = Page(alone).text
    assert "before" not in words.replace("tried, before and after fine-tuning", "")


def test_names_from_outside_are_text():
    """A module may be named anything; none of it becomes markup, in the page or in its figures."""
    evil = '<script>alert("x")</script><img src=y onerror=z>'
    model = nn.Sequential()
    model.add_module(evil, GroupConv2d(2, 2, 3, "p4"))
    model.add_module("$\\frac{1}$ & more", GroupConv2d(2, 2, 3, "p4"))
    model.name = "<b>net</b>"
    text = render_redundancy(redundancy(model), before=redundancy(model), title="<i>title</i>")
    found = Page(text)
    assert found.of("script", "b", "i") == []
    assert all("onerror" not in attributes for attributes in found.of("img"))
    assert "<script" not in text
    assert "<b>net</b> has 2 group convolutions" in found.text
    assert "<i>title</i>" in found.text
    assert "$\\frac{1}$ & more" in found.text


def test_the_page_of_a_network_without_group_layers():
    report = redundancy(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, (1, 3)), nn.Conv2d(2, 2, 1)))
    found = Page(render_redundancy(report))
    assert "has no group convolution" in found.text
    assert "What separating a layer" not in found.text
    assert "For comparison" in found.text
    assert "its kernels are single pixels".lower() in found.text.lower()
    assert "no convolution whose filters" in Page(render_redundancy(redundancy(nn.Linear(1, 1)))).text


def test_kernels_of_one_channel_lie_in_a_row():
    found = Page(render_redundancy(redundancy(nn.Conv2d(1, 10, 3))))
    assert [(image["width"], image["height"]) for image in found.of("img")] == [("570", "30")]
    assert "Each filter is a single kernel" in found.text
    assert "Energy lost" not in found.text


@pytest.mark.parametrize("weights", ["zero", "constant"])
def test_degenerate_filters_make_a_page(weights):
    model = nn.Sequential(GroupConv2d(2, 2, 3, "p4m"), GroupConv2d(2, 1, 1, "p4m"), SeparableGroupConv2d(1, 1, 3, "pm"))
    for parameter in model.parameters():
        nn.init.constant_(parameter, {"zero": 0.0, "constant": 0.5}[weights])
    report = redundancy(model)
    Page(render_redundancy(report, before=report))


def test_before_must_be_a_state_of_the_same_network():
    with pytest.raises(ValueError, match="has no layer in common"):
        render_redundancy(redundancy(network()), before=redundancy(nn.Sequential(GroupConv2d(7, 1, 3, "p2"))))


def test_the_page_of_the_papers_network_is_small():
    torch.manual_seed(0)
    model = sepgconv.create_model("p4cnn", width=10)
    report = redundancy(model, input_shape=(1, 28, 28))
    assert len(render_redundancy(report, before=report).encode()) < 3e6


def test_only_the_first_channels_of_a_wide_layer_are_drawn():
    found = Page(render_redundancy(redundancy(nn.Sequential(GroupConv2d(20, 30, 3, "p4m")))))
    assert "the first 12 of 30 output and 6 of 20 input channels" in found.text
    sizes = [(int(image["width"]), int(image["height"])) for image in found.of("img")]
    assert sizes == [(5 * (6 * (8 * 4 - 1 + 3) - 3), 5 * (12 * 4 - 1))] * 2


def pixels(element):
    content = re.search(r'base64,([^"]+)"', str(element)).group(1)
    return Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA")


def test_a_weight_is_a_pixel():
    bank = torch.zeros(2, 2, 2, 3, 3)
    bank[1, 0, 1, 2, 0], bank[1, 1, 0, 0, 2] = 2, -2
    picture = pixels(draw_filters(bank, label="filters"))
    assert picture.size == (2 * (2 * 4 - 1) + 3, 2 * 4 - 1)
    red, blue = picture.getpixel((4, 6)), picture.getpixel((7 + 3 + 2, 4))
    assert red[0] > 2 * red[2]
    assert blue[2] > 2 * blue[0]
    assert picture.getpixel((0, 0))[:3] == picture.getpixel((5, 5))[:3]  # zero
    assert picture.getpixel((3, 0))[3] == 0  # a gap
    assert picture.getpixel((0, 3))[3] == 0


def test_the_second_picture_is_the_nearest_separable_bank():
    layer = redundancy(nn.Sequential(GroupConv2d(2, 3, 3, "p2"))).layers[0]
    pointwise, planar = separate_kernel(layer.bank, "gc", 1)
    near = pointwise[:, 0, :, :, None, None] * planar[:, 0, None, None]
    scale = layer.bank.abs().flatten(1).amax(1).tolist()
    expected = draw_filters(near, label="", scale=scale)
    shown = filters_block(layer).figures[1].image
    assert pixels(shown).tobytes() == pixels(expected).tobytes()


def test_figures_take_the_ink_of_the_page():
    drawn = draw_svg(lambda figure: figure.subplots().set_xlabel("<x> & y"), size=(2.0, 2.0), label='a "label"')
    assert "currentColor" in drawn
    assert "#010203" not in drawn
    assert "&lt;x&gt; &amp; y" in drawn
    assert 'aria-label="a &#34;label&#34;"' in drawn
    assert "xmlns" not in drawn
    Page(str(drawn))


def test_names_of_layers_are_text_in_words_and_figures():
    name = '<b>t</b> $x_$ id="q" href="#q" url(#q) #010203 \\alpha^{ \x1b[31m\udcff'
    shown = '<b>t</b> $x_$ id="q" href="#q" url(#q) #010203 \\alpha^{ \\x1b[31m\\udcff'
    network = nn.Sequential()
    network.add_module("a", LiftingConv2d(1, 2, 3, "p4"))
    network.add_module(name, GroupConv2d(2, 2, 3, "p4"))
    text = render_redundancy(redundancy(network), title=name)
    text.encode()  # no lone surrogate
    page = Page(text)
    assert not page.of("b", "script")
    assert "\x1b" not in text
    words = "".join(page.words)
    assert f"{shown}" in words
    assert shown[-23:] in words, "the labels of a figure, shortened from the left"
    assert f"Histogram of the first component's share of variance in {shown}" in [
        each.get("aria-label") for each in page.of("svg")
    ]


def test_words_of_a_figure_are_not_taken_for_its_marks():
    words = 'id="a" href="#a" url(#a) #010203 $x_$'
    svg = draw_svg(lambda figure: figure.text(0.1, 0.5, words), size=(4.0, 2.0), label="a figure")
    assert words in "".join(Page(svg).words)
