"""Figures of a classifier: confusion matrix, calibration, learning curve."""

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn import metrics

from ..evaluate import expected_calibration_error, reliability_curve
from ..evaluate.statistics import wilson_interval
from .panels import LINE_COLOR, MUTED_COLOR, new_figure, shorten

_MANY = 10  # classes; more are sorted so that those that are confused stand together


def _by_similarity(counts):
    """Order classes so that those taken for each other are neighbors: (n, n) -> (n,)."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    distance = 1 - np.clip(share + share.T, 0, 1)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance), "average", optimal_ordering=True)
    return leaves_list(tree)


def confusion_matrix(y_true, y_pred, ax=None, *, figsize=None):
    """Plot a confusion matrix.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,)
        True and predicted classes.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    figsize : tuple of float, optional
        Width and height, in inches; by default it grows with the number of classes.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Its title is the accuracy. More than ten classes are sorted so that those that
        are confused stand together.
    """
    classes = np.unique(np.concatenate([y_true, y_pred]))
    counts = metrics.confusion_matrix(y_true, y_pred, labels=classes)
    n = len(classes)
    if n > _MANY:
        order = _by_similarity(counts)
        classes, counts = classes[order], counts[np.ix_(order, order)]
    if ax is None:
        side = 2 + max(3.2, 0.27 * n)
        figure = new_figure(figsize=figsize or (side + 0.3, side), layout="constrained")
        ax = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The square root makes a few errors among many pictures visible.
    ax.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    size = 10 if n <= _MANY else 7
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if share[row, column] > 0.4 else "black"
            place = {"ha": "center", "va": "center", "color": color}
            ax.text(column, row, f"{count:,}", fontsize=size, **place)
    names = [shorten(name, 26) for name in classes]
    turn = {"rotation": 45 if n <= _MANY else 90, "rotation_mode": "anchor"}
    ax.set_xticks(
        range(n), names, ha="right", va="center_baseline", fontsize=size, **turn
    )
    ax.set_yticks(range(n), names, fontsize=size)
    ax.set(xlabel="predicted", ylabel="true")
    accuracy = np.trace(counts) / counts.sum()
    ax.set_title(f"accuracy {accuracy:.3f}, {counts.sum():,} pictures", fontsize=10)
    ax.spines[:].set_visible(False)
    return ax.figure


def reliability(y_true, proba, classes, ax=None, *, n_bins=15, figsize=(5, 5)):
    """Plot accuracy against confidence (a reliability diagram).

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True classes.
    proba : ndarray of shape (n, n_classes)
        Predicted probabilities.
    classes : array-like of shape (n_classes,)
        Class of each column of `proba`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    n_bins : int, default=15
        Number of bins of equal width in [0, 1].
    figsize : tuple of float, default=(5, 5)
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The area of a point grows with the number of its pictures; bars are 95 %
        Wilson intervals.
    """
    if ax is None:
        ax = new_figure(figsize=figsize, layout="constrained").subplots()
    curve = reliability_curve(y_true, proba, classes, n_bins)
    error = expected_calibration_error(y_true, proba, classes, n_bins)
    n, p = curve["pictures"], curve["accuracy"]
    low, high = wilson_interval(p, n)
    ax.plot([0, 1], [0, 1], ":", color=MUTED_COLOR, label="perfectly calibrated")
    ax.vlines(curve["confidence"], low, high, color=LINE_COLOR)
    ax.scatter(
        curve["confidence"],
        p,
        s=20 + 180 * n / n.max(),
        color=LINE_COLOR,
        zorder=3,
        clip_on=False,
    )
    ax.set(
        xlabel="confidence (highest probability)",
        ylabel="accuracy",
        xlim=(0, 1.03),
        ylim=(0, 1.03),
        aspect="equal",
        title=f"calibration error {error:.4f}, {int(n.sum()):,} pictures",
    )
    ax.legend(frameon=False, loc="upper left")
    ax.spines[["top", "right"]].set_visible(False)
    return ax.figure


def learning_curve(model, *, figsize=(8, 3.4)):
    """Plot loss and validation score by epoch.

    Parameters
    ----------
    model : ConvNetClassifier, MLPEmbedding, TripletEmbedding or scikit-learn MLP
        Fitted.
    figsize : tuple of float, default=(8, 3.4)
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The training loss, and the validation loss and score if available. A grey
        band marks the last epochs, whose weights were averaged.

    Raises
    ------
    ValueError
        If the model keeps no ``loss_curve_``.
    """
    loss = getattr(model, "loss_curve_", [])
    if not len(loss):
        raise ValueError(
            f"{type(model).__name__} has no learning curve; pass a fitted network."
        )
    score = getattr(model, "validation_score_curve_", None)
    if score is None:
        score = getattr(model, "validation_scores_", None)
    score = [] if score is None else score
    validation_loss = getattr(model, "validation_loss_curve_", [])
    figure = new_figure(figsize=figsize, layout="constrained")
    axes = figure.subplots(1, 2 if len(score) else 1, squeeze=False)[0]
    epochs = np.arange(1, len(loss) + 1)
    axes[0].plot(epochs, loss, color=MUTED_COLOR, label="training")
    if len(validation_loss):
        axes[0].plot(epochs, validation_loss, color=LINE_COLOR, label="validation")
    axes[0].set(ylabel="loss", ylim=(0, None))
    if len(score):
        axes[1].plot(np.arange(1, len(score) + 1), score, color=LINE_COLOR)
        top = min(1, axes[1].get_ylim()[1])  # no score exceeds 1
        axes[1].set(ylabel="validation score", ylim=(None, top))
    # Training on judgments has no validation score, and its weights are not averaged.
    averaged = getattr(model, "averaged_epochs", 1) if len(score) else 1
    for ax in axes:
        if averaged > 1:
            first = max(1, len(loss) - averaged + 1)
            ax.axvspan(
                first,
                len(loss),
                color=MUTED_COLOR,
                alpha=0.15,
                linewidth=0,
                label=f"weights averaged\n(last {len(loss) - first + 1} epochs)",
            )
        ax.set(xlabel="epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    return figure
