"""Network: what every model of the registry has: its name and config, its features, its head, the sizes it takes."""

import dataclasses
import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sepgconv.ops.checks import check_image


def check_classes(num_classes: object, caller: str) -> None:
    """Raise if a value is no number of classes.

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


def _warn_of_old_name(old: str, new: str) -> None:
    warnings.warn(
        f"Network.{old} is called {new} now; the old name goes with the next release", DeprecationWarning, stacklevel=3
    )


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
        min_input_size: the least height and width it takes, in pixels.
        input_size: the height and width of the images it was designed for, in pixels.

    Example:
        >>> import torch
        >>> from sepgconv import create_model
        >>> model = create_model("gc_p4cnn", width=8, in_chans=3, num_classes=0)
        >>> images = torch.zeros(2, 3, model.input_size, model.input_size)
        >>> maps = model.forward_features(images)  # (batch, channel, pose, height, width)
        >>> maps.shape
        torch.Size([2, 8, 4, 1, 1])
        >>> model.forward_head(maps).shape  # no classes: the pooled features
        torch.Size([2, 8])
        >>> model.reset_classifier(5)
        >>> model(images).shape
        torch.Size([2, 5])
    """

    name: str = ""
    config: dict[str, Any]
    in_channels: int
    num_classes: int
    num_features: int
    classifier: nn.Module
    min_input_size: ClassVar[int]
    input_size: ClassVar[int]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old, new in (("smallest", "min_input_size"), ("typical", "input_size")):
            if old in vars(cls):
                _warn_of_old_name(old, new)
                setattr(cls, new, vars(cls)[old])
                delattr(cls, old)

    @property
    def smallest(self) -> int:
        """Return `min_input_size`, under its old name."""
        _warn_of_old_name("smallest", "min_input_size")
        return self.min_input_size

    @property
    def typical(self) -> int:
        """Return `input_size`, under its old name."""
        _warn_of_old_name("typical", "input_size")
        return self.input_size

    def check_pictures(self, x: Tensor) -> None:
        """Check images, under the old name of the method."""
        _warn_of_old_name("check_pictures", "check_images")
        self.check_images(x)

    def check_images(self, x: Tensor) -> None:
        """Raise if the network cannot take these images.

        Raises:
            ValueError: another rank or number of channels, or smaller than `min_input_size`.
        """
        check_image(x, self.in_channels, self.name or type(self).__name__)
        if min(x.shape[-2:]) < self.min_input_size:
            raise ValueError(
                f"{self.name or type(self).__name__}: images of {x.shape[-2]} x {x.shape[-1]} are too small; "
                f"the smallest size is {self.min_input_size} x {self.min_input_size}"
            )

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature maps, before any pooling of the head.

        Args:
            x: images (batch, in_channels, height, width).

        Returns:
            (batch, channel, pose, height', width'); they rotate with the image wherever every stride is exact.

        Raises:
            ValueError: no images of this network, or too small ones.
        """
        raise NotImplementedError  # abstract: each family has its own; `forward` and the heads are shared

    def pool_features(self, maps: Tensor) -> Tensor:
        """Return what the classifier reads of the maps of `forward_features`: (batch, num_features)."""
        raise NotImplementedError  # abstract: each family has its own; `forward` and the heads are shared

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
