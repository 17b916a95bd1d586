"""Nearest-neighbor search engines."""

from .exact import ExactSearch
from .faiss_index import FaissSearch
from .ivf import InvertedFile
from .metrics import METRICS, similarity_from_distance
from .storage import load_index, save_index

__all__ = [
    "METRICS",
    "ExactSearch",
    "FaissSearch",
    "InvertedFile",
    "load_index",
    "save_index",
    "similarity_from_distance",
]
