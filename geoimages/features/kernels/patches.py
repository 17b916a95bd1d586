"""Patches and filters learned from them.

References
----------
.. [1] Coates, Ng & Lee, "An analysis of single-layer networks in unsupervised feature
   learning", AISTATS 2011; Coates & Ng, "The importance of encoding versus training
   with sparse coding and vector quantization", ICML 2011 (the soft threshold).
"""

import numpy as np

from .windows import window_sums

PATCH_FLOOR = 10.0  # (L* units)^2, added to a patch's variance: flat ones stay flat


def extract_patches(images, size, stride=1):
    """Patches, row by row: (n, h, w, c) -> (n, rows * columns, size * size * c)."""
    n, h, w, c = images.shape
    rows, columns = (h - size) // stride + 1, (w - size) // stride + 1
    a, b, d, e = images.strides
    windows = np.lib.stride_tricks.as_strided(
        images,
        (n, rows, columns, size, size, c),
        (a, b * stride, d * stride, b, d, e),
        writeable=False,
    )
    return windows.reshape(n, rows * columns, size * size * c)


def patches_inside(mask, patches, size, stride):
    """Whether patches (n, m, ...) lie on rock: -> (n, m)."""
    if mask is None:
        return np.ones(patches.shape[:2], bool)
    return extract_patches(mask[..., None], size, stride).all(axis=2)


def normalize_patches(patches, floor=PATCH_FLOOR):
    """Subtract each patch's mean and divide by its deviation [1]_: (m, d) -> (m, d)."""
    centered = patches - patches.mean(axis=1, keepdims=True)
    variance = np.einsum("ij,ij->i", centered, centered) / patches.shape[1]
    return centered / np.sqrt(variance + np.float32(floor))[:, None]


def whitening(patches, epsilon=0.01):
    """Mean and ZCA matrix of normalized patches [1]_: (m, d) -> (d,), (d, d)."""
    mean = patches.mean(axis=0)
    centered = patches - mean
    covariance = centered.T @ centered / max(1, len(patches) - 1)
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    return mean, (vectors / np.sqrt(np.maximum(values, 0) + epsilon)) @ vectors.T


def fold_filters(centroids, mean, zca):
    """Filters that act on raw patches: (k, d) unit centroids -> (d, k) weights, (k,)
    offsets.

    ``normalize``, ``whiten`` and ``project`` are linear but for the division by the
    patch's deviation, so one product does all: ``((p - mean(p)) / s - mean) @ zca @ D.T
    = p @ weights / s - offsets``.
    """
    weights = zca @ centroids.T
    offsets = mean @ weights
    return (weights - weights.mean(axis=0)).astype(np.float32), offsets.astype(
        np.float32
    )


def responses(
    images, weights, offsets, size, stride=2, threshold=0.5, floor=PATCH_FLOOR
):
    """Soft-thresholded responses of patches to filters [1]_: (n, h, w, c) -> (n, rows *
    columns, k).
    """
    count, d = len(offsets), size * size * images.shape[3]
    # Products are taken picture by picture: a row is the same in any batch.
    patches = extract_patches(images, size, stride)
    flat, places = patches.reshape(-1, d), patches.shape[1]
    # Row by row, so that its rounding, which counts, is the same in any picture.
    mean = np.einsum("ij->i", flat) / np.float32(d)
    variance = np.einsum("ij,ij->i", flat, flat) / np.float32(d) - mean * mean
    response = (patches @ weights).reshape(-1, count)
    response *= (1 / np.sqrt(np.maximum(variance, 0) + np.float32(floor)))[:, None]
    response -= offsets
    # r beyond +-threshold, shrunk by it: positive part minus negative part
    active = response - np.clip(response, -np.float32(threshold), np.float32(threshold))
    return active.reshape(len(images), places, count)


def pooled(positive, negative, power):
    """Columns of means of positive and negative responses and of their squares: 3 x (n,
    k) -> (n, 3 k), as fourth-root-like compressed numbers.
    """
    return np.hstack([np.sqrt(positive), np.sqrt(negative), np.sqrt(np.sqrt(power))])


def pooled_responses(images, weights, offsets, size, stride, threshold, mask=None):
    """Responses [1]_ pooled over the picture: (n, h, w, c) -> (n, 3 k).

    With a mask only patches that are all rock count, and a picture without any is 0.
    """
    n = len(images)
    active = responses(images, weights, offsets, size, stride, threshold)
    places = active.shape[1]
    if mask is None:
        share = np.full((n, 1, places), 1 / places, np.float32)
    else:
        inside = extract_patches(mask[..., None], size, stride).all(axis=2)
        share = (inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)).astype(
            np.float32
        )[:, None]
    positive = (share @ np.maximum(active, 0))[:, 0]
    negative = (share @ np.maximum(-active, 0))[:, 0]
    np.multiply(active, active, out=active)
    return pooled(positive, negative, (share @ active)[:, 0])


def window_responses(
    image, weights, offsets, size, stride, threshold, tops, lefts, side
):
    """`pooled_responses` of windows of one picture, whose steps are multiples of
    `stride`: (h, w, c), (m,) twice -> (m, 3 k).
    """
    length, count = (side - size) // stride + 1, len(offsets)

    def strip(top, bottom):
        part = image[None, top * stride : (bottom - 1) * stride + size]
        active = responses(part, weights, offsets, size, stride, threshold)
        active = active.reshape(bottom - top, -1, count)
        positive = np.maximum(active, 0)
        signs = positive.sum(axis=0), (positive - active).sum(axis=0)
        return np.hstack([*signs, np.einsum("ijk,ijk->jk", active, active)])

    tops, lefts = tops // stride, lefts // stride
    sums = window_sums(strip, tops, tops + length, lefts, lefts + length)
    means = (sums / length**2).astype(np.float32)
    return pooled(*np.split(means, 3, axis=1))


def patch_means(images, size, stride):
    """Mean of each patch: (n, h, w, c) -> (n, m, c), from sums of rows and columns."""
    n, h, w, channels = images.shape
    total = np.zeros((n, h + 1, w + 1, channels))
    np.cumsum(images, axis=1, out=total[:, 1:, 1:])
    np.cumsum(total[:, 1:, 1:], axis=2, out=total[:, 1:, 1:])
    rows = total[:, size::stride] - total[:, : h - size + 1 : stride]
    sums = rows[:, :, size::stride] - rows[:, :, : w - size + 1 : stride]
    return (sums / size**2).astype(np.float32).reshape(n, -1, channels)


def normal_patches(images, size, stride, floor=PATCH_FLOOR):
    """Patches of lightness less their mean and contrast, the mean color and the contrast
    behind: (n, h, w, c) -> (n, m, size * size + c + 1).

    The contrast is the logarithm of what each patch is divided by.
    """
    n, channels = len(images), images.shape[3]
    patches = extract_patches(np.ascontiguousarray(images[..., :1]), size, stride)
    mean = patch_means(images, size, stride)
    out = np.empty((n, patches.shape[1], size * size + channels + 1), np.float32)
    normal = np.subtract(patches, mean[..., :1], out=out[..., : size * size])
    variance = np.einsum("ijk,ijk->ij", normal, normal) / np.float32(size * size)
    deviation = np.sqrt(variance + np.float32(floor))[..., None]
    normal /= deviation
    out[..., size * size : -1] = mean
    out[..., -1:] = np.log(deviation)
    return out
