"""Vectors of a collection for the stores of others: Parquet, and indexes of faiss."""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from ..collection.text import to_csv
from ..files import atomic_path, progress
from ..pictures.scaling import on_white
from ..search.clustering import directions
from ..search.faiss_factory import build, check_faiss, one_thread, reason

_BLOCK_ROWS = 4096
_OWN = ("ledger_row", "turn")  # columns that mean nothing outside a collection


def _vectors(collection, features):
    """Yield the vectors of a collection in blocks: float32 of shape (at most b, d)."""
    rows = None if features is None else collection.features(features)
    for start in range(0, len(collection), _BLOCK_ROWS):
        if rows is None:
            block = collection[start : start + _BLOCK_ROWS]
            block = on_white(block) if block.shape[3] == 4 else block
            block = block.reshape(len(block), -1) / np.float32(255)
        else:
            block = rows[start : start + _BLOCK_ROWS]
        yield np.ascontiguousarray(block, dtype=np.float32)


def _table(collection):
    """What is known of each picture, its key first."""
    table = collection.table.drop(columns=list(_OWN), errors="ignore")
    return table.reset_index()


def _bar(collection):
    return progress(total=len(collection), desc="exporting vectors", unit="picture")


def write_parquet(collection, path, features=None):
    """Write a collection's table and vectors as a Parquet file.

    LanceDB, DuckDB, Milvus and others load such a file.

    Parameters
    ----------
    collection : Collection
        The pictures.
    path : str or path-like
        The file to write.
    features : transformer, optional
        Fitted features; by default the vectors are pixels in 0–1, on white where a
        picture is masked.

    Returns
    -------
    n_columns : int
        Length of a vector.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    FileNotFoundError
        If the folder does not exist.

    See Also
    --------
    write_faiss : The vectors as an index of faiss.

    Notes
    -----
    The columns are ``key``, ``label``, ``source``, ``sha256``, those of the metadata,
    and ``vector``, a list of float32 of one length. Text is as it stands in the
    collection: escape it before a spreadsheet or a terminal sees it. The file's metadata
    say under ``geoimages`` which features and which version made the vectors.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoimages import Collection, RockFeatures, make_rocks, write_parquet
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> images, labels = make_rocks(24, random_state=0)
    >>> with Collection.from_arrays(folder / "rocks.h5", images, labels=labels) as rocks:
    ...     features = RockFeatures().fit(rocks)
    ...     n_columns = write_parquet(rocks, folder / "rocks.parquet", features)
    >>> n_columns == len(features.get_feature_names_out())
    True
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ImportError(
            "Parquet needs pyarrow; pip install 'geoimages[parquet]'."
        ) from None
    table = _table(collection)
    about = {
        "features": "pixels" if features is None else repr(features),
        "version": version("geoimages"),
    }
    with atomic_path(path) as temporary, _bar(collection) as bar:
        start, writer, n_columns = 0, None, 0
        try:
            for block in _vectors(collection, features):
                rows = pyarrow.Table.from_pandas(
                    table.iloc[start : start + len(block)], preserve_index=False
                )
                n_columns = block.shape[1]
                vectors = pyarrow.FixedSizeListArray.from_arrays(
                    pyarrow.array(block.ravel()), n_columns
                )
                rows = rows.append_column("vector", vectors)
                if writer is None:
                    schema = rows.schema.with_metadata({"geoimages": json.dumps(about)})
                    writer = parquet.ParquetWriter(temporary, schema)
                writer.write_table(rows.cast(writer.schema))
                start += len(block)
                bar.update(len(block))
        finally:
            if writer is not None:
                writer.close()
    return n_columns


def write_faiss(collection, path, features=None, *, metric="cosine", factory="Flat"):
    """Write a collection's vectors as an index that faiss reads, and its keys.

    Parameters
    ----------
    collection : Collection
        The pictures.
    path : str or path-like
        The index to write. Beside it, ``<path>.csv`` has for each of its numbers the
        ``key`` and ``label``.
    features : transformer, optional
        As in `write_parquet`.
    metric : {"cosine", "correlation", "euclidean", "sqeuclidean"}
        The distance.
    factory : str, default="Flat"
        The index, as `faiss.index_factory` takes it.

    Returns
    -------
    n_columns : int
        Length of a vector.

    Raises
    ------
    ImportError
        If faiss is not installed.
    ValueError
        If it has no such distance, or refuses the index.
    FileNotFoundError
        If the folder does not exist.

    See Also
    --------
    write_parquet : The vectors with everything that is known of the pictures.

    Notes
    -----
    For cosine the vectors are scaled to length 1, and for correlation their mean is
    subtracted before; the same must be done with a query. faiss then answers with the
    squared euclidean distance, which is twice the cosine or correlation distance. For
    the euclidean distances vectors stay as they are, and the answer is squared.

    References
    ----------
    Douze et al. (2024). The Faiss library. https://arxiv.org/abs/2401.08281

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoimages import Collection, make_rocks, write_faiss
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with Collection.from_arrays(folder / "a.h5", make_rocks(24)[0]) as rocks:
    ...     write_faiss(rocks, folder / "rocks.faiss", metric="correlation")
    2352
    """
    metric = check_faiss(metric, factory)
    import faiss

    def sample(n, rng):
        """Some vectors to train on, in blocks of which each gives its share."""
        share = min(1, n / max(1, len(collection)))
        kept = [
            block[rng.random_sample(len(block)) < share]
            for block in _vectors(collection, features)
        ]
        return directions(np.concatenate(kept), metric)

    path, start = Path(path), 0
    keys = path.with_name(f"{path.name}.csv")
    with (
        atomic_path(keys) as temporary_keys,
        atomic_path(path) as temporary,
        one_thread(faiss),
        _bar(collection) as bar,
    ):
        try:
            index, n_columns = None, 0
            for block in _vectors(collection, features):
                if index is None:
                    n_columns = block.shape[1]
                    index = build(faiss, n_columns, factory, sample, 0)
                ids = np.arange(start, start + len(block))
                vectors = directions(block, metric).astype(np.float32)
                index.add_with_ids(np.ascontiguousarray(vectors), ids)
                start += len(block)
                bar.update(len(block))
            faiss.write_index(index, str(temporary))
        except RuntimeError as error:
            raise ValueError(
                f"factory={factory!r} is no index for {len(collection)} rows of "
                f"{n_columns} values, says faiss: {reason(error)}"
            ) from None
        table = pd.DataFrame({"key": collection.keys, "label": collection.labels})
        to_csv(table, path_or_buf=temporary_keys, index_label="id")
    return n_columns
