"""Accuracy, robustness and calibration of classifiers."""

from io import BytesIO

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from sklearn.utils import check_consistent_length, check_random_state

from ..files import progress


def _round(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _recompress(image, quality=30):
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _noise(images, rng):
    return images + rng.normal(0, 10, images.shape)


DISTURBANCES = {
    "quarter turn": lambda x, rng: np.rot90(x, axes=(1, 2)),
    "brighter": lambda x, rng: x * 1.2,
    "darker": lambda x, rng: x * 0.8,
    "red up, blue down": lambda x, rng: x * np.array([1.1, 1.0, 0.9]),
    "noise": _noise,
    "blur": lambda x, rng: gaussian_filter(x.astype(np.float32), (0, 1, 1, 0)),
    "JPEG 30": lambda x, rng: np.stack([_recompress(image) for image in x]),
    "grey": lambda x, rng: np.repeat(x.mean(axis=3, keepdims=True), 3, axis=3),
}
"""The eight corruptions, each a function of uint8 pictures and a RandomState."""


def disturbances(images, random_state=0):
    """Corrupt pictures in eight ways, one at a time.

    Rotation by 90°; brightness × 1.2; × 0.8; red × 1.1 and blue × 0.9; Gaussian noise
    of σ = 10; Gaussian blur of σ = 1 px; JPEG at quality 30; grey, the mean of the
    channels. All on uint8 pixels, rounded and clipped.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, 3 or 4), uint8
        Pictures; a fourth channel, the mask, is rotated with them and otherwise kept.
    random_state : int, RandomState or None, default=0
        Seed of the noise.

    Yields
    ------
    name : str
        The corruption.
    disturbed : ndarray of shape (n, height, width, 3 or 4), uint8
        The corrupted pictures; the rotation swaps height and width.

    Raises
    ------
    ValueError
        If the pictures are not uint8 of 3 or 4 channels.

    Examples
    --------
    >>> from geoimages import disturbances, make_rocks
    >>> images, _ = make_rocks(6, random_state=0)
    >>> [name for name, disturbed in disturbances(images)][:3]
    ['quarter turn', 'brighter', 'darker']
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] not in (3, 4) or images.dtype != np.uint8:
        raise ValueError(
            "disturbances takes uint8 pictures of shape (n, height, width, 3 or 4), "
            f"got {images.dtype} of shape {images.shape}."
        )
    rng = check_random_state(random_state)
    for name, disturb in DISTURBANCES.items():
        disturbed = _round(disturb(images[..., :3], rng))
        if images.shape[3] == 4:
            mask = images[..., 3:]
            mask = np.rot90(mask, axes=(1, 2)) if name == "quarter turn" else mask
            disturbed = np.concatenate([disturbed, mask], axis=3)
        yield name, np.ascontiguousarray(disturbed)


def disturbance_table(model, images, y, random_state=0):
    """Score a classifier on clean pictures and under eight corruptions.

    Parameters
    ----------
    model : classifier
        Fitted on pictures of this shape.
    images : ndarray of shape (n, height, width, 3 or 4), uint8
        Pictures. The rotation is left out if they are not square.
    y : array-like of shape (n,)
        Their classes.
    random_state : int, RandomState or None, default=0
        Seed of the noise.

    Returns
    -------
    table : DataFrame
        Index ``disturbance``: ``none``, the eight corruptions, and their ``mean`` and
        ``worst``; columns ``accuracy`` and, for a model with ``predict_proba``,
        ``calibration_error`` (see `expected_calibration_error`): the accuracy is then
        that of the most probable class.
    """
    check_consistent_length(images, y)
    scores = {"none": _scores(model, images, y)}
    changed = disturbances(images, random_state)
    for name, disturbed in progress(changed, desc="disturbing", total=8):
        if disturbed.shape == images.shape:
            scores[name] = _scores(model, disturbed, y)
    table = pd.DataFrame.from_dict(scores, orient="index").rename_axis("disturbance")
    under = table.iloc[1:]
    table.loc["mean"] = under.mean()
    table.loc["worst"] = [
        under[name].min() if name == "accuracy" else under[name].max() for name in table
    ]
    return table


def _scores(model, images, y):
    """Accuracy of a classifier, and its calibration error if it has probabilities."""
    if not hasattr(model, "predict_proba"):
        return {"accuracy": accuracy_score(y, model.predict(images))}
    proba = model.predict_proba(images)
    return {
        "accuracy": accuracy_score(y, model.classes_[proba.argmax(axis=1)]),
        "calibration_error": expected_calibration_error(y, proba, model.classes_),
    }


def classification_report(y_true, y_pred):
    """Precision, recall and F1 of each class, as a DataFrame.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,)
        True and predicted classes.

    Returns
    -------
    table : DataFrame
        Index ``class``; columns ``precision``, ``recall``, ``f1`` and ``pictures``.

    See Also
    --------
    sklearn.metrics.classification_report : The same as text.

    Examples
    --------
    >>> classification_report(["a", "a", "b"], ["a", "b", "b"])
           precision  recall        f1  pictures
    class
    a            1.0     0.5  0.666667         2
    b            0.5     1.0  0.666667         1
    """
    classes = np.unique(np.concatenate([y_true, y_pred]))
    columns = precision_recall_fscore_support(
        y_true, y_pred, labels=classes, zero_division=0
    )
    names = ["precision", "recall", "f1", "pictures"]
    table = dict(zip(names, columns, strict=True))
    return pd.DataFrame(table, index=pd.Index(classes, name="class"))


def reliability_curve(y_true, proba, classes, n_bins=15):
    """Compute accuracy against confidence, for a reliability diagram.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True classes.
    proba : ndarray of shape (n, n_classes)
        Predicted probabilities.
    classes : array-like of shape (n_classes,)
        Class of each column of `proba`.
    n_bins : int, default=15
        Number of bins of equal width in [0, 1].

    Returns
    -------
    curve : DataFrame
        One row per non-empty bin: ``confidence`` (mean highest probability),
        ``accuracy`` and ``pictures``.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017). On calibration of modern neural networks.
    ICML.
    """
    check_consistent_length(y_true, proba)
    confidence = proba.max(axis=1)
    right = np.asarray(classes)[proba.argmax(axis=1)] == np.asarray(y_true)
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    rows = pd.DataFrame({"bin": bins, "confidence": confidence, "accuracy": right})
    curve = rows.groupby("bin").mean()
    curve["pictures"] = rows.groupby("bin").size()
    return curve


def expected_calibration_error(y_true, proba, classes, n_bins=15):
    """Return the mean gap between confidence and accuracy, over bins of pictures.

    Parameters
    ----------
    y_true, proba, classes, n_bins
        As in `reliability_curve`.

    Returns
    -------
    error : float
        In [0, 1]; 0 is perfect calibration.

    References
    ----------
    Naeini, Cooper and Hauskrecht (2015). Obtaining well calibrated probabilities using
    Bayesian binning. AAAI.

    Examples
    --------
    >>> import numpy as np
    >>> proba = np.array([[0.9, 0.1], [0.9, 0.1]])
    >>> round(expected_calibration_error(["a", "b"], proba, ["a", "b"]), 3)
    0.4
    """
    curve = reliability_curve(y_true, proba, classes, n_bins)
    gaps = (curve["confidence"] - curve["accuracy"]).abs()
    return float(np.average(gaps, weights=curve["pictures"]))
