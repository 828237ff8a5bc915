"""A few of timm's networks, whose blocks are written in ways of their own: exact, and the same after to_plain.

`python -m tests.convert.timm_models` goes through all of the 54.
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


# Gates by convolutions; channels last with a norm of its own. Each way to write a block stands alone in
# tests/convert/foreign_forwards.py.
HANDFUL = ("mobilenetv3_small_100", "convnextv2_atto")


@pytest.mark.parametrize("name", HANDFUL)
def test_exact_and_plain(name):
    torch.manual_seed(0)
    became, error, words = examine(name, EXACT[name], 40_000)
    assert became == "exact", words
    assert error < 1e-10


def test_what_is_refused_is_named_shortly():
    name, words = "inception_next_atto", r"and 9 more: kernel_size=\(1, 9\) breaks the equivariance to p4"
    with pytest.raises(ValueError, match=words) as caught:
        equivariant(network(name), "p4", sharing="gc", input_shape=(3, OTHERS[name], OTHERS[name]))
    assert len(str(caught.value)) < 1500
