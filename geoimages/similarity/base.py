"""What the similarity models share: stored rows, candidates and the ranked table."""

import numbers
import reprlib

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ..collection.lineage import lineage_of
from ..pictures.orientation import check_orientation, turn
from ..pictures.scaling import as_uint8, on_white
from ..pictures.validation import (
    check_images,
    input_for,
    is_collection,
)
from ..search import ExactSearch
from ..search.metrics import check_metric, check_metric_params
from ..search.rotated import deduplicate_rotations
from .explanation import block_shares, blocks_of
from .ranking import Matches, ranked_table

_EXCLUDE = ("lineage", "self", None)
_BLOCK_QUERIES = 2048  # described and ranked together
_FEW = 16  # candidates whose families are looked for one by one
_BLOCK_BYTES = 1 << 24
_MOST_READ = 1 << 30  # bytes of pixels: those of larger collections stay in the file


def check_count(name, value):
    """Return a positive integer, or raise an error that names the parameter."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, got {value}.")
    return int(value)


def keys_of(X):
    """The keys of what a model is given: a frame's index, or None."""
    if is_collection(X):
        return np.asarray(X.keys)
    if isinstance(X, pd.DataFrame):
        return X.index.to_numpy()
    return None


def _are_keys(X):
    """Whether X is a list of keys rather than of pixels."""
    lists = (list, tuple, pd.Index, pd.Series, ExtensionArray, np.ndarray)
    return (
        isinstance(X, lists)
        and len(X) > 0
        and np.ndim(X) == 1
        and all(isinstance(key, str) for key in X)
    )


def _are_numbers(values):
    """Whether a 1-D array holds numbers only, whatever its dtype."""
    if getattr(values.dtype, "kind", "f") not in "OUS":
        return True
    return all(isinstance(value, numbers.Number) for value in values)


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


def _pictures_in(collection):
    """The pictures of a collection, those of a large one mapped: (n, h, w, c) uint8."""
    n_bytes = len(collection) * int(np.prod(collection.image_shape))
    mapped = collection.mapped() if n_bytes > _MOST_READ else None
    return collection[:] if mapped is None else mapped


def _on_white(images):
    """Put pictures on white, some megabytes at a time: (n, h, w, 4) -> (n, h, w, 3)."""
    out = np.empty((*images.shape[:3], 3), images.dtype)
    step = max(1, _BLOCK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        out[start : start + step] = on_white(images[start : start + step])
    return out


def _positions_in(keys, rank, asked):
    """Positions of those asked for among unique keys, −1 for others: (m,) int.

    `rank` is the place of each key in key order.
    """
    if keys.dtype.kind == "U":
        # NumPy drops NUL at the end, and makes all as wide as the longest.
        width = keys.dtype.itemsize // 4
        alike = all(
            isinstance(key, str) and len(key) <= width and key[-1:] != "\0"
            for key in asked
        )
    else:
        alike = keys.dtype.kind == np.asarray(asked).dtype.kind == "i"
    if not alike:
        return pd.Index(keys).get_indexer(asked)
    # By bisection: an index would take longer to make than to search a collection.
    wanted, order = np.asarray(asked), np.empty(len(keys), np.int64)
    order[rank] = np.arange(len(keys))
    places = np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)
    return np.where(keys[order[places]] == wanted, order[places], -1)


class _Candidates:
    """What is asked about: pictures, or positions of fitted ones.

    ``images`` is (m, h, w, c) or None, ``own`` (m,) positions or None, and ``names``
    what the ranked table calls them, None for a single one.
    """

    def __init__(self, images, own, names):
        self.images, self.own, self.names = images, own, names

    def __len__(self):
        return len(self.own if self.images is None else self.images)


class SimilarityModel(BaseEstimator):
    """Base of the models that rank stored pictures by distance to a candidate.

    A model says where it searches by `_find`; everything else is here.
    """

    _deduplicates_rotations = False  # whether its engine takes `RotatedRows`

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

        Notes
        -----
        Pixels of a `Collection` that holds more than 1 GiB of them stay in its file,
        which is mapped; keep it unchanged as long as the model is used. They are read
        into memory where `Collection.mapped` gives None, where a mask puts them on
        white, where features of scikit-learn's own are given them, for seuclidean and
        mahalanobis, and where the model is saved, copied, sent to another process or
        changed.
        """
        if isinstance(y, numbers.Number | str):
            raise TypeError(
                f"y is the labels of the pictures, one each; got {y!r}. To set "
                f"another parameter name it, for example {self._named_in_fit}={y!r}."
            )
        check_metric(self.dist_metric)
        check_metric_params(self.metric_params)
        check_orientation(self.orientation)
        if self.rerank not in ("auto", None):
            raise ValueError(f"rerank must be 'auto' or None, got {self.rerank!r}.")
        if y is None and is_collection(X) and len(X.classes):
            y = X.labels
        rows = self._learn_rows(X, y)
        keys = keys_of(X)
        keys = np.arange(len(rows)) if keys is None else keys
        missing = np.flatnonzero(pd.isna(pd.Index(keys, tupleize_cols=False)))
        if len(missing):
            raise ValueError(
                f"Row {missing[0]} has no key; give the DataFrame an index without "
                "missing values."
            )
        if all(isinstance(key, str) for key in keys):
            keys = np.asarray(keys, dtype=str)
        if len(set(keys)) < len(keys):
            twice = pd.Index(keys)[pd.Index(keys).duplicated()][0]
            raise ValueError(
                f"Keys must be unique, but {twice!r} stands for several rows; give "
                "the DataFrame an index without duplicates."
            )
        if y is not None:
            check_consistent_length(rows, y)
            y = np.asarray(y)
        self.keys_ = keys
        self.y_ = y
        self.lineage_ = pd.factorize(lineage_of(keys.tolist()))[0]
        self.search_rank_ = rank_keys(keys)
        self.search_ = self._exact_search(rows)
        return self

    def _exact_search(self, rows):
        """The engine that compares all rows."""
        if self._compares_pixels and self._deduplicates_rotations:
            rows = deduplicate_rotations(as_uint8(rows), self.image_shape_)
        shape = self.image_shape_ if self._compares_pixels else None
        return ExactSearch(rows, self.search_rank_, self.metric_params, shape)

    @property
    def _compares_pixels(self):
        return self.features is None or (
            isinstance(self.features, str) and self.features == "passthrough"
        )

    def _learn_rows(self, X, y):
        """Check X, fit the features and return the rows to store."""
        images = self._check(X, reset=True)
        self.pictures_ = self.thumbnails_ = None
        if self._compares_pixels:
            return self._describe(images)
        if isinstance(self.features, type) or not hasattr(self.features, "transform"):
            given = " ".join(repr(self.features).split())  # on one line
            raise TypeError(
                f"features={given} is no transformer; give one, such as "
                "RockFeatures(), or None to compare pixels."
            )
        self.features_ = clone(self.features)
        self.features_.fit(input_for(self.features_, images), y)
        self.pictures_ = X if is_collection(X) else images
        if self.rerank == "auto" and hasattr(self.features_, "verify"):
            self.thumbnails_ = self.features_.thumbnails(images)
        if is_collection(X):
            return self._check_rows(X.features(self.features_), len(images))
        return self._describe(images)

    def _check(self, X, reset):
        X = _pictures_in(X) if is_collection(X) else X
        return check_images(self, X, reset=reset, dtype=None)

    def _describe(self, images):
        """Turn checked pictures into the rows that are compared."""
        if not self._compares_pixels:
            rows = self.features_.transform(input_for(self.features_, images))
            return self._check_rows(np.asarray(rows), len(images))
        images = _on_white(images) if images.shape[3] == 4 else images
        return images.reshape(len(images), -1)

    def _check_rows(self, rows, n):
        """Return what features gave, or say why it cannot be compared."""
        name = type(self.features).__name__
        if rows.ndim != 2 or len(rows) != n or rows.dtype.kind not in "buif":
            raise ValueError(
                f"{name} gave {rows.dtype} of the shape {rows.shape} for {n} pictures, "
                f"expected numbers, ({n}, n_features), that are not sparse."
            )
        if rows.dtype not in (np.uint8, np.float32, np.float64):
            rows = rows.astype(np.float32 if rows.dtype.itemsize <= 2 else np.float64)
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            raise ValueError(
                f"{name} gave NaN or infinity, which nothing can be compared with; mend "
                "the features, or leave the picture out."
            )
        return rows

    def _stored(self, positions):
        """The stored rows at positions in the order given to `fit`."""
        return self.search_.take(positions)

    def _position_of(self, keys):
        """Positions of keys among the fitted rows."""
        positions = _positions_in(self.keys_, self.search_rank_, keys)
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
        """Return a `_Candidates` of whatever `predict` takes."""
        if isinstance(X, str) or _are_keys(X):
            keys = [X] if isinstance(X, str) else list(X)
            own = self._position_of(keys)
            return _Candidates(None, own, None if isinstance(X, str) else keys)
        if isinstance(X, pd.Series):
            X = X.to_numpy()
        single = False
        if not is_collection(X) and not isinstance(X, pd.DataFrame):
            given, X = X, X if hasattr(X, "ndim") else np.asarray(X)
            if X.ndim == 1 and not len(X):
                raise ValueError(
                    "X holds no candidate; give a key, a picture or a list of keys."
                )
            if X.ndim == 0 or (X.ndim == 1 and not _are_numbers(X)):
                raise TypeError(
                    f"{reprlib.repr(given)} is neither a key or keys, which are strings, "
                    "nor pixels; a picture file is read first: "
                    "model.predict(read_image(path))."
                )
            single = X.ndim in (1, 3)
            X = X[None] if single else X
        names = keys_of(X)
        images = self._check(X, reset=False)
        names = np.arange(len(images)) if names is None else names
        return _Candidates(images, None, None if single else names)

    def _pictures_of(self, candidates, these):
        """Pictures of some candidates: (m, h, w, c)."""
        if candidates.images is not None:
            return candidates.images[these]
        own = candidates.own[these]
        if self._compares_pixels:
            height, width, channels = self.image_shape_
            channels = 3 if channels == 4 else channels  # they were put on white
            return self._stored(own).reshape(-1, height, width, channels)
        if self.pictures_ is None:
            raise ValueError(
                "This model was saved without its pictures, so it cannot turn one that "
                "is named by key; give the picture itself."
            )
        return self.pictures_[own]

    def __getstate__(self):
        """Leave an open collection out of what is saved, copied or sent."""
        state = super().__getstate__()
        if is_collection(state.get("pictures_")):
            turns = self.orientation != "fixed" and self.thumbnails_ is None
            state["pictures_"] = state["pictures_"][:] if turns else None
        return state

    def _rows_of(self, candidates, these, orientations):
        """Rows of some candidates, the orientations of each one together."""
        if candidates.images is None and len(orientations) == 1:
            return self._stored(candidates.own[these])
        pictures = self._pictures_of(candidates, these)
        rows = [
            self._describe(turn(pictures, degrees, mirrored))
            for degrees, mirrored in orientations
        ]
        return np.stack(rows, axis=1).reshape(-1, rows[0].shape[1])

    def _excluded(self, own, exclude):
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
        if len(own) < _FEW:  # to look for them is faster than to sort
            return [np.flatnonzero(self.lineage_ == i) for i in self.lineage_[own]]
        order = np.argsort(self.lineage_, kind="stable")
        ends = np.searchsorted(self.lineage_[order], np.arange(self.lineage_.max() + 2))
        return [order[ends[family] : ends[family + 1]] for family in self.lineage_[own]]

    def predict(
        self,
        X,
        k_candidates=None,
        dist_metric=None,
        *,
        exclude="lineage",
        orientation=None,
        explain=False,
    ):
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
        orientation : {"fixed", "rotations", "any"}, optional
            How the candidate may be turned, for this call; by default the model's.
        explain : bool, default=False
            Whether to add a column for each block of the features: its share of the
            distance. The shares add up to the distance (of a re-ranked answer: to
            that of its short list). For cosine, correlation, cityblock and
            sqeuclidean.

        Returns
        -------
        matches : DataFrame
            The ranked table: index ``key`` for one row, picture or key, and
            ``(query, key)`` for a batch; columns the distance, named after its
            metric and ascending, and ``similarity`` (1 − d for correlation, cosine
            and verification, 1 / (1 + d) otherwise). Equal distances are ordered by
            key. Where fewer pictures are stored than asked for, all come back. Unless
            the candidate is fixed, ``orientation`` and ``mirrored`` say how it was
            turned: mirrored left-right first, then by degrees counter-clockwise. A
            re-ranked answer is ordered by ``verification``, its first column, and
            the distance follows.

        Raises
        ------
        KeyError
            If a key is not among the fitted ones.
        ValueError
            If the pixels do not fit the fitted pictures, or an option is unknown.
        """
        return self._predict(
            X, k_candidates, dist_metric, exclude, orientation, explain
        )

    def _predict(
        self, X, k_candidates, dist_metric, exclude, orientation, explain, **options
    ):
        """Make the ranked table; `options` go on to `_find`."""
        check_is_fitted(self)
        k = self.k_candidates if k_candidates is None else k_candidates
        metric = check_metric(self.dist_metric if dist_metric is None else dist_metric)
        candidates = self._candidates(X)
        found = self._matches(
            candidates,
            check_count("k_candidates", k),
            metric,
            self._excluded(candidates.own, exclude),
            orientation,
            explain,
            **options,
        )
        return ranked_table(found, self.keys_, candidates.names)

    def _matches(
        self,
        candidates,
        k,
        metric,
        excluded,
        orientation=None,
        explain=False,
        **options,
    ):
        """Rank the stored pictures for each candidate: a list of `Matches`."""
        orientation = self.orientation if orientation is None else orientation
        orientations = check_orientation(orientation, self.image_shape_)
        reranked = self.thumbnails_ is not None
        if explain and self._compares_pixels:
            raise ValueError(
                "explain=True tells what each block of features adds to the distance, "
                "but this model compares pixels; give it features=RockFeatures()."
            )
        # Rows that are the same whichever way up need one search, not eight.
        searched = orientations
        if reranked and getattr(self.features_, "rotation_invariant", False):
            searched = orientations[:1]
        depth = max(k, self.features_.shortlist) if reranked else k
        found = []
        for start in range(0, len(candidates), _BLOCK_QUERIES):
            these = np.arange(start, min(start + _BLOCK_QUERIES, len(candidates)))
            rows = self._rows_of(candidates, these, searched)
            out = excluded and excluded[start : start + _BLOCK_QUERIES]
            nearest = self._find(rows, depth, metric, out, len(searched), **options)
            for i, (distance, positions, which) in enumerate(nearest):
                turned = np.array(searched, dtype=object)[which]
                matches = Matches(
                    positions,
                    metric,
                    distance,
                    None if len(orientations) == 1 else turned.reshape(-1, 2),
                )
                if explain:
                    matches.shares = block_shares(
                        rows[i * len(searched) + which],
                        self._stored(positions),
                        distance,
                        metric,
                        blocks_of(self.features_),
                    )
                found.append(matches)
            if reranked:
                thumbnails = (
                    self.thumbnails_[candidates.own[these]]
                    if candidates.images is None
                    else self.features_.thumbnails(candidates.images[these])
                )
                for i, thumbnail in zip(these, thumbnails, strict=True):
                    found[i] = self._verified(thumbnail, found[i], orientation, k)
        return found

    def _verified(self, thumbnail, matches, orientation, k):
        """Re-rank a short list by what `features.verify` says of it."""
        distance, degrees, mirrored = self.features_.verify(
            thumbnail, self.thumbnails_[matches.positions], orientation
        )
        order = np.lexsort((self.search_rank_[matches.positions], distance))[:k]
        matches = matches.take(order)
        matches.verification = distance[order]
        if matches.orientations is not None:
            matches.orientations = np.column_stack([degrees, mirrored])[order]
        return matches

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
            candidates = _Candidates(None, np.arange(len(self.keys_)), None)
            excluded = self._excluded(candidates.own, "self")
        else:
            candidates = self._candidates(X)
            excluded = self._excluded(candidates.own, "lineage")
        stored = len(self.keys_) - max(map(len, excluded or [()]))
        if k > stored:
            raise ValueError(
                f"Expected n_neighbors <= {stored}, the pictures that can be found, "
                f"got n_neighbors={k} (n_samples_fit={len(self.keys_)})."
            )
        metric = check_metric(self.dist_metric)
        found = self._matches(candidates, k, metric, excluded)
        return (
            np.array([matches.distance for matches in found]).reshape(-1, k),
            np.array([matches.positions for matches in found]).reshape(-1, k),
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
        candidates = self._candidates(X)
        y = np.atleast_1d(np.asarray(y))
        check_consistent_length(candidates, y)
        found = self._matches(
            candidates,
            check_count("k_candidates", self.k_candidates),
            check_metric(self.dist_metric),
            self._excluded(candidates.own, "lineage"),
        )
        shares = [
            np.mean(self.y_[matches.positions] == label) if len(matches) else 0.0
            for matches, label in zip(found, y, strict=True)
        ]
        return float(np.mean(shares))

    def neighbors_table(self, k=None, *, exclude="lineage"):
        """Find the neighbors of every fitted picture.

        Parameters
        ----------
        k : int, optional
            Neighbors of each; by default ``k_candidates``.
        exclude : {"lineage", "self", None}, default="lineage"
            What is left out, as in `predict`.

        Returns
        -------
        table : DataFrame
            The ranked table, with every key as a query.

        See Also
        --------
        write_neighbors : Writes it to a file, a block of pictures at a time.
        """
        return pd.concat(list(self.neighbors_blocks(k, exclude=exclude)))

    def neighbors_blocks(self, k=None, *, exclude="lineage"):
        """Yield `neighbors_table` block by block, so that it need not fit in memory.

        Parameters
        ----------
        k, exclude : as in `neighbors_table`

        Yields
        ------
        table : DataFrame
            The ranked table of some 2,000 queries.
        """
        check_is_fitted(self)
        for start in range(0, len(self.keys_), _BLOCK_QUERIES):
            own = np.arange(start, min(start + _BLOCK_QUERIES, len(self.keys_)))
            found = self._matches(
                _Candidates(None, own, None),
                check_count("k", self.k_candidates if k is None else k),
                check_metric(self.dist_metric),
                self._excluded(own, exclude),
            )
            yield ranked_table(found, self.keys_, self.keys_[own])
