"""Spatial verification: is one small picture another, rotated, cropped or mirrored?

A candidate is laid over a stored picture in every pose of a fixed table (rotations,
mirror images, zooms and shifts) and compared with it where they overlap. Shapes: ``m``
stored pictures, ``p`` poses, ``q`` points of the square grid on which colors are
compared, half as fine as the thumbnails. Nothing here validates.

References
----------
.. [1] Lin, "A concordance correlation coefficient to evaluate reproducibility",
   Biometrics 45(1), 1989.
.. [2] Lewis, "Fast normalized cross-correlation", Vision Interface, 1995.
.. [3] Philbin et al., "Object retrieval with large vocabularies and fast spatial
   matching", CVPR 2007 (a short list, re-ranked by spatial verification).
"""

from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.special import expit

from ..pictures import averages, color
from . import kernels

THUMBNAIL_SIDE = 28  # px
SMALLEST_SIDE = 8  # px
ANGLES = (0, 15, 30, 45, 60, 75)  # degrees; rotations by quarters do the rest
ZOOMS = (1.0, 1.14, 1.31, 1.5, 1 / 1.14, 1 / 1.31, 1 / 1.5)
SHIFT = 0.05  # step of the shifts, of a side
NOISE = 0.3  # (L* units)^2: what rounding leaves on a flat picture
OVERLAP = 0.5  # of the smaller picture: what a pose must show to count
_SAMPLES = 2  # along each side of a point
# Of the logistic regression on log(distance + LEAST) that `python -m benchmarks
# verification` learns on drawn rocks. On the archive's dev part, which it does not see,
# its calibration error is 0.015, and 0.93 of the answers are right.
LEAST = 0.05  # so that the logarithm of 0 is finite
_SLOPE, _INTERCEPT = -5.129, -8.195


def thumbnails(images, mask=None, side=THUMBNAIL_SIDE):
    """Average pictures down to squares: (n, h, w, 3), mask -> (n, s, s, 3 or 4) uint8.

    The fourth channel, there with a mask or where h is not w, is 255 on the picture and
    0 elsewhere. No picture is made larger.
    """
    images, mask = averages.at_most(images, side, mask)
    images, mask = kernels.at_least(images, SMALLEST_SIDE, mask)
    if images.dtype != np.uint8:
        images = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    n, h, w, _ = images.shape
    if mask is None and h == w:
        return np.ascontiguousarray(images)
    s = max(h, w)
    top, left = (s - h) // 2, (s - w) // 2
    out = np.zeros((n, s, s, 4), np.uint8)
    inner = out[:, top : top + h, left : left + w]
    inner[..., :3] = images
    inner[..., 3] = 255
    if mask is not None:
        inner *= mask[..., None]
    return out


def pose_table(side, angles=ANGLES):
    """Poses of a candidate: (p, 4) of angle in degrees, zoom, and shift down and right
    in pixels.

    Zoom says how many times larger the candidate shows things than the stored picture.
    Shifts keep the smaller of the two, rotated, within the larger.
    """
    poses = []
    for zoom in ZOOMS:
        for angle in angles:
            extent = np.cos(np.deg2rad(angle)) + np.sin(np.deg2rad(angle))
            larger, smaller = max(1, 1 / zoom), min(1, 1 / zoom)
            room = max(0, larger - extent * smaller) / 2
            steps = int(np.ceil(room / (SHIFT * larger) - 0.25))
            shifts = side * np.linspace(-room, room, 2 * steps + 1) if steps else [0]
            poses += [(angle, zoom, y, x) for y in shifts for x in shifts]
    return np.array(poses, float)


@lru_cache(maxsize=8)
def sampler(side, angles=None):
    """What reads a candidate's colors in each pose: a sparse matrix (p * q, side *
    side), the share of each point that the candidate covers, (p, q), and the poses.

    Without `angles` there is one pose only, in which a picture lies over itself.
    """
    poses = np.array([[0.0, 1, 0, 0]]) if angles is None else pose_table(side, angles)
    grid = (side + 1) // 2
    place = (np.arange(grid * _SAMPLES) + 0.5) * side / (grid * _SAMPLES) - side / 2
    place = place.reshape(grid, _SAMPLES)
    angle, zoom, down, right = (v[:, None, None, None, None] for v in poses.T)
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    y = place[:, None, :, None] - down
    x = place[None, :, None, :] - right
    rows = zoom * (cosine * y + sine * x)
    columns = zoom * (cosine * x - sine * y)
    inside = np.maximum(abs(rows), abs(columns)) <= side / 2 + 1e-6
    count = inside.sum(axis=(3, 4), keepdims=True)
    share = inside / np.maximum(count, 1)
    rows, columns = (np.clip(v + (side - 1) / 2, 0, side - 1) for v in (rows, columns))
    top, left = (np.minimum(v.astype(int), side - 2) for v in (rows, columns))
    lower, righter = rows - top, columns - left
    point = np.arange(count.size).reshape(count.shape) + np.zeros_like(top)
    matrix = sparse.csr_matrix((count.size, side * side), dtype=np.float32)
    for i, by_row in enumerate((1 - lower, lower)):
        for j, by_column in enumerate((1 - righter, righter)):
            weight = (share * by_row * by_column).astype(np.float32).ravel()
            pixel = ((top + i) * side + left + j).ravel()
            used = weight > 0
            matrix += sparse.csr_matrix(
                (weight[used], (point.ravel()[used], pixel[used])), shape=matrix.shape
            )
    covered = (count / _SAMPLES**2).astype(np.float32)
    return matrix, covered.reshape(len(poses), -1), poses


def _read(images, matrix, covered, tint=None):
    """Read k thumbnails at the points of p poses: (k, s, s, 3 or 4) -> CIELAB times
    weights (k * p, 3, q), squares times weights summed over the channels (k * p, q),
    weights, (k * p, q), or (p, q) where all is picture, the picture's share of each
    thumbnail, and the mean a* and b* of the first.

    Sums of small numbers lose less to rounding, so a picture's own mean L* is subtracted
    and, from all, `tint`, by default the mean a* and b* of the first.
    """
    k, pixels, (p, q) = len(images), matrix.shape[1], covered.shape
    lab = color.srgb_to_lab(images[..., :3]).reshape(k, pixels, 3)
    inside = np.ones((k, pixels), np.float32)
    if images.shape[3] == 4:
        inside = (images[..., 3].reshape(k, pixels) > 127).astype(np.float32)
    size = np.maximum(inside.sum(axis=1), 1)[:, None]
    mean = np.einsum("ijk,ij->ik", lab, inside) / size
    tint = mean[0, 1:] if tint is None else tint
    mean[:, 1:] = tint
    lab -= mean[:, None]
    if images.shape[3] == 3:
        weights = covered[None]
    else:
        lab *= inside[..., None]
        share = (matrix @ inside.T).T.reshape(k, p, q)
        weights = covered * share
    colors = matrix @ lab.transpose(1, 0, 2).reshape(pixels, 3 * k)
    colors = np.ascontiguousarray(colors.reshape(p, q, k, 3).transpose(2, 0, 3, 1))
    if images.shape[3] == 4:
        colors /= np.maximum(share, np.float32(1e-6))[:, :, None]
    weighted = colors * weights[:, :, None]
    squares = np.einsum("kpcq,kpcq->kpq", weighted, colors)
    return (
        weighted.reshape(k * p, 3, q),
        squares.reshape(k * p, q),
        weights.reshape(-1, q),
        inside.mean(axis=1),
        tint,
    )


def _rotate(points, quarters):
    """Rotate what lies on a grid by quarters: (p, ..., q) -> (quarters * p, ..., q)."""
    grid = round(points.shape[-1] ** 0.5)
    square = points.reshape(*points.shape[:-1], grid, grid)
    rotated = [np.rot90(square, k, axes=(-2, -1)) for k in range(quarters)]
    return np.concatenate(rotated).reshape(-1, *points.shape[1:])


def _distances(candidate, stored, shape):
    """Distances and overlaps in every pose, from what `_read` made of either: -> twice
    (m or 1, *shape), shape being (quarters, views, poses).

    With a and b the two pictures' sums over an overlap of n points, the distance is
    ``(|a - b|^2 - (a_L - b_L)^2 / n) / (|a|^2 + |b|^2 - (a_L^2 + b_L^2 + 2 a_a b_a + 2
    a_b b_b) / n + noise)``. All sums are matrix products [2]_.
    """
    colors, squares, weights = candidate
    own, own_squares, known = stored
    quarters, _, poses = shape

    def over(values):
        # The mirror image of a whole picture covers what the picture covers.
        return (values @ weights.T).reshape(len(values), quarters, -1, poses)

    def under(values):
        return (known @ values.T).reshape(len(known), *shape)

    count = np.maximum(over(known), np.float32(1e-6))
    total = over(own_squares) + under(squares)
    distance = own.reshape(len(own), -1) @ colors.reshape(len(colors), -1).T
    distance = distance.reshape(-1, *shape)
    distance *= -2
    distance += total
    first, second = over(own[:, 0]), under(colors[:, 0])
    total -= first * first / count
    total += np.float32(2 * NOISE) * count - second * second / count
    difference = first - second
    difference *= difference
    difference /= count
    distance -= difference
    for channel in (1, 2):
        total -= over(own[:, channel]) / count * (2 * under(colors[:, channel]))
    distance /= total
    return distance, count


def _exact(candidate, stored):
    """Distance in one pose for each stored picture, in float64: two of (m, 3, q),
    weights (m, q) -> (m,).
    """
    colors, other = (
        weighted / np.maximum(weights, 1e-6)[:, None].astype(np.float64)
        for weighted, weights in (candidate, stored)
    )
    weights = candidate[1] * stored[1].astype(np.float64)
    weights = (weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12))[:, None]
    means, variances = [], []
    for values in (colors, other, colors - other):
        mean = (values * weights).sum(axis=2, keepdims=True)
        means.append(mean[..., 0])
        variances.append((((values - mean) ** 2) * weights).sum(axis=(1, 2)))
    shift = (means[2][:, 1:] ** 2).sum(axis=1)
    return (variances[2] + shift) / (variances[0] + variances[1] + shift + 2 * NOISE)


def verify(candidate, shortlist, orientation="any"):
    """Compare a thumbnail with others in every pose: (s, s, c), (m, s, s, c) ->
    distance, degrees and mirrored, (m,) each.

    The distance is 1 less Lin's concordance [1]_ of the CIELAB colors in the overlap,
    less the mean lightness, in the best pose. "fixed" leaves the candidate upright,
    "rotations" rotates it by quarters, "any" by any angle, and mirrors it.
    """
    side, m = len(candidate), len(shortlist)
    if not m:
        return np.empty(0), np.empty(0), np.empty(0, bool)
    quarters = 1 if orientation == "fixed" else 4
    matrix, covered, poses = sampler(side, ANGLES if orientation == "any" else (0,))
    views = [candidate, candidate[:, ::-1]] if orientation == "any" else [candidate]
    shape = quarters, len(views), len(poses)
    *parts, share, tint = _read(np.stack(views), matrix, covered)
    candidate = [_rotate(part, quarters) for part in parts]
    matrix, covered, _ = sampler(side)
    *stored, own_share, _ = _read(shortlist, matrix, covered, tint)

    distance, count = _distances(candidate, stored, shape)
    # The candidate's area as a share of the stored picture's frame, and that one's own.
    least = np.minimum(share[0] / poses[:, 1] ** 2, own_share[:, None])
    least = OVERLAP * covered.size * least[:, None, None]
    distance[np.broadcast_to(count < least, distance.shape)] = 2
    best = distance.reshape(m, -1).argmin(axis=1)
    quarter, view, pose = np.unravel_index(best, shape)
    hopeless = distance[np.arange(m), quarter, view, pose] >= 2

    colors, _, weights = candidate
    weights = weights.reshape(quarters, -1, len(poses), covered.size)
    distance = _exact(
        (colors[best], weights[quarter, view % weights.shape[1], pose]),
        (stored[0], stored[2]),
    )
    distance[hopeless] = 2
    # Rounded, so that pictures that are the same tie.
    return np.round(distance, 9), 90.0 * quarter + poses[pose, 0], view == 1


def match_probability(distance):
    """Probability that the best match is the same picture: (n,) -> (n,)."""
    return expit(_SLOPE * np.log(distance + LEAST) + _INTERCEPT)
