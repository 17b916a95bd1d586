"""Feature kernels: arrays in, arrays out, many pictures at a time.

Shapes: ``n`` pictures of ``h`` by ``w`` pixels; ``mask`` is a boolean ``(n, h, w)``,
True on rock, or None where every pixel counts. Nothing here validates and nothing here
is an estimator: the caller hands over pictures of one size, three channels, uint8 in
0-255 or float in 0-1, in chunks of about 64 small pictures (`chunk_length`), so that
the planes stay in the processor's cache. No column count depends on ``h`` or ``w``.

References
----------
.. [1] CIE 15:2004, Colorimetry (CIELAB, D65).
.. [2] Ojala, Pietikainen & Maenpaa, "Multiresolution gray-scale and rotation invariant
   texture classification with local binary patterns", PAMI 24(7), 2002.
.. [3] Dalal & Triggs, "Histograms of oriented gradients for human detection", CVPR
   2005.
.. [4] Coates, Ng & Lee, "An analysis of single-layer networks in unsupervised feature
   learning", AISTATS 2011; Coates & Ng, "The importance of encoding versus training
   with sparse coding and vector quantization", ICML 2011 (the soft threshold).
.. [5] Bigun & Granlund, "Optimal orientation detection of linear symmetry", ICCV 1987.
.. [6] Perronnin, Sanchez & Mensink, "Improving the Fisher kernel for large-scale image
   classification", ECCV 2010.
"""

import numpy as np

MINIMUM_SIDE = 20  # px: 3 x 3 windows of 3 x 3 operators at three scales, 20 -> 10 -> 5
PATCH_FLOOR = 10.0  # (L* units)^2, added to a patch's variance: flat ones stay flat

COLOR_LEVELS = np.array([0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99])
GRADIENT_LEVELS = np.array([0.05, 0.25, 0.5, 0.75, 0.9, 0.97])
LAPLACIAN_LEVELS = np.array([0.03, 0.15, 0.5, 0.85, 0.97])


def chunk_length(height, width, budget=50_176):
    """Pictures in a chunk: 64 of 28 x 28, as many pixels of another size."""
    return max(1, budget // (height * width))


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


# ---- color


def quantiles(values, levels, mask=None):
    """Quantiles of each row, linear between order statistics: (n, p) -> (n,
    len(levels)).

    A full sort: NumPy's vectorised sort of 784 float32 takes 1 us, its partition 16 us.
    With a mask the other values sort to the end as infinities; a row without any is 0.
    """
    if mask is None:
        ordered = np.sort(values, axis=1)
        place = levels * (values.shape[1] - 1)
        low = place.astype(np.intp)
        high = np.minimum(low + 1, values.shape[1] - 1)
        part = (place - low).astype(np.float32)
        return ordered[:, low] * (1 - part) + ordered[:, high] * part
    count = mask.sum(axis=1)[:, None]
    beyond = np.where(count > 0, np.float32(np.inf), np.float32(0))
    ordered = np.sort(np.where(mask, values, beyond), axis=1)
    place = levels * np.maximum(count - 1, 0)
    low = place.astype(np.intp)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    part = (place - low).astype(np.float32)
    low, high = (np.take_along_axis(ordered, place, 1) for place in (low, high))
    return low * (1 - part) + high * part


def _triangles(bins, fine, circular):
    """Weights that share ``fine`` narrow counts between the nearest of ``bins``
    centers: (fine, bins).
    """
    place = (
        np.arange(fine) / fine * bins
        if circular
        else np.arange(fine) / (fine - 1) * (bins - 1)
    )
    distance = np.abs(place[:, None] - np.arange(bins))
    if circular:
        distance = np.minimum(distance, bins - distance)
    return np.maximum(1 - distance, 0).astype(np.float32)


def soft_histogram(values, low, high, bins, weights=None, circular=False, narrow=4):
    """Histogram whose counts are shared between the two nearest bin centers: (n, p) ->
    (n, bins).

    Centers run from ``low`` to ``high`` (values beyond go to the end bins); a circular
    one has its first center at ``low`` and ``high`` is ``low`` again. Rows sum to one
    (to zero where the weights do). Shared counts move smoothly when the light does,
    hard ones jump. Counting into ``narrow`` times finer bins and sharing those costs a
    quarter of sharing every pixel.
    """
    n = len(values)
    fine = bins * narrow if circular else (bins - 1) * narrow + 1
    steps = fine if circular else fine - 1
    place = (values - np.float32(low)) * np.float32(steps / (high - low))
    place += np.float32(0.5)
    np.clip(place, 0, np.float32(steps + 0.5), out=place)
    index = place.astype(np.int32)
    if circular:
        index[index == fine] = 0
    index += (np.arange(n, dtype=np.int32) * fine)[:, None]
    count = np.bincount(
        index.ravel(), None if weights is None else weights.ravel(), minlength=n * fine
    )
    count = count.reshape(n, fine).astype(np.float32)
    count /= np.maximum(count.sum(axis=1, keepdims=True), np.float32(1e-12))
    return count @ _triangles(bins, fine, circular)


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
    n = len(images)
    flat = None if mask is None else mask.reshape(n, -1)
    weight = None if mask is None else flat.astype(np.float32)
    lightness, a, b = (
        np.ascontiguousarray(lab[..., c]).reshape(n, -1) for c in range(3)
    )
    scale = np.float32(1 if images.dtype == np.uint8 else 255)
    red, green, blue = (
        np.multiply(images[..., c], scale, dtype=np.float32).reshape(n, -1)
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
    flat = None if mask is None else mask.reshape(len(lab), -1)
    planes = (lab[..., c].reshape(len(lab), -1) for c in range(3))
    return np.hstack([quantiles(x, COLOR_LEVELS, flat) for x in planes])


def covariance_statistics(planes, weight=None):
    """Correlations and log standard deviations of three planes: 3 x (n, p) -> (n, 6),
    and the centered planes.
    """
    if weight is None:
        count = np.float32(planes[0].shape[1])
        centered = [x - x.mean(axis=1, keepdims=True) for x in planes]
    else:
        count = np.maximum(weight.sum(axis=1), 1)
        centered = [
            (x - (np.einsum("ij,ij->i", x, weight) / count)[:, None]) * weight
            for x in planes
        ]
    products = {
        (i, j): np.einsum("ij,ij->i", centered[i], centered[j]) / count
        for i in range(3)
        for j in range(i, 3)
    }
    # units are L* and log levels: the addend is a tenth of what quantization makes
    deviation = [np.sqrt(products[i, i] + np.float32(1e-4)) for i in range(3)]
    correlation = [
        products[i, j] / deviation[i] / deviation[j]
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    return np.stack(correlation + [np.log(s) for s in deviation], axis=1), centered


# ---- texture


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


PATTERN_CLASS = _pattern_classes()  # LBP^ri_8,1 of [2]_, mirror images put together
N_PATTERNS = int(PATTERN_CLASS.max()) + 1
_AROUND = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))


def lbp_codes(plane, tolerance=0.0):
    """Local binary patterns, P = 8, R = 1 on the square ring [2]_: (n, h, w) -> uint8
    (n, h - 2, w - 2).

    A bit is set where the neighbor is at least the center plus ``tolerance``: 0 is the
    original, a few units of L* see past noise and compression.
    """
    h, w = plane.shape[1] - 2, plane.shape[2] - 2
    center = plane[:, 1:-1, 1:-1]
    if tolerance:
        center = center + np.float32(tolerance)
    codes = np.zeros(center.shape, np.uint8)
    for bit, (y, x) in enumerate(_AROUND):
        codes |= (plane[:, y : y + h, x : x + w] >= center).view(np.uint8) << np.uint8(
            bit
        )
    return codes


def lbp_histogram(plane, tolerance=0.0, mask=None):
    """Share of each pattern, in any orientation: (n, h, w) -> (n, N_PATTERNS)."""
    n = len(plane)
    index = PATTERN_CLASS[lbp_codes(plane, tolerance)].reshape(n, -1)
    index += (np.arange(n, dtype=np.int32) * N_PATTERNS)[:, None]
    weight = None if mask is None else erode(mask).reshape(-1).astype(np.float32)
    count = np.bincount(index.ravel(), weight, minlength=n * N_PATTERNS)
    count = count.reshape(n, N_PATTERNS)
    return (count / np.maximum(count.sum(axis=1, keepdims=True), 1)).astype(np.float32)


def orientation_statistics(gx, gy, mask=None):
    """How directed the gradients are, whatever the direction [5]_: two of (n, h, w) ->
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
    inner = None if mask is None else erode(mask).reshape(n, -1)
    coherence = quantiles(
        (strength / (trace + 1)).reshape(n, -1), GRADIENT_LEVELS, inner
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
    n = len(lab)
    columns = {}
    for channel, name in enumerate(("lightness", "a", "b")):
        plane, rock = np.ascontiguousarray(lab[..., channel]), mask
        for scale in (1, 2, 4):
            inner = erode(rock)
            flat = None if inner is None else inner.reshape(n, -1)
            gx, gy = gradients(plane)
            magnitude = quantiles(
                (gx * gx + gy * gy).reshape(n, -1), GRADIENT_LEVELS, flat
            )
            bend = quantiles(laplacian(plane).reshape(n, -1), LAPLACIAN_LEVELS, flat)
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


# ---- histograms of oriented gradients


def hog(plane, cells=4, bins=8, mask=None):
    """Histograms of oriented gradients on a fixed grid [3]_: (n, h, w) -> (n, cells *
    cells * bins).

    Unsigned directions shared between the two nearest bins, magnitudes summed over
    ``cells`` by ``cells`` equal cells whatever the size, the whole picture one block
    under the L1-sqrt norm of the paper.
    """
    n, h, w = plane.shape
    inner = erode(mask)
    gx, gy = gradients(plane)
    magnitude = np.sqrt(gx * gx + gy * gy)
    if inner is not None:
        magnitude = magnitude * inner
    place = np.arctan2(gy, gx) * np.float32(bins / np.pi)
    place += bins * (place < 0)
    index = place.astype(np.int32)
    upper = (place - index) * magnitude
    lower = magnitude - upper
    index[index >= bins] -= bins
    after = index + 1
    after[after == bins] = 0
    row, column = np.arange(1, h - 1) * cells // h, np.arange(1, w - 1) * cells // w
    start = (np.arange(n, dtype=np.int32) * (cells * cells))[:, None, None]
    start = (start + (row[:, None] * cells + column).astype(np.int32)) * bins
    size = n * cells * cells * bins
    count = np.bincount((start + index).ravel(), lower.ravel(), minlength=size)
    count += np.bincount((start + after).ravel(), upper.ravel(), minlength=size)
    count = count.reshape(n, -1).astype(np.float32)
    # one L* unit per pixel: below it a flat picture's noise would be blown up
    area = (
        np.float32((h - 2) * (w - 2))
        if inner is None
        else inner.reshape(n, -1).sum(axis=1)[:, None]
    )
    return np.sqrt(count / (count.sum(axis=1, keepdims=True) + area + np.float32(1e-6)))


# ---- learned convolution


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


def normalize_patches(patches, floor=PATCH_FLOOR):
    """Subtract each patch's mean and divide by its deviation [4]_: (m, d) -> (m, d)."""
    centered = patches - patches.mean(axis=1, keepdims=True)
    variance = np.einsum("ij,ij->i", centered, centered) / patches.shape[1]
    return centered / np.sqrt(variance + np.float32(floor))[:, None]


def whitening(patches, epsilon=0.01):
    """Mean and ZCA matrix of normalized patches [4]_: (m, d) -> (d,), (d, d)."""
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
    """Soft-thresholded responses [4]_ pooled over the picture: (n, h, w, c) -> (n, 3
    k).

    The mean of either sign and the root of the joint second moment, as fourth-root-like
    compressed numbers. With a mask only patches that are all rock count, and a picture
    without any is 0.
    """
    n, count, d = len(images), len(offsets), size * size * images.shape[3]
    flat = extract_patches(images, size, stride).reshape(-1, d)
    mean = flat @ np.full(d, 1 / d, np.float32)
    variance = np.einsum("ij,ij->i", flat, flat) / np.float32(d) - mean * mean
    response = flat @ weights
    response *= (1 / np.sqrt(np.maximum(variance, 0) + np.float32(floor)))[:, None]
    response -= offsets
    places = len(flat) // n
    if mask is None:
        share = np.full((n, 1, places), 1 / places, np.float32)
    else:
        inside = extract_patches(mask[..., None].view(np.uint8), size, stride).min(
            axis=2
        )
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


# ---- Fisher vectors


def halve_colors(images, mask=None):
    """Average 2 x 2 blocks of colors by `halve`: (n, h, w, c) -> (n, h // 2, w // 2, c),
    mask.
    """
    planes = [halve(images[..., c], mask) for c in range(images.shape[3])]
    return np.stack([plane for plane, _ in planes], axis=3), planes[0][1]


def normal_patches(images, size, stride, floor=PATCH_FLOOR):
    """Patches less their mean color and contrast, and both behind: (n, h, w, c) -> (n,
    m, size * size * c + c + 1).

    The contrast is the logarithm of what each patch is divided by.
    """
    n, channels = len(images), images.shape[3]
    patches = extract_patches(images, size, stride)
    patches = patches.reshape(n, -1, size * size, channels)
    mean = patches.mean(axis=2, keepdims=True)
    patches = (patches - mean).reshape(n, -1, size * size * channels)
    variance = np.einsum("ijk,ijk->ij", patches, patches) / patches.shape[2]
    deviation = np.sqrt(variance + np.float32(floor))[..., None]
    return np.concatenate(
        [patches / deviation, mean[:, :, 0], np.log(deviation)], axis=2
    )


def fisher_vectors(rows, inside, weights, means, precisions):
    """Improved Fisher vectors [6]_ of m rows a picture: (n, m, d), (n, m) bool, (k,),
    (k, d) twice -> (n, 2 k d).

    With the posteriors q of a mixture of Gaussians, the gradients by mean and deviation
    are the averages of ``q (x - mean) / deviation / sqrt(weight)`` and of ``q ((x -
    mean)^2 / variance - 1) / sqrt(2 weight)``. Both follow from the sums of q, q x and
    q x^2. Signed square roots and a length of 1 make them comparable.
    """
    n, d = len(rows), rows.shape[2]
    flat = rows.reshape(-1, d)
    squares = flat * flat
    # log N(x) but for the terms that all Gaussians share
    bias = (
        np.log(weights) + (np.log(precisions) - means * means * precisions).sum(1) / 2
    )
    logit = flat @ (means * precisions).T - squares @ (precisions.T / 2) + bias
    logit -= logit.max(axis=1, keepdims=True)
    posterior = np.exp(logit)
    posterior /= posterior.sum(axis=1, keepdims=True)
    share = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    posterior *= share.reshape(-1, 1).astype(np.float32)
    posterior = posterior.reshape(n, -1, len(weights)).transpose(0, 2, 1)
    zeroth = posterior.sum(axis=2)[..., None]
    first, second = posterior @ rows, posterior @ squares.reshape(rows.shape)
    by_mean = (first - means * zeroth) * np.sqrt(precisions)
    by_deviation = (
        second - 2 * means * first + means**2 * zeroth
    ) * precisions - zeroth
    by_deviation *= np.float32(np.sqrt(0.5))
    out = np.stack([by_mean, by_deviation], axis=1) / np.sqrt(weights)[:, None]
    out = out.reshape(n, -1)
    out = np.sign(out) * np.sqrt(np.abs(out))
    length = np.linalg.norm(out, axis=1, keepdims=True)
    return out / np.maximum(length, np.float32(1e-12))
