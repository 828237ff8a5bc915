"""The backward pass from the input alone: the same gradients of every order, and what is kept for it."""

import itertools

import pytest
import torch
from torch.nn import functional as F

import sepgconv
from sepgconv.functional import NormRelu, group_batch_norm, separable_group_conv2d
from tests.covering import each, named

pytestmark = [
    pytest.mark.usefixtures("float64"),
    # torch's own, where it first differentiates forward.
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
]

IN, OUT = 3, 4
KINDS = {
    "separable": {"execution": "separable"},
    "fourier": {"execution": "fourier"},
    "g": {"execution": "separable", "sharing": "g"},
    "rank 3": {"execution": "fourier", "rank": 3},
}
PLANAR = [
    {"padding": 1},
    {"stride": 2, "padding": 1},
    {"dilation": 2, "padding": 2, "padding_mode": "reflect"},
    {"padding": 2, "padding_mode": "circular"},
    {"padding": 1, "padding_mode": "replicate", "stride": 2},
]


@pytest.fixture(params=KINDS)
def options(request):
    """How a separable convolution that can recompute is run."""
    return KINDS[request.param]


def problem(group, options, size=(6, 5), batch=2, dtype=torch.float64, kernel=(3, 3)):
    """Maps, the two factors and a bias, all of which are differentiated."""
    group = sepgconv.group(group)
    lead = (OUT, options["rank"]) if "rank" in options else (OUT,)
    planar = (*lead, IN, *kernel) if options.get("sharing") == "g" else (*lead, *kernel)
    shapes = ((batch, IN, group.order, *size), (*lead, IN, group.order), planar, (OUT,))
    leaves = [torch.randn(shape, dtype=dtype) for shape in shapes]
    leaves[2] /= options.get("rank", 1)  # the sum is no larger than one term is
    return [leaf.requires_grad_() for leaf in leaves]


def convolve(group, options, x, pointwise, depthwise, bias, **more):
    options = {name: value for name, value in options.items() if name != "rank"}
    return separable_group_conv2d(x, pointwise, depthwise, group, bias, **options, **more)


def gradients(y, leaves, **options):
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    return torch.autograd.grad((y.sin() * weight).sum(), leaves, **options)


@pytest.mark.parametrize("planar", PLANAR, ids=str)
@pytest.mark.covering(2)
def test_gradients_are_those_without(group, options, planar):
    leaves, found = problem(group, options), {}
    for recompute in (True, False):
        y = convolve(group, options, *leaves, recompute=recompute, **planar)
        found[recompute] = [y, *gradients(y, leaves)]
    torch.testing.assert_close(found[True], found[False], rtol=1e-11, atol=1e-11)


@pytest.mark.covering(1)
def test_even_kernels_and_one_pixel(group, options):
    for kernel in [(1, 1), (2, 2), (4, 4)]:
        with named(kernel=kernel):
            leaves, found = problem(group, options, kernel=kernel), {}
            for recompute in (True, False):
                y = convolve(group, options, *leaves, recompute=recompute, padding=1)
                found[recompute] = [y, *gradients(y, leaves)]
            torch.testing.assert_close(found[True], found[False], rtol=1e-11, atol=1e-11)


def test_without_a_bias(options):
    x, pointwise, depthwise, _ = problem("p4m", options)
    found = [
        gradients(convolve("p4m", options, x, pointwise, depthwise, None, recompute=r), (x, pointwise, depthwise))
        for r in (True, False)
    ]
    torch.testing.assert_close(*found, rtol=1e-11, atol=1e-11)


@each("wanted", list(itertools.product([False, True], repeat=4)))
def test_any_of_the_inputs_may_be_frozen(options, wanted):
    leaves = problem("p4", options)
    everything = gradients(convolve("p4", options, *leaves, recompute=True), leaves)
    for leaf, want in zip(leaves, wanted, strict=True):
        leaf.requires_grad_(want)
    y = convolve("p4", options, *leaves, recompute=True)
    assert y.requires_grad == any(wanted)
    if any(wanted):
        asked = [leaf for leaf in leaves if leaf.requires_grad]
        expected = [g for g, want in zip(everything, wanted, strict=True) if want]
        torch.testing.assert_close(gradients(y, asked), tuple(expected), rtol=1e-12, atol=1e-12)


class TestKept:
    """Bytes kept for backward, by the storages that torch is asked to save."""

    @staticmethod
    def kept(run):
        storages = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = run()
        # The result is alive, so that no memory was given out twice.
        assert y.requires_grad
        return sum(storages.values())

    def per_picture(self, name, options, **more):
        """(bytes kept for every picture of a batch, bytes of its maps); weights do not grow with the batch."""
        kept, maps = [], 0
        for batch in (4, 9):
            x, *others = problem(name, options, (9, 8), batch)
            x = x.detach().permute(0, 3, 4, 2, 1).contiguous().permute(0, 4, 3, 1, 2).requires_grad_()
            kept.append(self.kept(lambda x=x, others=others: convolve(name, options, x, *others, padding=1, **more)))
            maps = x[0].numel() * x.element_size()
        return (kept[1] - kept[0]) / 5, maps

    @pytest.mark.parametrize("name", ["p1", "pm", "p4", "p4m"])
    @pytest.mark.parametrize("execution", ["separable", "fourier"])
    @pytest.mark.parametrize("mode", ["zeros", "circular"])
    @pytest.mark.covering(2)
    def test_gc_keeps_its_input_once(self, name, execution, mode):
        kept, maps = self.per_picture(name, {"execution": execution}, recompute=True, padding_mode=mode)
        assert kept == maps

    @pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
    def test_by_itself_it_recomputes_in_the_irreps_only(self, options):
        kept, maps = self.per_picture("p4m", options)
        assert (kept == maps) == (options["execution"] == "fourier")

    @pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
    def test_without_recomputing_it_keeps_more(self, options):
        """Negative control."""
        kept, maps = self.per_picture("p4", options, recompute=False)
        assert kept >= maps * (1 + OUT / IN)

    def test_g_keeps_no_more_than_its_input(self):
        kept, maps = self.per_picture("p4", KINDS["g"], recompute=True)
        assert kept <= maps

    @pytest.mark.parametrize("execution", ["separable", "fourier"])
    def test_norm_and_relu_before_it_keep_nothing_more(self, execution):
        before = NormRelu(None, None, torch.rand(IN, requires_grad=True), torch.rand(IN, requires_grad=True))
        kept, maps = self.per_picture("p4", {"execution": execution}, recompute=True, pre_norm_act=before)
        assert kept == maps
        kept, _ = self.per_picture("p4", {"execution": execution}, recompute=False, pre_norm_act=before)
        assert kept > 2 * maps

    @pytest.mark.parametrize("execution", ["separable", "fourier"])
    def test_nothing_is_kept_without_gradients(self, execution):
        x, *others = (leaf.detach() for leaf in problem("p4", {}))
        y = convolve("p4", {"execution": execution}, x, *others, recompute=True)
        assert y.grad_fn is None


class TestDerivativesOfEveryKind:
    """What users of torch do with a layer besides a plain backward pass."""

    def test_first_and_second(self, options):
        leaves = problem("p4", options, (2, 3), 1, kernel=(2, 2))

        def run(*leaves):
            return convolve("p4", options, *leaves, recompute=True, padding=1)

        assert torch.autograd.gradcheck(run, leaves, fast_mode=True)
        assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)

    def test_a_gradient_to_differentiate_again_is_the_gradient(self, options):
        leaves = problem("p4m", options)
        y = convolve("p4m", options, *leaves, recompute=True)
        torch.testing.assert_close(
            gradients(y, leaves, create_graph=True), gradients(y, leaves), rtol=1e-11, atol=1e-11
        )

    def test_also_where_weights_are_used_twice(self, options):
        """The input then depends on the weights as well, and must not be differentiated by them here."""
        group = sepgconv.group("p4")
        lead = (IN, options["rank"]) if "rank" in options else (IN,)
        planar = (*lead, IN, 3, 3) if options.get("sharing") == "g" else (*lead, 3, 3)
        leaves = [torch.randn(s, requires_grad=True) for s in ((*lead, IN, 4), planar, (IN,), (IN,), (IN,))]

        def twice(x):
            for _ in range(2):
                before = NormRelu(None, None, *leaves[3:])
                x = convolve(group, options, x, *leaves[:3], recompute=True, padding=1, pre_norm_act=before)
            return x

        y = twice(torch.randn(2, IN, 4, 5, 6))
        torch.testing.assert_close(gradients(y, leaves, create_graph=True), gradients(y, leaves), rtol=1e-9, atol=1e-9)

    def test_backward_twice_over_a_kept_graph(self, options):
        leaves = problem("p4m", options)
        y = convolve("p4m", options, *leaves, recompute=True)
        first = gradients(y, leaves, retain_graph=True)
        assert all(map(torch.equal, first, gradients(y, leaves)))
        with pytest.raises(RuntimeError, match="second time"):
            gradients(y, leaves)

    def test_gradients_add_up(self, options):
        leaves = problem("p4", options)
        expected = gradients(convolve("p4", options, *leaves), leaves)
        for _ in range(3):
            y = convolve("p4", options, *leaves, recompute=True)
            (y.sin() * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
        torch.testing.assert_close([leaf.grad / 3 for leaf in leaves], list(expected))

    def test_an_input_changed_in_place_is_no_silent_error(self, options):
        x, *others = problem("p4", options)
        maps = x.permute(0, 3, 4, 2, 1).contiguous().permute(0, 4, 3, 1, 2)
        y = convolve("p4", options, maps, *others, recompute=True)
        maps.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()

    @pytest.mark.parametrize("piece", [2**21, 1])
    def test_a_result_may_be_changed_in_place(self, options, monkeypatch, piece):
        monkeypatch.setattr("sepgconv.ops.dispatch.CHUNK_BYTES", piece)
        leaves, found = problem("p4", options), []
        for inplace in (True, False):
            y = F.relu(convolve("p4", options, *leaves, recompute=True), inplace=inplace)
            found.append(gradients(y, leaves))
        assert all(map(torch.equal, *found))

    def test_hooks_on_tensors_see_the_gradients(self, options):
        x, *others = problem("p4", options)
        maps, seen = x * 1, []
        y = convolve("p4", options, maps, *others, recompute=True)
        maps.register_hook(lambda grad: seen.append(grad.clone()) or 2 * grad)
        y.register_hook(lambda grad: 3 * grad)
        torch.autograd.backward(y, torch.ones_like(y))
        plain = torch.autograd.grad(convolve("p4", options, x, *others).sum(), x)[0]
        torch.testing.assert_close(seen[0], 3 * plain)
        torch.testing.assert_close(x.grad, 6 * plain)

    @pytest.mark.parametrize("with_gradients", [True, False])
    def test_forward_mode(self, options, with_gradients):
        leaves = [leaf.detach() for leaf in problem("p4m", options)]
        tangents, step = [torch.randn_like(leaf) for leaf in leaves], 1e-6

        def run(*leaves):
            return convolve("p4m", options, *leaves, recompute=True, padding=1)

        with torch.set_grad_enabled(with_gradients):
            y, tangent = torch.func.jvp(run, tuple(leaves), tuple(tangents))
        torch.testing.assert_close(y, run(*leaves), rtol=1e-12, atol=1e-12)
        ends = [run(*(a + s * t for a, t in zip(leaves, tangents, strict=True))) for s in (step, -step)]
        torch.testing.assert_close(tangent, (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-6)

    def test_hessians_and_their_products(self, options):
        x, *others = (leaf.detach() for leaf in problem("p4", options, (2, 2), 1, kernel=(2, 2)))

        def loss(x):
            return convolve("p4", options, x, *others, recompute=True).pow(3).sum()

        expected = torch.autograd.functional.hessian(loss, x)
        torch.testing.assert_close(torch.func.hessian(loss)(x), expected, rtol=1e-9, atol=1e-9)
        direction = torch.randn_like(x)
        product = torch.func.jvp(torch.func.grad(loss), (x,), (direction,))[1]
        wanted = torch.tensordot(expected, direction, x.ndim)
        torch.testing.assert_close(product, wanted, rtol=1e-9, atol=1e-9)
        twice = torch.func.grad(lambda x: (torch.func.grad(loss)(x) * direction).sum())(x)
        torch.testing.assert_close(twice, wanted, rtol=1e-9, atol=1e-9)

    def test_jacobians(self, options):
        x, *others = (leaf.detach() for leaf in problem("p4", options, (2, 2), 1, kernel=(2, 2)))

        def run(x):
            return convolve("p4", options, x, *others, recompute=True)

        expected = torch.autograd.functional.jacobian(run, x)
        torch.testing.assert_close(torch.func.jacfwd(run)(x), expected, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(torch.func.jacrev(run)(x), expected, rtol=1e-11, atol=1e-11)
        vectorised = torch.autograd.functional.jacobian(run, x, vectorize=True)
        torch.testing.assert_close(vectorised, expected, rtol=1e-11, atol=1e-11)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
    @pytest.mark.parametrize("with_gradients", [True, False])
    @pytest.mark.covering(2)
    def test_vmap_convolves_every_batch_by_itself(self, options, with_gradients, dtype):
        x, *others = (leaf.detach() for leaf in problem("p4m", options, batch=4, dtype=dtype))

        def run(x):
            return convolve("p4m", options, x, *others, recompute=True)

        with torch.set_grad_enabled(with_gradients):
            stacked = torch.vmap(run)(x.unflatten(0, (2, 2)))
        torch.testing.assert_close(stacked.flatten(0, 1), run(x))

    @pytest.mark.parametrize("cast", [False, True], ids=["", "autocast"])
    def test_gradients_of_every_picture(self, options, cast):
        dtype = torch.float32 if cast else torch.float64
        x, *others = (leaf.detach() for leaf in problem("p4", options, dtype=dtype))

        def loss(pointwise, picture):
            with torch.autocast("cpu", torch.bfloat16, enabled=cast):
                return convolve("p4", options, picture[None], pointwise, *others[1:], recompute=True).float().sum()

        found = torch.vmap(torch.func.grad(loss), (None, 0))(others[0], x)
        for i, picture in enumerate(x):
            torch.testing.assert_close(found[i], torch.func.grad(loss)(others[0], picture), rtol=1e-3, atol=1e-3)


@each("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_other_precisions_are_close_to_double(options, dtype):
    leaves = problem("p4m", options)
    expected = gradients(convolve("p4m", options, *leaves), leaves)
    rounded = [leaf.detach().to(dtype).requires_grad_() for leaf in leaves]
    found = gradients(convolve("p4m", options, *rounded, recompute=True), rounded)
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == dtype
        # A few roundings of 8 bits in sums of some thousand terms; the sine doubles them.
        assert (got.double() - want).norm() < (0.1 if dtype != torch.float32 else 1e-4) * want.norm()


@pytest.mark.covering(1)
def test_batches_of_none_and_one(group, options):
    for batch in [0, 1]:
        for recompute in [True, False]:
            with named(batch=batch, recompute=recompute):
                leaves = problem(group, options, batch=batch)
                y = convolve(group, options, *leaves, recompute=recompute)
                assert y.shape[:3] == (batch, OUT, group.order)
                for leaf, found in zip(leaves, gradients(y, leaves), strict=True):
                    assert found.shape == leaf.shape
                    assert bool(found.any()) == bool(batch)
                with torch.no_grad():
                    assert convolve(group, options, *leaves).shape == y.shape


@pytest.mark.covering(1)
def test_on_no_device_there_are_shapes(group, options):
    leaves = [leaf.detach().to("meta") for leaf in problem(group, options)]
    with torch.no_grad():
        assert convolve(group, options, *leaves).is_meta
    leaves = [leaf.requires_grad_() for leaf in leaves]
    y = convolve(group, options, *leaves, recompute=True)
    assert y.is_meta
    assert y.shape == (2, OUT, group.order, 4, 3)
    assert [g.shape for g in torch.autograd.grad(y.sum(), leaves)] == [leaf.shape for leaf in leaves]


class TestNormAndReluBefore:
    """`before` is batch norm, ReLU and the convolution one after the other."""

    @staticmethod
    def parameters():
        return [torch.rand(IN, requires_grad=True) for _ in range(2)], [torch.rand(IN) for _ in range(2)]

    @staticmethod
    def one_by_one(group, options, x, others, affine, running, **more):
        normed = group_batch_norm(x, *running, *affine, training=True, momentum=0.3, eps=1e-3)
        return convolve(group, options, F.relu(normed), *others, recompute=False, **more)

    @staticmethod
    def together(group, options, x, others, affine, running, **more):
        before = NormRelu(*running, *affine, 0.3, 1e-3)
        return convolve(group, options, x, *others, pre_norm_act=before, **more)

    @pytest.mark.parametrize("recompute", [True, False])
    @pytest.mark.parametrize("planar", PLANAR[:1] + PLANAR[2:3], ids=str)
    @pytest.mark.covering(2)
    def test_same_numbers_gradients_and_running_statistics(self, group, options, recompute, planar):
        x, *others = problem(group, options)
        (affine, ours), theirs = self.parameters(), [torch.zeros(IN), torch.ones(IN)]
        for mine, other in zip(ours, theirs, strict=True):
            other.copy_(mine)
        leaves = [x, *affine, *others]
        expected = self.one_by_one(group, options, x, others, affine, theirs, **planar)
        found = self.together(group, options, x, others, affine, ours, recompute=recompute, **planar)
        torch.testing.assert_close([found, *ours], [expected, *theirs], rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(gradients(found, leaves), gradients(expected, leaves), rtol=1e-9, atol=1e-9)

    @each("given", [(True, False), (False, True), (False, False)])
    def test_scale_and_shift_may_be_missing(self, options, given):
        x, *others = problem("p4", options)
        affine = [p if there else None for p, there in zip(self.parameters()[0], given, strict=True)]
        leaves = [x, *others, *(p for p in affine if p is not None)]
        results = [run("p4", options, x, others, affine, (None, None)) for run in (self.one_by_one, self.together)]
        torch.testing.assert_close(results[1], results[0], rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(gradients(results[1], leaves), gradients(results[0], leaves), rtol=1e-9, atol=1e-9)

    def test_without_gradients_the_statistics_still_move(self, options):
        x, *others = problem("p4", options)
        affine, running = self.parameters()
        copies = [value.clone() for value in running]
        with torch.no_grad():
            found = self.together("p4", options, x, others, affine, running)
            expected = self.one_by_one("p4", options, x, others, affine, copies)
        torch.testing.assert_close([found, *running], [expected, *copies], rtol=1e-11, atol=1e-11)

    def test_first_and_second_derivatives(self, options):
        x, *others = problem("p4", options, (2, 3), 2, kernel=(2, 2))
        affine = self.parameters()[0]

        def run(x, scale, shift, *others):
            return self.together("p4", options, x, others, (scale, shift), (None, None), recompute=True)

        leaves = (x, *affine, *others)
        assert torch.autograd.gradcheck(run, leaves, fast_mode=True)
        assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)
        y = run(*leaves)
        torch.testing.assert_close(gradients(y, leaves, create_graph=True), gradients(y, leaves), rtol=1e-9, atol=1e-9)

    def test_mixed_precision(self, options):
        x, *others = (leaf.detach().float().requires_grad_() for leaf in problem("p4", options))
        affine = [p.detach().float().requires_grad_() for p in self.parameters()[0]]
        leaves = [x, *affine, *others]
        exact = [leaf.detach().double() for leaf in leaves]
        expected = self.one_by_one("p4", options, exact[0], exact[3:], exact[1:3], (None, None))
        with torch.autocast("cpu", torch.bfloat16):
            y = self.together("p4", options, x, others, affine, (None, None), recompute=True)
        assert y.dtype == torch.bfloat16
        assert (y.double() - expected).norm() < 0.03 * expected.norm()
        assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients(y.float(), leaves))

    def test_one_value_per_channel_has_no_variance(self, options):
        x, *others = problem("p1", options, (1, 1), 1, kernel=(1, 1))
        with pytest.raises(ValueError, match=r"more than 1 value per channel"):
            self.together("p1", options, x, others, (None, None), (torch.zeros(IN), torch.ones(IN)), recompute=True)


@pytest.mark.usefixtures("unchecked")
def test_one_value_per_channel_is_refused_before_anything_changes():
    """It has no variance; torch refuses it as well."""
    mean, var = torch.zeros(3), torch.ones(3)
    before = NormRelu(mean, var, torch.ones(3), torch.zeros(3))
    weights = torch.randn(4, 3, 1, requires_grad=True), torch.randn(4, 1, 1)
    with pytest.raises(ValueError, match="expected more than 1 value per channel when training"):
        separable_group_conv2d(
            torch.randn(1, 3, 1, 1, 1), *weights, "p1", execution="separable", recompute=True, pre_norm_act=before
        )
    assert torch.equal(mean, torch.zeros(3))
    assert torch.equal(var, torch.ones(3))
