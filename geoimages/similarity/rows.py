"""The rows to compare: features or pixels of pictures."""

import numpy as np

from ..files import let_go
from ..pictures.scaling import on_white
from ..pictures.validation import input_for

_BLOCK_BYTES = 1 << 24


def pixel_rows(images):
    """Flatten pictures, with masked ones on white: (n, h, w, c) -> (n, d)."""
    if images.shape[3] != 4:
        return images.reshape(len(images), -1)
    out = np.empty((*images.shape[:3], 3), images.dtype)
    step = max(1, _BLOCK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        out[start : start + step] = on_white(images[start : start + step])
    return out.reshape(len(images), -1)


def pixel_rows_of(collection, allocate):
    """Read `pixel_rows` of a collection block by block into what `allocate` makes."""
    n, (height, width, channels) = len(collection), collection.image_shape
    out = allocate((n, height * width * min(channels, 3)), np.dtype(np.uint8))
    step = max(1, _BLOCK_BYTES // (height * width * channels))
    for start in range(0, n, step):
        out[start : start + step] = pixel_rows(collection[start : start + step])
        let_go(out)
    return out


def feature_rows(features, images):
    """Transform pictures by fitted features: (n, h, w, c) -> (n, d)."""
    rows = np.asarray(features.transform(input_for(features, images)))
    return check_rows(rows, features, len(images))


def check_features(features):
    """Raise a TypeError if features is not a transformer."""
    if isinstance(features, type) or not hasattr(features, "transform"):
        given = " ".join(repr(features).split())  # on one line
        raise TypeError(
            f"features={given} is not a transformer; pass one, such as RockFeatures(), "
            "or None to compare pixels."
        )


def _all_finite(rows):
    step = max(1, _BLOCK_BYTES // max(1, rows[:1].nbytes))
    for start in range(0, len(rows), step):
        if not np.isfinite(rows[start : start + step]).all():
            return False
        let_go(rows)
    return True


def check_rows(rows, features, n):
    """Validate the features of n pictures and return them."""
    name = type(features).__name__
    if rows.ndim != 2 or len(rows) != n or rows.dtype.kind not in "buif":
        raise ValueError(
            f"{name} returned {rows.dtype} of shape {rows.shape} for {n} pictures, "
            f"expected dense numbers of shape ({n}, n_features)."
        )
    if rows.dtype not in (np.uint8, np.float32, np.float64):
        rows = rows.astype(np.float32 if rows.dtype.itemsize <= 2 else np.float64)
    if rows.dtype.kind == "f" and not _all_finite(rows):
        raise ValueError(
            f"{name} returned NaN or infinity, which cannot be compared; correct "
            "the features, or remove the picture."
        )
    return rows
