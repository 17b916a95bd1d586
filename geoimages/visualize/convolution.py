"""What a convolution has learned to look for."""

import math

import numpy as np
from skimage.color import lab2rgb

from .panels import Figure, show


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
        show(ax, picture)
    for ax in axes[len(pictures) :]:
        ax.remove()
    return figure
