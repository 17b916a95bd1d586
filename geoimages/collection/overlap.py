"""Features of overlapping tiles, computed once per photograph where they allow it."""

import numpy as np
from sklearn.frozen import FrozenEstimator

from ..files import progress
from ..pictures.ground import find_rock
from ..pictures.validation import input_for

_BLOCK = 6  # sides of a tile, between blocks of tiles that are described together
_LEAST = 2.0  # tiles that hold a pixel, on average, from which sharing pays
_NAMES = {"photo", "lineage", "x", "y", "width", "scale"}


def shared_features(tiles, transformer):
    """Features of tiles, neighbors described together: (n, k), or None.

    A tile whose step does not fit the transformer's grid, that has few neighbors, that
    is not a part of the photograph as its neighbors show it, or has white ground, which
    is a mask to features, is described by itself.

    Parameters
    ----------
    tiles : Collection
    transformer : transformer
        Fitted.

    Returns
    -------
    rows : ndarray of shape (n, n_features_out) or None
        None if the collection holds no tiles, or the transformer describes one by one.
    """
    if isinstance(transformer, FrozenEstimator):
        transformer = transformer.estimator
    side = tiles.image_shape[0]
    step = getattr(transformer, "tile_step", lambda side: None)(side)
    if step is None or tiles.image_shape[2] != 3 or not len(tiles):
        return None
    table = tiles.table
    if not set(table.columns) >= _NAMES:
        return None
    rows, alone = None, np.ones(len(tiles), bool)
    blocks = list(_blocks(table, side, step))
    for positions, corners in progress(blocks, desc="describing", unit="block"):
        images = tiles[positions]
        image, same = _assembled(images, corners, side)
        rock = find_rock(images)
        if rock is not None:
            same &= rock.all(axis=(1, 2))
        if not same.any():
            continue
        found = transformer.describe_tiles(image, corners[same], side)
        rows = (
            np.empty((len(tiles), found.shape[1]), found.dtype)
            if rows is None
            else rows
        )
        rows[positions[same]] = found
        alone[positions[same]] = False
    if rows is None:
        return None
    rest = np.flatnonzero(alone)
    for start in range(0, len(rest), tiles._block):
        some = rest[start : start + tiles._block]
        rows[some] = np.asarray(
            transformer.transform(input_for(transformer, tiles[some]))
        )
    return rows


def _blocks(table, side, step):
    """Neighboring tiles on one grid: yields positions (m,) and corners (m, 2)."""
    factor = table["width"].to_numpy(float) / side
    places = table[["y", "x"]].to_numpy(float) / factor[:, None]
    places, exact = np.rint(places), abs(places - np.rint(places)) < 1e-6
    places = places.astype(int)
    names = table["lineage"].astype("category").cat.codes.to_numpy()
    known = np.flatnonzero(exact.all(axis=1) & (places >= 0).all(axis=1))
    own = np.column_stack(
        [names, np.rint(factor * 1e6), places % step, places // (_BLOCK * side)]
    )[known].astype(np.int64)
    _, number = np.unique(own, axis=0, return_inverse=True)
    order = np.argsort(number.ravel(), kind="stable")
    ends = np.flatnonzero(np.diff(number.ravel()[order])) + 1
    for part in np.split(known[order], ends):
        part = np.sort(part)
        corners = places[part] - places[part].min(axis=0)
        high, wide = corners.max(axis=0) + side
        if len(part) * side**2 >= _LEAST * high * wide:
            yield part, corners


def _assembled(images, corners, side):
    """Put tiles together again: -> image (h, w, 3), and which tiles it shows as they
    are, (m,).
    """
    image = np.zeros((*(corners.max(axis=0) + side), 3), np.uint8)
    for tile, (y, x) in zip(images, corners, strict=True):
        image[y : y + side, x : x + side] = tile
    same = [
        np.array_equal(image[y : y + side, x : x + side], tile)
        for tile, (y, x) in zip(images, corners, strict=True)
    ]
    return image, np.array(same)
