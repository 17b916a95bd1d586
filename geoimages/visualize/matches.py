"""Figures of the pictures in a ranked table."""

import math

import numpy as np
import pandas as pd
from matplotlib.patches import Patch, Rectangle
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from ..search import METRICS
from ..similarity.ranking import FOUND
from .panels import CANDIDATE_COLOR, COLUMNS, Gallery, block_colors, new_figure, show

_NO_SHARES = {
    *("similarity", "orientation", "mirrored", "verification", "same"),
    *METRICS,
}
_BAR, _GAP = 0.07, 0.05  # height of a bar and the space above it, in inches
_LINE = 0.145  # height of a line of a caption, in inches
_BAR_GROUND = "#ebebeb"


def _one_each(candidate, queries):
    """Return a list of one candidate (key or pixels) per query."""
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


def _parts_of(matches, candidate, gallery):
    """Split a ranked table into (matches, candidate or None) for each query."""
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
    return list(zip(groups, candidates, strict=True))


def _share_columns(matches):
    """Names of the columns that hold a block's share of the distance."""
    return [
        name
        for name, dtype in matches.dtypes.iloc[1:].items()
        if name not in _NO_SHARES and dtype.kind in "iuf"
    ]


def _found_as(row):
    """The line that says how the candidate was rotated, if it was."""
    told, degrees = [], row.get("orientation")
    if pd.notna(degrees) and round(degrees, 1) % 360:
        told.append(f"rotated {round(degrees, 1) % 360:g}°")
    if row.get("mirrored", False):
        told.append("mirrored")
    return [", ".join(told)] if told else []


def _caption(name, row):
    """Lines below a match."""
    lines = [*name, f"similarity {row['similarity']:.3f}", *_found_as(row)]
    if "verification" in row:
        lines.append(f"verification {row['verification']:.3f}")
    if "same" in row:
        lines.append(f"{row['same']:.0%} the same picture")
    return lines


def _not_found(matches):
    """Whether re-ranked matches hold no picture that is probably the candidate's own."""
    return "same" in matches and matches["same"].iloc[0] < FOUND


def _shares_of(matches):
    """What the bars share out: the distance, or of a re-ranked table another one."""
    if matches.columns[0] != "verification":
        return "shares of the distance"
    metric = next((name for name in matches.columns if name in METRICS), "first")
    return f"shares of the {metric} distance, not of the verification that orders"


def _bar(ax, shares, low, high, colors):
    """Draw a stacked bar of the contributions below a picture, from low to high."""
    inches = ax.figure.dpi_scale_trans + ScaledTranslation(0, 0, ax.transAxes)
    place = blended_transform_factory(ax.transAxes, inches)

    def block(start, width, color, label):
        box = Rectangle(
            (start, -_GAP - _BAR),
            width,
            _BAR,
            color=color,
            linewidth=0,
            label=label,
            transform=place,
            clip_on=False,
        )
        ax.add_artist(box)

    block(0, 1, _BAR_GROUND, "")
    # Negative contributions are drawn to the left of zero.
    ends = dict.fromkeys([True, False], -low / (high - low))
    for (name, share), color in zip(shares.items(), colors, strict=True):
        width = share / (high - low)
        block(ends[share < 0], width, color, name)
        ends[share < 0] += width


def plot_matches(matches, metadata, candidate=None, *, figsize=None):
    """Show the pictures of a ranked table, the candidate first.

    Parameters
    ----------
    matches : DataFrame
        The ranked table of one candidate, or of a batch: then each candidate has
        rows of its own. Of its columns ``orientation`` (degrees), ``mirrored``,
        ``verification`` and ``same`` are told in words, and that a candidate was not
        found again; other numbers beside the distance and the
        similarity are shares of the distance (``predict(..., explain=True)``) and
        drawn as a bar below each match, its length the distance.
    metadata : dict or Collection
        Where the pictures are: what `Images.generate_image_metadata` returned, or
        a collection.
    candidate : str, ndarray, dict or sequence, optional
        The candidate's key, picture (height, width, channels) or flat row; for a
        batch, one per query, by name or in order. By default, the queries of a batch
        are looked up by key, and a single candidate is not shown.
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
        If `matches` is empty, or the number of candidates differs from that of queries.

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
    gallery = Gallery(metadata)
    blocks = _share_columns(matches)
    shares = matches[blocks].fillna(0)
    rows = []  # for each query its panels: picture, caption, color, shares
    for group, shown in _parts_of(matches, candidate, gallery):
        panels = []
        if shown is not None:
            caption = ["candidate"]
            if isinstance(shown, str):
                caption += gallery.name(shown)
            if _not_found(group):
                caption.append("not found again")
            shown = gallery.picture(shown, like=group.index[0])
            panels.append((shown, caption, CANDIDATE_COLOR, None))
        for key, row in group.iterrows():
            part = row[blocks].astype(float).fillna(0).to_dict()
            caption = _caption(gallery.name(key), row)
            panels.append((gallery.image(key), caption, None, part))
        rows.append(panels)

    most = max(len(panels) for panels in rows)
    text = max(len(panel[1]) for panels in rows for panel in panels)
    columns = min(most, COLUMNS)
    lines = math.ceil(most / columns)
    shapes = [np.shape(panel[0]) for panels in rows for panel in panels]
    tall = min(1, max(height / width for height, width, *_ in shapes))
    line = 1.55 * tall + _LINE * max(text, 3) + 0.03 + (_BAR + _GAP) * bool(blocks)
    width, height = 1.55 * columns + 0.1, line * lines * len(rows) + 0.1
    legend_columns = max(1, min(len(blocks), int(width / 1.2)))
    if blocks:
        height += 0.25 + 0.2 * math.ceil(len(blocks) / legend_columns)
    figure = new_figure(figsize=figsize or (width, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.06)
    axes = figure.subplots(lines * len(rows), columns, squeeze=False)
    colors = block_colors(blocks)
    low = shares.clip(upper=0).sum(axis=1).min()
    high = shares.clip(lower=0).sum(axis=1).max()
    for places, panels in zip(axes.reshape(len(rows), -1), rows, strict=True):
        for ax, (image, caption, color, part) in zip(places, panels, strict=False):
            show(ax, image, caption, color)
            ax.set_anchor("S")  # from elsewhere the layout keeps too little for text
            if blocks:
                ax.xaxis.labelpad += (_BAR + _GAP) * 72
            if part:
                _bar(ax, part, low, high if high > low else low + 1, colors)
        for ax in places[len(panels) :]:
            ax.remove()
    if blocks:
        figure.legend(
            handles=[
                Patch(color=c, label=n) for n, c in zip(blocks, colors, strict=True)
            ],
            title=_shares_of(matches)
            + ("\n" if columns < 2 else " ")
            + f"(full bar: {high - low:.3g})",
            loc="outside lower center",
            ncols=legend_columns,
            fontsize=8,
            title_fontsize=8,
            frameon=False,
            handlelength=1,
        )
    return figure
