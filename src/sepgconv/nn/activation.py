"""ReLU as the blocks of this package build it."""

from torch import nn

from sepgconv.nn._hooks import ObservableModule


class ReLU(ObservableModule, nn.ReLU):
    """`torch.nn.ReLU` that knows whether hooks are registered on it; if not, a block may run it and others as one step.

    Shapes: any, unchanged.

    Args:
        inplace: whether to change the input.

    Example:
        >>> import torch
        >>> from sepgconv.nn import ReLU
        >>> ReLU()(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
