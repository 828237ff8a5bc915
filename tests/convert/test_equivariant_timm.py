"""A handful of timm's networks, one for each way to write a block: exact at their size, and the same after to_plain.

`python -m tests.convert.timm_models` goes through all of them.
"""

import sys

import pytest
import torch

from sepgconv.convert import equivariant
from tests.convert import torchvision_stand_in
from tests.convert.timm_models import EXACT, OTHERS, examine, network


@pytest.fixture(scope="module", autouse=True)
def torchvision():
    """The stand-in, for as long as these tests run."""
    before = dict(sys.modules)
    torchvision_stand_in.install()
    pytest.importorskip("timm", reason="`make test` installs it")
    yield
    for name in set(sys.modules) - set(before):
        if name.partition(".")[0] in ("timm", "torchvision"):
            del sys.modules[name]


# Norms with activation, gates by convolutions and by a convolution over channels, split and chunked channels, slices,
# channels last with layer scale, windows that hang over on other sizes, stacked paths, a filter that blurs.
HANDFUL = ("mobilenetv3_small_100", "res2net50_26w_4s", "ghostnet_100", "convnextv2_atto", "ese_vovnet19b_dw",
           "skresnet18", "fasternet_t0")  # fmt: skip


@pytest.mark.parametrize("name", HANDFUL)
def test_exact_and_plain(name):
    torch.manual_seed(0)
    became, error, words = examine(name, EXACT[name], 40_000)
    assert became == "exact", words
    assert error < 1e-10


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnext50_32x4d", r"layer1\.0\.conv2, layer1\.1\.conv2, layer1\.2\.conv2 and 13 more: Conv2d with groups=32"),
        ("nf_resnet26", r"its weight is computed in the forward, as weight standardisation does"),
        ("inception_next_atto", r"and 9 more: kernel_size=\(1, 9\) breaks the equivariance to p4"),
    ],
)
def test_what_is_refused_is_named_shortly(name, words):
    with pytest.raises(ValueError, match=words) as caught:
        equivariant(network(name), "p4", sharing="gc", input_shape=(3, OTHERS[name], OTHERS[name]))
    assert len(str(caught.value)) < 1500
