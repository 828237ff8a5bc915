"""Cases of groups whose rotations are not by 90 degrees: C8, D8 and C16, with steerable kernels."""

from collections.abc import Iterator
from typing import Any

from benchmarks.case import Case, Contender, Task
from benchmarks.labels import (
    E2CNN,
    EQUAL_FULL,
    EQUAL_FULL_INFERENCE,
    FOR_INFERENCE,
    FOURIER,
    OURS,
    SEPARABLE,
    SEPARABLE_NETWORK,
)

SECTION = "Any angle"
FULL_GROUPS = ("C8", "D8")
ORDERS = {"C8": 8, "D8": 16, "C16": 16}
SIZES = {28: 128, 64: 8}  # pixels along each side: images
WIDTHS = (16, 32, 64)
FIELDS = 8
SIDE = 5
# Channels of a full C8 convolution, 5 x 5, with as many weights as a gc one of 64: 34,680 beside 33,728; and widths of
# seven convolutions, 3 x 3 and once 4 x 4: 26,290 beside 24,800 parameters.
LAYER_WIDTHS = {"gc": 64, "full": 17}
NETWORK_WIDTHS = {"gc": 22, "full": 9}
NETWORK, BUILDING = "c8cnn-25k", "build-C16-cnn"


def full_case(group: str, pixels: int) -> str:
    """Return the name of the case of a full group convolution."""
    return f"full-{group}-{pixels}"


def layer_case(pixels: int) -> str:
    """Return the name of the case of a gc layer on C8 beside a full one of equal parameters."""
    return f"gc-C8-{pixels}"


def mixing_case(width: int, pixels: int) -> str:
    """Return the name of the case of a gc layer on C16 in its executions."""
    return f"gc-C16-{width}-{pixels}"


def any_angle(quick: bool) -> Iterator[Case]:
    """Return the cases; `quick` makes them tiny."""
    for pixels in SIZES:
        for group in FULL_GROUPS:
            yield _full(group, pixels, quick)
        yield _equal_parameters(pixels, quick)
        for width in WIDTHS:
            yield _mixing(width, pixels, quick)
    yield _networks(quick)
    yield _building(quick)


def _layer(group: str, channels: int, quick: bool) -> dict[str, Any]:
    size = max(2, channels // 8) if quick else channels
    return {"group": group, "channels": size, "kernel_size": SIDE, "padding": SIDE // 2}


def _case(
    name: str, words: str, layer: dict[str, Any], pixels: int, contenders: list[Contender], seconds: float, quick: bool
) -> Case:
    side, batch = (8, 2) if quick else (pixels, SIZES[pixels])
    return Case(
        name=name,
        section=SECTION,
        title=f"{words}, {SIDE} x {SIDE}, {pixels} x {pixels} pixels",
        shape=(layer["channels"], ORDERS[layer["group"]], side, side),
        contenders=tuple(contenders),
        tasks=(Task("forward + backward", batch), Task("inference", batch)),
        seconds=seconds,
        check_batch=1,
        profiled=tuple(contender.label for contender in contenders if contender.finish == "eager"),
    )


def _full(group: str, pixels: int, quick: bool) -> Case:
    layer = _layer(group, FIELDS, quick)
    contenders = [
        Contender(label=OURS, kind="ours.group_layer", arguments=layer),
        Contender(label=E2CNN, kind="e2cnn.layer", arguments=layer),
        # e2cnn keeps its filters in evaluation mode; so does a compiled layer of ours.
        Contender(
            label=FOR_INFERENCE,
            kind="ours.group_layer",
            arguments=layer,
            finish="for inference",
            tasks=("inference",),
        ),
    ]
    words = f"group convolution {group}, {FIELDS} -> {FIELDS} regular fields"
    return _case(full_case(group, pixels), words, layer, pixels, contenders, 15 if group == "C8" else 35, quick)


def _equal_parameters(pixels: int, quick: bool) -> Case:
    layer, full = (_layer("C8", LAYER_WIDTHS[kind], quick) for kind in ("gc", "full"))
    contenders = [
        Contender(label=OURS, kind="ours.separable_layer", arguments=layer),
        Contender(label=EQUAL_FULL, kind="ours.group_layer", arguments=full, reads=full["channels"]),
        Contender(label=SEPARABLE, kind="ours.separable_layer", arguments={**layer, "execution": "separable"}),
        Contender(label=FOURIER, kind="ours.separable_layer", arguments={**layer, "execution": "fourier"}),
    ]
    words = f"gc layer C8, {LAYER_WIDTHS['gc']} channels, beside a full one of {LAYER_WIDTHS['full']}"
    return _case(layer_case(pixels), words, layer, pixels, contenders, 45, quick)


def _mixing(width: int, pixels: int, quick: bool) -> Case:
    layer = _layer("C16", width, quick)
    contenders = [
        Contender(label=OURS, kind="ours.separable_layer", arguments=layer),
        Contender(label=SEPARABLE, kind="ours.separable_layer", arguments={**layer, "execution": "separable"}),
        Contender(label=FOURIER, kind="ours.separable_layer", arguments={**layer, "execution": "fourier"}),
    ]
    words = f"gc layer C16, {width} -> {width} channels ({16 * width} maps)"
    return _case(mixing_case(width, pixels), words, layer, pixels, contenders, 0.7 * width, quick)


def _networks(quick: bool) -> Case:
    gc, full = ({"group": "C8", "width": 2 if quick else NETWORK_WIDTHS[kind]} for kind in ("gc", "full"))
    contenders = (
        Contender(label=OURS, kind="ours.network", arguments={"name": "gc_p4cnn", **gc}),
        Contender(label=EQUAL_FULL, kind="ours.network", arguments={"name": "p4cnn", **full}),
        Contender(label=E2CNN, kind="e2cnn.network", arguments={"name": "p4cnn", **full}),
        *(
            Contender(
                label=label, kind="ours.network", arguments=arguments, finish="for inference", tasks=("inference",)
            )
            for label, arguments in (
                (FOR_INFERENCE, {"name": "gc_p4cnn", **gc}),
                (EQUAL_FULL_INFERENCE, {"name": "p4cnn", **full}),
            )
        ),
    )
    batch = 4 if quick else 128
    return Case(
        name=NETWORK,
        section=SECTION,
        title=f"networks on C8 of 25k parameters: gc, width {NETWORK_WIDTHS['gc']}, and full, "
        f"width {NETWORK_WIDTHS['full']}; 28 x 28 pixels",
        shape=(1, 28, 28),
        contenders=contenders,
        tasks=(Task("training step", batch), Task("inference", batch)),
        seconds=60,
        check_batch=4,
        profiled=(OURS, EQUAL_FULL),
    )


def _building(quick: bool) -> Case:
    arguments = {"group": "C16", "width": 2 if quick else 8}
    contenders = (
        Contender(label=OURS, kind="ours.network", arguments={"name": "p4cnn", **arguments}),
        Contender(label=SEPARABLE_NETWORK, kind="ours.network", arguments={"name": "gc_p4cnn", **arguments}),
        Contender(label=E2CNN, kind="e2cnn.network", arguments={"name": "p4cnn", **arguments}),
    )
    return Case(
        name=BUILDING,
        section=SECTION,
        title="building a network of seven convolutions on C16, width 8, in a process that has built none",
        shape=(1, 28, 28),
        contenders=contenders,
        tasks=(Task("build", 1),),
        seconds=60,
    )
