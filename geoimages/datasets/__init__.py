"""Pictures to try the package on: drawn rocks, and the public collection."""

from .fetching import fetch_geological_similarity
from .rocks import make_rocks, write_rocks

__all__ = ["fetch_geological_similarity", "make_rocks", "write_rocks"]
