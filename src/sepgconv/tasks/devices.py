"""Devices: how many a run gets, and which one a network computes on; checked before anything is started."""

import os

import torch

FEWEST = 2  # processes that any machine may try


def checked_devices(devices: int | str | list[int], accelerator: str, num_nodes: int) -> int | str | list[int]:
    """Return what Lightning should be asked for; a number where the words stand for one.

    Args:
        devices: how many, "auto", or, on GPUs, which.
        accelerator: Lightning's name.
        num_nodes: machines.

    Raises:
        ValueError: this machine has fewer, or it is no number of devices.
    """
    if num_nodes < 1:
        raise ValueError(f"cannot train with num_nodes={num_nodes}: expected a whole number of machines, 1 or more")
    kind = _kind(accelerator)
    wanted = int(devices) if isinstance(devices, str) and devices.strip().isdecimal() else devices
    if kind == "cpu":
        most = max(FEWEST, _cores())
        if wanted == "auto":
            return 1
        if not isinstance(wanted, int) or not 1 <= wanted <= most:
            raise ValueError(
                f"cannot train with {devices=!s}: on the processor it is a number of processes from 1 to {most} "
                f"(this machine has {_cores()} cores for them), or auto, which is 1"
            )
    if kind == "cuda":
        there = torch.cuda.device_count()
        if wanted == "auto":
            return there
        if isinstance(wanted, int) and (wanted < -1 or wanted == 0 or wanted > there):
            raise ValueError(
                f"cannot train with {devices=!s}: this machine has {there} GPU{'' if there == 1 else 's'}; give a "
                "number from 1 to that, auto for all, or accelerator=cpu"
            )
    return wanted


KINDS = ("cpu", "cuda", "mps", "xpu")


def find_device(name: str) -> torch.device:
    """Return the device of a name, once it is known to be there.

    Args:
        name: "auto" for a GPU where there is one and else the processor, or torch's: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ValueError: no such name, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in KINDS:
        raise ValueError(f"a device is called auto, {', '.join(KINDS)} or, as one of several, cuda:1; got {name!r}")
    try:
        torch.empty(1, device=device)
    except Exception as error:
        there = f"it has {torch.cuda.device_count()} GPUs that torch can use"
        raise ValueError(f"this machine has no device {name!r}: {there}; give cpu, or auto") from error
    return device


def _kind(accelerator: str) -> str:
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        return "cuda" if torch.cuda.is_available() else "none"  # Lightning says what it looked for
    if accelerator == "cpu" or (accelerator == "auto" and not torch.backends.mps.is_available()):
        return "cpu"
    return "other"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
