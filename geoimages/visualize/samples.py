"""Sample pictures of each class."""

import numpy as np
from sklearn.utils import check_random_state

from .panels import new_figure, show


def sample_sheet(images, labels=None, *, n_per_class=8, random_state=0, figsize=None):
    """Show sample pictures of every class, one row per class.

    Parameters
    ----------
    images : Collection or ndarray of shape (n, height, width, channels)
        The pictures.
    labels : array-like of shape (n,), optional
        Their classes; by default those of the collection.
    n_per_class : int, default=8
        Pictures per row.
    random_state : int, RandomState or None, default=0
        Seed of the sample.
    figsize : tuple of float, optional
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there are no pictures, or the numbers of pictures and labels differ.
    """
    if n_per_class < 1:
        raise ValueError(f"n_per_class must be 1 or more, got {n_per_class!r}.")
    if labels is None:
        labels = getattr(images, "labels", [""] * len(images))
    labels = np.asarray(labels).astype(str)
    if len(labels) != len(images) or not len(labels):
        raise ValueError(
            f"Give one label for each picture, got {len(images)} pictures and "
            f"{len(labels)} labels."
        )
    rng = check_random_state(random_state)
    classes, counts = np.unique(labels, return_counts=True)
    columns = min(n_per_class, counts.max())
    size = figsize or (1.05 * columns + 1.1, 1.05 * len(classes) + 0.1)
    figure = new_figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(classes), columns, squeeze=False)
    for row, name, count in zip(axes, classes, counts, strict=True):
        members = np.flatnonzero(labels == name)
        chosen = np.sort(rng.permutation(members)[:columns])
        for ax, position in zip(row, chosen, strict=False):
            show(ax, images[int(position)])
        for ax in row[len(chosen) :]:
            ax.remove()
        row[0].set_ylabel(
            f"{name}\n{count:,}",
            rotation=0,
            ha="right",
            va="center",
            fontsize=9,
            labelpad=8,
        )
    return figure
