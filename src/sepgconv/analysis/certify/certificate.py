"""certify: proof by measurement that a network commutes with a group, or the first layer that does not, and why."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv._arguments import accept_old_order, checked_input_shape
from sepgconv._table import Printed, Table
from sepgconv.analysis.certify import diagnosis
from sepgconv.analysis.certify.equivariance import relative_error
from sepgconv.analysis.certify.fields import is_field, wrap
from sepgconv.analysis.certify.float64_copy import float64_copy
from sepgconv.analysis.certify.sizes import UNFIT, sizes
from sepgconv.analysis.certify.table import certificate_table, verdict
from sepgconv.analysis.certify.tracing import Call, merge, trace
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as get_group

# Relative. Rounding in float64 is far below, faults far above; between them are filters that were made in float32 and
# are as symmetric as that allows, as those of e2cnn and those of exported networks.
TOLERANCE = 1e-6
BATCH = 4  # images at a time: what every layer gives for them is kept
# Images of another scale, and the errors on them that count. What was made in float32 is less exact where activations
# saturate; and a network says nothing that is so steep there that a relative change of its input by WIGGLE shows.
LOUD, LOUD_TOLERANCE, WIGGLE = 255.0, 1e-4, 1e-10
NEAR = 8  # sides to either side among which exact ones are looked for


@dataclass(frozen=True, slots=True)
class LayerCertificate:
    """One layer of a `Certificate`.

    Attributes:
        name: path of the module in the network; its class for the network itself.
        kind: its class.
        error: the worst relative error of its output, over all elements and images, under the action that suits it best
            (see `certify`). After a fault, it includes the error that the fault leaves.
        output_shape: of one image, without the batch axis.
        exact: whether the error is within the tolerance.
        carries: what the output holds: an image, a feature map, poses along its channels, a vector that does not move.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import certify
        >>> row = certify(torch.nn.Sequential(torch.nn.ReLU()), "p4", (1, 8, 8)).layers[-1]
        >>> row.name, row.kind, row.output_shape, row.exact, row.carries
        ('0', 'ReLU', (1, 8, 8), True, 'an image')
    """

    name: str
    kind: str
    error: float
    output_shape: tuple[int, ...]
    exact: bool
    carries: str


@dataclass(frozen=True, slots=True, repr=False)
class Certificate(Printed):
    """What `certify` found. It prints as the table of `sepgconv certify`, in a notebook too.

    Attributes:
        exact: whether the output commutes with every element, to `tolerance`.
        error: the worst relative error of the output; infinity where it has another shape for the moved image.
        first_fault: the first layer whose input was exact and whose output is not; None where the network is exact.
        reason: why, and what to use instead, in one sentence; empty where the network is exact.
        exact_sizes: where a stride is at fault: sides near that of the image, from the nearest on, at which every
            stride is exact, and at the first of which the network was measured to be exact.
        layers: a row for each call of a layer, in the order they ran.
        group: name of the group.
        input_shape: (channels, height, width) of the image.
        worst_element: the element with the worst error.
        images: images that were moved by every element, besides the two of another scale.
        tolerance: largest relative error that counts as exact.
        varies: whether the output differs between the images. If it does not, `exact` proves nothing; certify the
            network with other weights or real images.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import certify
        >>> certificate = certify(torch.nn.ReLU(), "p4", (1, 8, 8))
        >>> certificate.exact, certificate.first_fault, certificate.group, certificate.input_shape
        (True, None, 'p4', (1, 8, 8))
        >>> print(certificate)
        The network, under p4, on 8 x 8 images
        layer  kind  output  holds     layer's relative error  exact
        ────────────────────────────────────────────────────────────
        ReLU   ReLU  1x8x8   an image                 0.0e+00  yes
        <BLANKLINE>
        Exact: worst relative error of the network's output 0.0e+00, over all elements of p4 and 3 images.
    """

    exact: bool
    error: float
    first_fault: str | None
    reason: str
    exact_sizes: tuple[int, ...]
    layers: tuple[LayerCertificate, ...]
    group: str
    input_shape: tuple[int, ...]
    worst_element: int
    images: int
    tolerance: float
    varies: bool

    def _printed_parts(self) -> Sequence[Table | str]:
        return certificate_table(self), verdict(self)

    def to_dict(self) -> dict[str, Any]:
        """Return every field in types that JSON keeps; an infinite error becomes None."""
        values = asdict(self)
        for row in (values, *values["layers"]):
            row["error"] = row["error"] if math.isfinite(row["error"]) else None
        return values


@accept_old_order("model", "input_shape", "group")
def certify(
    model: nn.Module,
    group: FiniteGroup | str,
    input_shape: tuple[int, ...],
    *,
    inputs: Tensor | None = None,
    samples: int = 3,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> Certificate:
    """Measure, in float64, over every element of a group, how exactly a network and each of its layers commute with it.

    Works on any module whose input is one image: networks of this library, ordinary ones, and those of e2cnn, whose
    geometric tensors move as their field types say. A copy of the network is run, in evaluation mode.

    The output of the network must move as its shape says: an image (batch, channel, y, x) and a feature map (batch,
    channel, pose, y, x) with the image, a vector (batch, ...) of rank 2 or 3 not at all. A layer inside may carry
    poses in another way: the poses of a larger group, poses along the channels, a flattened map. Each row takes the way
    with the smallest error, so that a layer is at fault only if nothing that this library knows makes it exact. Modules
    that are not called, or that give no tensor, have no row.

    A branch may be zero for small pixel values and active for large ones, as behind a large negative bias. So a network
    that is exact is also run on two images with pixels of about 0 to 255. Errors above 1e-4 on them count as faults,
    and the rows then report these images; smaller ones change nothing. These two images are skipped where the network
    raises an error on them, gives numbers that are not finite, or amplifies rounding too much. Give `inputs` to certify
    on the images that the network is for.

    Args:
        model: the network, not changed.
        group: the group or its name.
        input_shape: (channels, height, width), without a batch axis. The two sides may differ; a rotation by 90 degrees
            exchanges them. A layer on feature maps takes (channels, poses, height, width).
        inputs: real images, (n, *input_shape), used besides the random ones.
        samples: random images, at least 2, with normal pixels.
        tolerance: largest relative error that counts as exact.
        seed: of the random images.

    Returns:
        The certificate. Memory: what every layer gives for four images, in float64.

    Raises:
        ValueError: the shape is not that of an image, the network cannot run on it (or on it rotated), inputs of
            another shape, weights or outputs that are not finite, an output that is no tensor.

    Example:
        >>> import sepgconv, torch
        >>> network = sepgconv.create_model("gc_p4cnn", width=2)
        >>> sepgconv.analysis.certify(network, "p4", (1, 28, 28)).exact
        True
        >>> ordinary = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Conv2d(1, 2, 3))
        >>> sepgconv.analysis.certify(ordinary, "p4", (1, 28, 28)).first_fault
        '1'
    """
    group = get_group(group)
    shape = checked_input_shape(input_shape, "certify", feature_maps=True)
    if samples < 2:
        raise ValueError(f"certify: samples must be at least 2, got {samples}")
    if not tolerance > 0:
        raise ValueError(f"certify: tolerance must be a number above 0, got {tolerance}")
    twin = float64_copy(model, "certify")
    generator = torch.Generator().manual_seed(seed)
    batches = list(torch.randn(samples, *shape, dtype=torch.float64, generator=generator).split(BATCH))
    if inputs is not None:
        batches += _real(inputs, shape).split(BATCH)
    calls = merge([_run(twin, batch, group) for batch in batches])
    error, worst = _worst(calls[0])
    images = sum(map(len, batches))
    exact, varies = error <= tolerance, calls[0].output is not None and calls[0].output.spread > 10 * tolerance
    bound, where = tolerance, ""
    loud = _faults_of_another_scale(twin, shape, group, generator, tolerance) if exact else None
    if loud is not None:
        calls, bound, where, exact = loud, max(tolerance, LOUD_TOLERANCE), f", on pixels of 0 to {LOUD:.0f}", False
        error, worst = _worst(calls[0])
    fault, reason, near = None if exact else diagnosis.find_fault(calls, bound), "", ()
    if fault is not None:
        reason = diagnosis.explain(calls, fault, group, bound) + where
        if diagnosis.fault_window(calls[fault], group) is not None and reason.startswith("a stride"):
            reason, near = _with_sizes(reason, twin, shape, group, tolerance)
    return Certificate(
        exact=exact,
        error=error,
        first_fault=None if fault is None else _name(calls[fault]),
        reason=reason,
        exact_sizes=near,
        layers=tuple(_rows(calls, fault, bound)),
        group=group.name,
        input_shape=shape,
        worst_element=worst,
        images=images,
        tolerance=tolerance,
        varies=varies,
    )


def _real(inputs: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(inputs.shape[1:]) != shape or len(inputs) == 0:
        raise ValueError(f"certify: inputs must be images (n, {', '.join(map(str, shape))}), got {tuple(inputs.shape)}")
    images = inputs.detach().to("cpu", torch.float64)
    if not bool(images.isfinite().all()):
        raise ValueError("certify: inputs hold values that are not finite (NaN or infinity)")
    return images


def _run(twin: nn.Module, batch: Tensor, group: FiniteGroup) -> list[Call]:
    size = " x ".join(map(str, batch.shape[1:]))
    try:
        calls = trace(twin, batch, group)
    except UNFIT as error:
        if isinstance(error, ValueError):
            raise  # already says what is wrong
        raise ValueError(
            f"certify: {type(twin).__name__} cannot run on images of {size}, as they are or moved by {group.name}: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    if calls[0].output is None:
        raise ValueError(
            f"certify: {type(twin).__name__} gives no tensor; wrap it in a module that returns the one to certify"
        )
    for index in diagnosis.leaves(calls):
        output = calls[index].output
        if output is not None and not output.finite and all(value.finite for value in calls[index].inputs):
            raise ValueError(
                f"certify: {_name(calls[index])} ({type(calls[index].module).__name__}) gives values that are not "
                f"finite on images of {size}, so nothing can be said of the network"
            )
    return calls


def _faults_of_another_scale(
    twin: nn.Module, shape: tuple[int, ...], group: FiniteGroup, generator: torch.Generator, tolerance: float
) -> list[Call] | None:
    """Return what every layer gives for two images of large pixels, if the network is not exact on them; else None."""
    positive, centred = (
        draw(shape, dtype=torch.float64, generator=generator) * scale
        for draw, scale in ((torch.rand, LOUD), (torch.randn, LOUD / 2))
    )
    images = torch.stack((positive, centred))
    try:
        calls = _run(twin, images, group)
        error = _worst(calls[0])[0]
        if error <= max(tolerance, LOUD_TOLERANCE):
            return None
        wiggled = images * (1 + WIGGLE * torch.randn(images.shape, dtype=torch.float64, generator=generator))
        steepness = relative_error(_output(twin, wiggled), _output(twin, images)) / WIGGLE
    except UNFIT:
        return None
    return calls if error > steepness * TOLERANCE else None


def _output(twin: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        output = twin(wrap(twin, images.clone()))
    return (output.tensor if is_field(output) else output).double()


def _worst(root: Call) -> tuple[float, int]:
    """Return the worst error of the output, under the natural action that suits best, and the element it is at."""
    if root.output is None:
        return math.inf, 0
    natural = [errors for action, errors in zip(root.output.actions, root.output.errors, strict=True) if action.natural]
    errors = min(natural, key=max)
    return max(errors), errors.index(max(errors))


def _with_sizes(
    reason: str, twin: nn.Module, shape: tuple[int, ...], group: FiniteGroup, tolerance: float
) -> tuple[str, tuple[int, ...]]:
    """Add to a reason the sides near the image's at which every stride is exact, and whether the network is then."""
    if len(shape) != 3:
        return reason, ()
    channels, side = shape[0], shape[-1]
    least, most = max(1, side - NEAR), side + NEAR
    try:
        near = list(sizes(twin, least, most, group=group, channels=channels))
    except ValueError:  # it runs on no square
        near = list[int]()
    near.sort(key=lambda other: abs(other - side))
    if not near:
        return f"{reason}; no side from {least} to {most} suits every stride", ()
    nearest = sorted(near[:4])
    listed = f"images of side {', '.join(map(str, nearest))} suit every stride"
    again = certify(twin, group, (channels, near[0], near[0]), samples=2, tolerance=tolerance)
    if again.exact:
        return f"{reason}; {listed}", tuple(near)
    return f"{reason}; {listed}, but there {again.first_fault} is at fault: {again.reason}", ()


def _rows(calls: list[Call], fault: int | None, tolerance: float) -> list[LayerCertificate]:
    rows: list[LayerCertificate] = []
    shown = set(diagnosis.leaves(calls))
    if fault is not None:
        shown.add(fault)
    for index in sorted(shown):
        call = calls[index]
        if call.output is None:
            continue
        error = call.output.error(natural=index == 0)
        rows.append(
            LayerCertificate(
                _name(call),
                type(call.module).__name__,
                error,
                call.output.shape[1:],
                error <= tolerance,
                call.output.best.carries,
            )
        )
    return rows


def _name(call: Call) -> str:
    return call.name or type(call.module).__name__
