"""A certificate as the table and the sentence that people read."""

from typing import TYPE_CHECKING

from sepgconv._numbers import plural
from sepgconv._table import Table

if TYPE_CHECKING:
    from sepgconv.analysis.certify.certificate import Certificate


def certificate_table(certificate: "Certificate", network: str = "The network") -> Table:
    """Return a row for each layer.

    Args:
        certificate: what `certify` found.
        network: what to call the network.
    """
    rows = [
        (
            row.name,
            row.kind,
            "x".join(map(str, row.output_shape)),
            row.carries,
            f"{row.error:.1e}",
            "yes" if row.exact else "no",
        )
        for row in certificate.layers
    ]
    size = " x ".join(map(str, certificate.input_shape[-2:]))
    return Table(
        f"{network}, under {certificate.group}, on {size} images",
        ("layer", "kind", "output", "holds", "layer's relative error", "exact"),
        rows,
        left=4,
    )


def verdict(certificate: "Certificate") -> str:
    """Return in one sentence what a certificate says."""
    # Each layer's own stands in the table, under another name: rounding inside may be larger than what comes out.
    measured = f"worst relative error of the network's output {certificate.error:.1e}"
    over = f"over all elements of {certificate.group} and {plural(certificate.images, 'image')}"
    if not certificate.exact:
        return f"Not exact ({measured}, {over}): first at {certificate.first_fault}: {certificate.reason}."
    if not certificate.varies:
        return f"Nothing measured: its output is the same for all images, so no error shows ({measured}, {over})."
    return f"Exact: {measured}, {over}."
