"""FieldBridge: a converted module inside a forward that still uses geometric tensors."""

from typing import Any

from torch import nn

from sepgconv.interop.e2cnn.fields import read_fields


class FieldBridge(nn.Module):
    """A converted module that takes and gives geometric tensors, so that it fits where the original stood.

    Args:
        body: the converted module.
        in_type: the field type of the original's input.
        out_type: that of its output.
    """

    def __init__(self, body: nn.Module, in_type: Any, out_type: Any) -> None:
        super().__init__()
        self.body, self.in_type, self.out_type = body, in_type, out_type
        self._source, self._target = read_fields(in_type), read_fields(out_type)

    def forward(self, x: Any) -> Any:
        """Unwrap, run, and wrap again in the class of the input.

        Args:
            x: a `GeometricTensor` of `in_type`.

        Returns:
            A `GeometricTensor` of `out_type`.

        Raises:
            ValueError: another field type.
        """
        if x.type != self.in_type:
            raise ValueError(f"FieldBridge: expected a tensor of {self.in_type}, got one of {x.type}")
        y = self.body(self._source.from_theirs(x.tensor))
        return type(x)(self._target.to_theirs(y), self.out_type)
