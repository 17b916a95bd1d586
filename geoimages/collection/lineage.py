"""Rotated copies of one original, recognized by their keys."""

import re

import numpy as np

from ..pictures.reading import PICTURE_SUFFIXES

ROTATIONS = (90, 180, 270)
_ROTATED = re.compile(r"(.+\..+)(\.(?:90|180|270))")


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
    lineage = np.empty(len(keys), object)
    lineage[:] = [original.get(key, key) for key in keys]
    return lineage
