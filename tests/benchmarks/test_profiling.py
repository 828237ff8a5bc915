"""A profile finds the operators of a step, and knows what kind of work they are."""

import time

import torch
from torch.nn import functional as F

from benchmarks import profiling
from benchmarks.profiling import profile_step, work_of
from tests.covering import each

DENSE, DEPTHWISE, POINTWISE, PASS, SMALL = (
    "convolutions k x k, dense",
    "depthwise convolutions",
    "1 x 1 convolutions and matrix products",
    "passes over maps (norm, ReLU, pool, copies)",
    "small tensors and views",
)


@each(
    ("operator", "shapes", "work"),
    [
        ("convolution", [[2, 8, 9, 9], [4, 8, 3, 3]], DENSE),
        ("convolution", [[2, 1, 9, 9], [4, 1, 3, 3]], DENSE),
        ("convolution", [[1, 9, 9], [4, 1, 3, 3]], DENSE),
        ("convolution", [[8, 9, 9], [8, 1, 3, 3]], DEPTHWISE),
        ("convolution", [[2, 8, 9, 9], [8, 1, 3, 3]], DEPTHWISE),
        ("convolution", [[2, 8, 9, 9], [4, 8, 1, 1]], POINTWISE),
        ("convolution_backward", [[2, 4, 7, 7], [2, 8, 9, 9], [4, 8, 3, 3]], DENSE),
        ("convolution_backward", [[2, 8, 7, 7], [2, 8, 9, 9], [8, 1, 3, 3]], DEPTHWISE),
        ("mm", [[4, 4], [4, 4]], POINTWISE),
        ("clamp_min", [[64, 32, 32]], PASS),
        ("clamp_min", [[64, 32, 31]], SMALL),
        ("add", [], SMALL),
    ],
)
def test_kinds_of_work(operator, shapes, work):
    assert work_of(operator, shapes) == work


def test_the_profile_of_a_step(monkeypatch):
    monkeypatch.setattr(profiling, "KEPT", 0.0)  # every operator by itself, however fast it was
    x, weight, depthwise = torch.randn(2, 16, 64, 64), torch.randn(16, 16, 3, 3), torch.randn(16, 1, 3, 3)
    weight.requires_grad_()
    found = profile_step(lambda: F.relu(F.conv2d(F.conv2d(x, weight), depthwise, groups=16)).sum().backward())
    calls = {(row["work"], row["operator"]): row["calls"] for row in found}
    assert calls[DENSE, "convolution"] == calls[DEPTHWISE, "convolution"] == calls[PASS, "relu"] == 1
    assert calls[DENSE, "convolution_backward"] == calls[DEPTHWISE, "convolution_backward"] == 1
    assert min(row["seconds"] for row in found) >= 0


def test_sleep_is_not_work_of_an_operator():
    found = profile_step(lambda: (time.sleep(0.02), torch.ones(2, 2)))
    rest = found[-1]
    assert rest["work"].endswith("the rest")
    assert rest["seconds"] > 0.015
