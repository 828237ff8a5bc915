"""ConvSpec for every kind, with channel groups and terms: shapes, counts, and its filters as plain steps of torch."""

import copy
import itertools
import math
import pickle
import threading

import pytest
import torch
from torch.nn import functional as F

import sepgconv
from sepgconv.conv import DEPTHWISE, FULL, LIFTING, SEPARABLE, conv_spec
from sepgconv.conv.kinds import over_poses, pose_rows
from sepgconv.ops import dispatch, reference
from tests.covering import each

IN, OUT = 4, 6
KINDS = {"lifting": LIFTING, "full": FULL, "depthwise": DEPTHWISE, "gc": SEPARABLE["gc"], "g": SEPARABLE["g"]}
# (kind, groups, rank)
VARIANTS = [
    *itertools.product(("lifting", "full"), (1, 2), (1,)),
    ("depthwise", 1, 1),
    *itertools.product(("gc", "g"), (1, 2), (1, 2)),
]


def build(kind, group, groups=1, rank=1, **options):
    """The spec, and its layer."""
    size, order = 3 if sepgconv.group(group).exchanges_axes else (3, 2), sepgconv.group(group).order
    if kind == "depthwise":
        layer = sepgconv.nn.DepthwiseGroupConv2d(IN, size, group, **options)
    elif kind in ("gc", "g"):
        rank = min(rank, order) if kind == "g" else rank  # its full rank is |G|
        layer = sepgconv.nn.SeparableGroupConv2d(
            IN, OUT, size, group, groups=groups, sharing=kind, rank=rank, **options
        )
    else:
        front = {"lifting": sepgconv.nn.LiftingConv2d, "full": sepgconv.nn.GroupConv2d}[kind]
        layer = front(IN, OUT, size, group, groups=groups, **options)
    out = IN if kind == "depthwise" else OUT
    spec = conv_spec(
        KINDS[kind], IN, out, size, sepgconv.group(group), groups=groups, rank=rank, caller="a test", **options
    )
    return spec, layer.double()


def loops(spec, x, layer, **planar):
    """The loop reference on the slices of the channels that belong together, one channel group after the other."""
    kind, parts, group = spec.kind.name, [], spec.group
    if kind == "depthwise":
        out = reference.depthwise_group_conv2d_reference(x, layer.weight, group, **planar)
    else:
        for j in range(spec.groups):
            inside = x.unflatten(1, (spec.groups, -1))[:, j]
            weights = [w.unflatten(0, (spec.groups, -1))[j] for w in layer.weights().values()]
            if kind == "lifting":
                parts.append(reference.lift_conv2d_reference(inside, *weights, group, **planar))
            elif kind == "full":
                parts.append(reference.group_conv2d_reference(inside, *weights, group, **planar))
            else:
                parts.append(
                    reference.separable_group_conv2d_reference(inside, *weights, group, sharing=kind, **planar)
                )
        out = torch.cat(parts, 1)
    return out + layer.bias[:, None, None, None]


def exchanged(maps, outer, inner):
    return maps.unflatten(1, (outer, inner, -1)).transpose(1, 2).flatten(1, 3)


def transform(maps, fft, order, *, inverse=False):
    """The Fourier transform as one matrix over poses; the blocks lie one after the other."""
    segments, finished = [torch.eye(order).double()], []
    for further in fft.levels:
        halves = [segment.chunk(2) for segment in segments]
        sums, differences = [a + b for a, b in halves], [a - b for a, b in halves]
        if further:
            segments = [half for pair in zip(sums, differences, strict=True) for half in pair]
        else:
            finished += differences
            segments = sums
    matrix = torch.cat(finished + segments)
    return torch.einsum("pq,bqcyx->bpcyx", matrix.T if inverse else matrix, maps)


def run_by_torch(spec, x, lowered, stride=1, padding=1):
    """The steps of a lowering, written down with F.conv2d alone."""
    order, groups = spec.order, spec.groups
    maps = x if spec.kind.lifts else x.transpose(1, 2).flatten(1, 2)  # (pose * channel)
    if lowered.steps == "g":
        mixed = F.conv2d(x.flatten(1, 2), lowered.mixing[0], groups=spec.in_channels)  # (c, h * o * r)
        maps = mixed.unflatten(1, (spec.in_channels, -1)).transpose(1, 2).flatten(1, 2)  # (h * o * r * c)
        terms = lowered.filters.shape[0]
        y = F.conv2d(maps, lowered.filters, lowered.bias, stride, padding, groups=terms)
        return y.unflatten(1, (order, -1)).transpose(1, 2)
    if groups > 1 and not spec.kind.lifts:
        maps = exchanged(maps, order, groups)
    if lowered.steps == "gc":
        terms = lowered.filters.shape[1]
        if lowered.transform.levels:
            rows = transform(maps.unflatten(1, (order, -1)), lowered.transform, order)
            parts, start = [], 0
            for weight, copies in zip(lowered.mixing, lowered.transform.copies, strict=True):
                length = next(n for c, n in lowered.transform.blocks if c == copies)
                taken = rows[:, start : start + copies * length].flatten(1, 2)
                parts.append(F.conv2d(taken, weight, groups=copies).unflatten(1, (copies * length, -1)))
                start += copies * length
            maps = transform(torch.cat(parts, 1), lowered.transform, order, inverse=True).flatten(1, 2)
        else:
            maps = F.conv2d(maps, lowered.mixing[0], groups=lowered.mixing_groups[0])
        per = maps.unflatten(1, (order * groups, terms, -1))
        filters = lowered.filters.unflatten(0, (order * groups, -1))
        y = 0
        for r in range(terms):
            kernels = filters[:, :, r].flatten(0, 1).unsqueeze(1)
            bias = lowered.bias if r == 0 else None
            y = y + F.conv2d(per[:, :, r].flatten(1, 2), kernels, bias, stride, padding, groups=len(kernels))
    else:
        y = F.conv2d(maps, lowered.filters, lowered.bias, stride, padding, groups=lowered.groups)
    if groups > 1:
        y = exchanged(y, groups, order)
    return y.unflatten(1, (order, -1)).transpose(1, 2)


def image_of(spec, height=7, width=6):
    poses = () if spec.kind.lifts else (spec.order,)
    return torch.randn(2, IN, *poses, height, width, dtype=torch.float64)


@each(("kind", "groups", "rank"), VARIANTS)
def test_shapes_are_those_of_the_layer(group, kind, groups, rank):
    spec, layer = build(kind, group.name, groups, rank)
    assert spec == layer.spec
    assert hash(spec) == hash(layer.spec)
    assert {name: tuple(weight.shape) for name, weight in layer.weights().items()} == dict(spec.shapes)
    bank = spec.kind.bank(spec, layer.weights())
    poses = () if kind in ("lifting", "depthwise") else (group.order,)
    channels = 1 if kind == "depthwise" else IN // groups
    assert bank.shape == layer.filter_bank().shape == (spec.out_channels, channels, *poses, *spec.basis.size)
    assert torch.equal(bank, layer.filter_bank())


def macs_by_loops(spec):
    """Multiplications of one number of the output, one by one as the definitions make them."""
    kind, total = spec.kind.name, 0
    channels, taps = range(spec.in_channels // spec.groups), list(itertools.product(*map(range, spec.basis.size)))
    if kind == "depthwise":
        return sum(1 for _ in taps)
    if kind in ("lifting", "full"):
        poses = range(1 if kind == "lifting" else spec.order)
        return sum(1 for _ in itertools.product(channels, poses, taps))
    for _ in range(spec.rank):
        total += sum(1 for _ in itertools.product(channels, range(spec.order)))  # the mixing
        total += sum(1 for _ in (itertools.product(channels, taps) if kind == "g" else taps))  # the filtering
    return total


@each(("kind", "groups", "rank"), VARIANTS)
def test_macs_are_those_of_the_definition(group, kind, groups, rank):
    spec, _ = build(kind, group.name, groups, rank, stride=1 if group.exchanges_axes else (2, 1))
    assert spec.kind.macs_per_output(spec) == macs_by_loops(spec)
    out = spec.geometry.output_size(8, 7)
    assert spec.nominal_macs((8, 7)) == macs_by_loops(spec) * spec.out_channels * group.order * math.prod(out)


@each(("kind", "groups", "rank"), VARIANTS)
def test_every_lowering_run_by_torch_is_the_definition(group, kind, groups, rank):
    spec, layer = build(kind, group.name, groups, rank)
    x = image_of(spec)
    with torch.no_grad():
        layer.bias.normal_()
    expected = loops(spec, x, layer, padding=1)
    executions = list(spec.kind.work(spec, (7, 6)))
    assert ("fourier" in executions) == (kind == "gc" and groups == 1 and group.order > 1)
    for execution in executions:
        lowered = spec.kind.lower(spec, layer.weights(), layer.bias, execution)
        torch.testing.assert_close(run_by_torch(spec, x, lowered), expected, rtol=1e-10, atol=1e-10)


@each(("kind", "groups", "rank"), VARIANTS)
def test_the_comparison_sees_filters_in_the_wrong_place(kind, groups, rank):
    """Negative control: poses in the opposite order, in one step at a time."""
    spec, layer = build(kind, "p4m", groups, rank)
    x = image_of(spec)
    expected = loops(spec, x, layer, padding=1)
    for execution in spec.kind.work(spec, (7, 6)):
        lowered = spec.kind.lower(spec, layer.weights(), layer.bias, execution)
        for wrong in (
            lowered._replace(filters=lowered.filters.flip(0)),
            *([lowered._replace(mixing=tuple(m.flip(0) for m in lowered.mixing))] if lowered.mixing else []),
        ):
            assert not torch.allclose(run_by_torch(spec, x, wrong), expected, atol=1e-3)


def test_rows_and_values_lie_as_maps_do():
    spec, _ = build("full", "p4", 2)
    values = torch.arange(float(OUT))
    lie = over_poses(values, spec).unflatten(0, (2, 4, -1))  # (group, pose, channel of the group)
    assert all(torch.equal(lie[:, h].flatten(), values) for h in range(4))
    filters = torch.randn(OUT, 4, 5)
    rows = pose_rows(filters, 2).unflatten(0, (2, 4, -1))
    assert all(torch.equal(rows[:, h].flatten(0, 1), filters[:, h]) for h in range(4))


@each(
    ("kind", "groups"),
    itertools.product(["lifting", "full", "gc", "g"], ["2", 0, -1, 3, True, 2.0, None, (2,), 8]),
)
def test_bad_groups_are_one_sentence(kind, groups, unchecked):
    fronts = {"lifting": sepgconv.nn.LiftingConv2d, "full": sepgconv.nn.GroupConv2d}
    front = fronts.get(kind, sepgconv.nn.SeparableGroupConv2d)
    sharing = {"sharing": kind} if kind in ("gc", "g") else {}
    for call in (
        lambda: conv_spec(KINDS[kind], 4, 4, 3, sepgconv.group("p4"), groups=groups, caller="a test"),
        lambda: front(4, 4, 3, "p4", groups=groups, **sharing),
    ):
        with pytest.raises(ValueError, match="groups must be a positive integer") as error:
            call()
        said = str(error.value)
        assert "\n" not in said
        assert ";" not in said
        assert said.endswith(f"got {groups!r}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_channels": 0}, "in_channels must be a positive integer, got 0"),
        ({"out_channels": True}, "out_channels must be a positive integer, got True"),
        ({"out_channels": 4.0}, "out_channels must be a positive integer, got 4.0"),
        ({"kernel_size": 0}, "kernel_size must be"),
        ({"kernel_size": (3, 5)}, "breaks the equivariance to p4"),
        ({"stride": 0}, "stride must be"),
        ({"padding": "full"}, "padding must be 'same', 'valid'"),
        ({"padding_mode": "mirror"}, "unknown padding_mode 'mirror'"),
    ],
)
def test_other_bad_arguments_are_one_sentence(changes, message, unchecked):
    arguments = {"in_channels": 4, "out_channels": 4, "kernel_size": 3} | changes
    with pytest.raises(ValueError, match=message) as error:
        conv_spec(FULL, group=sepgconv.group("p4"), caller="a test", **arguments)
    assert "\n" not in str(error.value)


def test_numbers_of_numpy_are_integers(unchecked):
    import numpy as np

    spec = conv_spec(FULL, np.int64(4), np.int64(4), 3, sepgconv.group("p4"), groups=np.int64(2), caller="a test")
    assert dict(spec.shapes) == {"weight": (4, 2, 4, 3, 3)}


def test_a_spec_is_one_value_in_all_copies():
    layer = sepgconv.nn.SeparableGroupConv2d(4, 8, 3, "p4m", padding=1)
    layer(torch.zeros(1, 4, 8, 6, 6))
    spec = layer.spec
    assert len(spec.choices) == 1
    assert copy.deepcopy(layer).spec is spec
    loaded = pickle.loads(pickle.dumps(spec))
    assert loaded == spec
    assert loaded.shapes == spec.shapes
    assert loaded.choices == {}  # what was chosen here says nothing of the machine that reads it
    with pytest.raises(AttributeError):
        spec.groups = 2


def test_a_changed_execution_or_cost_model_is_seen():
    layer = sepgconv.nn.SeparableGroupConv2d(4, 8, 3, "p4", padding=1)
    chosen = []
    for execution in ("auto", "separable", "fourier", "composed", "auto"):
        layer.execution = execution
        chosen.append(layer.selected_execution(6, 6))
    assert chosen[1:4] == ["separable", "fourier", "composed"]
    assert chosen[0] == chosen[4]
    with dispatch.using(sepgconv.conv.cost.CostModel(grouped_mac=10**6)):
        assert layer.selected_execution(6, 6) == "composed"
    assert layer.selected_execution(6, 6) == chosen[0]


def test_choices_do_not_grow_with_images_of_ever_other_sizes(monkeypatch):
    monkeypatch.setattr(dispatch, "MAX_CHOICES", 5)
    spec, _ = build("gc", "p4")
    for side in range(3, 20):
        dispatch.choose_execution(spec, (side, side))
    assert len(spec.choices) <= 5


def test_threads_choose_alike():
    spec, _ = build("gc", "p4")
    sizes = [(side, side) for side in range(3, 40)]
    expected = [dispatch._choose(spec, size, "auto", "cpu", dispatch.BUILT_IN, "a test") for size in sizes]
    found = []

    def choose():
        found.append([dispatch.choose_execution(spec, size) for size in sizes])

    threads = [threading.Thread(target=choose) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
