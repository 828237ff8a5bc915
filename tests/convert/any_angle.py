"""A network of every kind of convolution, for groups of any angle."""

from torch import nn


def layers(package, group, kernel="auto", execution="fourier", width=2):
    """A network of every kind of convolution, kernels of even and odd sides, ranks 1 and 2."""
    snn, of = package.nn, {"kernel": kernel}
    return nn.Sequential(
        snn.LiftingConv2d(1, width, 3, group, padding=1, **of),
        snn.GroupBatchNorm2d(width),
        nn.ReLU(),
        snn.SeparableGroupConv2d(width, 3, 3, group, padding=1, execution=execution, **of),
        snn.GroupBatchNorm2d(3),
        nn.ReLU(),
        snn.SeparableGroupConv2d(3, width, 4, group, padding=2, execution=execution, rank=2, **of),
        nn.ReLU(),
        snn.GroupConv2d(width, width, 3, group, **of),
        snn.SeparableGroupConv2d(width, width, 3, group, padding=1, sharing="g", **of),
        nn.ReLU(),
        snn.DepthwiseGroupConv2d(width, 5, group, padding=2, **of),
        snn.DepthwiseSeparableGroupConv2d(width, width, 2, group, **of),
        snn.GroupMaxPool(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 3),
    )
