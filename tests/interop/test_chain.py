"""What one conversion makes, the others take: rebuilt, separated, plain, certified."""

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.convert import equivariant, from_e2cnn, separate, to_plain

pytestmark = pytest.mark.usefixtures("unchecked")


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
