"""Contenders: every one builds and equals the loops of the definition or the reference; a broken one is refused."""

import dataclasses

import pytest
import torch

import sepgconv
from benchmarks.checks import Mismatch, check_contender
from benchmarks.contenders import kinds, ordinary, ours, paper, peers
from benchmarks.contenders.kinds import KINDS, Kind, build, copy_weights, lacking, native
from benchmarks.steps import make_input
from benchmarks.suite import suite
from sepgconv.ops import reference
from tests.covering import each, named

CASES = {case.name: case for case in suite(quick=True)}
CHOSEN = ("gc_p4cnn-w30", "p4cnn-w10", "z2cnn-w20", "c_z2cnn-w57", "g_p4cnn-w17", "layer-p4m-64", "growth-group-p2")
ANY_ANGLE = ("full-C8-28", "full-D8-28", "gc-C8-28", "gc-C16-16-28", "c8cnn-25k")


def contenders():
    """By case, each distinct way of computing, once; the compiler takes too long here."""
    found, seen = {name: [] for name in (*CHOSEN, *ANY_ANGLE)}, set()
    for name in found:
        for contender in CASES[name].contenders:
            key = repr((contender.kind, sorted(contender.arguments.items()), contender.finish))
            if key not in seen and contender.finish != "compiled":
                seen.add(key)
                found[name].append(contender)
    return found


@pytest.mark.parametrize("name", [*CHOSEN, *ANY_ANGLE])
def test_equals_the_reference(name):
    there = [contender for contender in contenders()[name] if not lacking(contender)]
    assert there
    for contender in there:
        with named(contender=contender.label):
            torch.manual_seed(0)
            for check in check_contender(CASES[name], contender, 1):
                if check.precision == "float64":
                    assert check.output < 1e-11
                    assert check.gradient < 1e-9
                elif check.precision != "size only":
                    assert check.output < 1e-4


@pytest.mark.parametrize("name", ["resnet44", "p4m_resnet44", "g_p4m_resnet44", "gc_p4m_resnet44"])
def test_reference_resnets_equal_ours(name, monkeypatch):
    for module in ("sepgconv.models.resnet44", "benchmarks.contenders.paper"):
        monkeypatch.setattr(f"{module}.BLOCKS_PER_STAGE", 2)  # of 7: all kinds of blocks in a third of the time
    check_contender(CASES[name], CASES[name].contenders[0], 1)


@each("sharing", ["gc", "g"])
@each("stride", [1, 2])
def test_the_oracle_equals_the_loops(group, sharing, stride):
    layer = paper.PaperSeparable(2, 3, 3, group.name, sharing=sharing, stride=stride, padding=1).double()
    x = torch.randn(2, 2, group.order, 5, 6, dtype=torch.float64)
    expected = reference.separable_group_conv2d_reference(
        x, layer.pointwise, layer.depthwise, group, sharing=sharing, stride=stride, padding=1
    )
    add_bias(layer, expected)
    torch.testing.assert_close(layer(x), expected)


def add_bias(layer, expected):
    """Give the layer a bias, and add it to what the loops, which have none, expect."""
    with torch.no_grad():
        layer.bias.copy_(torch.randn(3))
        expected += layer.bias[:, None, None, None]


def test_the_oracle_of_full_convolutions_equals_the_loops(group):
    layer = paper.PaperGroupConv(2, 3, 3, group.name, padding=1).double()
    x = torch.randn(2, 2, group.order, 5, 6, dtype=torch.float64)
    expected = reference.group_conv2d_reference(x, layer.weight, group, padding=1)
    add_bias(layer, expected)
    torch.testing.assert_close(layer(x), expected)
    lifting = paper.PaperLifting(2, 3, 3, group.name).double()
    expected = reference.lift_conv2d_reference(x[:, :, 0], lifting.weight, group)
    add_bias(lifting, expected)
    torch.testing.assert_close(lifting(x[:, :, 0]), expected)


class Broken(torch.nn.Module):
    """A layer that is wrong in one way."""

    def __init__(self, layer, way):
        super().__init__()
        self.layer, self.way = layer, way

    def forward(self, x):
        y = self.layer(x)
        if self.way == "output":
            return y * (1 + 1e-6)
        if self.way == "bias":
            return y - self.layer.bias[:, None, None, None]
        if self.way == "not a number":
            return y * float("nan")
        if self.way == "gradient of the input":
            return y + 1e-3 * (x - x.detach()).sum()
        if self.way == "gradient of layer.pointwise":
            return y + 1e-3 * (self.layer.pointwise - self.layer.pointwise.detach()).sum()
        if self.way == "evaluation mode":
            return y if self.training else y + 1e-3
        return y if x.dtype == torch.float64 else y + 0.1  # "float32"


@each(
    ("way", "message"),
    [
        ("output", "output in training mode"),
        ("bias", "output in training mode"),
        ("not a number", "output in training mode is off by nan"),
        ("gradient of the input", "gradient of the input"),
        ("gradient of layer.pointwise", "gradient of layer.pointwise"),
        ("evaluation mode", "output in evaluation mode"),
        ("float32", "float32"),
    ],
)
def test_a_broken_contender_is_refused(monkeypatch, way, message):
    case = CASES["layer-p4m-64"]

    def broken(**arguments):
        return Broken(ours.separable_layer(**arguments), way)

    monkeypatch.setitem(KINDS, "broken", Kind(broken, ours.native_maps, paper.separable_layer))
    with pytest.raises(Mismatch, match=message):
        check_contender(case, dataclasses.replace(case.contenders[0], kind="broken"), 1)


def test_a_peer_of_another_size_is_refused(monkeypatch):
    case = CASES["layer-p4m-64"]
    peer = next(contender for contender in case.contenders if contender.kind == "ordinary.dense_layer")
    assert check_contender(case, peer, 1)[0].precision == "size only"
    narrow = Kind(lambda **_: torch.nn.Conv2d(32, 31, 3, padding=1), ordinary.native_maps)
    monkeypatch.setitem(KINDS, "ordinary.dense_layer", narrow)
    with pytest.raises(Mismatch, match="numbers"):
        check_contender(case, peer, 1)


def test_copy_weights_refuses_another_number():
    with pytest.raises(ValueError, match="one to one"):
        copy_weights(torch.nn.Linear(2, 3), torch.nn.Linear(3, 3))


def test_every_contender_has_the_same_weights_and_input():
    case = CASES["z2cnn-w20"]
    first, *others = [c for c in case.contenders if c.finish == "eager"]
    weights = [p.flatten() for p in build(first, 1).parameters()]
    x = make_input(case, 2, 1)
    for other in others:
        for mine, theirs in zip(weights, build(other, 1).parameters(), strict=True):
            assert torch.equal(mine, theirs.flatten())
        assert torch.equal(native(other, x), x)


def test_native_layouts_keep_the_numbers():
    x = torch.randn(2, 3, 4, 5, 6)
    assert torch.equal(ours.native_maps(x), x)
    assert ours.native_maps(x).permute(0, 3, 4, 2, 1).is_contiguous()
    last = ordinary.native_maps(x, memory="channels_last")
    assert torch.equal(last, x.flatten(1, 2))
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_what_is_lacking_is_said(monkeypatch):
    contender = CASES["layer-p4m-64"].contenders[0]
    unknown = dataclasses.replace(contender, arguments={**contender.arguments, "execution": "invented"})
    assert "no execution 'invented'" in lacking(unknown)
    assert lacking(contender) is None
    monkeypatch.setattr(kinds.importlib.util, "find_spec", lambda name: None)
    assert "extra bench" in lacking(dataclasses.replace(contender, kind="e2cnn.network"))
    monkeypatch.setattr(kinds.shutil, "which", lambda name: None)
    assert "C++ compiler" in lacking(dataclasses.replace(contender, finish="compiled"))


def test_e2cnn_export_equals_its_evaluation_mode():
    pytest.importorskip("e2cnn")
    module = peers.network(name="p4cnn", width=2).train()
    x = torch.randn(4, 1, 28, 28)
    module(x)
    expected = module.eval()(x)
    torch.testing.assert_close(peers.exported(module)(x), expected)


def test_networks_have_the_published_number_of_parameters():
    assert sum(p.numel() for p in paper.network(name="gc_p4cnn", width=30).parameters()) == 24_640
    assert sum(p.numel() for p in ordinary.network(name="c_z2cnn", width=57).parameters()) == 25_603
    assert set(paper.NETWORKS) <= set(sepgconv.list_models())
