"""The certificate of every network of the registry at its typical size: which are exact, and why the others are not."""

import importlib

import pytest

import sepgconv
from sepgconv.analysis import certify

ORDINARY = ("z2cnn", "c_z2cnn", "resnet44")
STRIDED = ("p4m_resnet44", "g_p4m_resnet44", "gc_p4m_resnet44")

# The function of that name hides the package from a dotted path.
CERTIFICATE = importlib.import_module("sepgconv.analysis.certify.certificate")


def certificate_of(stirred_model, name, *, side=None, samples=2, **options):
    model = stirred_model(name, **options)
    group = model.config.get("group", "p4")
    side = side or model.input_size
    return certify(model, group, (model.in_channels, side, side), samples=samples)


@pytest.mark.parametrize("name", sepgconv.list_models())
def test_at_the_typical_size(stirred_model, name, monkeypatch, shallow_resnets):
    quick = name in STRIDED[1:]  # p4m, which they have by default, and many sizes take long; one of them is enough
    options = {"group": "p2"} if quick else {}
    if quick:
        monkeypatch.setattr(CERTIFICATE, "NEAR", 1)
    certificate = certificate_of(stirred_model, name, **options)
    assert certificate.varies
    if name in ORDINARY:
        assert certificate.first_fault in ("features.0.0", "stem")
        assert "is a layer on p1, which does not have all elements of p4" in certificate.reason
    elif name in STRIDED:
        assert certificate.group == options.get("group", "p4m")
        assert certificate.first_fault == "blocks.2.residual.0.2"
        assert "a stride of 2 on a map of 32 x 32" in certificate.reason
        assert "a 2 x 2 pool of stride 2 (downsampling='exact')" in certificate.reason
        assert f"images of side {'33' if quick else '25, 29, 33, 37'} suit every stride" in certificate.reason
        assert "but there classifier is at fault: flattening head: poses are flattened" in certificate.reason
        assert certificate.exact_sizes == ()
    else:
        assert certificate.first_fault is None
        on_grid = [element for element in certificate.elements if element.keeps_grid]
        assert max(element.error for element in on_grid) < 1e-12
        assert certificate.exact == (len(on_grid) == len(certificate.elements))
        assert certificate.exact_for == (certificate.group if certificate.exact else "C4")
        assert certificate.exact or certificate.loses_most is not None


@pytest.mark.parametrize(
    ("options", "side", "fault"),
    [
        ({"downsampling": "exact", "head": "invariant"}, 16, None),
        ({"downsampling": "paper", "head": "invariant"}, 17, None),
        ({"downsampling": "exact", "head": "paper"}, 16, "classifier"),
        ({"downsampling": "exact", "head": "invariant"}, 18, "blocks.4.residual.1"),
    ],
)
def test_resnets_otherwise(stirred_model, options, side, fault, monkeypatch, shallow_resnets):
    monkeypatch.setattr(CERTIFICATE, "NEAR", 2)
    certificate = certificate_of(stirred_model, "gc_p4m_resnet44", side=side, group="p4", **options)
    assert certificate.first_fault == fault
    if fault == "classifier":
        assert "take GroupMaxPool or GroupMeanPool first, and pool over positions (head='invariant')" in (
            certificate.reason
        )
    if side == 18:
        assert "a stride of 2 on a map of 9 x 9" in certificate.reason
        assert certificate.exact_sizes == (16, 20)
