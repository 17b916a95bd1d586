"""A zip becomes an .h5 file, beside the proof of concept's way."""

import zipfile

import h5py
import numpy as np
from PIL import Image

from geoimages import Collection

from .data import archive, temporary


class Create:
    """From zip to .h5: every picture decoded once, or twice and kept as float64."""

    RATIOS = (("time_original", "time_create"),)

    def setup(self):
        self.zip = archive()
        self.path = temporary("rocks.h5")

    def time_create(self):
        Collection.create(self.path, self.zip).close()

    def time_original(self):
        """Once for the metadata, once for the pixels; float64, compressed."""
        with zipfile.ZipFile(self.zip) as archive:
            names = [name for name in archive.namelist() if name.endswith(".jpg")]
            for name in names:
                with archive.open(name) as file:
                    np.asarray(Image.open(file)).shape  # noqa: B018
            rows = []
            for name in names:
                with archive.open(name) as file:
                    rows.append(np.asarray(Image.open(file)) / 255.0)
        with h5py.File(self.path.with_name("original.h5"), "w") as file:
            file.create_dataset(
                "X_Train_Orig",
                data=np.stack(rows),
                compression="gzip",
                compression_opts=9,
            )

    def track_megabytes(self):
        return self.path.stat().st_size / 1e6


SUITES = [Create]
