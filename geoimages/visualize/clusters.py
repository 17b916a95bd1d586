"""How many clusters a collection has."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from .panels import CANDIDATE_COLOR, LINE_COLOR, MUTED_COLOR, Figure


def suggest_elbow(clusters, inertias):
    """Suggest a number of clusters where more of them stop paying.

    Parameters
    ----------
    clusters : array-like of shape (n,), int
        Numbers of clusters tried.
    inertias : array-like of shape (n,), float
        The inertia of each.

    Returns
    -------
    elbow : int or None
        The number whose point lies farthest below the line from the first point to
        the last, both axes scaled to [0, 1]. None with fewer than three points, where
        none lies below, or where the first and the last are level.

    References
    ----------
    Satopää, Albrecht, Irwin and Raghavan (2011). Finding a "Kneedle" in a haystack:
    detecting knee points in system behavior. ICDCS Workshops.

    Examples
    --------
    >>> suggest_elbow([1, 2, 3, 4, 5], [100, 40, 15, 12, 10])
    3
    """
    clusters, inertias = np.asarray(clusters, float), np.asarray(inertias, float)
    order = np.argsort(clusters)
    x, y = clusters[order], inertias[order]
    if len(x) < 3 or x[0] == x[-1] or y[0] == y[-1]:
        return None
    x, y = (x - x[0]) / np.ptp(x), (y - y[-1]) / (y[0] - y[-1])
    below = 1 - x - y
    best = int(np.argmax(below))
    return int(clusters[order][best]) if below[best] > 1e-9 else None


def elbow_plot(clusters, inertias, ax=None, *, figsize=(6, 4)):
    """Plot inertia against the number of clusters and mark a suggested elbow.

    Parameters
    ----------
    clusters : array-like of shape (n,), int
        Numbers of clusters tried.
    inertias : array-like of shape (n,), float
        What `KMeansModel.model_inertias` returned for them.
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
        If there is not one inertia for each number.

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
        ax = Figure(figsize=figsize, layout="constrained").subplots()
    order = np.argsort(clusters)
    ax.plot(clusters[order], inertias[order], "o-", color=LINE_COLOR)
    elbow = suggest_elbow(clusters, inertias)
    if elbow is not None:
        ends = order[[0, -1]]
        ax.plot(
            clusters[ends],
            inertias[ends],
            ":",
            color=MUTED_COLOR,
            label="first to last point",
        )
        ax.axvline(
            elbow,
            color=CANDIDATE_COLOR,
            linestyle="--",
            label=f"suggested: {elbow} (farthest below that line)",
        )
        ax.legend(frameon=False)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="clusters", ylabel="inertia (sum of squared distances)")
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)
    return ax.figure
