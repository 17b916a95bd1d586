"""Sample data: drawn rocks, and the public archive."""

from .fetching import fetch_geological_similarity
from .rocks import make_rocks, write_rocks
from .trays import Tray, make_tray, write_core

__all__ = [
    "Tray",
    "fetch_geological_similarity",
    "make_rocks",
    "make_tray",
    "write_core",
    "write_rocks",
]
