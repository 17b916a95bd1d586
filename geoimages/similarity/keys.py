"""Keys of the fitted pictures: order and lookup."""

import numpy as np
import pandas as pd

from ..pictures.validation import is_collection


def keys_of(X):
    """Return the keys of a collection, the index of a frame, or None."""
    if is_collection(X):
        return np.asarray(X.keys)
    return X.index.to_numpy() if isinstance(X, pd.DataFrame) else None


def narrowed(keys):
    """Shrink an array of string keys to the width needed: (n,) -> (n,)."""
    if all(isinstance(key, str) for key in keys):
        return np.asarray(keys.tolist(), dtype=str)
    return keys


def check_keys(keys):
    """Return the keys of n pictures, or raise an error for a missing or repeated one."""
    missing = np.flatnonzero(pd.isna(pd.Index(keys, tupleize_cols=False)))
    if len(missing):
        raise ValueError(
            f"Row {missing[0]} has no key; give the DataFrame an index without "
            "missing values."
        )
    keys = narrowed(keys)
    if len(set(keys)) < len(keys):
        twice = pd.Index(keys)[pd.Index(keys).duplicated()][0]
        raise ValueError(
            f"Keys must be unique, but {twice!r} stands for several rows; give the "
            "DataFrame an index without duplicates."
        )
    return keys


def joined(keys, added):
    """Concatenate two arrays of keys: (n,), (m,) -> (n + m,)."""
    if keys.dtype.kind != added.dtype.kind:
        keys, added = keys.astype(object), added.astype(object)
    return np.concatenate([keys, added])


def rank_keys(keys):
    """The place of each key in key order: (n,) -> (n,) int."""
    try:
        order = np.argsort(keys, kind="stable")
    except TypeError:  # strings beside numbers have no common order
        order = sorted(
            range(len(keys)), key=lambda i: (str(type(keys[i])), str(keys[i]))
        )
    rank = np.empty(len(keys), np.int64)
    rank[order] = np.arange(len(keys))
    return rank


def positions_of(asked, keys, rank):
    """Positions of keys among those fitted, or a KeyError: list -> (m,) int.

    `rank` is the place of each fitted key in key order.
    """
    positions = _search(asked, keys, rank)
    if (positions < 0).any():
        missing = asked[int(np.flatnonzero(positions < 0)[0])]
        example = f", for example {str(keys[0])!r}" if len(keys) else ""
        raise KeyError(
            f"{missing!r} is not a key of the {len(keys)} fitted pictures{example}; "
            "read a picture file first: model.predict(rocks.read(path)), where rocks is "
            "the Collection, or read_image(path)."
        )
    return positions


def _search(asked, keys, rank):
    """Positions among unique keys, −1 for unknown ones: (m,) int."""
    if keys.dtype.kind == "U":
        # NumPy drops NUL at the end, and makes all as wide as the longest.
        width = keys.dtype.itemsize // 4
        sortable = all(
            isinstance(key, str) and len(key) <= width and key[-1:] != "\0"
            for key in asked
        )
    else:
        sortable = keys.dtype.kind == np.asarray(asked).dtype.kind == "i"
    if not sortable:
        return pd.Index(keys).get_indexer(asked)
    # By bisection: building a hash index would take longer than searching.
    wanted, order = np.asarray(asked), np.empty(len(keys), np.int64)
    order[rank] = np.arange(len(keys))
    places = np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)
    return np.where(keys[order[places]] == wanted, order[places], -1)
