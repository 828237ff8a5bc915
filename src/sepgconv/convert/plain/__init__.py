"""Networks of the library as networks of ordinary layers, and as files of them; `plain` holds a rule for each layer."""

from sepgconv.convert.plain.layers import Plain, plain
from sepgconv.convert.plain.maps import Value

__all__ = ["Plain", "Value", "plain"]
