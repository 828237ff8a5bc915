"""Networks as ordinary torch layers, and as files. `plain` is the rule of each layer; register one for a layer of yours."""

from sepgconv.convert.plain.layers import Plain, plain
from sepgconv.convert.plain.maps import Value

__all__ = ["Plain", "Value", "plain"]
