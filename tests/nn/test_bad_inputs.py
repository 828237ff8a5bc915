"""What no layer can work with is refused in a sentence that names the layer and what came; state is left as it was."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sepgconv
from sepgconv.testing import TOLERANCE
from tests.covering import each, named

from .conftest import CONVOLUTIONS, OTHERS

pytestmark = pytest.mark.usefixtures("unchecked")

LAYERS = CONVOLUTIONS + OTHERS
WEIGHTED = [layer for layer in LAYERS if layer.state]

# What comes in, and the words of the refusal: by the input, for layers with weights and without.
KINDS = {
    "None": (lambda x: None, TypeError, "the input must be a tensor, got None"),
    "str": (lambda x: "x", TypeError, "the input must be a tensor, got str"),
    "numpy": (lambda x: x.numpy(), TypeError, "got <class 'numpy.ndarray'>; make one with torch.as_tensor"),
    "list": (lambda x: x.tolist(), TypeError, "got list; make one with torch.as_tensor"),
    "sparse": (lambda x: x.to_sparse(), ValueError, "must be a dense tensor (torch.strided), got torch.sparse_coo"),
    "nested": (lambda x: torch.nested.nested_tensor([x[0]]), ValueError, "got a nested tensor; pad it to one size"),
    "quantised": (
        lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
        ValueError,
        "must not be quantised, got torch.quint8; use x.dequantize()",
    ),
    "float8": (lambda x: x.to(torch.float8_e5m2), ValueError, "got torch.float8_e5m2"),
    "rank 3": (lambda x: x[0].flatten(0, -3), ValueError, "got (3, 8, 6)"),
}
WITH_WEIGHTS = {
    "bool": (lambda x: x > 0, "got torch.bool; convert it with x.float()"),
    "uint8": (lambda x: x.byte(), "got torch.uint8; convert it with x.float()"),
    "int64": (lambda x: x.long(), "got torch.int64; convert it with x.float()"),
    "float64": (lambda x: x.double(), "the input is torch.float64 and {} is torch.float32; convert one of them"),
    "meta": (lambda x: x.to("meta"), "the input is on meta and {} on cpu; move one of them"),
}


def names_in(module):
    return [type(part).__name__ for part in module.modules()] + [module._get_name()]


def refusal(module, x, kind):
    with pytest.raises(kind) as caught:
        module(x)
    sentence = str(caught.value)
    assert sentence.startswith(tuple(f"{name}: " for name in names_in(module)))
    assert "\n" not in sentence
    return sentence


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quantize.*:DeprecationWarning")
@each("layer", LAYERS)
def test_what_is_no_tensor_of_numbers_is_refused(layer):
    for kind in KINDS:
        with named(kind=kind):
            make, error, words = KINDS[kind]
            module, x = layer.build("p4", 3), torch.randn_like(layer.input("p4"))
            if kind == "rank 3":
                x = x[:, :1].expand(-1, 3, *x.shape[2:])[:, :, :1] if not layer.image else x
                assert "got (" in refusal(module, make(x), error)
            else:
                assert words in refusal(module, make(x), error)


@each("layer", WEIGHTED)
def test_what_does_not_go_with_the_weights_is_refused(layer):
    for kind in WITH_WEIGHTS:
        with named(kind=kind):
            make, words = WITH_WEIGHTS[kind]
            for training in (True, False):
                module, x = layer.build("p4", 3).train(training), layer.input("p4")
                before = {name: value.clone() for name, value in module.state_dict().items()}
                sentence = refusal(module, make(x), ValueError)
                assert any(words.format(name) in sentence for name in ("weight", "pointwise", "running_mean"))
                assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
                module(x)  # and as it should be after that


@each("layer", LAYERS)
def test_weights_of_a_call_that_do_not_fit_are_refused(layer):
    for part in ["bias", "weight", "pointwise", "depthwise", "running_mean", "running_var"]:
        with named(part=part):
            module, x = layer.build("p4", 3), layer.input("p4")
            state = dict(module.state_dict())
            for name in [name for name in state if name.split(".")[-1] == part]:
                for wrong, words in (
                    (state[name].double(), "torch.float64"),
                    (state[name].to("meta"), f"{part} on meta; give the weights memory and values"),
                    (state[name][:-1], "expected"),
                    (state[name].to_sparse(), "must be a dense tensor"),
                ):
                    with pytest.raises(ValueError, match=words):
                        torch.func.functional_call(module, state | {name: wrong}, (x,))


@each("layer", LAYERS)
def test_maps_without_a_pixel_are_refused_where_something_is_looked_for_in_them(layer):
    options = {"padding": 3} if layer.filters else {}
    module, x = layer.build("p4", 3, **options), layer.input("p4")
    looks = layer.filters or "Pool2d" in layer.class_name
    for empty in (x[..., :0], x[..., :0, :], x[..., :0, :0]):
        if looks:
            assert re.search(r"maps of \d x \d have no pixel", refusal(module, empty, ValueError))
        else:
            assert 0 in module(empty).shape[-2:]
    assert module(x[:0]).shape == (0, *module(x).shape[1:])  # as torch


@each("convolution", CONVOLUTIONS)
def test_autocast_takes_what_it_converts_and_no_more(convolution):
    module, x = convolution.build("p4", 3), convolution.input("p4")
    expected = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            y = module(x.to(dtype))
            assert y.dtype == torch.bfloat16
            assert (y - expected).abs().max() <= TOLERANCE[torch.bfloat16] * expected.abs().max()
        assert "convert one of them" in refusal(module, x.double(), ValueError)
        assert "got torch.int64" in refusal(module, x.long(), ValueError)


@each("layer", LAYERS)
def test_convolutions_take_complex_numbers_and_norms_do_not(layer):
    x = torch.complex(layer.input("p4").double(), layer.input("p4").double())
    if layer.filters:
        module = layer.build("p4", 3, dtype=torch.complex128, bias=False)
        real = layer.build("p4", 3, dtype=torch.float64, bias=False)
        real.load_state_dict({name: value.real.clone() for name, value in module.state_dict().items()})
        module.load_state_dict({name: value.real.to(torch.complex128) for name, value in module.state_dict().items()})
        torch.testing.assert_close(module(x), torch.complex(real(x.real), real(x.imag)))
    elif layer.state:
        build = getattr(sepgconv.nn, layer.class_name)
        with pytest.raises(ValueError, match=f"{layer.class_name}: dtype must be a floating point type of torch"):
            build(**layer.options, dtype=torch.complex64)
        assert "got torch.complex128" in refusal(layer.build("p4"), x, ValueError)


@each("layer", WEIGHTED)
def test_layers_are_built_in_floating_point_types(layer):
    for dtype in [torch.int64, torch.bool, torch.float8_e4m3fn, "float32", float, np.float32]:
        with named(dtype=dtype):
            build = getattr(sepgconv.nn, layer.class_name)
            arguments = {} if not layer.filters else {"kernel_size": 3, "group": "p4"}
            channels = (
                {"channels": 3} if layer.class_name == "DepthwiseGroupConv2d" else {"in_channels": 3, "out_channels": 4}
            )
            arguments |= channels if layer.filters else {}
            with pytest.raises(ValueError, match=r"dtype must be a floating point type of torch .*, got "):
                build(**layer.options, **arguments, dtype=dtype)


@each("eps", [0, 0.0, -1e-5, float("nan"), float("inf"), None, "1e-5", True])
def test_batch_norm_needs_an_eps_in_training(eps):
    for name in ["p1", "p4"]:
        with named(name=name):
            x = torch.randn(2, 3, sepgconv.group(name).order, 4, 4)
            if eps == 0 and eps is not True:
                module = sepgconv.nn.GroupBatchNorm2d(3, eps=eps)
                torch.testing.assert_close(module.eval()(x), x)
                module.train()
            else:
                with pytest.raises(ValueError, match="eps must be a finite number of at least 0, got"):
                    sepgconv.nn.GroupBatchNorm2d(3, eps=eps)
                with pytest.raises(ValueError, match="eps must be a finite number of at least 0, got"):
                    sepgconv.nn.GroupLayerNorm(3, eps=eps)
                module = sepgconv.nn.GroupBatchNorm2d(3)
                module.eps = eps
            with pytest.raises(ValueError, match="GroupBatchNorm2d: eps must be greater than 0 when training, got"):
                module(x)
            assert module.num_batches_tracked == 0


@each("name", ["LiftingConv2d", "GroupConv2d", "SeparableGroupConv2d", "DepthwiseSeparableGroupConv2d"])
@each("device", ["cpu", "meta"])
def test_sizes_beyond_all_memory_are_named(name, device):
    build = getattr(sepgconv.nn, name)
    with pytest.raises(ValueError, match=r": there is no memory for \w+ of \(.*, [\d,]+ numbers"):
        build(10**18, 10**18, 3, "p4", device=device)
    for option in ("stride", "padding", "dilation"):
        with pytest.raises(ValueError, match=rf"{option} must be at most 2\^31 - 1, got 1000000000000"):
            build(2, 2, 3, "p4", device=device, **{option: 10**12})
    with pytest.raises(ValueError, match=r"kernel_size must be at most 2\^31 - 1, got 1000000000000"):
        build(2, 2, 10**12, "p4", device=device)
    with pytest.raises(ValueError, match="would make maps of more than 2\\^48 pixels"):
        build(2, 2, 3, "p4", device=device, padding=10**9)


def test_norms_and_pools_of_sizes_beyond_all_memory_are_named():
    for build in (sepgconv.nn.GroupBatchNorm2d, sepgconv.nn.GroupLayerNorm):
        with pytest.raises(ValueError, match="there is no memory for weight"):
            build(10**18)
    with pytest.raises(ValueError, match=r"makes maps of more than 2\^48 pixels"):
        sepgconv.nn.AdaptiveAvgPool2d(10**9)
    for build in (sepgconv.nn.MaxPool2d, sepgconv.nn.AvgPool2d):
        with pytest.raises(ValueError, match=r"kernel_size must be at most 2\^31 - 1"):
            build(10**12)


tensors = st.builds(
    lambda shape, dtype, device: torch.zeros(shape, dtype=dtype, device=device),
    st.lists(st.integers(0, 5), max_size=6),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.complex64]),
    st.sampled_from(["cpu", "meta"]),
)
near = st.builds(
    lambda batch, channels, poses, size, dtype: torch.zeros(batch, channels, *poses, *size, dtype=dtype),
    st.integers(0, 2),
    st.integers(0, 4),
    st.sampled_from([(), (1,), (4,), (0,), (8,)]),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.sampled_from([torch.float32, torch.float16, torch.float64, torch.uint8]),
)
others = st.one_of(st.none(), st.text(max_size=3), st.integers(), st.floats(), st.lists(st.floats(), max_size=3))


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.name)
@given(x=st.one_of(near, tensors, others), name=st.sampled_from(["p1", "p4"]), padding=st.integers(0, 3))
def test_nothing_but_the_refusals_of_the_library_comes_out(kind, x, name, padding):
    module = kind.build(name, 3, padding=padding) if kind.filters else kind.build(name)
    try:
        module(x)
    except (TypeError, ValueError) as error:
        assert str(error).startswith(tuple(f"{name}: " for name in names_in(module)))  # noqa: PT017 (one of many)
