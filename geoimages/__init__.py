"""Tell what rock a picture shows, and where else that pattern occurs."""

from importlib.metadata import version as _version

from .cluster import KMeansModel
from .collection.duplicates import Duplicates, find_duplicates
from .collection.splits import LineageKFold, groups_of, split
from .collection.store import Collection
from .datasets.fetching import fetch_geological_similarity, make_rocks, write_rocks
from .distance import PairwiseModel
from .etl import Images, Labels
from .evaluate import (
    classification_report,
    compare,
    disturbance_table,
    disturbances,
    expected_calibration_error,
    recall_against_exact,
    reliability_curve,
    retrieval_scores,
)
from .features import (
    ColorFeatures,
    ConvFeatures,
    HOGFeatures,
    PatternFeatures,
    PretrainedFeatures,
    RockFeatures,
    TextureFeatures,
)
from .neural.classifier import ConvNetClassifier, MLPEmbedding
from .neural.triplets import TripletEmbedding
from .persist import load, save
from .pictures.augmentation import Augmentation
from .pictures.reading import ImageReadError, read_image
from .pictures.resizing import resize_image
from .search import similarity_from_distance
from .similarity.graph import write_neighbors, write_vectors
from .similarity.ranking import ranked_table
from .visualize import Plots, suggest_elbow
from .voting import (
    Preference,
    Trials,
    Votes,
    blind_trials,
    preference,
    record_votes,
    triplets_from_votes,
    votes_needed,
)
from .voting.terminal import vote_in_terminal
from .workflows import (
    classify_files,
    evaluate_classifier,
    find_similar,
    holdout,
    train_classifier,
)

__version__ = _version("geoimages")

__all__ = [
    "Augmentation",
    "Collection",
    "ColorFeatures",
    "ConvFeatures",
    "ConvNetClassifier",
    "Duplicates",
    "HOGFeatures",
    "ImageReadError",
    "Images",
    "KMeansModel",
    "Labels",
    "LineageKFold",
    "MLPEmbedding",
    "PairwiseModel",
    "PatternFeatures",
    "Plots",
    "Preference",
    "PretrainedFeatures",
    "RockFeatures",
    "TextureFeatures",
    "Trials",
    "TripletEmbedding",
    "Votes",
    "blind_trials",
    "classification_report",
    "classify_files",
    "compare",
    "disturbance_table",
    "disturbances",
    "evaluate_classifier",
    "expected_calibration_error",
    "fetch_geological_similarity",
    "find_duplicates",
    "find_similar",
    "groups_of",
    "holdout",
    "load",
    "make_rocks",
    "preference",
    "ranked_table",
    "read_image",
    "recall_against_exact",
    "record_votes",
    "reliability_curve",
    "resize_image",
    "retrieval_scores",
    "save",
    "similarity_from_distance",
    "split",
    "suggest_elbow",
    "train_classifier",
    "triplets_from_votes",
    "vote_in_terminal",
    "votes_needed",
    "write_neighbors",
    "write_rocks",
    "write_vectors",
]
