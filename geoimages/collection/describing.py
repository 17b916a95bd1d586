"""Features of a folder of shards: each described, and kept, by itself."""

import os
import tempfile

import numpy as np

from ..files import let_go, progress
from ..pictures.validation import input_for
from .cache import FeatureCache
from .file import block_length
from .maps import Parcel, map_shards
from .overlap import shared_features
from .shards import check_shard


def _describe(named, parcel, most_bytes):
    """Describe a shard: the key of what is kept, or None and the rows; and notes."""
    from .store import Collection  # which imports this module

    check_shard(*named)
    mode = "r" if most_bytes is None else "r+"
    with Collection(named[0], mode, most_bytes or 0) as shard:
        transformer = parcel.open()
        digest = shard.digest(transformer)
        rows = shard.features(transformer)
        notes = shard.cache.notes
        kept = digest is not None and shard.cache.path_of(digest).is_file()
        return (digest if kept else None), (None if kept else rows), notes


def described(collection, transformer):
    """Describe each shard of a folder, or read what is kept of it.

    Parameters
    ----------
    collection : Collection
        A folder of shards.
    transformer : transformer
        Fitted.

    Yields
    ------
    rows : ndarray of shape (n_of_shard, n_features_out)
        In the order of the shards.
    """
    files, keeps = collection.files, collection.keeps
    paths = [os.path.abspath(path) for path in files.paths]
    counts = np.diff(files.starts)
    most = collection.cache.most_bytes
    # Each shard may keep its part.
    shares = [int(most * count / counts.sum()) if keeps else None for count in counts]
    chosen = np.flatnonzero(counts)
    with tempfile.TemporaryDirectory() as elsewhere:
        writable = os.access(collection.path, os.W_OK)
        parcel = Parcel(transformer, collection.path if writable else elsewhere)
        try:
            found, failed = map_shards(
                _describe,
                [(files.named(i), parcel, shares[i]) for i in chosen],
                desc="computing features",
                names=[files.paths[i].name for i in chosen],
            )
        finally:
            parcel.remove()
    if failed:
        i, why = next(iter(failed.items()))
        raise ValueError(
            f"{len(failed):,} of the shards of {collection.path} could not be described, "
            f"such as {files.paths[chosen[i]].name} ({why}); what is finished is kept."
        )
    told = [note for *_, notes in found for note in notes]
    others = [note for note in told if not note.startswith("Kept")]
    collection.cache.notes += others
    if len(told) > len(others):
        n_kept = len(told) - len(others)
        collection.cache.notes.append(f"Kept the features of {n_kept:,} shards.")
    for i, (digest, rows, _) in zip(chosen, found, strict=True):
        if rows is None:
            rows = FeatureCache(paths[i], most).read(digest, counts[i])
        if rows is None:  # deleted meanwhile
            raise ValueError(f"What was kept of {files.paths[i]} is gone; try again.")
        yield rows


def features_of_file(collection, transformer, allocate=np.empty):
    """Describe the pictures of one file, block by block: (n, n_features_out).

    Parameters
    ----------
    collection : Collection
    transformer : transformer
        Fitted.
    allocate : callable, default=numpy.empty
        Shape and dtype -> the array that the rows are written into.
    """
    rows = shared_features(collection, transformer)
    if rows is not None:
        return rows
    n, out = len(collection), None
    step = block_length(collection.image_shape)
    for start in progress(range(0, n, step), desc="computing features", unit="block"):
        images = collection[start : start + step]
        rows = np.asarray(transformer.transform(input_for(transformer, images)))
        if out is None:
            out = allocate((n, *rows.shape[1:]), rows.dtype)
        if rows.shape != (len(images), *out.shape[1:]):
            return rows  # for whoever says what is wrong with it
        _check_dtype(rows, out)
        out[start : start + step] = rows
        let_go(out)
    return out


def _check_dtype(rows, earlier):
    """Refuse rows that an array of the earlier ones could only hold rounded."""
    if not np.can_cast(rows.dtype, earlier.dtype):
        raise ValueError(
            f"The features of some pictures are {rows.dtype}, those of others "
            f"{earlier.dtype}; let the transformer return one dtype."
        )


def features_of_shards(collection, transformer):
    """Join the features of all shards: (n, n_features_out)."""
    out, start = None, 0
    for rows in described(collection, transformer):
        if out is None:
            out = np.empty((len(collection), rows.shape[1]), rows.dtype)
        _check_dtype(rows, out)
        out[start : start + len(rows)] = rows
        start += len(rows)
    return out
