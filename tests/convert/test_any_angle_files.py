"""Groups of any angle in files and in compiled code, of the package as installed: without checks of annotations."""

import pytest
import torch

from tests.convert.any_angle import layers

SHAPE = (1, 9, 9)
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own


@pytest.mark.parametrize(("group", "kernel"), [("C8", "auto"), ("p4", "steerable")])
def test_files_that_run_without_the_package(as_installed, stir, tmp_path, group, kernel):
    """Programs of ordinary layers and of ours, which are mixed in the irreps, and ONNX; for any number of images."""
    convert, model = as_installed.convert, stir(layers(as_installed, group, kernel))
    images = torch.randn(5, *SHAPE)
    for plain, free in ((True, ("batch", "height", "width")), (False, ("batch",))):
        written = convert.to_program(model, tmp_path / "network.pt2", plain=plain, input_shape=SHAPE, images=images)
        assert written.free == free
        assert 0 <= written.difference < 1e-5
    if group == "C8":
        pytest.importorskip("onnxruntime")
        assert convert.to_onnx(model, tmp_path / "network.onnx", input_shape=SHAPE, images=images).difference < 1e-5


def gradients(run, model, x):
    x = x.clone().requires_grad_()
    y = run(x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])]


@pytest.mark.parametrize("group", ["C8", "D3"])
def test_compiled_whole_with_gradients(as_installed, group):
    torch._dynamo.reset()
    model = layers(as_installed, group).double()[2:9]  # two steps in the irreps, and what stands around
    x = torch.randn(2, 2, model[1].group.order, 7, 6, dtype=torch.float64)
    model, seen = model.eval(), set()

    def backend(graph_module, inputs):
        seen.update(str(node.target) for node in graph_module.graph.nodes)
        return torch._dynamo.lookup_backend("aot_eager")(graph_module, inputs)

    compiled = torch.compile(model, fullgraph=True, backend=backend)
    torch.testing.assert_close(gradients(compiled, model, x), gradients(model, model, x), rtol=1e-9, atol=1e-9)
    # The agreement is not that of one code path with itself: the graph holds the operator.
    assert any("sepgconv.gc_conv" in name for name in seen)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-9, atol=1e-9)
