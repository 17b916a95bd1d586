"""Adding pictures to a fitted model, and removing them, without a rebuild."""

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ..pictures.scaling import as_uint8
from ..pictures.validation import is_collection
from .base import SimilarityModel
from .keys import joined, keys_of, narrowed

_MOST_CHANGE = 2.0  # ratio of mean list sizes that triggers a new clustering


def _joined_rows(rows, added):
    """Stored rows with others below them, in a type that holds both: (n + m, d)."""
    added = as_uint8(added)
    if rows.dtype == np.uint8 and added.dtype != np.uint8:
        rows = (rows / 255).astype(added.dtype)
    elif rows.dtype != np.uint8 and added.dtype == np.uint8:
        added = added / 255
    return np.concatenate([rows, added.astype(rows.dtype, copy=False)])


class UpdatableModel(SimilarityModel):
    """Base of the similarity models that support adding and removing pictures.

    A subclass defines how its index is updated (`_follow`), and the minimum number of
    pictures (`_fewest_pictures`).
    """

    def add(self, X, y=None):
        """Add pictures to the fitted ones.

        Features and clusters stay as fitted: a picture is added to its nearest cluster.
        Removing the same pictures restores the previous answers. Pixels memory-mapped
        from a large `Collection` are read into memory.

        Parameters
        ----------
        X : DataFrame, Collection or array-like
            Pictures as in `fit`. Those of an array get the integers after the largest
            key.
        y : array-like of shape (n,), optional
            Their labels, if the model was fitted with labels; by default those of a
            Collection.

        Returns
        -------
        self : object
            The updated model. If the clusters have become unbalanced (the size of a
            picture's cluster, averaged over the pictures, is more than twice or less
            than half that at the last clustering), the pictures are clustered again,
            the recall is measured and ``n_rebuilds_`` increases by one.

        Raises
        ------
        ValueError
            If a key already exists or labels are missing; the model is not changed.
        """
        check_is_fitted(self)
        labels = y
        if y is None and is_collection(X) and len(X.classes):
            labels = X.labels if self.y_ is not None else None
        if (labels is None) != (self.y_ is None):
            wants = "without labels; omit y" if self.y_ is None else "with labels"
            raise ValueError(
                f"The model was fitted {wants}"
                + ("." if self.y_ is None else "; pass y, one label per picture.")
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
            # The file of a collection cannot be extended here.
            self.pictures_ = np.concatenate([self.pictures_[:], images])
        if labels is not None:
            self.y_ = np.concatenate([self.y_, labels])
        kept = np.arange(len(self.keys_))
        self._set_keys(joined(self.keys_, keys))
        self._follow(_joined_rows(self._stored(kept), rows), kept)
        return self

    def remove(self, keys):
        """Remove pictures from the fitted ones.

        Pixels memory-mapped from a large `Collection` are read into memory.

        Parameters
        ----------
        keys : key or list of keys
            Keys to remove; rotated copies are removed only if listed.

        Returns
        -------
        self : object
            The model, updated as by `add`.

        Raises
        ------
        KeyError
            If a key is not among the fitted ones.
        ValueError
            If too few pictures would remain; the model is not changed.
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
        """Return the keys of pictures to add, all of them new: (m,)."""
        keys = keys_of(X)
        if keys is None:
            if self.keys_.dtype.kind not in "iu":
                raise ValueError(
                    "The fitted pictures have keys of their own, for example "
                    f"{str(self.keys_[0])!r}; pass a DataFrame whose index holds the "
                    "new ones."
                )
            return self.keys_.max() + 1 + np.arange(n_added)
        keys = narrowed(keys)
        together = pd.Index(joined(self.keys_, keys))
        if together.has_duplicates:
            twice = together[together.duplicated()][0]
            raise ValueError(
                f"Keys must be unique, but {twice!r} already exists or is repeated; "
                "remove it first, or use another key."
            )
        return keys

    def _is_unbalanced(self):
        """Whether mean list sizes have changed too much since the last clustering."""
        change = self.search_.mean_list_size / self.mean_list_size_
        return not 1 / _MOST_CHANGE <= change <= _MOST_CHANGE
