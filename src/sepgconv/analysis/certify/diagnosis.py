"""Which call of a layer loses the symmetry, and why, in one sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from sepgconv.analysis.certify.actions import FOLDED, UNMOVED, reversed_axes
from sepgconv.analysis.certify.errors import relative_error
from sepgconv.analysis.certify.fields import field_action
from sepgconv.analysis.certify.tracing import Call
from sepgconv.analysis.certify.windows import Window, find_window
from sepgconv.functional import act
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry.subgroups import find_elements

ORDINARY = (nn.Conv2d, nn.ConvTranspose2d)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)  # pyright: ignore[reportPrivateUsage]


def visible(calls: Sequence[Call]) -> list[int]:
    """Return the calls that count; those on ordinary tensors inside a layer on geometric tensors do not."""
    hidden: set[int] = set()
    for index, call in enumerate(calls):
        parent = calls[call.parent] if call.parent >= 0 else None
        if call.parent in hidden or (parent is not None and parent.on_fields and not call.on_fields):
            hidden.add(index)
    return [index for index, call in enumerate(calls) if index not in hidden and call.output is not None]


def leaves(calls: Sequence[Call]) -> list[int]:
    """Return the calls that contain no other call."""
    shown = visible(calls)
    parents = {calls[index].parent for index in shown}
    return [index for index in shown if index not in parents]


def find_fault(calls: Sequence[Call], tolerance: float) -> int:
    """Return the first call whose input was exact and whose output is not, the innermost where several are nested.

    Args:
        calls: of a network whose output is not exact.
        tolerance: largest relative error that counts as exact.
    """
    faulty = {
        index
        for index in visible(calls)
        if all(value.error() <= tolerance for value in calls[index].inputs) and _error(calls[index]) > tolerance
    }
    for index in list(faulty):  # a container is at fault for its parts only where none of them is
        above = calls[index].parent
        while above >= 0:
            faulty.discard(above)
            above = calls[above].parent
    # None: every layer is exact in some way of its own, and the network itself gives what does not stay as it is.
    return min(faulty, default=0)


def _error(call: Call) -> float:
    return call.output.error() if call.output is not None else 0.0


def explain(calls: Sequence[Call], index: int, group: FiniteGroup, tolerance: float) -> str:
    """Return in one sentence why a call loses the symmetry and what to use instead.

    Args:
        calls: of the network.
        index: the call at fault.
        group: the group that was certified.
        tolerance: largest relative error that counts as exact.
    """
    call, root = calls[index], calls[0]
    config: Any = getattr(root.module, "config", None)
    options: Mapping[str, Any] = config if isinstance(config, dict) else {}
    if call.output is None:
        return "it gives no tensor"
    if min(errors[0] for errors in call.output.errors) > tolerance:
        return (
            f"{_kind(call)} gives other numbers for the same image: dropout or noise that stays on in evaluation "
            f"mode; switch it off there"
        )
    if index == 0 and _error(call) <= tolerance:
        return _carried(call.output.best.carries)
    return (
        of_another_group(call.module, group)
        or _asymmetric_kernel(call, group, tolerance)
        or _strided(call, group, options)
        or _flattening(call, options)
        or _separate_affine(call)
        or _in_between(calls, index)
        or f"{_kind(call)} does not commute with {group.name}: what it does depends on position, on direction or on "
        f"the order of the poses; use layers of sepgconv.nn, or torch's that treat all positions and poses alike"
    )


def fault_window(call: Call, group: FiniteGroup) -> Window | None:
    """Return the window of a layer that its stride makes inexact on the map it was given, or None."""
    window = find_window(call.module)
    if window is None or not call.inputs or call.output is None or min(map(len, (_shape(call), call.output.shape))) < 4:
        return None
    before, after = _shape(call)[-2:], call.output.shape[-2:]
    broken = any(not window.is_exact(before[axis], after[axis], axis) for axis in reversed_axes(group))
    return window if broken else None


def _kind(call: Call) -> str:
    return type(call.module).__name__


def _shape(call: Call) -> tuple[int, ...]:
    return call.inputs[0].shape if call.inputs else ()


def _carried(carries: str) -> str:
    if carries.startswith(UNMOVED):
        return "every layer is exact, but not what the network makes of their output in the end"
    return (
        f"every layer is exact, but the output is {carries} and moves with the image; pool over poses "
        f"(GroupMaxPool, GroupMeanPool) and positions first, or give it as a feature map (batch, channel, pose, y, x)"
    )


def of_another_group(module: nn.Module, group: FiniteGroup) -> str:
    """Return that a layer is on a group without some elements of the one certified; empty if it is not."""
    own: Any = getattr(module, "group", None)
    if isinstance(own, FiniteGroup) and find_elements(own, group) is None:
        return (
            f"{type(module).__name__} is a layer on {own.name}, which does not have all elements of {group.name}; "
            f"build the network for {group.name}, or certify it for {own.name}"
        )
    in_type: Any = getattr(module, "in_type", None)
    if in_type is not None and hasattr(in_type, "gspace"):
        if field_action(group, in_type) is None:
            return (
                f"{type(module).__name__} is a layer on {in_type.gspace.name}, which does not have all elements of "
                f"{group.name}; build the network for that group, or certify it for its own"
            )
    return ""


def _asymmetric_kernel(call: Call, group: FiniteGroup, tolerance: float) -> str:
    weight: Any = getattr(call.module, "weight", None)
    if not isinstance(call.module, ORDINARY) or not isinstance(weight, Tensor):
        return ""
    kernels = weight.detach()
    if all(relative_error(act(group, g, kernels), kernels) <= tolerance for g in range(group.order)):
        return ""
    return (
        f"{_kind(call)} is an ordinary convolution, whose kernels are not symmetric under {group.name}; use "
        f"sepgconv.nn.LiftingConv2d on images, and GroupConv2d or SeparableGroupConv2d on feature maps"
    )


def _strided(call: Call, group: FiniteGroup, options: Mapping[str, Any]) -> str:
    window = fault_window(call, group)
    if window is None or call.output is None:
        return ""
    before, after = _shape(call)[-2:], call.output.shape[-2:]
    axis = next(a for a in reversed_axes(group) if not window.is_exact(before[a], after[a], a))
    k, s, p, d = window.along(axis)
    rule = f"({before[axis]} + 2*{p} - {d}*({k} - 1) - 1) mod {s} = {window.remainder(before[axis], axis)}, not 0"
    remedies = [f"a {other}" for other in window.replacements(before[axis], after[axis], axis)[:2]]
    unstrided = before[axis] + 2 * p - d * (k - 1)
    if not window.pools and unstrided % s == 0:
        named = " (downsampling='exact')" if options.get("downsampling") == "paper" else ""
        remedies.append(f"stride 1 and then a {s} x {s} pool of stride {s}{named}")
    instead = f"; exact on this size: {' or '.join(remedies)}" if remedies else ""
    return f"a stride of {s} on a map of {before[0]} x {before[1]}, where {rule}{instead}"


def _flattening(call: Call, options: Mapping[str, Any]) -> str:
    carries = next((value.best.carries for value in call.inputs if not value.best.natural), "")
    if not isinstance(call.module, nn.Linear | nn.Bilinear) or not carries:
        return ""
    if "pose" in carries or "feature map" in carries or carries.startswith("fields"):
        named = " (head='invariant')" if options.get("head") == "paper" else ""
        return (
            f"flattening head: poses are flattened into the classifier; take GroupMaxPool or GroupMeanPool first, "
            f"and pool over positions{named}"
        )
    return (
        "flattening head: positions are flattened into the classifier; pool over all positions first, as "
        "AdaptiveAvgPool2d(1) does"
    )


def _separate_affine(call: Call) -> str:
    if isinstance(call.module, NORMS) and any(value.best.carries == FOLDED for value in call.inputs):
        return (
            f"{_kind(call)} has another scale, shift or mean for each pose; use sepgconv.nn.GroupBatchNorm2d or "
            f"GroupLayerNorm, which share them"
        )
    return ""


def _in_between(calls: Sequence[Call], index: int) -> str:
    if not any(call.parent == index for call in calls):
        return ""
    return (
        f"between its layers: a step in the forward of {_kind(calls[index])} that is no module is not exact (a pool or "
        f"stride on a size it does not divide, a slice, a flattening, an addition that depends on the position)"
    )
