"""Statistics of color [1]_.

References
----------
.. [1] CIE 15:2004, Colorimetry (CIELAB, D65).
"""

import numpy as np

from .distributions import (
    covariance_statistics,
    pixel_sample,
    plane_quantiles,
    quantiles,
    soft_histogram,
    take_pixels,
)

COLOR_LEVELS = np.array([0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99])


def color_statistics(images, lab, mask=None):
    """Quantiles, histograms and covariances of color: (n, h, w, 3) twice -> dict of (n,
    k), 330 columns.

    ``quantile_*``: of L*, a*, b*, chroma (36), of log R, G, B (27), of the log opponent
    axes R/G and RG/B2 and the saturation (27): a gain on a channel only shifts a
    logarithm, so a linear layer can undo any light. ``histogram_*`` (square roots, so
    that Euclid is Hellinger): L* (32), a* and b* (96), chroma-weighted hue (12),
    saturation (16), and the log luminance and opponent axes less the picture's own mean
    (72), which no gain on any channel moves. ``covariance_*``: correlations and log
    spreads of L*, a*, b* (6) and of the log axes (6, as unmoved).
    """
    positions, flat = pixel_sample(*lab.shape[1:3], mask)
    if positions is None and mask is not None:
        flat = mask.reshape(len(mask), -1)
    weight = None if flat is None else flat.astype(np.float32)
    lightness, a, b = (take_pixels(lab[..., c], positions) for c in range(3))
    scale = np.float32(1 if images.dtype == np.uint8 else 255)
    red, green, blue = (
        np.multiply(take_pixels(images[..., c], positions), scale, dtype=np.float32)
        for c in range(3)
    )
    chroma = np.sqrt(a * a + b * b)
    top = np.maximum(np.maximum(red, green), blue)
    saturation = (top - np.minimum(np.minimum(red, green), blue)) / (
        np.maximum(top, 0) + 4
    )
    # 4 levels keep sensor noise in the dark from ruling the logarithm
    red, green, blue = (np.log(np.maximum(x, 0) + 4) for x in (red, green, blue))
    first, second = red - green, red + green - 2 * blue
    planes = {
        "lab": (lightness, a, b, chroma),
        "log_rgb": (red, green, blue),
        "opponent": (first, second, saturation),
    }
    columns = {
        f"quantile_{name}": np.hstack([quantiles(x, COLOR_LEVELS, flat) for x in group])
        for name, group in planes.items()
    }
    # asinh: bins of a* and b* are 0.8 units wide at neutral and 1.5 at 10
    bent = (np.arcsinh(x * np.float32(1 / 6)) for x in (a, b))
    columns["histogram_lab"] = np.sqrt(
        np.hstack(
            [
                soft_histogram(lightness, 0, 100, 32, weight),
                *(soft_histogram(x, -3, 3, 48, weight) for x in bent),
            ]
        )
    )
    paint = chroma if weight is None else chroma * weight
    columns["histogram_hue"] = np.sqrt(
        soft_histogram(np.arctan2(b, a), -np.pi, np.pi, 12, paint, circular=True)
    )
    columns["histogram_saturation"] = np.sqrt(
        soft_histogram(saturation, 0, 1, 16, weight)
    )
    columns["covariance_lab"], _ = covariance_statistics((lightness, a, b), weight)
    axes = ((red + green + blue) * np.float32(1 / 3), first, second * np.float32(0.5))
    columns["covariance_log"], centered = covariance_statistics(axes, weight)
    bounds = zip(centered, (1.2, 0.5, 0.5), strict=True)
    columns["histogram_log"] = np.sqrt(
        np.hstack([soft_histogram(x, -end, end, 24, weight) for x, end in bounds])
    )
    return columns


def tone_statistics(lab, mask=None, known=None):
    """Quantiles of L*, a* and b*: (n, h, w, 3) -> (n, 27).

    A distance between them is about that of moving one picture's colors onto the
    other's (Wasserstein), in CIELAB units. Nothing is sorted again where the
    ``quantile_lab`` of `color_statistics` is ``known``.
    """
    if known is not None:
        return known[:, : 3 * len(COLOR_LEVELS)]
    return np.hstack(
        plane_quantiles([lab[..., c] for c in range(3)], COLOR_LEVELS, mask)
    )
