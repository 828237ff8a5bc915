"""What `certify` found, as values that print."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sepgconv._table import Printed, Table
from sepgconv.analysis.certify.table import printed_parts


@dataclass(frozen=True, slots=True)
class ElementCertificate:
    """What `certify` found for one element of the group.

    Attributes:
        index: number of the element.
        name: what it does to an image, as in "turn by 45°".
        error: relative error of the network's output: the largest difference where the element keeps the pixel grid,
            the root mean square elsewhere.
        exact: whether the error is within the tolerance.
        keeps_grid: whether it was compared pixel by pixel, because it takes every pixel to a pixel.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import certify
        >>> element = certify(torch.nn.ReLU(), "C8", (1, 8, 8)).elements[1]
        >>> element.index, element.name, element.exact, element.keeps_grid
        (1, 'turn by 45°', True, False)
    """

    index: int
    name: str
    error: float
    exact: bool
    keeps_grid: bool


@dataclass(frozen=True, slots=True)
class LayerCertificate:
    """One layer of a `Certificate`.

    Attributes:
        name: path of the module in the network; its class for the network itself.
        kind: its class.
        error: the worst relative error of its output, over the elements that keep the pixel grid and all images, under
            the action that suits it best (see `certify`). After a fault, it includes the error that the fault leaves.
        output_shape: of one image, without the batch axis.
        exact: whether the error is within the tolerance.
        carries: what the output holds: an image, a feature map, poses along its channels, a vector that does not move.
        off_grid_errors: relative error (root mean square) of what it gives for band-limited images, for each element
            that takes pixels between pixels, in order; what the layers before it lost is in it.
        own_error: the worst error over these elements of the layer alone, on band-limited maps that are moved exactly;
            None where there is no such element, or the layer takes something else than one tensor.
        kernel_error: the worst error over these elements of its rotated filters, of their response to plane waves in
            the disc |w| < 0.75 pi with the energies of natural images; None for layers without filters on the group.

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
    off_grid_errors: tuple[float, ...] = ()
    own_error: float | None = None
    kernel_error: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Certificate(Printed):
    """What `certify` found. It prints as the table of `sepgconv certify`, in a notebook too.

    Attributes:
        exact: whether the output commutes with every element, to `tolerance`.
        error: the worst relative error of the output; infinity where it has another shape for the moved image.
        first_fault: the first layer whose input was exact and whose output is not, under the elements that keep the
            pixel grid; None where the network is exact for these.
        reason: why the network is not exact, and what to use instead, in one sentence: of `first_fault`, or else of
            `loses_most`. Empty where the network is exact.
        exact_sizes: where a stride is at fault: sides near that of the image, from the nearest on, at which every
            stride is exact, and at the first of which the network was measured to be exact.
        layers: a row for each call of a layer, in the order they ran.
        group: name of the group.
        input_shape: (channels, height, width) of the image.
        worst_element: the element with the worst error.
        images: images that were moved by every element that keeps the pixel grid, besides the two of another scale.
        tolerance: largest relative error that counts as exact.
        varies: whether the output differs between the images. If it does not, `exact` proves nothing; certify the
            network with other weights or real images.
        exact_for: name of the largest group that the network is exact for, as "C4" of a network on C8.
        elements: the error at each element.
        loses_most: of the elements that are not exact because they take pixels between pixels: the layer that alone
            has the largest error; None where there are none.
        band_limited_images: images that were moved by the elements that take pixels between pixels.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import certify
        >>> certificate = certify(torch.nn.ReLU(), "p4", (1, 8, 8))
        >>> certificate.exact, certificate.first_fault, certificate.exact_for, certificate.input_shape
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
    exact_for: str
    elements: tuple[ElementCertificate, ...]
    loses_most: str | None
    band_limited_images: int

    def _printed_parts(self) -> Sequence[Table | str]:
        return printed_parts(self)

    def to_dict(self) -> dict[str, Any]:
        """Return every field in types that JSON keeps; an infinite error becomes None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(each) for each in value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
