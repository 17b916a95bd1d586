"""Resizing of pictures."""

import numpy as np
from PIL import Image

from .scaling import to_uint8

LONGEST = 65_535  # pixels of a side
FITS = ("crop", "pad", "stretch")


def check_size(size):
    """Return (height, width) in pixels, or raise a ValueError."""
    try:
        height, width = (int(side) for side in tuple(size)[:2])
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1 or max(height, width) > LONGEST:
        raise ValueError(
            f"size must be (height, width) in pixels, 1 to {LONGEST:,}, got {size!r}."
        )
    return height, width


def resize_image(image, size, fit="crop"):
    """Resize a picture.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3) or (height, width, 4)
        The picture; a fourth channel is its mask. Integers mean 0–255, float means
        0–1.
    size : tuple of int
        Target (height, width) in pixels.
    fit : {"crop", "pad", "stretch"}, default="crop"
        How to handle another aspect ratio: crop to the center; pad with masked pixels
        (the result has four channels); or stretch.

    Returns
    -------
    image : ndarray of shape (height, width, 3) or (height, width, 4), uint8
        The resized picture.

    Raises
    ------
    ValueError
        If `size` or `fit` is unknown, or the picture is of another shape or scale.

    Examples
    --------
    >>> import numpy as np
    >>> picture = np.zeros((30, 60, 3), np.uint8)
    >>> resize_image(picture, (20, 20)).shape
    (20, 20, 3)
    >>> resize_image(picture, (20, 20), fit="pad").shape
    (20, 20, 4)
    """
    height, width = check_size(size)
    if fit not in FITS:
        raise ValueError(f"fit={fit!r} is not known; expected one of {FITS}.")
    image = to_uint8(image)
    if image.ndim != 3 or image.shape[2] not in (3, 4) or not image.size:
        raise ValueError(
            "A picture must have shape (height, width, 3 or 4), got an array of shape "
            f"{image.shape}."
        )
    if fit == "pad" and image.shape[2] == 3:
        opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
        image = np.concatenate([image, opaque], axis=2)
    if image.shape[:2] == (height, width):
        return image
    # Pillow anti-aliases when shrinking, weights color by alpha, and takes a thirtieth
    # of the time of skimage.transform.resize with anti-aliasing.
    picture, box = Image.fromarray(image), None
    inner = (width, height)
    scale = (height / image.shape[0], width / image.shape[1])
    if fit == "crop":
        kept = (width / max(scale), height / max(scale))
        left = (image.shape[1] - kept[0]) / 2
        top = (image.shape[0] - kept[1]) / 2
        box = (
            max(left, 0),
            max(top, 0),
            min(left + kept[0], image.shape[1]),
            min(top + kept[1], image.shape[0]),
        )
    elif fit == "pad":
        inner = tuple(
            max(1, round(side * min(scale)))
            for side in (image.shape[1], image.shape[0])
        )
    resized = np.asarray(picture.resize(inner, Image.Resampling.BICUBIC, box))
    if fit != "pad":
        return resized
    out = np.full((height, width, 4), 255, np.uint8)
    out[..., 3] = 0
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    out[top : top + inner[1], left : left + inner[0]] = resized
    return out
