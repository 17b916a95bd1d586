"""The ranked table: what every similarity model gives and every view reads."""

import numpy as np
import pandas as pd

from .search.metrics import similarity_from_distance


def ranked_table(found, keys, metric, queries=None):
    """Make the ranked table of one candidate or of a batch.

    Parameters
    ----------
    found : list of (distances, positions)
        For each candidate the stored rows found, ascending.
    keys : ndarray of shape (n,)
        The stored rows' keys.
    metric : str
        The distance's name, which names its column.
    queries : sequence, optional
        The candidates' names. None for a single candidate.

    Returns
    -------
    table : DataFrame
        Index ``key``, or ``(query, key)`` for a batch; columns `metric`, ascending
        for each candidate, and ``similarity`` (see
        `geoimages.similarity_from_distance`).

    Examples
    --------
    >>> import numpy as np
    >>> found = [(np.array([0.0, 0.5]), np.array([1, 0]))]
    >>> ranked_table(found, np.array(["a", "b"]), "correlation")
         correlation  similarity
    key
    b            0.0         1.0
    a            0.5         0.5
    """
    distance = np.concatenate([np.empty(0), *(distances for distances, _ in found)])
    positions = np.concatenate([np.empty(0, int), *(places for _, places in found)])
    index = pd.Index(keys[positions], name="key")
    if queries is not None:
        sizes = [len(places) for _, places in found]
        query = pd.Index(queries).repeat(sizes)
        index = pd.MultiIndex.from_arrays([query, index], names=["query", "key"])
    return pd.DataFrame(
        {metric: distance, "similarity": similarity_from_distance(distance, metric)},
        index=index,
    )
