"""Fisher vectors.

References
----------
.. [1] Perronnin, Sanchez & Mensink, "Improving the Fisher kernel for large-scale image
   classification", ECCV 2010.
"""

import numpy as np

from .planes import halve
from .windows import window_products


def halve_colors(images, mask=None):
    """Average 2 x 2 blocks of colors by `halve`: (n, h, w, c) -> (n, h // 2, w // 2, c),
    mask.
    """
    planes = [halve(images[..., c], mask) for c in range(images.shape[3])]
    return np.stack([plane for plane, _ in planes], axis=3), planes[0][1]


def posteriors(rows, weights, means, precisions):
    """Posteriors of a mixture of Gaussians: (..., d), (k,), (k, d) twice -> (..., k)."""
    # log N(x) but for the terms that all Gaussians share
    bias = (
        np.log(weights) + (np.log(precisions) - means * means * precisions).sum(1) / 2
    )
    posterior = rows @ (means * precisions).T
    posterior -= (rows * rows) @ (precisions.T / 2)
    posterior += bias
    posterior -= posterior.max(axis=-1, keepdims=True)
    np.exp(posterior, out=posterior)
    posterior /= posterior.sum(axis=-1, keepdims=True)
    return posterior


def gradients_of_moments(zeroth, first, second, weights, means, precisions):
    """Fisher vectors of means of q, q x and q x^2: (n, k, 1), (n, k, d) twice -> (n, 2 k
    d) float32. Signed square roots and a length of 1 make them comparable.
    """
    by_mean = (first - means * zeroth) * np.sqrt(precisions)
    by_deviation = (
        second - 2 * means * first + means**2 * zeroth
    ) * precisions - zeroth
    by_deviation *= np.float32(np.sqrt(0.5))
    out = np.stack([by_mean, by_deviation], axis=1) / np.sqrt(weights)[:, None]
    out = out.reshape(len(zeroth), -1)
    out = np.sign(out) * np.sqrt(np.abs(out))
    length = np.linalg.norm(out, axis=1, keepdims=True)
    return (out / np.maximum(length, np.float32(1e-12))).astype(np.float32, copy=False)


def fisher_vectors(rows, inside, weights, means, precisions):
    """Improved Fisher vectors [1]_ of m rows a picture: (n, m, d), (n, m) bool, (k,),
    (k, d) twice -> (n, 2 k d).

    With the posteriors q of a mixture of Gaussians, the gradients by mean and deviation
    are the averages of ``q (x - mean) / deviation / sqrt(weight)`` and of ``q ((x -
    mean)^2 / variance - 1) / sqrt(2 weight)``. Both follow from the sums of q, q x and
    q x^2.
    """
    posterior = posteriors(rows, weights, means, precisions)
    share = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    # Square roots of sums near 0 would show the rounding of float32.
    posterior = (posterior * share[..., None]).transpose(0, 2, 1)
    rows = rows.astype(np.float64)
    zeroth = posterior.sum(axis=2)[..., None]
    moments = posterior @ rows, posterior @ (rows * rows)
    return gradients_of_moments(zeroth, *moments, weights, means, precisions)


def window_moments(strip, tops, lefts, length, weights, means, precisions):
    """Sums of q, q x and q x^2 over windows of patches: (m,) twice -> (m, k, 2 d + 1).

    ``strip(top, bottom)`` gives the patches of these rows, (h, w, d).
    """

    def factors(top, bottom):
        rows = strip(top, bottom)
        posterior = posteriors(rows, weights, means, precisions).astype(np.float64)
        moments = np.empty((*rows.shape[:2], 2 * rows.shape[2] + 1))
        moments[..., 0] = 1
        moments[..., 1 : rows.shape[2] + 1] = rows
        moments[..., rows.shape[2] + 1 :] = np.square(rows, dtype=np.float64)
        return posterior, moments

    return window_products(factors, tops, lefts, length, length)
