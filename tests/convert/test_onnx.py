"""`to_onnx`: files of ordinary operators, run by onnxruntime before they are there."""

import warnings

import pytest
import torch
from torch import nn

NAMES = (
    "z2cnn", "c_z2cnn", "p4cnn", "g_p4cnn", "gc_p4cnn",
    "resnet44", "p4m_resnet44", "g_p4m_resnet44", "gc_p4m_resnet44",
)  # fmt: skip


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


@pytest.mark.parametrize(
    "name", [name if name == "gc_p4cnn" else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_every_network_at_other_sizes(as_installed, convert, run, stir, tmp_path, name):
    size = {"widths": (2, 3, 4)} if "resnet" in name else {"width": 3}
    model = stir(as_installed.create_model(name, **size))
    written = convert.to_onnx(model, tmp_path / "net.onnx")
    assert written.free == ("batch", "height", "width")
    assert written.opset == 18
    assert 0 < written.difference < 1e-5
    side = model.typical
    for shape in [(1, side, side), (5, side, side), (2, side + 7, side + 12)]:
        x = torch.randn(shape[0], model.in_channels, *shape[1:])
        assert_same(run(written.path, x), model(x))
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


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
            snn.TwoStepGroupConv2d(2, 2, 3, "p4m", stride=2, padding=1), snn.GroupDropout(0.2), nn.GELU(),
            snn.GroupMeanPool(), nn.MaxPool2d(2, ceil_mode=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
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
    with pytest.raises(ValueError, match="opset must be 18 to 23, got 12"):
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
