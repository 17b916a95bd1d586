"""Tiles of large photographs: features of overlapping ones, and memory.

``tiles:features`` and ``tiles:memory`` run one of them.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from tqdm import tqdm

from geoimages import (
    Collection,
    ColorFeatures,
    ConvFeatures,
    FisherFeatures,
    HOGFeatures,
    PatternFeatures,
    RockFeatures,
    TextureFeatures,
)


def draw_grain(height, width, seed=0):
    """Draw a photograph of grains of several sizes: (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width), np.float32)
    for size in (1, 4, 16):
        grain = rng.normal(0, 14, (height // size + 1, width // size + 1))
        grain = Image.fromarray(grain.astype(np.float32))
        total += np.asarray(grain.resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(total[..., None] + (138, 130, 118), 0, 255).astype(np.uint8)


class Features:
    """Features of tiles of 96 px every 24 px: neighbors together and one by one."""

    FEATURES = (
        ConvFeatures(random_state=0),
        FisherFeatures(),
        HOGFeatures(),
        RockFeatures(color=0, texture=0, tone=0, hog=1, fisher=1),
        ColorFeatures(),
        TextureFeatures(),
        RockFeatures(),
        PatternFeatures(),
    )

    def run(self, *names):
        if names and "features" not in names:
            return
        print(f"\n{self.__doc__}\n")
        with tempfile.TemporaryDirectory() as folder:
            photo = Path(folder, "photo.png")
            Image.fromarray(draw_grain(900, 1200)).save(photo)
            made = Collection.from_tiles(
                Path(folder, "tiles.h5"), photo, size=96, stride=0.25
            )
            with made as tiles:
                print(f"{len(tiles):,} tiles, ms of the processor for each\n")
                print("| features | together | one by one | ratio | difference |")
                print("|---|---|---|---|---|")
                for features in self.FEATURES:
                    print(self.row(features.fit(tiles[::5]), tiles), flush=True)

    def row(self, features, tiles):
        """A row of the table."""
        name = repr(features).replace("\n", "")
        if features.tile_step(96) is None:
            return f"| `{name}` | tiles one by one | | | |"
        times, rows = np.zeros((2, 3)), [None, None]
        for turn in range(3):
            for i, step in enumerate((type(features).tile_step, lambda *_: None)):
                with mock.patch.object(type(features), "tile_step", step):
                    start = time.process_time()
                    rows[i] = features.transform(tiles)
                    times[i, turn] = time.process_time() - start
        together, single = 1e3 * np.median(times, axis=1) / len(tiles)
        difference = abs(rows[0] - rows[1]).max()
        return (
            f"| `{name}` | {together:.2f} | {single:.2f} | {single / together:.1f} "
            f"| {difference:.0e} |"
        )


_CHILD = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


class Memory:
    """Largest memory of `geoimages tile`, the process as a whole."""

    SIDES = 5000, 10_000, 20_000

    def run(self, *names):
        if names and "memory" not in names:
            return
        print(f"\n{self.__doc__}\n")
        print("| photograph | pixels | MB |")
        print("|---|---|---|")
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            photo = draw_grain(4500, 6700)
            for name in ("photo.jpg", "photo.png", "photo.webp"):
                Image.fromarray(photo).save(folder / name)
                self.row(folder / name, "6,700 × 4,500", "--size", "96")
            for side in self.SIDES:
                path = folder / f"photo{side}.tif"
                self.write(path, side)
                told = f"{side:,} × {side:,}, in tiles"
                self.row(path, told, "--size", "224", "--stride", "1")
                path.unlink()

    def write(self, path, side):
        """Write a large photograph as a TIFF of tiles of 256 px."""
        import tifffile

        parts = [draw_grain(256, 256, seed) for seed in range(16)]
        order = np.random.default_rng(0).integers(0, 16, (-(-side // 256)) ** 2)
        tifffile.imwrite(
            path,
            (parts[i] for i in tqdm(order, path.name, leave=False, disable=None)),
            shape=(side, side, 3),
            dtype=np.uint8,
            tile=(256, 256),
            photometric="rgb",
            compression="zlib",
        )

    def row(self, path, told, *options):
        """Cut a photograph into tiles in a process of its own, and print its memory."""
        tiles = path.with_suffix(".h5")
        command = "-m", "geoimages", "tile", str(path), "-o", str(tiles), *options
        out = subprocess.run(
            [sys.executable, "-c", _CHILD, sys.executable, *command],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.split()
        assert out[0] == "0", command
        print(f"| `{path.suffix}` | {told} | {float(out[1]):.0f} |", flush=True)
        tiles.unlink()


SUITES = [Features, Memory]
