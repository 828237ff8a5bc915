"""How far the filters of a layer are from being rotated, by their responses to plane waves."""

import functools
import math
from typing import cast

import torch
from torch import Tensor, nn

from sepgconv.analysis.certify.subgroups import find_elements
from sepgconv.conv import ConvSpec
from sepgconv.symmetry import FiniteGroup, KernelBasis
from sepgconv.symmetry.steerable import BAND

RADII, ANGLES = 48, 96  # of the waves


def kernel_error(layer: nn.Module, group: FiniteGroup, element: int) -> float | None:
    """Return the relative error of the filters of a layer that an element has moved; None for layers without a spec.

    If the pixels of the filter K_g were those of K, moved, a wave w and the moved wave g w would give the same
    response: `error^2 = E_w |K_g^(g w) - K^(w)|^2 / E_w |K^(w)|^2`, with the mean over waves in the disc |w| < 0.75 pi
    with the energies of natural images, 1 / |w|^2, and over all filters of the layer (theory.md, Steerable kernels).

    Args:
        layer: any module.
        group: the group.
        element: of that group; None is returned where the layer's group does not have it.
    """
    spec, read_weights = getattr(layer, "spec", None), getattr(layer, "weights", None)
    if not isinstance(spec, ConvSpec) or not callable(read_weights):
        return None
    places = find_elements(group, spec.group)
    if places is None or len(set(spec.basis.size)) > 1:
        return None
    weights = cast("dict[str, Tensor]", read_weights())
    bank = spec.kind.bank(spec, weights).detach().to("cpu", torch.float64)
    error, response = _energies(spec.basis, places[element])
    rows = bank.reshape(-1, len(error))
    products = rows.T @ rows
    whole = float((products * response).sum())
    return math.sqrt(max(float((products * error).sum()), 0.0) / whole) if whole > 0 else 0.0


@functools.lru_cache(maxsize=256)
def _energies(basis: KernelBasis, element: int) -> tuple[Tensor, Tensor]:
    """Return the energies of error and response as quadratic forms in the weights of one filter, each (n, n)."""
    count = math.prod(basis.weight_shape)
    single = torch.eye(count, dtype=torch.float64).unflatten(-1, basis.weight_shape)
    filters = basis.expand(single)
    radii = (torch.arange(RADII, dtype=torch.float64) + 0.5) / RADII * BAND * math.pi
    angles = (torch.arange(ANGLES, dtype=torch.float64) + 0.5) / ANGLES * 2 * math.pi
    waves = radii[:, None, None] * torch.stack((angles.sin(), angles.cos()), -1)  # (radii, angles, 2), as (y, x)
    moved = waves @ torch.tensor(basis.group.matrices[element], dtype=torch.float64).T
    y, x = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2 for side in basis.size)
    pixels = torch.stack(torch.meshgrid(y, x, indexing="ij")).flatten(1)  # (2, taps)
    before = torch.exp(1j * (waves @ pixels)) @ filters[:, 0].flatten(1).T.to(torch.complex128)
    after = torch.exp(1j * (moved @ pixels)) @ filters[:, element].flatten(1).T.to(torch.complex128)
    scale = (1 / radii / (1 / radii).sum() / ANGLES).sqrt()[:, None, None]  # the spectrum times the area element

    def energy(responses: Tensor) -> Tensor:
        scaled = (responses * scale).flatten(0, 1)
        return (scaled.mH @ scaled).real

    return energy(after - before), energy(before)
