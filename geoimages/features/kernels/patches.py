"""Patches and filters learned from them.

References
----------
.. [1] Coates, Ng & Lee, "An analysis of single-layer networks in unsupervised feature
   learning", AISTATS 2011; Coates & Ng, "The importance of encoding versus training
   with sparse coding and vector quantization", ICML 2011 (the soft threshold).
"""

import numpy as np

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


def pooled_responses(
    images,
    weights,
    offsets,
    size,
    stride=2,
    threshold=0.5,
    floor=PATCH_FLOOR,
    mask=None,
):
    """Soft-thresholded responses [1]_ pooled over the picture: (n, h, w, c) -> (n, 3
    k).

    The mean of either sign and the root of the joint second moment, as fourth-root-like
    compressed numbers. With a mask only patches that are all rock count, and a picture
    without any is 0.
    """
    n, count, d = len(images), len(offsets), size * size * images.shape[3]
    # Products are taken picture by picture: a row is the same in any batch.
    patches = extract_patches(images, size, stride)
    flat, places = patches.reshape(-1, d), patches.shape[1]
    mean = (patches @ np.full(d, 1 / d, np.float32)).ravel()
    variance = np.einsum("ij,ij->i", flat, flat) / np.float32(d) - mean * mean
    response = (patches @ weights).reshape(-1, count)
    response *= (1 / np.sqrt(np.maximum(variance, 0) + np.float32(floor)))[:, None]
    response -= offsets
    if mask is None:
        share = np.full((n, 1, places), 1 / places, np.float32)
    else:
        inside = patches_inside(mask, patches, size, stride)
        share = (inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)).astype(
            np.float32
        )[:, None]
    # r beyond +-threshold, shrunk by it: positive part minus negative part
    active = response - np.clip(response, -np.float32(threshold), np.float32(threshold))
    active = active.reshape(n, places, count)
    signed = (share @ active)[:, 0]
    total = (share @ np.abs(active))[:, 0]
    np.multiply(active, active, out=active)
    power = (share @ active)[:, 0]
    positive, negative = (
        np.maximum(total + signed, 0) / 2,
        np.maximum(total - signed, 0) / 2,
    )
    return np.hstack([np.sqrt(positive), np.sqrt(negative), np.sqrt(np.sqrt(power))])


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
