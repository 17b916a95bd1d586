"""Figures of matches, collections, clusters, embeddings, scores and training."""

from .boxes import boxes, tiles
from .classification import confusion_matrix, learning_curve, reliability
from .clusters import elbow_plot, suggest_elbow
from .comparison import comparison, side_by_side
from .convolution import activations, filters
from .embedding import embedding_animation, embedding_plot
from .matches import plot_matches
from .panels import save_figure, save_pages
from .projection import project_vectors
from .rows import rows
from .samples import sample_sheet
from .strip import strip
from .trials import trial_sheet

__all__ = ["Plots", "project_vectors", "save_figure", "save_pages", "suggest_elbow"]


class Plots:
    """Figures of models, answers and collections.

    Every method returns a `matplotlib.figure.Figure` and shows nothing by itself: a
    notebook shows it as the last line of a cell, a script saves it with ``savefig``.
    Once ``matplotlib.pyplot`` is imported, the figure is also pyplot's current one, so
    that ``plt.savefig`` and ``plt.gcf`` find it in the same cell. pyplot keeps the last
    of these figures only, and none once a notebook has shown it: none leak.
    """

    plot_matches = staticmethod(plot_matches)
    boxes = staticmethod(boxes)
    tiles = staticmethod(tiles)
    rows = staticmethod(rows)
    strip = staticmethod(strip)
    embedding_plot = staticmethod(embedding_plot)
    embedding_animation = staticmethod(embedding_animation)
    elbow_plot = staticmethod(elbow_plot)
    sample_sheet = staticmethod(sample_sheet)
    confusion_matrix = staticmethod(confusion_matrix)
    reliability = staticmethod(reliability)
    learning_curve = staticmethod(learning_curve)
    filters = staticmethod(filters)
    activations = staticmethod(activations)
    trial_sheet = staticmethod(trial_sheet)
    comparison = staticmethod(comparison)
    side_by_side = staticmethod(side_by_side)
