"""ConvNetClassifier: pictures -> class, probability, novelty and embedding."""

from functools import partial

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..collection.duplicates import find_duplicates
from ..features import RockFeatures
from ..features.base import PictureFeatures
from ..features.kernels import chunk_length
from ..files import progress
from ..pictures.augmentation import Augmentation
from ..pictures.scaling import as_uint8
from ..pictures.validation import (
    check_describable,
    check_images,
    input_for,
    is_collection,
)
from .training import (
    FEWEST_TO_CALIBRATE,
    LINEAR_C,
    Network,
    check_labels,
    fit_linear,
    fit_temperature,
    forward,
    hold_out,
    train_mlp,
)

_REFERENCES = 2000  # training pictures for the novelty
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the linear model in an answer
_FEW = 2000  # pictures below which an epoch is shorter
_GATE_OPENS = 0.5  # output of the gate from which the expert counts


def _as_levels(images):
    """Return pictures with values k/255 as uint8, so that both dtypes train alike."""
    return as_uint8(images.reshape(len(images), -1)).reshape(images.shape)


class _Epochs:
    """What an epoch learns from: rows (n_clean + n_copies, n, p) of n pictures.

    The first `n_clean` are pictures and crops of them, the others are augmented.
    """

    def __init__(self, rows, codes, n_clean, clean_share, rng):
        self.rows, self.codes, self.rng = rows, codes, rng
        self.n_clean, self.n_copies = n_clean, len(rows) - n_clean
        self.clean_share = clean_share
        # Few pictures are passed over several times an epoch, but not too often: they
        # would be learned by heart.
        n_rows = 10_000 if len(codes) >= _FEW else 4000
        self.times = max(1, (n_rows if self.n_copies else 2000) // len(codes))

    def of(self, positions):
        """The same of some of the pictures."""
        rows, codes = self.rows[:, positions], self.codes[positions]
        return _Epochs(rows, codes, self.n_clean, self.clean_share, self.rng)

    def _draw(self, epoch, clean_share):
        n = len(self.codes)
        order = np.concatenate([self.rng.permutation(n) for _ in range(self.times)])
        # Each pass over the pictures uses one augmented copy, the next another.
        passes = epoch + np.arange(len(order)) // n
        augmented = self.rng.uniform(size=len(order)) >= clean_share
        copy = self.rng.randint(self.n_clean, size=len(order))
        if self.n_copies:
            copy = np.where(augmented, self.n_clean + passes % self.n_copies, copy)
        return self.rows[copy, order], order, augmented

    def draw_both(self, epoch):
        rows, order, _ = self._draw(epoch, self.clean_share)
        return rows, self.codes[order]

    def draw_clean(self, epoch):
        rows, order, _ = self._draw(epoch, 1.0)
        return rows, self.codes[order]

    def draw_for_gate(self, epoch):
        rows, _, augmented = self._draw(epoch, 0.5)
        return rows, 1 - augmented


def _mixture(rows, robust, expert, gate):
    """Rows -> function of a temperature that gives probabilities."""
    logits = forward(rows, *robust)[1]
    if expert is None:
        return lambda temperature: softmax(logits / temperature, axis=1)
    clean = softmax(forward(rows, *gate)[1], axis=1)[:, 1:]
    # The expert is right about clean pictures only, and wrong with confidence about
    # others: below even odds it does not count at all.
    share = np.clip((clean - _GATE_OPENS) / (1 - _GATE_OPENS), 0, 1)
    of_expert = forward(rows, *expert)[1]

    def mixture(temperature):
        answers = softmax(logits / temperature, axis=1)
        return (1 - share) * answers + share * softmax(of_expert / temperature, axis=1)

    return mixture


def _pool(network, linear, share):
    """Pool probabilities (n, k) and log probabilities (n, k) by their logarithms.

    The weighted geometric mean of two opinions: unlike their arithmetic mean it is not
    less sure than both where they agree.
    """
    pooled = (1 - share) * np.log(np.maximum(network, 1e-9)) + share * linear
    return lambda temperature: softmax(pooled / temperature, axis=1)


class ConvNetClassifier(Network):
    """Classify pictures, with calibrated probabilities.

    A small convolutional network without a deep-learning framework: learned filters,
    color and texture statistics (`RockFeatures`) in front of scikit-learn's MLP, trained
    on clean pictures and on copies augmented in light, color, focus and compression.

    Parameters
    ----------
    features : transformer, "passthrough" or None, default=None
        Feature transformer; None means `RockFeatures`, "passthrough" pixels. It is
        cloned and fitted; wrap a fitted one in `sklearn.frozen.FrozenEstimator`.
    hidden_layer_sizes : tuple of int, default=(384, 128)
        Units of each hidden layer; the last is the embedding's length.
    augment : Augmentation, "default" or None, default="default"
        Augmentation of the training pictures. None disables it, as do inputs that are
        not RGB pictures of at least 8 × 8.
    expert_layer_sizes : tuple of int or None, default=(384, 128)
        Hidden layers of a second network, the expert, trained on clean pictures only; a
        gating network computes its weight from the features. With None, or without
        augmentation, only the first network is used.
    n_copies : int, default=2
        Augmented copies per picture. Small collections get more, up to 20,000 training
        pictures (fewer of more than 64 × 64 pixels) and 60 copies of each.
    n_parts : int, default=1
        Number of random crops of each picture, of 0.7 to 1 of its sides, used as
        additional training pictures; every second augmented copy is cropped, too. Only
        with features of this package, whose columns do not depend on the size.
    clean_share : float, default=0.4
        Share of clean (not augmented) pictures in an epoch.
    learning_rate_init : float, default=0.002
        Learning rate of Adam.
    alpha : float, default=0.0001
        Strength of the L2 penalty.
    batch_size : int, default=256
        Batch size; doubled after half of `max_epochs`, and again after three quarters.
    max_epochs : int, default=18
        Maximum number of epochs; two thirds of it for the expert.
    n_epochs_no_change : int, default=10
        Patience: epochs without improvement of the validation loss before stopping.
    averaged_epochs : int, default=6
        Number of last epochs whose weights are averaged.
    validation_fraction : float, default=0.05
        Share of each class held out for validation: early stopping, calibration and
        novelty.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows; pictures bring their own.
    random_state : int, RandomState or None, default=None
        Seed of all random draws.
    n_jobs : int, optional
        Number of threads for the default features.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    features_ : transformer
        The fitted features.
    coefs_, intercepts_ : list of ndarray
        Weights and biases of each layer.
    expert_, gate_ : (list of ndarray, list of ndarray) or None
        Weights and biases of the expert and of the gate.
    linear_ : (list of ndarray, list of ndarray) or None
        Weights and biases of a logistic regression on the features, where there are
        fewer than 50 validation pictures and it pays.
    linear_share_ : float
        How much it counts in an answer, 0 to 1, chosen by cross-validation within the
        training part.
    temperature_ : float
        Divisor of the logits, to calibrate the probabilities: fitted to the validation
        part, or, with fewer than 50 validation pictures, to out-of-fold predictions.
    is_calibrated_ : bool
        False where there were fewer than 50 answers to learn the temperature from, or a
        class too small to be held out: then the probabilities may be too high.
    loss_curve_, validation_loss_curve_, validation_score_curve_ : list of float
        Training loss, validation loss and validation accuracy of each epoch.
    n_iter_ : int
        Epochs run.
    references_ : ndarray of shape (n_references, n_columns)
        Features of the training pictures used by `novelty`.
    novelty_scale_ : ndarray of shape (n_validation,)
        Distances of the validation pictures to these, ascending.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    picture_fit_ : {"crop", "pad", "stretch"}
        How the fitted collection's pictures were resized to this shape, and how
        `classify_files` brings others.
    n_features_in_ : int
        Values in a fitted row.

    See Also
    --------
    MLPEmbedding : The same network for rows of any features.
    geoimages.disturbances : Pictures to test a model with.

    Notes
    -----
    The best decision rules for clean pictures and for pictures in other light differ.
    The model is therefore a mixture of two experts (Jacobs et al. 1991): a network
    trained on clean and augmented pictures, and one trained on clean pictures only.

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
        """Fit the classifier.

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
        self.picture_fit_ = "crop"
        if is_collection(X):
            y = X.labels if y is None else y
            self.picture_fit_ = X.fit
            X = X[:]
        images = _as_levels(check_describable(check_images(self, X, dtype=None)))
        self.classes_, codes = check_labels(y, len(images))
        rng = check_random_state(self.random_state)
        train, held = hold_out(codes, self.validation_fraction, rng)
        augment = self._augmentation(images)
        copies = 0
        if augment is not None:
            # Small collections get more copies, within a time budget.
            most = min(20_000, 80_000_000 // images[0, ..., 0].size)
            copies = int(np.clip(most // len(train), self.n_copies, 60))
        self._fit_features(images, codes, train, augment, rng)
        rows = [self._describe(images[train])]
        # The columns of a crop are those of a picture, so a crop is one more picture.
        cropped = augment is not None and isinstance(self.features_, PictureFeatures)
        for _ in range(self.n_parts if cropped else 0):
            rows.append(self._describe_crops(images[train], rng))
        n_clean = len(rows)
        for copy in progress(range(copies), desc="augmenting", unit="copy"):
            describe = self._describe
            if cropped and copy % 2:
                describe = partial(self._describe_crops, rng=rng)
            rows.append(describe(augment.apply(images[train], rng)))
        rows = np.stack(rows)
        validation = self._describe(images[held]), codes[held]
        epochs = _Epochs(rows, codes[train], n_clean, self.clean_share, rng)
        robust, self.expert_, self.gate_ = self._train_networks(epochs, validation, rng)
        self._keep(*robust)
        chosen = np.sort(rng.permutation(len(train))[:_REFERENCES])
        self.references_ = rows[0, chosen]
        self.novelty_scale_ = np.sort(self._distance_to_references(validation[0]))
        self.linear_, self.linear_share_ = None, 0.0
        answers = self._mixture(validation[0]), validation[1]
        if len(held) < FEWEST_TO_CALIBRATE <= len(train):
            groups = np.arange(len(train))
            if augment is not None:  # copies of a picture stay in one fold
                found = find_duplicates(images[train]).groups
                groups[found.index.to_numpy(int)] = len(train) + found.to_numpy()
            out_of_fold = self._out_of_fold(epochs, groups, rng)
            if out_of_fold is not None:
                answers = self._choose_capacity(epochs, *out_of_fold)
        self._calibrate(*answers)
        return self

    def _train_networks(self, epochs, validation, rng):
        """Train on clean and augmented pictures; an expert on clean ones, and its gate.

        Returns (weights, biases, learning curve) of the first, and (weights, biases) or
        None of the others.
        """
        robust = self._train(epochs.draw_both, validation, rng)
        if not epochs.n_copies or self.expert_layer_sizes is None:
            return robust, None, None
        most = -(-2 * self.max_epochs // 3)
        expert = train_mlp(
            self._mlp(self.expert_layer_sizes, rng),
            epochs.draw_clean,
            most,
            averaged=4,
        )[:2]
        gate = train_mlp(
            self._mlp((64,), rng), epochs.draw_for_gate, -(-most // 3), averaged=3
        )[:2]
        return robust, expert, gate

    def _out_of_fold(self, epochs, groups, rng):
        """Answers about training pictures by models that did not learn from them.

        Returns (codes, probabilities of the networks, log probabilities of the linear
        models), or None where a class is too small to be held out.
        """
        codes = epochs.codes
        n_folds = min(3, min(len(set(groups[codes == code])) for code in set(codes)))
        if n_folds < 2:
            return None
        parts = []
        folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=rng)
        for inside, outside in folds.split(codes, codes, groups):
            if len(set(codes[inside])) < len(self.classes_):
                return None
            some, rows = epochs.of(inside), epochs.rows[0, outside]
            robust, expert, gate = self._train_networks(some, None, rng)
            network = _mixture(rows, robust[:2], expert, gate)(1.0)
            linear = [
                log_softmax(forward(rows, *fit_linear(some.rows, some.codes, c))[1], 1)
                for c in LINEAR_C
            ]
            parts.append((codes[outside], network, np.stack(linear, axis=1)))
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _choose_capacity(self, epochs, codes, network, linear):
        """Fit the linear model, and how much it counts, by out-of-fold answers.

        `network` (n, k) are probabilities of the networks, `linear` (n, n_c, k) log
        probabilities of linear models of each strength of penalty.
        """
        best = int(linear[np.arange(len(codes)), :, codes].mean(axis=0).argmax())
        losses = []
        for share in _SHARES:
            mixture = _pool(network, linear[:, best], share)
            proba = mixture(fit_temperature(mixture, codes))
            losses.append(-np.log(proba[np.arange(len(codes)), codes] + 1e-12).mean())
        self.linear_share_ = _SHARES[int(np.argmin(losses))]
        if self.linear_share_:
            self.linear_ = fit_linear(epochs.rows, epochs.codes, LINEAR_C[best])
        return _pool(network, linear[:, best], self.linear_share_), codes

    def _mixture(self, rows):
        robust = self.coefs_, self.intercepts_
        mixture = _mixture(rows, robust, self.expert_, self.gate_)
        if self.linear_ is None:
            return mixture
        linear = log_softmax(forward(rows, *self.linear_)[1], axis=1)
        return _pool(mixture(1.0), linear, self.linear_share_)

    def _networks(self):
        networks = super()._networks()
        conv = getattr(self.features_, "blocks_", {}).get("conv", self.features_)
        if hasattr(conv, "filters_"):
            filters = conv.filters_.reshape(len(conv.filters_), -1).T
            networks = {"filters": ([filters], [conv.offsets_]), **networks}
        if self.expert_ is not None:
            networks |= {"expert": self.expert_, "gate": self.gate_}
        if self.linear_ is not None:
            networks |= {"linear": self.linear_}
        return networks

    def _augmentation(self, images):
        """The augmentation in use, or None."""
        height, width, channels = images.shape[1:]
        pictures = channels in (3, 4) and min(height, width) >= 8
        if self.augment is None or not pictures or images.dtype != np.uint8:
            return None
        return Augmentation() if isinstance(self.augment, str) else self.augment

    def _fit_features(self, images, codes, train, augment, rng):
        """Fit the features on training pictures, clean and augmented."""
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

    def _describe_crops(self, images, rng):
        """Describe a random crop of each picture, of 0.7 to 1 of its sides."""
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
            crops = [
                images[i, y : y + high, x : x + wide]
                for i, y, x in zip(chosen, top, left, strict=True)
            ]
            out[chosen] = self.features_._describe(np.stack(crops))
        return out

    def _rows(self, X):
        if is_collection(X):
            if self.features_ is not None:
                return np.asarray(X.features(self.features_), dtype=np.float32)
            X = X[:]
        if getattr(X, "ndim", None) == 3:
            raise ValueError(
                f"A {type(self).__name__} takes pictures of shape (n, height, width, "
                f"channels), got {X.shape}; pass images[None] for a single picture."
            )
        images = check_describable(check_images(self, X, reset=False, dtype=None))
        return self._describe(_as_levels(images))

    def _distance_to_references(self, rows):
        return pairwise_distances_argmin_min(rows, self.references_)[1]

    def novelty(self, X):
        """Return the novelty of pictures relative to the training pictures.

        Parameters
        ----------
        X : as in `fit`

        Returns
        -------
        percentile : ndarray of shape (n,), float64
            Percentage of validation pictures that are closer to a training picture.
            Above 99 a picture is unlike the collection, and its class means little.
        """
        check_is_fitted(self)
        distance = self._distance_to_references(self._rows(X))
        nearer = np.searchsorted(self.novelty_scale_, distance)
        return 100 * nearer / len(self.novelty_scale_)
