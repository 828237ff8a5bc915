"""Networks whose biases, scales and running statistics are not at their initial values."""

import itertools

import pytest
import torch


@pytest.fixture(scope="session")
def stir():
    """Give biases, scales and statistics of a network values of their own; return it in evaluation mode."""

    def stirred(model):
        with torch.no_grad():
            for tensor in itertools.chain(model.parameters(), model.buffers()):
                if tensor.ndim == 1 and tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5)
        return model.eval()

    return stirred
