"""Whether converted layers have the outputs of the modules of e2cnn or escnn that they were made from."""

import sys
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv._comparison import largest_difference, output_of, rounding
from sepgconv._modules import copy_network, home, reference_tensor
from sepgconv.analysis.certify.fields import wrap
from sepgconv.interop.e2cnn.fields import read_fields
from sepgconv.interop.e2cnn.mask import Mask

_SIDES = (17, 33, 65, 129)  # pixels; the first that the module takes


def compare(caller: str, place: str, module: Any, converted: nn.Module) -> None:
    """Run a module and what it was converted to on the same random fields, in evaluation mode, on copies.

    A module that takes none of the sizes tried is not compared, nor one whose library is not loaded.

    Args:
        caller: named in errors.
        place: of the module, for errors.
        module: of e2cnn or escnn.
        converted: what takes its place.

    Raises:
        ValueError: the outputs differ.
    """
    if f"{home(type(module))}.nn" not in sys.modules:  # an imitation, as for tests
        return
    theirs, ours = copy_network(module, caller).eval(), copy_network(converted, caller).eval()
    source, target = read_fields(module.in_type), read_fields(module.out_type)
    like = reference_tensor(module)
    expected, x = None, like
    # A mask is made for one size.
    sides = [int(part.mask.shape[-1]) for part in converted.modules() if isinstance(part, Mask)]
    for side in (*sides, *_SIDES):
        generator = torch.Generator().manual_seed(side)
        x = torch.randn(2, len(source.index), side, side, generator=generator, dtype=torch.float64).to(like)
        try:
            expected = output_of(lambda fields: theirs(wrap(theirs, fields)).tensor, x)
            break
        except (RuntimeError, ValueError, AssertionError, IndexError):  # too small for its windows
            continue
    if expected is None:
        return

    def run(fields: Tensor) -> Tensor:
        return target.to_theirs(ours(source.from_theirs(fields)))

    difference = largest_difference(output_of(run, x).to(expected.dtype), expected)
    # Their bases are sampled in single precision, also where the module is in double.
    if not difference <= max(rounding(x.dtype, x.device), rounding(torch.float32)):
        raise ValueError(
            f"{caller}: {place} would differ by {difference:.1e} of the largest output after the conversion; it does "
            f"something besides what its class does"
        )
