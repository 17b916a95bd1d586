"""Search for the nearest rows."""

from .exact import ExactSearch
from .metrics import METRICS, similarity_from_distance
from .partitioned import PartitionedSearch

__all__ = ["METRICS", "ExactSearch", "PartitionedSearch", "similarity_from_distance"]
