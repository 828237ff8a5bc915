"""Random angles: how the generated rotated sets are made."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def random_angles(n: int, generator: np.random.Generator) -> Float[Tensor, "{n}"]:
    """Draw n angles uniformly from [0, 2 pi), in radians, float64."""
    return torch.from_numpy(generator.random(n) * (2 * math.pi))
