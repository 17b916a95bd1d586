"""Sample data: drawn rocks, and the public archive."""

from .fetching import fetch_geological_similarity
from .rocks import make_rocks, write_rocks

__all__ = ["fetch_geological_similarity", "make_rocks", "write_rocks"]
