"""Figures of core along depth: the picture, and logs beside it."""

import math

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from ..pictures.resizing import resize_image
from ..similarity.locating import mosaics_of
from .panels import CLASS_COLORS, MUTED_COLOR, new_figure

_PAGE = 8.0  # inches, the height of the depth axis
_CORE, _CURVE, _CLASSES, _SPACE = 0.75, 0.95, 0.3, 0.5  # inches across
_PIXELS = 150  # per inch, of the core picture
_MOST_HOLES = 6  # side by side


def strip(tiles, logs=None, *, holes=None, page=None, figsize=None):
    """Draw core along depth, logs beside it, holes side by side on one depth axis.

    Parameters
    ----------
    tiles : Collection
        Made by `tile_core`, with depths.
    logs : DataFrame or list of DataFrame, optional
        Of `log_core`: similarity is drawn as a curve, classes as a column of colors with
        the curve of their probability.
    holes : list of str, optional
        Which holes to draw, by default all.
    page : float, optional
        Meters on a page, by default 10, or all if it is less.
    figsize : tuple of float, optional
        Width and height of a page, in inches.

    Returns
    -------
    figures : list of matplotlib.figure.Figure
        Pages; those on which nothing lies are left out. The core is as wide as the page
        allows, not to the scale of its length.

    Raises
    ------
    ValueError
        If the tiles know no depth, or a hole is unknown.
    """
    pieces = _pieces(tiles)
    if not pieces:
        raise ValueError(
            f"The tiles of {tiles.path.name} know no depth; make them with 'geoimages "
            "tile --core'."
        )
    names = sorted(pieces) if holes is None else [str(hole) for hole in holes]
    unknown = [hole for hole in names if hole not in pieces]
    if unknown or not names:
        raise ValueError(
            f"holes={list(holes)} are not all there; {tiles.path.name} has "
            f"{', '.join(sorted(pieces))}."
        )
    logs = [] if logs is None else logs if isinstance(logs, list | tuple) else [logs]
    start = min(piece["row_from"] for hole in names for _, piece in pieces[hole])
    stop = max(piece["row_to"] for hole in names for _, piece in pieces[hole])
    if page is not None and not 0.01 <= page <= 10_000:
        raise ValueError(f"page={page} must be meters, 0.01 to 10,000.")
    page = min(page or 10.0, max(stop - start, 0.01))
    n_pages = math.ceil((stop - start) / page - 1e-6)
    figures = []
    for number in range(n_pages):
        low = start + number * page
        limits = low, low + page
        for first in range(0, len(names), _MOST_HOLES):
            shown = [
                hole
                for hole in names[first : first + _MOST_HOLES]
                if any(_overlap(piece, limits) for _, piece in pieces[hole])
            ]
            if shown:
                figures.append(_page(shown, pieces, logs, limits, figsize))
    return figures


def _pieces(tiles):
    """Rows of core by hole: {hole: [(mosaic, row)]}, those with a depth."""
    pieces = {}
    for mosaic in mosaics_of(tiles):
        if mosaic.rows is None or "row_from" not in mosaic.rows:
            continue
        for _, row in mosaic.rows.dropna(subset=["row_from", "row_to"]).iterrows():
            pieces.setdefault(str(row["hole"]), []).append((mosaic, row))
    return pieces


def _overlap(piece, limits):
    return min(piece["row_to"], limits[1]) - max(piece["row_from"], limits[0]) > 1e-9


def _page(names, pieces, logs, limits, figsize):
    """One page: every hole between two depths."""
    kinds = ["core"]
    for log in logs:
        kinds += ["classes", "curve"] if "class" in log else ["curve"]
    inches = {"core": _CORE, "curve": _CURVE, "classes": _CLASSES}
    widths = [inches[kind] for kind in kinds]
    ratios = []
    for i in range(len(names)):
        ratios += ([_SPACE / 2] if i else []) + widths
    classes = _classes(logs)
    size = (sum(ratios) + 0.13 * len(ratios) + 1.0, _PAGE + 0.7 + 0.25 * bool(classes))
    figure = new_figure(figsize=figsize or size)
    bottom = 0.05 + (0.05 if classes else 0)
    grid = figure.add_gridspec(
        1,
        len(ratios),
        width_ratios=ratios,
        left=0.75 / size[0],
        right=1 - 0.15 / size[0],
        bottom=bottom,
        top=0.92,
        wspace=0.13,
    )
    at, axis = 0, None
    for hole in names:
        at += 1 if axis is not None else 0
        log_of = iter([log for log in logs for _ in range(1 + ("class" in log))])
        for kind in kinds:
            ax = figure.add_subplot(grid[0, at], sharey=axis)
            at += 1
            if kind == "core":
                _core(ax, pieces[hole], limits)
                ax.set_title(hole, fontsize=9)
                ax.set(xlim=(0, 1), xticks=[])
                ax.tick_params(labelsize=7, length=2)
                ax.tick_params(labelleft=axis is None)
                if axis is None:
                    ax.set_ylabel("depth, m", fontsize=8)
                axis = axis or ax
                continue
            log = next(log_of)
            part = log[
                (log["hole"].astype(str) == hole)
                & (log["to"] > limits[0])
                & (log["from"] < limits[1])
            ]
            (_colors if kind == "classes" else _curve)(ax, part, log, classes)
            ax.tick_params(labelleft=False, length=2, labelsize=6)
    axis.set_ylim(limits[1], limits[0])
    if classes:
        handles = [Patch(color=color, label=name) for name, color in classes.items()]
        figure.legend(
            handles=handles,
            loc="lower center",
            ncols=max(1, min(len(handles), int(size[0] / 1.1))),
            fontsize=7,
            frameon=False,
            handlelength=1.2,
        )
    return figure


def _classes(logs):
    """Colors of the classes of all logs."""
    names = [name[2:] for log in logs for name in log.columns if name.startswith("p_")]
    names = list(dict.fromkeys(names))
    return {name: CLASS_COLORS[i % len(CLASS_COLORS)] for i, name in enumerate(names)}


def _core(ax, pieces, limits):
    """The pictures of rows, down the depth axis; where there is none it is gray."""
    ax.set_facecolor("#e4e4e4")
    per_meter = _PAGE * _PIXELS / (limits[1] - limits[0])
    for mosaic, row in pieces:
        if not _overlap(row, limits):
            continue
        ends = max(row["row_from"], limits[0]), min(row["row_to"], limits[1])
        wide = row["row_width"] / mosaic.factor / (row["row_to"] - row["row_from"])
        left, right = ((end - row["row_from"]) * wide for end in ends)
        top = row["strip_top"] / mosaic.factor
        pixels, known = mosaic.read(
            round(top),
            round(top + row["row_height"] / mosaic.factor),
            int(left),
            max(int(left) + 1, round(right)),
        )
        pixels[~known] = 228
        pixels = np.rot90(pixels, -1)
        size = max(1, round((ends[1] - ends[0]) * per_meter)), round(_CORE * _PIXELS)
        size = min(size[0], len(pixels)), min(size[1], pixels.shape[1])
        pixels = resize_image(np.ascontiguousarray(pixels), size, "stretch")
        ax.imshow(pixels, extent=(0, 1, ends[1], ends[0]), aspect="auto")
        ax.axhline(row["row_from"], color="white", lw=0.4)


def _curve(ax, part, log, classes):
    """A value along depth, broken where there is none."""
    name = "probability" if "class" in log else "similarity"
    middle = ((part["from"] + part["to"]) / 2).to_numpy()
    values = part[name].to_numpy(float)
    step = np.median((log["to"] - log["from"]).to_numpy())
    breaks = np.flatnonzero(np.diff(middle) > 1.5 * step) + 1
    values = np.insert(values, breaks, np.nan)
    middle = np.insert(middle, breaks, np.nan)
    ax.plot(values, middle, color="#1f4e79", lw=0.8)
    if name == "probability":
        ax.set_xlim(0, 1)
    else:
        low, high = log[name].min(), log[name].max()
        ax.set_xlim(low - 0.03 * (high - low) - 1e-6, high + 0.03 * (high - low) + 1e-6)
    window = log.attrs.get("window")
    told = f"{name}\n{window:g} m" if window else name
    ax.set_title(told, fontsize=6, color=MUTED_COLOR)
    ax.locator_params(axis="x", nbins=2)
    ax.grid(color="#dddddd", lw=0.5)
    ax.set_axisbelow(True)


def _colors(ax, part, log, classes):
    """Classes along depth, as colors."""
    names = list(classes)
    number = {name: i for i, name in enumerate(names)}
    ax.set(xlim=(0, 1), xticks=[])
    ax.set_facecolor("#f4f4f4")
    if not len(part):
        return
    edges = np.unique(np.round(np.r_[part["from"], part["to"]], 4))
    cells = np.full((len(edges) - 1, 1), np.nan)
    at = np.searchsorted(edges, part["from"].round(4).to_numpy())
    cells[at, 0] = [number[str(name)] for name in part["class"]]
    ax.pcolormesh(
        [0, 1],
        edges,
        np.ma.masked_invalid(cells),
        cmap=ListedColormap([classes[name] for name in names]),
        vmin=-0.5,
        vmax=len(names) - 0.5,
        rasterized=True,
    )
    ax.set_title("class", fontsize=6, color=MUTED_COLOR)
