"""Plots: what was found, what the collection holds, how many clusters it has."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.utils import check_random_state

from .files import atomic_path
from .reading import on_white, read_image
from .resizing import resize_image

_CANDIDATE = "#b5402a"
_LINE = "#2f5d7c"
_COLUMNS = 7  # panels in a row that are still legible on a page


def _shorten(text, most=18):
    text = str(text)
    return text if len(text) <= most else f"{text[: most - 9]}…{text[-8:]}"


class _Gallery:
    """Pictures and labels by key, whether they lie in files or in a collection."""

    def __init__(self, metadata):
        self.metadata = metadata
        self.in_files = isinstance(metadata, dict)
        if self.in_files and "images" not in metadata:
            raise ValueError(
                "metadata must be what generate_image_metadata returns, with 'images'; "
                f"got a dict of {sorted(metadata)[:5]}."
            )

    def __contains__(self, key):
        known = self.metadata["images"] if self.in_files else self.metadata._position
        return key in known

    def image(self, key):
        if not self.in_files:
            return self.metadata[key]
        return read_image(self._about(key)["file_path"])

    def label(self, key):
        if not self.in_files:
            return str(self.metadata.labels[self.metadata.position(key)])
        label = self._about(key)["label"]
        for folder, about in self.metadata.get("dirs", {}).items():
            if about["label"] == label:
                return folder
        return str(label)

    def name(self, key):
        """Lines that name a picture: its key, and its label if the key does not."""
        label = self.label(key)
        told = not label or str(key).startswith(f"{label}.")
        return [_shorten(key)] if told else [_shorten(key), label]

    def _about(self, key):
        try:
            return self.metadata["images"][key]
        except KeyError:
            raise KeyError(f"{key!r} is not in the metadata's images.") from None


def _show(ax, image, caption=(), color=None):
    """Draw one picture and the lines of its caption."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 4:
        image = on_white(image)
    # A few pixels are shown as they are; more of them look better smoothed.
    smooth = "nearest" if max(image.shape[:2]) <= 64 else "auto"
    cmap = "gray" if image.ndim == 2 else None
    limit = 255 if image.dtype == np.uint8 else 1
    ax.imshow(image, interpolation=smooth, cmap=cmap, vmin=0, vmax=limit)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color=color or "#888888", linewidth=2.5 if color else 0.5)
    ax.set_xlabel("\n".join(caption), fontsize=8, color=color or "black", labelpad=4)


def save_figure(figure, path, dpi=150):
    """Write a figure, whole or not at all; the suffix of `path` names the format."""
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:] or "png", dpi=dpi)


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
        the last, both axes scaled to [0, 1]. None with fewer than three points, or
        where none lies below.

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
    if len(clusters) < 3 or np.ptp(inertias) == 0:
        return None
    order = np.argsort(clusters)
    x, y = clusters[order], inertias[order]
    x, y = (x - x[0]) / np.ptp(x), (y - y[-1]) / (y[0] - y[-1])
    below = 1 - x - y
    best = int(np.argmax(below))
    return int(clusters[order][best]) if below[best] > 1e-9 else None


class Plots:
    """Figures of what the models found.

    Every method returns a `matplotlib.figure.Figure` and shows nothing by itself: a
    notebook shows it as the last line of a cell, a script saves it with ``savefig``.
    """

    @staticmethod
    def plot_matches(matches, metadata, candidate=None, *, figsize=None):
        """Show the pictures of a ranked table, the candidate first.

        Parameters
        ----------
        matches : DataFrame
            The ranked table of one candidate, or of a batch: then each candidate has
            rows of its own.
        metadata : dict or Collection
            Where the pictures are: what `Images.generate_image_metadata` returned, or
            a collection.
        candidate : str, ndarray, dict or sequence, optional
            The candidate's key or its picture (height, width, channels); for a batch
            one for each query, by name or in order. By default a batch's queries are
            looked up by key, and a single candidate is left out.
        figsize : tuple of float, optional
            Width and height, in inches.

        Returns
        -------
        figure : matplotlib.figure.Figure

        Raises
        ------
        KeyError
            If a key is not in `metadata`.
        ValueError
            If `matches` is empty.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from geoimages import Collection, PairwiseModel, Plots, make_rocks
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.h5"
        >>> rocks = Collection.from_arrays(path, *make_rocks(60, random_state=0))
        >>> matches = PairwiseModel(5).fit(rocks).predict(rocks.keys[0])
        >>> figure = Plots.plot_matches(matches, rocks, candidate=rocks.keys[0])
        >>> len(figure.axes)
        6
        """
        if not len(matches):
            raise ValueError("matches holds no rows; there is nothing to plot.")
        gallery = _Gallery(metadata)
        if isinstance(matches.index, pd.MultiIndex):
            queries = matches.index.unique("query")
            groups = [matches.xs(query, level="query") for query in queries]
            if isinstance(candidate, dict):
                candidates = [candidate.get(query) for query in queries]
            elif candidate is None:
                candidates = [query if query in gallery else None for query in queries]
            else:
                candidates = list(candidate)
        else:
            groups, candidates = [matches], [candidate]
        panels = max(
            len(group) + (shown is not None)
            for group, shown in zip(groups, candidates, strict=True)
        )
        columns = min(panels, _COLUMNS)
        lines = math.ceil(panels / columns)
        size = figsize or (1.55 * columns + 0.1, 1.95 * lines * len(groups) + 0.1)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(lines * len(groups), columns, squeeze=False)
        axes = axes.reshape(len(groups), -1)
        for row, group, shown in zip(axes, groups, candidates, strict=True):
            free = iter(row)
            if shown is not None:
                caption = ["candidate"]
                if isinstance(shown, str):
                    caption += gallery.name(shown)
                    shown = gallery.image(shown)
                _show(next(free), shown, caption, _CANDIDATE)
            for key, similarity in group["similarity"].items():
                caption = [*gallery.name(key), f"similarity {similarity:.3f}"]
                _show(next(free), gallery.image(key), caption)
            for ax in free:
                ax.remove()
        return figure

    @staticmethod
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
        ax.plot(clusters[order], inertias[order], "o-", color=_LINE)
        elbow = suggest_elbow(clusters, inertias)
        if elbow is not None:
            ends = order[[0, -1]]
            ax.plot(
                clusters[ends],
                inertias[ends],
                ":",
                color="#888888",
                label="first to last point",
            )
            ax.axvline(
                elbow,
                color=_CANDIDATE,
                linestyle="--",
                label=f"suggested: {elbow} (farthest below that line)",
            )
            ax.legend(frameon=False)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(xlabel="clusters", ylabel="inertia (sum of squared distances)")
        ax.set_ylim(bottom=0)
        ax.spines[["top", "right"]].set_visible(False)
        return ax.figure

    @staticmethod
    def sample_sheet(
        images, labels=None, *, n_per_class=8, random_state=0, figsize=None
    ):
        """Show pictures of every class, a row each.

        Parameters
        ----------
        images : Collection or ndarray of shape (n, height, width, channels)
            The pictures.
        labels : array-like of shape (n,), optional
            Their classes; a collection brings its own.
        n_per_class : int, default=8
            Pictures in a row.
        random_state : int, RandomState or None, default=0
            Seed of the choice.
        figsize : tuple of float, optional
            Width and height, in inches.

        Returns
        -------
        figure : matplotlib.figure.Figure

        Raises
        ------
        ValueError
            If there are no pictures, or not one label for each.
        """
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
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(classes), columns, squeeze=False)
        for row, name, count in zip(axes, classes, counts, strict=True):
            members = np.flatnonzero(labels == name)
            chosen = np.sort(rng.permutation(members)[:columns])
            for ax, position in zip(row, chosen, strict=False):
                image = np.asarray(images[int(position)])
                if max(image.shape[:2]) > 256:
                    image = resize_image(image, (256, 256))
                _show(ax, image)
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
