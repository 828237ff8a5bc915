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


@dataclass(frozen=True, slots=True)
class CostModel:
    """What `execution="auto"` counts, in multiplications of a dense product.

    Attributes:
        grouped_mac: a multiplication of a depthwise or grouped convolution.
        butterfly: an addition of a transform to the irreps or back.

    Example:
        >>> from sepgconv.conv import Work
        >>> CostModel().cost(Work(dense=100, grouped=2, additions=1))
        172.0
    """

    grouped_mac: int | float = GROUPED_MAC_COST
    butterfly: int | float = BUTTERFLY_COST

    def cost(self, work: Work) -> float:
        """Return what is compared."""
        return float(work.dense + self.grouped_mac * work.grouped + self.butterfly * work.additions)


BUILT_IN = CostModel()
