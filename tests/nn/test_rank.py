"""SeparableGroupConv2d of rank r: between the layer of the paper and the full group convolution."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.functional import full_rank, separate_kernel
from sepgconv.nn import GroupBatchNorm2d, GroupConv2d, LiftingConv2d, SeparableGroupConv2d, Sequential
from sepgconv.testing import assert_equivariant

RUN = [("gc", "separable"), ("gc", "fourier"), ("gc", "composed"), ("g", "separable"), ("g", "composed")]


def most(group, sharing, kernel=3, channels=3):
    return full_rank(channels, sepgconv.group(group).order, (kernel, kernel), sharing)


@pytest.mark.parametrize("sharing", ["gc", "g"])
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.covering(1)
def test_parameters_have_an_axis_for_the_terms_above_rank_1(group, sharing, kernel):
    for rank in range(1, most(group, sharing, kernel) + 1):
        module = SeparableGroupConv2d(3, 4, kernel, group, sharing=sharing, rank=rank)
        terms = () if rank == 1 else (rank,)
        planar = (4, *terms, kernel, kernel) if sharing == "gc" else (4, *terms, 3, kernel, kernel)
        shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
        assert shapes == {"pointwise": (4, *terms, 3, group.order), "depthwise": planar, "bias": (4,)}
        assert module.rank == rank
        assert (f", rank={rank}," in repr(module)) == (rank > 1)
        assert module.compose().shape == (4, 3, group.order, kernel, kernel)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("rank", [0, -1, 10, 1.5, "2", None, True, (2,)], ids=repr)
def test_ranks_that_there_are_not_are_refused(rank):
    with pytest.raises(ValueError, match=r"SeparableGroupConv2d: rank must be an integer from 1 to 9, .* got"):
        SeparableGroupConv2d(3, 4, 3, "p4", rank=rank)
    with pytest.raises(ValueError, match="rank must be an integer from 1 to 4, the full rank"):
        SeparableGroupConv2d(3, 4, 3, "p4", sharing="g", rank=5)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("sharing", "execution"), RUN)
@pytest.mark.covering(1)
def test_at_full_rank_it_is_the_group_convolution(group, sharing, execution):
    options = {"padding": 1, "stride": 2}
    full, x = GroupConv2d(3, 4, 2, group, **options), torch.randn(2, 3, group.order, 5, 6)
    nn.init.normal_(full.bias)
    results = []
    for rank in (most(group, sharing, 2), most(group, sharing, 2) - 1):
        if rank == 0:
            continue
        module = SeparableGroupConv2d(3, 4, 2, group, sharing=sharing, rank=rank, execution=execution, **options)
        shape, planar = module.pointwise.shape, module.depthwise.shape
        mixing, filters = separate_kernel(full.weight, sharing, rank)
        factors = {"pointwise": mixing.view(shape), "depthwise": filters.view(planar), "bias": full.bias}
        module.load_state_dict(factors)
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        results.append([y, torch.autograd.grad(y.sin().sum(), leaf)[0]])
    leaf = x.clone().requires_grad_()
    y = full(leaf)
    expected = [y, torch.autograd.grad(y.sin().sum(), leaf)[0]]
    torch.testing.assert_close(results[0], expected, rtol=1e-11, atol=1e-11)
    for less in results[1:]:  # negative control: one term is missing
        assert (less[0] - expected[0]).abs().max() > 1e-3


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("sharing", "execution"), RUN)
@pytest.mark.covering(1)
def test_is_equivariant(group, sharing, execution):
    module = SeparableGroupConv2d(3, 4, 3, group, sharing=sharing, execution=execution, rank=most(group, sharing))
    nn.init.normal_(module.bias)
    assert_equivariant(module, group, torch.randn(2, 3, group.order, 6, 5))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sharing", ["gc", "g"])
def test_terms_that_turn_otherwise_are_noticed(sharing, tables_of):
    """Negative control: the first term's mixing reads the poses of another element."""
    module, x = SeparableGroupConv2d(3, 4, 3, "p4", sharing=sharing, rank=2), torch.randn(2, 3, 4, 6, 6)
    for table in tables_of(module, x):
        if not table.is_floating_point():
            table[1] = table[0]
    with pytest.raises(AssertionError, match="is not equivariant"):
        assert_equivariant(module, "p4", x)


@torch.no_grad()
@pytest.mark.parametrize("sharing", ["gc", "g"])
@pytest.mark.parametrize("rank", [2, 4])
def test_outputs_keep_their_variance_at_every_rank(sharing, rank):
    """As in test_initialisation: twice the mean square of the input, within five standard errors."""

    def deviation(module):
        x = torch.randn(4, 8, 4, 10, 10)
        squares = module(x).square().movedim(1, 0).flatten(1).mean(1) / x.square().mean()
        return float((squares.mean() - 2).abs() / (squares.std() / math.sqrt(len(squares))))

    module = SeparableGroupConv2d(8, 400, 3, "p4", sharing=sharing, rank=rank)
    assert deviation(module) < 5
    composed = module.compose()
    assert abs(float(composed.var()) * 8 * 4 * 9 / 2 - 1) < 0.1
    module.depthwise.mul_(math.sqrt(rank))  # negative control: the terms left out of the fan-in
    assert deviation(module) > 10


@pytest.mark.parametrize(("sharing", "execution"), RUN)
@pytest.mark.parametrize("carry", ["deepcopy", "pickle", "assign", "meta", "channels_last", "bfloat16"])
@pytest.mark.covering(1)
def test_ways_of_carrying_it_around(sharing, execution, carry):
    options = {"sharing": sharing, "execution": execution, "rank": 2, "padding": 1}
    module, x = SeparableGroupConv2d(3, 4, 3, "p4", **options), torch.randn(2, 3, 4, 5, 6)
    expected = module(x)
    if carry == "bfloat16":
        y = module.bfloat16()(x.bfloat16())
        assert (y.float() - expected).norm() < 0.03 * expected.norm()
        return
    if carry == "deepcopy":
        other = copy.deepcopy(module)
    elif carry == "pickle":
        other = pickle.loads(pickle.dumps(module))
    elif carry == "channels_last":
        other = copy.deepcopy(module).to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last_3d)
    else:
        with torch.device("meta") if carry == "meta" else torch.device("cpu"):
            other = SeparableGroupConv2d(3, 4, 3, "p4", **options)
        other.load_state_dict(module.state_dict(), assign=True)
    torch.testing.assert_close(other(x), expected, rtol=1e-5, atol=1e-5)


def test_another_rank_is_another_checkpoint():
    state = SeparableGroupConv2d(3, 4, 3, "p4", rank=2).state_dict()
    for rank in (1, 3):
        with pytest.raises(RuntimeError, match="size mismatch"):
            SeparableGroupConv2d(3, 4, 3, "p4", rank=rank).load_state_dict(state)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("execution", ["separable", "fourier", "composed", "auto"])
def test_in_a_chain_with_batch_norm_and_relu(execution):
    """`Sequential` gives it the norm before it; torch's runs one after the other."""
    torch.manual_seed(1)
    layers = [
        LiftingConv2d(1, 3, 3, "p4m"),
        GroupBatchNorm2d(3),
        nn.ReLU(),
        SeparableGroupConv2d(3, 4, 3, "p4m", rank=3, execution=execution, recompute=True),
    ]
    x, results = torch.randn(3, 1, 9, 8), []
    for chain in (Sequential(*layers), nn.Sequential(*copy.deepcopy(layers))):
        y = chain(x)
        gradients = torch.autograd.grad(y.sin().sum(), list(chain.parameters()))
        results.append([y, *gradients, chain[1].running_mean, chain[1].running_var])
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)


def test_selected_execution_counts_the_terms():
    by_rank = [SeparableGroupConv2d(16, 16, 3, "p4", rank=rank).selected_execution(12, 12) for rank in (1, 9)]
    assert by_rank == ["separable", "composed"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own, while it traces
@pytest.mark.parametrize(("sharing", "execution"), [("gc", "fourier"), ("g", "separable"), ("g", "composed")])
def test_compiles_and_exports(as_installed, sharing, execution):
    torch._dynamo.reset()
    module = as_installed.nn.SeparableGroupConv2d(3, 4, 3, "p4", sharing=sharing, execution=execution, rank=2).double()
    x, results = torch.randn(2, 3, 4, 6, 5, dtype=torch.float64), []
    for run in (module, torch.compile(module, fullgraph=True, backend="aot_eager")):
        leaf = x.clone().requires_grad_()
        y = run(leaf)
        results.append([y, *torch.autograd.grad(y.sin().sum(), [leaf, *module.parameters()])])
    torch.testing.assert_close(results[1], results[0], rtol=1e-11, atol=1e-11)
    program = torch.export.export(module.eval(), (x,))
    torch.testing.assert_close(program.module()(x), module(x), rtol=1e-11, atol=1e-11)
