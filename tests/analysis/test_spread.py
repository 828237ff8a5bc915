import numpy as np
import pytest
import torch

from sepgconv.analysis import spread


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
def test_the_quartiles_are_those_of_numpy(count):
    values = torch.randn(count, dtype=torch.float64)
    found = spread(values)
    assert found.count == count
    assert found.mean == pytest.approx(float(values.mean()))
    expected = np.quantile(values.numpy(), [0.25, 0.5, 0.75])
    assert [found.lower, found.median, found.upper] == pytest.approx(expected.tolist())


def test_what_is_not_defined_is_left_out():
    values = torch.tensor([[1.0, torch.nan], [3.0, torch.nan]])
    assert (spread(values).count, spread(values).median) == (2, 2)
    assert spread(torch.full((3,), torch.nan)) is None
    assert spread(torch.empty(0)) is None
