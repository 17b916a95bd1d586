"""Groups of pictures excluded from each other's answers: lineages and others."""

import numpy as np
import pandas as pd

from ..collection.lineage import lineage_of


class Groups:
    """Groups of stored pictures (n,) and queries (m,), as codes; -1 is a group alone."""

    def __init__(self, stored, queries):
        self.stored, self.queries = stored, queries
        self._order = np.argsort(stored, kind="stable")
        self._sorted = stored[self._order]

    def members(self, query):
        """Positions of the stored pictures in a query's group: (g,)."""
        code = self.queries[query]
        ends = np.searchsorted(self._sorted, [code, code + 1])
        return self._order[slice(*ends)] if code >= 0 else np.empty(0, int)

    def differ(self, queries, positions):
        """Whether answers are of other groups: (b,), (b, d) -> (b, d) bool."""
        codes = self.queries[queries][:, None]
        return (codes < 0) | (self.stored[positions] != codes)


def encode(stored, queries):
    """Encode two lists consistently: (n,), (m,) -> codes; -1 for None, NaN and ""."""
    values = [np.asarray(part).astype(object) for part in (stored, queries)]
    values = np.concatenate(values)
    values[values == ""] = None
    codes = pd.factorize(values)[0]
    return codes[: len(stored)], codes[len(stored) :]


def lineage_groups(keys, names, own):
    """Group pictures with their rotated copies.

    `keys` (n,) are those of the stored pictures, `names` (m,) those of the queries, if
    they have some, `own` (m,) their positions among the stored pictures, or -1.
    """
    if names is None:
        return Groups(np.arange(len(keys)), own)
    lineage = pd.factorize(lineage_of([*keys, *names[own < 0]]))[0]
    queries = np.empty(len(own), int)
    queries[own >= 0], queries[own < 0] = lineage[own[own >= 0]], lineage[len(keys) :]
    return Groups(lineage[: len(keys)], queries)


def stated_groups(groups, keys, names, own):
    """Read the groups given by the user, as `geoimages.retrieval_scores` takes them."""
    n, m = len(keys), len(own)
    if isinstance(groups, dict | pd.Series):
        groups = pd.Series(groups)
        missing = [
            key for key in dict.fromkeys((*keys, *names)) if key not in groups.index
        ]
        if missing:
            raise ValueError(
                f"groups names no group of {missing[0]!r} and {len(missing) - 1} other "
                "pictures; give one for every stored picture and query, None for a "
                "picture of its own."
            )
        stored, queries = groups[keys], groups[names]
    elif isinstance(groups, tuple) and len(groups) == 2:
        stored, queries = groups
    elif (own >= 0).all():
        stored = np.asarray(groups)
        queries = stored[own] if stored.shape == (n,) else own
    else:
        raise ValueError(
            "groups must be (those of the stored pictures, those of the queries) where "
            "queries are not keys of the stored pictures."
        )
    if np.shape(stored) != (n,) or np.shape(queries) != (m,):
        raise ValueError(
            f"groups is of shape {np.shape(stored)} for the stored pictures and "
            f"{np.shape(queries)} for the queries; give one for each, expected {n} and "
            f"{m}."
        )
    return Groups(*encode(stored, queries))


def sampling_units(groupings):
    """Number the sampling units of queries: list of Groups -> (m,) int.

    Queries of one group share a number; the last grouping with a group decides.
    """
    units = np.arange(len(groupings[0].queries))
    for groups in groupings:
        codes = groups.queries
        units = np.where(codes >= 0, codes, codes.max(initial=0) + 1 + units)
    return units
