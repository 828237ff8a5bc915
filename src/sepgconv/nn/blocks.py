"""Blocks of a convolution, a normalisation and an activation, as timm's `ConvNormAct`, that keep less for backward.

In training, where every module of it is one that the block knows, a block runs several modules as one step:

| block | one step | kept for backward instead |
| --- | --- | --- |
| `NormActConv` | norm, ReLU and a `SeparableGroupConv2d` that recomputes | the input, of two maps |
| `ConvNormAct` | norm and ReLU | the input of the norm, of two maps |
| `ConvNormActSequential` | norm and ReLU of a block and the convolution of the next | as `NormActConv` |

The numbers are the same. A module runs by itself, called like any other, if hooks are registered on it, if its
`forward` was replaced, or if it is of any class but `GroupBatchNorm2d`, `sepgconv.nn.ReLU` and `SeparableGroupConv2d`
themselves: a subclass, a parametrised layer, `SyncBatchNorm`.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from sepgconv.conv.checks import check_probability
from sepgconv.nn._hooks import ObservableModule, all_modules_are_observed
from sepgconv.nn.activation import ReLU
from sepgconv.nn.normalization import GroupBatchNorm2d, GroupDropout
from sepgconv.nn.separable import SeparableGroupConv2d
from sepgconv.ops.dispatch import is_compiling
from sepgconv.symmetry import FiniteGroup

Layer = Callable[..., nn.Module]


def _runs_joint(norm: nn.Module, act: nn.Module) -> bool:
    """Return whether norm and activation may run as one step: in training, or for a compiler with its slow ReLU."""
    if type(norm) is not GroupBatchNorm2d or type(act) is not ReLU or norm.is_observed or act.is_observed:
        return False
    return (norm.training or is_compiling()) and not all_modules_are_observed()


def run_norm_act(norm: nn.Module, act: nn.Module, x: Tensor) -> Tensor:
    """Run a norm and an activation, as one step where that keeps less for backward."""
    if _runs_joint(norm, act):
        norm = cast("GroupBatchNorm2d", norm)
        return norm.normalize(x, norm.begin(x), relu=True)
    return act(norm(x))


def run_norm_act_conv(norm: nn.Module, act: nn.Module, conv: nn.Module, x: Tensor) -> Tensor:
    """Run a norm, an activation and a convolution, as one step where that keeps less for backward."""
    if is_compiling():
        return conv(run_norm_act(norm, act, x))
    if type(conv) is SeparableGroupConv2d and not conv.is_observed and _runs_joint(norm, act):
        return conv(x, pre_norm_act=cast("GroupBatchNorm2d", norm).begin(x))
    return conv(act(norm(x)))  # the convolution keeps what comes in: to join norm and activation would save nothing


class _Block(ObservableModule, nn.Sequential):
    """Abstract: three children whose names are their places, so that `state_dict` is that of a plain chain of them."""

    joint: bool
    _PLACES: ClassVar[tuple[str, ...]]  # of the names above, in the order of the steps

    def __init__(
        self,
        conv: nn.Module,
        norm: nn.Module,
        act: nn.Module,
        *,
        drop: float,
        drop_before: str | None,
        joint: bool,
    ) -> None:
        check_probability(drop, type(self).__name__)
        layers = {"conv": conv, "norm": norm, "act": act}
        steps: OrderedDict[str, nn.Module] = OrderedDict()
        for place, name in enumerate(self._PLACES):
            if drop and name == drop_before:
                steps["drop"] = GroupDropout(drop)
            steps[str(place)] = layers[name]
        if drop and drop_before is None:
            steps["drop"] = GroupDropout(drop)
        super().__init__(steps)
        self.joint = joint

    @property
    def conv(self) -> nn.Module:
        """Return the convolution."""
        return self.get_submodule(self._place("conv"))

    @property
    def norm(self) -> nn.Module:
        """Return the normalisation."""
        return self.get_submodule(self._place("norm"))

    @property
    def act(self) -> nn.Module:
        """Return the activation."""
        return self.get_submodule(self._place("act"))

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(self._place(name), value)

    def __getitem__(self, idx: Any) -> Any:
        """Return one child, or several as a `torch.nn.Sequential`."""
        if isinstance(idx, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[idx]))
        return super().__getitem__(idx)

    @classmethod
    def _place(cls, name: str) -> str:
        return str(cls._PLACES.index(name)) if name in cls._PLACES else name

    @property
    def is_whole(self) -> bool:
        """Return whether the block has its three children and no more, and `joint`: it may run several as one step."""
        return self.joint and len(self) == len(self._PLACES)


def _built(
    shape: tuple[int, int, int | tuple[int, int], FiniteGroup | str],
    channels: int,
    conv_layer: Layer,
    norm_layer: Layer,
    act_layer: Layer,
    options: dict[str, Any],
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Build convolution, norm and activation; device and dtype among the options are of the norm too."""
    factory = {key: options[key] for key in ("device", "dtype") if key in options}
    act = ReLU if act_layer is nn.ReLU else act_layer  # the one that knows its hooks
    return conv_layer(*shape, **options), norm_layer(channels, **factory), act()


class ConvNormAct(_Block):
    """A convolution, a normalisation and an activation, as timm's `ConvNormAct`.

    A `torch.nn.Sequential` of the three under the names "0", "1" and "2", so that it reads the `state_dict` of such a
    chain; `conv`, `norm` and `act` are further names of them. In training norm and ReLU run as one step, which keeps
    only the input of the norm. Hooks on any of the modules fire as in a plain chain; each module then runs by itself.
    So do hooks that are registered on all modules at once, but for those of `register_module_full_backward_hook`, which
    nobody can see without registering one: they fire on the block and its convolution only, unless `joint` is False.
    Shapes: those of the convolution.

    Args:
        in_channels: channels that come in.
        out_channels: channels that go out.
        kernel_size: side of the kernel.
        group: a `FiniteGroup` or its name.
        conv_layer: what builds the convolution, called as `conv_layer(in_channels, out_channels, kernel_size, group)`.
        norm_layer: what builds the norm from the number of channels.
        act_layer: what builds the activation, without arguments; `nn.ReLU` is built as `sepgconv.nn.ReLU`.
        drop: probability of a channel to be dropped after the activation; 0 for no dropout.
        joint: whether several modules may run as one step; an attribute, which may be changed.
        conv_options: further options of the convolution; `device` and `dtype` are of the norm too.

    Raises:
        ValueError: drop is no probability, or as the convolution and the norm.

    Example:
        >>> import torch
        >>> from sepgconv.nn import ConvNormAct, LiftingConv2d
        >>> block = ConvNormAct(3, 8, 3, "p4", conv_layer=LiftingConv2d, padding=1)
        >>> block(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 8, 4, 16, 16])
        >>> block.norm.num_features
        8
        >>> list(block.state_dict())[:3]
        ['0.weight', '0.bias', '1.weight']
    """

    _PLACES = ("conv", "norm", "act")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        group: FiniteGroup | str,
        *,
        conv_layer: Layer = SeparableGroupConv2d,
        norm_layer: Layer = GroupBatchNorm2d,
        act_layer: Layer = ReLU,
        drop: float = 0.0,
        joint: bool = True,
        **conv_options: Any,
    ) -> None:
        shape = (in_channels, out_channels, kernel_size, group)
        layers = _built(shape, out_channels, conv_layer, norm_layer, act_layer, conv_options)
        super().__init__(*layers, drop=drop, drop_before=None, joint=joint)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve, normalise, activate."""
        if not self.is_whole:
            return super().forward(input)
        return run_norm_act(self.norm, self.act, self.conv(input))


class NormActConv(_Block):
    """A normalisation, an activation and a convolution: the order of pre-activation networks (He et al. 2016).

    A `torch.nn.Sequential` of the three under the names "0", "1" and "2", so that it reads the `state_dict` of such a
    chain; `norm`, `act` and `conv` are further names of them. In training all three run as one step, if the convolution
    is a `SeparableGroupConv2d` that recomputes, and only the input is kept for backward. Hooks are respected as in
    `ConvNormAct`. Shapes: those of the convolution.

    Args:
        in_channels: channels that come in, and that the norm has.
        out_channels: channels that go out.
        kernel_size: side of the kernel.
        group: a `FiniteGroup` or its name.
        conv_layer: what builds the convolution, called as `conv_layer(in_channels, out_channels, kernel_size, group)`.
        norm_layer: what builds the norm from the number of channels.
        act_layer: what builds the activation, without arguments; `nn.ReLU` is built as `sepgconv.nn.ReLU`.
        drop: probability of a channel to be dropped before the convolution; 0 for no dropout, without which alone all
            three can be one step.
        joint: whether several modules may run as one step; an attribute, which may be changed.
        conv_options: further options of the convolution; `device` and `dtype` are of the norm too.

    Raises:
        ValueError: drop is no probability, or as the convolution and the norm.

    Example:
        >>> import torch
        >>> from sepgconv.nn import NormActConv
        >>> block = NormActConv(8, 16, 3, "p4", padding=1, sharing="gc")
        >>> block(torch.zeros(2, 8, 4, 16, 16)).shape
        torch.Size([2, 16, 4, 16, 16])
        >>> type(block.conv).__name__
        'SeparableGroupConv2d'
    """

    _PLACES = ("norm", "act", "conv")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        group: FiniteGroup | str,
        *,
        conv_layer: Layer = SeparableGroupConv2d,
        norm_layer: Layer = GroupBatchNorm2d,
        act_layer: Layer = ReLU,
        drop: float = 0.0,
        joint: bool = True,
        **conv_options: Any,
    ) -> None:
        shape = (in_channels, out_channels, kernel_size, group)
        layers = _built(shape, in_channels, conv_layer, norm_layer, act_layer, conv_options)
        super().__init__(*layers, drop=drop, drop_before="conv", joint=joint)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise, activate, convolve."""
        if not self.is_whole:
            return super().forward(input)
        return run_norm_act_conv(self.norm, self.act, self.conv, input)


class ConvNormActSequential(nn.Sequential):
    """`torch.nn.Sequential` in which norm and ReLU of a `ConvNormAct` run with the convolution of the next one.

    So a chain of `ConvNormAct` keeps as little for backward as one of `NormActConv`, under the names that its blocks
    have. It does so in training, for blocks without hooks, without dropout and with `joint`; everything else in it, as
    pools, runs by itself. Shapes: those of its modules.

    Args:
        args: modules, or one ordered dictionary of them, as for `torch.nn.Sequential`.

    Example:
        >>> import torch
        >>> from sepgconv.nn import ConvNormAct, ConvNormActSequential, MaxPool2d
        >>> chain = ConvNormActSequential(ConvNormAct(4, 8, 3, "p4"), ConvNormAct(8, 8, 3, "p4"), MaxPool2d(2))
        >>> chain(torch.zeros(2, 4, 4, 12, 12)).shape
        torch.Size([2, 8, 4, 4, 4])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Run the modules one after the other."""
        if not self.training or all_modules_are_observed():
            return super().forward(input)
        begun: ConvNormAct | None = None  # a block that has run its convolution only
        for step in self:
            block = step if type(step) is ConvNormAct and step.is_whole and not step.is_observed else None
            if begun is not None and block is not None:
                input = run_norm_act_conv(begun.norm, begun.act, block.conv, input)
            else:
                input = input if begun is None else run_norm_act(begun.norm, begun.act, input)
                input = step(input) if block is None else block.conv(input)
            begun = block
        return input if begun is None else begun.act(begun.norm(input))
