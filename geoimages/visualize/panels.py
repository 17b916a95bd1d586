"""Shared parts of figures: colors, pictures by key, captioned panels."""

import math
import sys
import threading
from io import BytesIO
from pathlib import Path

import matplotlib.figure
import numpy as np

from ..etl import class_of
from ..files import atomic_path
from ..pictures.reading import read_image
from ..pictures.resizing import resize_image
from ..pictures.scaling import check_scale, on_white
from ..pictures.validation import infer_image_shape

_NAME = "geoimages"  # of the current figure, to pyplot
CANDIDATE_COLOR = "#b5402a"
LINE_COLOR = "#2f5d7c"
MUTED_COLOR = "#888888"
# Petroff (2021), Accessible color sequences for data visualization, arXiv:2107.02270:
# distinguishable with color vision deficiencies, as dots and as bars.
CLASS_COLORS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadb",
)
BLOCK_COLORS = dict(
    zip(("color", "tone", "texture", "hog", "conv"), CLASS_COLORS, strict=False)
)  # of blocks of features, the same in all figures
_MOST_PIXELS = 512  # of a side of a picture as it is drawn
_CAPTION = 24  # characters of a caption's line below a panel
COLUMNS = 7  # more panels in a row would be illegible on a page


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows once, whether or not pyplot is in use."""

    def _repr_png_(self):
        file = BytesIO()
        self.savefig(file, format="png", bbox_inches="tight")
        return file.getvalue()

    def _ipython_display_(self):
        from IPython.display import display

        shown = {"image/png": self._repr_png_(), "text/plain": repr(self)}
        display(shown, raw=True)
        forget(self)  # or the end of the cell would show it again


def new_figure(**options):
    """Make a figure, and pyplot's current one where pyplot is in use.

    pyplot keeps the last figure only, so that none leak.
    """
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or threading.current_thread() is not threading.main_thread():
        return Figure(**options)
    pyplot.close(_NAME)
    return pyplot.figure(_NAME, FigureClass=Figure, **options)


def forget(figure):
    """Let pyplot go of a figure."""
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(figure)


def shorten(text, most=18):
    text = str(text)
    return text if len(text) <= most else f"{text[: most - 9]}…{text[-8:]}"


def caption_lines(text, most=_CAPTION):
    """Break a long name into two lines, after a sign if there is one; cut longer ones."""
    text = shorten(text, 2 * most)
    if len(text) <= most:
        return [text]
    signs = [i + 1 for i, sign in enumerate(text[:most]) if not sign.isalnum()]
    place = max((i for i in signs if len(text) - i <= most), default=most)
    return [text[:place].strip(), text[place:].strip()]


def block_colors(names):
    """A color for each block of features."""
    others = [color for color in CLASS_COLORS if color not in BLOCK_COLORS.values()]
    unknown = [name for name in names if name not in BLOCK_COLORS]
    return [
        BLOCK_COLORS[name]
        if name in BLOCK_COLORS
        else others[unknown.index(name) % len(others)]
        for name in names
    ]


class Gallery:
    """Pictures and labels by key, from files or from a collection."""

    def __init__(self, metadata):
        self.metadata = metadata
        self.in_files = isinstance(metadata, dict)
        if self.in_files and "images" not in metadata:
            raise ValueError(
                "metadata must be what generate_image_metadata returns, with 'images'; "
                f"got a dict of {sorted(metadata)[:5]}."
            )

    def __contains__(self, key):
        known = self.metadata["images"] if self.in_files else self.metadata._position
        return key in known

    def image(self, key):
        if not self.in_files:
            return self.metadata[key]
        return read_image(self._about(key)["file_path"])

    def picture(self, shown, like):
        """Return a candidate as a picture; a flat row gets the shape of `like`."""
        if isinstance(shown, str):
            return self.image(shown)
        image = np.asarray(shown)
        if image.ndim == 1:
            shape = self.image(like).shape
            stated = shape if math.prod(shape) == image.size else None
            image = image.reshape(infer_image_shape(image.size, stated))
        return image

    def label(self, key):
        if not self.in_files:
            return str(self.metadata.labels[self.metadata.position(key)])
        self._about(key)
        return class_of(self.metadata, key)

    def name(self, key):
        """Caption of a picture: its key, and its label if not part of the key."""
        label = self.label(key)
        told = not label or str(key).startswith(f"{label}.")
        return caption_lines(key) + ([] if told else caption_lines(label))

    def _about(self, key):
        try:
            return self.metadata["images"][key]
        except KeyError:
            raise KeyError(f"{key!r} is not in the metadata's images.") from None


def opaque(image):
    """Return a picture for display: grey (h, w) or RGB (h, w, 3), masked on white."""
    image = check_scale(np.asarray(image))
    if image.ndim == 3 and image.shape[2] == 4:
        return on_white(image)
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image


def shrunk(image, most=_MOST_PIXELS):
    """A picture no larger than a figure can show, in its own aspect."""
    scale = most / max(image.shape[:2])
    if scale >= 1 or image.dtype != np.uint8 or image.ndim != 3:
        return image
    size = tuple(max(1, round(scale * side)) for side in image.shape[:2])
    return resize_image(image, size, "stretch")


def show(ax, image, caption=(), color=None):
    """Draw one picture and the lines of its caption."""
    image = shrunk(opaque(image))
    # Show the pixels of small pictures; interpolate larger ones.
    smooth = "nearest" if max(image.shape[:2]) <= 64 else "auto"
    cmap = "gray" if image.ndim == 2 else None
    limit = 255 if image.dtype == np.uint8 else 1
    ax.imshow(image, interpolation=smooth, cmap=cmap, vmin=0, vmax=limit)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color=color or MUTED_COLOR, linewidth=2.5 if color else 0.5)
    ax.set_xlabel("\n".join(caption), fontsize=8, color=color or "black", labelpad=4)


def save_figure(figure, path, dpi=150):
    """Write a figure atomically, in the format of the suffix of `path`."""
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:] or "png", dpi=dpi)


def save_pages(figures, path, dpi=150):
    """Write figures: one file of pages as .pdf, else a file for each.

    Parameters
    ----------
    figures : list of matplotlib.figure.Figure
    path : Path
        ``log.png`` is followed by ``log_2.png`` and so on.
    dpi : int, default=150
        Pixels per inch.

    Returns
    -------
    paths : list of Path
        What was written.
    """
    path = Path(path)
    if path.suffix.lower() == ".pdf":
        from matplotlib.backends.backend_pdf import PdfPages

        with atomic_path(path) as temporary, PdfPages(temporary) as pages:
            for figure in figures:
                pages.savefig(figure, dpi=dpi)
        return [path]
    paths = [
        path if i == 0 else path.with_name(f"{path.stem}_{i + 1}{path.suffix}")
        for i in range(len(figures))
    ]
    for figure, file in zip(figures, paths, strict=True):
        save_figure(figure, file, dpi)
    return paths
