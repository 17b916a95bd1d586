"""Tell what rock a picture shows, and where else that pattern occurs."""

from importlib.metadata import version as _version

from .augment import Augmentation
from .classify import classify_files, evaluate_classifier, holdout, train_classifier
from .cluster import KMeansModel
from .datasets import fetch_geological_similarity, make_rocks, write_rocks
from .distance import PairwiseModel
from .etl import Images, Labels
from .evaluate import (
    classification_table,
    disturbance_table,
    disturbances,
    expected_calibration_error,
    reliability_curve,
)
from .features import (
    ColorFeatures,
    ConvFeatures,
    HOGFeatures,
    RockFeatures,
    TextureFeatures,
)
from .neural import ConvNetClassifier, MLPEmbedding
from .persist import load, save
from .ranking import ranked_table
from .reading import ImageReadError, read_image
from .resizing import resize_image
from .search import similarity_from_distance
from .similarity import find_similar
from .store import Collection
from .visualize import Plots, suggest_elbow

__version__ = _version("geoimages")

__all__ = [
    "Augmentation",
    "Collection",
    "ColorFeatures",
    "ConvFeatures",
    "ConvNetClassifier",
    "HOGFeatures",
    "ImageReadError",
    "Images",
    "KMeansModel",
    "Labels",
    "MLPEmbedding",
    "PairwiseModel",
    "Plots",
    "RockFeatures",
    "TextureFeatures",
    "classification_table",
    "classify_files",
    "disturbance_table",
    "disturbances",
    "evaluate_classifier",
    "expected_calibration_error",
    "fetch_geological_similarity",
    "find_similar",
    "holdout",
    "load",
    "make_rocks",
    "ranked_table",
    "read_image",
    "reliability_curve",
    "resize_image",
    "save",
    "similarity_from_distance",
    "suggest_elbow",
    "train_classifier",
    "write_rocks",
]
