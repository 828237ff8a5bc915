"""Whole networks carried around and run in every way: executions, copies, precisions, memory formats."""

import copy
import pickle

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.analysis import cost

pytestmark = pytest.mark.usefixtures("shallow_resnets")
NAMES = sepgconv.list_models()
SEPARABLE = ("g_p4cnn", "gc_p4cnn", "g_p4m_resnet44", "gc_p4m_resnet44")


def executions(name):
    return ("separable", "composed", "auto", *(["fourier"] if name.startswith("gc_") else []))


def pictures(model, batch=2, *, size=None, dtype=torch.float64):
    torch.manual_seed(1)
    side = size or max(model.min_input_size, 8)
    return torch.randn(batch, model.in_channels, side, side, dtype=dtype)


def gradients(model, x):
    """Scores, and gradients of a loss by every parameter and by the picture."""
    x = x.clone().requires_grad_()
    scores = model(x)
    (scores * torch.arange(1.0, scores.shape[1] + 1, dtype=scores.dtype)).sum().backward()
    return {"scores": scores.detach(), "x": x.grad, **{name: p.grad.clone() for name, p in model.named_parameters()}}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", SEPARABLE)
def test_executions_agree_forward_and_backward(stirred_model, name, training):
    results = {}
    for execution in executions(name):
        model = stirred_model(name, execution=execution).train(training)
        results[execution] = gradients(model, pictures(model, 3))
    reference = results["separable"]
    if not training:  # in training, batch norm takes the effect of the biases before it away
        assert all(value.abs().max() > 0 for value in reference.values())
    for execution in executions(name)[1:]:
        assert results[execution].keys() == reference.keys()
        for key, expected in reference.items():
            scale = max(1.0, float(expected.abs().max()))
            torch.testing.assert_close(results[execution][key], expected, rtol=0, atol=1e-10 * scale, msg=key)


@pytest.mark.parametrize("name", SEPARABLE)
def test_executions_run_different_operations(small_model, name):
    """The agreement above is not that of one code path with itself."""
    macs = {
        execution: cost(small_model(name, execution=execution), (3 if "resnet" in name else 1, 28, 28)).executed_macs
        for execution in executions(name)
    }
    auto = macs.pop("auto")
    assert len(set(macs.values())) == len(macs)
    assert min(macs.values()) <= auto <= max(macs.values())


@pytest.mark.parametrize("name", SEPARABLE)
def test_an_execution_reads_the_weights_of_another(stirred_model, name):
    separable, composed = (stirred_model(name, execution=e, seed=i) for i, e in enumerate(("separable", "composed")))
    x = pictures(separable)
    assert not torch.allclose(separable(x), composed(x))
    composed.load_state_dict(separable.state_dict())
    torch.testing.assert_close(separable(x), composed(x))


@pytest.mark.parametrize("name", NAMES)
def test_copies_give_the_same_numbers_and_are_independent(stirred_model, name):
    model = stirred_model(name)
    x = pictures(model)
    expected = model(x).detach().clone()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), pickle.loads(pickle.dumps(model.train()))):
        assert (twin.name, twin.config) == (model.name, model.config)
        torch.testing.assert_close(twin.eval()(x), expected, rtol=0, atol=0)
        with torch.no_grad():
            for p in twin.parameters():
                p.add_(1)
        torch.testing.assert_close(model.eval()(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_holds_parameters_and_statistics_only_and_is_the_same_in_both_modes(stirred_model, name):
    model = stirred_model(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    statistics = {
        f"{path}.{key}"
        for path, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for key in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert set(before) == {key for key, _ in model.named_parameters()} | statistics
    assert all(value.is_floating_point() or key in statistics for key, value in before.items())
    for training in (True, False, True):
        after = model.train(training).state_dict()
        assert list(after) == list(before)
        assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("name", NAMES)
def test_functional_call(stirred_model, name):
    model, other = stirred_model(name), stirred_model(name, seed=1)
    x = pictures(model)
    expected = other(x)
    assert not torch.allclose(model(x), expected)
    torch.testing.assert_close(torch.func.functional_call(model, other.state_dict(), (x,)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_and_autocast(stirred_model, name):
    """Close to float64 as far as 8 bits of mantissa go, and trainable."""
    reference = stirred_model(name)
    expected = reference(pictures(reference)).detach()
    tolerance = 0.15 * float(expected.abs().max())

    model = copy.deepcopy(reference).to(torch.bfloat16)
    scores = model(pictures(model).to(torch.bfloat16))
    assert scores.dtype == torch.bfloat16
    torch.testing.assert_close(scores.double(), expected, rtol=0, atol=tolerance)

    model = copy.deepcopy(reference).float()
    with torch.autocast("cpu", torch.bfloat16):
        scores = model(pictures(model).float())
    assert scores.dtype == torch.bfloat16
    torch.testing.assert_close(scores.double(), expected, rtol=0, atol=tolerance)
    scores.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_channels_last(stirred_model, name):
    model = stirred_model(name)
    x = pictures(model)
    expected = model(x)
    model = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x.to(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("name", ["c_z2cnn", "gc_p4cnn", "g_p4m_resnet44"])
def test_a_network_built_on_no_device_is_the_same_once_it_has_weights(stirred_model, small_model, name):
    """Large networks are built on "meta" and filled later; the integer tables must come along."""
    expected = stirred_model(name)
    with torch.device("meta"):
        model = small_model(name).double().eval()
    model.to_empty(device="cpu")
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    model.load_state_dict(expected.state_dict())
    x = pictures(expected)
    torch.testing.assert_close(model(x), expected(x))


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_ensembles_run_on_a_skeleton_without_memory(stirred_model, name):
    """torch's recipe: stacked states of several networks, for which one copy on "meta" is called by `torch.vmap`."""
    one, other = stirred_model(name).eval(), stirred_model(name).eval()
    for value in other.parameters():
        value.mul_(1.5)
    skeleton, x = copy.deepcopy(one).to("meta"), pictures(one)
    stacked = torch.func.stack_module_state([one, other])
    found = torch.vmap(lambda *state: torch.func.functional_call(skeleton, state, (x,)))(*stacked)
    expected = torch.stack([one(x), other(x)])
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
