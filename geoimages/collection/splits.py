"""Splits that keep rotated copies, duplicates and groups on one side."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_consistent_length

from ..pictures.validation import is_collection
from .duplicates import Duplicates, components, find_duplicates
from .lineage import lineage_of
from .sampling import assign_groups, count_classes


class Split(NamedTuple):
    """Positions of the pictures of each subset, ascending."""

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray


def _keys_of(collection):
    """The keys of a collection, a DataFrame or a sequence of keys."""
    framed = isinstance(collection, pd.DataFrame | pd.Series)
    keys = collection.index if framed else getattr(collection, "keys", collection)
    if np.ndim(keys) != 1:
        raise TypeError(
            "groups_of takes a Collection, a DataFrame or a list of keys, got "
            f"{type(collection).__name__}."
        )
    return list(keys)


def _column_of(collection, column, n):
    """Group of each picture by a column, missing where it is empty."""
    if isinstance(column, str):
        if not is_collection(collection):
            raise ValueError(
                f"column={column!r} names a column of a Collection; beside keys give "
                "its values."
            )
        table = collection.table
        if column not in table:
            raise KeyError(
                f"No column {column!r}; {collection.path.name} has "
                f"{', '.join(map(str, table.columns))}."
            )
        column = table[column]
    values = pd.Series(np.asarray(column), dtype=object)
    if len(values) != n:
        raise ValueError(f"column holds {len(values)} values for {n} pictures.")
    return values.mask(values.isna() | (values == ""))


def groups_of(collection, duplicates=None, column=None):
    """Group the pictures that must stay on one side of a split.

    Pictures belong to one group if they are rotated copies of one original, duplicates,
    or share the value of a column, and transitively.

    Parameters
    ----------
    collection : Collection, DataFrame or sequence of str
        Pictures, a table whose index holds their keys, or the keys.
    duplicates : Duplicates, bool or None, default=None
        Result of `find_duplicates`. True finds the duplicates of a collection.
    column : str or array-like of shape (n,), optional
        A column of ``collection.table`` (drill hole, sample, photo), or its values.
        Pictures without a value are groups of their own.

    Returns
    -------
    groups : ndarray of shape (n,), int
        Numbered in order of first occurrence.

    Raises
    ------
    KeyError
        If the collection has no such column.
    TypeError
        If `collection` has no keys.
    ValueError
        If `duplicates` is True without a collection, or belongs to other pictures, or
        the column has another length.

    Examples
    --------
    >>> from geoimages import groups_of
    >>> keys = ["marble.A", "marble.A.90", "marble.B", "schist.C"]
    >>> groups_of(keys).tolist()
    [0, 0, 1, 2]
    >>> groups_of(keys, column=["hole 1", "", "hole 2", "hole 1"]).tolist()
    [0, 0, 1, 0]
    """
    keys = _keys_of(collection)
    n = len(keys)
    joined = [pd.factorize(lineage_of(keys))[0]]
    if duplicates is True:
        if not is_collection(collection):
            raise ValueError(
                "duplicates=True looks at pictures and needs a Collection; beside keys "
                "give what find_duplicates returned, or None."
            )
        duplicates = find_duplicates(collection)
    if isinstance(duplicates, Duplicates):
        if n and not np.isin(keys, duplicates.keys).any():
            raise ValueError(
                f"duplicates are those of other pictures, such as "
                f"{duplicates.keys[:1].tolist()}, than {keys[:1]}; find them where "
                "the pictures have these keys."
            )
        copies = duplicates.groups.reindex(keys)
        joined.append(copies.fillna(-1).to_numpy(int))
    elif duplicates is not None and duplicates is not False:
        raise ValueError(
            "duplicates is what find_duplicates returned, True or None, got "
            f"{type(duplicates).__name__}."
        )
    if column is not None:
        joined.append(pd.factorize(_column_of(collection, column, n))[0])
    # Connect every picture to the first one of each of its groups.
    edges = []
    for ids in joined:
        members = np.flatnonzero(ids >= 0)
        first = pd.Series(members).groupby(ids[members]).transform("first")
        edges.append(np.stack([members, first.to_numpy(int)]))
    return components(n, *np.concatenate(edges, axis=1))


def split(
    collection,
    test_size=0.2,
    dev_size=0.0,
    *,
    stratify=True,
    column=None,
    duplicates=True,
    tolerance=0.1,
    random_state=None,
):
    """Split a collection into train, dev and test without leakage.

    Rotated copies, duplicates, and the pictures of one drill hole, sample or photo stay
    in one subset. The split is stratified by class as well as the groups allow.

    Parameters
    ----------
    collection : Collection
        The pictures.
    test_size, dev_size : float, default=0.2 and 0.0
        Shares of the pictures, in [0, 1); ``train`` gets the rest. None is 0.
    stratify : bool, default=True
        Whether to stratify by class.
    column : str or array-like of shape (n,), optional
        As in `groups_of`.
    duplicates : bool or Duplicates, default=True
        Whether to find duplicates and keep them together, or the duplicates.
    tolerance : float, default=0.1
        Maximum relative deviation from the size of a subset; one picture is always
        allowed.
    random_state : int, RandomState or None, default=None
        Seed of the split.

    Returns
    -------
    split : tuple of ndarray of int
        Positions: ``split.train``, ``split.dev`` and ``split.test``.

    Raises
    ------
    KeyError
        If the collection has no such column.
    ValueError
        If the shares leave no training pictures, or the groups are too large.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoimages import Collection, make_rocks, split
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.h5"
    >>> rocks = Collection.from_arrays(path, *make_rocks(60, random_state=0))
    >>> train, dev, test = split(rocks, test_size=0.2, random_state=0)
    >>> len(train), len(dev), len(test)
    (48, 0, 12)
    """
    if not is_collection(collection):
        raise TypeError(
            f"split takes a Collection, got {type(collection).__name__}; for rows and "
            "labels cross-validate with LineageKFold."
        )
    shares = np.array([0, dev_size or 0, test_size or 0], float)
    shares[0] = 1 - shares.sum()
    if not (shares[1:] >= 0).all() or not 0 < shares[0] < 1:
        raise ValueError(
            "test_size and dev_size must be shares of 0 or more that leave some pictures "
            f"for training, got {test_size!r} and {dev_size!r}."
        )
    groups = groups_of(collection, duplicates or None, column)
    labels = collection.labels if stratify else np.zeros(len(groups), int)
    counts, group = count_classes(labels, groups)
    used = np.flatnonzero(shares)
    targets = shares[used, None] * counts.sum(axis=0)
    subset = used[assign_groups(counts, targets, random_state)][group]
    sizes, wanted = np.bincount(subset, minlength=3), shares * len(groups)
    missed = np.abs(sizes - wanted) > np.maximum(tolerance * wanted, 1)
    if missed.any() or (sizes[used] == 0).any():
        got = ", ".join(f"{sizes[i]} for {Split._fields[i]}" for i in used)
        want = ", ".join(f"{wanted[i]:.0f}" for i in used)
        largest = counts.sum(axis=1).max()
        raise ValueError(
            f"{len(counts)} groups, the largest of {largest} pictures, cannot be split "
            f"so: the best found is {got} instead of {want}; choose other shares, "
            "a finer column or a higher tolerance."
        )
    return Split(*(np.flatnonzero(subset == i) for i in range(3)))


class LineageKFold(StratifiedGroupKFold):
    """Cross-validation with rotated copies and groups on one side of each fold.

    The keys are the index of a DataFrame; pictures of one original stay together, and
    those of one group if ``groups`` are given. Folds are stratified by class as well as
    the groups allow. For duplicates and columns, pass the result of `groups_of` as
    ``groups``.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether to shuffle the groups first.
    random_state : int, RandomState or None, default=None
        Seed of the shuffling.

    See Also
    --------
    sklearn.model_selection.StratifiedGroupKFold : Assigns the groups to folds.

    Examples
    --------
    >>> import pandas as pd
    >>> from geoimages import LineageKFold
    >>> keys = ["a.1", "a.2", "a.1.90", "a.2.90"]
    >>> rows = pd.DataFrame({"x": [0, 1, 0, 1]}, index=keys)
    >>> for train, test in LineageKFold(n_splits=2).split(rows):
    ...     print(train, test)
    [1 3] [0 2]
    [0 2] [1 3]
    """

    def split(self, X, y=None, groups=None):
        """Yield the positions of each fold.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, n_features)
            Rows; the index of a DataFrame holds the keys.
        y : array-like of shape (n,), optional
            Classes. Regression targets are not stratified.
        groups : array-like of shape (n,), optional
            Further groups that must stay together; required if X has no keys.

        Yields
        ------
        train, test : ndarray of int
            Positions.

        Raises
        ------
        ValueError
            If there are neither keys nor groups, or fewer groups than folds.
        """
        keyed = isinstance(X, pd.DataFrame | pd.Series)
        if not keyed and groups is None:
            raise ValueError(
                "LineageKFold needs keys or groups: pass a DataFrame "
                "whose index holds the keys, or groups=groups_of(...)."
            )
        check_consistent_length(X, y, groups)
        groups = groups_of(X if keyed else range(len(groups)), column=groups)
        if y is None or type_of_target(y) not in ("binary", "multiclass"):
            y = np.zeros(len(groups), int)
        yield from super().split(np.zeros(len(groups)), y, groups)
