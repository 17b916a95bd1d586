"""Rows of a folder of shards: computed by workers, and kept in a file for each shard."""

import hashlib
import math
import os
import shutil
import tempfile
import weakref
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np

from ..collection.describing import features_of_file
from ..collection.maps import Parcel
from ..collection.shards import check_shard
from ..collection.store import Collection
from ..search import ExactSearch
from ..search.storage import write_engine
from .keys import rank_keys
from .rows import check_rows, pixel_rows_of
from .sharded_ranges import is_kept, map_files

_MOST_SAMPLED = 1 << 30  # bytes of pixels that features are learned from


def is_sharded(collection):
    """Whether a collection is a folder of several shards."""
    return getattr(collection, "files", None) is not None and len(collection.files) > 1


def to_learn_from(collection):
    """Positions of the pictures of a collection to learn features from: (m,) int.

    All of them up to 1 GiB of pixels; of more, those of which the hashes of their keys
    are smallest, however they are shared among files.
    """
    most = max(1, _MOST_SAMPLED // int(np.prod(collection.image_shape)))
    if len(collection) <= most:
        return np.arange(len(collection))
    keys = (key.encode("utf-8", "surrogatepass") for key in collection.keys.tolist())
    hashes = [hashlib.blake2b(key, digest_size=8).digest() for key in keys]
    return np.sort(np.argsort(hashes, kind="stable")[:most])


def write_index(collection, features, metric):
    """Write the rows of a folder of shards, a file for each, where they are not there.

    They lie beside the shards where the collection is open with ``"r+"``, else in a
    temporary folder, and are made again where one is missing or damaged.

    Parameters
    ----------
    collection : Collection
        A folder.
    features : transformer or None
        Fitted; None means pixels.
    metric : str
        The distance to prepare for.

    Returns
    -------
    paths : list of Path
        One for each shard, for `ShardedSearch`.
    held : TemporaryFolder or None
        The folder they lie in, deleted with it.
    """
    identity = _identity(features)
    keeps = collection.keeps and identity is not None
    held = None if keeps else TemporaryFolder()
    folder = Path(os.path.abspath(held.path if held else collection.path))
    pairs = zip(collection.files.paths, collection.files.shards, strict=True)
    files, shards = zip(*(pair for pair in pairs if pair[1].count), strict=True)
    about = version("geoimages"), identity, metric
    title = "pixels" if features is None else repr(features)
    keys = [
        hashlib.sha256(repr((*about, shard.sha256)).encode()).hexdigest()
        for shard in shards
    ]
    paths = [
        folder / f"{shard.name}.{key[:16]}.index"
        for shard, key in zip(shards, keys, strict=True)
    ]
    new = keeps and [out for out in paths if not out.exists()]
    parcel = Parcel(features, folder)
    try:
        tasks = [
            (
                *(os.path.abspath(path), shard.n_bytes, shard.seal, shard.count),
                *(str(out), parcel, metric, {"of": key, "features": title}),
            )
            for path, shard, out, key in zip(files, shards, paths, keys, strict=True)
        ]
        map_files(_write_rows, tasks, "computing rows")
    finally:
        parcel.remove()
    if new:
        size = sum(path.stat().st_size for path in new) / 1e6
        collection.cache.notes.append(
            f"Kept the rows of {len(new):,} shards ({size:,.1f} MB); 'geoimages cache "
            f"{collection.path} --clear' deletes them."
        )
    return paths, held


class TemporaryFolder:
    """A folder that is deleted when nothing refers to it any more."""

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="geoimages-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _identity(features):
    """What tells fitted features from others, or None where nothing does."""
    try:
        return joblib.hash(getattr(features, "_identity", lambda: features)())
    except Exception:  # a class or function defined in a cell, say
        return None


def _write_rows(path, n_bytes, seal, count, out, parcel, metric, made):
    """Write the rows of a shard, unless they are there."""
    path, out = Path(path), Path(out)
    if is_kept(out, count, made["of"]):
        return
    check_shard(path, n_bytes, seal)
    features = parcel.open()
    with Collection(path) as shard, tempfile.TemporaryFile(dir=out.parent) as scratch:

        def allocate(shape, dtype):
            """An array in a file: a worker does not hold the rows of a whole shard."""
            n_bytes = math.prod(shape) * dtype.itemsize
            if dtype.kind not in "buif" or not n_bytes:
                return np.empty(shape, dtype)
            if hasattr(os, "posix_fallocate"):  # a full disk is an error, not a signal
                os.posix_fallocate(scratch.fileno(), 0, n_bytes)
            return np.memmap(scratch, dtype, "r+", shape=shape)

        if features is None:
            rows = pixel_rows_of(shard, allocate)
        else:
            rows = features_of_file(shard, features, allocate)
            rows = check_rows(rows, features, len(shard))
        engine = ExactSearch(rows, rank_keys(shard.keys), metric=metric, quantize=False)
        write_engine(engine, out, **made)
