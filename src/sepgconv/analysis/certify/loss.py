"""Which layer loses most under elements that take pixels between pixels, and why, in one sentence."""

from collections.abc import Mapping, Sequence

from sepgconv.analysis.certify import diagnosis
from sepgconv.analysis.certify.between import LayerBetween
from sepgconv.analysis.certify.tracing import Call
from sepgconv.analysis.certify.windows import find_window
from sepgconv.symmetry import FiniteGroup

# Filters with a larger error are not rotated at all; the worst of the bases of this library, with sides of 3 pixels,
# have 0.05.
ROTATED = 0.2


def most_losing(calls: Sequence[Call], moved: Mapping[int, LayerBetween], group: FiniteGroup) -> int | None:
    """Return the call of the layer with the largest error of its own; of one on a group without the elements, first.

    Args:
        calls: of the network.
        moved: what was measured, by the index of the call.
        group: that was certified.
    """
    layers = [index for index in sorted(moved) if index or len(moved) == 1]
    for index in layers:
        if diagnosis.of_another_group(calls[index].module, group):
            return index
    measured = {index: moved[index].alone or 0.0 for index in layers}
    worst = max(measured, key=lambda index: (measured[index], -index), default=None)
    return worst if worst is not None and measured[worst] > 0 else None


def explain_loss(call: Call, between: LayerBetween, group: FiniteGroup) -> str:
    """Return why a layer loses what it loses and what to take instead, as one sentence.

    Args:
        call: of the layer.
        between: what was measured.
        group: that was certified.
    """
    module, kind = call.module, type(call.module).__name__
    other = diagnosis.of_another_group(module, group)
    if other:
        return other
    own, filters = between.alone or 0.0, between.filters or 0.0
    if isinstance(module, diagnosis.ORDINARY):
        return (
            f"{kind} is an ordinary convolution, whose kernels are not rotated; use sepgconv.nn.LiftingConv2d on "
            f"images, and GroupConv2d or SeparableGroupConv2d on feature maps"
        )
    if filters > ROTATED:
        return (
            f"the filters of {kind} for the other poses are not rotated ones: their responses to plane waves differ "
            f'by {filters:.2g}; use kernel="steerable"'
        )
    if filters and own <= 2 * filters:
        return (
            f"it is the own error of its filters, {filters:.2g}, because few pixels rotate only so well; larger "
            f"kernels are more exact"
        )
    if filters:
        return f"the own error of its filters is {filters:.2g}; the rest comes from its stride or from the border"
    window = find_window(module)
    if window is not None and window.pools:
        return f"its {window} does not rotate and loses fine waves; AvgPool2d and AntialiasedMaxPool2d lose less"
    return f"what {kind} does depends on direction"
