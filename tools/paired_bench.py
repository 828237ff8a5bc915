"""Time two checkouts of the library side by side: `python -m tools.paired_bench OLD [--json FILE]`.

Each checkout runs in a process of its own, with torch's threads as they are. In every round both step one after the
other, every second round in the opposite order, so that a disturbance of the machine meets both alike; what counts is
the ratio within a round. Nothing else should run.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
PAUSE = 0.01  # seconds between turns, in which the waiting threads of the last one fall asleep
SHORTEST_TURN = 0.05  # seconds; shorter ones are dominated by waking up
MOST_ROUNDS = 60


def _step(module: nn.Module, x: Tensor) -> Callable[[], object]:
    x = x.requires_grad_()

    def run() -> None:
        module(x).sum().backward()

    return run


def _forward(module: nn.Module, x: Tensor) -> Callable[[], object]:
    def run() -> Tensor:
        with torch.no_grad():
            return module(x)

    return run


def cases() -> dict[str, Callable[[], object]]:
    """Return what is timed, by name; only of names that all versions since 0.1.0 have."""
    import sepgconv
    from sepgconv.nn import GroupConv2d, SeparableGroupConv2d

    torch.manual_seed(0)

    def gc(channels: int, group: str, execution: Any, **options: Any) -> nn.Module:
        return SeparableGroupConv2d(channels, channels, 3, group, padding=1, execution=execution, **options)

    def network(name: str) -> nn.Module:
        return sepgconv.create_model(name)

    digits, one, colours = torch.randn(64, 1, 28, 28), torch.randn(1, 1, 28, 28), torch.randn(8, 3, 32, 32)
    small, large = torch.randn(1, 8, 8, 9, 9), torch.randn(16, 32, 8, 28, 28)
    frozen = sepgconv.compile_for_inference(network("gc_p4cnn").eval(), input_shape=(1, 28, 28))
    return {
        "gc p4m fourier, 1x8x9x9, forward": _forward(gc(8, "p4m", "fourier"), small),
        "gc p4m fourier, 1x8x9x9, step": _step(gc(8, "p4m", "fourier"), small.clone()),
        "gc p4m fourier, 16x32x28x28, step": _step(gc(32, "p4m", "fourier"), large.clone()),
        "gc p4 separable, 16x32x28x28, forward": _forward(gc(32, "p4", "separable"), large[:, :, :4].contiguous()),
        "gc p4 separable, 16x32x28x28, step": _step(gc(32, "p4", "separable"), large[:, :, :4].clone()),
        "gc p4 composed, 16x32x28x28, step": _step(gc(32, "p4", "composed"), large[:, :, :4].clone()),
        "g p4 auto, 16x32x28x28, step": _step(gc(32, "p4", "auto", sharing="g"), large[:, :, :4].clone()),
        "full p4, 16x32x28x28, step": _step(GroupConv2d(32, 32, 3, "p4", padding=1), large[:, :, :4].clone()),
        "gc_p4cnn, 64 images, training step": _step(network("gc_p4cnn"), digits.clone()),
        "gc_p4cnn, 64 images, inference": _forward(network("gc_p4cnn").eval(), digits),
        "gc_p4cnn, compiled for inference, 64 images": _forward(frozen, digits),
        "gc_p4cnn, compiled for inference, 1 image": _forward(frozen, one),
        "p4cnn, 64 images, training step": _step(network("p4cnn"), digits.clone()),
        "p4cnn, 64 images, inference": _forward(network("p4cnn").eval(), digits),
        "g_p4cnn, 64 images, training step": _step(network("g_p4cnn"), digits.clone()),
        "g_p4cnn, 64 images, inference": _forward(network("g_p4cnn").eval(), digits),
        "p4m_resnet44, 8 images, training step": _step(network("p4m_resnet44"), colours.clone()),
        "gc_p4m_resnet44, 8 images, training step": _step(network("gc_p4m_resnet44"), colours),
    }


def work() -> None:
    """Serve turns: lines [name, repeats] come in, seconds of one repeat go out."""
    known = cases()
    print(json.dumps(list(known)), flush=True)
    for line in sys.stdin:
        name, repeats = json.loads(line)
        run, start = known[name], time.perf_counter()
        for _ in range(repeats):
            run()
        print(json.dumps((time.perf_counter() - start) / repeats), flush=True)


class Worker:
    """A process that runs the cases on one checkout.

    Args:
        checkout: the folder that holds `src`.
    """

    def __init__(self, checkout: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
        environment["PYTHONPATH"] = str(checkout / "src")
        command = [sys.executable, str(Path(__file__).resolve()), "--work"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout
        )
        self.names: list[str] = self._read()

    def _read(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit("a worker stopped; its error stands above")
        return json.loads(line)

    def turn(self, name: str, repeats: int) -> float:
        """Return the seconds of one repeat."""
        if self._process.stdin:
            self._process.stdin.write(json.dumps([name, repeats]) + "\n")
            self._process.stdin.flush()
        seconds = float(self._read())
        time.sleep(PAUSE)
        return seconds

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def compare(old: Worker, new: Worker, name: str, seconds: float) -> dict[str, float | str | int]:
    """Time one case on both; the ratio is new over old, with its quartiles over the rounds."""
    for worker in (old, new):
        worker.turn(name, 1)
    slower = max(worker.turn(name, 1) for worker in (old, new))
    repeats = max(1, min(50, int(SHORTEST_TURN / slower)))
    rounds = max(5, min(MOST_ROUNDS, int(seconds / (2 * repeats * slower + 2 * PAUSE))))
    before, after, ratios = list[float](), list[float](), list[float]()
    for number in range(rounds):
        order = (old, new) if number % 2 == 0 else (new, old)
        found = {worker: worker.turn(name, repeats) for worker in order}
        before.append(found[old])
        after.append(found[new])
        ratios.append(found[new] / found[old])
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "case": name,
        "old_ms": 1e3 * statistics.median(before),
        "new_ms": 1e3 * statistics.median(after),
        "ratio": middle,
        "ratio_low": low,
        "ratio_high": high,
        "rounds": rounds,
    }


def _commit(checkout: Path) -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=checkout, capture_output=True, text=True)
    return done.stdout.strip()


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.paired_bench", description=__doc__)
    parser.add_argument("old", type=Path, nargs="?", help="checkout of the version before")
    parser.add_argument("--new", type=Path, default=ROOT, help="checkout of the version after; this one by default")
    parser.add_argument("--seconds", type=float, default=12.0, help="for each case")
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Run the command line."""
    parser = command_line()
    options = parser.parse_args()
    if options.work:
        work()
        return
    if options.old is None or not (options.old / "src").is_dir():
        parser.error("give the checkout of the version before, a folder that holds src")
    workers = Worker(options.old), Worker(options.new)
    try:
        rows = [compare(*workers, name, options.seconds) for name in workers[0].names]
    finally:
        for worker in workers:
            worker.stop()
    for row in rows:
        spread = f"{row['ratio']:.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}]"
        print(f"{row['case']:46s} {row['old_ms']:9.3f} ms {row['new_ms']:9.3f} ms   {spread}  {row['rounds']} rounds")
    if options.json:
        machine = {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
        told = {"old": _commit(options.old), "new": _commit(options.new), "machine": machine, "rows": rows}
        beside = options.json.with_suffix(".partial")
        beside.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        beside.replace(options.json)


if __name__ == "__main__":
    main()
