"""What the convolution layers share: planar arguments, bias, tables, printing, moving between devices."""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from sepgconv.functional.checks import check_channels
from sepgconv.functional.geometry import Pair, conv_geometry
from sepgconv.groups import FiniteGroup
from sepgconv.groups import group as find_group


class PlanarArguments(TypedDict):
    """The planar keyword arguments that a layer hands to its function."""

    stride: Pair
    padding: Pair
    dilation: Pair
    padding_mode: str


class GroupConvLayer(nn.Module):
    """Abstract: a convolution on a group; subclasses add weights, `_tables`, `reset_parameters` and `forward`.

    Arguments and attributes are those of `torch.nn.Conv2d`, and `group`, the `FiniteGroup`. The integer tables by which
    the group moves filters are plain attributes that follow the parameters to their device: `state_dict` holds
    parameters only.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        group: FiniteGroup | str,
        *,
        stride: int | Pair,
        padding: int | Pair | str,
        dilation: int | Pair,
        padding_mode: str,
    ) -> None:
        super().__init__()
        check_channels(type(self).__name__, in_channels=in_channels, out_channels=out_channels)
        self.in_channels, self.out_channels, self.group = in_channels, out_channels, find_group(group)
        self.geometry = conv_geometry(self.group, kernel_size, stride, padding, dilation, padding_mode)

    def _add_parameters(
        self,
        shapes: dict[str, tuple[int, ...]],
        *,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        """Register weights by name and shape, then the bias, and draw them."""
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.register_parameter(
            "bias", nn.Parameter(torch.empty(self.out_channels, device=device, dtype=dtype)) if bias else None
        )
        self.reset_parameters()
        self._build_tables()
        self.register_load_state_dict_post_hook(_rebuild_tables)

    def _tables(self, device: torch.device) -> Mapping[str, Any]:
        raise NotImplementedError  # abstract

    def _build_tables(self) -> None:
        # Ordinary tensors, also where the layer is built in inference mode: a later training step saves them. They are
        # no buffers: moving averages, `to_empty` and distributed training would average, erase or send them.
        with torch.inference_mode(False):
            for name, table in self._tables(next(self.parameters()).device).items():
                setattr(self, name, table)

    def reset_parameters(self) -> None:
        """Set the bias to zero; subclasses then draw their weights."""
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        # `.to(memory_format=torch.channels_last)` converts every parameter of rank 4 and 5 and fails on rank 5. A
        # memory format is a hint for maps; weights are shown with their last axes folded, so that they move and cast as
        # they are.
        def keep_layout(t: Tensor) -> Tensor:
            return fn(t.flatten(2)).view(t.shape) if t.ndim > 3 else fn(t)

        super()._apply(keep_layout, recurse)
        self._build_tables()  # on the device that the parameters are on now
        return self

    @property
    def kernel_size(self) -> Pair:
        """(height, width) of the planar kernel."""
        return self.geometry.kernel_size

    @property
    def stride(self) -> Pair:
        """Step in pixels along (y, x)."""
        return self.geometry.stride

    @property
    def padding(self) -> Pair:
        """Pixels added on either side along (y, x); "same" and "valid" are written out."""
        return self.geometry.padding

    @property
    def dilation(self) -> Pair:
        """Distance of kernel pixels along (y, x)."""
        return self.geometry.dilation

    @property
    def padding_mode(self) -> str:
        """How the padding is filled."""
        return self.geometry.padding_mode

    @property
    def _planar(self) -> PlanarArguments:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "padding_mode": self.padding_mode,
        }

    def extra_repr(self) -> str:
        """Return the arguments, those at their defaults left out, in the style of torch."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, group={self.group.name!r}"]
        defaults: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "padding_mode": "zeros"}
        parts += [f"{name}={getattr(self, name)!r}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join(parts + (["bias=False"] if self.bias is None else []))


def _rebuild_tables(module: nn.Module, incompatible_keys: object) -> None:
    # Loading with assign=True can bring the parameters to another device, away from "meta" for one.
    if isinstance(module, GroupConvLayer):
        module._build_tables()  # pyright: ignore[reportPrivateUsage] (a hook of this class, outside it so that it pickles)
