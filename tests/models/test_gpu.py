"""What must hold on an NVIDIA GPU: the numbers of the CPU, mixed precision, CUDA graphs. Skipped without one."""

import copy

import pytest
import torch
from torch.nn import functional as F

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
NAMES = ("p4cnn", "g_p4cnn", "gc_p4cnn")


def gradients(model, x):
    scores = model(x)
    labels = torch.arange(len(x), device=x.device) % scores.shape[1]
    F.cross_entropy(scores.float(), labels).backward()
    return [scores.detach(), *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("execution", ["auto", "separable", "fourier", "composed"])
def test_every_execution_gives_the_numbers_of_the_cpu(small_model, execution, recompute):
    model = small_model("gc_p4cnn", execution=execution, recompute=recompute).double()
    x, twin = torch.randn(4, 1, 28, 28, dtype=torch.float64), copy.deepcopy(model).cuda()
    for found, expected in zip(gradients(twin, x.cuda()), gradients(model, x), strict=True):
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16(small_model, name):
    model, x = small_model(name).cuda(), torch.randn(4, 1, 28, 28, device="cuda")
    expected = model(x)
    with torch.autocast("cuda", torch.bfloat16):
        scores = model(x)
    torch.testing.assert_close(scores.float(), expected, rtol=0.1, atol=0.1)
    scores.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_cuda_graphs(small_model, as_installed, name):
    torch._dynamo.reset()
    model = small_model(name, package=as_installed).cuda().eval()
    compiled = torch.compile(model, fullgraph=True, mode="reduce-overhead")
    with torch.no_grad():
        for _ in range(3):
            x = torch.randn(4, 1, 28, 28, device="cuda")
            torch.testing.assert_close(compiled(x), model(x), rtol=1e-3, atol=1e-3)
