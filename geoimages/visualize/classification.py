"""How right a classifier is, and how sure."""

import numpy as np
from sklearn import metrics

from ..evaluate import expected_calibration_error, reliability_curve
from ..evaluate.statistics import wilson_interval
from .panels import LINE_COLOR, MUTED_COLOR, Figure


def confusion_matrix(y_true, y_pred, ax=None, *, figsize=(5.5, 5)):
    """Show how often each class was taken for which.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,)
        True and predicted classes.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    figsize : tuple of float, default=(5.5, 5)
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    if ax is None:
        ax = Figure(figsize=figsize, layout="constrained").subplots()
    classes = np.unique(np.concatenate([y_true, y_pred]))
    counts = metrics.confusion_matrix(y_true, y_pred, labels=classes)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # A square root of the color scale, so that a few mistakes among many show.
    ax.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if share[row, column] > 0.4 else "black"
            ax.text(column, row, f"{count:,}", ha="center", va="center", color=color)
    places = range(len(classes))
    ax.set_xticks(places, classes, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(places, classes)
    ax.set(xlabel="predicted", ylabel="true")
    ax.spines[:].set_visible(False)
    return ax.figure


def reliability(y_true, proba, classes, ax=None, *, n_bins=15, figsize=(5, 5)):
    """Show how often a classifier is right beside how sure it is.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True classes.
    proba : ndarray of shape (n, n_classes)
        Predicted probabilities.
    classes : array-like of shape (n_classes,)
        The classes of the columns.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    n_bins : int, default=15
        Bins of equal width in [0, 1].
    figsize : tuple of float, default=(5, 5)
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The area of a point grows with the number of its pictures; bars are 95 %
        intervals (Wilson).
    """
    if ax is None:
        ax = Figure(figsize=figsize, layout="constrained").subplots()
    curve = reliability_curve(y_true, proba, classes, n_bins)
    error = expected_calibration_error(y_true, proba, classes, n_bins)
    n, p = curve["pictures"], curve["accuracy"]
    low, high = wilson_interval(p, n)
    ax.plot([0, 1], [0, 1], ":", color=MUTED_COLOR, label="as sure as right")
    ax.vlines(curve["confidence"], low, high, color=LINE_COLOR)
    ax.scatter(
        curve["confidence"], p, s=20 + 180 * n / n.max(), color=LINE_COLOR, zorder=3
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
    """Show how training went, epoch by epoch.

    Parameters
    ----------
    model : ConvNetClassifier, MLPEmbedding, TripletEmbedding or scikit-learn MLP
        Fitted.
    figsize : tuple of float, default=(8, 3.4)
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The loss in training, and in validation where it is known; beside it the
        validation score. The shaded epochs are those whose weights were averaged.

    Raises
    ------
    ValueError
        If the model keeps no ``loss_curve_``.
    """
    loss = getattr(model, "loss_curve_", [])
    if not len(loss):
        raise ValueError(
            f"{type(model).__name__} has no learning curve; give a fitted network."
        )
    score = getattr(model, "validation_score_curve_", None)
    if score is None:
        score = getattr(model, "validation_scores_", None)
    score = [] if score is None else score
    validation_loss = getattr(model, "validation_loss_curve_", [])
    figure = Figure(figsize=figsize, layout="constrained")
    axes = figure.subplots(1, 2 if len(score) else 1, squeeze=False)[0]
    epochs = np.arange(1, len(loss) + 1)
    axes[0].plot(epochs, loss, color=MUTED_COLOR, label="training")
    if len(validation_loss):
        axes[0].plot(epochs, validation_loss, color=LINE_COLOR, label="validation")
    axes[0].set(ylabel="loss", ylim=(0, None))
    axes[0].legend(frameon=False)
    if len(score):
        axes[1].plot(np.arange(1, len(score) + 1), score, color=LINE_COLOR)
        axes[1].set(ylabel="validation score")
    # Iterations over judgements, which have no validation score, are not averaged.
    averaged = getattr(model, "averaged_epochs", 1) if len(score) else 1
    for ax in axes:
        if averaged > 1:
            first = max(1, len(loss) - averaged + 1)
            ax.axvspan(first, len(loss), color=MUTED_COLOR, alpha=0.15, linewidth=0)
        ax.set(xlabel="epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
    return figure
