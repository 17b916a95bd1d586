"""The public names, and the modules that hold them: loaded when they are first used."""

from . import cluster as cluster
from . import collection as collection
from . import datasets as datasets
from . import distance as distance
from . import etl as etl
from . import evaluate as evaluate
from . import features as features
from . import neural as neural
from . import persist as persist
from . import pictures as pictures
from . import search as search
from . import similarity as similarity
from . import visualize as visualize
from . import voting as voting
from . import workflows as workflows
from .cluster import KMeansModel as KMeansModel
from .collection.duplicates import Duplicates as Duplicates
from .collection.duplicates import find_duplicates as find_duplicates
from .collection.splits import LineageKFold as LineageKFold
from .collection.splits import groups_of as groups_of
from .collection.splits import split as split
from .collection.store import Collection as Collection
from .datasets.fetching import (
    fetch_geological_similarity as fetch_geological_similarity,
)
from .datasets.rocks import make_rocks as make_rocks
from .datasets.rocks import write_rocks as write_rocks
from .distance import PairwiseModel as PairwiseModel
from .etl import Images as Images
from .etl import Labels as Labels
from .evaluate import classification_report as classification_report
from .evaluate import compare as compare
from .evaluate import disturbance_table as disturbance_table
from .evaluate import disturbances as disturbances
from .evaluate import expected_calibration_error as expected_calibration_error
from .evaluate import recall_against_exact as recall_against_exact
from .evaluate import reliability_curve as reliability_curve
from .evaluate import retrieval_scores as retrieval_scores
from .features import ColorFeatures as ColorFeatures
from .features import ConvFeatures as ConvFeatures
from .features import HOGFeatures as HOGFeatures
from .features import PatternFeatures as PatternFeatures
from .features import PretrainedFeatures as PretrainedFeatures
from .features import RockFeatures as RockFeatures
from .features import TextureFeatures as TextureFeatures
from .neural.classifier import ConvNetClassifier as ConvNetClassifier
from .neural.embedding import MLPEmbedding as MLPEmbedding
from .neural.triplets import TripletEmbedding as TripletEmbedding
from .persist import load as load
from .persist import save as save
from .pictures.augmentation import Augmentation as Augmentation
from .pictures.reading import ImageReadError as ImageReadError
from .pictures.reading import read_image as read_image
from .pictures.resizing import resize_image as resize_image
from .search import similarity_from_distance as similarity_from_distance
from .similarity.graph import write_neighbors as write_neighbors
from .similarity.graph import write_vectors as write_vectors
from .similarity.ranking import ranked_table as ranked_table
from .visualize import Plots as Plots
from .visualize import suggest_elbow as suggest_elbow
from .voting import Preference as Preference
from .voting import Trials as Trials
from .voting import Votes as Votes
from .voting import blind_trials as blind_trials
from .voting import preference as preference
from .voting import record_votes as record_votes
from .voting import triplets_from_votes as triplets_from_votes
from .voting import votes_needed as votes_needed
from .voting.terminal import vote_in_terminal as vote_in_terminal
from .workflows import classify_files as classify_files
from .workflows import evaluate_classifier as evaluate_classifier
from .workflows import find_similar as find_similar
from .workflows import holdout as holdout
from .workflows import train_classifier as train_classifier

__version__: str
