"""The gate before every timing: outputs and gradients of each contender equal the reference execution's.

In float64, in training mode (output, gradients of the input and of every parameter) and then in evaluation mode, which
also compares what the training pass left in the running statistics; and once more in float32, the precision that is
timed, since fast paths may differ by precision. What is compiled is compared in float32 only: compiling it twice would
take longer than timing it. Peers whose weights cannot be equal are held to the size of their output.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.case import Case, Contender
from benchmarks.contenders.kinds import KINDS, build, build_oracle, channels_read, finish, native
from benchmarks.steps import CLASSES, make_input

# Largest error over the largest value of the reference. Float32 gradients of networks: a maximum or a ReLU that tips
# over to the other side moves single entries, so they are compared in the mean (root of squares), and loosely.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
LOOSE_GRADIENT = 5e-2
# A gradient is measured against at least this part of the largest one: that of a bias before a batch norm is nothing
# but rounding.
FLOOR = 1e-2


class Mismatch(Exception):
    """A contender does not compute what the reference computes; the message says what and by how much."""


@dataclass(frozen=True)
class Check:
    """The errors found for one contender: largest relative ones of outputs and gradients; None if not comparable."""

    contender: str
    precision: str
    output: float | None
    gradient: float | None


def check_contender(case: Case, contender: Contender, seed: int) -> list[Check]:
    """Compare a contender with its oracle.

    Raises:
        Mismatch: another result, or another size of it.
    """
    if KINDS[contender.kind].oracle is None:
        _check_size(case, contender, seed)
        return [Check(contender.label, "size only", None, None)]
    if contender.finish == "compiled":
        return [_compare(case, contender, seed, torch.float32)]
    return [_compare(case, contender, seed, dtype) for dtype in (torch.float64, torch.float32)]


def _compare(case: Case, contender: Contender, seed: int, dtype: torch.dtype) -> Check:
    oracle = build_oracle(contender, seed).double()
    module = build(contender, seed).to(dtype)
    runs = finish(contender, module) if contender.finish == "compiled" else module
    expected, wanted = _pass(case, contender, oracle, seed, torch.float64, is_oracle=True)
    output, gradients = _pass(case, contender, runs, seed, dtype)
    errors = [_require(contender, "output in training mode", output, expected, TOLERANCE[dtype])]
    loose = dtype == torch.float32 and not case.is_layer
    limit = LOOSE_GRADIENT if loose else TOLERANCE[dtype]
    least = FLOOR * max(float(gradient.abs().max()) for _, gradient in wanted)
    slopes = [
        _require(contender, f"gradient of {name}", found, other, limit, least=least, in_the_mean=loose)
        for (name, found), (_, other) in zip(gradients, wanted, strict=True)
    ]
    if contender.finish == "for inference":
        runs = finish(contender, module)
    with torch.no_grad():
        expected = oracle.eval()(channels_read(contender, make_input(case, case.check_batch, seed + 2, torch.float64)))
        output = runs.eval()(native(contender, make_input(case, case.check_batch, seed + 2, dtype)))
    errors.append(_require(contender, "output in evaluation mode", output, expected, TOLERANCE[dtype]))
    return Check(contender.label, str(dtype).removeprefix("torch."), max(errors), max(slopes))


def _pass(
    case: Case, contender: Contender, module: nn.Module, seed: int, dtype: torch.dtype, *, is_oracle: bool = False
) -> tuple[Tensor, list[tuple[str, Tensor]]]:
    """Run forward and backward in training mode; return the output, and the gradients by name.

    The input's gradient comes first. It is left out where the contender is compiled: with it, the compiler would build
    another graph than the one that is timed.
    """
    x = make_input(case, case.check_batch, seed, dtype).requires_grad_(contender.finish != "compiled")
    y = module.train()(channels_read(contender, x) if is_oracle else native(contender, x))
    weights = torch.randn(y.numel(), generator=torch.Generator().manual_seed(seed + 3)).to(dtype)
    (y * weights.view(y.shape)).sum().backward()
    gradients = [("the input", x.grad)] if x.requires_grad else []
    gradients += [(name, parameter.grad) for name, parameter in module.named_parameters()]
    missing = [name for name, gradient in gradients if gradient is None]
    if missing:
        raise Mismatch(f"{contender.label}: no gradient of {', '.join(missing)}")
    return y.detach(), [(name, gradient) for name, gradient in gradients if gradient is not None]


def _require(
    contender: Contender,
    what: str,
    found: Tensor,
    expected: Tensor,
    tolerance: float,
    *,
    least: float = 1e-30,
    in_the_mean: bool = False,
) -> float:
    """Return the error relative to the expected values, whose size counts as `least` at least; refuse a large one."""
    if found.numel() != expected.numel():
        raise Mismatch(f"{contender.label}: {what} has {found.numel()} numbers, the reference {expected.numel()}")
    difference = found.double().reshape(expected.shape) - expected
    if in_the_mean:
        error = _root_mean_square(difference) / max(_root_mean_square(expected), least)
    else:
        error = float(difference.abs().max()) / max(float(expected.abs().max()), least)
    if not error <= tolerance:  # so written, not-a-number is refused, too
        raise Mismatch(
            f"{contender.label}: {what} is off by {error:.1e} of the reference's in "
            f"{str(found.dtype).removeprefix('torch.')} (at most {tolerance:.0e} is rounding); nothing is timed"
        )
    return error


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _check_size(case: Case, contender: Contender, seed: int) -> None:
    module = finish(contender, build(contender, seed)).eval()
    with torch.no_grad():
        y = module(native(contender, make_input(case, case.check_batch, seed)))
    expected = case.check_batch * (_layer_numbers(case, contender) if case.is_layer else CLASSES)
    if y.numel() != expected:
        raise Mismatch(f"{contender.label}: the output has {y.numel()} numbers, that of ours {expected}")


def _layer_numbers(case: Case, contender: Contender) -> int:
    """Return how many numbers a layer of ours gives for one input."""
    channels, poses, height, width = case.shape
    channels = channels if contender.reads is None else contender.reads
    shrink = contender.arguments["kernel_size"] - 1 - 2 * contender.arguments["padding"]
    return channels * poses * (height - shrink) * (width - shrink)
