"""The ranked table: the output of every similarity model, the input of every view."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..search.metrics import similarity_from_distance

FOUND = 0.5
"""Probability of the best match below which a picture was not found again."""


@dataclass
class Matches:
    """The stored rows found for one candidate, best first.

    Parameters
    ----------
    positions : ndarray of shape (k,), int
        Rows.
    metric : str
        Name of the distance.
    short_distance : ndarray of shape (k,)
        The distance that `metric` names.
    orientations : ndarray of shape (k, 2), optional
        Best orientation of the candidate: degrees, and whether mirrored.
    shares : dict of str to ndarray of shape (k,), optional
        Contribution of each feature block to the distance.
    verification : ndarray of shape (k,), optional
        The distance by which the rows were re-ranked.
    same : ndarray of shape (k,), optional
        How probably each is the same picture.
    """

    positions: np.ndarray
    metric: str
    short_distance: np.ndarray
    orientations: np.ndarray | None = None
    shares: dict | None = None
    verification: np.ndarray | None = None
    same: np.ndarray | None = None

    def __len__(self):
        return len(self.positions)

    @property
    def distance(self):
        """The distance that the rows are ranked by."""
        verified = self.verification is not None
        return self.verification if verified else self.short_distance

    def reranked(self, distance, degrees, mirrored, rank, k):
        """Re-rank by a verification, and keep the k best.

        Parameters
        ----------
        distance, degrees, mirrored : ndarray of shape (n,)
            Result of the verification of each row.
        rank : ndarray of int
            The place of each stored row's key in key order, which breaks ties.
        k : int
            Rows to keep.
        """
        order = np.lexsort((rank[self.positions], distance))[:k]
        orientations = self.orientations
        if orientations is not None:
            orientations = np.column_stack([degrees, mirrored])[order]
        return replace(
            self,
            positions=self.positions[order],
            short_distance=self.short_distance[order],
            orientations=orientations,
            shares=self.shares and {n: v[order] for n, v in self.shares.items()},
            verification=distance[order],
        )

    def columns(self):
        """Return the columns of the ranked table, by name."""
        verified = self.verification is not None
        name = "verification" if verified else self.metric
        columns = {
            name: self.distance,
            "similarity": similarity_from_distance(self.distance, name),
        }
        if verified:
            columns[self.metric] = self.short_distance
        if self.orientations is not None:
            degrees, mirrored = self.orientations.T
            columns["orientation"] = degrees.astype(np.float64)
            columns["mirrored"] = mirrored.astype(bool)
        if self.same is not None:
            columns["same"] = self.same
        return columns | (self.shares or {})


def ranked_table(found, keys, queries=None):
    """Make the ranked table of one candidate or of a batch.

    Parameters
    ----------
    found : list of Matches
        One per candidate.
    keys : ndarray of shape (n,)
        Keys of the stored rows.
    queries : sequence, optional
        The candidates' names. None for a single candidate.

    Returns
    -------
    table : DataFrame
        Index ``key``, or ``(query, key)`` for a batch; columns the distance, ascending
        for each candidate, and ``similarity`` (see
        `geoimages.similarity_from_distance`), then the other attributes of the matches.

    Examples
    --------
    >>> import numpy as np
    >>> found = [Matches(np.array([1, 0]), "correlation", np.array([0.0, 0.5]))]
    >>> ranked_table(found, np.array(["a", "b"]))
         correlation  similarity
    key
    b            0.0         1.0
    a            0.5         0.5
    """
    columns = [matches.columns() for matches in found]
    positions = np.concatenate([matches.positions for matches in found])
    index = pd.Index(keys[positions], name="key")
    if queries is not None:
        query = pd.Index(queries).repeat([len(matches) for matches in found])
        index = pd.MultiIndex.from_arrays([query, index], names=["query", "key"])
    joined = {
        name: np.concatenate([column[name] for column in columns])
        for name in columns[0]
    }
    return pd.DataFrame(joined, index=index)
