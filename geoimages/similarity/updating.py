"""Adding pictures to a fitted model, and taking them out, without a rebuild."""

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ..pictures.scaling import as_uint8
from ..pictures.validation import is_collection
from .base import SimilarityModel
from .keys import joined, keys_of, narrowed

_MOST_CHANGE = 2.0  # of the rows that share a cluster, before all are clustered again


def _joined_rows(rows, added):
    """Stored rows with others below them, in a type that holds both: (n + m, d)."""
    added = as_uint8(added)
    if rows.dtype == np.uint8 and added.dtype != np.uint8:
        rows = (rows / 255).astype(added.dtype)
    elif rows.dtype != np.uint8 and added.dtype == np.uint8:
        added = added / 255
    return np.concatenate([rows, added.astype(rows.dtype, copy=False)])


class UpdatableModel(SimilarityModel):
    """Base of the similarity models to which pictures can be added, and removed.

    A model says how its index follows by `_follow`, and by `_fewest_pictures` how many
    it needs.
    """

    def add(self, X, y=None):
        """Add pictures to the fitted ones.

        The features stay as they were fitted, and the clusters where they are: a
        picture joins the nearest. Taking the same pictures out again gives the answers
        of before. What had stayed in the file of a large `Collection` is read.

        Parameters
        ----------
        X : DataFrame, Collection or array-like
            Pictures as in `fit`. Those of an array get the whole numbers that follow
            the largest key.
        y : array-like of shape (n,), optional
            Their labels, where the model was fitted with labels; those of a
            Collection by default.

        Returns
        -------
        self : object
            The model with ``keys_``, ``y_``, ``lineage_`` and the search brought up
            to date. Where the clusters have lost their balance (the cluster of a
            picture holds, on average over the pictures, more than twice what it held
            when they were made, or less than half), they are made again, the recall
            is measured and ``n_rebuilds_`` is one more.

        Raises
        ------
        ValueError
            If a key is there already or labels are missing; nothing is changed then.
        """
        check_is_fitted(self)
        labels = y
        if y is None and is_collection(X) and len(X.classes):
            labels = X.labels if self.y_ is not None else None
        if (labels is None) != (self.y_ is None):
            wants = "without labels; omit y" if self.y_ is None else "with labels"
            raise ValueError(
                f"The model was fitted {wants}"
                + ("." if self.y_ is None else "; give y, one for each picture.")
            )
        images = self._check(X)
        if labels is not None:
            check_consistent_length(images, labels)
            labels = np.asarray(labels)
        keys = self._keys_to_add(X, len(images))
        rows = self._describe(images)
        if self.thumbnails_ is not None:
            thumbnails = self.features_.thumbnails(images)
            self.thumbnails_ = np.concatenate([self.thumbnails_, thumbnails])
        if self.pictures_ is not None:
            # A collection is a file that cannot be added to here.
            self.pictures_ = np.concatenate([self.pictures_[:], images])
        if labels is not None:
            self.y_ = np.concatenate([self.y_, labels])
        kept = np.arange(len(self.keys_))
        self._set_keys(joined(self.keys_, keys))
        self._follow(_joined_rows(self._stored(kept), rows), kept)
        return self

    def remove(self, keys):
        """Take pictures out of the fitted ones.

        What had stayed in the file of a large `Collection` is read.

        Parameters
        ----------
        keys : key or list of keys
            Which; rotated copies are named one by one.

        Returns
        -------
        self : object
            The model, brought up to date as by `add`.

        Raises
        ------
        KeyError
            If a key is not among the fitted ones.
        ValueError
            If too few pictures would be left; nothing is changed then.
        """
        check_is_fitted(self)
        if isinstance(keys, str) or np.ndim(keys) == 0:
            keys = [keys]
        kept = np.ones(len(self.keys_), bool)
        kept[self._position_of(list(keys))] = False
        kept, fewest = np.flatnonzero(kept), self._fewest_pictures()
        if len(kept) < fewest:
            raise ValueError(
                f"Only {len(kept)} of {len(self.keys_)} pictures would be left, and "
                f"the model needs {fewest} or more."
            )
        if self.thumbnails_ is not None:
            self.thumbnails_ = self.thumbnails_[kept]
        if self.pictures_ is not None:
            self.pictures_ = self.pictures_[kept]
        if self.y_ is not None:
            self.y_ = self.y_[kept]
        self._set_keys(narrowed(self.keys_[kept]))
        self._follow(self._stored(kept), kept)
        return self

    def _keys_to_add(self, X, n_added):
        """Keys of pictures to add: (m,); none is there already."""
        keys = keys_of(X)
        if keys is None:
            if self.keys_.dtype.kind not in "iu":
                raise ValueError(
                    "The fitted pictures have keys of their own, for example "
                    f"{str(self.keys_[0])!r}; give a DataFrame whose index holds the "
                    "new ones."
                )
            return self.keys_.max() + 1 + np.arange(n_added)
        keys = narrowed(keys)
        together = pd.Index(joined(self.keys_, keys))
        if together.has_duplicates:
            twice = together[together.duplicated()][0]
            raise ValueError(
                f"Keys must be unique, but {twice!r} is there already or comes twice; "
                "remove it first, or give another key."
            )
        return keys

    def _is_unbalanced(self):
        """Whether rows share their cluster with many more, or fewer, than at first."""
        change = self.search_.mean_list_size / self.mean_list_size_
        return not 1 / _MOST_CHANGE <= change <= _MOST_CHANGE
