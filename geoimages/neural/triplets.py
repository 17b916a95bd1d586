"""TripletEmbedding: features -> metric space, from labels or from judgments."""

import numbers
from itertools import pairwise

import numpy as np
import pandas as pd
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
)
from sklearn.decomposition import PCA
from sklearn.metrics import label_ranking_average_precision_score
from sklearn.utils import assert_all_finite, check_random_state, column_or_1d
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ..features.threads import one_blas_thread
from ..files import progress
from ..pictures.validation import validate_rows
from .capacity import FEW, grouped_folds
from .gradients import Adam, backpropagate, embed
from .judgments import ITERATIONS, JudgedLayer
from .mining import MINING, Batches, triplet_loss
from .training import (
    average_weights,
    encode_labels,
    hold_out,
    layer_table,
    standardization,
    standardized,
)

_REFERENCES = 2000  # training rows to rank for each validation row
_BLOCK = 2048  # rows per forward pass
_HIDDEN = (512,)
_UNTRAINED = "principal components"


def _check_labels(y, n):
    """Validate and encode the labels."""
    classes, codes, counts = encode_labels(y, n)
    if len(classes) < 2 or counts.max() < 2:
        raise ValueError(
            "Triplets need two classes or more, and two rows of one of them; got "
            f"{len(classes)} class(es) of at most {counts.max()} row(s)."
        )
    return codes


def _check_triplets(triplets, keys, n):
    """Return judgments as positions (m, 3), from positions or from keys."""
    triplets = np.asarray(triplets)
    if triplets.ndim != 2 or triplets.shape[1] != 3 or not len(triplets):
        raise ValueError(
            'Judgments are rows (a, b, c), "a is more like b than like c"; got an '
            f"array of shape {triplets.shape}."
        )
    if keys is not None:
        if not keys.is_unique:
            raise ValueError(
                f"Keys must be unique, but {keys[keys.duplicated()][0]!r} names "
                "several rows; give the DataFrame an index without duplicates."
            )
        positions = keys.get_indexer(triplets.ravel()).reshape(triplets.shape)
        if (positions < 0).any():
            stranger = triplets[positions < 0].tolist()[0]
            raise KeyError(
                f"{stranger!r} is judged, but is no key of the {n} rows; give X as a "
                "DataFrame whose index holds all that were judged."
            )
    else:
        if triplets.dtype.kind not in "iu":
            raise TypeError(
                "Judgments of an array are integer positions of its rows, got "
                f"{triplets.dtype}; give X as a DataFrame to name rows by key."
            )
        positions = triplets.astype(np.int64)
        if positions.min() < 0 or positions.max() >= n:
            raise ValueError(
                f"Judgments name rows {positions.min()} to {positions.max()}, but X "
                f"has rows 0 to {n - 1}."
            )
    a, b, c = positions.T
    same = (a == b) | (a == c) | (b == c)
    if same.any():
        raise ValueError(
            f"Judgment {np.flatnonzero(same)[0]} names one row twice: "
            f"{triplets[same][0].tolist()}; three different ones are compared."
        )
    return positions


def _check_groups(groups, n):
    """Return the group of each of n rows."""
    groups = np.arange(n) if groups is None else column_or_1d(groups)
    check_consistent_length(np.empty(n), groups)
    return groups


def _check_weights(sample_weight, m):
    """Return the weight of each of m judgments: 0 or more, one above 0."""
    if sample_weight is None:
        return np.ones(m)
    weights = column_or_1d(sample_weight, dtype=np.float64)
    assert_all_finite(weights, input_name="sample_weight")
    check_consistent_length(np.empty(m), weights)
    if weights.min() < 0 or not weights.any():
        raise ValueError(
            "sample_weight is 0 or more, and above 0 for one judgment; got "
            f"{weights.min()} to {weights.max()}."
        )
    return weights


class TripletEmbedding(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Learn an embedding by the triplet loss, from labels or similarity judgments.

    A linear map, or a network with hidden layers, to unit vectors, so that cosine and
    euclidean distances give the same ranking. `fit` trains it on labels by the triplet
    loss: an anchor should be closer to rows of its class (positives) than to others
    (negatives), by a margin. `fit_triplets` trains a linear map on judgments, "a is
    more similar to b than to c", and `refine` fine-tunes a fitted embedding on
    judgments.

    Parameters
    ----------
    n_components : int, default=128
        Length of the embedding.
    hidden_layer_sizes : tuple of int or "auto", default="auto"
        Units of each hidden layer; () is a linear map. "auto" is (512,) for 2,000 rows
        or more. For fewer, the one of three with the best mean average precision in
        cross-validation: (512,), (), or the principal components of the standardized
        rows, untrained.
    margin : float, default=0.4
        Margin between positives and negatives, in squared euclidean distance (0 to 4).
    mining : {"semi-hard", "batch-hard", "batch-all"}, default="semi-hard"
        Triplets of a batch to train on: every anchor and positive with the nearest
        negative that is farther than the positive (Schroff et al. 2015); every anchor
        with its farthest positive and nearest negative, or all (Hermans et al. 2017).
    learning_rate_init : float, default=0.0015
        Initial learning rate of Adam, with cosine decay to 0.
    alpha : float, default=0.0001
        Weight decay.
    dropout : float, default=0.2
        Dropout probability of the input values.
    batch_size : int, default=256
        Approximate batch size, with the same number of rows of each class; with more
        than ``batch_size / 4`` classes, a subset of classes in turn.
    max_epochs : int, default=25
        Maximum number of epochs of at least eight batches, so that small sets are
        passed over several times per epoch.
    n_epochs_no_change : int, default=10
        Patience: epochs without improvement of the validation score before stopping.
    averaged_epochs : int, default=5
        Number of last epochs whose weights are averaged.
    validation_fraction : float, default=0.05
        Share of each class held out for validation (early stopping).
    stiffness : float or "auto", default="auto"
        Strength of the L2 penalty on the change of the last layer by judgments, in
        number of judgments for a change by the length of an axis. "auto" tries 20 to
        2,000 and no change at all, in cross-validation, and takes the stiffest within a
        standard error of the best.
    random_state : int, RandomState or None, default=None
        Seed of the split, the initial weights, the batches and the dropout.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Weights and biases of each layer.
    hidden_layer_sizes_ : tuple of int
        Units of each hidden layer.
    capacity_scores_ : dict of str to float
        Mean average precision of each choice, out of fold; after judgments, their mean
        probability with each stiffness. Empty without a choice.
    stiffness_ : float
        Strength of the penalty, after judgments; infinity is no change.
    mean_, scale_ : ndarray of shape (n_features,)
        Mean and standard deviation of each column.
    loss_curve_ : list of float
        Training loss of each epoch, or of each iteration over judgments.
    validation_score_curve_ : list of float
        Mean average precision of the validation rows among 2,000 training rows after
        each epoch; empty after judgments.
    n_iter_ : int
        Epochs or iterations run.
    n_features_in_ : int
        Values in a fitted row.

    See Also
    --------
    MLPEmbedding : The last hidden layer of a classifier.

    References
    ----------
    Schroff, Kalenichenko and Philbin (2015). FaceNet: a unified embedding for face
    recognition and clustering. CVPR.

    Hermans, Beyer and Leibe (2017). In defense of the triplet loss for person
    re-identification. arXiv:1703.07737.

    van der Maaten and Weinberger (2012). Stochastic triplet embedding. MLSP.

    Izmailov et al. (2018). Averaging weights leads to wider optima and better
    generalization. UAI.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from geoimages import TripletEmbedding
    >>> X, y = load_iris(return_X_y=True)
    >>> embedding = TripletEmbedding(2, hidden_layer_sizes=(), random_state=0)
    >>> embedding.fit(X, y).transform(X).shape
    (150, 2)

    Someone finds the first flower more similar to the second than to the last:

    >>> judgments = [[0, 1, 149]]
    >>> judged = TripletEmbedding(2, random_state=0).fit_triplets(X, judgments)
    >>> judged.score_triplets(X, judgments)
    1.0
    """

    def __init__(
        self,
        n_components=128,
        *,
        hidden_layer_sizes="auto",
        margin=0.4,
        mining="semi-hard",
        learning_rate_init=1.5e-3,
        alpha=1e-4,
        dropout=0.2,
        batch_size=256,
        max_epochs=25,
        n_epochs_no_change=10,
        averaged_epochs=5,
        validation_fraction=0.05,
        stiffness="auto",
        random_state=None,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.margin = margin
        self.mining = mining
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.dropout = dropout
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.n_epochs_no_change = n_epochs_no_change
        self.averaged_epochs = averaged_epochs
        self.validation_fraction = validation_fraction
        self.stiffness = stiffness
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.target_tags.required = True
        return tags

    @property
    def _n_features_out(self):
        return self.coefs_[-1].shape[1]

    @property
    def _is_auto(self):
        sizes = self.hidden_layer_sizes
        if isinstance(sizes, str) and sizes != "auto":
            raise ValueError(
                f'hidden_layer_sizes is a tuple of int or "auto", got {sizes!r}.'
            )
        return isinstance(sizes, str)

    @property
    def _hidden_sizes(self):
        sizes = _HIDDEN if self._is_auto else self.hidden_layer_sizes
        return np.atleast_1d(sizes).tolist()

    def _check_parameters(self):
        if self.mining not in MINING:
            raise ValueError(
                f"mining={self.mining!r} is not known; expected one of "
                f"{', '.join(map(repr, MINING))}."
            )
        counts = {
            "n_components": [self.n_components],
            "hidden_layer_sizes": self._hidden_sizes,
            "batch_size": [self.batch_size],
            "max_epochs": [self.max_epochs],
            "n_epochs_no_change": [self.n_epochs_no_change],
            "averaged_epochs": [self.averaged_epochs],
        }
        for name, values in counts.items():
            if any(not isinstance(v, numbers.Integral) or v < 1 for v in values):
                raise ValueError(
                    f"{name} must be a positive integer, got {getattr(self, name)!r}."
                )
        if isinstance(self.stiffness, str) and self.stiffness != "auto":
            raise ValueError(
                f'stiffness is a number or "auto", got {self.stiffness!r}.'
            )
        for name in ("margin", "stiffness", "learning_rate_init"):
            if isinstance(getattr(self, name), str):
                continue
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"{name} must be above 0, got {getattr(self, name)!r}."
                )
        if not self.alpha >= 0:
            raise ValueError(f"alpha must be 0 or more, got {self.alpha!r}.")
        if not 0 <= self.dropout < 1 or not 0 <= self.validation_fraction < 1:
            raise ValueError(
                "dropout and validation_fraction are shares from 0 to below 1, got "
                f"{self.dropout!r} and {self.validation_fraction!r}."
            )

    def summary(self):
        """List the layers and count their parameters.

        Returns
        -------
        table : DataFrame
            A row for each layer: ``network``, ``layer``, ``inputs``, ``outputs`` and
            ``parameters`` (weights and biases).
        """
        check_is_fitted(self)
        return layer_table({"embedding": (self.coefs_, self.intercepts_)})

    @one_blas_thread()
    def fit(self, X, y, groups=None):
        """Fit the embedding to labels.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.
        y : array-like of shape (n,)
            Labels. A class with a single row only provides negatives.
        groups : array-like of shape (n,), optional
            Rows that belong together, such as copies of a picture: on one side of the
            validation split, and in one fold of the cross-validation that chooses
            ``hidden_layer_sizes="auto"``; see `geoimages.groups_of`.

        Returns
        -------
        self : TripletEmbedding
            The fitted embedding.

        Raises
        ------
        ValueError
            If there is only one class, all have one row, or a parameter is out of
            range.
        """
        X = validate_rows(self, X, dtype=np.float32)
        codes = _check_labels(y, len(X))
        self._check_parameters()
        if groups is not None:
            groups = _check_groups(groups, len(X))
        if hasattr(self, "stiffness_"):  # of earlier judgments
            del self.stiffness_
        rng = check_random_state(self.random_state)
        hidden = self._choose_hidden(X, codes, groups, rng)
        self.hidden_layer_sizes_ = hidden or ()
        if hidden is None:
            self.loss_curve_, self.validation_score_curve_, self.n_iter_ = [], [], 0
            self.mean_, self.scale_ = standardization(X)
            self._keep_components(self._rows(X), rng)
            return self
        share = self.validation_fraction
        apart = groups if share else None
        train, held = hold_out(codes, share, rng, pairs=True, groups=apart)
        self.mean_, self.scale_ = standardization(X[train])
        rows = self._rows(X)
        sizes = [X.shape[1], *hidden, self.n_components]
        # He et al. (2015): ReLU drops half of the variance, so weights bring twice.
        weights = [
            rng.normal(0, np.sqrt(2 / before), (before, after)).astype(np.float32)
            for before, after in pairwise(sizes)
        ]
        biases = [np.zeros(size, np.float32) for size in sizes[1:]]
        chosen = rng.permutation(train)[:_REFERENCES]
        relevant = codes[held][:, None] == codes[chosen]
        scored = held[relevant.any(axis=1)]
        relevant = relevant[relevant.any(axis=1)]

        def score():
            queries, _, _ = embed(rows[scored], weights, biases)
            stored, _, _ = embed(rows[chosen], weights, biases)
            # The mean over queries of their average precision: mAP.
            return label_ranking_average_precision_score(relevant, queries @ stored.T)

        self._train(
            rows[train],
            codes[train],
            weights,
            biases,
            rng,
            score if len(scored) else None,
        )
        return self

    def _choose_hidden(self, X, codes, groups, rng):
        """Hidden layers by cross-validation, or None where training does not pay."""
        self.capacity_scores_ = {}
        if not self._is_auto or len(X) >= FEW:
            return tuple(self._hidden_sizes)
        folds = grouped_folds(codes, groups, rng)
        if not folds:
            return ()
        seed = rng.randint(1 << 31)
        scores = {}
        for inside, outside in folds:
            relevant = codes[outside][:, None] == codes[inside]
            for hidden in (None, (), _HIDDEN):
                # Half the epochs, of all rows, tell which choice is better.
                model = clone(self).set_params(
                    hidden_layer_sizes=hidden or (),
                    max_epochs=-(-self.max_epochs // 2),
                    validation_fraction=0,
                    random_state=seed,
                )
                if hidden is None:
                    model.mean_, model.scale_ = standardization(X[inside])
                    model._keep_components(model._rows(X[inside]), rng)
                    model.n_features_in_ = X.shape[1]
                else:
                    model.fit(X[inside], codes[inside])
                likeness = model.transform(X[outside]) @ model.transform(X[inside]).T
                score = label_ranking_average_precision_score(relevant, likeness)
                scores.setdefault(hidden, []).append(score)
        scores = {hidden: float(np.mean(values)) for hidden, values in scores.items()}
        self.capacity_scores_ = {
            _UNTRAINED if hidden is None else str(hidden): score
            for hidden, score in scores.items()
        }
        return max(scores, key=scores.get)  # of equals the simplest

    def _keep_components(self, rows, rng):
        """Map to the principal components of standardized rows."""
        n_components = min(self.n_components, *rows.shape)
        axes = PCA(n_components, random_state=rng).fit(rows).components_
        self.coefs_ = [np.ascontiguousarray(axes.T, np.float32)]
        self.intercepts_ = [np.zeros(n_components, np.float32)]

    def _train(self, rows, codes, weights, biases, rng, score):
        """Train weights and biases in place, then average those of the last epochs."""
        batches = Batches(codes, self.batch_size, rng)
        # Small sets are passed over several times an epoch.
        steps = max(8, len(rows) // batches.size)
        adam = Adam(weights, biases, self.alpha)
        noise = np.random.Generator(np.random.SFC64(rng.randint(1 << 31)))
        self.loss_curve_, self.validation_score_curve_ = [], []
        kept, best, waited = [], -np.inf, 0
        bar = progress(range(self.max_epochs), desc="training", unit="epoch")
        for epoch in bar:
            losses = []
            for step in range(steps):
                drawn = batches.draw()
                batch = rows[drawn]
                if self.dropout:
                    keep = noise.random(batch.shape, np.float32) >= self.dropout
                    # Inverted dropout: the expected value stays, so that transform
                    # needs no correction.
                    batch *= keep * np.float32(1 / (1 - self.dropout))
                unit, length, layers = embed(batch, weights, biases)
                loss, gradient = triplet_loss(
                    unit, codes[drawn], self.margin, self.mining
                )
                losses.append(loss)
                by_weights, by_biases = backpropagate(
                    gradient, unit, length, layers, weights
                )
                done = (epoch * steps + step) / (self.max_epochs * steps)
                rate = self.learning_rate_init * (1 + np.cos(np.pi * done)) / 2
                adam.step([*by_weights, *by_biases], rate)
            self.loss_curve_.append(float(np.mean(losses)))
            kept.append([values.copy() for values in (*weights, *biases)])
            kept = kept[-self.averaged_epochs :]
            if score is None:
                continue
            validation = float(score())
            self.validation_score_curve_.append(validation)
            bar.set_postfix(validation=f"{validation:.4f}", refresh=False)
            better = validation > best + 1e-5
            best, waited = (validation, 0) if better else (best, waited + 1)
            if waited >= self.n_epochs_no_change:
                break
        means = average_weights(kept)
        self.coefs_, self.intercepts_ = means[: len(weights)], means[len(weights) :]
        self.n_iter_ = len(self.loss_curve_)

    @one_blas_thread()
    def fit_triplets(self, X, triplets, sample_weight=None, groups=None):
        """Fit a linear map to similarity judgments.

        It is initialized with the principal components of the standardized rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Rows, judged or not; they all contribute to the principal components.
        triplets : array-like of shape (m, 3)
            Judgments (anchor, positive, negative): positions of rows, or
            keys of the DataFrame's index. They may contradict each other.
        sample_weight : array-like of shape (m,), optional
            Weight of each judgment; 1 by default.
        groups : array-like of shape (n,), optional
            Rows that belong together, such as copies of a picture: judgments of which
            they are the anchors are in one fold of the cross-validation that chooses
            ``stiffness="auto"``. By default those of one anchor are.

        Returns
        -------
        self : TripletEmbedding
            The fitted embedding, of at most as many components as rows or columns.

        Raises
        ------
        KeyError
            If a key is not among the rows.
        ValueError
            If the judgments are not triplets of different rows, or X has fewer than
            three.

        See Also
        --------
        refine : Starts from the fitted map.
        """
        keys = X.index if isinstance(X, pd.DataFrame) else None
        X = validate_rows(self, X, dtype=np.float32, ensure_min_samples=3)
        self._check_parameters()
        triplets = _check_triplets(triplets, keys, len(X))
        self.mean_, self.scale_ = standardization(X)
        rows = self._rows(X)
        if not rows.any():
            raise ValueError(
                f"All {len(X)} rows are identical, so they cannot be compared; "
                "pass rows that differ."
            )
        self.hidden_layer_sizes_ = ()
        self._keep_components(rows, check_random_state(self.random_state))
        return self._judge(rows, triplets, sample_weight, groups)

    def refine(self, X, triplets, sample_weight=None, groups=None):
        """Fine-tune the last layer of the fitted map on judgments.

        Parameters
        ----------
        X, triplets, sample_weight, groups : as in `fit_triplets`
            X only needs the rows that were judged.

        Returns
        -------
        self : TripletEmbedding
            The refined embedding; `fit` and `fit_triplets` start from scratch.

        Raises
        ------
        NotFittedError
            If the embedding is not fitted.
        KeyError, ValueError
            As in `fit_triplets`.
        """
        check_is_fitted(self)
        keys = X.index if isinstance(X, pd.DataFrame) else None
        X = validate_rows(self, X, dtype=np.float32, reset=False)
        self._check_parameters()
        triplets = _check_triplets(triplets, keys, len(X))
        return self._judge(self._rows(X), triplets, sample_weight, groups)

    def _judge(self, rows, triplets, sample_weight, groups):
        """Fit the last layer to judgments, with a penalty on its change."""
        sample_weight = _check_weights(sample_weight, len(triplets))
        groups = _check_groups(groups, len(rows))
        judged, places = np.unique(triplets, return_inverse=True)
        *before, last = [weight.astype(np.float64) for weight in self.coefs_]
        rows = rows[judged].astype(np.float64)
        for weight, bias in zip(before, self.intercepts_[:-1], strict=True):
            rows = np.maximum(rows @ weight + bias, 0)
        layer = JudgedLayer(
            rows, last, self.intercepts_[-1], places.reshape(-1, 3), sample_weight
        )
        self.stiffness_, self.capacity_scores_ = self.stiffness, {}
        if isinstance(self.stiffness, str):
            rng = check_random_state(self.random_state)
            self.stiffness_, self.capacity_scores_ = layer.choose(groups[judged], rng)
        self.loss_curve_, self.validation_score_curve_ = [], []
        if np.isfinite(self.stiffness_):
            with progress(desc="judgments", total=ITERATIONS, unit="step") as bar:
                change, self.loss_curve_ = layer.fit(
                    self.stiffness_, layer.unchanged(), report=bar.update
                )
            last = last + layer.axes @ change
        self.coefs_ = [*self.coefs_[:-1], last.astype(np.float32)]
        self.n_iter_ = len(self.loss_curve_)
        return self

    def _rows(self, X):
        return standardized(X, self.mean_, self.scale_)

    def transform(self, X):
        """Return the embedding.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.

        Returns
        -------
        embedding : ndarray of shape (n, n_components), float32
            Rows of length 1.
        """
        check_is_fitted(self)
        X = validate_rows(self, X, dtype=np.float32, reset=False)
        # In float64, as in `forward`: an answer does not depend on its batch.
        weights = [weight.astype(np.float64) for weight in self.coefs_]
        out = np.empty((len(X), self._n_features_out), np.float32)
        for start in range(0, len(X), _BLOCK):
            block = self._rows(X[start : start + _BLOCK]).astype(np.float64)
            out[start : start + _BLOCK] = embed(block, weights, self.intercepts_)[0]
        return out

    def score_triplets(self, X, triplets):
        """Return the share of judgments satisfied by the embedding.

        Parameters
        ----------
        X, triplets : as in `fit_triplets`

        Returns
        -------
        agreement : float
            From 0 to 1; 0.5 is chance level.
        """
        check_is_fitted(self)
        keys = X.index if isinstance(X, pd.DataFrame) else None
        unit = self.transform(X)
        a, b, c = _check_triplets(triplets, keys, len(unit)).T
        return float(np.mean(np.einsum("ij,ij->i", unit[a], unit[b] - unit[c]) > 0))
