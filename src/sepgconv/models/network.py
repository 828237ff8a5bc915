"""Network: what every model of the registry carries: its name, its config and the smallest picture it takes."""

from typing import Any, ClassVar

from torch import Tensor, nn

from sepgconv.functional.checks import check_image


class Network(nn.Module):
    """Abstract: a classifier of images.

    Attributes:
        name: its name in the registry, set by `create_model`.
        config: every option it was built with, JSON-able, set by `create_model`.
        in_channels: channels of the picture.
        smallest: the least height and width it takes.
        typical: the height and width of the pictures it was designed for.
    """

    name: str = ""
    config: dict[str, Any]
    in_channels: int
    smallest: ClassVar[int]
    typical: ClassVar[int]

    def check_pictures(self, x: Tensor) -> None:
        """Refuse what is no picture for this network.

        Raises:
            ValueError: another rank or number of channels, or smaller than `smallest`.
        """
        check_image(x, self.in_channels, self.name or type(self).__name__)
        if min(x.shape[-2:]) < self.smallest:
            raise ValueError(
                f"{self.name or type(self).__name__}: pictures of {x.shape[-2]} x {x.shape[-1]} are too small; "
                f"the smallest size is {self.smallest} x {self.smallest}"
            )
