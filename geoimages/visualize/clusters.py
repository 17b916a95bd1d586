"""The elbow of the k-means inertia."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from .panels import CANDIDATE_COLOR, LINE_COLOR, MUTED_COLOR, new_figure

_LEAST_BEND = 0.05  # for random rows without clusters it stays below 0.03


def suggest_elbow(clusters, inertias):
    """Suggest a number of clusters from the elbow of the inertia.

    Parameters
    ----------
    clusters : array-like of shape (n,), int
        Numbers of clusters tried.
    inertias : array-like of shape (n,), float
        The inertia of each.

    Returns
    -------
    elbow : int or None
        The number of clusters whose point lies farthest below the line from the first
        point to the last on logarithmic axes. None without a clear elbow: with fewer
        than three points, or if that distance is less than 0.05 of the curve's height.

    Notes
    -----
    For data without clusters the inertia follows a power law of their number, k^(−2/d)
    in d dimensions (Zador 1982): a curve on linear axes, a straight line on logarithmic
    ones. Only a bend on logarithmic axes is therefore evidence of clusters.

    References
    ----------
    Satopää, Albrecht, Irwin and Raghavan (2011). Finding a "Kneedle" in a haystack:
    detecting knee points in system behavior. ICDCS Workshops.

    Zador (1982). Asymptotic quantization error of continuous signals and the
    quantization dimension. IEEE Transactions on Information Theory 28.

    Examples
    --------
    >>> suggest_elbow([1, 2, 3, 4, 5], [100, 40, 15, 12, 10])
    3
    >>> suggest_elbow([1, 2, 3, 4, 5], [100, 50, 33, 25, 20]) is None
    True
    """
    clusters, inertias = np.asarray(clusters, float), np.asarray(inertias, float)
    order = np.argsort(clusters)
    order = order[inertias[order] > 0]
    x, y = np.log(clusters[order]), np.log(inertias[order])
    if len(x) < 3 or x[0] == x[-1] or y[0] <= y[-1]:
        return None
    below = 1 - (x - x[0]) / np.ptp(x) - (y - y[-1]) / (y[0] - y[-1])
    best = int(np.argmax(below))
    return int(clusters[order][best]) if below[best] > _LEAST_BEND else None


def elbow_plot(clusters, inertias, ax=None, *, figsize=(6, 4)):
    """Plot inertia against the number of clusters and mark a suggested elbow.

    Parameters
    ----------
    clusters : array-like of shape (n,), int
        Numbers of clusters tried.
    inertias : array-like of shape (n,), float
        As returned by `KMeansModel.model_inertias`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    figsize : tuple of float, default=(6, 4)
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the lengths differ.

    See Also
    --------
    suggest_elbow : How the elbow is found.
    """
    clusters, inertias = np.asarray(list(clusters)), np.asarray(inertias, float)
    if len(clusters) == 0 or clusters.shape != inertias.shape:
        raise ValueError(
            f"Give one inertia for each number of clusters, got {len(clusters)} "
            f"numbers and {len(inertias)} inertias."
        )
    if ax is None:
        ax = new_figure(figsize=figsize, layout="constrained").subplots()
    order = np.argsort(clusters)
    ax.plot(clusters[order], inertias[order], "o-", color=LINE_COLOR)
    elbow = suggest_elbow(clusters, inertias)
    if elbow is None:
        ax.plot([], [], " ", label="no clear elbow")
    else:
        ends = order[inertias[order] > 0][[0, -1]]
        x = np.geomspace(*clusters[ends])
        y = np.interp(np.log(x), np.log(clusters[ends]), np.log(inertias[ends]))
        ax.plot(
            x, np.exp(y), ":", color=MUTED_COLOR, label="without clusters (power law)"
        )
        label = f"suggested: {elbow} (farthest below that line)"
        ax.axvline(elbow, color=CANDIDATE_COLOR, linestyle="--", label=label)
    ax.legend(frameon=False)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="clusters", ylabel="inertia (sum of squared distances)")
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)
    return ax.figure
