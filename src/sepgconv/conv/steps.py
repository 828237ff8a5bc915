"""What an execution of a convolution is made of: its work, and its plain steps on folded maps."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from sepgconv.symmetry import GroupFFT
from sepgconv.symmetry.group_fft import IDENTITY

Steps = Literal["direct", "gc", "g"]


@dataclass(frozen=True, slots=True)
class Work:
    """What one image costs in an execution.

    Attributes:
        dense: multiplications of dense products.
        grouped: multiplications of depthwise and grouped convolutions, which filter or mix few maps each.
        additions: of the transforms to the irreps and back by butterflies.
        turned: numbers that pass through a dense matrix in those transforms.
        turn_macs: multiplications of these matrices; they take the time of a pass over memory, which `turned` counts.

    Example:
        >>> Work(dense=100, grouped=20).macs
        120
    """

    dense: int
    grouped: int = 0
    additions: int = 0
    turned: int = 0
    turn_macs: int = 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates that run."""
        return self.dense + self.grouped + self.turn_macs


class Lowered(NamedTuple):
    """A convolution on a group as plain steps on folded maps (batch, pose * channel, height, width).

    With channel groups the maps lie as (group, pose, channel of the group) within the steps.

    Attributes:
        steps: "direct", one planar convolution; "gc", a mixing of all maps and then a filter for each map; "g", a
            mixing of the poses of each channel and then filters that sum over channels.
        filters: of the planar convolution, (maps out, maps that a filter reads, *kernel).
        bias: (maps out,) or None.
        groups: torch's `groups` of the planar convolution; of steps "gc" the filters' first axis, with a filter for
            each term on the second.
        mixing: kernels of the 1x1 convolutions before, one for each size of block; none for "direct".
        transform: the Fourier transform around the mixing, `IDENTITY` for none.
        mixing_groups: torch's `groups` of each of those.

    Example:
        >>> import sepgconv
        >>> layer = sepgconv.nn.GroupConv2d(8, 16, 3, "p4")
        >>> layer.spec.kind.lower(layer.spec, layer.weights(), layer.bias, "direct").filters.shape
        torch.Size([64, 32, 3, 3])
    """

    steps: Steps
    filters: Tensor
    bias: Tensor | None
    groups: int
    mixing: tuple[Tensor, ...] = ()
    transform: GroupFFT = IDENTITY
    mixing_groups: tuple[int, ...] = (1,)
