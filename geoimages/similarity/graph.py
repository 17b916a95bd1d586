"""The k-nearest-neighbor graph of the fitted pictures, as a file."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ..files import atomic_path, progress

_BLOCK_ROWS = 4096


def write_neighbors(model, path, k=None, *, exclude="lineage", vectors_path=None):
    """Write the nearest neighbors of every fitted picture as JSON.

    The file is the k-nearest-neighbor graph, ``{key: [[key, similarity], ...], ...}``,
    nearest first, written in blocks, so it may exceed memory.

    Parameters
    ----------
    model : PairwiseModel or KMeansModel
        Fitted.
    path : str or path-like
        The file to write.
    k : int, optional
        Neighbors per picture; by default the model's ``k_candidates``.
    exclude : {"lineage", "self", None}, default="lineage"
        What to exclude, as in `PairwiseModel.predict`.
    vectors_path : str or path-like, optional
        File for the rows that were compared (see `write_vectors`).

    Returns
    -------
    n_pictures : int
                Number of pictures written.

    Raises
    ------
    ValueError
        If `vectors_path` has another suffix, or is `path`.
    FileNotFoundError
        If a folder does not exist.

    See Also
    --------
    PairwiseModel.neighbors_table : The same as a DataFrame.

    Examples
    --------
    >>> import json, tempfile, pathlib
    >>> from geoimages import PairwiseModel, make_rocks, write_neighbors
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "neighbors.json"
    >>> write_neighbors(PairwiseModel().fit(make_rocks(60)[0]), path, k=3)
    60
    >>> len(json.loads(path.read_text())["7"])
    3
    """
    check_is_fitted(model)
    if vectors_path is not None:
        _check_suffix(vectors_path)
        if Path(vectors_path).absolute() == Path(path).absolute():
            raise ValueError(f"{path} cannot hold both the neighbors and the vectors.")
    bar = progress(total=len(model.keys_), desc="finding neighbors", unit="picture")
    with bar, atomic_path(path) as temporary:
        if vectors_path is not None:  # first, as they are fast to write
            write_vectors(model, vectors_path)
        _write_object(temporary, _lists_of_neighbors(model, k, exclude, bar))
    return len(model.keys_)


def _lists_of_neighbors(model, k, exclude, bar):
    """Yield (key, [[key, similarity], ...]) of every fitted picture."""
    pictures = iter(pd.Index(model.keys_).tolist())
    for table in model.neighbors_blocks(k, exclude=exclude):
        queries = table.index.get_level_values("query").tolist()
        keys = table.index.get_level_values("key").tolist()
        rows = list(zip(queries, keys, table["similarity"].tolist(), strict=True))
        place = 0
        while place < len(rows):
            query = next(pictures)
            pairs = []
            while place < len(rows) and rows[place][0] == query:
                _, key, similarity = rows[place]
                pairs.append([key, round(similarity, 6)])
                place += 1
            yield query, pairs
            bar.update()
    for query in pictures:  # alone in the collection, but for what is excluded
        yield query, []


def write_vectors(model, path):
    """Write the rows that a model compares.

    Parameters
    ----------
    model : PairwiseModel or KMeansModel
        Fitted.
    path : str or path-like
        ``.npy``: an array of shape (n, d), rows in the order of ``keys_``. ``.json``:
        ``{key: [value, ...], ...}``.

    Raises
    ------
    ValueError
        If the path has another suffix.
    FileNotFoundError
        If its folder does not exist.
    """
    _check_suffix(path)
    n = len(model.keys_)
    blocks = (
        np.arange(start, min(start + _BLOCK_ROWS, n))
        for start in range(0, n, _BLOCK_ROWS)
    )
    with atomic_path(path) as temporary:
        if Path(path).suffix == ".json":
            _write_object(
                temporary,
                (
                    (key, row)
                    for block in blocks
                    for key, row in zip(
                        model.keys_[block].tolist(),
                        _vectors(model, block).tolist(),
                        strict=True,
                    )
                ),
            )
            return
        first = _vectors(model, np.arange(1))
        shape = (n, first.shape[1])
        out = np.lib.format.open_memmap(temporary, "w+", first.dtype, shape)
        for block in blocks:
            out[block] = _vectors(model, block)
        out.flush()


def _vectors(model, positions):
    """Return rows in the scale of the features; the search stores k/255 as uint8."""
    rows = model._stored(positions)
    if rows.dtype == np.uint8 and not model._compares_pixels:
        return rows / np.float32(255)
    return rows


def _check_suffix(path):
    if Path(path).suffix not in (".npy", ".json"):
        raise ValueError(f"The path for vectors must end in .npy or .json, got {path}.")


def _write_object(path, items):
    """Write (key, value) pairs as one JSON object, one per line."""
    with open(path, "w", encoding="utf-8") as file:
        file.write("{")
        for place, (key, value) in enumerate(items):
            name = json.dumps(str(key), ensure_ascii=False)
            text = json.dumps(value, ensure_ascii=False, default=str)
            file.write(f"{',' if place else ''}\n{name}: {text}")
        file.write("\n}\n")
