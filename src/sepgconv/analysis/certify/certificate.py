"""certify: proof by measurement that a network commutes with a group, or the first layer that does not, and why."""

import math

import torch
from torch import Tensor, nn

from sepgconv._arguments import accept_old_order, checked_input_shape
from sepgconv.analysis.certify import diagnosis
from sepgconv.analysis.certify.between import IMAGES, LayerBetween, measure_between
from sepgconv.analysis.certify.errors import relative_error
from sepgconv.analysis.certify.fields import is_field, wrap
from sepgconv.analysis.certify.float64_copy import float64_copy
from sepgconv.analysis.certify.loss import explain_loss, most_losing
from sepgconv.analysis.certify.result import Certificate, ElementCertificate, LayerCertificate
from sepgconv.analysis.certify.sizes import UNFIT, sizes
from sepgconv.analysis.certify.subgroups import largest_subgroup
from sepgconv.analysis.certify.tracing import Call, merge, trace
from sepgconv.symmetry import FiniteGroup, element_names, subgroup_elements
from sepgconv.symmetry import group as get_group

# Relative. Rounding in float64 is far below, faults far above; between them are filters that were made in float32 and
# are as symmetric as that allows, as those of e2cnn and those of exported networks.
TOLERANCE = 1e-6
BATCH = 4  # images at a time: what every layer gives for them is kept
# Images of another scale, and the errors on them that count. What was made in float32 is less exact where activations
# saturate; and a network says nothing that is so steep there that a relative change of its input by WIGGLE shows.
LOUD, LOUD_TOLERANCE, WIGGLE = 255.0, 1e-4, 1e-10
NEAR = 8  # sides to either side among which exact ones are looked for


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
    channel, pose, y, x) with the image, a vector (batch, ...) of rank 2 or 3 not at all. A layer or network whose
    output turns otherwise says so by a method `output_matrices(group)`, which gives the matrices (|G|, d, d) that move
    the last axis of its output, as `sepgconv.nn.GroupToVector` does; that must then hold. A layer inside may carry
    poses in another way: the poses of a larger group, poses along the channels, a flattened map. Each row takes the way
    with the smallest error, so that a layer is at fault only if nothing that this library knows makes it exact. Modules
    that are not called, or that give no tensor, have no row.

    A branch may be zero for small pixel values and active for large ones, as behind a large negative bias. So a network
    that is exact is also run on two images with pixels of about 0 to 255. Errors above 1e-4 on them count as faults,
    and the rows then report these images; smaller ones change nothing. These two images are skipped where the network
    raises an error on them, gives numbers that are not finite, or amplifies rounding too much. Give `inputs` to certify
    on the images that the network is for.

    Elements that keep the pixel grid are compared pixel by pixel, and a network can be exact for them. Others, as
    rotations by 45 degrees, take pixels between pixels, for which no filter of pixels is exact. For these the images
    are random and band-limited, |w| < 0.75 pi radians per pixel with the energies of natural images, and written down
    rotated; every layer is compared at the pixel in the middle of its map, about which its image was rotated. So
    nothing is interpolated. Beside this error, which holds all that was lost before, stand that of the layer alone, on
    maps that are moved exactly, and what its filters account for by themselves. Where the elements of the grid are
    exact, elements that differ by one of them have the same error, and one of them is measured.

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
    # Elements that keep the pixel grid are compared pixel by pixel, under the group that they are.
    grid = largest_subgroup(group, group.grid_elements)
    within = subgroup_elements(group, grid)
    between = tuple(sorted(set(range(group.order)) - set(within)))
    generator = torch.Generator().manual_seed(seed)
    batches = list(torch.randn(samples, *shape, dtype=torch.float64, generator=generator).split(BATCH))
    if inputs is not None:
        batches += _real(inputs, shape).split(BATCH)
    calls = merge([_run(twin, batch, grid, group) for batch in batches])
    images = sum(map(len, batches))
    exact, varies = (
        _worst(calls[0]) <= tolerance,
        calls[0].output is not None and calls[0].output.spread > 10 * tolerance,
    )
    bound, where = tolerance, ""
    loud = _faults_of_another_scale(twin, shape, grid, group, generator, tolerance) if exact else None
    if loud is not None:
        calls, bound, where, exact = loud, max(tolerance, LOUD_TOLERANCE), f", on pixels of 0 to {LOUD:.0f}", False
    fault, reason, near = None if exact else diagnosis.find_fault(calls, bound), "", ()
    if fault is not None:
        reason = diagnosis.explain(calls, fault, grid, bound) + where
        if diagnosis.fault_window(calls[fault], grid) is not None and reason.startswith("a stride"):
            reason, near = _with_sizes(reason, twin, shape, grid, tolerance)
    moved = dict[int, LayerBetween]()
    if between:
        moved = measure_between(twin, shape, group, between, generator, exact=within if exact else (0,))
    errors = dict(zip(within, _output_errors(calls[0]), strict=True))
    errors |= dict(zip(between, moved[0].errors if moved else (), strict=True))
    kept = [g for g in range(group.order) if errors[g] <= (bound if g in within else tolerance)]
    losing = most_losing(calls, moved, group) if set(between) - set(kept) else None
    if losing is not None and fault is None:
        reason = explain_loss(calls[losing], moved[losing], group)
    worst = max(errors, key=lambda g: (errors[g], -g))
    return Certificate(
        exact=len(kept) == group.order,
        error=errors[worst],
        first_fault=None if fault is None else _name(calls[fault]),
        reason=reason,
        exact_sizes=near,
        layers=tuple(_rows(calls, fault, bound, moved)),
        group=group.name,
        input_shape=shape,
        worst_element=worst,
        images=images,
        tolerance=tolerance,
        varies=varies,
        exact_for=largest_subgroup(group, kept).name,
        elements=tuple(
            ElementCertificate(g, name, errors[g], g in kept, g in within)
            for g, name in enumerate(element_names(group))
        ),
        loses_most=None if losing is None else _name(calls[losing]),
        band_limited_images=IMAGES if between else 0,
    )


def _real(inputs: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(inputs.shape[1:]) != shape or len(inputs) == 0:
        raise ValueError(f"certify: inputs must be images (n, {', '.join(map(str, shape))}), got {tuple(inputs.shape)}")
    images = inputs.detach().to("cpu", torch.float64)
    if not bool(images.isfinite().all()):
        raise ValueError("certify: inputs hold values that are not finite (NaN or infinity)")
    return images


def _run(twin: nn.Module, batch: Tensor, group: FiniteGroup, asked: FiniteGroup) -> list[Call]:
    size = " x ".join(map(str, batch.shape[1:]))
    try:
        calls = trace(twin, batch, group, (asked,))
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
    twin: nn.Module,
    shape: tuple[int, ...],
    group: FiniteGroup,
    asked: FiniteGroup,
    generator: torch.Generator,
    tolerance: float,
) -> list[Call] | None:
    """Return what every layer gives for two images of large pixels, if the network is not exact on them; else None."""
    positive, centred = (
        draw(shape, dtype=torch.float64, generator=generator) * scale
        for draw, scale in ((torch.rand, LOUD), (torch.randn, LOUD / 2))
    )
    images = torch.stack((positive, centred))
    try:
        calls = _run(twin, images, group, asked)
        error = _worst(calls[0])
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


def _worst(root: Call) -> float:
    return max(_output_errors(root))


def _output_errors(root: Call) -> list[float]:
    """Return the error of the output at each element, under the natural action that suits best."""
    return [math.inf] if root.output is None else root.output.best_errors(natural=True)


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


def _rows(
    calls: list[Call], fault: int | None, tolerance: float, moved: dict[int, LayerBetween]
) -> list[LayerCertificate]:
    rows: list[LayerCertificate] = []
    shown = set(diagnosis.leaves(calls))
    if fault is not None:
        shown.add(fault)
    for index in sorted(shown):
        call, between = calls[index], moved.get(index)
        if call.output is None:
            continue
        error = call.output.error(natural=index == 0)
        rows.append(
            LayerCertificate(
                name=_name(call),
                kind=type(call.module).__name__,
                error=error,
                output_shape=call.output.shape[1:],
                exact=error <= tolerance,
                carries=call.output.best.carries,
                off_grid_errors=() if between is None else between.errors,
                own_error=None if between is None else between.alone,
                kernel_error=None if between is None else between.filters,
            )
        )
    return rows


def _name(call: Call) -> str:
    return call.name or type(call.module).__name__
