"""Feature extraction from pictures."""

from .blocks import ColorFeatures, HOGFeatures, TextureFeatures
from .convolution import ConvFeatures
from .fisher import FisherFeatures
from .pattern import PatternFeatures
from .pretrained import PretrainedFeatures
from .rock import RockFeatures

__all__ = [
    "ColorFeatures",
    "ConvFeatures",
    "FisherFeatures",
    "HOGFeatures",
    "PatternFeatures",
    "PretrainedFeatures",
    "RockFeatures",
    "TextureFeatures",
]
