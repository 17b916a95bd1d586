"""Collections of tiles of core: rows straightened, each tile with hole and depth."""

from pathlib import Path

import numpy as np
import pandas as pd

from ..collection.photographs import open_photograph
from ..collection.store import Collection
from ..collection.tiles import Window, list_photographs, windows_of, write_tiles
from ..files import progress
from ..pictures.color import srgb_to_lab
from ..pictures.perspective import mapped, straight_size, straighten, to_front
from ..pictures.reading import MAX_PIXELS, ImageReadError
from .depth import as_name, check_named, depth_of, read_depths, read_intervals
from .rows import NoRowsError, path_of_rows, rows_of


class Straightened:
    """The rows of a tray, straightened and one below the other, as a photograph.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        The photograph.
    rows : ndarray of shape (n, 4, 2)
        Corners of its rows.
    info : dict
        Of the file.
    depth : Depth or None
    beds : DataFrame or None
        ``hole``, ``from``, ``to`` and ``label``.
    """

    def __init__(self, image, rows, info, depth=None, beds=None):
        self.beds = beds
        self.corners, self.info, self.depth = rows, info, depth
        self.photo_size = image.shape[:2]
        self.sizes = [straight_size(row) for row in rows]
        self.tops = np.concatenate([[0], np.cumsum([size[0] for size in self.sizes])])
        self.height, self.width = int(self.tops[-1]), max(s[1] for s in self.sizes)
        self.pixels = np.zeros((self.height, self.width, 3), np.uint8)
        for row, size, top in zip(rows, self.sizes, self.tops[:-1], strict=True):
            self.pixels[top : top + size[0], : size[1]] = straighten(image, row, size)

        self.tray = _color_of_walls(image, rows)

    def rows(self, top, bottom):
        """Pixels of some lines: (bottom - top, width, 3) uint8."""
        return self.pixels[top:bottom]

    def windows(self, side, stride, scales):
        """Windows on each row; none lies on two."""
        windows = [
            Window(int(top) + window.top, *window[1:])
            for (height, width), top in zip(self.sizes, self.tops[:-1], strict=True)
            for window in windows_of(height, width, side, stride, scales)
        ]
        return sorted(windows, key=lambda w: (w.top, w.scale, w.left))

    def places(self, windows):
        """Columns of windows: where they lie on the photograph, and how deep."""
        boxes = np.array([(w.left, w.top, w.side) for w in windows], float)
        number = np.searchsorted(self.tops, boxes[:, 1], side="right") - 1
        columns = {
            "row": (number + 1).tolist(),
            "strip_x": boxes[:, 0].tolist(),
            "strip_y": boxes[:, 1].tolist(),
            "strip_side": boxes[:, 2].tolist(),
            "strip_top": self.tops[number].tolist(),
            "row_width": [self.sizes[i][1] for i in number],
            "row_height": [self.sizes[i][0] for i in number],
            "corners": [_as_text(self.corners[i]) for i in number],
        }
        ends = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) - 0.5
        boxes_there = np.empty((len(windows), 4))
        for i in np.unique(number):
            here = number == i
            high, wide = self.sizes[i]
            x, y, side = boxes[here].T
            middle = np.stack([x + side / 2, y - self.tops[i] + side / 2], axis=-1)
            square = middle[:, None] + ends * side[:, None, None]
            back = np.linalg.inv(to_front(self.corners[i]))
            there = mapped(back, square / [wide, high])
            center = mapped(back, middle / [wide, high])
            # As large as the window's four sides are on average.
            sides = np.linalg.norm(np.roll(there, -1, axis=1) - there, axis=-1)
            size = sides.mean(axis=1)
            boxes_there[here, :2] = center - size[:, None] / 2
            boxes_there[here, 2:] = size[:, None]
        for name, values in zip(
            ("x", "y", "width", "height"), boxes_there.round(1).T, strict=True
        ):
            columns[name] = values.tolist()
        columns["photo_height"] = [self.photo_size[0]] * len(windows)
        columns["photo_width"] = [self.photo_size[1]] * len(windows)
        return columns | self._depths(boxes, number)

    def _depths(self, boxes, number):
        """Hole, box and depths of windows, empty where they are not known."""
        n = len(boxes)
        if self.depth is None:
            unknown = ("depth_from", "depth_to", "row_from", "row_to")
            return {"hole": [""] * n, "box": [""] * n} | {
                name: [np.nan] * n for name in unknown
            }
        starts, stops = self.depth.starts[number], self.depth.stops[number]
        widths = np.array([size[1] for size in self.sizes])[number]
        per_pixel = (stops - starts) / widths
        depth_from = (starts + boxes[:, 0] * per_pixel).round(4)
        depth_to = (starts + (boxes[:, 0] + boxes[:, 2]) * per_pixel).round(4)
        labels = {}
        if self.beds is not None:
            beds = self.beds[self.beds["hole"] == self.depth.hole]
            labels["label"] = _labels_of(beds, depth_from, depth_to)
        return labels | {
            "hole": [self.depth.hole] * n,
            "box": [self.depth.box] * n,
            "depth_from": depth_from.tolist(),
            "depth_to": depth_to.tolist(),
            "row_from": starts.round(4).tolist(),
            "row_to": stops.round(4).tolist(),
        }

    @property
    def why(self):
        """Reason and detail, where there is no window."""
        high = min(size[0] for size in self.sizes)
        return "too-small", f"its rows are {high} px high, less than a tile (--size)"

    def close(self):
        """Nothing is open."""


class _WithoutRows:
    """A photograph on which no rows were found."""

    height = width = 0

    def __init__(self, photo, info):
        self.info = info
        name = path_of_rows(photo).name
        self.why = "no-rows", f"no rows of core were found; give them in {name}"

    def windows(self, side, stride, scales):
        """None."""
        return []

    def close(self):
        """Nothing is open."""


def _color_of_walls(image, rows):
    """a* and b* of the tray, just beside the long sides of its rows: (2,)."""
    along = np.linspace(0.05, 0.95, 40)
    points = []
    for row in rows:
        back = np.linalg.inv(to_front(row))
        points += [
            mapped(back, np.stack([along, np.full(40, side)], axis=-1))
            for side in (-0.04, 1.04)
        ]
    x, y = np.concatenate(points).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
    if not inside.any():
        return None
    lab = srgb_to_lab(image[y[inside], x[inside]][None, :, None])[0]
    return np.median(lab[:, 0, 1:], axis=0)


def _labels_of(beds, starts, stops):
    """The label of the bed that at least half of each interval lies in, or none."""
    best, labels = np.full(len(starts), 0.5 - 1e-9), np.full(len(starts), "", object)
    for start, stop, label in zip(beds["from"], beds["to"], beds["label"], strict=True):
        share = np.minimum(stops, stop) - np.maximum(starts, start)
        share = share / (stops - starts)
        labels = np.where(share > best, label, labels)
        best = np.maximum(best, share)
    return labels.tolist()


def _as_text(corners):
    """Corners as text that a table holds: ``x y x y x y x y``."""
    return " ".join(f"{value:.1f}" for value in np.ravel(corners))


def _read(photo, max_pixels):
    """Read a photograph whole: pixels, and what is known of the file."""
    photograph = open_photograph(photo, max_pixels)
    try:
        image = photograph.rows(0, photograph.height)
        about = {"height": image.shape[0], "width": image.shape[1]}
        return image, dict(photograph.info) | about
    finally:
        photograph.close()


def tile_core(
    path,
    photos,
    depths=None,
    *,
    beds=None,
    size=96,
    stride=0.5,
    scales=(1, 2),
    keep_all=False,
    metadata=None,
    label=None,
    mm_per_px=None,
    again=False,
    max_pixels=MAX_PIXELS,
):
    """Cut photographs of core trays into tiles that know their hole and depth.

    The rows of each tray are read from the file beside it, ``TRAY.rows.json``, or found
    and written there. They are straightened, and tiles are cut along them.

    Parameters
    ----------
    path : str or path-like
        The ``.h5`` file to write, atomically.
    photos : str, path-like or list of them
        Photographs, and folders of them. Without `depths`, names of the form
        ``HOLE_BOX_FROM_TO`` (meters) tell the depth.
    depths : DataFrame or path of a CSV, optional
        Columns ``photo``, ``hole``, ``from`` and ``to`` in meters, and ``box`` if
        wanted; with a column ``row`` one line for each row. Otherwise the rows of a
        photograph share its interval in proportion to their lengths.
    beds : DataFrame or path of a CSV, optional
        Columns ``hole``, ``from``, ``to`` and ``label``: a tile of which half or more
        lies in an interval has its label.
    size : int or str, default=96
        Side of a tile in pixels of the photograph, or a length such as ``"5cm"``: the
        scale follows from the depths.
    stride, scales, keep_all, metadata, label, mm_per_px
        As in `Collection.from_tiles`.
    again : bool, default=False
        Whether to find rows even where there is a file of them, which is replaced.
    max_pixels : int, default=178_956_970
        Photographs of trays are decoded whole; larger ones are refused unread.

    Returns
    -------
    tiles : Collection
        As `Collection.from_tiles` returns it. ``x``, ``y``, ``width`` and ``height`` are
        an upright square around the tile on the photograph; ``row`` and ``strip_x`` tell
        its place on the straightened row, whose pixels it has. ``hole``, ``box``,
        ``depth_from`` and ``depth_to`` are empty where no depth is known.

    Raises
    ------
    FileNotFoundError
        If a photograph or the table of depths does not exist.
    ValueError
        If depths run backward or name no photograph, a file of rows cannot be used, a
        photograph has changed since its rows were written, or no tile is left.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> from geoimages import make_tray, tile_core
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> tray = make_tray(n_rows=3, random_state=0)
    >>> Image.fromarray(tray.image).save(folder / "BH1_1_0_3.png")
    >>> with tile_core(folder / "t.h5", folder / "BH1_1_0_3.png", size=64) as tiles:
    ...     tiles.table.groupby("row")["depth_to"].max().round(1).tolist()
    [1.0, 2.0, 3.0]
    """
    listed = list_photographs(photos)
    known = None if depths is None else read_depths(depths)
    if known is not None:
        check_named([photo for photo, _, _ in listed], known)
    if beds is not None:
        beds = read_intervals(beds, "table of beds", ("hole", "label"))
        beds["label"] = [as_name(value) for value in beds["label"]]
    found, scales_of = {}, {}
    for photo, _, _ in progress(listed, desc="finding rows", unit="photo"):
        scales_of[photo] = mm_per_px
        try:
            image, info = _read(photo, max_pixels)
            rows, _ = rows_of(photo, image, info, again)
        except (ImageReadError, NoRowsError):
            continue  # told by the ledger
        depth = depth_of(photo, rows, known)
        found[photo] = rows, depth
        if depth is not None:
            pixels = sum(straight_size(row)[1] for row in rows)
            scales_of[photo] = 1000 * (depth.stops - depth.starts).sum() / pixels

    def open_photo(photo, max_pixels):
        image, info = _read(photo, max_pixels)
        if photo not in found:
            return _WithoutRows(photo, info)
        rows, depth = found[photo]
        return Straightened(image, rows, info, depth, beds)

    write_tiles(
        path,
        photos,
        size=size,
        stride=stride,
        scales=scales,
        keep_all=keep_all,
        metadata=metadata,
        label=label,
        mm_per_px=scales_of,
        max_pixels=max_pixels,
        open_photo=open_photo,
    )
    return Collection(path)


def boxes_of(tiles):
    """Rows of core that tiles show, with their depths: DataFrame.

    Parameters
    ----------
    tiles : Collection or DataFrame
        Made by `tile_core`, or its table.

    Returns
    -------
    boxes : DataFrame
        ``hole``, ``photo``, ``row``, ``depth_from`` and ``depth_to``, in order of depth;
        rows without a depth are left out.

    Raises
    ------
    ValueError
        If the tiles know no depth.
    """
    table = check_core(tiles)
    rows = table.drop_duplicates(["lineage", "row"]).dropna(subset=["row_from"])
    rows = rows.assign(depth_from=rows["row_from"], depth_to=rows["row_to"])
    rows = rows.sort_values(["hole", "depth_from", "depth_to"], kind="stable")
    return rows[["hole", "photo", "row", "depth_from", "depth_to"]].reset_index(
        drop=True
    )


def check_core(tiles):
    """The table of tiles of core.

    Raises
    ------
    ValueError
        If they were not made by `tile_core`, or know no depth.
    """
    table = tiles if isinstance(tiles, pd.DataFrame) else tiles.table
    name = "the table" if table is tiles else Path(tiles.path).name
    if not {"row", "row_from", "hole", "depth_from"} <= set(table.columns):
        raise ValueError(
            f"{name} holds no tiles of core; make them with 'geoimages tile --core TRAYS "
            "-o tiles.h5'."
        )
    if not table["depth_from"].notna().any():
        raise ValueError(
            f"The tiles of {name} know no depth; name photographs HOLE_BOX_FROM_TO, or "
            "give a table of depths (--depths)."
        )
    return table
