"""MLPEmbedding: the last hidden layer of a classifier as an embedding."""

import numpy as np
from scipy.special import softmax
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d

from ..features.threads import one_blas_thread
from ..pictures.validation import validate_rows
from .capacity import FEW, grouped_folds
from .training import (
    FEWEST_TO_CALIBRATE,
    Network,
    check_labels,
    fit_temperature,
    forward,
    hold_out,
    standardization,
    standardized,
)

_PENALTIES = (1e-4, 1.0, 10.0)  # that are tried where rows are few


def _of_logits(logits):
    """Logits (n, k) -> function of a temperature that gives probabilities."""
    return lambda temperature: softmax(logits / temperature, axis=1)


class MLPEmbedding(Network):
    """Learn an embedding of any features: the last hidden layer of a classifier.

    An `sklearn.neural_network.MLPClassifier` is trained on the labels; its last hidden
    layer is the transform. On frozen features of a pretrained network this is the usual
    small embedding with a softmax head.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(64,)
        Units of each hidden layer; the last is the embedding's length.
    learning_rate_init : float, default=0.001
        Learning rate of Adam.
    alpha : float or "auto", default="auto"
        Strength of the L2 penalty. "auto" is 0.0001 for 2,000 rows or more; for fewer,
        0.0001, 1 or 10, whichever has the smallest log loss in cross-validation.
    batch_size : int, default=256
        Batch size; doubled after half of `max_epochs`, and again after three quarters.
    max_epochs : int, default=40
        Maximum number of epochs.
    n_epochs_no_change : int, default=8
        Patience: epochs without improvement of the validation loss before stopping.
    averaged_epochs : int, default=6
        Number of last epochs whose weights are averaged.
    validation_fraction : float, default=0.1
        Share of each class held out for validation: early stopping and calibration.
    random_state : int, RandomState or None, default=None
        Seed of the split, the initial weights and the shuffling.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    coefs_, intercepts_ : list of ndarray
        Weights and biases of each layer.
    alpha_ : float
        Strength of the L2 penalty.
    capacity_scores_ : dict of str to float
        Log loss of each penalty tried, out of fold; empty without a choice.
    temperature_ : float
        Divisor of the logits, to calibrate the probabilities: fitted to the validation
        part or, where that has fewer than 50 of fewer than 2,000 rows, to answers out
        of fold.
    is_calibrated_ : bool
        False where fewer than 50 answers were there to learn it from.
    loss_curve_, validation_loss_curve_, validation_score_curve_ : list of float
        Training loss, validation loss and validation accuracy of each epoch.
    n_iter_ : int
        Epochs run.
    mean_, scale_ : ndarray of shape (n_features,)
        Mean and standard deviation of each column.
    n_features_in_ : int
        Values in a fitted row.

    References
    ----------
    Izmailov et al. (2018). Averaging weights leads to wider optima and better
    generalization. UAI.

    Guo, Pleiss, Sun and Weinberger (2017). On calibration of modern neural networks.
    ICML.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from geoimages import MLPEmbedding
    >>> X, y = load_iris(return_X_y=True)
    >>> embedding = MLPEmbedding((8,), random_state=0).fit(X, y)
    >>> embedding.transform(X).shape
    (150, 8)
    """

    def __init__(
        self,
        hidden_layer_sizes=(64,),
        *,
        learning_rate_init=1e-3,
        alpha="auto",
        batch_size=256,
        max_epochs=40,
        n_epochs_no_change=8,
        averaged_epochs=6,
        validation_fraction=0.1,
        random_state=None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.n_epochs_no_change = n_epochs_no_change
        self.averaged_epochs = averaged_epochs
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    @one_blas_thread()
    def fit(self, X, y, groups=None):
        """Fit the embedding to labels.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.
        y : array-like of shape (n,)
            Labels.
        groups : array-like of shape (n,), optional
            Rows that belong together, such as copies of a picture: on one side of the
            validation split, and in one fold of the cross-validation; see
            `geoimages.groups_of`.

        Returns
        -------
        self : MLPEmbedding
            The fitted embedding.

        Raises
        ------
        ValueError
            If there is only one class, or a class has one row.
        """
        X = validate_rows(self, X, dtype=np.float32)
        self.classes_, codes = check_labels(y, len(X))
        rng = check_random_state(self.random_state)
        if groups is not None:
            groups = column_or_1d(groups)
            check_consistent_length(X, groups)
        train, held = hold_out(codes, self.validation_fraction, rng, groups=groups)
        out_of_fold = self._choose_penalty(X, codes, groups, rng)
        validation = X[held], codes[held]
        self._keep(*self._fit_rows(X[train], codes[train], validation, rng))
        if len(held) < FEWEST_TO_CALIBRATE and out_of_fold is not None:
            self._calibrate(_of_logits(out_of_fold), codes)
        else:
            rows = self._standardized(validation[0])
            self._calibrate(self._mixture(rows), codes[held])
        return self

    def _fit_rows(self, X, codes, validation, rng):
        """Train on rows as they are: weights, biases, learning curve."""
        self.mean_, self.scale_ = standardization(X)
        rows = self._standardized(X)
        if validation is not None:
            validation = self._standardized(validation[0]), validation[1]
        # With few rows, an epoch is several passes.
        passes = max(1, 2000 // len(rows))

        def draw_epoch(epoch):
            order = [rng.permutation(len(rows)) for _ in range(passes)]
            order = np.concatenate(order)
            return rows[order], codes[order]

        return self._train(draw_epoch, validation, rng)

    def _choose_penalty(self, X, codes, groups, rng):
        """Choose the penalty by cross-validation: logits of all rows, out of fold."""
        self.capacity_scores_ = {}
        auto = isinstance(self.alpha, str)
        if auto and self.alpha != "auto":
            raise ValueError(f'alpha is a number or "auto", got {self.alpha!r}.')
        penalties = _PENALTIES if auto else (self.alpha,)
        self.alpha_ = penalties[0]
        folds = grouped_folds(codes, groups, rng) if len(X) < FEW else []
        if not folds:
            return None
        answers, losses = {}, {}
        for penalty in penalties:
            self.alpha_ = penalty
            logits = np.empty((len(X), len(self.classes_)))
            for inside, outside in folds:
                network = self._fit_rows(X[inside], codes[inside], None, rng)[:2]
                logits[outside] = forward(self._standardized(X[outside]), *network)[1]
            proba = _of_logits(logits)
            proba = proba(fit_temperature(proba, codes))[np.arange(len(codes)), codes]
            losses[penalty] = float(-np.log(np.maximum(proba, 1e-12)).mean())
            answers[penalty] = logits
        if auto:
            self.capacity_scores_ = {f"{p:g}": loss for p, loss in losses.items()}
        self.alpha_ = min(penalties, key=losses.get)
        return answers[self.alpha_]

    def _mlp(self, hidden_layer_sizes, rng):
        return super()._mlp(hidden_layer_sizes, rng).set_params(alpha=self.alpha_)

    def _standardized(self, X):
        return standardized(X, self.mean_, self.scale_)

    def _rows(self, X):
        X = validate_rows(self, X, dtype=np.float32, reset=False)
        return standardized(X, self.mean_, self.scale_)
