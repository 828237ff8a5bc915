"""Network: what every model of the registry has: its name and config, its features, its head, the sizes it takes."""

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sepgconv.ops.checks import check_image


def check_classes(num_classes: object, caller: str) -> None:
    """Refuse a number of classes that is none.

    Raises:
        ValueError: it is no whole number, or negative.
    """
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 0:
        raise ValueError(
            f"{caller}: num_classes must be a positive integer, or 0 for a network without classifier; got "
            f"{num_classes!r}"
        )


def plain_config(config: Any) -> dict[str, Any]:
    """Return the fields of a config in types that JSON keeps.

    Args:
        config: a dataclass.
    """
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(config).items()
    }


class Network(nn.Module):
    """Abstract: a classifier of images, with the methods that networks of timm have.

    `forward` is `forward_head(forward_features(x))`. A subclass builds `classifier` with `_build_classifier` and adds
    `forward_features` and `pool_features`.

    Attributes:
        name: its name in the registry, set by `create_model`; "" for a network that was built from its config.
        config: every option it was built with, JSON-able.
        in_channels: channels of the image.
        num_classes: outputs; 0 where there is no classifier and the output are the pooled features.
        num_features: numbers that the classifier reads.
        classifier: `nn.Linear`, or `nn.Identity` without classes.
        smallest: the least height and width it takes.
        typical: the height and width of the images it was designed for.
    """

    name: str = ""
    config: dict[str, Any]
    in_channels: int
    num_classes: int
    num_features: int
    classifier: nn.Module
    smallest: ClassVar[int]
    typical: ClassVar[int]

    def check_pictures(self, x: Tensor) -> None:
        """Refuse what is no image for this network.

        Raises:
            ValueError: another rank or number of channels, or smaller than `smallest`.
        """
        check_image(x, self.in_channels, self.name or type(self).__name__)
        if min(x.shape[-2:]) < self.smallest:
            raise ValueError(
                f"{self.name or type(self).__name__}: pictures of {x.shape[-2]} x {x.shape[-1]} are too small; "
                f"the smallest size is {self.smallest} x {self.smallest}"
            )

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature maps, before any pooling of the head.

        Args:
            x: images (batch, in_channels, height, width).

        Returns:
            (batch, channel, pose, height', width'); they turn with the image wherever every stride is exact.

        Raises:
            ValueError: no images of this network, or too small ones.
        """
        raise NotImplementedError  # abstract

    def pool_features(self, maps: Tensor) -> Tensor:
        """Return what the classifier reads of the maps of `forward_features`: (batch, num_features)."""
        raise NotImplementedError  # abstract

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits, or what the classifier reads.

        Args:
            maps: from `forward_features`.
            pre_logits: whether to leave out the classifier.

        Returns:
            (batch, num_classes), or (batch, num_features) with `pre_logits` and for networks without classes.
        """
        pooled = self.pool_features(maps)
        return pooled if pre_logits else self.classifier(pooled)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: (batch, in_channels, height, width) -> (batch, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """Return the classifier."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new classifier, with random weights, in the place of the old one; in its dtype and on its device.

        Args:
            num_classes: outputs; 0 for none, so that the network gives its pooled features.

        Raises:
            ValueError: a negative number, or no whole one.
        """
        like = next(self.parameters())
        self._build_classifier(num_classes, device=like.device, dtype=like.dtype)
        self.classifier.train(self.training)
        self.config = {**self.config, "num_classes": num_classes}

    def _build_classifier(
        self, num_classes: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        check_classes(num_classes, self.name or type(self).__name__)
        self.num_classes = num_classes
        self.classifier = (
            nn.Linear(self.num_features, num_classes, device=device, dtype=dtype) if num_classes else nn.Identity()
        )
