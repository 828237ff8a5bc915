"""How exactly a network is equivariant, which layer is not and why, and on which sizes of input it can be."""

from sepgconv.analysis.certify.certificate import TOLERANCE, certify
from sepgconv.analysis.certify.equivariance import answer_changes, equivariance_error, move_output
from sepgconv.analysis.certify.result import Certificate, ElementCertificate, LayerCertificate
from sepgconv.analysis.certify.rotation import RotationCurve, rotation_curve
from sepgconv.analysis.certify.sizes import sizes
from sepgconv.analysis.certify.table import certificate_table, printed_parts, verdict

__all__ = [
    "TOLERANCE",
    "Certificate",
    "ElementCertificate",
    "LayerCertificate",
    "RotationCurve",
    "answer_changes",
    "certificate_table",
    "certify",
    "equivariance_error",
    "move_output",
    "printed_parts",
    "rotation_curve",
    "sizes",
    "verdict",
]
