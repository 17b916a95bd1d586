"""Transformers that turn pictures into features."""

from .blocks import ColorFeatures, HOGFeatures, TextureFeatures
from .convolution import ConvFeatures
from .rock import RockFeatures

__all__ = [
    "ColorFeatures",
    "ConvFeatures",
    "HOGFeatures",
    "RockFeatures",
    "TextureFeatures",
]
