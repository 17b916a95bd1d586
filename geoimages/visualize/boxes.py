"""Figures of large photographs: answers as boxes, and what is taken for rock."""

import math

import numpy as np
from matplotlib.patches import Polygon, Rectangle

from ..collection.ground import rock_mask
from ..pictures.resizing import resize_image
from ..similarity.locating import mosaics_of
from .panels import (
    CANDIDATE_COLOR,
    CLASS_COLORS,
    MUTED_COLOR,
    new_figure,
    opaque,
    show,
)

_LONG = 1200  # pixels of the longer side of a photograph as it is drawn
_BAND = 512  # rows read at once
_INSETS = 4  # in a row
_LEFT_OUT = np.array([181, 64, 42])  # color over what is not rock


def _reduced(mosaic):
    """A photograph, as far as tiles hold it, at the size it is drawn: uint8, known."""
    if mosaic.rows is not None:
        return mosaic.part(0, 0, mosaic.width, mosaic.height, _LONG)
    height, width = mosaic.shape
    factor = max(1, -(-max(height, width) // _LONG))
    parts, known_parts = [], []
    rows = max(factor, _BAND // factor * factor)
    for top in range(0, height, rows):
        pixels, known = mosaic.read(top, min(top + rows, height))
        size = max(1, len(pixels) // factor), max(1, width // factor)
        pixels[~known] = 255
        parts.append(resize_image(pixels, size, "stretch"))
        known = np.repeat(known[..., None] * np.uint8(255), 3, axis=2)
        known_parts.append(resize_image(known, size, "stretch")[..., 0] > 127)
    return np.concatenate(parts), np.concatenate(known_parts)


def _frame(ax, row, color, number):
    """Draw the box of an answer, and how the candidate lies in it."""
    x, y, width, height = (row[name] for name in ("x", "y", "width", "height"))
    style = "-" if row["found"] else ":"
    ax.add_patch(
        Rectangle((x, y), width, height, fill=False, ec=color, lw=1.8, ls=style)
    )
    turn = -np.deg2rad(row["orientation"])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    cosine, sine = np.cos(turn), np.sin(turn)
    turned = corners @ np.array([[cosine, sine], [-sine, cosine]])
    center = np.array([x + width / 2, y + height / 2])
    if abs(np.sin(2 * turn)) > 0.02:
        ax.add_patch(Polygon(center + turned, fill=False, ec=color, lw=0.8, alpha=0.8))
    ax.annotate(
        str(number),
        (max(x, 0), max(y, 0)),
        xytext=(2, -2),
        textcoords="offset points",
        va="top",
        color="white",
        fontsize=8,
        bbox={"boxstyle": "square,pad=0.15", "fc": color, "ec": "none"},
    )


def _inset(mosaic, row):
    """The photograph around an answer, and the place of its corner."""
    if mosaic.rows is not None:
        side = 1.3 * max(row["width"], row["height"])
        left = max(0, int(row["x"] + row["width"] / 2 - side / 2))
        top = max(0, int(row["y"] + row["height"] / 2 - side / 2))
        return mosaic.part(left, top, int(side), int(side), _LONG)[0], (left, top), 1.0
    side = 1.3 * max(row["width"], row["height"]) / mosaic.factor
    x = (row["x"] + row["width"] / 2) / mosaic.factor
    y = (row["y"] + row["height"] / 2) / mosaic.factor
    left, top = max(0, int(x - side / 2)), max(0, int(y - side / 2))
    right = min(mosaic.shape[1], int(x + side / 2) + 1)
    bottom = min(mosaic.shape[0], int(y + side / 2) + 1)
    pixels, known = mosaic.read(top, bottom, left, right)
    pixels[~known] = 255
    return pixels, (left, top), mosaic.factor


def _told(row, number):
    """Caption of an answer."""
    told = [f"{number}: {row['photo']}"]
    if np.isfinite(row.get("depth_from", np.nan)):
        told.append(f"{row['depth_from']:g} to {row['depth_to']:g} m")
    told.append(
        ("found" if row["found"] else "not found") + f", {row['similarity']:.2f}"
    )
    told.append(f"turned {row['orientation']:.0f}°, × {row['scale']:.2f}")
    return [*told, "mirrored"] if row["mirrored"] else told


def boxes(matches, tiles, candidate=None, *, figsize=None):
    """Show answers of `locate` as boxes on their photographs, with insets.

    Parameters
    ----------
    matches : DataFrame
        Rows of `locate`. Boxes of places that were found are solid, others dotted.
    tiles : Collection
        The tiles searched.
    candidate : ndarray of shape (height, width, 3), optional
        What was searched for, shown first among the insets.
    figsize : tuple of float, optional
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If `matches` is empty or names a photograph that `tiles` does not hold.
    """
    if not len(matches):
        raise ValueError("matches holds no rows; there is nothing to draw.")
    known = {mosaic.photo: mosaic for mosaic in mosaics_of(tiles)}
    photos = list(dict.fromkeys(matches["photo"]))
    missing = [photo for photo in photos if photo not in known]
    if missing:
        raise ValueError(f"{missing[0]!r} is no photograph of {tiles.path.name}.")
    n_insets = len(matches) + (candidate is not None)
    across = min(_INSETS, n_insets)
    down = math.ceil(n_insets / across)
    aspects = [known[photo].width / known[photo].height for photo in photos]
    height = max(3.2, 2.1 * down)
    wide = [
        min(max(0.28 * height, height * aspect), 1.6 * height) for aspect in aspects
    ]
    size = (sum(wide) + 1.6 * across + 0.3, height)
    figure = new_figure(figsize=figsize or size, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[sum(wide), 1.6 * across])
    axes = left.subplots(1, len(photos), width_ratios=wide, squeeze=False)[0]
    for ax, photo in zip(axes, photos, strict=True):
        mosaic = known[photo]
        image, _ = _reduced(mosaic)
        ax.imshow(image, extent=(0, mosaic.width, mosaic.height, 0))
        ax.set_title(photo, fontsize=8)
        ax.tick_params(labelsize=6, colors=MUTED_COLOR, length=2)
        ax.locator_params(axis="y", nbins=4)
        ax.locator_params(axis="x", nbins=1 if mosaic.width < mosaic.height / 2 else 4)
        for number, (_, row) in enumerate(matches.iterrows(), 1):
            if row["photo"] == photo:
                _frame(ax, row, _color(number), number)
        ax.set(xlim=(0, mosaic.width), ylim=(mosaic.height, 0))
    panels = list(right.subplots(down, across, squeeze=False).ravel())
    if candidate is not None:
        show(panels[0], opaque(candidate), ["candidate"], CANDIDATE_COLOR)
    insets = panels[candidate is not None :]
    for number, (_, row) in enumerate(matches.iterrows(), 1):
        ax, mosaic = insets[number - 1], known[row["photo"]]
        pixels, (x, y), factor = _inset(mosaic, row)
        show(ax, pixels, _told(row, number), None)
        # In the photograph's pixels, so that the frame is drawn as on it.
        corner = np.array([x, y]) * factor
        reach = np.array(pixels.shape[1::-1]) * factor
        ax.images[0].set_extent(
            (corner[0], corner[0] + reach[0], corner[1] + reach[1], corner[1])
        )
        _frame(ax, row, _color(number), number)
        ax.set(xlim=(corner[0], corner[0] + reach[0]))
        ax.set(ylim=(corner[1] + reach[1], corner[1]))
    for ax in insets[len(matches) :]:
        ax.remove()
    return figure


def _color(number):
    """Color of an answer: neither the candidate's nor that of gray rock."""
    colors = [CLASS_COLORS[i] for i in (0, 1, 4, 6, 9, 5)]
    return colors[(number - 1) % len(colors)]


def tiles(image, side=96, *, figsize=None):
    """Show what of a photograph is taken for rock, and what is left out, in red.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        The photograph.
    side : int, default=96
        Side of a tile, in pixels.
    figsize : tuple of float, optional
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    from ..collection.tiles import OVERVIEW

    image = opaque(np.asarray(image))
    factor = max(1, side // OVERVIEW)
    size = tuple(max(1, length // factor) for length in image.shape[:2])
    seen = resize_image(image, size, "stretch")
    mask = rock_mask(seen, OVERVIEW)
    shaded = seen.copy()
    shaded[~mask] = (0.35 * seen[~mask] + 0.65 * _LEFT_OUT).astype(np.uint8)
    tall = size[0] > size[1]
    aspect = max(0.25, min(4.0, size[1] / size[0]))
    width = 3.2 * aspect if not tall else max(1.6, 6 * aspect)
    default = (2 * width + 0.3, width / aspect + 0.4)
    figure = new_figure(figsize=figsize or default, layout="constrained")
    for ax, picture, title in zip(
        figure.subplots(1, 2),
        (seen, shaded),
        ("photograph", f"{mask.mean():.0%} rock"),
        strict=True,
    ):
        ax.imshow(picture)
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()
    return figure
