import pytest
import torch
from sklearn.decomposition import PCA

from sepgconv.analysis import pose_components, shuffle_kernels


@pytest.mark.parametrize("shape", [(2, 3, 4, 3, 3), (1, 2, 8, 3, 3), (2, 1, 8, 1, 3), (1, 1, 4, 5, 5)])
def test_the_shares_are_those_of_scikit_learn(shape):
    weight = torch.randn(shape)
    found = pose_components(weight)
    assert found.shape == (shape[0] * shape[1], shape[2])
    sets = weight.double().flatten(0, 1).flatten(2)
    for shares, kernels in zip(found, sets, strict=True):
        expected = PCA().fit(kernels.T.numpy()).explained_variance_ratio_  # pixels are samples, poses are features
        padded = torch.zeros(shape[2], dtype=torch.float64)
        padded[: len(expected)] = torch.from_numpy(expected)
        torch.testing.assert_close(shares, padded, rtol=1e-6, atol=1e-9)


def test_multiples_of_one_kernel_have_one_component():
    kernel, factors = torch.randn(5, 3, 1, 3, 3), torch.randn(5, 3, 4, 1, 1)
    torch.testing.assert_close(pose_components(kernel * factors)[:, 0], torch.ones(15, dtype=torch.float64))
    assert pose_components(torch.randn(5, 3, 4, 3, 3))[:, 0].max() < 0.99  # negative control


def test_standardised_shares_are_those_of_correlations():
    weight = torch.randn(2, 3, 4, 3, 3, dtype=torch.float64)
    for shares, kernels in zip(pose_components(weight, standardise=True), weight.flatten(0, 1).flatten(2), strict=True):
        torch.testing.assert_close(shares, torch.linalg.eigvalsh(torch.corrcoef(kernels)).flip(0) / 4)


def test_sizes_of_kernels_matter_only_where_they_are_not_standardised():
    weight = torch.randn(5, 3, 4, 3, 3)
    resized = weight * torch.tensor([100.0, 1.0, -1.0, 0.01]).view(4, 1, 1)
    assert pose_components(resized)[:, 0].min() > 0.99  # one kernel is nearly all, and resembles none
    torch.testing.assert_close(
        pose_components(resized, standardise=True), pose_components(weight, standardise=True), rtol=1e-5, atol=1e-6
    )
    assert pose_components(weight, standardise=True)[:, 0].max() < 0.9


@pytest.mark.parametrize("standardise", [False, True])
def test_constant_kernels_have_no_share(standardise: bool):
    weight = torch.randn(3, 1, 4, 3, 3)
    weight[0] = 0.1
    weight[1, 0, :2] = 0.1
    shares = pose_components(weight, standardise=standardise)
    assert shares[0].isnan().all()
    torch.testing.assert_close(shares[1, :2].sum(), torch.tensor(1.0, dtype=torch.float64))  # of two that vary
    assert not shares[2].isnan().any()


def test_rows_add_up_and_descend():
    shares = pose_components(torch.randn(4, 4, 8, 3, 3))
    torch.testing.assert_close(shares.sum(1), torch.ones(16, dtype=torch.float64))
    assert (shares.diff(dim=1) <= 0).all()


def test_a_wrong_rank_is_refused():
    with pytest.raises(ValueError, match=r"expected a filter bank \(out, in, \|G\|, k, k\), got \(3, 3\)"):
        pose_components(torch.randn(3, 3))


def test_shuffling_deals_the_same_kernels_anew():
    weight = torch.randn(4, 3, 1, 3, 3) * torch.randn(4, 3, 4, 1, 1)
    shuffled = shuffle_kernels(weight, torch.Generator().manual_seed(0))
    assert shuffled.shape == weight.shape
    kernels = [{tuple(kernel.flatten().tolist()) for kernel in bank.flatten(0, 2)} for bank in (weight, shuffled)]
    assert kernels[0] == kernels[1]
    assert pose_components(weight)[:, 0].mean() > 0.999
    assert pose_components(shuffled)[:, 0].mean() < 0.9
