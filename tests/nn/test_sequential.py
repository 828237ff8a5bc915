"""`sepgconv.nn.Sequential` is `torch.nn.Sequential` under another name."""

import copy
import pickle

import torch
from torch import nn

from sepgconv import nn as layers


def chain():
    return layers.Sequential(
        layers.GroupBatchNorm2d(3), nn.ReLU(), nn.Sequential(layers.SeparableGroupConv2d(3, 3, 3, "p4"))
    )


def test_nothing_but_the_name_differs_from_torch():
    assert issubclass(layers.Sequential, nn.Sequential)
    assert {name for name in vars(layers.Sequential) if not name.startswith("__")} == set()
    ours = chain()
    theirs = nn.Sequential(*copy.deepcopy(list(ours)))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(2, 3, 4, 6, 8)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)


def test_hooks_of_every_step_fire():
    ours, fired = chain(), []
    for module in ours.modules():
        module.register_forward_hook(lambda module, args, y: fired.append(type(module).__name__))
    ours(torch.randn(2, 3, 4, 6, 8))
    assert fired == ["GroupBatchNorm2d", "ReLU", "SeparableGroupConv2d", "Sequential", "Sequential"]


def test_parts_and_copies_are_of_the_same_class():
    ours = chain()
    assert type(ours[:2]) is type(pickle.loads(pickle.dumps(ours))) is layers.Sequential
