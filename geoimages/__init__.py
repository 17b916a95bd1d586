"""Tell what rock a picture shows, and where else that pattern occurs."""

from importlib.metadata import version as _version

from .augment import Augmentation
from .classify import classify_files, evaluate_classifier, holdout, train_classifier
from .cluster import KMeansModel
from .datasets import fetch_geological_similarity, make_rocks, write_rocks
from .distance import PairwiseModel
from .duplicates import Duplicates, find_duplicates
from .embedding import TripletEmbedding
from .etl import Images, Labels
from .evaluate import (
    Preference,
    Trials,
    Votes,
    blind_trials,
    classification_report,
    compare,
    disturbance_table,
    disturbances,
    expected_calibration_error,
    preference,
    recall_against_exact,
    record_votes,
    reliability_curve,
    retrieval_scores,
    triplets_from_votes,
    votes_needed,
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
from .neighbors import write_neighbors, write_vectors
from .neural import ConvNetClassifier, MLPEmbedding
from .persist import load, save
from .ranking import ranked_table
from .reading import ImageReadError, read_image
from .resizing import resize_image
from .search import similarity_from_distance
from .similarity import find_similar
from .splits import LineageKFold, groups_of, split
from .store import Collection
from .visualize import Plots, suggest_elbow
from .voting import vote_in_terminal

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
