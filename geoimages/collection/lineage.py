"""Rotated copies of one original and tiles of one photograph, recognized by keys."""

import re

import numpy as np

from ..pictures.reading import PICTURE_SUFFIXES

ROTATIONS = (90, 180, 270)
_ROTATED = re.compile(r"(.+\..+)(\.(?:90|180|270))")
_TILE = re.compile(r"(.+)@(\d{1,9}),(\d{1,9}),(\d{1,9})", re.DOTALL)


def tile_key(photo, x, y, side):
    """Key of a tile: ``<photo>@<x>,<y>,<side>``, in pixels of the photograph."""
    return f"{photo}@{x},{y},{side}"


def split_tile(key):
    """Split the key of a tile into photograph and (x, y, side); None for others.

    Examples
    --------
    >>> split_tile("BH12_3@96,480,96"), split_tile("marble.A")
    (('BH12_3', (96, 480, 96)), None)
    """
    match = _TILE.fullmatch(key)
    return match and (match[1], tuple(map(int, match.groups()[1:])))


def tile_boxes(keys):
    """Boxes of tiles, or None where no key is a tile's.

    Parameters
    ----------
    keys : sequence of str

    Returns
    -------
    boxes : ndarray of shape (n, 3), int64, or None
        x, y and side in pixels of the photograph; of other keys 0, 0, 0.
    """
    if not any("@" in key for key in keys if isinstance(key, str)):
        return None
    found = [split_tile(key) if isinstance(key, str) else None for key in keys]
    if not any(found):
        return None
    return np.array([tile[1] if tile else (0, 0, 0) for tile in found], np.int64)


def split_rotation(key):
    """Return a key without the ending of a rotated copy, and that ending.

    Examples
    --------
    >>> split_rotation("marble.A.90"), split_rotation("core.90")
    (('marble.A', '.90'), ('core.90', ''))
    """
    match = _ROTATED.fullmatch(key)
    return (match[1], match[2]) if match else (key, "")


def _base_of(key, known):
    """The key that a rotated copy would stem from, or None."""
    base, rotation = split_rotation(key)
    if not rotation:
        return None
    # Copies of one rotation in two formats carry the format before the rotation.
    plain, _, suffix = base.rpartition(".")
    if (
        base not in known
        and plain in known
        and f".{suffix.lower()}" in PICTURE_SUFFIXES
    ):
        return plain
    return base


def lineage_of(keys):
    """Return the key of the original that each picture stems from.

    That of a tile is its photograph's, which all tiles of it share.
    A key that ends in ``.90``, ``.180`` or ``.270`` is a rotated copy when the key
    without the ending is there, too, or another rotation of it is. Copies of one rotation
    in two formats carry the format before the rotation, ``marble.A.png.90``.

    Parameters
    ----------
    keys : sequence
        The keys of a collection.

    Returns
    -------
    lineage : ndarray of shape (n,), object
        For each key that of its original; a picture of its own has its own.

    Examples
    --------
    >>> lineage_of(["marble.A", "marble.A.90", "core.90"]).tolist()
    ['marble.A', 'marble.A', 'core.90']
    >>> lineage_of(["BH12@0,0,96", "BH12@48,0,96"]).tolist()
    ['BH12', 'BH12']
    """
    known, rotated = set(keys), {}
    for key in keys:
        base = _base_of(key, known) if isinstance(key, str) else None
        if base:
            rotated.setdefault(base, []).append(key)
    original = {
        copy: base
        for base, copies in rotated.items()
        if base in known or len(copies) > 1
        for copy in copies
    }
    for key in keys:
        tile = split_tile(key) if isinstance(key, str) and "@" in key else None
        if tile:
            original[key] = tile[0]
    lineage = np.empty(len(keys), object)
    lineage[:] = [original.get(key, key) for key in keys]
    return lineage
