"""Scale of pixel values: uint8 in 0–255, float in 0–1; compositing on white."""

import numpy as np

_LEVELS = np.arange(256)


_AS_FLOAT32 = (_LEVELS / 255).astype(np.float32)


_OVERSHOOT = 1e-3  # tolerance for interpolation and rounding beyond 0–1


def in_scale(values):
    """Whether values are uint8, or all in 0–1."""
    if values.dtype == np.uint8 or not values.size:
        return True
    return values.min() >= -_OVERSHOOT and values.max() <= 1 + _OVERSHOOT


def check_scale(pictures):
    """Validate the scale of pictures: uint8 in 0–255 or float in 0–1.

    Parameters
    ----------
    pictures : ndarray of numbers
        Pixels; integers of any width mean 0–255.

    Returns
    -------
    pictures : ndarray, uint8 or float
        The same values.

    Raises
    ------
    ValueError
        If integers are beyond 0–255, or floats beyond 0–1.
    """
    kind = pictures.dtype.kind
    if pictures.dtype == np.uint8 or kind not in "biuf" or not pictures.size:
        return pictures
    if kind == "b":
        return pictures.astype(np.float32)
    low, high = pictures.min(), pictures.max()
    if kind in "iu":
        if low < 0 or high > 255:
            raise ValueError(
                f"Pictures hold integers from {low} to {high}, expected 0 to 255; "
                "divide 16-bit ones by 257, or scale them to float in 0–1."
            )
        return pictures.astype(np.uint8)
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ValueError(
            f"Float pictures hold values from {low:g} to {high:g}, expected 0 to 1; "
            "divide those in 0–255 by 255, or give them as uint8."
        )
    return pictures


def to_uint8(pictures):
    """Return pictures as uint8; float in 0–1 is rounded to its 256 levels."""
    pictures = check_scale(np.asarray(pictures))
    if pictures.dtype == np.uint8:
        return pictures
    return np.rint(np.clip(pictures, 0, 1) * 255).astype(np.uint8)


def as_uint8(rows):
    """Return float rows whose values are all k/255 as uint8, others unchanged.

    Parameters
    ----------
    rows : ndarray of shape (n, d), uint8, float32 or float64

    Returns
    -------
    rows : ndarray of shape (n, d)
        uint8 if every value is exactly ``k / 255`` in float32 or in its own type.
    """
    if not isinstance(rows, np.ndarray):  # rotated, or read, when asked for
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
    """Composite pictures with an alpha channel on white: (..., 4) -> (..., 3).

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
