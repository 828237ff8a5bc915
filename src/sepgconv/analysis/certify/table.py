"""A certificate as the tables and the sentence that people read."""

from typing import TYPE_CHECKING

from sepgconv._numbers import plural
from sepgconv._table import Table

if TYPE_CHECKING:
    from sepgconv.analysis.certify.result import Certificate, LayerCertificate

MOST_ROWS = 16  # elements of a group that are listed one by one; of a larger one, those between the pixels


def printed_parts(certificate: "Certificate", network: str = "The network") -> tuple[Table | str, ...]:
    """Return all that is printed of a certificate, in order.

    Args:
        certificate: what `certify` found.
        network: what to call the network.
    """
    layers = certificate_table(certificate, network)
    if certificate.band_limited_images == 0:
        return layers, verdict(certificate)
    return layers, legend(certificate), element_table(certificate), verdict(certificate)


def certificate_table(certificate: "Certificate", network: str = "The network") -> Table:
    """Return a row for each layer.

    Where elements take pixels between pixels, three columns are about the worst of them: the error of what the layer
    gives, with all that the layers before it lost; that of the layer alone; and what its filters lose by themselves.

    Args:
        certificate: what `certify` found.
        network: what to call the network.
    """
    size = " x ".join(map(str, certificate.input_shape[-2:]))
    title = f"{network}, under {certificate.group}, on {size} images"
    if certificate.band_limited_images == 0:
        rows = [
            (*_named(row), row.carries, f"{row.error:.1e}", "yes" if row.exact else "no") for row in certificate.layers
        ]
        return Table(title, ("layer", "kind", "output", "holds", "layer's relative error", "exact"), rows, left=4)
    rows = [
        (
            *_named(row),
            f"{row.error:.1e}",
            "yes" if row.exact else "no",
            *map(_written, (max(row.off_grid_errors, default=None), row.own_error, row.kernel_error)),
        )
        for row in certificate.layers
    ]
    headings = ("layer", "kind", "output", "on the grid", "exact", "off the grid", "alone", "its filters")
    return Table(title, headings, rows, left=3)


def _named(row: "LayerCertificate") -> tuple[str, str, str]:
    return row.name, row.kind, "x".join(map(str, row.output_shape))


def legend(certificate: "Certificate") -> str:
    """Return what the columns are that tell of elements between the pixels."""
    count = sum(not element.keeps_grid for element in certificate.elements)
    return (
        f"Relative errors of what each layer gives. On the grid: the worst over the elements that keep the pixel grid. "
        f"Off the grid: the worst over the {count} elements that take pixels between pixels, root mean square, with "
        f"all that was lost before. Alone: of the layer itself, on maps that are moved exactly. Its filters: what its "
        f"rotated filters account for, by their responses to plane waves."
    )


def element_table(certificate: "Certificate") -> Table:
    """Return a row for each element, or, of large groups, for each that takes pixels between pixels.

    Args:
        certificate: what `certify` found.
    """
    rows = [
        (
            str(element.index),
            element.name,
            "on the grid" if element.keeps_grid else "off the grid",
            f"{element.error:.1e}" if element.keeps_grid else _written(element.error),
            "yes" if element.exact else "no",
        )
        for element in certificate.elements
        if len(certificate.elements) <= MOST_ROWS or not element.keeps_grid
    ]
    title = f"The elements of {certificate.group}"
    return Table(title, ("element", "what it does", "pixels go", "output's relative error", "exact"), rows, left=3)


def verdict(certificate: "Certificate") -> str:
    """Return in one sentence, or two, what a certificate says."""
    # Each layer's own stands in the table, under another name: rounding inside may be larger than what comes out.
    grid = [element for element in certificate.elements if element.keeps_grid]
    error = max(element.error for element in grid)
    measured = f"worst relative error of the network's output {error:.1e}"
    whole = len(grid) == len(certificate.elements)
    which = f"all elements of {certificate.group}" if whole else f"the {len(grid)} elements that keep the pixel grid"
    over = f"over {which} and {plural(certificate.images, 'image')}"
    between = "" if whole else f" {_between(certificate)}"
    if certificate.first_fault is not None:
        return f"Not exact ({measured}, {over}): first at {certificate.first_fault}: {certificate.reason}.{between}"
    if not certificate.varies:
        return f"Nothing measured: its output is the same for all images, so no error shows ({measured}, {over})."
    if certificate.exact:
        return f"Exact: {measured}, {over}.{between}"
    return f"Exact for {certificate.exact_for}: {measured}, {over}.{between}"


def _between(certificate: "Certificate") -> str:
    """Return what the elements change that take pixels between pixels."""
    elements = [element for element in certificate.elements if not element.keeps_grid]
    worst = max(elements, key=lambda element: element.error)
    over = f"{plural(certificate.band_limited_images, 'band-limited image')}"
    said = (
        f"The other {len(elements)} of {certificate.group} take pixels between pixels: error "
        f"{_written(worst.error)} at most (root mean square, {worst.name}, {over})"
    )
    layer = next((row for row in certificate.layers if row.name == certificate.loses_most), None)
    if layer is None:
        return f"{said}."
    lost = f"{said}; {layer.name} ({layer.kind}) loses most"
    lost = lost if layer.own_error is None else f"{lost}, {_written(layer.own_error)} alone"
    return f"{lost}." if certificate.first_fault is not None else f"{lost}: {certificate.reason}."


def _written(error: float | None) -> str:
    """Write an error that is no rounding as people compare them; a dash where there is none."""
    if error is None:
        return "-"
    if error == 0:
        return "0"
    return f"{error:.1e}" if error < 5e-4 else f"{error:.3f}"
