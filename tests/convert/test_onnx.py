"""`to_onnx`: files of ordinary operators, run by onnxruntime before they are there."""

import warnings

import pytest
import torch
from torch import nn

# `to_plain` is tested on every network; what is written of its ordinary layers are these operators.
NAMES = ("gc_p4cnn", "gc_p4m_resnet44")


@pytest.fixture(scope="module")
def convert(as_installed):
    return as_installed.convert


@pytest.fixture(scope="module")
def run():
    """Run an ONNX file as somebody else would."""
    runtime = pytest.importorskip("onnxruntime")

    def run(path, x):
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(["scores"], {"image": x.float().numpy()})[0])

    return run


def assert_same(found, expected):
    assert found.shape == expected.shape
    expected = expected.detach()
    assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@pytest.fixture(scope="module")
def prepare():
    """Make a file ready for quantisation, as onnxruntime's guide does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages, at import
        shape_inference = pytest.importorskip("onnxruntime.quantization.shape_inference")
    return shape_inference.quant_pre_process


def free_axes(value):
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize(
    "name", [name if name == "gc_p4cnn" else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_every_network_at_other_sizes(as_installed, convert, run, prepare, stir, tmp_path, name):
    import onnx

    size = {"widths": (2, 3, 4)} if "resnet" in name else {"width": 3}
    model = stir(as_installed.create_model(name, **size))
    written = convert.to_onnx(model, tmp_path / "net.onnx")
    assert written.free == ("batch", "height", "width")
    assert written.opset == 18
    assert 0 < written.difference < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    graph = onnx.load(written.path).graph
    assert free_axes(graph.input[0]) == ["batch", model.in_channels, "height", "width"]
    assert free_axes(graph.output[0]) == ["batch", 10]
    prepare(str(written.path), str(tmp_path / "prepared.onnx"))
    old = convert.to_onnx(model, tmp_path / "old.onnx", opset=13)
    side = model.input_size
    for shape in [(1, side, side), (5, side, side), (2, side + 7, side + 12)]:
        x = torch.randn(shape[0], model.in_channels, *shape[1:])
        for path in (written.path, old.path, tmp_path / "prepared.onnx"):
            assert_same(run(path, x), model(x))


def test_every_layer(as_installed, convert, run, stir, tmp_path):
    import onnx

    snn = as_installed.nn
    model = stir(
        nn.Sequential(
            snn.LiftingConv2d(1, 2, 3, "p4m", padding=1, padding_mode="circular"),
            snn.GroupLayerNorm(2), nn.ReLU(),
            snn.GroupConv2d(2, 2, 3, "p4m", padding=1, padding_mode="reflect"),
            snn.GroupBatchNorm2d(2), nn.ReLU(), snn.MaxPool2d(2),
            snn.SeparableGroupConv2d(2, 2, 3, "p4m", padding=1, padding_mode="replicate"),
            snn.SeparableGroupConv2d(2, 2, 3, "p4m", sharing="g", dilation=2, padding=2), snn.AvgPool2d(2, padding=1),
            snn.DepthwiseSeparableGroupConv2d(2, 2, 3, "p4m", stride=2, padding=1), snn.GroupDropout(0.2), nn.GELU(),
            snn.GroupInstanceNorm2d(2), snn.LayerScale(2, 0.5), snn.DropPath(0.2), snn.RestrictGroup("p4m", "p4"),
            snn.GroupGroupNorm(2, 4), snn.AntialiasedMaxPool2d(2, 1, 1, blur_size=3), snn.GroupMeanPool(),
            nn.MaxPool2d(2, ceil_mode=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = convert.to_onnx(model, tmp_path / "net.onnx", input_shape=(1, 26, 24), opset=20)
    proto = onnx.load(written.path)
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 20)]
    assert "Conv" in {node.op_type for node in proto.graph.node}
    assert not proto.functions
    x = torch.randn(3, 1, 33, 40)
    assert_same(run(written.path, x), model(x))


def small(package, pool):
    snn = package.nn
    return nn.Sequential(
        snn.LiftingConv2d(1, 3, 3, "p4"), nn.ReLU(), snn.MaxPool2d(2), pool, nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(3, 4),
    ).eval()  # fmt: skip


# Those between are passed on the way from 18, the default of all other tests, to the first and to the last.
@pytest.mark.parametrize("opset", [13, 23])
def test_every_version_of_the_operators(as_installed, convert, run, prepare, tmp_path, opset):
    import onnx

    model = small(as_installed, as_installed.nn.GroupMaxPool())
    written = convert.to_onnx(model, tmp_path / "net.onnx", input_shape=(1, 14, 14), opset=opset)
    assert (written.opset, written.free) == (opset, ("batch", "height", "width"))
    proto = onnx.load(written.path)
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", opset)]
    assert onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    prepare(str(written.path), str(tmp_path / "prepared.onnx"))
    x = torch.randn(3, 1, 17, 24)
    for path in (written.path, tmp_path / "prepared.onnx"):
        assert_same(run(path, x), model(x))


class Whole(nn.Module):
    """Something that torch's exporter writes as a reduction."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, x):
        return self.what(x)


REDUCTIONS = {
    "largest pose": lambda x: x.amax(2),
    "smallest pose, kept": lambda x: x.amin(2, keepdim=True).squeeze(2),
    "last pose counted from the end": lambda x: x.amax(-3),
    "mean pose": lambda x: x.mean(2),
    "largest of all pixels": lambda x: x.amax(2).amax((2, 3), keepdim=True) + x.mean(2),
    "largest of all pixels, gone": lambda x: x.amax(2).amax((2, 3))[:, :, None, None] + x.mean(2),
    "flattened and back": lambda x: x.flatten(3).unflatten(3, x.shape[3:]).mean(2),
}


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("what", REDUCTIONS)
@pytest.mark.covering(1)
def test_ranks_stay_known(as_installed, convert, run, prepare, tmp_path, what, opset):
    model = small(as_installed, Whole(REDUCTIONS[what]))
    written = convert.to_onnx(model, tmp_path / "net.onnx", input_shape=(1, 14, 14), opset=opset)
    assert written.free == ("batch", "height", "width")
    prepare(str(written.path), str(tmp_path / "prepared.onnx"))
    x = torch.randn(2, 1, 15, 20)
    for path in (written.path, tmp_path / "prepared.onnx"):
        assert_same(run(path, x), model(x))


@pytest.mark.parametrize(
    ("layer", "opset", "sentence"),
    [
        (lambda snn: snn.GroupLayerNorm(3), 16, "opset 16 of ONNX has no operator LayerNormalization: .* opset 17"),
        (lambda snn: nn.Mish(), 17, "opset 17 of ONNX has no operator Mish: .* opset 18"),
        (lambda snn: nn.Hardswish(), 13, "opset 13 of ONNX has no operator HardSwish: .* opset 14"),
    ],
)
def test_an_operator_that_a_version_does_not_have_is_named(as_installed, convert, tmp_path, layer, opset, sentence):
    snn = as_installed.nn
    model = nn.Sequential(snn.LiftingConv2d(1, 3, 3, "p4"), layer(snn), snn.GroupMeanPool())
    with pytest.raises(ValueError, match=sentence):
        convert.to_onnx(model, tmp_path / "net.onnx", input_shape=(1, 8, 8), opset=opset)
    assert list(tmp_path.iterdir()) == []
    assert convert.to_onnx(model, tmp_path / "net.onnx", input_shape=(1, 8, 8), opset=18).difference < 1e-5


def test_free_axes_that_must_be_equal_are_one(as_installed, convert, tmp_path):
    import onnx

    class Square(nn.Module):
        def forward(self, x):
            return x + x.transpose(2, 3)

    model = nn.Sequential(Square(), as_installed.nn.LiftingConv2d(1, 2, 3, "p4"), as_installed.nn.GroupMaxPool())
    written = convert.to_onnx(model, tmp_path / "net.onnx", input_shape=(1, 9, 9))
    given = free_axes(onnx.load(written.path).graph.input[0])
    assert given in (["batch", 1, "side", "side"], ["batch", 1, 9, 9])


PRECISIONS = [torch.bfloat16, torch.float64]  # float16 goes the way of bfloat16, which is coarser


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_other_precisions_are_written_in_single(as_installed, convert, run, stir, tmp_path, dtype):
    """A network in half precision is written as its copy in float32, which answers to seven digits."""
    import copy

    model = stir(small(as_installed, as_installed.nn.GroupMaxPool())).to(dtype)
    images = torch.rand(2, 1, 14, 14)
    written = convert.to_onnx(model, tmp_path / "net.onnx", input_shape=(1, 14, 14), images=images)
    assert 0 < written.difference < 1e-5
    assert next(model.parameters()).dtype == dtype
    x = torch.randn(2, 1, 14, 14)
    assert_same(run(written.path, x), copy.deepcopy(model).float()(x))


def test_code_that_fixes_its_precision_is_refused(as_installed, convert, tmp_path):
    model = as_installed.nn.LiftingConv2d(1, 2, 3, "p4").bfloat16()
    fixed = nn.Sequential(Whole(lambda x: x.bfloat16()), model)
    with pytest.raises(ValueError, match=r"cannot be written as ONNX: .* its code fixes another one"):
        convert.to_onnx(fixed, tmp_path / "net.onnx", input_shape=(1, 8, 8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("fault", [lambda bias: bias * 1.01, lambda bias: bias * 0])
@pytest.mark.covering(1)
def test_a_fault_is_found_in_every_precision(as_installed, convert, tmp_path, monkeypatch, dtype, fault):
    model = small(as_installed, as_installed.nn.GroupMaxPool()).to(dtype)
    to_plain = convert.plain.onnx.to_plain

    def wrong(*arguments, **options):
        plain = to_plain(*arguments, **options)
        bias = plain.get_submodule("6").bias
        bias.data = fault(bias.data)
        return plain

    monkeypatch.setattr(convert.plain.onnx, "to_plain", wrong)
    with pytest.raises(ValueError, match="differs from the network"):
        convert.to_onnx(model, tmp_path / "net.onnx", input_shape=(1, 12, 12))
    assert list(tmp_path.iterdir()) == []


def test_one_size_where_the_exporter_cannot_do_others(as_installed, convert, run, tmp_path):
    """torch's exporter writes an adaptive pool to 3 x 3 for one size only; at others it would answer wrongly."""
    model = nn.Sequential(as_installed.nn.LiftingConv2d(1, 2, 3, "p4"), as_installed.nn.GroupMaxPool())
    model = model.append(nn.AdaptiveAvgPool2d(3)).double().eval()
    written = convert.to_onnx(model, tmp_path / "net.onnx", input_shape=(1, 14, 14))
    assert written.free == ("batch",)
    x = torch.randn(5, 1, 14, 14).double()
    assert_same(run(written.path, x).double(), model(x))


def test_an_operator_that_onnx_does_not_have_is_named_with_its_place(as_installed, convert, tmp_path):
    class Bessel(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    model = nn.Sequential(nn.Sequential(as_installed.nn.LiftingConv2d(1, 2, 3, "p4"), Bessel()))
    with pytest.raises(ValueError, match=r"0\.1 \(Bessel\) cannot be converted: ONNX has no operator .* bessel_j0"):
        convert.to_onnx(model, tmp_path / "net.onnx", input_shape=(1, 8, 8))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_answers_otherwise_is_not_left(as_installed, convert, tmp_path, monkeypatch):
    model = as_installed.nn.LiftingConv2d(1, 2, 3, "p4")
    to_plain = convert.plain.onnx.to_plain

    def wrong(*arguments, **options):
        plain = to_plain(*arguments, **options)
        next(plain.parameters()).data[0] *= 1.01
        return plain

    monkeypatch.setattr(convert.plain.onnx, "to_plain", wrong)
    with pytest.raises(ValueError, match="differs from the network"):
        convert.to_onnx(model, tmp_path / "net.onnx", input_shape=(1, 8, 8))
    assert list(tmp_path.iterdir()) == []


def test_refusals(as_installed, convert, tmp_path, monkeypatch):
    model = as_installed.nn.LiftingConv2d(1, 2, 3, "p4")
    with pytest.raises(ValueError, match="opset must be 13 to 23, got 12"):
        convert.to_onnx(model, tmp_path / "net.onnx", opset=12)

    class Two(nn.Module):
        def forward(self, x):
            return x, x + 1

    with pytest.raises(ValueError, match="several outputs"):
        convert.to_onnx(nn.Sequential(model, Two()), tmp_path / "net.onnx", input_shape=(1, 8, 8))
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'sepgconv\[export\]'"):
        convert.to_onnx(model, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []
