"""The way of a tensor through one gc layer: few files, few moves from one to another."""

import sys
from pathlib import Path

import torch


def walk(run, root):
    """Run something and return the files of the package in the order in which calls entered them from another one."""
    entered = []

    def watch(frame, event, argument):
        if event != "call" or not frame.f_code.co_filename.startswith(root):
            return
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(root):
            caller = caller.f_back  # through torch
        if caller is None or caller.f_code.co_filename != frame.f_code.co_filename:
            entered.append(Path(frame.f_code.co_filename).relative_to(root).as_posix())

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return entered


def test_a_gc_layer_takes_few_moves(as_installed):
    """Of p4m, in the irreps, on a CPU, after a first call: at most 8 files and 12 moves forward."""
    root = str(Path(as_installed.__file__).parent) + "/"
    layer = as_installed.nn.SeparableGroupConv2d(8, 8, 3, "p4m", padding=1, execution="fourier")
    x = torch.randn(2, 8, 8, 9, 9, requires_grad=True)
    layer(x)
    entered = walk(lambda: layer(x), root)
    assert len(set(entered)) <= 8, entered
    assert len(entered) <= 12, entered


def test_a_longer_way_is_seen(as_installed):
    """Negative control: two layers are more than one."""
    root = str(Path(as_installed.__file__).parent) + "/"
    model = as_installed.create_model("gc_p4cnn", width=4)
    assert len(walk(lambda: model(torch.randn(2, 1, 28, 28)), root)) > 12
