"""Training of the networks: labels, validation, averaging, calibration."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ..files import progress

FEWEST_TO_CALIBRATE = 50
_PRIOR_DEVIATION = 0.2  # of log T
_BLOCK = 2048  # rows per forward pass
_MOST_DEVIATIONS = 1e6  # products with weights stay in single precision


def encode_labels(y, n):
    """Validate and encode n labels: (classes, codes, counts)."""
    if y is None:
        raise ValueError(
            "requires y to be passed, but the target y is None: give one label for "
            "each picture."
        )
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    check_consistent_length(np.empty(n), y)
    check_classification_targets(y)
    classes, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    if "" in classes.tolist():
        raise ValueError(
            f"{counts[classes == ''][0]} of {n} pictures have no label; leave them out, "
            "or label them."
        )
    return classes, codes, counts


def check_labels(y, n):
    """Validate and encode the labels for a classifier: (classes, codes)."""
    classes, codes, counts = encode_labels(y, n)
    if len(classes) < 2:
        raise ValueError(
            f"A classifier needs pictures of two classes or more, got one class: "
            f"{classes.tolist()[0]!r}."
        )
    if counts.min() < 2:
        raise ValueError(
            f"The class {classes.tolist()[counts.argmin()]!r} has one picture; each "
            "needs two or more, to learn from and to hold out."
        )
    return classes, codes


def hold_out(codes, share, rng, pairs=False, groups=None):
    """Split positions into (train, validation), stratified by class.

    Every class is in train; rare ones may be missing from validation. With `pairs`, two
    rows of each class stay in train, as a triplet needs an anchor and a positive. Rows
    of one group are on one side; a class of one group is in train.
    """
    n_classes = codes.max() + 1
    if groups is not None:
        return _hold_out_groups(codes, share, rng, groups, pairs)
    if not pairs:
        size = min(max(n_classes, round(share * len(codes))), len(codes) - n_classes)
        return train_test_split(
            np.arange(len(codes)), test_size=size, stratify=codes, random_state=rng
        )
    held = []
    for code in range(n_classes):
        members = rng.permutation(np.flatnonzero(codes == code))
        size = max(0, min(round(share * len(members)), len(members) - 2))
        held.append(members[:size])
    held = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(codes)), held), held


def _hold_out_groups(codes, share, rng, groups, pairs):
    """Hold out a share of the groups of each class, one at least where it has two."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    held = np.zeros(len(first), bool)
    for code in range(codes.max() + 1):
        members = rng.permutation(np.flatnonzero(codes[first] == code))
        size = min(max(1, round(share * len(members))), len(members) - 1)
        held[members[: max(0, size)]] = True
    # Copies may differ in their labels: a class must not be held out as a whole.
    counts = np.bincount(codes[~held[group]], minlength=codes.max() + 1)
    for code in np.flatnonzero(counts < (2 if pairs else 1)):
        held[group[codes == code]] = False
    if not held.any():
        return hold_out(codes, share, rng, pairs)
    return np.flatnonzero(~held[group]), np.flatnonzero(held[group])


def standardization(rows):
    """Mean and standard deviation of each column: (n, p) -> (p,), (p,) float32.

    That of a constant column is set to 1, so that it is only centered.
    """
    # Sums in float64: float32 loses digits over thousands of rows.
    mean = rows.mean(axis=0, dtype=np.float64)
    scale = rows.std(axis=0, dtype=np.float64).astype(np.float32)
    # Rounding gives constant columns some deviation.
    varies = (rows.max(axis=0) > rows.min(axis=0)) & (scale > 0)
    return mean.astype(np.float32), np.where(varies, scale, np.float32(1))


def standardized(rows, mean, scale):
    """Center and scale columns, at most a million deviations: (n, p) -> float32."""
    with np.errstate(over="ignore"):
        return np.clip((rows - mean) / scale, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)


def average_weights(epochs):
    """Average the weights of several epochs, layer by layer: list of lists -> list.

    Late epochs of Adam circle around a minimum; their mean lies nearer to its middle,
    where the loss is flat and generalizes better (Izmailov et al. 2018).
    """
    return [
        np.mean(layers, axis=0, dtype=np.float64).astype(layers[0].dtype)
        for layers in zip(*epochs, strict=True)
    ]


def _forward(rows, weights, biases):
    """Rows through the network: (last hidden layer, logits)."""
    hidden = rows
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        hidden = hidden @ weight + bias
        np.maximum(hidden, 0, out=hidden)
    return hidden, hidden @ weights[-1] + biases[-1]


def forward(rows, weights, biases):
    """Rows through the network, in blocks: (last hidden layer, logits).

    In float64: the summation order of a matrix product depends on the number of rows,
    and in float32 an answer would depend on the others of its batch.
    """
    weights = [weight.astype(np.float64) for weight in weights]
    blocks = [
        _forward(rows[start : start + _BLOCK], weights, biases)
        for start in range(0, max(1, len(rows)), _BLOCK)
    ]
    hidden, logits = (np.concatenate(block) for block in zip(*blocks, strict=True))
    return hidden.astype(np.float32), logits


def fit_temperature(mixture, codes):
    """The temperature of maximum posterior probability, given validation classes.

    T minimizes the validation log loss plus (log T / 0.2)² / 2. This is a Gaussian
    prior on log T: a good classifier makes a handful of validation mistakes, and
    without the prior these few would set the temperature of every answer.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017). On calibration of modern neural networks.
    """

    def loss(log_temperature):
        proba = mixture(np.exp(log_temperature))[np.arange(len(codes)), codes]
        prior = (log_temperature / _PRIOR_DEVIATION) ** 2 / 2
        return prior - np.log(np.maximum(proba, 1e-12)).sum()

    best = minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded")
    return float(np.exp(best.x))


def two_logits(weights):
    """The logistic output of two classes as two logits, the first of them zero."""
    return [*weights[:-1], np.concatenate([0 * weights[-1], weights[-1]], axis=-1)]


def train_mlp(
    network,
    draw_epoch,
    epochs,
    *,
    patience=None,
    averaged=6,
    validation=None,
    n_classes=None,
):
    """Train scikit-learn's MLP epoch by epoch.

    Parameters
    ----------
    network : MLPClassifier
        Unfitted.
    draw_epoch : callable
        Epoch -> (rows, codes), in random order; codes count from 0.
    epochs : int
        Maximum number of epochs.
    patience : int, optional
        Epochs without improvement of the validation loss before stopping.
    averaged : int, default=6
        Number of last epochs whose weights are averaged.
    validation : (rows, codes), optional
        Validation part.
    n_classes : int, optional
        Number of classes; by default those of the first epoch.

    Returns
    -------
    weights, biases : list of ndarray
        Of each layer, one output for each class.
    curve : list of (loss, validation loss, validation accuracy)
        Of each epoch.
    """
    kept, curve, best, waited = [], [], np.inf, 0
    batch = network.batch_size
    bar = progress(range(epochs), desc="training", unit="epoch")
    for epoch in bar:
        rows, codes = draw_epoch(epoch)
        # A larger batch has the same effect on the gradient noise as a smaller
        # learning rate, in fewer steps (Smith et al. 2018).
        growth = 2 ** ((2 * epoch >= epochs) + (4 * epoch >= 3 * epochs))
        network.set_params(batch_size=min(growth * batch, len(rows)))
        if epoch == 0:
            classes = np.unique(codes) if n_classes is None else np.arange(n_classes)
            network.partial_fit(rows, codes, classes=classes)
        else:
            network.partial_fit(rows, codes)
        weights = [weight.copy() for weight in network.coefs_]
        biases = [bias.copy() for bias in network.intercepts_]
        if weights[-1].shape[1] == 1:
            weights, biases = two_logits(weights), two_logits(biases)
        kept = [*kept, (weights, biases)][-averaged:]
        if validation is None:
            continue
        logits = forward(validation[0], weights, biases)[1]
        truth = validation[1]
        loss = -log_softmax(logits, axis=1)[np.arange(len(truth)), truth].mean()
        score = np.mean(logits.argmax(axis=1) == truth)
        curve.append((float(network.loss_), float(loss), float(score)))
        bar.set_postfix(validation=f"{score:.3f}", refresh=False)
        best, waited = (loss, 0) if loss < best - 1e-4 else (best, waited + 1)
        if patience is not None and waited >= patience:
            break
    weights, biases = (average_weights(part) for part in zip(*kept, strict=True))
    return weights, biases, curve


def layer_table(networks):
    """Summarize the layers of fitted networks: {name: (weights, biases)} -> DataFrame.

    Columns ``network``, ``layer``, ``inputs``, ``outputs`` and ``parameters``.
    """
    rows = [
        (name, layer + 1, *weight.shape, weight.size + bias.size)
        for name, (weights, biases) in networks.items()
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True))
    ]
    columns = ["network", "layer", "inputs", "outputs", "parameters"]
    return pd.DataFrame(rows, columns=columns)


class Network(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator
):
    """Base class of both networks: training and prediction."""

    def _mlp(self, hidden_layer_sizes, rng):
        return MLPClassifier(
            hidden_layer_sizes,
            batch_size=self.batch_size,
            learning_rate_init=self.learning_rate_init,
            alpha=self.alpha,
            random_state=rng.randint(1 << 31),
        )

    def _train(self, draw_epoch, validation, rng):
        """Train the network whose last hidden layer is the embedding."""
        return train_mlp(
            self._mlp(self.hidden_layer_sizes, rng),
            draw_epoch,
            self.max_epochs,
            patience=self.n_epochs_no_change,
            averaged=self.averaged_epochs,
            validation=validation,
            n_classes=len(self.classes_),
        )

    def _keep(self, coefs, intercepts, curve):
        """Keep the trained network and its learning curve."""
        self.coefs_, self.intercepts_ = coefs, intercepts
        self.n_iter_ = len(curve)
        curves = [list(column) for column in zip(*curve, strict=True)]
        self.loss_curve_ = curves[0]
        self.validation_loss_curve_, self.validation_score_curve_ = curves[1:]

    def _calibrate(self, mixture, codes):
        """Fit the temperature to answers about pictures not learned from."""
        # The prior holds the temperature where there are few; what they say still counts.
        self.temperature_ = fit_temperature(mixture, codes)
        self.is_calibrated_ = len(codes) >= FEWEST_TO_CALIBRATE

    def _mixture(self, rows):
        """Rows -> function of a temperature that gives probabilities."""
        logits = forward(rows, self.coefs_, self.intercepts_)[1]
        return lambda temperature: softmax(logits / temperature, axis=1)

    def _rows(self, X):
        """Convert X to the input rows of the network."""
        raise NotImplementedError

    def _network_rows(self, X):
        """The columns that the network itself takes."""
        return self._rows(X)

    def _networks(self):
        """Weights and biases of each network, by name."""
        return {"classifier": (self.coefs_, self.intercepts_)}

    def summary(self):
        """List the layers and count their parameters.

        Returns
        -------
        table : DataFrame
            A row for each layer: ``network``, ``layer``, ``inputs``, ``outputs`` and
            ``parameters`` (weights and biases).
        """
        check_is_fitted(self)
        return layer_table(self._networks())

    @property
    def _n_features_out(self):
        return self.coefs_[-1].shape[0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def transform(self, X):
        """Return the embeddings, the activations of the last hidden layer.

        Parameters
        ----------
        X : as in `fit`

        Returns
        -------
        embedding : ndarray of shape (n, hidden_layer_sizes[-1]), float32
        """
        check_is_fitted(self)
        return forward(self._network_rows(X), self.coefs_, self.intercepts_)[0]

    def predict_proba(self, X):
        """Return calibrated probabilities.

        Parameters
        ----------
        X : as in `fit`

        Returns
        -------
        proba : ndarray of shape (n, n_classes), float64
            Of the classes in ``classes_``; rows sum to 1.
        """
        check_is_fitted(self)
        return self._mixture(self._rows(X))(self.temperature_)

    def predict(self, X):
        """Return the most probable class.

        Parameters
        ----------
        X : as in `fit`

        Returns
        -------
        y : ndarray of shape (n,)
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]
