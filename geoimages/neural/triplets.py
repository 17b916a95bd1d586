"""TripletEmbedding: features -> metric space, from labels or from judgements."""

import numbers
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.decomposition import PCA
from sklearn.utils import assert_all_finite, check_random_state, column_or_1d
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from ..files import progress
from .classifier import encode_labels

_REFERENCES = 2000  # training rows that held-out rows are ranked against
_DOUBT = 0.1  # squared distance by which judgements may differ and still be unsure
_BLOCK = 2048  # rows embedded at once
_FEWEST_OF_A_CLASS = 4  # rows of a class in a batch, where classes are many
_ITERATIONS = 200
_SHORTEST = 1e-12  # a row of less has no direction


def embed(rows, weights, offsets):
    """Rows through the map: (n, p) -> unit (n, d), their lengths (n, 1), layers."""
    layers = [rows]
    for weight, offset in zip(weights[:-1], offsets[:-1], strict=True):
        layers.append(np.maximum(layers[-1] @ weight + offset, 0))
    raw = layers[-1] @ weights[-1] + offsets[-1]
    length = np.sqrt(np.einsum("ij,ij->i", raw, raw))[:, None]
    length = np.maximum(length, raw.dtype.type(_SHORTEST))
    return raw / length, length, layers


def backpropagate(slope, unit, length, layers, weights):
    """Slope by the unit rows (n, d) -> slopes by the weights and by the offsets."""
    slope = slope - unit * np.einsum("ij,ij->i", slope, unit)[:, None]
    slope = slope / length * (length > slope.dtype.type(_SHORTEST))
    by_weights, by_offsets = [], []
    for layer, weight in zip(layers[::-1], weights[::-1], strict=True):
        by_weights.insert(0, layer.T @ slope)
        by_offsets.insert(0, slope.sum(axis=0))
        if layer is not layers[0]:
            slope = (slope @ weight.T) * (layer > 0)
    return by_weights, by_offsets


def _mine_hard(similarity, mates, rivals):
    """Each anchor with its farthest mate and its nearest rival."""
    anchors = np.flatnonzero(mates.any(axis=1))
    mate = np.where(mates, similarity, np.inf).argmin(axis=1)
    rival = np.where(rivals, similarity, -np.inf).argmax(axis=1)
    return anchors, mate[anchors], rival[anchors]


def _mine_semi_hard(similarity, mates, rivals):
    """Each anchor and mate with the nearest rival beyond the mate, or the farthest."""
    order = np.where(rivals, similarity, np.inf).argsort(axis=1, kind="stable")
    ascending = np.take_along_axis(similarity, order, axis=1)
    n_rivals = rivals.sum(axis=1)
    anchors, mate = np.nonzero(mates)
    rival = np.empty_like(mate)
    stops = np.cumsum(mates.sum(axis=1))
    for i, stop in enumerate(stops):
        here = slice(stops[i - 1] if i else 0, stop)
        beyond = ascending[i, : n_rivals[i]].searchsorted(similarity[i, mate[here]])
        rival[here] = order[i, np.maximum(beyond - 1, 0)]
    return anchors, mate, rival


def _mine_all(similarity, mates, rivals):
    """Every anchor with every mate and every rival."""
    anchors, mate = np.nonzero(mates)
    pair, rival = np.nonzero(rivals[anchors])
    return anchors[pair], mate[pair], rival


_MINING = {
    "semi-hard": _mine_semi_hard,
    "batch-hard": _mine_hard,
    "batch-all": _mine_all,
}


def triplet_loss(unit, codes, margin, mining="semi-hard"):
    """Triplet loss of a batch: unit (n, d), codes (n,) -> loss, slope (n, d).

    The mean of max(0, |a − p|² − |a − q|² + margin) over the mined triplets of an
    anchor a, a class-mate p and a rival q for which it is above 0.

    References
    ----------
    Schroff, Kalenichenko and Philbin (2015), https://arxiv.org/abs/1503.03832

    Hermans, Beyer and Leibe (2017), https://arxiv.org/abs/1703.07737
    """
    n = len(unit)
    similarity = unit @ unit.T
    mates = codes[:, None] == codes
    rivals = ~mates
    np.fill_diagonal(mates, False)
    mates &= rivals.any(axis=1)[:, None]
    a, p, q = _MINING[mining](similarity, mates, rivals)
    # Of unit rows, |x − y|² = 2 − 2 x·y.
    excess = 2 * (similarity[a, q] - similarity[a, p]) + margin
    active = excess > 0
    count = max(1, int(active.sum()))
    a, p, q = a[active], p[active], q[active]
    pull = np.bincount(a * n + q, minlength=n * n) - np.bincount(
        a * n + p, minlength=n * n
    )
    pull = (pull.reshape(n, n) * (2 / count)).astype(unit.dtype)
    loss = excess[active].sum(dtype=np.float64) / count
    return float(loss), (pull + pull.T) @ unit


def judgement_loss(unit, triplets, shares, margin):
    """Logistic loss of judgements (m, 3), shares (m,): unit (n, d) -> loss, slope.

    The probability of "a is more like b than like c" is taken to be
    1 / (1 + exp((|a − b|² − |a − c|²) / margin)).

    References
    ----------
    van der Maaten and Weinberger (2012). Stochastic triplet embedding.
    """
    a, b, c = triplets.T
    excess = 2 * np.einsum("ij,ij->i", unit[a], unit[c] - unit[b]) / margin
    share = (expit(excess) * shares * (2 / margin))[:, None]
    slope = np.zeros_like(unit)
    np.add.at(slope, a, share * (unit[c] - unit[b]))
    np.add.at(slope, b, -share * unit[a])
    np.add.at(slope, c, share * unit[a])
    return float(shares @ np.logaddexp(0, excess)), slope


def _average_precision(similarity, relevant):
    """Mean average precision of rankings: (n, m), (n, m) bool -> float."""
    order = np.argsort(-similarity, axis=1, kind="stable")
    found = np.take_along_axis(relevant, order, axis=1)
    precision = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
    return float(((precision * found).sum(axis=1) / found.sum(axis=1)).mean())


class _Batches:
    """P × K batches without end: P classes, K rows of each, all in turn."""

    def __init__(self, codes, batch_size, rng):
        self.members = [np.flatnonzero(codes == code) for code in np.unique(codes)]
        most = max(2, batch_size // _FEWEST_OF_A_CLASS)
        self.n_classes = min(len(self.members), most)
        fair = max(2, batch_size // self.n_classes)
        self.n_rows = min(fair, max(map(len, self.members)))
        self.size = self.n_classes * self.n_rows
        self.rng = rng
        self.queues = [np.empty(0, int) for _ in self.members]
        self.classes = np.empty(0, int)

    def _take(self, queue, values, count):
        """Return (the next `count`, the queue left); values are shuffled in again."""
        while len(queue) < count:
            queue = np.concatenate([queue, self.rng.permutation(values)])
        return queue[:count], queue[count:]

    def draw(self):
        """Positions of the next batch."""
        codes = np.arange(len(self.members))
        if self.n_classes < len(codes):
            codes, self.classes = self._take(self.classes, codes, self.n_classes)
        parts = []
        for code in codes:
            rows, self.queues[code] = self._take(
                self.queues[code], self.members[code], self.n_rows
            )
            parts.append(rows)
        return np.concatenate(parts)


class _Adam:
    """Adam with weight decay of its own, in place.

    References
    ----------
    Loshchilov and Hutter (2019). Decoupled weight decay regularization. ICLR.
    """

    def __init__(self, weights, offsets, alpha):
        self.parameters = [*weights, *offsets]
        self.decays = [alpha] * len(weights) + [0.0] * len(offsets)
        self.means = [np.zeros_like(values) for values in self.parameters]
        self.squares = [np.zeros_like(values) for values in self.parameters]
        self.steps = 0

    def step(self, slopes, rate):
        self.steps += 1
        unbiased = rate * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for values, decay, slope, mean, square in zip(
            self.parameters, self.decays, slopes, self.means, self.squares, strict=True
        ):
            mean += np.float32(0.1) * (slope - mean)
            square += np.float32(0.001) * (slope * slope - square)
            values *= np.float32(1 - rate * decay)
            values -= np.float32(unbiased) * mean / (np.sqrt(square) + np.float32(1e-8))


def _check_labels(y, n):
    """Return the codes of the labels, or say what is wrong with them."""
    classes, codes, counts = encode_labels(y, n)
    if len(classes) < 2 or counts.max() < 2:
        raise ValueError(
            "Triplets need two classes or more, and two rows of one of them; got "
            f"{len(classes)} class(es) of at most {counts.max()} row(s)."
        )
    return codes


def _hold_out(codes, share, rng):
    """Part positions into (train, held out), two of each class in train at least."""
    held = []
    for code in range(codes.max() + 1):
        members = rng.permutation(np.flatnonzero(codes == code))
        held.append(
            members[: max(0, min(round(share * len(members)), len(members) - 2))]
        )
    held = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(codes)), held), held


def _check_triplets(triplets, keys, n):
    """Return judgements as positions (m, 3), from positions or from keys."""
    triplets = np.asarray(triplets)
    if triplets.ndim != 2 or triplets.shape[1] != 3 or not len(triplets):
        raise ValueError(
            'Judgements are rows (a, b, c), "a is more like b than like c"; got an '
            f"array of shape {triplets.shape}."
        )
    if keys is not None:
        if not keys.is_unique:
            raise ValueError(
                f"Keys must be unique, but {keys[keys.duplicated()][0]!r} stands for "
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
                "Judgements of an array are integer positions of its rows, got "
                f"{triplets.dtype}; give X as a DataFrame to name rows by key."
            )
        positions = triplets.astype(np.int64)
        if positions.min() < 0 or positions.max() >= n:
            raise ValueError(
                f"Judgements name rows {positions.min()} to {positions.max()}, but X "
                f"has rows 0 to {n - 1}."
            )
    a, b, c = positions.T
    same = (a == b) | (a == c) | (b == c)
    if same.any():
        raise ValueError(
            f"Judgement {np.flatnonzero(same)[0]} names one row twice: "
            f"{triplets[same][0].tolist()}; three different ones are compared."
        )
    return positions


def _check_say(sample_weight, m):
    """Return the say of each of m judgements: 0 or more, one above 0."""
    if sample_weight is None:
        return np.ones(m)
    say = column_or_1d(sample_weight, dtype=np.float64)
    assert_all_finite(say, input_name="sample_weight")
    check_consistent_length(np.empty(m), say)
    if say.min() < 0 or not say.any():
        raise ValueError(
            "sample_weight is 0 or more, and above 0 for one judgement; got "
            f"{say.min()} to {say.max()}."
        )
    return say


class TripletEmbedding(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Learn a space in which rows of one class lie together, or as people judge them.

    A linear map, or one with a hidden layer, into rows of length 1, so that cosine and
    euclidean distances rank alike. `fit` learns it from labels by the triplet loss: a
    row shall lie nearer to its class-mates than to others, by a margin. `fit_triplets`
    learns a linear one from judgements, "a is more like b than like c", and `refine`
    teaches judgements to a map that was learned already.

    Parameters
    ----------
    n_components : int, default=128
        Length of the embedding.
    hidden_layer_sizes : tuple of int, default=(512,)
        Units of each hidden layer; () is a linear map.
    margin : float, default=0.4
        How much nearer class-mates shall lie, in squared euclidean distance (0 to 4).
    mining : {"semi-hard", "batch-hard", "batch-all"}, default="semi-hard"
        Triplets of a batch that are learned from: every anchor and class-mate with the
        nearest other that lies farther than the mate (Schroff et al. 2015); every
        anchor with its farthest mate and its nearest other, or all (Hermans et al.
        2017).
    learning_rate_init : float, default=0.0015
        First step of Adam; it falls to 0 along a half cosine.
    alpha : float, default=0.0001
        Weight decay.
    dropout : float, default=0.2
        Share of the values of a row that a step does not see.
    batch_size : int, default=256
        About how many rows a step sees: as many of each class, and of more than
        ``batch_size / 4`` classes some in turn.
    max_epochs : int, default=25
        Most passes over the rows; small sets are passed over more often.
    n_epochs_no_change : int, default=10
        Passes without a better held-out score after which training stops.
    averaged_epochs : int, default=5
        Last passes whose weights are averaged.
    validation_fraction : float, default=0.05
        Share of each class that is held out to stop by.
    stiffness : float, default=60.0
        How firmly a map stays where it was while it learns judgements: as many of them
        weigh as much as a last layer that changes by the length of an axis.
    random_state : int, RandomState or None, default=None
        Seed of the split, the weights, the batches and the dropout.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Weights and offsets of each layer.
    mean_, scale_ : ndarray of shape (n_features,)
        What standardises the rows.
    loss_curve_ : list of float
        Training loss of each epoch, or of each iteration over judgements.
    validation_score_curve_ : list of float
        Mean average precision of the held-out rows among 2,000 training rows after
        each epoch; empty after judgements.
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

    Someone finds the first flower more like the second than like the last:

    >>> judgements = [[0, 1, 149]]
    >>> judged = TripletEmbedding(2, random_state=0).fit_triplets(X, judgements)
    >>> judged.score_triplets(X, judgements)
    1.0
    """

    def __init__(
        self,
        n_components=128,
        *,
        hidden_layer_sizes=(512,),
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
        stiffness=60.0,
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
    def _hidden_sizes(self):
        return np.atleast_1d(self.hidden_layer_sizes).tolist()

    def _check_parameters(self):
        if self.mining not in _MINING:
            raise ValueError(
                f"mining={self.mining!r} is not known; expected one of "
                f"{', '.join(map(repr, _MINING))}."
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
                    f"{name} must be 1 or more, in whole numbers, got "
                    f"{getattr(self, name)!r}."
                )
        for name in ("margin", "stiffness", "learning_rate_init"):
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

    def fit(self, X, y):
        """Learn from rows and their labels.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.
        y : array-like of shape (n,)
            Labels. A class of one row is only told from the others.

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
        X = validate_data(self, X, dtype=np.float32)
        codes = _check_labels(y, len(X))
        self._check_parameters()
        rng = check_random_state(self.random_state)
        train, held = _hold_out(codes, self.validation_fraction, rng)
        self._standardise(X[train])
        rows = self._rows(X)
        sizes = [X.shape[1], *self._hidden_sizes, self.n_components]
        weights = [
            rng.normal(0, np.sqrt(2 / before), (before, after)).astype(np.float32)
            for before, after in pairwise(sizes)
        ]
        offsets = [np.zeros(size, np.float32) for size in sizes[1:]]
        chosen = rng.permutation(train)[:_REFERENCES]
        relevant = codes[held][:, None] == codes[chosen]
        told = held[relevant.any(axis=1)]
        relevant = relevant[relevant.any(axis=1)]

        def score():
            answers, _, _ = embed(rows[told], weights, offsets)
            stored, _, _ = embed(rows[chosen], weights, offsets)
            return _average_precision(answers @ stored.T, relevant)

        self._train(rows[train], codes[train], weights, offsets, rng, score, len(told))
        return self

    def _train(self, rows, codes, weights, offsets, rng, score, n_held):
        """Change weights and offsets epoch by epoch, then average the last ones."""
        batches = _Batches(codes, self.batch_size, rng)
        # Small sets are passed over several times an epoch.
        steps = max(8, len(rows) // batches.size)
        adam = _Adam(weights, offsets, self.alpha)
        noise = np.random.Generator(np.random.SFC64(rng.randint(1 << 31)))
        self.loss_curve_, self.validation_score_curve_ = [], []
        kept, best, waited = [], -np.inf, 0
        bar = progress(range(self.max_epochs), desc="training", unit="epoch")
        for epoch in bar:
            losses = []
            for step in range(steps):
                drawn = batches.draw()
                seen = rows[drawn]
                if self.dropout:
                    keep = noise.random(seen.shape, np.float32) >= self.dropout
                    seen *= keep * np.float32(1 / (1 - self.dropout))
                unit, length, layers = embed(seen, weights, offsets)
                loss, slope = triplet_loss(unit, codes[drawn], self.margin, self.mining)
                losses.append(loss)
                by_weights, by_offsets = backpropagate(
                    slope, unit, length, layers, weights
                )
                done = (epoch * steps + step) / (self.max_epochs * steps)
                rate = self.learning_rate_init * (1 + np.cos(np.pi * done)) / 2
                adam.step([*by_weights, *by_offsets], rate)
            self.loss_curve_.append(float(np.mean(losses)))
            kept.append([values.copy() for values in (*weights, *offsets)])
            kept = kept[-self.averaged_epochs :]
            if not n_held:
                continue
            held_out = score()
            self.validation_score_curve_.append(held_out)
            bar.set_postfix(held_out=f"{held_out:.4f}", refresh=False)
            better = held_out > best + 1e-5
            best, waited = (held_out, 0) if better else (best, waited + 1)
            if waited >= self.n_epochs_no_change:
                break
        # The mean of the last epochs' weights lies nearer the middle of the valley.
        means = [
            np.mean(values, axis=0, dtype=np.float64).astype(np.float32)
            for values in zip(*kept, strict=True)
        ]
        self.coefs_, self.intercepts_ = means[: len(weights)], means[len(weights) :]
        self.n_iter_ = len(self.loss_curve_)

    def fit_triplets(self, X, triplets, sample_weight=None):
        """Learn a linear map from judgements of what is more alike.

        It begins with the principal components of the standardised rows, and leaves
        them as far as the judgements ask for.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Rows, judged or not: the map begins with their principal components.
        triplets : array-like of shape (m, 3)
            Judgements (a, b, c), "a is more like b than like c": positions of rows, or
            keys of the DataFrame's index. They may contradict each other.
        sample_weight : array-like of shape (m,), optional
            Say of each judgement; 1 by default.

        Returns
        -------
        self : TripletEmbedding
            The fitted embedding, of at most as many components as rows or columns.

        Raises
        ------
        KeyError
            If a key is not among the rows.
        ValueError
            If the judgements are no triplets of different rows, or X holds fewer than
            three.

        See Also
        --------
        refine : Begin with the map that is there.
        """
        keys = X.index if isinstance(X, pd.DataFrame) else None
        X = validate_data(self, X, dtype=np.float32, ensure_min_samples=3)
        self._check_parameters()
        triplets = _check_triplets(triplets, keys, len(X))
        self._standardise(X)
        rows = self._rows(X)
        if not rows.any():
            raise ValueError(
                f"All {len(X)} rows are the same, so there is nothing to compare them "
                "by; give rows that differ."
            )
        n_components = min(self.n_components, *X.shape)
        rng = check_random_state(self.random_state)
        axes = PCA(n_components, random_state=rng).fit(rows).components_
        self.coefs_ = [np.ascontiguousarray(axes.T, np.float32)]
        self.intercepts_ = [np.zeros(n_components, np.float32)]
        return self._judge(rows, triplets, sample_weight)

    def refine(self, X, triplets, sample_weight=None):
        """Teach judgements to the fitted map, by its last layer.

        Parameters
        ----------
        X, triplets, sample_weight : as in `fit_triplets`
            Of X, the judged rows are enough.

        Returns
        -------
        self : TripletEmbedding
            The same embedding, changed; `fit` or `fit_triplets` begin anew.

        Raises
        ------
        NotFittedError
            If there is no map yet.
        KeyError, ValueError
            As in `fit_triplets`.
        """
        check_is_fitted(self)
        keys = X.index if isinstance(X, pd.DataFrame) else None
        X = validate_data(self, X, dtype=np.float32, reset=False)
        self._check_parameters()
        triplets = _check_triplets(triplets, keys, len(X))
        return self._judge(self._rows(X), triplets, sample_weight)

    def _judge(self, rows, triplets, sample_weight):
        """Change the last layer until it agrees with judgements, and no more."""
        say = _check_say(sample_weight, len(triplets))
        judged, places = np.unique(triplets, return_inverse=True)
        triplets = places.reshape(-1, 3)
        weights = [weight.astype(np.float64) for weight in self.coefs_]
        rows = rows[judged].astype(np.float64)
        last = weights[-1]
        shares = say / say.sum()
        # A change counts beside the length of an axis.
        hold = self.stiffness / say.sum() * last.shape[1] / np.sum(last**2)

        def objective(flat):
            change = flat.reshape(last.shape)
            changed = [*weights[:-1], last + change]
            unit, length, layers = embed(rows, changed, self.intercepts_)
            loss, slope = judgement_loss(unit, triplets, shares, _DOUBT)
            slopes, _ = backpropagate(slope, unit, length, layers[-1:], changed[-1:])
            slope = slopes[0] + 2 * hold * change
            return loss + hold * np.sum(change**2), slope.ravel()

        self.loss_curve_, self.validation_score_curve_ = [], []
        with progress(desc="judgements", total=_ITERATIONS, unit="step") as bar:

            def note(intermediate_result):
                self.loss_curve_.append(float(intermediate_result.fun))
                bar.update()

            found = minimize(
                objective,
                np.zeros(last.size),
                jac=True,
                method="L-BFGS-B",
                callback=note,
                options={"maxiter": _ITERATIONS},
            )
        last = last + found.x.reshape(last.shape)
        self.coefs_ = [*self.coefs_[:-1], last.astype(np.float32)]
        self.n_iter_ = len(self.loss_curve_)
        return self

    def _standardise(self, rows):
        """Learn what standardises rows; a column that never varies says nothing."""
        self.mean_ = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        deviation = rows.std(axis=0, dtype=np.float64)
        self.scale_ = np.where(deviation > 0, deviation, 1).astype(np.float32)

    def _rows(self, X):
        return (X - self.mean_) / self.scale_

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
        X = validate_data(self, X, dtype=np.float32, reset=False)
        # In float64, so that an answer does not depend on the others of its batch.
        weights = [weight.astype(np.float64) for weight in self.coefs_]
        out = np.empty((len(X), self._n_features_out), np.float32)
        for start in range(0, len(X), _BLOCK):
            block = self._rows(X[start : start + _BLOCK]).astype(np.float64)
            out[start : start + _BLOCK] = embed(block, weights, self.intercepts_)[0]
        return out

    def score_triplets(self, X, triplets):
        """Return the share of judgements that the embedding agrees with.

        Parameters
        ----------
        X, triplets : as in `fit_triplets`

        Returns
        -------
        agreement : float
            From 0 to 1; 0.5 is what chance agrees with.
        """
        check_is_fitted(self)
        keys = X.index if isinstance(X, pd.DataFrame) else None
        unit = self.transform(X)
        a, b, c = _check_triplets(triplets, keys, len(unit)).T
        return float(np.mean(np.einsum("ij,ij->i", unit[a], unit[b] - unit[c]) > 0))
