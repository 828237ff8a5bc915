"""Errors on Rotated MNIST that others have published, each with how it was measured; all learned from 12,000 images."""

from dataclasses import dataclass
from typing import Literal

Choice = Literal["last epoch", "validation images", "test images", "not said"]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A network of others.

    Attributes:
        work: what it is called, and where it stands.
        error: on the 50,000 test images in percent.
        parameters: how many it has; None where the source does not say.
        chosen: what the epoch was chosen by, or the network.
        augmented: whether the training images were rotated.
        averaged: whether the answer is an average over several rotations of a test image.
    """

    work: str
    error: float
    parameters: int | None
    chosen: Choice
    augmented: bool
    averaged: bool = False


# Read in the sources that are named: papers, and where the protocol is concerned the code that was published with them.
PUBLISHED = (
    Published(
        work="Z2CNN (Cohen and Welling 2016)",
        error=5.03,
        parameters=22_000,
        chosen="validation images",
        augmented=False,
    ),
    Published(
        work="P4CNN (Cohen and Welling 2016)",
        error=2.28,
        parameters=25_000,
        chosen="validation images",
        augmented=False,
    ),
    Published(work="PDO-eConv (Shen et al. 2020)", error=1.87, parameters=26_000, chosen="not said", augmented=False),
    Published(work="PTN-S (Esteves et al. 2018)", error=1.83, parameters=27_000, chosen="not said", augmented=False),
    Published(
        work="gc-P4CNN (Lengyel and van Gemert 2021)",
        error=1.74,
        parameters=24_640,
        chosen="last epoch",
        augmented=False,
    ),
    Published(
        work="a-P4CNN (Romero et al. 2020)", error=1.70, parameters=73_000, chosen="test images", augmented=False
    ),
    Published(work="H-Net (Worrall et al. 2017)", error=1.69, parameters=33_000, chosen="not said", augmented=False),
    Published(work="DREN (Li et al. 2018)", error=1.56, parameters=25_000, chosen="not said", augmented=False),
    Published(
        work="E4-Net, large (He et al. 2021)", error=1.19, parameters=45_500, chosen="test images", augmented=True
    ),
    Published(work="PTN-B+ (Esteves et al. 2018)", error=1.14, parameters=129_000, chosen="not said", augmented=True),
    Published(
        work="PTN-B++ (the same)", error=0.95, parameters=129_000, chosen="not said", augmented=True, averaged=True
    ),
    Published(work="PTN-CNN-B+ (the same)", error=1.01, parameters=254_000, chosen="not said", augmented=True),
    Published(
        work="PTN-CNN-B++ (the same)", error=0.89, parameters=254_000, chosen="not said", augmented=True, averaged=True
    ),
    Published(
        work="SO(2), Fourier and ReLU, small head (Franzen and Wand 2021)",
        error=0.719,
        parameters=891_178,
        chosen="last epoch",
        augmented=True,
    ),
    Published(
        work="SO(2), Fourier and ReLU (the same)",
        error=0.685,
        parameters=1_394_986,
        chosen="last epoch",
        augmented=True,
    ),
    Published(
        work="E2CNN, C16 (Weiler and Cesa 2019)", error=0.716, parameters=2_692_690, chosen="last epoch", augmented=True
    ),
    Published(
        work="E2CNN, D16 then C16 (the same)", error=0.682, parameters=3_069_353, chosen="last epoch", augmented=True
    ),
)
