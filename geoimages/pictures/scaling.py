"""Values of pixels: uint8 in 0–255, float in 0–1, pictures on white."""

import numpy as np

_LEVELS = np.arange(256)


_AS_FLOAT32 = (_LEVELS / 255).astype(np.float32)


def as_uint8(rows):
    """Return float rows that hold nothing but k/255 as uint8, others unchanged.

    Parameters
    ----------
    rows : ndarray of shape (n, d), uint8, float32 or float64

    Returns
    -------
    rows : ndarray of shape (n, d)
        uint8 if every value is exactly ``k / 255`` in float32 or in its own type.
    """
    if not isinstance(rows, np.ndarray):  # turned, or read, when asked for
        return rows
    if rows.dtype == np.uint8:
        return np.ascontiguousarray(rows)
    levels = (
        (_AS_FLOAT32,) if rows.dtype == np.float32 else (_AS_FLOAT32, _LEVELS / 255)
    )
    out = np.empty(rows.shape, np.uint8)
    step = max(1, (1 << 20) // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        if block.min(initial=0) < 0 or block.max(initial=0) > 1:
            return np.ascontiguousarray(rows)
        nearest = np.rint(block * 255).astype(np.uint8)
        if not any(np.array_equal(level[nearest], block) for level in levels):
            return np.ascontiguousarray(rows)
        out[start : start + step] = nearest
    return out


def on_white(rgba):
    """Put pictures with an alpha channel on white: (..., 4) -> (..., 3).

    Parameters
    ----------
    rgba : ndarray of shape (..., 4)
        uint8 in 0–255 or float in 0–1; the last channel is the opacity.

    Returns
    -------
    rgb : ndarray of shape (..., 3)
        Of the dtype given; uint8 is rounded to nearest.
    """
    color, alpha = rgba[..., :3], rgba[..., 3:]
    if rgba.dtype != np.uint8:
        return color * alpha + (1 - alpha)
    alpha = alpha.astype(np.uint32)
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
