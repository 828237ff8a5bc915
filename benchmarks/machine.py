"""What a result depends on: machine, versions, commit."""

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from typing import Any

import torch

from sepgconv.tasks.environment import device_name, git_commit, versions

# Results with equal values of these may stand in one table.
SAME = ("cpu", "cores", "threads", "commit", "torch", "python", "e2cnn", "quick", "seed")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment(*, threads: int, quick: bool, seed: int, command: str) -> dict[str, Any]:
    """Return what a result says about where it comes from."""
    found = versions()
    return {
        "cpu": device_name(torch.device("cpu")),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cores": cores(),
        "threads": threads,
        "memory_bytes": _memory_bytes(),
        "system": platform.platform(),
        "python": found["python"],
        "torch": found["torch"],
        "e2cnn": _version("e2cnn"),
        "sepgconv": found["sepgconv"],
        "commit": git_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "seed": seed,
        "quick": quick,
    }


def _memory_bytes() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
