"""Search for the nearest rows."""

from .disk import load_index, save_index
from .exact import ExactSearch
from .metrics import METRICS, similarity_from_distance
from .partitioned import PartitionedSearch
from .with_faiss import FaissSearch

__all__ = [
    "METRICS",
    "ExactSearch",
    "FaissSearch",
    "PartitionedSearch",
    "load_index",
    "save_index",
    "similarity_from_distance",
]
