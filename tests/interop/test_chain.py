"""What one conversion makes, the others take: rebuilt, separated, plain, certified."""

import json

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.convert import equivariant, from_e2cnn, separate, to_onnx, to_plain

pytestmark = [
    pytest.mark.usefixtures("unchecked"),
    # e2cnn 0.2.3 indexes with bytes where it builds a basis.
    pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8:UserWarning:e2cnn"),
]


def relative(found, expected):
    """The largest difference, as a share of the largest number."""
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


class Small(nn.Module):
    """An ordinary CNN with a sum of two paths."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x).relu()
        x = x + self.norm(self.inner(x)).relu()
        return self.head(x.mean((-2, -1)))


def test_an_ordinary_network_rebuilt_separated_and_exported_stays_exact(float64, stir):
    rebuilt = stir(equivariant(Small(), "p4", input_shape=(3, 8, 8)))
    x = torch.randn(2, 3, 8, 8)
    assert sepgconv.analysis.certify(rebuilt, "p4", (3, 8, 8)).exact
    assert not sepgconv.analysis.certify(Small(), "p4", (3, 8, 8)).exact
    separation = separate(rebuilt, "gc", rank=2)
    assert separation.ranks == (2,)
    plain = to_plain(separation.model, input_shape=(3, 8, 8))
    torch.testing.assert_close(plain(x), separation.model(x), rtol=1e-9, atol=1e-9)
    assert sepgconv.analysis.certify(plain, "p4", (3, 8, 8)).exact
    assert not torch.allclose(plain(x), rebuilt(x), rtol=1e-3)


def test_a_model_of_e2cnn_analysed_separated_and_exported(e2cnn, stir):
    spaces, layers = e2cnn
    space = spaces.Rot2dOnR2(4)
    image = layers.FieldType(space, [space.trivial_repr])
    maps = layers.FieldType(space, 4 * [space.regular_repr])
    theirs = layers.SequentialModule(
        layers.R2Conv(image, maps, 3, padding=1),
        layers.InnerBatchNorm(maps),
        layers.ReLU(maps),
        layers.R2Conv(maps, maps, 3, padding=1),
        layers.ReLU(maps),
        layers.GroupPooling(maps),
    ).eval()
    ours = from_e2cnn(theirs).double().eval()
    x = torch.randn(2, 1, 9, 9, dtype=torch.float64)
    assert sepgconv.analysis.certify(ours, "p4", (1, 9, 9)).exact
    report = sepgconv.analysis.redundancy(ours, input_shape=(1, 9, 9))
    assert len(report.ranked(rank=1)) == 2
    separation = separate(ours, "gc", rank=9)
    torch.testing.assert_close(separation.model(x), ours(x), rtol=1e-9, atol=1e-9)
    plain = to_plain(separation.model, input_shape=(1, 9, 9))
    torch.testing.assert_close(plain(x), ours(x), rtol=1e-9, atol=1e-9)


def test_from_c8_of_e2cnn_to_a_small_gc_network_in_onnx(e2cnn, tmp_path):
    """The same outputs, then fewer parameters, then a file that another runtime reads, with figures at each step."""
    runtime = pytest.importorskip("onnxruntime")
    spaces, layers = e2cnn
    space = spaces.Rot2dOnR2(8)
    image, maps = layers.FieldType(space, [space.trivial_repr]), layers.FieldType(space, 4 * [space.regular_repr])
    theirs = layers.SequentialModule(
        layers.R2Conv(image, maps, 5, padding=2),
        layers.InnerBatchNorm(maps),
        layers.ReLU(maps),
        layers.PointwiseAvgPoolAntialiased(maps, 0.66, 2),
        layers.R2Conv(maps, maps, 5, padding=2),
        layers.InnerBatchNorm(maps),
        layers.ReLU(maps),
        layers.R2Conv(maps, maps, 5, padding=2),
        layers.GroupPooling(maps),
    ).eval()
    x = torch.randn(4, 1, 17, 17)
    expected = theirs(layers.GeometricTensor(x, image)).tensor
    ours = from_e2cnn(theirs)
    assert relative(ours(x), expected) < 1e-5
    trained = [sum(p.numel() for p in each.parameters() if p.requires_grad) for each in (theirs, ours)]
    assert trained == [2888, 2888]  # the coefficients of the same filters
    report = sepgconv.analysis.redundancy(ours, input_shape=(1, 17, 17))
    assert [layer.role for layer in report.layers] == ["planar", "planar", "group", "group"]
    assert {option.rank for option in report.options} <= set(range(1, 11))
    json.dumps(report.to_dict(), allow_nan=False)
    # At full rank, that of the 11 filters of a kernel, the outputs stay. Random filters are not alike, so that at
    # rank 1 little is kept of them; what training makes up for is not tested here.
    found = {rank: separate(ours, "gc", rank=rank) for rank in (11, 3, 1)}
    errors = {rank: relative(separation.model(x), expected) for rank, separation in found.items()}
    assert errors[11] < 1e-5
    assert 0.1 < errors[3] < 1
    assert errors[1] > 0.5
    trained = {rank: sum(p.numel() for p in each.model.parameters() if p.requires_grad) for rank, each in found.items()}
    assert trained == {11: 3856, 3: 1104, 1: 416}
    for rank, separation in found.items():
        lost = [layer.energy_lost for layer in separation.layers]
        assert lost == pytest.approx([report.layers[i].energy("gc").lost_at(rank) for i in (2, 3)], abs=1e-6)
    # The file has the numbers of the small network.
    small = found[3].model.eval()
    written = to_onnx(small, tmp_path / "small.onnx", input_shape=(1, 17, 17))
    assert written.difference < 1e-5
    (answer,) = runtime.InferenceSession(tmp_path / "small.onnx").run(["scores"], {"image": x.numpy()})
    assert relative(torch.from_numpy(answer), small(x)) < 1e-5
