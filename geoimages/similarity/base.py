"""Base of the similarity models: stored rows, and the path from candidate to match."""

import numbers
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ..collection.lineage import lineage_of, tile_boxes
from ..pictures.orientation import check_orientation, rotate
from ..pictures.scaling import as_uint8
from ..pictures.validation import check_images, input_for, is_collection
from ..search import ExactSearch
from ..search.metrics import check_metric, check_metric_params
from ..search.rotated import deduplicate_rotations
from .candidates import Candidates, excluded, outside, read_candidates
from .explanation import block_shares, blocks_of
from .keys import check_keys, keys_of, positions_of, rank_keys
from .ranking import Matches, ranked_table
from .rows import check_features, check_rows, feature_rows, pixel_rows
from .sharded import Sharded, ShardedSearch
from .sharding import is_sharded, to_learn_from, write_index

_BLOCK_QUERIES = 2048  # transformed and ranked together
_MOST_READ = 1 << 30  # bytes of pixels; larger collections stay in their file


def check_count(name, value):
    """Return a positive integer, or raise an error that names the parameter."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, got {value}.")
    return int(value)


def _pictures_in(collection):
    """Return the pictures of a collection, memory-mapped if large: (n, h, w, c) uint8."""
    n_bytes = len(collection) * int(np.prod(collection.image_shape))
    mapped = collection.mapped() if n_bytes > _MOST_READ else None
    return collection[:] if mapped is None else mapped


class SimilarityModel(BaseEstimator):
    """Base of the models that rank stored pictures by distance to a candidate.

    A subclass defines how the stored rows are indexed (`_index`) and which of them are
    compared (`_find`).
    """

    _deduplicates_rotations = False  # whether its engine takes `RotatedRows`
    boxes_ = None  # of models saved before there were tiles
    missing_ = {}  # noqa: RUF012 (of models saved before there were shards)

    def fit(self, X, y=None):
        """Store the pictures to search.

        Parameters
        ----------
        X : DataFrame, Collection or array-like
            Flat rows of shape (n, n_features) or pictures of shape
            (n, height, width, channels). uint8 means 0–255 and float 0–1. The keys
            are the index of a DataFrame, those of a Collection, or 0 to n − 1.
        y : array-like of shape (n,), optional
            Labels, required by `score`; by default those of a Collection.

        Returns
        -------
        self : object
            The fitted model.

        Raises
        ------
        TypeError
            If `y` is a number: name the parameter that it stands for.
        ValueError
            If an option is unknown, or keys are not unique.
        ImportError
            If faiss is selected but not installed.

        Notes
        -----
        The pixels of a `Collection` of more than 1 GiB stay in its file, which is
        memory-mapped; do not change it while the model is in use. They are read into
        memory if `Collection.mapped` returns None, to composite masked pictures on
        white, for third-party features, for clustering or a faiss index, for seuclidean
        and mahalanobis, and when the model is saved, copied, sent to another process or
        updated.

        The rows of a folder of shards stay in files, one for each shard: beside the
        shards if the collection is open with ``"r+"``, else in a temporary folder. They
        are computed, clustered and searched by the workers of
        `joblib.parallel_config`, with the answers of a single file. Features learn from
        1 GiB of its pixels at most.
        """
        self._index(self._learn(X, y))
        return self

    def _check_parameters(self):
        """Raise an error if a parameter is invalid."""
        check_metric(self.dist_metric)
        check_metric_params(self.metric_params)
        check_orientation(self.orientation)
        if self.rerank not in ("auto", None):
            raise ValueError(f"rerank must be 'auto' or None, got {self.rerank!r}.")

    def _learn(self, X, y):
        """Check the input of `fit` and return the rows to store: (n, d)."""
        if isinstance(y, numbers.Number | str):
            raise TypeError(
                f"y must be one label per picture, got {y!r}. To set "
                f"another parameter, name it, for example {self._named_in_fit}={y!r}."
            )
        self._check_parameters()
        if y is None and is_collection(X) and len(X.classes):
            y = X.labels
        self.missing_ = dict(getattr(X, "missing", {}))
        if is_sharded(X):
            return self._learn_shards(X, y)
        images = self._check(X, reset=True)
        if y is not None:
            check_consistent_length(images, y)
            y = np.asarray(y)
        keys = keys_of(X)
        self._set_keys(check_keys(np.arange(len(images)) if keys is None else keys))
        self.y_ = y
        self.n_rebuilds_ = 0
        self.pictures_ = self.thumbnails_ = None
        if self._compares_pixels:
            return pixel_rows(images)
        check_features(self.features)
        self.features_ = clone(self.features)
        self.features_.fit(input_for(self.features_, images), y)
        self.pictures_ = X if is_collection(X) else images
        if self.rerank == "auto" and hasattr(self.features_, "verify"):
            self.thumbnails_ = self.features_.thumbnails(images)
        if is_collection(X):  # which may keep them
            return check_rows(X.features(self.features_), self.features_, len(images))
        return feature_rows(self.features_, images)

    def _learn_shards(self, collection, y):
        """Check a folder of shards, and return its rows, which stay in files."""
        if y is not None:
            check_consistent_length(collection.keys, y)
            y = np.asarray(y)
        self._check(collection[:1], reset=True)
        self._set_keys(check_keys(keys_of(collection)))
        self.y_, self.n_rebuilds_ = y, 0
        self.pictures_ = self.thumbnails_ = None
        features = None
        if not self._compares_pixels:
            check_features(self.features)
            features = self.features_ = clone(self.features)
            some = to_learn_from(collection)
            labels = None if y is None else y[some]
            features.fit(input_for(features, collection[some]), labels)
            self.pictures_ = collection
            if self.rerank == "auto" and hasattr(features, "verify"):
                self.thumbnails_ = np.concatenate(
                    [
                        features.thumbnails(collection[start:stop])
                        for start, stop in pairwise(collection.files.starts.tolist())
                    ]
                )
        paths, held = write_index(collection, features, self.dist_metric)
        return ShardedSearch(paths, self.search_rank_, self.metric_params, held=held)

    @property
    def _compares_pixels(self):
        return self.features is None or (
            isinstance(self.features, str) and self.features == "passthrough"
        )

    def _check(self, X, reset=False):
        """Convert rows, pictures or a collection to pictures (n, h, w, c)."""
        X = _pictures_in(X) if is_collection(X) else X
        return check_images(self, X, reset=reset, dtype=None)

    def _set_keys(self, keys):
        """Set the attributes derived from the keys."""
        self.keys_ = keys
        self.lineage_ = pd.factorize(lineage_of(keys.tolist()))[0]
        self.boxes_ = tile_boxes(keys.tolist())
        self.search_rank_ = rank_keys(keys)

    def _exact_search(self, rows):
        """The engine that compares all rows."""
        if isinstance(rows, ShardedSearch):
            return rows
        if self._compares_pixels and self._deduplicates_rotations:
            rows = deduplicate_rotations(as_uint8(rows), self.image_shape_)
        shape = self.image_shape_ if self._compares_pixels else None
        return ExactSearch(rows, self.search_rank_, self.metric_params, shape)

    def __getstate__(self):
        """Exclude open collections and files from what is saved, copied or sent."""
        state = super().__getstate__()
        if is_collection(state.get("pictures_")):
            needed = self.orientation != "fixed" and self.thumbnails_ is None
            state["pictures_"] = state["pictures_"][:] if needed else None
        if isinstance(state.get("search_"), Sharded):
            state["search_"] = state["search_"].gathered()
        return state

    def predict(
        self,
        X,
        k_candidates=None,
        dist_metric=None,
        *,
        exclude="lineage",
        orientation=None,
        explain=False,
        among=None,
    ):
        """Find the stored pictures most similar to each candidate.

        Parameters
        ----------
        X : str, list of str, array-like, DataFrame or Collection
            A key of the fitted pictures or a list of them; or pixels: a flat row, a
            picture (height, width, channels), rows, pictures or a DataFrame.
        k_candidates : int, optional
            Number of pictures to return; overrides the model's for this call.
        dist_metric : str, optional
            Distance; overrides the model's for this call.
        exclude : {"lineage", "self", None}, default="lineage"
            What to exclude from the matches of a candidate given by key: itself, its
            rotated copies and the tiles that overlap it; only itself; or nothing.
            Pixels exclude nothing.
        orientation : {"fixed", "rotations", "any"}, optional
            Rotations of the candidate to try; overrides the model's for this call.
        explain : bool, default=False
            Whether to add one column per feature block with its contribution to the
            distance. Contributions add up to the distance (for a re-ranked answer, to
            that of the short list). For cosine, correlation, cityblock and sqeuclidean.
        among : array-like of int or bool, optional
            Positions of the fitted pictures to search, such as `Collection.where`
            returns, or a mask; all by default.

        Returns
        -------
        matches : DataFrame
            The ranked table: index ``key`` for one row, picture or key, and
            ``(query, key)`` for a batch; columns the distance, named after its
            metric and ascending, and ``similarity`` (1 − d for correlation, cosine
            and verification, 1 / (1 + d) otherwise). Equal distances are ordered by
            key. Where fewer pictures are stored than asked for, all come back. Unless
            the candidate is fixed, ``orientation`` and ``mirrored`` say how it was
            rotated: mirrored left-right first, then by degrees counter-clockwise. A
            re-ranked answer is ordered by ``verification``, its first column, and
            the distance follows; ``same`` is the probability that a picture is the
            candidate's own, and where the first row has less than 0.5 it was not found.

        Raises
        ------
        KeyError
            If a key is not among the fitted ones.
        ValueError
            If the pixels do not fit the fitted pictures, or an option is unknown.
        """
        return self._predict(
            X, k_candidates, dist_metric, exclude, orientation, explain, among
        )

    def _predict(self, X, k, metric, exclude, orientation, explain, among, **options):
        """Make the ranked table; `options` are passed to `_find`."""
        k = check_count("k_candidates", self.k_candidates if k is None else k)
        candidates = self._read(X)
        hidden = excluded(candidates.own, exclude, self.lineage_, self.boxes_)
        if among is not None:
            hidden = outside(among, len(self.keys_), hidden, len(candidates))
        found = self._rank(
            candidates, k, hidden, metric, orientation, explain, **options
        )
        table = ranked_table(found, self.keys_, candidates.names)
        if self.missing_:
            table.attrs["missing"] = dict(self.missing_)
        return table

    def _tell_missing(self):
        """Warn that shards of the fitted collection are missing."""
        if self.missing_:
            name, why = next(iter(self.missing_.items()))
            warnings.warn(
                f"The answer is incomplete: {len(self.missing_):,} shards of the "
                f"collection are missing, such as {name} ({why}).",
                stacklevel=4,
            )

    def _read(self, X):
        """Return the `Candidates` that X stands for."""
        check_is_fitted(self)
        return read_candidates(X, self._position_of, self._check)

    def _position_of(self, keys):
        """Positions of keys among the fitted ones, or a KeyError."""
        return positions_of(keys, self.keys_, self.search_rank_)

    def _rank(
        self,
        candidates,
        k,
        hidden,
        metric=None,
        orientation=None,
        explain=False,
        **options,
    ):
        """Rank the stored pictures for each candidate: a list of `Matches`.

        `hidden` are positions that each must not find, or None.
        """
        self._tell_missing()
        metric = check_metric(self.dist_metric if metric is None else metric)
        orientation = self.orientation if orientation is None else orientation
        orientations = check_orientation(orientation, self.image_shape_)
        if explain and self._compares_pixels:
            raise ValueError(
                "explain=True divides the distance among feature blocks, but this model "
                "compares pixels; set features=RockFeatures()."
            )
        verifies = self.thumbnails_ is not None
        depth = max(k, self.features_.shortlist) if verifies else k
        searched = orientations
        if verifies and getattr(self.features_, "rotation_invariant", False):
            searched = orientations[:1]  # of rows that all orientations share
        blocks = blocks_of(self.features_) if explain else None
        found = []
        for start in range(0, len(candidates), _BLOCK_QUERIES):
            block = slice(start, start + _BLOCK_QUERIES)
            asked, hide = candidates[block], hidden and hidden[block]
            rows = self._rows_of(asked, searched)
            flat = rows.reshape(-1, rows.shape[2])
            nearest = self._find(flat, depth, metric, hide, len(searched), **options)
            matches = []
            for row, (distance, positions, which) in zip(rows, nearest, strict=True):
                match = Matches(positions, metric, distance)
                if len(orientations) > 1:
                    match.orientations = np.array(searched)[which]
                if explain:
                    stored = self._stored(positions)
                    match.shares = block_shares(
                        row[which], stored, distance, metric, blocks
                    )
                matches.append(match)
            found += (
                self._verify(asked, matches, orientation, k) if verifies else matches
            )
        return found

    def _rows_of(self, candidates, orientations):
        """Rows of m candidates in each of t orientations: (m, t, d)."""
        if candidates.images is None and len(orientations) == 1:
            return self._stored(candidates.own)[:, None]
        pictures = candidates.images
        if pictures is None:
            pictures = self._fitted_pictures(candidates.own)
        rows = [
            self._describe(rotate(pictures, degrees, mirrored))
            for degrees, mirrored in orientations
        ]
        return np.stack(rows, axis=1)

    def _fitted_pictures(self, positions):
        """Fitted pictures by their positions: (m, h, w, c)."""
        if self._compares_pixels:
            height, width, channels = self.image_shape_
            channels = 3 if channels == 4 else channels  # they were put on white
            return self._stored(positions).reshape(-1, height, width, channels)
        if self.pictures_ is None:
            raise ValueError(
                "This model was saved without its pictures, so it cannot rotate one "
                "given by key; pass the picture itself."
            )
        return self.pictures_[positions]

    def _describe(self, images):
        """Transform checked pictures to rows: (n, h, w, c) -> (n, d)."""
        if self._compares_pixels:
            return pixel_rows(images)
        return feature_rows(self.features_, images)

    def _stored(self, positions):
        """The stored rows at positions in the order given to `fit`."""
        return self.search_.take(positions)

    def _verify(self, candidates, found, orientation, k):
        """Re-rank short lists by `features.verify`."""
        if candidates.images is None:
            thumbnails = self.thumbnails_[candidates.own]
        else:
            thumbnails = self.features_.thumbnails(candidates.images)
        out = []
        for thumbnail, matches in zip(thumbnails, found, strict=True):
            stored = self.thumbnails_[matches.positions]
            verified = self.features_.verify(thumbnail, stored, orientation)
            best = matches.reranked(*verified, self.search_rank_, k)
            if hasattr(self.features_, "match_probability"):
                best.same = self.features_.match_probability(best.verification)
            out.append(best)
        return out

    def kneighbors(self, X=None, n_neighbors=None):
        """Find the nearest neighbors among the stored pictures.

        Parameters
        ----------
        X : as in `predict`, optional
            Candidates; one given by key excludes its rotated copies, too. By default
            every fitted picture, excluding only itself.
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
            If `n_neighbors` exceeds the number of pictures.
        """
        check_is_fitted(self)
        k = self.k_candidates if n_neighbors is None else n_neighbors
        k = check_count("n_neighbors", k)
        if X is None:
            candidates = Candidates(own=np.arange(len(self.keys_)))
        else:
            candidates = self._read(X)
        exclude = "self" if X is None else "lineage"
        hidden = excluded(candidates.own, exclude, self.lineage_, self.boxes_)
        stored = len(self.keys_) - max(map(len, hidden or [()]))
        if k > stored:
            raise ValueError(
                f"Expected n_neighbors <= {stored}, the pictures that can be found, "
                f"got n_neighbors={k} (n_samples_fit={len(self.keys_)})."
            )
        found = self._rank(candidates, k, hidden)
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
            Share of matches with their candidate's label, averaged over candidates.

        Raises
        ------
        ValueError
            If the model was fitted without labels.
        """
        check_is_fitted(self)
        if self.y_ is None:
            raise ValueError(
                "score compares labels, but the model was fitted without; "
                "call fit(X, y) with one label per picture."
            )
        k = check_count("k_candidates", self.k_candidates)
        candidates = self._read(X)
        y = np.atleast_1d(np.asarray(y))
        check_consistent_length(candidates, y)
        hidden = excluded(candidates.own, "lineage", self.lineage_, self.boxes_)
        shares = [
            np.mean(self.y_[matches.positions] == label) if len(matches) else 0.0
            for matches, label in zip(self._rank(candidates, k, hidden), y, strict=True)
        ]
        return float(np.mean(shares))

    def neighbors_table(self, k=None, *, exclude="lineage"):
        """Find the nearest neighbors of every fitted picture.

        Parameters
        ----------
        k : int, optional
            Number of neighbors; by default ``k_candidates``.
        exclude : {"lineage", "self", None}, default="lineage"
            What each excludes, as in `predict`.

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
        """Yield `neighbors_table` in blocks, for tables larger than memory.

        Parameters
        ----------
        k, exclude : as in `neighbors_table`

        Yields
        ------
        table : DataFrame
            The ranked table of some 2,000 queries.
        """
        check_is_fitted(self)
        k = check_count("k", self.k_candidates if k is None else k)
        for start in range(0, len(self.keys_), _BLOCK_QUERIES):
            own = np.arange(start, min(start + _BLOCK_QUERIES, len(self.keys_)))
            hidden = excluded(own, exclude, self.lineage_, self.boxes_)
            found = self._rank(Candidates(own=own), k, hidden)
            yield ranked_table(found, self.keys_, self.keys_[own])
