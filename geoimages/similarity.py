"""What the similarity models share: stored rows, candidates and the ranked table."""

import numbers
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from .lineage import lineage_of
from .ranking import ranked_table
from .reading import on_white
from .search import ExactSearch
from .search.metrics import check_metric, check_metric_params
from .validation import check_images, is_collection, rows_for, takes_image_shape

_EXCLUDE = ("lineage", "self", None)


def check_count(name, value):
    """Return a positive integer, or raise an error that names the parameter."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, got {value}.")
    return int(value)


def _keys_of(X):
    """The keys of what a model is given: a frame's index, or None."""
    if is_collection(X):
        return np.asarray(X.keys)
    if isinstance(X, pd.DataFrame):
        return X.index.to_numpy()
    return None


def _are_keys(X):
    """Whether X is a list of keys rather than of pixels."""
    return (
        isinstance(X, list | tuple | pd.Index | pd.Series | np.ndarray)
        and len(X) > 0
        and np.ndim(X) == 1
        and all(isinstance(key, str) for key in X)
    )


def _rank_keys(keys):
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


class SimilarityModel(BaseEstimator):
    """Base of the models that rank stored pictures by distance to a candidate.

    A model says where it searches by `_find`; everything else is here.
    """

    def fit(self, X, y=None):
        """Store the pictures that candidates will be compared with.

        Parameters
        ----------
        X : DataFrame, Collection or array-like
            Flat rows of shape (n, n_features) or pictures of shape
            (n, height, width, channels). uint8 means 0–255 and float 0–1. The keys
            are the index of a DataFrame, those of a Collection, else 0 to n − 1.
        y : array-like of shape (n,), optional
            Labels, which `score` needs; those of a Collection by default.

        Returns
        -------
        self : object
            The fitted model.
        """
        if isinstance(y, numbers.Number | str):
            raise TypeError(
                f"y is the labels of the pictures, one each; got {y!r}. To set "
                f"another parameter name it, for example {self._named_in_fit}={y!r}."
            )
        check_metric(self.dist_metric)
        check_metric_params(self.metric_params)
        if y is None and is_collection(X) and len(X.classes):
            y = X.labels
        rows = self._learn_rows(X, y)
        keys = _keys_of(X)
        keys = np.arange(len(rows)) if keys is None else keys
        if len(set(keys)) < len(keys):
            twice = pd.Index(keys)[pd.Index(keys).duplicated()][0]
            raise ValueError(
                f"Keys must be unique, but {twice!r} stands for several rows; give "
                "the DataFrame an index without duplicates."
            )
        if all(isinstance(key, str) for key in keys):
            keys = np.asarray(keys, dtype=str)
        if y is not None:
            check_consistent_length(rows, y)
            y = np.asarray(y)
        self.keys_ = keys
        self.y_ = y
        self.lineage_ = pd.factorize(lineage_of(keys.tolist()))[0]
        self.search_ = ExactSearch(rows, _rank_keys(keys), self.metric_params)
        return self

    @property
    def _compares_pixels(self):
        return self.features is None or (
            isinstance(self.features, str) and self.features == "passthrough"
        )

    def _learn_rows(self, X, y):
        """Check X, fit the features and return the rows to store."""
        images = self._check(X, reset=True)
        if not self._compares_pixels:
            self.features_ = clone(self.features)
            if takes_image_shape(self.features_):
                self.features_.set_params(image_shape=self.image_shape_)
            self.features_.fit(rows_for(self.features_, images), y)
            if is_collection(X):
                return X.features(self.features_)
        return self._describe(images)

    def _check(self, X, reset):
        X = X[:] if is_collection(X) else X
        return check_images(self, X, reset=reset, dtype=None)

    def _describe(self, images):
        """Turn checked pictures into the rows that are compared."""
        if not self._compares_pixels:
            rows = self.features_.transform(rows_for(self.features_, images))
            return np.asarray(rows)
        images = on_white(images) if images.shape[3] == 4 else images
        return images.reshape(len(images), -1)

    def _stored(self, positions):
        """The stored rows at positions in the order given to `fit`."""
        return self.search_.rows[positions]

    def _position_of(self, keys):
        """Positions of keys among the fitted rows."""
        positions = pd.Index(self.keys_).get_indexer(keys)
        if (positions < 0).any():
            missing = keys[int(np.flatnonzero(positions < 0)[0])]
            example = f", for example {str(self.keys_[0])!r}" if len(self.keys_) else ""
            raise KeyError(
                f"{missing!r} is not a key of the {len(self.keys_)} fitted pictures"
                f"{example}; a picture file is read first: "
                "model.predict(read_image(path))."
            )
        return positions

    def _candidates(self, X):
        """Return (rows, names or None for a single one, own positions or None)."""
        if isinstance(X, str) or _are_keys(X):
            keys = [X] if isinstance(X, str) else list(X)
            positions = self._position_of(keys)
            names = None if isinstance(X, str) else keys
            return self._stored(positions), names, positions
        if isinstance(X, pd.Series):
            X = X.to_numpy()
        single = False
        if not is_collection(X) and not isinstance(X, pd.DataFrame):
            X = X if hasattr(X, "ndim") else np.asarray(X)
            if X.ndim == 1 and not len(X):
                raise ValueError(
                    "X holds no candidate; give a key, a picture or a list of keys."
                )
            single = X.ndim in (1, 3)
            X = X[None] if single else X
        names = _keys_of(X)
        rows = self._describe(self._check(X, reset=False))
        names = np.arange(len(rows)) if names is None else names
        return rows, None if single else names, None

    def _leave_out(self, own, exclude):
        """For each candidate named by key, the positions it does not want to see."""
        if exclude not in _EXCLUDE:
            raise ValueError(
                f"exclude={exclude!r} is not known; expected 'lineage' (the picture "
                "and its turned copies), 'self' or None."
            )
        if own is None or exclude is None:
            return None
        if exclude == "self":
            return [np.array([position]) for position in own]
        return [
            np.flatnonzero(self.lineage_ == self.lineage_[position]) for position in own
        ]

    def predict(self, X, k_candidates=None, dist_metric=None, *, exclude="lineage"):
        """Find the stored pictures most like each candidate.

        Parameters
        ----------
        X : str, list of str, array-like, DataFrame or Collection
            A key of the fitted pictures or a list of them; or pixels: a flat row, a
            picture (height, width, channels), rows, pictures or a DataFrame.
        k_candidates : int, optional
            Number of pictures to return, for this call; by default the model's.
        dist_metric : str, optional
            Distance, for this call; by default the model's.
        exclude : {"lineage", "self", None}, default="lineage"
            What a candidate that is named by key leaves out: itself and its turned
            copies, itself only, or nothing. Pixels leave out nothing.

        Returns
        -------
        matches : DataFrame
            The ranked table: index ``key`` for one row, picture or key, and
            ``(query, key)`` for a batch; columns the distance, named after its
            metric and ascending, and ``similarity`` (1 − d for correlation and
            cosine, 1 / (1 + d) otherwise). Equal distances are ordered by key.
            Where fewer pictures are stored than asked for, all come back.

        Raises
        ------
        KeyError
            If a key is not among the fitted ones.
        ValueError
            If the pixels do not fit the fitted pictures, or an option is unknown.
        """
        return self._rank(X, k_candidates, dist_metric, exclude)

    def _rank(self, X, k_candidates, dist_metric, exclude, **options):
        """Make the ranked table; `options` go on to `_find`."""
        check_is_fitted(self)
        k = self.k_candidates if k_candidates is None else k_candidates
        metric = check_metric(self.dist_metric if dist_metric is None else dist_metric)
        rows, names, own = self._candidates(X)
        found = self._find(
            rows,
            check_count("k_candidates", k),
            metric,
            self._leave_out(own, exclude),
            **options,
        )
        return ranked_table(found, self.keys_, metric, names)

    def kneighbors(self, X=None, n_neighbors=None):
        """Find the nearest stored pictures, as scikit-learn's neighbors do.

        Parameters
        ----------
        X : as in `predict`, optional
            Candidates; one named by key leaves out its turned copies, too. By default
            each fitted picture, without itself only.
        n_neighbors : int, optional
            Number of neighbors; by default ``k_candidates``.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), float64
            Ascending.
        positions : ndarray of shape (n_queries, n_neighbors), int64
            Rows in the order given to `fit`.

        Raises
        ------
        ValueError
            If fewer pictures can be found than neighbors asked for.
        """
        check_is_fitted(self)
        k = self.k_candidates if n_neighbors is None else n_neighbors
        k = check_count("n_neighbors", k)
        if X is None:
            own = np.arange(len(self.keys_))
            rows, leave_out = self._stored(own), self._leave_out(own, "self")
        else:
            rows, _, own = self._candidates(X)
            leave_out = self._leave_out(own, "lineage")
        stored = len(self.keys_) - max(map(len, leave_out or [()]))
        if k > stored:
            raise ValueError(
                f"Expected n_neighbors <= {stored}, the pictures that can be found, "
                f"got n_neighbors={k} (n_samples_fit={len(self.keys_)})."
            )
        found = self._find(rows, k, check_metric(self.dist_metric), leave_out)
        return (
            np.array([distances for distances, _ in found]).reshape(-1, k),
            np.array([positions for _, positions in found]).reshape(-1, k),
        )

    def score(self, X, y):
        """Return the precision at ``k_candidates``.

        Parameters
        ----------
        X : as in `predict`
            Candidates.
        y : array-like of shape (n_queries,)
            Their labels.

        Returns
        -------
        precision : float
            The share of the pictures found that have their candidate's label, mean
            over the candidates.

        Raises
        ------
        ValueError
            If the model was fitted without labels.
        """
        check_is_fitted(self)
        if self.y_ is None:
            raise ValueError(
                "score compares labels, but the model was fitted without; "
                "call fit(X, y) with one label a picture."
            )
        rows, _, own = self._candidates(X)
        y = np.atleast_1d(np.asarray(y))
        check_consistent_length(rows, y)
        found = self._find(
            rows,
            check_count("k_candidates", self.k_candidates),
            check_metric(self.dist_metric),
            self._leave_out(own, "lineage"),
        )
        shares = [
            np.mean(self.y_[positions] == label) if len(positions) else 0.0
            for (_, positions), label in zip(found, y, strict=True)
        ]
        return float(np.mean(shares))


def find_similar(model, collection, candidate, where=None):
    """Fit a model on a collection and find what is most like a candidate.

    Parameters
    ----------
    model : PairwiseModel or KMeansModel
        A clone of it is fitted on the pictures that `where` leaves.
    collection : Collection
        The pictures.
    candidate : str or path-like
        A key of the collection, or else the path of a picture file.
    where : dict, optional
        Columns of the collection's table and the value each must have, or a list of
        values, any of which will do.

    Returns
    -------
    matches : DataFrame
        The ranked table of one candidate.

    Raises
    ------
    KeyError
        If the candidate is neither a key nor a file, or a column is unknown.
    ValueError
        If no picture fits `where`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from geoimages import Collection, PairwiseModel, find_similar, make_rocks
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.h5"
    >>> rocks = Collection.from_arrays(path, *make_rocks(60, random_state=0))
    >>> key = rocks.keys[0]
    >>> matches = find_similar(PairwiseModel(4), rocks, key, {"label": "marble"})
    >>> set(rocks.labels[rocks.position(key)] for key in matches.index) == {"marble"}
    True
    """
    known = candidate in collection
    if not known and not Path(candidate).is_file():
        raise KeyError(
            f"{str(candidate)!r} is neither a picture file nor a key of "
            f"{collection.path.name}; keys look like "
            f"{str(collection.keys[0])!r}."
        )
    model = clone(model).set_params(image_shape=collection.image_shape)
    if not where:
        model.fit(collection)
        return model.predict(candidate if known else collection.read(candidate))
    positions = collection.where(**where)
    if not len(positions):
        raise ValueError(f"No picture of {collection.path.name} has {where}.")
    model.fit(collection.to_frame("uint8", positions))
    if known and candidate in set(collection.keys[positions].tolist()):
        return model.predict(candidate)
    picture = collection[candidate] if known else collection.read(candidate)
    return model.predict(picture)
