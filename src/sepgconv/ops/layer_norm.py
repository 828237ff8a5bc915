"""Layer norm of every position over its channels and poses, by torch's kernel."""

from torch import Tensor
from torch.nn import functional as F

from sepgconv.conv.checks import check_eps
from sepgconv.ops.checks import check_feature_map, check_operands, check_per_channel


def normalize_positions(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, channels: int | None, *, caller: str
) -> Tensor:
    """Run `sepgconv.functional.group_layer_norm` on maps of so many channels, None for any; errors name the caller."""
    check_feature_map(x, channels, None, caller)
    check_eps(eps, caller)
    check_operands(x, caller, {"weight": weight, "bias": bias}, mixes=True)
    check_per_channel(caller, x.shape[1], weight=weight, bias=bias)
    width, poses = x.shape[1:3]
    scale, shift = (None if p is None else p.expand(poses, width) for p in (weight, bias))
    pixels = x.permute(0, 3, 4, 2, 1)  # (b, y, x, g, c)
    return F.layer_norm(pixels, (poses, width), scale, shift, eps).permute(0, 4, 3, 1, 2)
