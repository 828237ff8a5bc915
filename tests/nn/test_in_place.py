"""The result of every layer may be changed in place, in training too, with the gradient of the same without."""

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.functional import group_max_pool
from tests.covering import named


@pytest.fixture(params=["p1", "p2", "p4m"])
def group(request) -> sepgconv.FiniteGroup:
    return sepgconv.group(request.param)


def fill_(y):
    return y.index_fill_(1, torch.tensor([0]), 2.0)


CHANGES = {
    "ReLU(inplace=True)": (nn.ReLU(inplace=True), nn.ReLU()),
    "+=": (lambda y: y.__iadd__(1.5), lambda y: y + 1.5),
    "*=": (lambda y: y.__imul__(-2), lambda y: y * -2),
    "index_fill_": (fill_, lambda y: y.index_fill(1, torch.tensor([0]), 2.0)),
    "zero_": (lambda y: y.zero_(), lambda y: y * 0),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.covering(1)
def test_results_may_be_changed_in_place(layer, group, change):
    for training in [True, False]:
        with named(training=training):
            module, x = layer.build(group, 3).train(training), layer.input(group).requires_grad_()
            results = []
            for then in CHANGES[change]:
                torch.manual_seed(1)
                y = then(module(x))
                results.append((y, *torch.autograd.grad(y.sin().sum(), [x, *module.parameters()])))
            for found, expected in zip(*results, strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("float64")
class TestMaximumOverPoses:
    def test_poses_that_tie_share_the_gradient_equally(self, group):
        x = torch.zeros(1, 2, group.order, 2, 2)
        x[:, 1, 0] = 1  # the only maximum of the second channel
        x.requires_grad_()
        (grad,) = torch.autograd.grad(group_max_pool(x).mul_(3).sum(), x)
        assert torch.allclose(grad[:, 0], torch.full_like(grad[:, 0], 3 / group.order))
        assert torch.equal(grad[:, 1, 0], torch.full_like(grad[:, 1, 0], 3))
        assert not grad[:, 1, 1:].any()

    @pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own
    def test_derivatives_of_every_order(self, group):
        x = torch.randn(1, 2, group.order, 2, 3, requires_grad=True)

        def pool(x):
            return group_max_pool(x).mul_(2).exp_()

        assert torch.autograd.gradcheck(pool, x, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(pool, x, fast_mode=True)
        jacobian = torch.autograd.functional.jacobian(pool, x)
        torch.testing.assert_close(torch.func.jacrev(pool)(x.detach()), jacobian)
        torch.testing.assert_close(torch.func.jacfwd(pool)(x.detach()), jacobian)
        batched = torch.vmap(torch.func.grad(lambda x: pool(x).sum()))(x.detach()[None].expand(3, -1, -1, -1, -1, -1))
        torch.testing.assert_close(batched[0], jacobian.sum((0, 1, 2, 3)))

    def test_the_input_is_left_as_it_is(self, group):
        x = torch.randn(1, 2, group.order, 2, 3)
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                before = x.clone()
                group_max_pool(x).zero_()
                assert torch.equal(x, before)
