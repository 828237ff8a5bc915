"""Every case of the benchmark, in the order in which they run: those with targets first."""

from collections.abc import Iterator
from typing import Any

from benchmarks.any_angle import any_angle
from benchmarks.case import Case, Contender, Task, TaskKind
from benchmarks.labels import (
    COMPILED,
    E2CNN,
    E2CNN_DEFAULT,
    EXPORTED,
    FOR_INFERENCE,
    GROUP_CONV,
    ORDINARY_DENSE,
    ORDINARY_DENSE_LAST,
    ORDINARY_SEPARABLE,
    ORDINARY_SEPARABLE_LAST,
    OURS,
    OURS_DEFAULT,
    OWN_P4CNN,
    PLAIN,
    PLAIN_DEFAULT,
    PLAIN_LAST,
    REFERENCE,
    REFERENCE_DEFAULT,
)

STEPS: tuple[TaskKind, ...] = ("training step", "forward + backward", "memory")

LAYER, GC_NETWORK, P4_NETWORK, Z2_NETWORK = "layer-p4m-64", "gc_p4cnn-w30", "p4cnn-w10", "z2cnn-w20"
LAYER_MEMORY, NETWORK_MEMORY = "memory-layer-p4m-64", "memory-gc_p4cnn-w30"

# Where the curves cross.
BASE: dict[str, Any] = {"group": "p4m", "channels": 64, "pixels": 32, "kernel": 3, "batch": 8}
ORDERS = {"p1": 1, "p2": 2, "p4": 4, "p4m": 8}


def suite(*, quick: bool = False) -> tuple[Case, ...]:
    """Return all cases; `quick` keeps every one and makes it tiny."""
    parts = (_targets, any_angle, _compiled, _other_networks, _resnets, _curves)
    return tuple(case for part in parts for case in part(quick))


def _executions(
    kind: str, arguments: dict[str, Any], executions: tuple[str, ...], *, recompute: bool = True
) -> list[Contender]:
    """Return ours in each execution and, where it matters, with and without recomputing."""
    found = [Contender(label=f"ours, {e}", kind=kind, arguments={**arguments, "execution": e}) for e in executions]
    for execution in executions if recompute else ():
        if execution != "composed":
            for switch, words in ((True, "recomputed"), (False, "all kept")):
                changed = {**arguments, "execution": execution, "recompute": switch}
                found.append(Contender(label=f"ours, {execution}, {words}", kind=kind, arguments=changed, tasks=STEPS))
    return found


def _layer_arguments(quick: bool, **changed: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"group": "p4m", "channels": 64, "kernel_size": 3, **changed}
    if quick:
        base["channels"] = max(2, base["channels"] // 16)
    return {**base, "padding": base["kernel_size"] // 2}


def _layer_shape(arguments: dict[str, Any], pixels: int) -> tuple[int, ...]:
    return arguments["channels"], ORDERS[arguments["group"]], pixels, pixels


def _network(kind: str, label: str, arguments: dict[str, Any], **options: Any) -> Contender:
    return Contender(label=label, kind=f"{kind}.network", arguments=arguments, **options)


def _network_tasks(quick: bool) -> tuple[Task, ...]:
    batch = 4 if quick else 128
    return Task("training step", batch), Task("inference", 1), Task("inference", batch)


def _table1(name: str, width: int, quick: bool) -> dict[str, Any]:
    return {"name": name, "width": 2 if quick else width}


def _references(arguments: dict[str, Any]) -> list[Contender]:
    return [
        _network("paper", REFERENCE_DEFAULT, arguments, allocator="default"),
        _network("paper", REFERENCE, arguments),
    ]


def _network_case(
    name: str,
    width: int,
    words: str,
    contenders: list[Contender],
    quick: bool,
    seconds: float,
    profiled: tuple[str, ...] = (),
) -> Case:
    return Case(
        name=f"{name}-w{width}",
        section="Networks of Table 1",
        title=f"{words}, width {width}: Rotated MNIST, 28 x 28",
        shape=(1, 28, 28),
        contenders=tuple(contenders),
        tasks=_network_tasks(quick),
        seconds=seconds,
        check_batch=4 if quick else 8,
        profiled=profiled,
    )


def _targets(quick: bool) -> Iterator[Case]:
    gc, p4 = _table1("gc_p4cnn", 30, quick), _table1("p4cnn", 10, quick)
    z2 = _table1("z2cnn", 20, quick)
    contenders = [
        _network("ours", OURS, gc),
        _network("ours", OURS_DEFAULT, gc, allocator="default"),
        *_executions("ours.network", gc, ("separable", "composed", "fourier")),
        *_references(gc),
        _network("ours", OWN_P4CNN, p4),
        _network("ours", FOR_INFERENCE, gc, finish="for inference", tasks=("inference",)),
    ]
    profiled = (OURS, OWN_P4CNN, REFERENCE)
    yield _network_case("gc_p4cnn", 30, "gc-P4CNN", contenders, quick, 110, profiled)
    contenders = [
        _network("ours", OURS, p4),
        _network("ours", OURS_DEFAULT, p4, allocator="default"),
        _network("e2cnn", E2CNN, p4),
        _network("e2cnn", E2CNN_DEFAULT, p4, allocator="default"),
        *_references(p4),
        _network("ours", FOR_INFERENCE, p4, finish="for inference", tasks=("inference",)),
        _network("e2cnn", EXPORTED, p4, finish="exported", tasks=("inference",)),
    ]
    profiled = (OURS, FOR_INFERENCE, E2CNN, E2CNN_DEFAULT, EXPORTED)
    yield _network_case("p4cnn", 10, "P4CNN", contenders, quick, 75, profiled)
    contenders = [
        _network("ours", OURS, z2),
        _network("ours", OURS_DEFAULT, z2, allocator="default"),
        _network("ordinary", PLAIN, z2),
        _network("ordinary", PLAIN_DEFAULT, z2, allocator="default"),
        _network("ordinary", PLAIN_LAST, {**z2, "memory": "channels_last"}),
        _network("ours", FOR_INFERENCE, z2, finish="for inference", tasks=("inference",)),
    ]
    profiled = (OURS, PLAIN, PLAIN_DEFAULT)
    yield _network_case("z2cnn", 20, "Z2CNN", contenders, quick, 35, profiled)
    layer, pixels, batch = _layer_arguments(quick), 8 if quick else 32, 2 if quick else 8
    yield Case(
        name=LAYER,
        section="Single layers",
        title="gc layer p4m, 64 -> 64 channels (512 maps), 3 x 3, 32 x 32 pixels",
        shape=_layer_shape(layer, pixels),
        contenders=(
            Contender(label=OURS, kind="ours.separable_layer", arguments=layer),
            Contender(label=OURS_DEFAULT, kind="ours.separable_layer", arguments=layer, allocator="default"),
            *_executions("ours.separable_layer", layer, ("separable", "composed", "fourier")),
            *_layer_opponents(layer),
            Contender(label=REFERENCE_DEFAULT, kind="paper.separable_layer", arguments=layer, allocator="default"),
            Contender(label=E2CNN, kind="e2cnn.layer", arguments=layer),
        ),
        tasks=(Task("forward + backward", batch), Task("inference", batch), Task("inference", 1)),
        seconds=110,
        check_batch=2,
        profiled=(OURS, GROUP_CONV, ORDINARY_SEPARABLE, ORDINARY_SEPARABLE_LAST),
    )
    yield Case(
        name=LAYER_MEMORY,
        section="Memory",
        title="gc layer p4m, 64 -> 64 channels (512 maps), 3 x 3, 32 x 32 pixels",
        shape=_layer_shape(layer, pixels),
        contenders=(
            Contender(label=OURS, kind="ours.separable_layer", arguments=layer),
            *_executions("ours.separable_layer", layer, ("separable", "composed", "fourier")),
            *_layer_opponents(layer),
        ),
        tasks=(Task("memory", batch),),
        seconds=15,
        check_batch=2,
    )
    yield Case(
        name=NETWORK_MEMORY,
        section="Memory",
        title="gc-P4CNN, width 30: a training step",
        shape=(1, 28, 28),
        contenders=(
            _network("ours", OURS, gc),
            *_executions("ours.network", gc, ("separable", "composed", "fourier")),
            *_references(gc),
            _network("ours", OWN_P4CNN, p4),
        ),
        tasks=(Task("memory", 4 if quick else 128),),
        seconds=15,
        check_batch=4 if quick else 8,
    )


def _layer_opponents(layer: dict[str, Any]) -> list[Contender]:
    last = {**layer, "memory": "channels_last"}
    return [
        Contender(label=GROUP_CONV, kind="ours.group_layer", arguments=layer),
        Contender(label=REFERENCE, kind="paper.separable_layer", arguments=layer),
        Contender(label=ORDINARY_SEPARABLE, kind="ordinary.separable_layer", arguments=layer),
        Contender(label=ORDINARY_SEPARABLE_LAST, kind="ordinary.separable_layer", arguments=last),
        Contender(label=ORDINARY_DENSE, kind="ordinary.dense_layer", arguments=layer),
        Contender(label=ORDINARY_DENSE_LAST, kind="ordinary.dense_layer", arguments=last),
    ]


def _compiled(quick: bool) -> Iterator[Case]:
    for name, width, words in (("gc_p4cnn", 30, "gc-P4CNN"), ("p4cnn", 10, "P4CNN")):
        arguments = _table1(name, width, quick)
        yield Case(
            name=f"compile-{name}-w{width}",
            section="Compiled",
            title=f"{words}, width {width}: torch.compile (inductor, fullgraph) beside eager",
            shape=(1, 28, 28),
            contenders=(
                _network("ours", OURS, arguments),
                _network("ours", COMPILED, arguments, finish="compiled"),
                _network("ours", FOR_INFERENCE, arguments, finish="for inference", tasks=("inference",)),
            ),
            tasks=_network_tasks(quick),
            seconds=60,
            check_batch=4 if quick else 128,  # that of the training step, so that the compiler's work is found again
        )


def _other_networks(quick: bool) -> Iterator[Case]:
    g = _table1("g_p4cnn", 17, quick)
    contenders = [
        _network("ours", OURS, g),
        *_executions("ours.network", g, ("separable", "composed"), recompute=False),
        *_references(g),
    ]
    yield _network_case("g_p4cnn", 17, "g-P4CNN", contenders, quick, 60)
    c = _table1("c_z2cnn", 57, quick)
    contenders = [
        _network("ours", OURS, c),
        _network("ordinary", PLAIN, c),
        _network("ordinary", PLAIN_DEFAULT, c, allocator="default"),
        _network("ordinary", PLAIN_LAST, {**c, "memory": "channels_last"}),
    ]
    yield _network_case("c_z2cnn", 57, "c-Z2CNN", contenders, quick, 25)
    for name, words in (("gc_p4cnn", "gc-P4CNN"), ("g_p4cnn", "g-P4CNN")):
        narrow = _table1(name, 10, quick)
        yield _network_case(name, 10, words, [_network("ours", OURS, narrow), *_references(narrow)], quick, 25)


def _resnets(quick: bool) -> Iterator[Case]:
    widths = {
        "gc_p4m_resnet44": (28, 56, 112),
        "g_p4m_resnet44": (19, 38, 76),
        "p4m_resnet44": (11, 23, 45),
        "resnet44": (32, 64, 128),
    }
    pixels, batch, large = (8, 2, 2) if quick else (32, 16, 128)
    seconds = dict(zip(widths, (35, 55, 35, 15), strict=True))
    for name, stages in widths.items():
        arguments = {"name": name, "widths": (2, 2, 3) if quick else stages, "downsampling": "paper"}
        yield Case(
            name=name,
            section="ResNet44s",
            title=f"{name}, widths {', '.join(map(str, stages))}: CIFAR-10, 32 x 32; training batch {batch}",
            shape=(3, pixels, pixels),
            contenders=(
                _network("ours", OURS, arguments),
                # The reference of g takes many seconds a step; g-P4CNN shows it.
                *([] if name.startswith("g_") else [_network("paper", REFERENCE, arguments, tasks=("training step",))]),
            ),
            tasks=(Task("training step", batch), Task("inference", 1), Task("inference", large)),
            seconds=seconds[name],
            check_batch=2,
            least=2,
        )


def _curves(quick: bool) -> Iterator[Case]:
    """Vary one thing at a time, from p4m, 64 channels, 3 x 3, 32 x 32 pixels, batch 8.

    Channels are varied on 16 x 16 pixels: 256 of them are 2048 maps on p4m.
    """
    points: list[tuple[dict[str, Any], float]] = [({"group": group}, 4.0 * order) for group, order in ORDERS.items()]
    points += [({"channels": c, "pixels": 16}, s) for c, s in ((16, 4), (32, 5), (64, 8), (128, 18), (256, 45))]
    points += [({"pixels": p}, s) for p, s in ((8, 4), (64, 45))]
    points += [({"kernel": k}, s) for k, s in ((5, 30), (7, 45))]
    points += [({"batch": b}, s) for b, s in ((1, 4), (2, 8), (4, 12), (16, 28), (32, 45))]
    for changed, seconds in points:
        setting: dict[str, Any] = {**BASE, **changed}
        arguments = _layer_arguments(
            quick, group=setting["group"], channels=setting["channels"], kernel_size=setting["kernel"]
        )
        pixels, batch = setting["pixels"], setting["batch"]
        words = f"{setting['group']}, {setting['channels']} channels, {setting['kernel']} x {setting['kernel']}"
        if quick:
            pixels, batch = min(pixels, 8), min(batch, 2)
        yield Case(
            name="growth-" + "-".join(f"{key}-{value}" for key, value in changed.items()),
            section="Growth",
            title=f"{words}, {setting['pixels']} x {setting['pixels']} pixels, batch {setting['batch']}",
            shape=_layer_shape(arguments, pixels),
            contenders=tuple(_curve_contenders(arguments)),
            tasks=(Task("forward + backward", batch), Task("inference", batch)),
            seconds=seconds,
            check_batch=1,
            setting=setting,
        )


def _curve_contenders(layer: dict[str, Any]) -> list[Contender]:
    """Return fewer contenders than at the base point: those that say how ours grows beside others."""
    ours = [Contender(label=OURS, kind="ours.separable_layer", arguments=layer)]
    return ours + [other for other in _layer_opponents(layer) if other.label != ORDINARY_DENSE]
