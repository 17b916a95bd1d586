"""ConvNetClassifier: features -> class, and its embedding; MLPEmbedding for any rows."""

from functools import partial

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
)
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.utils import assert_all_finite, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from ..features import RockFeatures
from ..features.base import PictureFeatures
from ..features.kernels import chunk_length
from ..files import progress
from ..pictures.augmentation import Augmentation
from ..pictures.scaling import as_uint8
from ..pictures.validation import (
    check_images,
    input_for,
    is_collection,
)

_REFERENCES = 2000  # training pictures that novelty compares with
_FEWEST_TO_CALIBRATE = 50
_GATE_OPENS = 0.5  # how sure the gate must be before the expert is heard


def encode_labels(y, n):
    """Return (classes, codes, counts) of n labels, or say what is wrong with them."""
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
    """Return (classes, codes) of labels that a classifier can learn from."""
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


def _hold_out(codes, share, rng):
    """Part positions into (train, held out), every class in both."""
    classes = codes.max() + 1
    size = min(max(classes, round(share * len(codes))), len(codes) - classes)
    return train_test_split(
        np.arange(len(codes)), test_size=size, stratify=codes, random_state=rng
    )


def _as_levels(images):
    """Pictures that hold nothing but k/255 as uint8, so that both learn the same."""
    return as_uint8(images.reshape(len(images), -1)).reshape(images.shape)


def _forward(rows, weights, offsets):
    """Rows through the network: (last hidden layer, logits)."""
    hidden = rows
    for weight, offset in zip(weights[:-1], offsets[:-1], strict=True):
        hidden = hidden @ weight + offset
        np.maximum(hidden, 0, out=hidden)
    return hidden, hidden @ weights[-1] + offsets[-1]


def _fit_temperature(mixture, codes):
    """The temperature that tells the held-out classes best.

    A prior of log T ~ N(0, 0.2) keeps the few mistakes among those held out from
    deciding alone.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017). On calibration of modern neural networks.
    """

    def loss(log_temperature):
        proba = mixture(np.exp(log_temperature))[np.arange(len(codes)), codes]
        prior = (log_temperature / 0.2) ** 2 / 2
        return prior - np.log(np.maximum(proba, 1e-12)).sum()

    best = minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded")
    return float(np.exp(best.x))


def _two_columns(weights):
    """One output for two classes becomes two, the first of them zero."""
    return [*weights[:-1], np.concatenate([0 * weights[-1], weights[-1]], axis=-1)]


def _logits(rows, coefs, intercepts):
    """(last hidden layer, logits) of rows, in blocks.

    In float64, so that an answer does not depend on the others of its batch.
    """
    coefs = [weight.astype(np.float64) for weight in coefs]
    parts = [
        _forward(rows[start : start + 2048], coefs, intercepts)
        for start in range(0, max(1, len(rows)), 2048)
    ]
    hidden, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
    return hidden.astype(np.float32), logits


def train_mlp(network, draw_epoch, epochs, *, patience=None, averaged=6, held=None):
    """Train scikit-learn's MLP epoch by epoch.

    Parameters
    ----------
    network : MLPClassifier
        Unfitted.
    draw_epoch : callable
        Epoch -> (rows, codes), in random order; codes count from 0.
    epochs : int
        Most epochs.
    patience : int, optional
        Epochs without a better held-out loss after which training stops.
    averaged : int, default=6
        Last epochs whose weights are averaged.
    held : (rows, codes), optional
        Held out.

    Returns
    -------
    coefs, intercepts : list of ndarray
        Weights and offsets, one output for each class.
    curve : list of (loss, held-out loss, held-out accuracy)
        Of each epoch.
    """
    kept, curve, best, waited = [], [], np.inf, 0
    batch = network.batch_size
    bar = progress(range(epochs), desc="training", unit="epoch")
    for epoch in bar:
        rows, codes = draw_epoch(epoch)
        # Larger batches late do what smaller steps would, and cost less.
        growth = 2 ** ((2 * epoch >= epochs) + (4 * epoch >= 3 * epochs))
        network.set_params(batch_size=min(growth * batch, len(rows)))
        if epoch == 0:
            network.partial_fit(rows, codes, classes=np.unique(codes))
        else:
            network.partial_fit(rows, codes)
        coefs = [weight.copy() for weight in network.coefs_]
        intercepts = [offset.copy() for offset in network.intercepts_]
        if coefs[-1].shape[1] == 1:
            coefs, intercepts = _two_columns(coefs), _two_columns(intercepts)
        kept = [*kept, (coefs, intercepts)][-averaged:]
        if held is None:
            continue
        logits = _logits(held[0], coefs, intercepts)[1]
        loss = -log_softmax(logits, axis=1)[np.arange(len(logits)), held[1]].mean()
        score = np.mean(logits.argmax(axis=1) == held[1])
        curve.append((float(network.loss_), float(loss), float(score)))
        bar.set_postfix(held_out=f"{score:.3f}", refresh=False)
        best, waited = (loss, 0) if loss < best - 1e-4 else (best, waited + 1)
        if patience is not None and waited >= patience:
            break
    # The mean of the last epochs' weights lies nearer the middle of the valley.
    coefs, intercepts = (
        [
            np.mean(layers, axis=0, dtype=np.float64).astype(layers[0].dtype)
            for layers in zip(*part, strict=True)
        ]
        for part in zip(*kept, strict=True)
    )
    return coefs, intercepts, curve


class _Network(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator
):
    """What both networks share: training, and what they answer."""

    def _mlp(self, hidden_layer_sizes, rng):
        return MLPClassifier(
            hidden_layer_sizes,
            batch_size=self.batch_size,
            learning_rate_init=self.learning_rate_init,
            alpha=self.alpha,
            random_state=rng.randint(1 << 31),
        )

    def _train(self, draw_epoch, held, rng):
        """Train the network whose last hidden layer is the embedding."""
        self.coefs_, self.intercepts_, curve = train_mlp(
            self._mlp(self.hidden_layer_sizes, rng),
            draw_epoch,
            self.max_epochs,
            patience=self.n_epochs_no_change,
            averaged=self.averaged_epochs,
            held=held,
        )
        self.n_iter_ = len(curve)
        curves = [list(column) for column in zip(*curve, strict=True)]
        self.loss_curve_ = curves[0]
        self.validation_loss_curve_, self.validation_score_curve_ = curves[1:]

    def _calibrate(self, held):
        """Learn the temperature from what was held out."""
        self.temperature_ = 1.0
        rows, codes = held
        if len(codes) >= _FEWEST_TO_CALIBRATE:
            self.temperature_ = _fit_temperature(self._mixture(rows), codes)

    def _mixture(self, rows):
        """Rows -> function of a temperature that gives probabilities."""
        logits = _logits(rows, self.coefs_, self.intercepts_)[1]
        return lambda temperature: softmax(logits / temperature, axis=1)

    def _rows(self, X):
        """Turn what is asked about into the network's rows."""
        raise NotImplementedError

    @property
    def _n_features_out(self):
        return self.coefs_[-1].shape[0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def transform(self, X):
        """Return the last hidden layer: each picture's embedding.

        Parameters
        ----------
        X : as in `fit`

        Returns
        -------
        embedding : ndarray of shape (n, hidden_layer_sizes[-1]), float32
        """
        check_is_fitted(self)
        return _logits(self._rows(X), self.coefs_, self.intercepts_)[0]

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


class MLPEmbedding(_Network):
    """Learn an embedding of any features: the last hidden layer of a classifier.

    An `sklearn.neural_network.MLPClassifier` is trained on the labels; its last hidden
    layer is the transform. On frozen features of a pretrained network this is the usual
    small embedding with a softmax head.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(64,)
        Units of each hidden layer; the last is the embedding's length.
    learning_rate_init : float, default=0.001
        Step of Adam.
    alpha : float, default=0.0001
        Strength of the L2 penalty.
    batch_size : int, default=256
        Rows of a step; twice as many after half of `max_epochs`, four times after
        three quarters.
    max_epochs : int, default=40
        Most passes over the rows.
    n_epochs_no_change : int, default=8
        Passes without a better held-out loss after which training stops.
    averaged_epochs : int, default=6
        Last passes whose weights are averaged.
    validation_fraction : float, default=0.1
        Share of each class that is held out, to stop by and to calibrate on.
    random_state : int, RandomState or None, default=None
        Seed of the split, the weights and the order.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    coefs_, intercepts_ : list of ndarray
        Weights and offsets of each layer.
    temperature_ : float
        What logits are divided by, so that probabilities can be believed.
    loss_curve_, validation_loss_curve_, validation_score_curve_ : list of float
        Training loss, held-out loss and held-out accuracy of each epoch.
    n_iter_ : int
        Epochs run.
    mean_, scale_ : ndarray of shape (n_features,)
        What standardises the rows.
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
        """Learn from rows and their labels.

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
        X = validate_data(self, X, dtype=np.float32)
        self.classes_, codes = check_labels(y, len(X))
        rng = check_random_state(self.random_state)
        train, held = _hold_out(codes, self.validation_fraction, rng)
        self.mean_ = X[train].mean(axis=0, dtype=np.float64).astype(np.float32)
        deviation = X[train].std(axis=0, dtype=np.float64)
        self.scale_ = np.where(deviation > 0, deviation, 1).astype(np.float32)
        rows = (X - self.mean_) / self.scale_
        # Few rows are passed over several times an epoch.
        n_rows = len(train) * max(1, 2000 // len(train))

        def draw_epoch(epoch):
            order = np.concatenate(
                [rng.permutation(train) for _ in range(n_rows // len(train))]
            )
            return rows[order], codes[order]

        held = rows[held], codes[held]
        self._train(draw_epoch, held, rng)
        self._calibrate(held)
        return self

    def _rows(self, X):
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return (X - self.mean_) / self.scale_


class ConvNetClassifier(_Network):
    """Tell the class of a picture, with a probability that can be believed.

    A small convolutional network without a deep-learning framework: learned filters,
    color and texture statistics (`RockFeatures`) in front of scikit-learn's MLP, trained
    on pictures as they are and as changes of light, color, focus and coding make them.

    Parameters
    ----------
    features : transformer, "passthrough" or None, default=None
        Pictures -> features; None means `RockFeatures`, "passthrough" pixels. It is
        cloned and fitted; wrap a trained one in `sklearn.frozen.FrozenEstimator`.
    hidden_layer_sizes : tuple of int, default=(384, 128)
        Units of each hidden layer; the last is the embedding's length.
    augment : Augmentation, "default" or None, default="default"
        How pictures are changed in training. None, or rows that are no RGB pictures of
        8 × 8 or more: not at all.
    expert_layer_sizes : tuple of int or None, default=(384, 128)
        Hidden layers of a second network that learns from pictures as they are only; a
        third, the gate, decides from the features how far to trust it. None, or no
        augmentation: the first network alone.
    n_copies : int, default=2
        Changed copies of each picture; more are made of small collections, until 20,000
        pictures (fewer of more than 64 × 64 pixels) are learned from, 60 of each at most.
    n_parts : int, default=1
        Random parts of each picture, of 0.7 to 1 of its sides, that are learned from
        as pictures of their own; every second changed copy is one, too. Only with
        features of this package, whose columns do not depend on the size.
    clean_share : float, default=0.4
        Share of the pictures that an epoch sees without a change of light, color,
        focus or coding.
    learning_rate_init : float, default=0.002
        Step of Adam.
    alpha : float, default=0.0001
        Strength of the L2 penalty.
    batch_size : int, default=256
        Pictures of a step; twice as many after half of `max_epochs`, four times after
        three quarters.
    max_epochs : int, default=18
        Most passes over the pictures; the expert has two thirds of them.
    n_epochs_no_change : int, default=10
        Passes without a better held-out loss after which training stops.
    averaged_epochs : int, default=6
        Last passes whose weights are averaged.
    validation_fraction : float, default=0.05
        Share of each class that is held out, to stop by and to calibrate on.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows; pictures bring their own.
    random_state : int, RandomState or None, default=None
        Seed of everything drawn.
    n_jobs : int, optional
        Threads that compute the default features.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    features_ : transformer
        The fitted features.
    coefs_, intercepts_ : list of ndarray
        Weights and offsets of each layer.
    expert_, gate_ : (list of ndarray, list of ndarray) or None
        Weights and offsets of the expert and of the gate.
    temperature_ : float
        What logits are divided by, so that probabilities can be believed.
    loss_curve_, validation_loss_curve_, validation_score_curve_ : list of float
        Training loss, held-out loss and held-out accuracy of each epoch.
    n_iter_ : int
        Epochs run.
    references_ : ndarray of shape (n_references, n_columns)
        Features of training pictures that `novelty` compares with.
    novelty_scale_ : ndarray of shape (n_held_out,)
        Distances of held-out pictures to them, ascending.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.

    See Also
    --------
    MLPEmbedding : The same network for rows of any features.
    geoimages.disturbances : Pictures to test a model with.

    Notes
    -----
    Pictures as the collection holds them and pictures in another light are told apart
    best by different rules. The probability is a mixture of two experts (Jacobs et al.
    1991): of the network that saw both and of one that saw the former only.

    References
    ----------
    Coates, Ng and Lee (2011). An analysis of single-layer networks in unsupervised
    feature learning. AISTATS.

    Jacobs, Jordan, Nowlan and Hinton (1991). Adaptive mixtures of local experts. Neural
    Computation 3(1).

    Izmailov et al. (2018). Averaging weights leads to wider optima and better
    generalization. UAI.

    Smith, Kindermans, Ying and Le (2018). Don't decay the learning rate, increase the
    batch size. ICLR.

    Guo, Pleiss, Sun and Weinberger (2017). On calibration of modern neural networks.
    ICML.

    Examples
    --------
    >>> from geoimages import ConvNetClassifier, make_rocks
    >>> images, labels = make_rocks(90, random_state=0)
    >>> model = ConvNetClassifier(n_copies=1, max_epochs=2, random_state=0)
    >>> model.fit(images, labels).predict_proba(images[:2]).shape
    (2, 6)
    """

    takes_pictures = True

    def __init__(
        self,
        features=None,
        hidden_layer_sizes=(384, 128),
        augment="default",
        *,
        expert_layer_sizes=(384, 128),
        n_copies=2,
        n_parts=1,
        clean_share=0.4,
        learning_rate_init=2e-3,
        alpha=1e-4,
        batch_size=256,
        max_epochs=18,
        n_epochs_no_change=10,
        averaged_epochs=6,
        validation_fraction=0.05,
        image_shape=None,
        random_state=None,
        n_jobs=None,
    ):
        self.features = features
        self.hidden_layer_sizes = hidden_layer_sizes
        self.augment = augment
        self.expert_layer_sizes = expert_layer_sizes
        self.n_copies = n_copies
        self.n_parts = n_parts
        self.clean_share = clean_share
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.n_epochs_no_change = n_epochs_no_change
        self.averaged_epochs = averaged_epochs
        self.validation_fraction = validation_fraction
        self.image_shape = image_shape
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X, y=None):
        """Learn the classes of pictures.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width, c), or Collection
            Flat rows or pictures; uint8 means 0–255 and float 0–1.
        y : array-like of shape (n,)
            Labels; those of a Collection by default.

        Returns
        -------
        self : ConvNetClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If labels are missing, there is only one class, or a class has one picture.
        """
        if is_collection(X):
            y = X.labels if y is None else y
            X = X[:]
        images = _as_levels(check_images(self, X, dtype=None))
        self.classes_, codes = check_labels(y, len(images))
        rng = check_random_state(self.random_state)
        train, held = _hold_out(codes, self.validation_fraction, rng)
        augment = self._augmentation(images)
        copies = 0
        if augment is not None:
            # Small collections are changed more often, as far as that stays quick.
            most = min(20_000, 80_000_000 // images[0, ..., 0].size)
            copies = int(np.clip(most // len(train), self.n_copies, 60))
        self._fit_features(images, codes, train, augment, rng)
        rows = [self._describe(images[train])]
        # Statistics of a part are those of a picture, so that parts are pictures, too.
        cropped = augment is not None and isinstance(self.features_, PictureFeatures)
        for _ in range(self.n_parts if cropped else 0):
            rows.append(self._describe_parts(images[train], rng))
        plain = len(rows)
        for copy in progress(range(copies), desc="changing pictures", unit="copy"):
            describe = self._describe
            if cropped and copy % 2:
                describe = partial(self._describe_parts, rng=rng)
            rows.append(describe(augment.apply(images[train], rng)))
        rows = np.stack(rows)
        held_out = self._describe(images[held]), codes[held]
        times = max(1, (10_000 if copies else 2000) // len(train))

        def draw(epoch, clean_share):
            order = np.concatenate([rng.permutation(len(train)) for _ in range(times)])
            # Each pass sees one changed copy of every picture, the next another.
            passes = epoch + np.arange(len(order)) // len(train)
            changed = rng.uniform(size=len(order)) >= clean_share
            copy = rng.randint(plain, size=len(order))
            if copies:
                copy = np.where(changed, plain + passes % copies, copy)
            return rows[copy, order], order, changed

        def draw_epoch(epoch):
            drawn, order, _ = draw(epoch, self.clean_share)
            return drawn, codes[train][order]

        self._train(draw_epoch, held_out, rng)
        self.expert_ = self.gate_ = None
        if copies and self.expert_layer_sizes is not None:
            self._train_expert(draw, codes[train], rng)
        self._calibrate(held_out)
        chosen = np.sort(rng.permutation(len(train))[:_REFERENCES])
        self.references_ = rows[0, chosen]
        self.novelty_scale_ = np.sort(self._distance_to_references(held_out[0]))
        return self

    def _train_expert(self, draw, codes, rng):
        """Train the expert on pictures as they are, and the gate that calls it."""

        def draw_clean(epoch):
            drawn, order, _ = draw(epoch, 1.0)
            return drawn, codes[order]

        def draw_both(epoch):
            drawn, _, changed = draw(epoch, 0.5)
            return drawn, 1 - changed

        epochs = -(-2 * self.max_epochs // 3)
        self.expert_ = train_mlp(
            self._mlp(self.expert_layer_sizes, rng), draw_clean, epochs, averaged=4
        )[:2]
        self.gate_ = train_mlp(
            self._mlp((64,), rng), draw_both, -(-epochs // 3), averaged=3
        )[:2]

    def _mixture(self, rows):
        robust = super()._mixture(rows)
        if self.expert_ is None:
            return robust
        as_it_is = softmax(_logits(rows, *self.gate_)[1], axis=1)[:, 1:]
        share = np.clip((as_it_is - _GATE_OPENS) / (1 - _GATE_OPENS), 0, 1)
        logits = _logits(rows, *self.expert_)[1]

        def mixture(temperature):
            expert = softmax(logits / temperature, axis=1)
            return (1 - share) * robust(temperature) + share * expert

        return mixture

    def _augmentation(self, images):
        """The augmentation in use, or None."""
        height, width, channels = images.shape[1:]
        pictures = channels in (3, 4) and min(height, width) >= 8
        if self.augment is None or not pictures or images.dtype != np.uint8:
            return None
        return Augmentation() if isinstance(self.augment, str) else self.augment

    def _fit_features(self, images, codes, train, augment, rng):
        """Fit the features on training pictures as they are and changed."""
        if isinstance(self.features, str):
            self.features_ = None
            return
        if self.features is None:
            self.features_ = RockFeatures(
                conv=1,
                tone=0,
                random_state=rng.randint(1 << 31),
                n_jobs=self.n_jobs,
            )
        else:
            self.features_ = clone(self.features)
        sample = images[train]
        y = codes[train]
        if isinstance(self.features_, RockFeatures) and augment is not None:
            few = rng.permutation(len(train))[:2000]
            sample = np.concatenate([sample[few], augment.apply(sample[few], rng)])
            y = np.concatenate([y[few], y[few]])
        self.features_.fit(input_for(self.features_, sample), y)

    def _describe(self, images):
        """Pictures -> float32 features."""
        if self.features_ is None:
            rows = images.reshape(len(images), -1)
            return rows / np.float32(255) if rows.dtype == np.uint8 else rows
        rows = self.features_.transform(input_for(self.features_, images))
        return np.asarray(rows, dtype=np.float32)

    def _describe_parts(self, images, rng):
        """Describe a random square part of each picture, of 0.7 to 1 of its sides."""
        n, height, width, _ = images.shape
        order = rng.permutation(n)
        step = chunk_length(height, width)
        out = np.empty((n, self.features_._n_features_out), np.float32)
        for start in range(0, n, step):
            chosen = order[start : start + step]
            share = rng.uniform(0.7, 1)
            high, wide = max(1, round(share * height)), max(1, round(share * width))
            top = rng.randint(height - high + 1, size=len(chosen))
            left = rng.randint(width - wide + 1, size=len(chosen))
            parts = [
                images[i, y : y + high, x : x + wide]
                for i, y, x in zip(chosen, top, left, strict=True)
            ]
            out[chosen] = self.features_._describe(np.stack(parts))
        return out

    def _rows(self, X):
        if is_collection(X):
            if self.features_ is not None:
                return np.asarray(X.features(self.features_), dtype=np.float32)
            X = X[:]
        images = check_images(self, X, reset=False, dtype=None)
        return self._describe(_as_levels(images))

    def _distance_to_references(self, rows):
        return pairwise_distances_argmin_min(rows, self.references_)[1]

    def novelty(self, X):
        """Say how unlike the training pictures pictures are.

        Parameters
        ----------
        X : as in `fit`

        Returns
        -------
        percentile : ndarray of shape (n,), float64
            Share, in percent, of the held-out pictures that lie nearer to a training
            picture. Above 99 a picture is unlike the collection, and its class means
            little.
        """
        check_is_fitted(self)
        distance = self._distance_to_references(self._rows(X))
        nearer = np.searchsorted(self.novelty_scale_, distance)
        return 100 * nearer / len(self.novelty_scale_)
