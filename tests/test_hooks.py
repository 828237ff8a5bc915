"""Calls are reported while a block lasts, in order and with all arguments; afterwards modules are as they were."""

import pytest
import torch
from torch import nn

from sepgconv._hooks import watch_calls


class Scaled(nn.Module):
    def forward(self, x, *, by=1):
        return by * x


def hooks(module):
    return [*module._forward_hooks, *module._forward_pre_hooks]


def test_calls_are_reported_with_their_arguments_and_outputs():
    inner, seen = Scaled(), []
    model, x = nn.Sequential(inner, inner), torch.ones(1)

    def before(key, arguments, keywords):
        seen.append(("before", key, keywords))

    def after(key, arguments, keywords, output):
        seen.append(("after", key, float(arguments[0]), float(output)))

    with watch_calls([("inner", inner)], before=before, after=after):
        model(x)
        inner(x, by=3)
    one = [("before", "inner", {}), ("after", "inner", 1.0, 1.0)]
    assert seen == [*one, *one, ("before", "inner", {"by": 3}), ("after", "inner", 1.0, 3.0)]
    inner(x)
    assert len(seen) == 6, "nothing is reported after the block"


def test_what_a_report_returns_changes_nothing():
    module = Scaled()
    with watch_calls([(0, module)], before=lambda *_: (5,), after=lambda *_: torch.zeros(1)):
        assert module(torch.ones(1)) == 1


def test_hooks_are_gone_after_an_error_and_others_stay():
    module = Scaled()
    own = module.register_forward_hook(lambda *_: None)

    def stop(*_):
        assert len(hooks(module)) == 2
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), watch_calls([(0, module)], before=stop):
        module(torch.ones(1))
    assert hooks(module) == [own.id]
