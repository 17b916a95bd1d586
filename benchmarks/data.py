"""Pictures for the benchmarks: the real archive, or drawn ones without it."""

import os
import tempfile
from pathlib import Path

from geoimages import write_rocks


def archive():
    """Path of a zip: the real one where GEOIMAGES_DATA is set, else 3,000 drawn."""
    folder = os.environ.get("GEOIMAGES_DATA")
    if folder:
        return Path(folder) / "geological_similarity.zip"
    path = Path(tempfile.gettempdir()) / "geoimages-benchmark-rocks.zip"
    return path if path.exists() else write_rocks(path, 3000, random_state=0)


def temporary(name):
    """A path in a folder of its own."""
    return Path(tempfile.mkdtemp(prefix="geoimages-")) / name
