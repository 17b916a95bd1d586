"""Figures that compare models: scores, differences, overlap, matches."""

import textwrap

import numpy as np
import pandas as pd

from .panels import CANDIDATE_COLOR, LINE_COLOR, MUTED_COLOR, Gallery, new_figure, show

_MARKERS = "osD^vP*X"
_COLORS = (
    LINE_COLOR,
    CANDIDATE_COLOR,
    "#6f8f3a",
    "#c89b2b",
    "#7b5aa6",
    "#444444",
    "#2aa198",
    "#d16ba5",
)
_MOST_PAIRS = 3


def _offsets(n, spread=0.52):
    """Offsets of n marks around one line, from the top down: (n,)."""
    return np.linspace(-spread / 2, spread / 2, n) if n > 1 else np.zeros(1)


def _bars(ax, rows, value, y, *, color, marker="o", hollow=(), label=None):
    """Draw values with their intervals, one at each height."""
    ax.hlines(y, rows["low"], rows["high"], color=color, linewidth=1.8)
    face = [color] * len(rows)
    for i in np.flatnonzero(hollow):
        face[i] = "white"
    ax.scatter(
        rows[value],
        y,
        s=30,
        marker=marker,
        c=face,
        edgecolors=color,
        zorder=3,
        clip_on=False,
    )
    ax.plot([], [], color=color, marker=marker, label=label)


def _rows(ax, names):
    """Label the rows of an axis, the first on top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    for border in range(1, len(names)):
        ax.axhline(border - 0.5, color=MUTED_COLOR, linewidth=0.4, alpha=0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)


def _shown_measures(result, measures):
    """Validate the measures to draw."""
    known = list(result.scores["measure"].unique())
    if measures is None:
        # Recall at a small k is close to 0 for large classes.
        deepest = [name for name in known if name.startswith("nDCG@")][-1:]
        measures = [
            name
            for name in known
            if not name.startswith(("recall@", "nDCG@")) or name in deepest
        ]
    measures = [measures] if isinstance(measures, str) else list(measures)
    unknown = [name for name in measures if name not in known]
    if unknown or not measures:
        raise ValueError(
            f"measures={measures!r} must be among those compared: {', '.join(known)}."
        )
    return measures


def _shown_pairs(result):
    """All pairs of a few models; of many, the pairs with the best model."""
    table = result.overlap[["model", "other"]].drop_duplicates()
    pairs = list(table.itertuples(index=False, name=None))
    if len(pairs) <= _MOST_PAIRS or not len(result.scores):
        return pairs
    means = result.scores[result.scores["measure"] == result.measure]
    best = means.loc[means["mean"].idxmax(), "model"]
    return [pair for pair in pairs if best in pair]


def _duration(milliseconds):
    """Format a time with two digits, in milliseconds or seconds."""
    seconds = milliseconds >= 1000
    value = milliseconds / 1000 if seconds else milliseconds
    number = f"{value:.2g}" if value < 10 else f"{value:,.0f}"
    return f"{number} {'s' if seconds else 'ms'}"


def _draw_scores(ax, result, measures):
    offsets = _offsets(len(result.models))
    for i, name in enumerate(result.models):
        rows = result.scores[result.scores["model"] == name].set_index("measure")
        y = np.arange(len(measures)) + offsets[i]
        duration = _duration(result.costs.loc[name, "batch_ms"])
        label = f"{name} ({duration} per query)"
        _bars(
            ax,
            rows.loc[measures],
            "mean",
            y,
            color=_COLORS[i % len(_COLORS)],
            label=label,
        )
    _rows(ax, measures)
    ax.set(xlabel=f"mean of {result.n_queries:,} queries", title="Scores")


def _draw_differences(ax, result, measures, pairs):
    offsets = _offsets(len(pairs))
    table = result.differences.set_index(["model", "other", "measure"])
    for i, (model, other) in enumerate(pairs):
        rows = table.loc[[(model, other, measure) for measure in measures]].copy()
        if rows["difference"].iloc[0] < 0:  # the better one first
            rows[["difference", "low", "high"]] = -rows[["difference", "high", "low"]]
            model, other = other, model
        y = np.arange(len(measures)) + offsets[i]
        _bars(
            ax,
            rows,
            "difference",
            y,
            color="#333333",
            marker=_MARKERS[i % len(_MARKERS)],
            hollow=rows["p_corrected"] >= 1 - result.confidence,
            label=f"{model} − {other}",
        )
    ax.axvline(0, color=MUTED_COLOR, linewidth=1)
    _rows(ax, [""] * len(measures))
    n_pairs = len(result.overlap[["model", "other"]].drop_duplicates())
    hollow = "hollow: not certain"
    if n_pairs > 1:
        hollow += f" after the correction for {n_pairs} pairs"
    ax.plot([], [], " ", label=hollow)
    ax.set(xlabel="paired difference", title="Differences")


def _draw_overlap(ax, result, pairs):
    measures = list(result.overlap["measure"].unique())
    offsets = _offsets(len(pairs))
    table = result.overlap.set_index(["model", "other", "measure"])
    for i, pair in enumerate(pairs):
        rows = table.loc[[(*pair, measure) for measure in measures]]
        y = np.arange(len(measures)) + offsets[i]
        _bars(
            ax,
            rows,
            "mean",
            y,
            color="#333333",
            marker=_MARKERS[i % len(_MARKERS)],
            label=" – ".join(pair),
        )
    _rows(ax, measures)
    ax.set(xlabel="overlap of the answers", xlim=(-0.02, 1.02), title="Overlap")


def comparison(result, measures=None, *, figsize=None):
    """Plot the scores, paired differences and overlap of several models.

    Parameters
    ----------
    result : Comparison
        As returned by `compare`.
    measures : str or list of str, optional
        The measures to show; by default all but recall at k, and nDCG at the largest
        k only.
    figsize : tuple of float, optional
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Scores, paired differences (hollow if not certain after the correction for the
        number of pairs) and overlap, with their intervals; without labels only the
        overlap. For more than three models, the differences from the best one.

    Raises
    ------
    ValueError
        If a measure was not compared.

    Examples
    --------
    >>> from geoimages import KMeansModel, PairwiseModel, Plots, compare, make_rocks
    >>> images, labels = make_rocks(120, random_state=0)
    >>> models = {"pairwise": PairwiseModel(), "kmeans": KMeansModel(random_state=0)}
    >>> result = compare(models, images[80:], labels[80:], X=images[:80], y=labels[:80])
    >>> figure = Plots.comparison(result)
    >>> [ax.get_title() for ax in figure.axes]
    ['Scores', 'Differences', 'Overlap']
    """
    pairs = _shown_pairs(result)
    labeled = len(result.scores) > 0
    lines = result.overlap["measure"].nunique()
    if labeled:
        measures = _shown_measures(result, measures)
        lines = max(lines, len(measures))
    per_line = 0.2 + 0.13 * max(len(result.models), len(pairs))
    legend = 0.2 * max(len(result.models), len(pairs) + labeled)
    size = figsize or (12 if labeled else 7, 2 + legend + per_line * lines)
    figure = new_figure(figsize=size, layout="constrained")
    width = int(size[0] * 10.5)
    figure.suptitle(
        textwrap.fill(result.verdict, width), fontsize=10, x=0.01, ha="left"
    )
    if labeled:
        axes = figure.subplots(1, 3, width_ratios=[1.15, 1, 0.8])
        _draw_scores(axes[0], result, measures)
        _draw_differences(axes[1], result, measures, pairs)
    else:
        axes = [figure.subplots()]
    _draw_overlap(axes[-1], result, pairs)
    for ax in axes:
        ax.title.set_fontsize(11)
        ax.legend(
            frameon=False,
            fontsize=8,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.9 / size[1]),
        )
    return figure


def side_by_side(candidate, models, metadata, k_candidates=6, *, figsize=None):
    """Show the matches of one candidate from several models, one row per model.

    Parameters
    ----------
    candidate : str or ndarray
        Key of a stored picture, a picture (height, width, channels) or a flat row.
    models : dict of str to similarity model
        Fitted models by name.
    metadata : dict or Collection
        Where the pictures are, as for `Plots.plot_matches`.
    k_candidates : int, default=6
        Number of matches.
    figsize : tuple of float, optional
        Width and height, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        If the candidate is a key, matches with its label have a thick frame.

    Raises
    ------
    KeyError
        If a key is not in `metadata`, or not stored in a model.
    TypeError
        If `models` is not a dict.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from geoimages import Collection, KMeansModel, PairwiseModel, Plots, make_rocks
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.h5"
    >>> rocks = Collection.from_arrays(path, *make_rocks(60, random_state=0))
    >>> models = {
    ...     "pairwise": PairwiseModel().fit(rocks),
    ...     "kmeans": KMeansModel(random_state=0).fit(rocks),
    ... }
    >>> figure = Plots.side_by_side(rocks.keys[0], models, rocks, 4)
    >>> len(figure.axes)
    9
    """
    if not isinstance(models, dict) or not models:
        raise TypeError(f"models must be a dict {{'name': model}}, got {models!r}.")
    gallery = Gallery(metadata)
    tables = {
        name: model.predict(candidate, k_candidates) for name, model in models.items()
    }
    for table in tables.values():
        if isinstance(table.index, pd.MultiIndex):
            raise ValueError(
                "candidate must be one key, picture or flat row, not a batch."
            )
    label = gallery.label(candidate) if isinstance(candidate, str) else ""
    columns = 1 + max(map(len, tables.values()))
    size = figsize or (1.55 * columns + 0.4, 1.95 * len(tables) + 0.4)
    figure = new_figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(tables), columns, squeeze=False)
    caption = ["candidate"]
    caption += gallery.name(candidate) if isinstance(candidate, str) else []
    like = next(iter(tables.values())).index[0]
    show(axes[0, 0], gallery.picture(candidate, like), caption, CANDIDATE_COLOR)
    for row, (name, table) in zip(axes, tables.items(), strict=True):
        for ax, (key, similarity) in zip(
            row[1:], table["similarity"].items(), strict=False
        ):
            lines = [*gallery.name(key), f"similarity {similarity:.3f}"]
            show(ax, gallery.image(key), lines)
            if label and gallery.label(key) == label:
                for spine in ax.spines.values():
                    spine.set(color=LINE_COLOR, linewidth=2.5)
        for ax in row[1 + len(table) :]:
            ax.remove()
        row[1].set_ylabel(name, fontsize=11)
    for ax in axes[1:, 0]:
        ax.remove()
    if label:
        figure.suptitle(f"thick frame: {label}, the candidate's class", fontsize=9)
    return figure
