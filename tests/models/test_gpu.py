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
    F.cross_entropy(scores, labels).backward()
    return [scores.detach(), *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("execution", ["auto", "separable", "fourier", "composed"])
def test_every_execution_gives_the_numbers_of_the_cpu(small_model, execution, recompute):
    model = small_model("gc_p4cnn", execution=execution, recompute=recompute).double()
    x, twin = torch.randn(4, 1, 28, 28, dtype=torch.float64), copy.deepcopy(model).cuda()
    for found, expected in zip(gradients(twin, x.cuda()), gradients(model, x), strict=True):
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["resnet44", "p4m_resnet44", "g_p4m_resnet44", "gc_p4m_resnet44"])
def test_resnets_give_the_numbers_of_the_cpu(small_model, name):
    model = small_model(name).double()
    x, twin = torch.randn(4, 3, 32, 32, dtype=torch.float64), copy.deepcopy(model).cuda()
    for found, expected in zip(gradients(twin, x.cuda()), gradients(model, x), strict=True):
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-7, atol=1e-8)


def test_training_runs_there_and_its_record_says_how(tmp_path):
    from sepgconv import create_model
    from sepgconv.analysis import cost
    from sepgconv.data import load_dataset
    from sepgconv.tasks import TrainingConfig, train

    data = load_dataset("rotated_digits")
    options = {"width": 16}
    config = TrainingConfig(
        model="gc_p4cnn", data="rotated_digits", model_config=options, epochs=2, augmentation="crop-flip"
    )
    record = train(config, folder=tmp_path / "run", data=data, progress=False)
    assert record.device == torch.cuda.get_device_name()
    network = create_model("gc_p4cnn", **options).cuda()
    assert record.executed_macs == cost(network, data.image_shape).executed_macs
    assert record.test_error < 90


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
