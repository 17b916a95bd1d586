"""Statistics of texture: gradients, orientation and local binary patterns.

References
----------
.. [1] Ojala, Pietikainen & Maenpaa, "Multiresolution gray-scale and rotation invariant
   texture classification with local binary patterns", PAMI 24(7), 2002.
.. [2] Bigun & Granlund, "Optimal orientation detection of linear symmetry", ICCV 1987.
"""

import numpy as np

from .distributions import plane_quantiles
from .planes import box_sum, erode, gradients, halve, laplacian

GRADIENT_LEVELS = np.array([0.05, 0.25, 0.5, 0.75, 0.9, 0.97])
LAPLACIAN_LEVELS = np.array([0.03, 0.15, 0.5, 0.85, 0.97])


def _pattern_classes():
    """Class of each of 256 patterns, the same for its rotations and mirror images."""
    codes = np.arange(256)
    mirrored = sum((codes >> bit & 1) << (-bit % 8) for bit in range(8))
    least = np.min(
        [
            ((form >> k) | (form << (8 - k))) & 255
            for form in (codes, mirrored)
            for k in range(8)
        ],
        axis=0,
    )
    return np.unique(least, return_inverse=True)[1].astype(np.int32)


PATTERN_CLASS = _pattern_classes()  # LBP^ri_8,1 of [1]_, mirror images put together
N_PATTERNS = int(PATTERN_CLASS.max()) + 1
_CODE_IN_CLASS = np.equal.outer(PATTERN_CLASS, np.arange(N_PATTERNS)).astype(float)
_AROUND = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))


def lbp_codes(plane, tolerance=0.0):
    """Local binary patterns, P = 8, R = 1 on the square ring [1]_: (n, h, w) -> uint8
    (n, h - 2, w - 2).

    A bit is set where the neighbor is at least the center plus ``tolerance``: 0 is the
    original, a few units of L* see past noise and compression.
    """
    h, w = plane.shape[1] - 2, plane.shape[2] - 2
    center = plane[:, 1:-1, 1:-1]
    if tolerance:
        center = center + np.float32(tolerance)
    codes, bits = np.zeros(center.shape, np.uint8), np.empty(center.shape, np.uint8)
    for bit, (y, x) in enumerate(_AROUND):
        np.greater_equal(plane[:, y : y + h, x : x + w], center, out=bits.view(bool))
        np.left_shift(bits, np.uint8(bit), out=bits)
        np.bitwise_or(codes, bits, out=codes)
    return codes


def lbp_histogram(plane, tolerance=0.0, mask=None):
    """Share of each pattern, in any orientation: (n, h, w) -> (n, N_PATTERNS)."""
    n = len(plane)
    codes = lbp_codes(plane, tolerance).reshape(n, -1)
    weight = None if mask is None else erode(mask).reshape(-1).astype(np.float32)
    index = (np.arange(n, dtype=np.int64) * 256)[:, None] + codes
    count = np.bincount(index.ravel(), weight, minlength=n * 256).reshape(n, 256)
    count = count @ _CODE_IN_CLASS
    return (count / np.maximum(count.sum(axis=1, keepdims=True), 1)).astype(np.float32)


def orientation_statistics(gx, gy, mask=None):
    """How directed the gradients are, whatever the direction [2]_: two of (n, h, w) ->
    (n, 9).

    Quantiles of the structure tensor's coherence in 3 x 3 windows (6), its
    energy-weighted mean, and the 2-fold and 4-fold order of the whole picture (a road,
    a building).
    """
    n = len(gx)
    if mask is not None:
        gx, gy = gx * mask, gy * mask
    xx, yy, xy = gx * gx, gy * gy, gx * gy
    energy, difference, double = xx + yy, xx - yy, 2 * xy
    trace, along, across = box_sum(energy), box_sum(difference), box_sum(double)
    strength = np.sqrt(along * along + across * across)
    (coherence,) = plane_quantiles(
        [strength / (trace + 1)], GRADIENT_LEVELS, erode(mask)
    )

    def total(x):
        return x.reshape(n, -1).sum(axis=1)

    whole = total(energy) + 1
    two = np.hypot(total(difference), total(double)) / whole
    safe = energy + np.float32(1e-3)
    four = (
        np.hypot(
            total((difference * difference - double * double) / safe),
            total(2 * difference * double / safe),
        )
        / whole
    )
    return np.hstack(
        [
            coherence,
            (total(strength) / (total(trace) + 1))[:, None],
            two[:, None],
            four[:, None],
        ]
    )


def texture_statistics(lab, mask=None):
    """Gradient, Laplacian, orientation and pattern statistics at three scales: (n, h,
    w, 3) -> dict, 237 columns.

    Scales are 1, 2 and 4 pixels by `halve`; L*, a* and b* each give quantiles of the
    log gradient magnitude (6) and of the signed log Laplacian (5) per scale, L* alone
    `orientation_statistics` at the two coarser scales (18) and square roots of
    `lbp_histogram` with tolerance 0 and 2 at the first two (120). All stay as
    they are where a picture of even sides (at scale 4, of sides of 4 k) is rotated by
    quarters or mirrored.
    """
    columns = {}
    for channel, name in enumerate(("lightness", "a", "b")):
        plane, rock = np.ascontiguousarray(lab[..., channel]), mask
        for scale in (1, 2, 4):
            inner = erode(rock)
            gx, gy = gradients(plane)
            (magnitude,) = plane_quantiles([gx * gx + gy * gy], GRADIENT_LEVELS, inner)
            (bend,) = plane_quantiles([laplacian(plane)], LAPLACIAN_LEVELS, inner)
            columns[f"gradient_{name}_{scale}"] = np.float32(0.5) * np.log(
                magnitude + np.float32(0.05)
            )
            columns[f"laplacian_{name}_{scale}"] = np.sign(bend) * np.log1p(
                np.abs(bend)
            )
            if channel == 0 and scale > 1:
                columns[f"orientation_{scale}"] = orientation_statistics(gx, gy, inner)
            if channel == 0 and scale < 4:
                for tolerance in (0, 2):
                    columns[f"lbp_{scale}_{tolerance}"] = np.sqrt(
                        lbp_histogram(plane, tolerance, rock)
                    )
            if scale < 4:
                plane, rock = halve(plane, rock)
    return columns
