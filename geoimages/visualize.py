"""Plots: what was found, what the collection holds, how many clusters it has."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from skimage.color import lab2rgb
from sklearn.metrics import confusion_matrix
from sklearn.utils import check_random_state

from .evaluate import expected_calibration_error, reliability_curve
from .files import atomic_path
from .reading import on_white, read_image
from .resizing import resize_image
from .validation import infer_image_shape

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

    def picture(self, shown, like):
        """A candidate's key or pixels as a picture; a flat row is shaped as `like`."""
        if isinstance(shown, str):
            return self.image(shown)
        image = np.asarray(shown)
        if image.ndim == 1:
            shape = self.image(like).shape
            stated = shape if math.prod(shape) == image.size else None
            image = image.reshape(infer_image_shape(image.size, stated))
        return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image

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


def _one_each(candidate, queries):
    """List one candidate, a key or pixels, for each query."""
    if isinstance(candidate, pd.DataFrame | pd.Series):
        candidate = candidate.to_numpy()
    if len(queries) == 1 and not isinstance(candidate, str):
        # Of one query a picture or a flat row need not stand in a list.
        array = np.asarray(candidate)
        whole = array.ndim in (1, 2, 3) and array.dtype.kind in "buif"
        candidate = array if whole else candidate
        candidate = [candidate] if whole and len(array) > 1 else candidate
    candidates = [candidate] if isinstance(candidate, str) else list(candidate)
    if len(candidates) != len(queries):
        raise ValueError(
            f"Give one candidate for each of the {len(queries)} queries, got "
            f"{len(candidates)}."
        )
    return candidates


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
            The candidate's key, its picture (height, width, channels) or its flat
            row; for a batch of several one for each query, by name or in order. By
            default a batch's queries are looked up by key, and a single candidate is
            left out.
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
            If `matches` is empty, or there is not one candidate for each query.

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
                candidates = _one_each(candidate, queries)
        else:
            groups, candidates = [matches], [None]
            if candidate is not None:
                candidates = _one_each(candidate, [None])
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
                shown = gallery.picture(shown, like=group.index[0])
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
            If there are no pictures, not one label for each, or none to show.
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

    @staticmethod
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
        counts = confusion_matrix(y_true, y_pred, labels=classes)
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        # A square root of the color scale, so that a few mistakes among many show.
        ax.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if share[row, column] > 0.4 else "black"
                ax.text(
                    column, row, f"{count:,}", ha="center", va="center", color=color
                )
        places = range(len(classes))
        ax.set_xticks(places, classes, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(places, classes)
        ax.set(xlabel="predicted", ylabel="true")
        ax.spines[:].set_visible(False)
        return ax.figure

    @staticmethod
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
        n, p, z = curve["pictures"], curve["accuracy"], 1.96
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        ax.plot([0, 1], [0, 1], ":", color="#888888", label="as sure as right")
        ax.vlines(curve["confidence"], middle - half, middle + half, color=_LINE)
        ax.scatter(
            curve["confidence"], p, s=20 + 180 * n / n.max(), color=_LINE, zorder=3
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

    @staticmethod
    def filters(conv, *, figsize=None):
        """Show the filters that a `ConvFeatures` learned.

        Parameters
        ----------
        conv : ConvFeatures, RockFeatures or ConvNetClassifier
            Fitted.
        figsize : tuple of float, optional
            Width and height, in inches.

        Returns
        -------
        figure : matplotlib.figure.Figure
            Each filter as the CIELAB pattern that it answers to most, scaled to its own
            largest value about a middle grey.

        Raises
        ------
        ValueError
            If there are no learned filters.
        """
        conv = getattr(conv, "features_", conv)
        conv = getattr(conv, "blocks_", {}).get("conv", conv)
        if not hasattr(conv, "filters_"):
            raise ValueError(
                f"{type(conv).__name__} has learned no filters; give a fitted "
                "ConvFeatures, or a model that holds one."
            )
        filters = conv.filters_
        largest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
        lab = filters / np.maximum(largest, 1e-12) * [45, 60, 60] + [50, 0, 0]
        pictures = np.clip(lab2rgb(lab), 0, 1)
        columns = min(12, len(pictures))
        lines = math.ceil(len(pictures) / columns)
        size = figsize or (0.75 * columns + 0.1, 0.75 * lines + 0.1)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for ax, picture in zip(axes, pictures, strict=False):
            _show(ax, picture)
        for ax in axes[len(pictures) :]:
            ax.remove()
        return figure
