"""The networks of the paper, by name, and their storage."""

from sepgconv.models.blocks import group_convolution
from sepgconv.models.initialisation import INITIALISATIONS, initialise
from sepgconv.models.network import Network
from sepgconv.models.pretrained import list_pretrained, pretrained_record, register_pretrained
from sepgconv.models.registry import (
    MODELS,
    Entry,
    create_model,
    list_models,
    model_entry,
    rebuild_model,
    register_model,
    separable_name,
)

# Families in the order of `list_models`.
from sepgconv.models.rotmnist_cnn import RotMNISTCNN, RotMNISTCNNConfig  # isort: skip
from sepgconv.models.resnet44 import ResNet44, ResNet44Config  # isort: skip
from sepgconv.models.angle_cnn import AngleCNN, AngleCNNConfig  # isort: skip
from sepgconv.models.storage import load, save

__all__ = [
    "INITIALISATIONS",
    "MODELS",
    "AngleCNN",
    "AngleCNNConfig",
    "Entry",
    "Network",
    "ResNet44",
    "ResNet44Config",
    "RotMNISTCNN",
    "RotMNISTCNNConfig",
    "create_model",
    "group_convolution",
    "initialise",
    "list_models",
    "list_pretrained",
    "load",
    "model_entry",
    "pretrained_record",
    "rebuild_model",
    "register_model",
    "register_pretrained",
    "save",
    "separable_name",
]
