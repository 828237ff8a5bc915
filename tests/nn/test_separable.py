"""SeparableGroupConv2d: the executions of one function, and the full filter bank it stands for."""

import copy

import pytest
import torch

import sepgconv
from sepgconv.nn import GroupConv2d, SeparableGroupConv2d

pytestmark = pytest.mark.usefixtures("float64")


def executions(sharing):
    return ("separable", "composed", "fourier") if sharing == "gc" else ("separable", "composed")


@pytest.mark.parametrize("sharing", ["gc", "g"])
class TestBothSharings:
    @pytest.mark.parametrize(
        "options",
        [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2, "padding_mode": "replicate"}],
        ids=str,
    )
    @pytest.mark.covering(1)
    def test_executions_agree_forward_and_backward(self, group, sharing, options):
        modules = [
            SeparableGroupConv2d(3, 4, 3, group, sharing=sharing, execution=execution, **options)
            for execution in executions(sharing)
        ]
        for module in modules:
            module.load_state_dict(modules[0].state_dict())
        x = torch.randn(2, 3, group.order, 7, 6)
        results = []
        for module in modules:
            leaf = x.clone().requires_grad_()
            y = module(leaf)
            y.sin().sum().backward()
            results.append([y, leaf.grad, *(parameter.grad for parameter in module.parameters())])
        for other in results[1:]:
            torch.testing.assert_close(results[0], other, rtol=1e-11, atol=1e-11)

    @pytest.mark.covering(1)
    def test_compose_is_the_weight_of_the_equal_group_convolution(self, group, sharing):
        separable = SeparableGroupConv2d(3, 4, 3, group, sharing=sharing, padding=1, stride=2)
        full = GroupConv2d(3, 4, 3, group, padding=1, stride=2)
        assert separable.compose().shape == full.weight.shape
        full.load_state_dict({"weight": separable.compose(), "bias": separable.bias})
        x = torch.randn(2, 3, group.order, 7, 6)
        torch.testing.assert_close(separable(x), full(x), rtol=1e-12, atol=1e-12)

    def test_compose_is_differentiable(self, sharing):
        module = SeparableGroupConv2d(3, 4, 3, "p4", sharing=sharing)
        module.compose().square().sum().backward()
        assert module.pointwise.grad.abs().min() > 0
        assert module.depthwise.grad.abs().min() > 0

    @pytest.mark.covering(1)
    def test_parameters_are_counted_as_in_the_paper(self, group, sharing):
        """theory.md, Cost: g C C' (|G| + k^2), gc C' (C |G| + k^2), and the bias."""
        module = SeparableGroupConv2d(3, 4, 5, group, sharing=sharing)
        count = 3 * 4 * (group.order + 25) if sharing == "g" else 4 * (3 * group.order + 25)
        assert sum(parameter.numel() for parameter in module.parameters()) == count + 4

    def test_auto_gives_the_same_numbers_at_every_size(self, sharing):
        module = SeparableGroupConv2d(20, 2, 3, "p4", sharing=sharing)
        assert module.execution == "auto"
        for size in (3, 4, 9):
            x = torch.randn(1, 20, 4, size, size)
            for execution in executions(sharing):
                other = copy.copy(module)
                other.execution = execution
                torch.testing.assert_close(module(x), other(x), rtol=1e-12, atol=1e-12)


def test_gc_is_the_default_and_shares_a_kernel_over_input_channels():
    module = SeparableGroupConv2d(3, 4, 3, "p4")
    assert module.sharing == "gc"
    bank = module.compose().flatten(1, 2).flatten(2)  # (o, c*g, k*k)
    assert all(torch.linalg.matrix_rank(filters) == 1 for filters in bank)
    g = SeparableGroupConv2d(3, 4, 3, "p4", sharing="g").compose().flatten(3)  # (o, c, g, k*k)
    assert (torch.linalg.matrix_rank(g) == 1).all()
    assert (torch.linalg.matrix_rank(g.flatten(1, 2)) == 3).all()


def test_a_group_of_one_separates_nothing_from_nothing():
    """On p1, g has a kernel per pair of channels, which is every convolution; gc is depthwise-separable."""
    module = SeparableGroupConv2d(3, 4, 3, sepgconv.group("p1"), sharing="g")
    weight = torch.randn(4, 3, 1, 3, 3)
    module.load_state_dict({"pointwise": torch.ones(4, 3, 1), "depthwise": weight.squeeze(2), "bias": torch.zeros(4)})
    assert torch.equal(module.compose(), weight)
