"""Channels whose map is the same at every pose."""

import torch

from sepgconv._numbers import hundredths, plural
from sepgconv._table import Table
from sepgconv.analysis.redundancy import LayerRedundancy
from sepgconv.analysis.redundancy.layer import IDENTICAL_AT
from sepgconv.analysis.redundancy.report.block import Block

SHOWN = 6


def maps_block(layer: LayerRedundancy) -> Block | None:
    """Return which output channels have identical, or inverse, maps over the poses.

    Args:
        layer: the layer.

    Returns:
        None for a layer whose maps have no poses.
    """
    if layer.agreement is None:
        return None
    least, lowest = _by_channel(layer.agreement), layer.agreement.amin(1)
    inverse = [int(channel) for channel in torch.nonzero(lowest <= -IDENTICAL_AT).flatten()]
    text = (
        "A filter that the group leaves as it is, pixels and poses, gives the same feature map at every pose; the "
        "filters that read it then receive the same gradient at every pose (section 3.2 and figure 1 of the paper). "
        "Agreement is the similarity of a filter and its moved copy, at the pose where it is least; 1 stands for "
        "identical maps. "
        f"{_channels(layer.identical_maps, 'identical maps')} (agreement of at least {IDENTICAL_AT}); "
        f"{_channels(tuple(inverse), 'maps that are negatives of each other at some poses').lower()}."
    )
    order = torch.nan_to_num(least, nan=-2.0).argsort(descending=True)[:SHOWN].tolist()
    columns, rows = ["output channel", "agreement"], [[str(n), _number(least[n])] for n in order]
    if layer.measured is not None and layer.measured_identical_maps is not None:
        measured = _by_channel(layer.measured)
        columns.append("measured on images")
        rows = [[*row, _number(measured[n])] for row, n in zip(rows, order, strict=True)]
        text += (
            f" On the images, {_channels(layer.measured_identical_maps, 'identical maps').lower()} (correlation of "
            "the maps)."
        )
    caption = f"The {len(rows)} channels whose maps agree most over the poses"
    return Block("Channels with the same map at every pose", (text,), (), (Table(caption, columns, rows),))


def _by_channel(agreement: torch.Tensor) -> torch.Tensor:
    return agreement.amin(1)


def _channels(channels: tuple[int, ...], what: str) -> str:
    if not channels:
        return f"No channel has {what}"
    named = ", ".join(map(str, channels[:8])) + (" ..." if len(channels) > 8 else "")
    return f"{plural(len(channels), 'channel')} {'has' if len(channels) == 1 else 'have'} {what} ({named})"


def _number(value: torch.Tensor) -> str:
    return "–" if bool(value.isnan()) else hundredths(float(value))
