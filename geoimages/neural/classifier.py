"""ConvNetClassifier: pictures -> class, probability, novelty and embedding."""

import numpy as np
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.metrics import euclidean_distances, pairwise_distances_argmin_min
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ..collection.duplicates import find_duplicates
from ..collection.splits import groups_of
from ..features import FisherFeatures, RockFeatures
from ..features.base import PictureFeatures, split_mask
from ..features.kernels import chunk_length
from ..features.pretrained import PretrainedFeatures
from ..features.threads import one_blas_thread
from ..files import progress
from ..pictures import averages
from ..pictures.augmentation import Augmentation
from ..pictures.ground import mask_ground
from ..pictures.scaling import as_uint8, on_white
from ..pictures.validation import (
    check_describable,
    check_images,
    input_for,
    is_collection,
)
from .capacity import join_siblings
from .members import (
    SCORE_SCALE,
    KernelMachine,
    assign_folds,
    best_of,
    class_prior,
    cross_fit_linear,
    kernel_scores,
    linear_opinion,
)
from .pooling import (
    fit_gate,
    fit_temperatures,
    fit_weights,
    log_loss_of,
    mix,
    openness,
    pool,
    temper,
)
from .training import (
    FEWEST_TO_CALIBRATE,
    Network,
    check_labels,
    forward,
    hold_out,
    train_mlp,
)

_REFERENCES = 2000  # training pictures for the novelty
_FEW = 4000  # pictures below which candidates are chosen by cross-validation
_ROBUST = "kernel, augmented", "linear, augmented", "network"  # learned from copies
_MOST_LANDMARKS = 2000  # of the kernel machine, without augmented ones
_LEAST_FOR_FISHER = 64  # pixels of the shorter side
_FISHER_WEIGHTS = 0.0, 0.5, 1.0  # that are tried, beside 1 of the other features
_MOST_TO_TRY = 400  # pictures on which they are
_MOST_TO_FIT_FISHER = 200  # pictures whose patches are enough for the mixture
_AUGMENTED = 30_000_000  # pixels that copies are cut from, about
_MOST_TO_GROUP = 10_000  # pictures among which copies are searched
_CROPS = 0.7, 1.0  # shares of the sides that crops have
_CROPS_OF_LARGE = 0.5, 0.8  # of large pictures, whose parts tell about as much
_SIDE = 128  # pixels to which large pictures are averaged once
# Models of all pictures are right more often than those of some of them, by cross-
# validation, but hardly surer. Their best temperature is lower, by this power of the
# share learned from, times the share of the log loss that is left to learn.
_LEARNING = 0.3
_LARGE = 64 * 64  # pixels of a picture from which it is described fewer times


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
        n_rows = 10_000 if len(codes) >= _FEW else 2000
        self.times = max(1, n_rows // len(codes))

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


def _pixels(images):
    """Pixels of a picture."""
    return images.shape[1] * images.shape[2]


def _smaller(images, side):
    """Average large pictures down to what their features look at, as uint8."""
    if max(images.shape[1:3]) <= side:
        return images
    out = []
    step = chunk_length(*images.shape[1:3])
    for start in range(0, len(images), step):
        block = images[start : start + step]
        if images.shape[3] == 1:
            parts = [averages.at_most(block, side)[0]]
        else:
            rgb, mask = split_mask(block)
            rgb, mask = averages.at_most(rgb, side, mask)
            parts = [rgb]
            if images.shape[3] == 4:
                parts.append(
                    np.ones((*rgb.shape[:3], 1)) if mask is None else mask[..., None]
                )
        out.append(np.rint(np.concatenate(parts, axis=3) * 255).astype(np.uint8))
    return np.concatenate(out)


def _crop(image, high, wide, rng):
    """A random part of a picture, around a pixel of rock where it has a mask."""
    height, width = image.shape[:2]
    if image.shape[2] == 4:
        rock = np.argwhere(image[..., 3] > 127)
        y, x = rock[rng.randint(len(rock))]
        top = np.clip(y - high // 2, 0, height - high)
        left = np.clip(x - wide // 2, 0, width - wide)
    else:
        top, left = rng.randint(height - high + 1), rng.randint(width - wide + 1)
    return image[top : top + high, left : left + wide]


def _scores(opinion, codes, loss):
    """Log loss and accuracy of one candidate."""
    accuracy = np.mean(opinion.argmax(axis=1) == codes)
    return {"log_loss": round(float(loss), 4), "accuracy": round(float(accuracy), 4)}


def _distance_to_others(rows, groups):
    """Distance of each row to the nearest of another group: (n, p), (n,) -> (n,)."""
    distances = euclidean_distances(rows)
    distances[groups[:, None] == groups] = np.inf
    nearest = distances.min(axis=1)
    return nearest[np.isfinite(nearest)]


class ConvNetClassifier(Network):
    """Classify pictures, with calibrated probabilities.

    A small convolutional network without a deep-learning framework: learned filters,
    color and texture statistics (`RockFeatures`) in front of scikit-learn's MLP, trained
    on clean pictures and on copies augmented in light, color, focus and compression.
    Below 4,000 pictures it is one of several candidates, beside a kernel machine and a
    logistic regression on the same features; cross-validation decides how much each of
    them counts.

    Parameters
    ----------
    features : transformer, "passthrough" or None, default=None
        Feature transformer; None means `RockFeatures`, with `FisherFeatures` beside
        them for pictures of 64 pixels and more where that pays in cross-validation, and
        "passthrough" pixels. It is cloned and fitted; wrap a fitted one in
        `sklearn.frozen.FrozenEstimator`.
    hidden_layer_sizes : tuple of int, default=(384, 128)
        Units of each hidden layer; the last is the embedding's length.
    augment : Augmentation, "default" or None, default="default"
        Augmentation of the training pictures. None disables it, as do inputs that are
        not RGB pictures of at least 8 × 8.
    expert_layer_sizes : tuple of int or None, default=(384, 128)
        Hidden layers of a second network, the expert, trained on clean pictures only
        where there are 4,000 and more; a gating network computes its weight from the
        features. Below 4,000, kernel machine, linear model and network share its part.
        With None, or without augmentation, there is one pool of candidates for all
        pictures, and no gate.
    n_copies : int, default=2
        Augmented copies per picture. Small collections get more, up to 20 of each;
        pictures of more than 64 × 64 pixels get fewer, of crops of 0.5 to 0.8 of their
        sides; those that a pretrained network describes get one or two, or from 4,000
        pictures on none.
    n_parts : int, default=0
        Number of random crops of each picture, of 0.7 to 1 of its sides, used as
        additional training pictures of the network; every second augmented copy is
        cropped, too. Only for pictures of up to 64 × 64 pixels and with features of this
        package, whose columns do not depend on the size.
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
        Share of each class held out for the early stopping of the network, copies of a
        picture on one side; with 4,000 pictures and more also for calibration and
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
    candidates_ : dict of str to dict
        ``log_loss`` and ``accuracy`` of each candidate, and of their ``pool``, about
        pictures as they are that it did not learn from: by cross-validation below 4,000
        pictures, where copies of a picture are in one fold, else on the validation part.
    weights_ : dict of str to dict
        Weight of each candidate, and of the ``prior``, the shares of the classes, in the
        pool for pictures as they are (``clean``) and in that for others (``robust``).
    expert_, gate_ : (list of ndarray, list of ndarray) or None
        Weights and biases of the expert and of the gating network, with 4,000 pictures
        and more.
    kernel_ : dict or None
        Landmarks, scale and coefficients of the kernel machines, with fewer.
    linear_, augmented_linear_ : (list of ndarray, list of ndarray) or None
        Weights and biases of logistic regressions, with fewer than 4,000; the second
        learned from augmented copies, too.
    gate_weights_ : ndarray of shape (2,)
        Slope and offset of the logistic function from the gate's score to the share of
        the pool for pictures as they are. Only where there are two pools.
    fisher_ : FisherFeatures or None
        The fitted Fisher vectors, where they are used.
    fisher_weight_ : float
        Their weight, 0, 0.5 or 1, beside 1 of the other features, chosen by
        cross-validation on up to 400 training pictures.
    fisher_gain_ : float
        By how much they lower the log loss there. Only where they were tried.
    temperature_, robust_temperature_ : float
        Divisors of the pooled log probabilities, for pictures as they are and for others,
        fitted to predictions about pictures not learned from, below 4,000 pictures with
        weights that were fitted to others.
    is_calibrated_ : bool
        False where there were fewer than 50 pictures to learn this from, or all of a
        class are copies of one: then probabilities are shrunk toward the shares of the
        classes, and may still be wrong.
    loss_curve_, validation_loss_curve_, validation_score_curve_ : list of float
        Training loss, validation loss and validation accuracy of each epoch.
    n_iter_ : int
        Epochs run.
    references_ : ndarray of shape (n_references, n_columns)
        Features of the training pictures used by `novelty`.
    novelty_scale_ : ndarray of shape (n_distances,)
        Distances of the validation pictures to these, ascending; below 4,000 pictures
        those of each to the nearest other one that is not its copy.
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
    The model is therefore a mixture of two experts (Jacobs et al. 1991): one that learned
    from clean and augmented pictures, and one that learned from clean pictures only.
    Each is a logarithmic pool of candidates, stacked (Wolpert 1992): the weights are
    those of the best log loss about pictures that were not learned from.

    The kernel machine minimizes squared errors in the space of a radial basis function,
    which is as accurate as a support vector machine and gives its answers out of fold
    by linear algebra alone.

    References
    ----------
    Coates, Ng and Lee (2011). An analysis of single-layer networks in unsupervised
    feature learning. AISTATS.

    Jacobs, Jordan, Nowlan and Hinton (1991). Adaptive mixtures of local experts. Neural
    Computation 3(1).

    Wolpert (1992). Stacked generalization. Neural Networks 5(2).

    Rifkin, Yeo and Poggio (2003). Regularized least-squares classification. Advances in
    Learning Theory.

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
        n_parts=0,
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

    @one_blas_thread()
    def fit(self, X, y=None, groups=None):
        """Fit the classifier.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width, c), or Collection
            Flat rows or pictures; uint8 means 0–255 and float 0–1.
        y : array-like of shape (n,)
            Labels; those of a Collection by default.
        groups : array-like of shape (n,), optional
            Pictures that belong together, such as those of one sample, drill hole or
            photograph, are on one side when something is held out. Copies of a picture,
            and of a Collection rotated copies and tiles of one photograph, are found
            without; see `geoimages.groups_of` for a column.

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
            groups = groups_of(X, column=groups)
            self.picture_fit_ = X.fit
            X = X[:]
        images = _as_levels(check_describable(check_images(self, X, dtype=None)))
        self.classes_, codes = check_labels(y, len(images))
        rng = check_random_state(self.random_state)
        augment = self._augmentation(images)
        small = images if augment is None else _smaller(images, _SIDE)
        groups = self._groups(small, augment, groups)
        train, held = hold_out(codes, self.validation_fraction, rng, groups=groups)
        order = np.concatenate([train, held])  # views of the rows to learn from
        large = small is not images
        images, codes, groups = images[order], codes[order], groups[order]
        small = small[order] if large else images
        n_train = len(train)
        self._fit_features(images[:n_train], codes[:n_train], augment, rng)
        rows = self._describe(images)
        # What features learned from labels is no answer out of fold.
        free = (
            self.features_ is None or not get_tags(self.features_).target_tags.required
        )
        few = free and len(images) < _FEW
        if few and augment is not None:
            groups = join_siblings(rows, groups)
        if self.features is None and min(images.shape[1:3]) >= _LEAST_FOR_FISHER:
            rows = self._try_fisher(images, rows, codes, groups, n_train, rng)
        rows, n_clean = self._add_copies(rows, images, small, augment, rng)
        of_network = rows[:, :n_train, : self._n_network_columns(rows)]
        epochs = _Epochs(of_network, codes[:n_train], n_clean, self.clean_share, rng)
        validation = rows[0, n_train:, : of_network.shape[2]], codes[n_train:]
        self._keep(*self._train(epochs.draw_both, validation, rng))
        self.expert_ = self.gate_ = self.linear_ = self.augmented_linear_ = None
        if few:
            answers = self._cross_validate(rows, codes, groups, n_clean, rng)
        else:
            answers = self._validate(rows, codes, epochs, rng)
        self._pool_candidates(*answers)
        chosen = np.sort(rng.permutation(len(images) if few else n_train)[:_REFERENCES])
        self.references_ = rows[0, chosen]
        distance = ()
        if few:
            distance = _distance_to_others(self.references_, groups[chosen])
        if not len(distance):
            distance = self._distance_to_references(rows[0, n_train:])
        self.novelty_scale_ = np.sort(distance)
        return self

    def _groups(self, images, augment, given):
        """Group of each picture: copies of one share it, and those given."""
        if given is not None:
            check_consistent_length(images, given)
        search = augment is not None and len(images) <= _MOST_TO_GROUP
        copies = find_duplicates(images) if search else None
        return groups_of(range(len(images)), copies, given)

    def _n_network_columns(self, rows):
        """Columns that the networks learn from: all but the Fisher vectors."""
        return rows.shape[2] - getattr(self.fisher_, "_n_features_out", 0)

    def _cross_validate(self, rows, codes, groups, n_clean, rng):
        """Fit the candidates, with their answers out of fold.

        Returns what `_pool_candidates` takes.
        """
        n, n_classes = len(codes), len(self.classes_)
        prior = class_prior(codes, n_classes)
        # Of one photograph or hole alone, the answers decide on the candidates, but
        # calibrate nothing.
        of_folds = groups if len(set(groups)) > 1 else np.arange(n)
        folds = assign_folds(codes, of_folds, 5 if n <= 500 else 3, rng)
        copies = rows[np.r_[0, n_clean : len(rows)]]
        machine = KernelMachine(copies, codes, prior, _MOST_LANDMARKS, rng)
        self.kernel_, scores = machine.cross_fit(folds)
        candidates = {"kernel": SCORE_SCALE * scores["clean"][..., :-1]}
        n_columns = self._n_network_columns(rows)
        both = "robust" in scores and self.expert_layer_sizes is not None
        if both:
            robust = SCORE_SCALE * scores["robust"][..., :-1]
            candidates["kernel, augmented"] = robust
        seen = copies[:2, :, :n_columns]
        candidates["linear"], self.linear_ = cross_fit_linear(seen, codes, folds, prior)
        if both:
            found = cross_fit_linear(seen, codes, folds, prior, learned=2)
            candidates["linear, augmented"], self.augmented_linear_ = found
        epochs = _Epochs(rows[..., :n_columns], codes, n_clean, self.clean_share, rng)
        candidates["network"] = self._cross_fit_network(epochs, folds, rng)
        gate = scores["robust"][..., -1] if both else None
        fewest = min(len(set(groups[codes == code])) for code in range(n_classes))
        n_answers, learned = n if fewest > 1 else 0, 1 - 1 / (folds.max() + 1)
        return candidates, gate, codes, prior, n_answers, learned, folds

    def _cross_fit_network(self, epochs, folds, rng):
        """Log probabilities out of fold: of the pictures and of their first copies."""
        seen = epochs.rows[np.unique([0, epochs.n_clean % len(epochs.rows)])]
        opinions = np.zeros((len(seen), len(folds), len(self.classes_)))
        for fold in range(folds.max() + 1):
            some = epochs.of(np.flatnonzero(folds != fold))
            weights = self._train(some.draw_both, None, rng)[:2]
            for opinion, rows in zip(opinions, seen, strict=True):
                logits = forward(rows[folds == fold], *weights)[1]
                opinion[folds == fold] = log_softmax(logits, axis=1)
        return opinions

    def _validate(self, rows, codes, epochs, rng):
        """Fit the candidates, with their answers on the validation part.

        Returns what `_pool_candidates` takes.
        """
        n, n_columns = len(epochs.codes), epochs.rows.shape[2]
        held, truth = rows[:, n:], codes[n:]
        prior = class_prior(codes[:n], len(self.classes_))
        self.kernel_ = None
        both = epochs.n_copies > 0 and self.expert_layer_sizes is not None
        seen = held[[0, epochs.n_clean]] if both else held[:1]
        columns = seen[..., :n_columns]
        network = np.stack([self._network_opinion(part) for part in columns])
        candidates = {"network": network}
        if not both:
            return candidates, None, truth, prior, len(truth), 1.0
        most = -(-2 * self.max_epochs // 3)
        expert = self._mlp(self.expert_layer_sizes, rng)
        self.expert_ = train_mlp(expert, epochs.draw_clean, most, averaged=4)[:2]
        candidates["expert"] = np.stack(
            [linear_opinion(self.expert_, part) for part in columns]
        )
        gate = self._mlp((64,), rng)
        self.gate_ = train_mlp(gate, epochs.draw_for_gate, -(-most // 3), averaged=3)[
            :2
        ]
        gate = np.stack([self._gate_score(part) for part in seen])
        return candidates, gate, truth, prior, len(truth), 1.0

    def _pool_candidates(
        self, candidates, gate, codes, prior, n_answers, learned, folds=None
    ):
        """Fit the weights of the candidates, the gate and the temperature.

        Opinions are about pictures as they are, and where there are augmented copies
        also about these: c = 1 or 2.

        Parameters
        ----------
        candidates : dict of str to ndarray of shape (c, n, n_classes)
            Opinions. All count for pictures as they are, and those of `_ROBUST` for
            others.
        gate : ndarray of shape (2, n) or None
            Scores of the gate; None where there is one pool for all pictures.
        codes : ndarray of shape (n,)
            Classes.
        prior : ndarray of shape (n_classes,)
            Shares of the classes.
        n_answers : int
            Number of answers that the calibration can rely on.
        learned : float
            Share of the pictures that the models of these answers learned from.
        folds : ndarray of shape (n,), optional
            Fold of each picture. The temperatures are then fitted to answers whose
            weights were fitted to other folds: to their own answers weights fit too
            well, and where these are few the probabilities would be too sure.
        """
        self.prior_ = np.log(prior)
        self.candidates_ = {}
        for name, opinion in candidates.items():
            loss = best_of(opinion[:1], codes, prior)[1]
            self.candidates_[name] = _scores(opinion[0], codes, loss)
        n_seen = 1 if gate is None else len(gate)
        seen = {name: opinion[:n_seen] for name, opinion in candidates.items()}
        answers = np.empty((n_seen, len(codes), len(prior)))
        share = np.empty((n_seen, len(codes)))
        held = [] if folds is None else [folds == f for f in range(folds.max() + 1)]
        for outside in held:
            self._fit_pools(seen, gate, codes, ~outside)
            answers[:, outside], share[:, outside] = self._pools(seen, gate, outside)
        every = slice(None)
        self._fit_pools(seen, gate, codes, every)
        if not held:
            answers[:], share[:] = self._pools(seen, gate, every)
        answers, share = answers.reshape(-1, len(prior)), share.ravel()
        temperatures = fit_temperatures(answers, share, np.tile(codes, n_seen))
        pooled = temper(answers, share, temperatures)[: len(codes)]
        loss = float(log_loss_of(pooled, codes).mean())
        left = loss / -self.prior_[codes].mean()
        temperatures *= learned ** (_LEARNING * left)
        self.robust_temperature_, self.temperature_ = temperatures.tolist()
        self.is_calibrated_ = n_answers >= FEWEST_TO_CALIBRATE
        self.candidates_["pool"] = _scores(pooled, codes, loss)

    def _fit_pools(self, candidates, gate, codes, at):
        """Fit weights, and the gate's, to the answers about some of the pictures."""
        codes = codes[at]
        clean = {name: opinion[0, at] for name, opinion in candidates.items()}
        self.weights_ = {"clean": self._fit_weights(clean, codes)}
        if gate is None:
            return
        n_seen, truth = len(gate), np.tile(codes, len(gate))
        seen = {
            name: opinion[:, at].reshape(len(truth), -1)
            for name, opinion in candidates.items()
        }
        robust = {name: seen[name] for name in _ROBUST if name in seen}
        self.weights_["robust"] = self._fit_weights(robust, truth)
        pools = [self._pool_opinions(seen, part) for part in ("robust", "clean")]
        scores = gate[:, at].ravel()
        self.gate_weights_ = fit_gate(*pools, scores, truth, len(truth) // n_seen)

    def _pools(self, candidates, gate, at):
        """Answers about some of the pictures (c, m, k), and the clean pool's share."""
        some = {name: opinion[:, at] for name, opinion in candidates.items()}
        n_seen, m, k = next(iter(some.values())).shape
        some = {name: opinion.reshape(-1, k) for name, opinion in some.items()}
        scores = None if gate is None else gate[:, at].ravel()
        answers, share = self._mix_pools(some, scores)
        return answers.reshape(n_seen, m, k), share.reshape(n_seen, m)

    def _stack(self, opinions):
        prior = np.broadcast_to(self.prior_, next(iter(opinions.values())).shape)
        return np.stack([*opinions.values(), prior])

    def _fit_weights(self, opinions, codes):
        weights = fit_weights(self._stack(opinions), codes).tolist()
        return dict(zip((*opinions, "prior"), weights, strict=True))

    def _pool_opinions(self, opinions, part):
        *names, _ = weights = self.weights_[part]
        some = {name: opinions[name] for name in names}
        return pool(self._stack(some), np.array([*weights.values()]))

    def _network_opinion(self, rows):
        return linear_opinion((self.coefs_, self.intercepts_), rows)

    def _gate_score(self, rows):
        """Score of the gating network: above 0 a picture looks not augmented."""
        logits = forward(rows[:, : len(self.gate_[0][0])], *self.gate_)[1]
        return logits[:, 1] - logits[:, 0]

    def _opinions(self, rows):
        """Opinions of the candidates, (n, k) by name, and the gate's scores or None."""
        columns = rows[:, : len(self.coefs_[0])]
        opinions, gate = {"network": self._network_opinion(columns)}, None
        if self.kernel_ is not None:
            scores = kernel_scores(self.kernel_, rows)
            opinions["kernel"] = SCORE_SCALE * scores["clean"][:, :-1]
            if "robust" in scores:
                opinions["kernel, augmented"] = SCORE_SCALE * scores["robust"][:, :-1]
                gate = scores["robust"][:, -1]
        for name, model in (
            ("linear", self.linear_),
            ("linear, augmented", self.augmented_linear_),
            ("expert", self.expert_),
        ):
            if model is not None:
                opinions[name] = linear_opinion(model, columns)
        if self.gate_ is not None:
            gate = self._gate_score(rows)
        return opinions, gate

    def _mix_pools(self, opinions, gate):
        """Log probabilities, and the share in them of the pool for clean pictures."""
        answers = self._pool_opinions(opinions, "clean")
        if "robust" not in self.weights_:
            return answers, np.ones(len(answers))
        share = openness(gate, self.gate_weights_)
        return mix(self._pool_opinions(opinions, "robust"), answers, share), share

    def _mixture(self, rows):
        answers, share = self._mix_pools(*self._opinions(rows))

        def tempered(temperature):
            both = self.robust_temperature_, temperature
            return np.exp(temper(answers, share, both))

        return tempered

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
        if self.augmented_linear_ is not None:
            networks |= {"linear, augmented": self.augmented_linear_}
        if self.kernel_ is not None:
            layers = [self.kernel_["landmarks"].T, self.kernel_["clean"][:, :-1]]
            networks |= {"kernel": (layers, [np.empty(0), np.empty(0)])}
        return networks

    def _augmentation(self, images):
        """The augmentation in use, or None."""
        height, width, channels = images.shape[1:]
        pictures = channels in (3, 4) and min(height, width) >= 8
        if self.augment is None or not pictures or images.dtype != np.uint8:
            return None
        return Augmentation() if isinstance(self.augment, str) else self.augment

    def _fit_features(self, images, codes, augment, rng):
        """Fit the features on training pictures, clean and augmented."""
        self.fisher_, self.fisher_weight_, self.fisher_scale_ = None, 0.0, 1.0
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
        sample, y = images, codes
        if isinstance(self.features_, RockFeatures) and augment is not None:
            # Enough for means and deviations; large pictures take longer.
            most = int(np.clip(6_000_000 // _pixels(images), 150, 2000))
            few = rng.permutation(len(images))[:most]
            augmented = augment.apply(mask_ground(images[few]), rng)
            if augmented.shape[3] > images.shape[3]:
                augmented = on_white(augmented)  # as the others are
            sample = np.concatenate([images[few], augmented])
            y = np.concatenate([codes[few], codes[few]])
        self.features_.fit(input_for(self.features_, sample), y)

    def _try_fisher(self, images, rows, codes, groups, n_train, rng):
        """Add Fisher vectors where they pay, by cross-validation on some pictures.

        Returns the rows, with these beside them where they do.
        """
        few = rng.permutation(n_train)[:_MOST_TO_TRY]
        fisher = FisherFeatures(random_state=rng.randint(1 << 31), n_jobs=self.n_jobs)
        fisher.fit(images[few[:_MOST_TO_FIT_FISHER]])
        rock, more = rows[few], fisher._describe(images[few])
        codes, groups = codes[few], groups[few]
        scale = np.sqrt(rock.var(axis=0).sum() / max(more.var(axis=0).sum(), 1e-12))
        prior = class_prior(codes, len(self.classes_))
        folds = assign_folds(codes, groups, 5, rng)
        losses = {}
        for weight in _FISHER_WEIGHTS:
            both = np.hstack([rock, weight * scale * more]) if weight else rock
            machine = KernelMachine(both[None], codes, prior, len(codes), rng)
            opinion = SCORE_SCALE * machine.cross_fit(folds)[1]["clean"][0, :, :-1]
            both = np.stack([opinion, np.broadcast_to(np.log(prior), opinion.shape)])
            losses[weight] = log_loss_of(pool(both, fit_weights(both, codes)), codes)
        best = min(losses, key=lambda weight: losses[weight].mean())
        gain = losses[0.0] - losses[best]
        self.fisher_gain_ = float(gain.mean())
        if not best or gain.mean() <= gain.std() / np.sqrt(len(gain)):
            return rows
        self.fisher_, self.fisher_weight_ = fisher, float(best)
        self.fisher_scale_ = float(best * scale)
        every = np.empty((len(images), more.shape[1]), np.float32)
        others = np.setdiff1d(np.arange(len(images)), few)
        every[few], every[others] = more, fisher._describe(images[others])
        return np.hstack([rows, np.float32(self.fisher_scale_) * every])

    def _has_network(self):
        """Whether a pretrained network describes pictures, alone or as a block."""
        network = getattr(self.features_, "network", None)
        return isinstance(self.features_, PretrainedFeatures) or network is not None

    def _n_copies(self, images):
        """Augmented copies of each picture, within a time budget."""
        few, pixels, upper = len(images) < _FEW, _pixels(images), 20
        if not isinstance(self.features_, PictureFeatures):
            most, fewest = 1000, 0  # what it takes is not known
        elif self._has_network():
            # It takes long, and a second copy hardly adds to the first.
            most, fewest, upper = 1000, few, 2
        else:
            most = min(8000 if few else 20_000, _AUGMENTED // pixels)
            fewest = 1 if pixels >= _LARGE else self.n_copies
        fewest = min(fewest, self.n_copies)
        return int(np.clip(most // len(images), fewest, max(fewest, upper)))

    def _add_copies(self, rows, images, small, augment, rng):
        """Describe crops and augmented copies of pictures, `small` where they are large:
        (copies, n, p), how many are not augmented.
        """
        rows = [rows]
        # The columns of a crop are those of a picture, so a crop is one more picture.
        cropped = augment is not None and isinstance(self.features_, PictureFeatures)
        if cropped and _pixels(images) < _LARGE:
            for _ in range(self.n_parts):
                rows.append(self._describe_crops(images, rng))
        n_clean = len(rows)
        if augment is None:
            return np.stack(rows), n_clean
        shares = _CROPS
        if cropped and not self._has_network():
            if _pixels(images) >= _LARGE:
                shares = _CROPS_OF_LARGE
            side = self.features_.working_side
            images = small if side == _SIDE else _smaller(images, side)
        n_copies = self._n_copies(images)
        if cropped:
            images = mask_ground(images)  # white in any light
        for copy in progress(range(n_copies), desc="augmenting", unit="copy"):
            if cropped and (copy % 2 or shares is _CROPS_OF_LARGE):
                rows.append(self._describe_crops(images, rng, shares, augment))
            else:
                rows.append(self._describe(augment.apply(images, rng)))
        return np.stack(rows), n_clean

    def _describe(self, images):
        """Pictures -> float32 features."""
        if self.features_ is None:
            rows = images.reshape(len(images), -1)
            return rows / np.float32(255) if rows.dtype == np.uint8 else rows
        if isinstance(self.features_, PictureFeatures):
            return self._describe_any(images)
        rows = self.features_.transform(input_for(self.features_, images))
        return np.asarray(rows, dtype=np.float32)

    def _describe_crops(self, images, rng, shares=_CROPS, augment=None):
        """Describe a random crop of each picture, augmented or not."""
        n, height, width, _ = images.shape
        order = rng.permutation(n)
        step = chunk_length(*(round(shares[1] * side) for side in (height, width)))
        out = None
        for start in range(0, n, step):
            chosen = order[start : start + step]
            share = rng.uniform(*shares)
            high, wide = max(1, round(share * height)), max(1, round(share * width))
            crops = np.stack([_crop(images[i], high, wide, rng) for i in chosen])
            if augment is not None:
                crops = augment.apply(crops, rng)
            rows = self._describe_any(crops)
            if out is None:
                out = np.empty((n, rows.shape[1]), np.float32)
            out[chosen] = rows
        return out

    def _describe_any(self, images):
        """Describe pictures of any size by features of this package."""
        rows = self.features_._describe(images)
        if self.fisher_ is None:
            return rows
        fisher = self.fisher_._describe(images)
        return np.hstack([rows, np.float32(self.fisher_scale_) * fisher])

    def _rows(self, X):
        if is_collection(X):
            if self.features_ is not None:
                rows = np.asarray(X.features(self.features_), dtype=np.float32)
                if self.fisher_ is None:
                    return rows
                fisher = np.asarray(X.features(self.fisher_), dtype=np.float32)
                return np.hstack([rows, np.float32(self.fisher_scale_) * fisher])
            X = X[:]
        if getattr(X, "ndim", None) == 3:
            raise ValueError(
                f"A {type(self).__name__} takes pictures of shape (n, height, width, "
                f"channels), got {X.shape}; pass images[None] for a single picture."
            )
        images = check_describable(check_images(self, X, reset=False, dtype=None))
        return self._describe(_as_levels(images))

    def _network_rows(self, X):
        return self._rows(X)[:, : len(self.coefs_[0])]

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
            Percentage of pictures not learned from that are closer to a training picture.
            Above 99 a picture is unlike the collection, and its class means little.
        """
        check_is_fitted(self)
        distance = self._distance_to_references(self._rows(X))
        nearer = np.searchsorted(self.novelty_scale_, distance)
        return 100 * nearer / len(self.novelty_scale_)
