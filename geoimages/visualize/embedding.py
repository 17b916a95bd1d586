"""Maps of feature vectors, colored by class."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage, TextArea, VPacker
from mpl_toolkits.mplot3d.proj3d import proj_transform
from PIL import Image
from sklearn.utils import check_random_state

from ..files import atomic_path, progress
from .panels import (
    CLASS_COLORS,
    LINE_COLOR,
    forget,
    new_figure,
    opaque,
    shorten,
    shrunk,
)
from .projection import check_vectors, project_vectors

_NAMES = {"svd": "SVD", "pca": "PCA", "tsne": "t-SNE"}
_MARKERS = "o^sDvP*X"
_UNLABELED = "no label"
_UNLABELED_COLOR = "#d0d0d0"
_TSNE_POINTS = 3_000  # about ten seconds on one core
_LEGEND_LINE = 0.185  # inches
_RASTER_POINTS = 2_000  # more points as vector graphics are slow to display


def _check_labels(labels, n):
    """Return labels as strings (n,) or None, and the sorted classes."""
    if labels is None:
        return None, []
    labels = pd.Series(labels).reset_index(drop=True) if np.ndim(labels) == 1 else []
    if len(labels) != n:
        raise ValueError(
            f"Give one label for each vector, got {n:,} vectors and {len(labels):,} "
            "labels."
        )
    missing = labels.isna() | (labels.astype(str) == "")
    known = labels[~missing]
    try:
        classes = sorted(known.unique())
    except TypeError:  # numbers beside words
        classes = sorted(known.unique(), key=str)
    names = labels.astype(str).mask(missing, _UNLABELED).to_numpy(object)
    return names, [str(name) for name in classes] + [_UNLABELED] * bool(missing.any())


def _style(classes):
    """A color and a marker for each class; colors repeat with another marker."""
    style = {
        name: (
            CLASS_COLORS[i % len(CLASS_COLORS)],
            _MARKERS[i // len(CLASS_COLORS) % len(_MARKERS)],
        )
        for i, name in enumerate(classes)
    }
    if _UNLABELED in style:
        style[_UNLABELED] = (_UNLABELED_COLOR, "o")
    return style


def _sample(n, most, rng):
    """Draw up to `most` of n positions at random, sorted."""
    if most is not None and most < 1:
        raise ValueError(f"max_points must be 1 or more, got {most!r}.")
    if most is None or n <= most:
        return np.arange(n)
    return np.sort(rng.permutation(n)[:most])


def _scatter(ax, points, labels, style, rng):
    """Draw points in a random order, so that no class hides another."""
    n, n_components = points.shape
    size, alpha = np.clip(14_000 / n, 3, 36), np.clip(30 / np.sqrt(n), 0.25, 0.85)
    if n_components == 3:
        alpha = 1  # depth shading makes distant points fainter
    order = rng.permutation(n)
    if labels is None:
        colors, markers = np.full(n, LINE_COLOR, object), np.full(n, "o", object)
    else:
        colors, markers = np.array([style[name] for name in labels], object).T
    for marker in pd.unique(markers):
        some = order[markers[order] == marker]
        ax.scatter(
            *points[some].T,
            c=colors[some].tolist(),
            marker=marker,
            s=size,
            alpha=alpha,
            linewidths=0,
            rasterized=n > _RASTER_POINTS,
        )


def _handles(labels, style, most):
    """What a legend of up to `most` lines names: the classes, or the largest of them."""
    counts = pd.Series(labels).value_counts()
    names = [name for name in style if name in counts]
    hidden = max(0, len(names) - most + 1) if len(names) > most else 0
    shown = set(counts.index[: len(names) - hidden])
    handles = [
        Line2D(
            [],
            [],
            color=style[name][0],
            marker=style[name][1],
            ls="",
            label=f"{shorten(name, 24)} ({counts[name]:,})",
        )
        for name in names
        if name in shown
    ]
    more = Line2D([], [], ls="", label=f"and {hidden} smaller classes")
    return handles + [more] * bool(hidden)


def _legend(ax, labels, style, own, widest):
    """Name the classes, and how many points each has, beside the map.

    In a figure of its own the legend gets a place at the right, up to `widest` inches:
    its width.
    """
    figure = ax.figure
    height = (figure if own else ax).get_window_extent().height / figure.dpi
    lines = max(4, int((height - 0.3) / _LEGEND_LINE))
    place = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)}
    if own:
        place = {"loc": "outside right center" if ax.name != "3d" else "center right"}
    for columns in (3, 2, 1):
        handles = _handles(labels, style, columns * lines)
        legend = (figure if own else ax).legend(
            handles=handles,
            ncols=1 + (len(handles) - 1) // lines,
            frameon=False,
            fontsize=8,
            handletextpad=0.2,
            columnspacing=1.2,
            **place,
        )
        width = legend.get_window_extent().width / figure.dpi
        if width <= widest or columns == 1:
            return width
        legend.remove()
    return 0


def _limits(points, margin):
    """Limits of two axes of one scale, and not too narrow: (low, high) of each."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.maximum(high - low, 0.6 * np.max(high - low)) * (1 + 2 * margin)
    span = np.where(span > 0, span, 1)
    middle = (low + high) / 2
    return np.stack([middle - span / 2, middle + span / 2], axis=1)


def _arrange(ax, legend, figsize):
    """Size the figure so that map and legend, some inches wide, fill it."""
    figure, width, height = ax.figure, 5.4, 4.4
    if ax.name != "3d":
        wide, high = np.ptp([ax.get_xlim(), ax.get_ylim()], axis=1)
        width, height = 5.6, min(5.6 * high / wide, 6.2)
    width, height = figsize or (width + legend, height)
    figure.set_size_inches(width, height)
    if ax.name == "3d":  # constrained layout does not see the labels of its axes
        top = 1 - 0.3 * bool(ax.get_title(loc="left")) / height
        ax.set_position([0, 0, 1 - legend / width, top])
        span = np.ptp([ax.get_xlim(), ax.get_ylim(), ax.get_zlim()], axis=1)
        ax.set_box_aspect(span, zoom=min(0.9, 0.75 * (width - legend) / height / top))


def _equal_box(ax):
    """Use one scale for three axes, with a margin around flat point clouds."""
    limits = np.array([ax.get_xlim(), ax.get_ylim(), ax.get_zlim()])
    middle, span = limits.mean(axis=1), np.ptp(limits, axis=1)
    span = np.maximum(span, span.max() / 4)
    for name, low, high in zip(
        "xyz", middle - span / 2, middle + span / 2, strict=True
    ):
        getattr(ax, f"set_{name}lim")(low, high)
    ax.set_box_aspect(span)


def _dress(ax, method, n_components, drawn, n, limits):
    """Label the axes; their units have no meaning, so ticks are removed."""
    for side, name in enumerate("xyz"[:n_components]):
        getattr(ax, f"set_{name}label")(f"{_NAMES[method]} {side + 1}", labelpad=4)
        getattr(ax, f"set_{name}ticks")([])
    if drawn < n:
        ax.set_title(
            f"{drawn:,} of {n:,} points, chosen at random", fontsize=9, loc="left"
        )
    if n_components == 3:
        _equal_box(ax)
        for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
            axis.set_pane_color("#f4f4f4")
            axis.line.set_color("#bbbbbb")
            axis.labelpad = -8
    else:
        ax.set(xlim=limits[0], ylim=limits[1], aspect="equal")
        ax.spines[:].set_color("#bbbbbb")


def _spaced(places, side, most):
    """Pick up to `most` places (n, 2), in their order, `side` or more apart."""
    kept = []
    for i, place in enumerate(places):
        if len(kept) == most:
            break
        if not kept or (abs(places[kept] - place).max(axis=1) >= side).all():
            kept.append(i)
    return kept


def _thumbnail(image):
    """A small uint8 RGB picture."""
    image = opaque(image)
    if image.dtype != np.uint8:
        image = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    if image.ndim == 2:
        image = np.stack([image] * 3, axis=2)
    return shrunk(image, 96)


def _add_thumbnails(ax, points, images, positions, colors, names, most, rng):
    """Draw pictures at some of the points, named or not, so that none covers another."""
    figure = ax.figure
    figure.draw_without_rendering()  # fixes the position of the axes
    share = 0.2  # of the map that is covered
    if points.shape[1] == 3:
        points = np.stack(proj_transform(*points.T, ax.get_proj())[:2], axis=1)
        share = 0.1
    box = ax.get_window_extent()
    side = np.sqrt(share * box.width * box.height / most) / figure.dpi * 72  # points
    side = float(np.clip(side, 14, 36))
    order = rng.permutation(len(points))
    places = ax.transData.transform(points[order]) / figure.dpi * 72
    room = side + 5 if names is None else max(side + 14, 42)
    for i in order[_spaced(places, room, most)]:
        picture = _thumbnail(images[int(positions[i])])
        zoom = side / max(picture.shape[:2])
        smooth = "nearest" if max(picture.shape[:2]) <= 64 else "auto"
        shown = OffsetImage(picture, zoom=zoom, interpolation=smooth)
        if names is not None:
            text = TextArea(shorten(names[i], 14), textprops={"size": 5})
            shown = VPacker(children=[shown, text], align="center", pad=0, sep=1)
        frame = {"edgecolor": colors[i], "linewidth": 1.5}
        ax.add_artist(
            AnnotationBbox(shown, points[i], pad=0.05, bboxprops=frame, zorder=5)
        )


def embedding_plot(
    vectors,
    labels=None,
    method="svd",
    n_components=2,
    *,
    images=None,
    n_thumbnails=60,
    max_points=None,
    random_state=0,
    figsize=None,
    ax=None,
):
    """Draw a map of feature vectors, one point per picture.

    Parameters
    ----------
    vectors : array-like of shape (n, n_features)
        Features or embeddings.
    labels : array-like of shape (n,), optional
        Classes, which color the points; None, NaN and "" are shown as no label. The
        legend names as many as find room, the largest.
    method : {"svd", "pca", "tsne"}, default="svd"
        How the vectors are projected, see `project_vectors`.
    n_components : {2, 3}, default=2
        Dimensions of the map.
    images : Collection or ndarray of shape (n, height, width, channels), optional
        The pictures of the vectors; some are drawn at their points, framed in the color
        of their class and, where classes share colors, named.
    n_thumbnails : int, default=60
        How many at most; fewer where they would cover each other.
    max_points : int, optional
        Draw a random sample of so many; the title says so. By default all points
        are drawn, but 3,000 under t-SNE, whose time grows with them.
    random_state : int, RandomState or None, default=0
        Seed of the sample, the projection and the choice of pictures.
    figsize : tuple of float, optional
        Width and height, in inches; as large as map and legend need by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw; 3-D axes for a map of three dimensions.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If `vectors` is not a table of finite numbers, the lengths of labels or images
        differ, or a setting is unknown.

    Examples
    --------
    >>> from geoimages import ColorFeatures, Plots, make_rocks
    >>> images, labels = make_rocks(60, random_state=0)
    >>> vectors = ColorFeatures().fit_transform(images)
    >>> figure = Plots.embedding_plot(vectors, labels, method="pca")
    >>> figure.axes[0].get_xlabel()
    'PCA 1'
    """
    vectors = check_vectors(vectors)
    n = len(vectors)
    labels, classes = _check_labels(labels, n)
    if images is not None and len(images) != n:
        raise ValueError(
            f"Give one picture for each vector, got {n:,} vectors and "
            f"{len(images):,} pictures."
        )
    rng = check_random_state(random_state)
    if max_points is None and method == "tsne":
        max_points = _TSNE_POINTS
    chosen = _sample(n, max_points, rng)
    seed = rng.randint(2**31 - 1)
    points = project_vectors(vectors[chosen], method, n_components, random_state=seed)
    own = ax is None
    if own:
        flat = n_components == 2
        figure = new_figure(figsize=figsize, layout="constrained" if flat else None)
        ax = figure.add_subplot(projection=None if flat else "3d")
    elif (n_components == 3) != (ax.name == "3d"):
        raise ValueError(
            f"A map of {n_components} dimensions cannot be drawn on {ax.name!r} axes; "
            "create them with projection='3d' for three dimensions only."
        )
    labels = None if labels is None else labels[chosen]
    style = _style(classes)
    _scatter(ax, points, labels, style, rng)
    limits = _limits(points[:, :2], 0.04 if images is None else 0.08)
    _dress(ax, method, n_components, len(chosen), n, limits)
    if own:
        _arrange(ax, 0, figsize)
    if labels is not None:
        widest = (0.5 if figsize else 1) * ax.figure.get_figwidth()
        legend = _legend(ax, labels, style, own, widest)
        if own:
            _arrange(ax, legend, figsize)
    if images is not None and n_thumbnails > 0:
        colors, names = [LINE_COLOR] * len(points), None
        if labels is not None:
            colors = [style[name][0] for name in labels]
            # Where colors come again, a frame does not tell the class.
            names = labels if len(style) > len(CLASS_COLORS) else None
        _add_thumbnails(ax, points, images, chosen, colors, names, n_thumbnails, rng)
    return ax.figure


def _to_gif(frames, path, duration):
    """Write RGB frames (h, w, 3) as a looping GIF."""
    pictures = [Image.fromarray(frame) for frame in frames]
    # One palette for all frames, or the colors would flicker.
    some = np.concatenate(frames[:: max(1, len(frames) // 8)])
    palette = Image.fromarray(some).quantize(128, dither=Image.Dither.NONE)
    colors = np.array(palette.getpalette()).reshape(-1, 3)
    colors[colors.min(axis=1) > 246] = 255  # the page is white, not nearly so
    palette.putpalette(colors.ravel().tolist())
    pictures = [
        picture.quantize(palette=palette, dither=Image.Dither.NONE)
        for picture in pictures
    ]
    pictures[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=duration,
        loop=0,
    )


def embedding_animation(
    path,
    vectors,
    labels=None,
    method="svd",
    *,
    n_frames=60,
    fps=12,
    max_points=2_000,
    random_state=0,
    figsize=None,
    dpi=90,
):
    """Write a rotating map of three dimensions as a GIF.

    Parameters
    ----------
    path : str or path-like
        The file to write, ending in ``.gif``; written atomically.
    vectors, labels, method :
        As in `embedding_plot`.
    n_frames : int, default=60
        Frames per rotation of 360°.
    fps : float, default=12
        Frames per second, from 1 to 50; the format rounds frame times to 0.01 s.
    max_points : int or None, default=2000
        Draw a random sample of this size, stated in the title; None for all.
    random_state : int, RandomState or None, default=0
        As in `embedding_plot`.
    figsize : tuple of float, optional
        Width and height, in inches; as large as map and legend need by default.
    dpi : int, default=90
        Pixels per inch.

    Returns
    -------
    path : Path
        The file.

    Raises
    ------
    ValueError
        If `path` has another suffix, or `n_frames` or `fps` is out of range.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from geoimages import ColorFeatures, Plots, make_rocks
    >>> images, labels = make_rocks(60, random_state=0)
    >>> vectors = ColorFeatures().fit_transform(images)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "map.gif"
    >>> Plots.embedding_animation(path, vectors, labels, n_frames=4).name
    'map.gif'
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"path must end in .gif, got {str(path)!r}.")
    if n_frames < 2:
        raise ValueError(f"n_frames must be 2 or more, got {n_frames!r}.")
    if not 1 <= fps <= 50:
        raise ValueError(f"fps must be from 1 to 50, got {fps!r}.")
    if method == "tsne" and max_points is None:
        max_points = len(vectors)
    figure = embedding_plot(
        vectors,
        labels,
        method,
        3,
        max_points=max_points,
        random_state=random_state,
        figsize=figsize,
    )
    figure.set_dpi(dpi)
    canvas, (ax,) = FigureCanvasAgg(figure), figure.axes
    frames = []
    for i in progress(range(n_frames), desc="drawing", unit="frame"):
        ax.view_init(elev=20, azim=360 * i / n_frames)
        canvas.draw()
        frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    forget(figure)
    with atomic_path(path) as temporary:
        _to_gif(frames, temporary, duration=10 * round(100 / fps))
    return path
