"""Search for the nearest rows."""

from .exact import ExactSearch
from .metrics import METRICS, similarity_from_distance

__all__ = ["METRICS", "ExactSearch", "similarity_from_distance"]
