"""Downsample pictures by area averaging.

`skimage.transform.downscale_local_mean` does so by whole factors and without a mask;
tests hold the two together where both apply.
"""

import numpy as np


def area_weights(length, target):
    """Share of each of `length` pixels in each of `target` equal parts: (target,
    length).
    """
    edge = np.arange(target + 1) * (length / target)
    pixel = np.arange(length)
    low = np.maximum(edge[:-1, None], pixel)
    high = np.minimum(edge[1:, None], pixel + 1)
    return (np.maximum(high - low, 0) * (target / length)).astype(np.float32)


def at_most(images, side, mask=None):
    """Downsample large pictures to a longer side of `side`: (n, h, w, c), mask.

    uint8 in 0-255 is returned as float32 in 0-1. With a mask, averages are over rock,
    and a pixel is rock if at least half of it is.
    """
    h, w = images.shape[1:3]
    if max(h, w) <= side:
        return images, mask
    scale = side / max(h, w)
    return average_to(images, max(1, round(h * scale)), max(1, round(w * scale)), mask)


def average_to(images, high, wide, mask=None):
    """Downsample pictures: (n, h, w, c), mask -> (n, high, wide, c), mask.

    Scale and mask are treated as by `at_most`.
    """
    n, h, w, _ = images.shape
    down, across = area_weights(h, high), area_weights(w, wide)

    def average(planes):
        channels = planes.shape[3]
        planes = down @ planes.reshape(n, h, -1)
        return (across @ planes.reshape(n * high, w, channels)).reshape(
            n, high, wide, -1
        )

    values = images.astype(np.float32)
    if images.dtype == np.uint8:
        values /= np.float32(255)
    if mask is None:
        return average(values), None
    weight = mask[..., None].astype(np.float32)
    count = average(weight)
    values = average(values * weight) / np.maximum(count, np.float32(1e-6))
    count = count[..., 0]
    rock = count >= np.minimum(0.5, count.max(axis=(1, 2), keepdims=True))
    return values * rock[..., None], rock
