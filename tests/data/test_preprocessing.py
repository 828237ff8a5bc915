import math

import numpy as np
import pytest
import torch
from torch import nn

from sepgconv.data import build_preprocessing
from sepgconv.data.preprocessing import GcnZca, Identity, contrast_normalize, fit_gcn_zca, preprocess_pixels


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    smooth = nn.functional.avg_pool2d(torch.rand(300, 3, 9, 8, generator=generator), 3, stride=1)
    return (smooth * 255).byte()  # (300, 3, 7, 6): neighbours are correlated, as in photographs


def test_contrast_normalisation_from_the_definition(pixels: torch.Tensor):
    normalised = contrast_normalize(pixels).numpy()
    for image, result in zip(pixels.numpy()[:5].astype(np.float64), normalised, strict=False):
        centred = image - image.sum() / image.size
        expected = 55 * centred / math.sqrt(sum(float(v) ** 2 for v in centred.flat))
        np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


def test_contrast_normalisation_ignores_unit_and_offset(pixels: torch.Tensor):
    torch.testing.assert_close(contrast_normalize(pixels / 255), contrast_normalize(pixels), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_an_image_of_one_value_becomes_zero(value: float):
    assert float(contrast_normalize(torch.full((1, 3, 32, 32), value)).abs().max()) < 1e-6


def test_whitening_from_the_definition(pixels: torch.Tensor):
    fitted = fit_gcn_zca(pixels)
    data = contrast_normalize(pixels).flatten(1).numpy()
    covariance = np.cov(data.T, bias=True)
    inverse = np.linalg.inv(covariance + 0.1 * np.eye(len(covariance)))
    whitening = fitted.whitening.double().numpy()
    np.testing.assert_allclose(whitening @ whitening, inverse, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_less(0, np.linalg.eigvalsh(whitening))  # the positive root, not another
    np.testing.assert_allclose(fitted.mean.flatten(), data.mean(0), rtol=1e-5, atol=1e-5)
    result = preprocess_pixels(fitted, pixels).flatten(1).numpy()
    np.testing.assert_allclose(result, (data - data.mean(0)) @ whitening, rtol=1e-3, atol=1e-4)


def test_whitened_images_are_uncorrelated(pixels: torch.Tensor):
    def off_diagonal(images: torch.Tensor) -> float:
        correlation = np.corrcoef(images.flatten(1).numpy().T)
        return float(np.abs(correlation - np.eye(len(correlation))).max())

    assert off_diagonal(pixels.double()) > 0.5
    assert off_diagonal(preprocess_pixels(fit_gcn_zca(pixels), pixels)) < 0.25


def test_parts_and_repetition_change_nothing(pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch):
    whole = fit_gcn_zca(pixels)
    assert torch.equal(fit_gcn_zca(pixels).whitening, whole.whitening)
    monkeypatch.setattr("sepgconv.data.preprocessing._CHUNK", 64)
    torch.testing.assert_close(fit_gcn_zca(pixels).whitening, whole.whitening, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(preprocess_pixels(whole, pixels), whole(pixels / 255), rtol=1e-5, atol=1e-5)


def test_a_module_is_rebuilt_from_its_state(pixels: torch.Tensor):
    fitted = fit_gcn_zca(pixels)
    rebuilt = build_preprocessing(fitted.name, fitted.state_dict())
    images = pixels[:3] / 255
    assert torch.equal(rebuilt(images), fitted(images))
    assert not torch.equal(rebuilt(images), images)
    identity = build_preprocessing("identity", Identity().state_dict())
    assert identity.name == "identity"
    assert torch.equal(identity(images), images)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="unknown preprocessing 'gcn-zcaa'; did you mean 'gcn-zca'"):
        build_preprocessing("gcn-zcaa", {})
    with pytest.raises(ValueError, match=r"expected a state of \['mean', 'whitening'\], got \['mean'\]"):
        build_preprocessing("gcn-zca", {"mean": torch.zeros(1, 2, 2)})
    with pytest.raises(ValueError, match=r"expected a state of \[\], got \['mean'\]"):
        build_preprocessing("identity", {"mean": torch.zeros(1, 2, 2)})
    with pytest.raises(ValueError, match="square matrix of its size"):
        GcnZca(torch.zeros(1, 2, 2), torch.eye(3))
    with pytest.raises(ValueError, match=r"fitted on images of shape \(1, 2, 2\); got a batch \(5, 1, 3, 2\)"):
        GcnZca(torch.zeros(1, 2, 2), torch.eye(4))(torch.zeros(5, 1, 3, 2))
