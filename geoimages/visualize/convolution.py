"""Learned filters and feature maps of a convolution."""

import math
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from skimage.color import lab2rgb

from .panels import MUTED_COLOR, new_figure, show

_NONE = ListedColormap(["#dddddd"])  # of a filter that responds nowhere


def _convolution(model):
    """Return the fitted convolution of a model, or raise a ValueError."""
    conv = getattr(model, "features_", model)
    conv = getattr(conv, "blocks_", {}).get("conv", conv)
    if not hasattr(conv, "filters_"):
        raise ValueError(
            f"{type(conv).__name__} has no learned filters; pass a fitted "
            "ConvFeatures, or a model that contains one."
        )
    return conv


def _grid(n, figsize):
    """Make a figure of n small panels: (figure, axes)."""
    columns = min(12, n)
    lines = math.ceil(n / columns)
    size = figsize or (0.75 * columns + 0.1, 0.9 * lines + 0.1)
    figure = new_figure(figsize=size, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[n:]:
        ax.remove()
    return figure, axes[:n]


def _name(ax, name):
    """Write the name of a small panel below it."""
    ax.set_xlabel(name, fontsize=7, labelpad=2)


def filters(conv, *, figsize=None):
    """Show the learned filters of a `ConvFeatures`.

    Parameters
    ----------
    conv : ConvFeatures, RockFeatures or ConvNetClassifier
        Fitted.
    figsize : tuple of float, optional
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Each filter, with its number, as the CIELAB pattern with the strongest response,
        scaled by its largest value around mid-grey.

    Raises
    ------
    ValueError
        If there are no learned filters.
    """
    filters = _convolution(conv).filters_
    largest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    lab = filters / np.maximum(largest, 1e-12) * [45, 60, 60] + [50, 0, 0]
    pictures = np.clip(lab2rgb(lab), 0, 1)
    figure, axes = _grid(len(pictures), figsize)
    for number, (ax, picture) in enumerate(zip(axes, pictures, strict=True)):
        show(ax, picture)
        _name(ax, number)
    return figure


def activations(conv, picture, *, figsize=None):
    """Show a picture and its feature map for each learned filter.

    Parameters
    ----------
    conv : ConvFeatures, RockFeatures or ConvNetClassifier
        Fitted.
    picture : ndarray of shape (height, width, channels)
        One picture of the shape that was fitted.
    figsize : tuple of float, optional
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The picture, then the feature map of each filter with its number in `filters`,
        on one scale: red where the patch resembles the filter, blue its negative. A
        filter that responds nowhere is marked "none" and grey.

    Raises
    ------
    ValueError
        If there are no learned filters, or more than one picture.
    TypeError
        If the picture is the path of a file.
    """
    if isinstance(picture, str | Path):
        raise TypeError(
            "activations takes a picture of shape (height, width, channels), got the "
            f"path {str(picture)!r}; read the file first: read_image({str(picture)!r})."
        )
    conv, picture = _convolution(conv), np.asarray(picture)
    if picture.ndim != 3:
        raise ValueError(
            "activations takes one picture of shape (height, width, channels), got "
            f"an array of shape {picture.shape}; pass images[0]."
        )
    maps = np.moveaxis(conv.feature_maps(picture[None])[0], 2, 0)
    figure, axes = _grid(len(maps) + 1, figsize)
    show(axes[0], picture)
    _name(axes[0], "picture")
    limit = max(float(np.abs(maps).max()), 1e-6)
    for number, (ax, responses) in enumerate(zip(axes[1:], maps, strict=True)):
        silent = not responses.any()
        cmap = _NONE if silent else "RdBu_r"
        ax.imshow(responses, cmap=cmap, vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
        _name(ax, f"{number}: none" if silent else number)
        ax.spines[:].set(color=MUTED_COLOR, linewidth=0.5)
    return figure
