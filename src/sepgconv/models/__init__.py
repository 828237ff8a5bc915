"""The networks of the paper, by name, and their storage."""

from sepgconv.models.blocks import group_convolution
from sepgconv.models.initialisation import INITIALISATIONS, initialise
from sepgconv.models.network import Network
from sepgconv.models.registry import MODELS, Entry, create_model, list_models, model_entry, separable_name
from sepgconv.models.resnet44 import ResNet44, ResNet44Config
from sepgconv.models.rotmnist_cnn import RotMNISTCNN, RotMNISTCNNConfig
from sepgconv.models.storage import load, save

__all__ = [
    "INITIALISATIONS",
    "MODELS",
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
    "load",
    "model_entry",
    "save",
    "separable_name",
]
