"""Drawn rocks for every test; the real archive where GEOIMAGES_DATA names it."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoimages import Collection, make_rocks, write_rocks


@pytest.fixture(scope="session")
def pictures():
    """120 drawn pictures and their labels."""
    return make_rocks(120, random_state=0)


@pytest.fixture(scope="session")
def rock_zip(tmp_path_factory):
    """A zip of 60 drawn pictures and three damaged files."""
    path = tmp_path_factory.mktemp("zip") / "rocks.zip"
    return write_rocks(path, 60, random_state=0, n_damaged=3)


@pytest.fixture(scope="session")
def rocks(tmp_path_factory, rock_zip):
    """The zip as a collection, open for reading."""
    path = tmp_path_factory.mktemp("collection") / "rocks.h5"
    with Collection.create(path, rock_zip) as collection:
        yield collection


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real archive."""
    folder = os.environ.get("GEOIMAGES_DATA")
    if not folder:
        pytest.skip("GEOIMAGES_DATA names no folder with the real archive")
    return Path(folder)


@pytest.fixture(scope="session")
def real_rocks(real_data, tmp_path_factory):
    """The real archive as a collection, open for reading."""
    path = tmp_path_factory.mktemp("real") / "rocks.h5"
    with Collection.create(path, real_data / "geological_similarity.zip") as collection:
        yield collection


@pytest.fixture
def draw(tmp_path):
    """Write a drawn picture to a file below tmp_path."""

    def write(name, size=(28, 28), seed=0, channels=3, **options):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (4, 4, channels), dtype=np.uint8)
        image = Image.fromarray(coarse.squeeze())
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.resize(size[::-1]).save(path, **options)
        return path

    return write
