"""MLPEmbedding: the last hidden layer of a classifier as an embedding."""

import numpy as np
from sklearn.utils import check_random_state

from ..pictures.validation import validate_rows
from .training import Network, check_labels, hold_out, standardization, standardized


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
    alpha : float, default=0.0001
        Strength of the L2 penalty.
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
    temperature_ : float
        Divisor of the logits, to calibrate the probabilities.
    is_calibrated_ : bool
        False where fewer than 50 rows were held out to learn it from.
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
        alpha=1e-4,
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

    def fit(self, X, y):
        """Fit the embedding to labels.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.
        y : array-like of shape (n,)
            Labels.

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
        train, held = hold_out(codes, self.validation_fraction, rng)
        self.mean_, self.scale_ = standardization(X[train])
        rows = standardized(X, self.mean_, self.scale_)
        # With few rows, an epoch is several passes.
        n_rows = len(train) * max(1, 2000 // len(train))

        def draw_epoch(epoch):
            order = np.concatenate(
                [rng.permutation(train) for _ in range(n_rows // len(train))]
            )
            return rows[order], codes[order]

        validation = rows[held], codes[held]
        self._keep(*self._train(draw_epoch, validation, rng))
        self._calibrate(self._mixture(validation[0]), validation[1])
        return self

    def _rows(self, X):
        X = validate_rows(self, X, dtype=np.float32, reset=False)
        return standardized(X, self.mean_, self.scale_)
