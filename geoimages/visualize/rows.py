"""Figures of core trays: the rows found on their photographs."""

import math

import numpy as np
from matplotlib.patches import Polygon

from ..pictures.resizing import resize_image
from .panels import CLASS_COLORS, new_figure, opaque

_LONG = 1000  # pixels of the longer side of a photograph as it is drawn
_ACROSS = 3


def rows(photos, *, figsize=None):
    """Draw the rows of core on photographs of trays, to be checked.

    Parameters
    ----------
    photos : dict of str: (ndarray of shape (height, width, 3), ndarray (n, 4, 2))
        The photographs by name, each with the corners of its rows, as `tray_rows` or
        `find_rows` return them.
    figsize : tuple of float, optional
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Each row has its number where it begins, and an arrow down the hole.

    Raises
    ------
    ValueError
        If there are no photographs.
    """
    if not photos:
        raise ValueError("There are no photographs to draw.")
    across = min(_ACROSS, len(photos))
    down = math.ceil(len(photos) / across)
    aspects = [im.shape[0] / im.shape[1] for im, _ in photos.values()]
    width = 6.0 if across == 1 else 12 / across
    high = width * min(1.6, max(0.35, max(aspects))) + 0.3
    figure = new_figure(
        figsize=figsize or (width * across, high * down), layout="constrained"
    )
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for ax, (name, (image, corners)) in zip(panels, photos.items(), strict=False):
        image = opaque(np.asarray(image))
        height, width = image.shape[:2]
        shrink = min(1.0, _LONG / max(height, width))
        size = max(1, round(height * shrink)), max(1, round(width * shrink))
        small = resize_image(image, size, "stretch")
        ax.imshow(small, extent=(0, width, height, 0))
        for number, row in enumerate(np.asarray(corners), 1):
            color = CLASS_COLORS[(1, 4)[number % 2]]
            ax.add_patch(Polygon(row, fill=False, ec=color, lw=1.4))
            start, stop = (row[0] + row[3]) / 2, (row[1] + row[2]) / 2
            _arrow(ax, start, stop, color, number)
        rows_told = f"{len(corners)} row{'s' * (len(corners) != 1)}"
        ax.set_title(f"{name}: {rows_told}", fontsize=8)
        ax.set(xlim=(0, width), ylim=(height, 0))
        ax.set_axis_off()
    for ax in panels[len(photos) :]:
        ax.remove()
    return figure


def _arrow(ax, start, stop, color, number):
    """The number of a row where it begins, and which way it runs."""
    along = (stop - start) / max(np.linalg.norm(stop - start), 1e-9)
    length = 0.12 * np.linalg.norm(stop - start)
    at = start + 0.5 * length * along
    ax.annotate(
        "",
        at + length * along,
        at,
        arrowprops={"arrowstyle": "->", "color": color, "lw": 1.6},
    )
    ax.annotate(
        str(number),
        at,
        ha="center",
        va="center",
        color="white",
        fontsize=8,
        bbox={"boxstyle": "circle,pad=0.2", "fc": color, "ec": "none"},
    )
