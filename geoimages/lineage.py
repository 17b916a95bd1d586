"""Which pictures are turned copies of one original."""

import re

import numpy as np

TURNS = (90, 180, 270)
_TURNED = re.compile(r"(.+\..+)\.(?:90|180|270)")


def lineage_of(keys):
    """Return the key of the original that each picture stems from.

    A key that ends in ``.90``, ``.180`` or ``.270`` is a turned copy when the key
    without the ending is there, too, or another turn of it is.

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
    known, turned = set(keys), {}
    for key in keys:
        match = _TURNED.fullmatch(key) if isinstance(key, str) else None
        if match:
            turned.setdefault(match[1], []).append(key)
    original = {
        copy: base
        for base, copies in turned.items()
        if base in known or len(copies) > 1
        for copy in copies
    }
    lineage = np.empty(len(keys), object)
    lineage[:] = [original.get(key, key) for key in keys]
    return lineage
