"""Tell what rock a picture shows, and where else that pattern occurs."""

from importlib.metadata import version as _version

from .cluster import KMeansModel
from .datasets import fetch_geological_similarity, make_rocks, write_rocks
from .distance import PairwiseModel
from .etl import Images, Labels
from .ranking import ranked_table
from .reading import ImageReadError, read_image
from .resizing import resize_image
from .search import similarity_from_distance
from .similarity import find_similar
from .store import Collection
from .visualize import Plots, suggest_elbow

__version__ = _version("geoimages")

__all__ = [
    "Collection",
    "ImageReadError",
    "Images",
    "KMeansModel",
    "Labels",
    "PairwiseModel",
    "Plots",
    "fetch_geological_similarity",
    "find_similar",
    "make_rocks",
    "ranked_table",
    "read_image",
    "resize_image",
    "similarity_from_distance",
    "suggest_elbow",
    "write_rocks",
]
