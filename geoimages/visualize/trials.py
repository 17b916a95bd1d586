"""The sheet of a blind trial: a query and two anonymous answers."""

import math

from matplotlib.lines import Line2D

from .panels import CANDIDATE_COLOR, MUTED_COLOR, Gallery, new_figure, show


def trial_sheet(query, left, right, metadata, title="", *, figsize=None):
    """Show a query and two answers side by side for a blind vote.

    No names, labels or distances are shown, as they would bias the vote.

    Parameters
    ----------
    query : str or ndarray
        The query's key, its picture (height, width, channels) or its flat row.
    left, right : sequence of str
        Keys of the answers, best first; numbered by rank, row by row.
    metadata : dict or Collection
        Source of the pictures: the result of `Images.generate_image_metadata`, or a
        collection.
    title : str, default=""
        A line above the query, for example the number of the trial.
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
        If a side is empty.
    """
    if not len(left) or not len(right):
        raise ValueError(
            f"Each side needs at least one picture, got {len(left)} left and "
            f"{len(right)} right."
        )
    gallery = Gallery(metadata)
    most = max(len(left), len(right))
    columns = most if most <= 3 else math.ceil(math.sqrt(most))
    lines = math.ceil(most / columns)
    # A column half as wide as a picture separates the sides. The query has the same
    # size as the answers, so that grain is compared at one scale.
    widths = [1] * columns + [0.5] + [1] * columns
    size = figsize or (1.45 * sum(widths) + 0.2, 1.6 * (lines + 1) + 0.6)
    figure = new_figure(figsize=size)
    grid = figure.add_gridspec(
        lines + 1,
        len(widths),
        width_ratios=widths,
        left=0.02,
        right=0.98,
        bottom=0.03,
        top=1 - 0.5 / size[1],
        wspace=0.06,
        hspace=0.25,
    )
    figure.suptitle(
        title, fontsize=9, color=MUTED_COLOR, y=1 - 0.08 / size[1], va="top"
    )
    ax = figure.add_subplot(grid[0, :])
    show(ax, gallery.picture(query, like=left[0]), color=CANDIDATE_COLOR)
    ax.set_title(
        "which side is more similar to this?", fontsize=10, color=CANDIDATE_COLOR
    )
    for name, keys, first in (("LEFT", left, 0), ("RIGHT", right, columns + 1)):
        for i, key in enumerate(keys):
            line, column = divmod(i, columns)
            ax = figure.add_subplot(grid[line + 1, first + column])
            show(ax, gallery.image(key))
            ax.set_title(str(i + 1), fontsize=7, color=MUTED_COLOR, pad=2, loc="left")
        place = grid[1, first : first + columns].get_position(figure)
        middle, top = (place.x0 + place.x1) / 2, place.y1 + 0.2 / size[1]
        figure.text(middle, top, name, ha="center", va="bottom", weight="bold")
    between = grid[1:, columns].get_position(figure)
    x = (between.x0 + between.x1) / 2
    line = Line2D([x, x], [between.y0, between.y1], color=MUTED_COLOR, linewidth=0.8)
    figure.add_artist(line)
    return figure
