"""What a record says about where a run ran: commit, versions, device, memory."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

import sepgconv

PACKAGE = Path(sepgconv.__file__).parent


def is_main_process() -> bool:
    """Return whether this process is the one that writes and prints, where several train together.

    Lightning starts the calling script again for each further process, so what the script itself prints after `train`
    appears once for each; ask this first.

    Example:
        >>> is_main_process()
        True
    """
    from lightning.pytorch.utilities import rank_zero_only  # seconds to import, and only a training has it by then

    return getattr(rank_zero_only, "rank", 0) == 0


def check_rank_variables() -> None:
    """Raise if a variable with the number of this process, which Lightning reads at import, is no number.

    Raises:
        ValueError: a variable is no whole number.
    """
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        value = os.environ.get(name)
        if value is not None and not value.strip().isdecimal():
            raise ValueError(
                f"the environment variable {name} must be the number of a process, as launchers set it, it is "
                f"{value!r}; unset it"
            )


def git_commit() -> str | None:
    """Return the commit of the checkout this package runs from, with "+dirty" when the package's files differ from it.

    None when it runs from an installed copy, also one that lies inside another project's checkout, or without git.
    """
    try:
        # A copy under site-packages of somebody's project is not tracked there, so that project's commit is not ours.
        _git("ls-files", "--error-unmatch", "__init__.py")
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+dirty" if _git("status", "--porcelain", "--", ".") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(PACKAGE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "sepgconv": sepgconv.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("torch", "lightning", "numpy")},
    }


def device_name(device: torch.device) -> str:
    """Return the model name of a device: a GPU's as its driver gives it, the CPU's as the system does."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    return _cpu_name() or platform.processor() or platform.machine()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def peak_memory_bytes(device: torch.device) -> int | None:
    """Return the most memory used so far: by torch on a GPU, by the whole process on a CPU; None where unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource  # exists on Unix only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB
