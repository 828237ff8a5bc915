"""group_layer_norm against a loop over positions, group_batch_norm against torch on the whole pose axis."""

import itertools

import pytest
import torch
from torch.nn import functional as F

import sepgconv
from sepgconv.functional import group_batch_norm, group_layer_norm
from tests.covering import named

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("affine", [(False, False), (True, False), (True, True)], ids=str)
@pytest.mark.covering(1)
def test_every_position_is_normalised_over_channels_and_poses(group, affine):
    x = torch.randn(2, 3, group.order, 4, 5) * 3 + 1
    weight, bias = (torch.randn(3) if given else None for given in affine)
    result = group_layer_norm(x, weight, bias, eps=0.1)
    for b, i, j in itertools.product(range(2), range(4), range(5)):
        values = x[b, :, :, i, j]
        expected = (values - values.mean()) / (values.var(correction=0) + 0.1).sqrt()
        if weight is not None:
            expected = expected * weight[:, None]
        if bias is not None:
            expected = expected + bias[:, None]
        torch.testing.assert_close(result[b, :, :, i, j], expected, rtol=1e-12, atol=1e-12)


def test_gradients():
    inputs = [torch.randn(shape, requires_grad=True) for shape in ((1, 2, 4, 2, 3), (2,), (2,))]
    assert torch.autograd.gradcheck(group_layer_norm, inputs)


class TestGroupBatchNorm:
    """The statistics joined from those per pose against torch's batch norm over the whole pose axis."""

    @pytest.mark.parametrize("shape", [(3, 5, 4, 6, 7), (2, 20, 8, 3, 2), (2, 1, 2, 1, 1)], ids=str)
    @pytest.mark.parametrize("affine", [True, False])
    def test_is_batch_norm_of_the_volume_with_its_gradients(self, shape, affine):
        x = (3 + 2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
        parameters = [torch.rand(shape[1], dtype=torch.float64, requires_grad=True) for _ in range(2)] if affine else []
        ours, theirs = ([torch.rand(shape[1], dtype=torch.float64) for _ in range(2)] for _ in range(2))
        for mine, reference in zip(ours, theirs, strict=True):
            reference.copy_(mine)
        weight, bias = parameters or (None, None)
        y = group_batch_norm(x, *ours, weight, bias, training=True, momentum=0.3)
        expected = F.batch_norm(x, *theirs, weight, bias, training=True, momentum=0.3)
        torch.testing.assert_close([y, *ours], [expected, *theirs], rtol=1e-12, atol=1e-12)
        # torch 2.13 sums a gradient of other strides than its input wrongly in five dimensions, so both get a plain
        # one.
        grad = torch.randn(shape, dtype=torch.float64)
        found, wanted = (torch.autograd.grad(out, (x, *parameters), grad) for out in (y, expected))
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
        evaluated = group_batch_norm(x, *ours, weight, bias)
        torch.testing.assert_close(evaluated, F.batch_norm(x, *theirs, weight, bias), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("shape", [(8, 3, 4, 32, 32), (5, 7, 8, 13, 9)], ids=str)
    @pytest.mark.parametrize("ratio", [0, 1, 10, 100, 1e4], ids=str)
    def test_is_as_exact_as_torch_whatever_the_mean(self, ratio, shape):
        """The mean of a channel, in standard deviations; sums in the precision of the maps would lose its digits."""
        x = torch.randn(shape, dtype=torch.float32) + ratio
        grad, weight = torch.randn(shape, dtype=torch.float32), torch.rand(shape[1], dtype=torch.float32) + 0.5

        def results(norm, dtype):
            leaves = [part.to(dtype).requires_grad_() for part in (x, weight, torch.zeros(shape[1]))]
            running = torch.zeros(shape[1], dtype=dtype), torch.ones(shape[1], dtype=dtype)
            y = norm(leaves[0], *running, *leaves[1:], True, 1.0)
            return y, *torch.autograd.grad(y, leaves[:2], grad.to(dtype)), *running

        exact = results(F.batch_norm, torch.float64)
        sizes = [1.0 if right.norm() < 1 else right.norm().item() for right in exact]  # a mean of zero is one std off
        mine, of_torch = (
            [(f.double() - right).norm().item() / size for f, right, size in zip(part, exact, sizes, strict=True)]
            for part in (results(group_batch_norm, torch.float32), results(F.batch_norm, torch.float32))
        )
        # For y, the gradients by x and weight, mean and variance: the rounding of the mean goes into all of them.
        allowed = [3e-7, 3e-7 + 8e-9 * ratio, 1e-5, 3e-7, 3e-7 + 1e-8 * ratio]
        for error, expected, more in zip(mine, of_torch, allowed, strict=True):
            assert error < 3 * expected + more

    def test_many_pixels_far_from_zero_keep_their_variance(self):
        """2 x 10^5 pixels at a mean of 10^4 standard deviations: here float32 sums had no digit right."""
        x = torch.randn(33, 1, 2, 79, 81, dtype=torch.float32) + 1e4
        mean, var = torch.zeros(1, dtype=torch.float32), torch.ones(1, dtype=torch.float32)
        y = group_batch_norm(x, mean, var, training=True, momentum=1.0)
        exact = x.double()
        assert abs(mean.item() - exact.mean().item()) < 1e-3
        assert abs(var.item() / exact.var().item() - 1) < 1e-3
        assert y.std().item() == pytest.approx(1, abs=1e-3)

    def test_first_and_second_derivatives(self):
        x = torch.randn(2, 2, 4, 2, 3, dtype=torch.float64, requires_grad=True)
        weight, bias = (torch.rand(2, dtype=torch.float64, requires_grad=True) for _ in range(2))

        def normed(x, weight, bias):
            return group_batch_norm(x, None, None, weight, bias, training=True)

        assert torch.autograd.gradcheck(normed, (x, weight, bias))
        assert torch.autograd.gradgradcheck(normed, (x, weight, bias), fast_mode=True)
        # gradgradcheck compares the gradient that can be differentiated again with itself; it must be the gradient too.
        leaves, y = (x, weight, bias), normed(x, weight, bias)
        grad = torch.randn_like(y)
        again = torch.autograd.grad(y, leaves, grad, create_graph=True)
        torch.testing.assert_close(again, torch.autograd.grad(y, leaves, grad), rtol=1e-10, atol=1e-10)

    def test_vmap_normalises_every_batch_by_itself(self):
        stacked, weight, bias = torch.randn(3, 2, 5, 4, 3, 2), torch.rand(5), torch.rand(5)

        def normed(x):
            return group_batch_norm(x, None, None, weight, bias, training=True)

        expected = torch.stack([normed(x) for x in stacked])
        torch.testing.assert_close(torch.vmap(normed)(stacked), expected)

        def loss(x):
            return normed(x).pow(3).sum()

        gradients = torch.vmap(torch.func.grad(loss))(stacked)
        torch.testing.assert_close(gradients, torch.stack([torch.func.grad(loss)(x) for x in stacked]))

    def test_frozen_input_still_trains_the_parameters(self):
        x, weight = torch.randn(2, 3, 4, 2, 2), torch.rand(3, requires_grad=True)
        group_batch_norm(x, None, None, weight, torch.zeros(3), training=True).square().sum().backward()
        expected = weight.detach().clone().requires_grad_()
        F.batch_norm(x, None, None, expected, torch.zeros(3), training=True).square().sum().backward()
        torch.testing.assert_close(weight.grad, expected.grad)

    def test_one_value_per_channel_and_missing_statistics_are_refused(self):
        with pytest.raises(ValueError, match=r"[Ee]xpected more than 1 value per channel"):
            group_batch_norm(torch.zeros(1, 3, 1, 1, 1), None, None, training=True)
        with pytest.raises(ValueError, match="running_mean and running_var are needed"):
            group_batch_norm(torch.zeros(1, 3, 4, 1, 1), None, None)


class TestNormAndReluAsOneStep:
    """`group_batch_norm(..., relu=True)` is the norm, then ReLU."""

    @staticmethod
    def setting(group, dtype=torch.float64):
        x = (torch.randn(3, 5, group.order, 4, 3, dtype=dtype) + 0.5).requires_grad_()
        affine = [torch.randn(5, dtype=dtype, requires_grad=True) for _ in range(2)]
        return x, affine, [torch.rand(5, dtype=dtype), torch.rand(5, dtype=dtype)]

    @pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
    @pytest.mark.covering(2)
    def test_is_two_steps_with_their_gradients(self, group, training):
        for given in [(True, True), (True, False), (False, False)]:
            with named(given=given):
                x, affine, running = self.setting(group)
                affine = [p if there else None for p, there in zip(affine, given, strict=True)]
                others = [value.clone() for value in running]
                y = group_batch_norm(x, *running, *affine, training, 0.3, relu=True)
                expected = F.relu(F.batch_norm(x, *others, *affine, training, 0.3))
                torch.testing.assert_close([y, *running], [expected, *others], rtol=1e-11, atol=1e-11)
                assert (y == 0).any()
                assert (y > 0).any()
                leaves = [x, *(p for p in affine if p is not None)]
                grad = torch.randn_like(y).contiguous()
                found, wanted = (torch.autograd.grad(out, leaves, grad) for out in (y, expected))
                torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("relu", [True, False])
    def test_keeps_its_input_only(self, relu):
        x, affine, _ = self.setting(sepgconv.group("p4m"))
        x = x.detach().permute(0, 3, 4, 2, 1).contiguous().permute(0, 4, 3, 1, 2).requires_grad_()
        storages = {}

        def pack(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = group_batch_norm(x, None, None, *affine, training=True, relu=relu)
        parameters = 4 * 5 * 8  # scale, shift, mean, variance
        assert sum(storages.values()) == x.numel() * 8 + parameters
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            z = F.relu(y)
        assert sum(storages.values()) == 2 * x.numel() * 8 + parameters  # negative control
        assert z.requires_grad

    @pytest.mark.parametrize("relu", [True, False])
    @pytest.mark.covering(1)
    def test_the_result_may_be_changed_in_place(self, group, relu):
        if relu and group.order == 1:
            pytest.skip("with one pose the steps are torch's, whose ReLU keeps its result")
        x, affine, _ = self.setting(group)
        found = [
            torch.autograd.grad(
                change(group_batch_norm(x, None, None, *affine, training=True, relu=relu)).pow(2).sum(), [x, *affine]
            )
            for change in (F.leaky_relu, F.leaky_relu_)
        ]
        assert all(map(torch.equal, *found))

    @pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
    @pytest.mark.parametrize("relu", [True, False])
    def test_derivatives_of_every_kind(self, relu):
        x = torch.randn(2, 2, 2, 2, 1)
        weight, bias = torch.rand(2, requires_grad=True), torch.rand(2, requires_grad=True)

        def normed(x):
            return group_batch_norm(x, None, None, weight, bias, training=True, relu=relu)

        def loss(x):
            return normed(x).pow(3).sum()

        hessian = torch.autograd.functional.hessian(loss, x)
        torch.testing.assert_close(torch.func.hessian(loss)(x), hessian)
        jacobian = torch.autograd.functional.jacobian(normed, x)
        torch.testing.assert_close(torch.func.jacfwd(normed)(x), jacobian)
        torch.testing.assert_close(torch.func.jacrev(normed)(x), jacobian)
        leaves = (x.clone().requires_grad_(), weight, bias)

        def run(x, w, b):
            return group_batch_norm(x, None, None, w, b, training=True, relu=relu)

        assert torch.autograd.gradcheck(run, leaves)
        assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)

    def test_parameters_used_twice_in_a_chain(self):
        """The input then depends on the parameters, and must not be differentiated by them in the second norm."""
        x, affine, _ = self.setting(sepgconv.group("p4"))
        y = x
        for _ in range(2):
            y = group_batch_norm(y.sin(), None, None, *affine, training=True)
        again = torch.autograd.grad(y.pow(3).sum(), affine, create_graph=True)
        torch.testing.assert_close(again, torch.autograd.grad(y.pow(3).sum(), affine), rtol=1e-9, atol=1e-9)
