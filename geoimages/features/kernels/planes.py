"""Planes of pixels: borders, halves, neighborhoods, derivatives."""

import numpy as np

MINIMUM_SIDE = 20  # px: 3 x 3 windows of 3 x 3 operators at three scales, 20 -> 10 -> 5


def chunk_length(height, width, budget=50_176):
    """Pictures in a chunk: 64 of 28 x 28, as many pixels of another size."""
    return max(1, budget // max(1, height * width))


def at_least(images, side=MINIMUM_SIDE, mask=None):
    """Repeat the border of small pictures: (n, h, w, c) -> (n, max(h, side), max(w,
    side), c), mask.
    """
    grow = [max(0, side - length) for length in images.shape[1:3]]
    if not any(grow):
        return images, mask
    pad = [(0, 0)] + [(g // 2, g - g // 2) for g in grow]
    images = np.pad(images, [*pad, (0, 0)], mode="edge")
    return images, None if mask is None else np.pad(mask, pad, mode="edge")


def halve(plane, mask=None):
    """Average 2 x 2 blocks, an odd last row or column dropped: (n, h, w) -> (n, h //
    2, w // 2), mask.

    With a mask the average is over the rock in a block, and a block is rock where half
    of it is.
    """
    h, w = plane.shape[1] // 2 * 2, plane.shape[2] // 2 * 2

    def total(x):
        x = x[:, :h, :w]
        return x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]

    if mask is None:
        return total(plane) * np.float32(0.25), None
    weight = mask.astype(np.float32)
    count = total(weight)
    return total(plane * weight) / np.maximum(count, 1), count >= 2


def erode(mask):
    """Keep pixels whose 3 x 3 surroundings are all rock: (n, h, w) -> (n, h - 2, w -
    2); None stays None.
    """
    if mask is None:
        return None
    row = mask[:, :, :-2] & mask[:, :, 1:-1] & mask[:, :, 2:]
    return row[:, :-2] & row[:, 1:-1] & row[:, 2:]


def box_sum(plane):
    """Sum over 3 x 3 surroundings, inner pixels only: (n, h, w) -> (n, h - 2, w - 2)."""
    row = plane[:, :, :-2] + plane[:, :, 1:-1] + plane[:, :, 2:]
    return row[:, :-2] + row[:, 1:-1] + row[:, 2:]


def gradients(plane):
    """Central differences per pixel, inner pixels only: (n, h, w) -> two of (n, h - 2,
    w - 2), x then y.
    """
    half = np.float32(0.5)
    return (plane[:, 1:-1, 2:] - plane[:, 1:-1, :-2]) * half, (
        plane[:, 2:, 1:-1] - plane[:, :-2, 1:-1]
    ) * half


def laplacian(plane):
    """Sum of the four neighbors less four times the pixel: (n, h, w) -> (n, h - 2, w -
    2).
    """
    return (
        plane[:, 1:-1, 2:]
        + plane[:, 1:-1, :-2]
        + plane[:, 2:, 1:-1]
        + plane[:, :-2, 1:-1]
        - 4 * plane[:, 1:-1, 1:-1]
    )
