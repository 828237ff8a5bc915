"""What the work of an execution costs on a machine, in multiplications of a dense product."""

from dataclasses import dataclass

from sepgconv.conv.steps import Work

# A grouped convolution touches each number a few times only and is bound by memory, a dense product by arithmetic. On
# two CPU cores a multiplication of a depthwise or grouped convolution took 11 to 31 times as long as a dense one (p4
# and p4m, 8 to 38 channels, k 3, 4 and 7).
GROUPED_MAC_COST = 16
# A training step in the irreps, which keeps only its input and mixes once more in its backward pass, was as fast as the
# dense one that keeps everything from about 48 channels on for p4 and 32 for p4m: there the costs are equal.
BUTTERFLY_COST = 40
# The same for transforms by dense matrices, which take the time of a pass over memory: a training step was as fast as
# the dense one from about 128 channels on for C6, 64 for C8, and 35 for C16 and D8 (5 x 5, 28 x 28 pixels). That makes
# 280, 200 and 250.
TURN_COST = 245


@dataclass(frozen=True, slots=True)
class CostModel:
    """What `execution="auto"` counts, in multiplications of a dense product.

    Attributes:
        grouped_mac: a multiplication of a depthwise or grouped convolution.
        butterfly: an addition of a transform to the irreps or back.
        turn: a number that passes through a dense matrix in such a transform.

    Example:
        >>> from sepgconv.conv import Work
        >>> CostModel().cost(Work(dense=100, grouped=2, additions=1))
        172.0
    """

    grouped_mac: int | float = GROUPED_MAC_COST
    butterfly: int | float = BUTTERFLY_COST
    turn: int | float = TURN_COST

    def cost(self, work: Work) -> float:
        """Return what is compared."""
        transforms = self.butterfly * work.additions + self.turn * work.turned
        return float(work.dense + self.grouped_mac * work.grouped + transforms)


BUILT_IN = CostModel()
