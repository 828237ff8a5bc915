"""The redundancy report as a page: `render_redundancy`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sepgconv._messages import require
from sepgconv._numbers import count, large, plural
from sepgconv._table import Table, table_as_html
from sepgconv._text import visible
from sepgconv.analysis.redundancy import LayerRedundancy, RedundancyReport
from sepgconv.analysis.redundancy.report.block import Block, Figure
from sepgconv.analysis.redundancy.report.components import components_block, layers_figure
from sepgconv.analysis.redundancy.report.correlation import correlation_block
from sepgconv.analysis.redundancy.report.energy import energy_block
from sepgconv.analysis.redundancy.report.filters import filters_block
from sepgconv.analysis.redundancy.report.invariance import invariance_block
from sepgconv.analysis.redundancy.report.maps import maps_block
from sepgconv.analysis.redundancy.report.ranking import ranked_block
from sepgconv.analysis.redundancy.table import ranks_table

MOST_OPEN = 8  # layers; of a deeper network only the best candidates are unfolded at first

MOST_NAMED = 6  # layers in the summary


@dataclass(frozen=True, slots=True)
class Section:
    """A layer on the page.

    Attributes:
        anchor: its id.
        title: the layer's path.
        facts: what it is, in one line.
        summary: what was found, in a sentence.
        unfolded: whether it is open at first.
        blocks: the findings.
    """

    anchor: str
    title: str
    facts: str
    summary: str
    unfolded: bool
    blocks: Sequence[Block]


def render_redundancy(
    report: RedundancyReport, *, before: RedundancyReport | None = None, title: str | None = None
) -> str:
    """Return a redundancy report as one HTML page: images inside, no script, nothing loaded from elsewhere.

    Args:
        report: what `sepgconv.analysis.redundancy` found.
        before: the same for another state of the network, as before its training; shown beside it in layers that have
            the same name and shape.
        title: of the page. Default: the network's name.

    Raises:
        ValueError: `before` has no layer in common with the report.
        ImportError: the extra "train" is not installed.

    Example:
        >>> from sepgconv.analysis import redundancy, render_redundancy
        >>> from sepgconv.nn import GroupConv2d
        >>> page = render_redundancy(redundancy(GroupConv2d(2, 2, 3, "p2")), title="Filters")
        >>> page.startswith("<!DOCTYPE html>"), "<title>Filters</title>" in page
        (True, True)
    """
    for module in ("jinja2", "matplotlib"):
        require(module, extra="train", purpose="a report")
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pairs = [(layer, _same_layer(before, layer)) for layer in report.layers]
    if before is not None and report.layers and all(earlier is None for _, earlier in pairs):
        raise ValueError(
            "render_redundancy: the network before has no layer in common with this one (names and shapes of filters); "
            "give two states of one network"
        )
    best = {option.layer for option in report.ranked(rank=1)[:3]}
    sections = [_section(number, layer, earlier, best, report) for number, (layer, earlier) in enumerate(pairs, 1)]
    of_group = [section for section, layer in zip(sections, report.layers, strict=True) if layer.role != "planar"]
    planar = [section for section, layer in zip(sections, report.layers, strict=True) if layer.role == "planar"]
    pages = Environment(
        loader=PackageLoader("sepgconv.analysis.redundancy.report"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["table"] = _table
    page = pages.get_template("redundancy.html").render(
        title=title or f"Redundancy of {report.network}",
        facts=_facts(report),
        summary=report.summary,
        candidates=[layer.summary for layer in _by_kept_energy(report)[:MOST_NAMED]],
        compared=before is not None,
        ranked=ranked_block(report),
        overview=_overview(pairs),
        groups=[
            ("Convolutions on the group", "", of_group),
            (
                "For comparison: kernels without a pose axis",
                "Ordinary, lifting and depthwise convolutions have no poses along which kernels could repeat; only the "
                "symmetry of their kernels and their rank can be looked at.",
                planar,
            ),
        ],
    )
    return re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", page)  # "93 %" stays in one line


def _shown(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _table(table: Table) -> Markup:
    return Markup(table_as_html(table))


def _same_layer(before: RedundancyReport | None, layer: LayerRedundancy) -> LayerRedundancy | None:
    if before is None:
        return None
    return next(
        (each for each in before.layers if each.name == layer.name and each.bank.shape == layer.bank.shape), None
    )


def _by_kept_energy(report: RedundancyReport) -> list[LayerRedundancy]:
    lost = {option.layer: option.energy_lost for option in report.options if (option.sharing, option.rank) == ("gc", 1)}
    return sorted((layer for layer in report.layers if layer.name in lost), key=lambda layer: lost[layer.name])


def _facts(report: RedundancyReport) -> list[str]:
    facts = [f"{count(report.parameters)} parameters"]
    if report.nominal_macs is not None:
        facts.append(f"{large(report.nominal_macs)} multiply-accumulates for an image")
    groups = sorted({layer.group for layer in report.group_layers if layer.group})
    facts.append(f"group {', '.join(groups)}" if groups else "no group")
    roles = [layer.role for layer in report.layers]
    for role, thing in (("group", "group convolution"), ("separable", "separable convolution")):
        if roles.count(role):
            facts.append(plural(roles.count(role), thing))
    return facts


def _overview(pairs: Sequence[tuple[LayerRedundancy, LayerRedundancy | None]]) -> Block | None:
    figure: Figure | None = layers_figure([pair for pair in pairs if pair[0].role != "planar"])
    if figure is None:
        return None
    text = (
        "For each pair of channels the kernels at all poses are compared by principal components; the share of the "
        "first says how nearly they are multiples of one kernel (section 3.2 and figure 2 of the paper)."
    )
    return Block("How alike the kernels of a filter are", (text,), (figure,))


def _section(
    number: int,
    layer: LayerRedundancy,
    before: LayerRedundancy | None,
    best: set[str],
    report: RedundancyReport,
) -> Section:
    ranks = ranks_table(layer)
    blocks = (
        filters_block(layer),
        components_block(layer, before),
        energy_block(layer, before),
        None if ranks is None else Block("What each rank would save", (), (), (ranks,)),
        correlation_block(layer, before),
        invariance_block(layer, before),
        maps_block(layer),
    )
    out, channels, poses, height, width = layer.bank.shape
    facts = [layer.kind]
    if layer.role != "planar":
        facts.append(f"group {layer.group}")
    facts.append(f"{channels} to {plural(out, 'channel')}")
    if poses > 1:
        facts.append(plural(poses, "pose"))
    facts += [f"kernels {height} x {width}", plural(layer.parameters, "parameter")]
    if layer.nominal_macs is not None:
        facts.append(f"{large(layer.nominal_macs)} multiply-accumulates")
    summary = layer.summary.removeprefix(f"{layer.name or layer.kind}: ")
    few = len(report.group_layers) <= MOST_OPEN and layer.role != "planar"
    return Section(
        anchor=f"layer-{number}",
        title=layer.name or layer.kind,
        facts=", ".join(facts),
        summary=summary[:1].upper() + summary[1:],
        unfolded=few or layer.name in best,
        blocks=[block for block in blocks if block is not None],
    )
