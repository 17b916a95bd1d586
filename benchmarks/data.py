"""What the benchmarks run on: the real archive, or drawn pictures without it."""

import os
import tempfile
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from tqdm import tqdm

from geoimages import Collection, RockFeatures, write_rocks

N_COMPONENTS = 128
_LEARNED_FROM = 20_000  # pictures
_DESCRIBED = 1_000_000  # rows
_N_DRAWN = 3000


def show_in_docs(name, text):
    """Write what was measured where docs/speed.md shows it, between its marks."""
    page = Path(__file__).parent.parent / "docs" / "speed.md"
    before, start, rest = page.read_text("utf-8").partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    if not end:
        raise ValueError(f"{page} has no marks for {name!r}.")
    page.write_text(f"{before}{start}{text}\n{end}{after}", "utf-8")


def archive():
    """Path of a zip: the real one where GEOIMAGES_DATA is set, else 3,000 drawn."""
    folder = os.environ.get("GEOIMAGES_DATA")
    if folder:
        return Path(folder) / "geological_similarity.zip"
    path = cache() / "rocks.zip"
    return path if path.exists() else write_rocks(path, _N_DRAWN, random_state=0)


def temporary(name):
    """A path in a folder of its own."""
    return Path(tempfile.mkdtemp(prefix="geoimages-")) / name


def cache():
    """The folder that keeps what takes long to make, outside the checkout."""
    folder = Path(tempfile.gettempdir()) / "geoimages-benchmarks"
    folder.mkdir(exist_ok=True)
    return folder


def collection():
    """The archive as a collection, made once."""
    path = cache() / f"{archive().parent.name}.h5"
    return Collection(path) if path.exists() else Collection.create(path, archive())


def pictures(most=None):
    """The pictures, or some of them: (n, 28, 28, 3) uint8."""
    with collection() as rocks:
        images = rocks[:]
    if most is None or most >= len(images):
        return images
    return images[np.random.default_rng(0).permutation(len(images))[:most]]


def _mildly_changed(images, rng):
    """Each picture in other light, a little noisier, and moved by up to a pixel."""
    n = len(images)
    light = rng.uniform(0.9, 1.1, (n, 1, 1, 1)).astype(np.float32)
    noise = rng.standard_normal(images.shape, dtype=np.float32)
    noise *= rng.uniform(0, 6, (n, 1, 1, 1)).astype(np.float32)
    changed = np.clip(np.rint(images * light + noise), 0, 255).astype(np.uint8)
    moves = rng.integers(-1, 2, (n, 2))
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            these = (moves == (down, right)).all(axis=1)
            moved = np.pad(changed[these], ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
            changed[these] = moved[:, 1 + down :, 1 + right :][:, :28, :28]
    return changed


def features(n_rows, n_queries=0):
    """Rows of 128 float32 and queries, as two files that can be memory-mapped.

    They are principal components of `RockFeatures` over mild changes of the pictures.
    Beyond a million, rows are noisy copies of the first million.

    Returns
    -------
    rows, queries : path
        ``.npy`` files of shape (n_rows, 128) and (n_queries, 128).
    """
    name = f"{archive().parent.name}-{n_rows}"
    paths = cache() / f"{name}.npy", cache() / f"{name}-queries-{n_queries}.npy"
    if paths[1].exists():
        return paths
    n_described = min(n_rows, _DESCRIBED)
    if n_rows > n_described:
        described = np.load(features(n_described, n_queries)[0], mmap_mode="r")
        queries = np.load(features(n_described, n_queries)[1])
    else:
        described, queries = _describe(n_rows, n_queries)
    rng = np.random.default_rng(1)
    scale = np.float32(0.1) * np.std(described[:10_000], axis=0)
    shape = n_rows, N_COMPONENTS
    rows = np.lib.format.open_memmap(paths[0], "w+", np.float32, shape)
    for start in range(0, n_rows, n_described):
        block = described[: n_rows - start]
        if start:
            noise = rng.standard_normal(block.shape, dtype=np.float32)
            block = block + noise * scale
        rows[start : start + len(block)] = block
    rows.flush()
    np.save(paths[1], queries)  # last: it says that the rows are whole
    return paths


def _describe(n_rows, n_queries):
    """Principal components of features of changed pictures: rows and queries."""
    rng = np.random.default_rng(0)
    images = pictures()
    learned = pictures(_LEARNED_FROM)
    describe = RockFeatures().fit(learned)
    pca = PCA(N_COMPONENTS, random_state=0).fit(describe.transform(learned))
    out = np.empty((n_rows + n_queries, N_COMPONENTS), np.float32)
    for start in tqdm(range(0, len(out), len(images)), "rows", disable=None):
        block = images[: len(out) - start]
        block = describe.transform(_mildly_changed(block, rng))
        out[start : start + len(block)] = pca.transform(block)
    out = out[rng.permutation(len(out))]
    return out[:n_rows], out[n_rows:]
