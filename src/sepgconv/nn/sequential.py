"""Sequential: torch's own, under the name that older code imports."""

from torch import nn


class Sequential(nn.Sequential):
    """`torch.nn.Sequential` and nothing more.

    Earlier versions looked for a batch norm, a ReLU and a separable convolution among the neighbours, and ran these as
    one step. The blocks `sepgconv.nn.NormActConv`, `ConvNormAct` and `ConvNormActSequential` do that now, and read the
    `state_dict` of a chain of the same modules.

    Args:
        args: modules, or one ordered dictionary of them, as for `torch.nn.Sequential`.

    Example:
        >>> from torch import nn
        >>> from sepgconv.nn import GroupMaxPool, LiftingConv2d, NormActConv, Sequential
        >>> model = Sequential(LiftingConv2d(3, 8, 3, "p4"), NormActConv(8, 8, 3, "p4"), GroupMaxPool())
        >>> isinstance(model, nn.Sequential)
        True
    """
