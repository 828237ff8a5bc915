"""The filters of a layer as images: as they are, and as one spatial kernel per filter would have them."""

from torch import Tensor

from sepgconv._numbers import percent, plural
from sepgconv.analysis.redundancy import LayerRedundancy
from sepgconv.analysis.redundancy.report.block import Block, Figure
from sepgconv.analysis.redundancy.report.png import draw_filters
from sepgconv.functional import compose_kernel, separate_kernel

MOST_OUT, MOST_IN = 12, 12  # channels shown


def filters_block(layer: LayerRedundancy) -> Block:
    """Return images of a layer's filters.

    Args:
        layer: any layer.
    """
    out, channels, poses = layer.bank.shape[:3]
    shown = layer.bank[:MOST_OUT, : max(1, MOST_IN * 4 // max(4, poses))]
    part = "" if shown.shape[:2] == layer.bank.shape[:2] else (
        f" Shown are the first {shown.shape[0]} of {out} output and {shown.shape[1]} of {channels} input channels."
    )  # fmt: skip
    grouped = f"The {poses} kernels of an input channel, one for each pose, stand together. " if poses > 1 else ""
    if shown[0, :, :, 0, 0].numel() == 1:  # one kernel each: they lie in a row, on one scale
        row = draw_filters(layer.bank[: 4 * MOST_OUT].transpose(0, 1), label=f"The kernels of {layer.name}")
        number = min(out, 4 * MOST_OUT)
        figures = (Figure(row, "Red is positive, blue negative; all have the same scale.", wide=True),)
        return Block("Filters", (f"The {'first ' if number < out else ''}{plural(number, 'kernel')}.",), figures)
    figures = [
        Figure(
            draw_filters(shown, label=f"The filters of {layer.name}, a row for each output channel"),
            "As they are.",
            wide=True,
        )
    ]
    energy = layer.energy("gc")
    if energy is not None and shown[0, 0, 0].numel() > 1:
        scale = shown.abs().flatten(1).amax(1).tolist()
        figures.append(
            Figure(
                draw_filters(
                    _one_kernel_each(layer.bank)[: shown.shape[0], : shown.shape[1]],
                    label=f"The filters of {layer.name} with one spatial kernel for each row",
                    scale=scale,
                ),
                "The nearest filters with one spatial kernel for each row (gc, rank 1). Where both images are alike, "
                f"separating loses little; over the layer it loses {percent(energy.lost_at(1))} of the energy.",
                wide=True,
            )
        )
    text = f"A row for each output channel. {grouped}Red is positive, blue negative; each row has its own scale.{part}"
    return Block("Filters", (text,), figures)


def _one_kernel_each(bank: Tensor) -> Tensor:
    pointwise, depthwise = separate_kernel(bank, "gc", 1)
    return compose_kernel(pointwise[:, 0], depthwise[:, 0], "gc")
