"""Keypoints of large photographs: where a part of one occurs, turned, scaled and relit.

scikit-image's SIFT finds and describes them; this module does so in bands, matches the
descriptors and lets the matches vote for similarity transforms.

References
----------
.. [1] Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60(2),
   2004.
.. [2] Arandjelović & Zisserman, "Three things everyone should know to improve object
   retrieval", CVPR 2012 (descriptors compared by the Hellinger kernel).
.. [3] Philbin et al., "Object retrieval with large vocabularies and fast spatial
   matching", CVPR 2007 (a transform from a single match, scored by its inliers).
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage.feature import SIFT

CONTRAST = 0.004  # least response; rock has little contrast, and the vote bears noise
BAND = 1 << 22  # pixels of a photograph described together, some 400 MB
MARGIN = 96  # rows around a band, which its largest keypoints need
_LENGTH = 128  # of a descriptor
_NEIGHBORS = 5  # stored keypoints that one of the candidate's votes by
_MOST = 1500  # keypoints of a candidate
_BLOCK = 1 << 24  # values of a block of products
_GROUP = 32  # values whose maximum is looked at first
_MANY = 100_000  # keypoints from which on they are compared along few axes first
_AXES, _NEAR = 32, 4  # axes, and what is compared in full, beside the neighbors
_BIN = np.pi / 18  # of angles; scikit-image gives the upper end of each
_TURN, _ZOOM, _SHIFT = 0.35, 0.3, 0.12  # radians, log, share of the side: agreement
_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


class Keypoints(NamedTuple):
    """Keypoints of a picture.

    Parameters
    ----------
    places : ndarray of shape (n, 4), float32
        x, y (pixels, of pixel centers + 0.5), size (pixels) and angle (radians).
    descriptors : ndarray of shape (n, 128), uint8
    """

    places: np.ndarray
    descriptors: np.ndarray

    def __len__(self):
        return len(self.places)

    def packed(self):
        """As rows of bytes: (n, 144) uint8."""
        return np.hstack([self.places.view(np.uint8), self.descriptors])

    @classmethod
    def unpacked(cls, rows):
        """From rows of bytes: (n, 144) uint8."""
        places = np.ascontiguousarray(rows[:, :-_LENGTH]).view(np.float32)
        return cls(places, np.ascontiguousarray(rows[:, -_LENGTH:]))

    @classmethod
    def joined(cls, parts):
        """Of several pictures or bands."""
        places = [np.empty((0, 4), np.float32), *(part.places for part in parts)]
        descriptors = [part.descriptors for part in parts]
        return cls(
            np.concatenate(places),
            np.concatenate([np.empty((0, _LENGTH), np.uint8), *descriptors]),
        )


def luma(image):
    """Gray of a picture: (h, w, 3) uint8 -> (h, w) float32 in 0–1."""
    return (image @ _LUMA) / np.float32(255)


def describe(gray, upsampling=1, known=None):
    """Find and describe the keypoints of one picture [1]_.

    Parameters
    ----------
    gray : ndarray of shape (h, w), float32
    upsampling : int, default=1
        2 finds smaller ones, too.
    known : ndarray of shape (h, w), bool, optional
        Where there is picture; keypoints near other pixels are left out.

    Returns
    -------
    keypoints : Keypoints
    """
    sift = SIFT(upsampling=upsampling, c_dog=CONTRAST)
    try:
        sift.detect_and_extract(gray)
    except (RuntimeError, ValueError):  # none, or a picture of a few pixels
        return Keypoints.joined([])
    places = np.column_stack(
        [sift.positions[:, ::-1] + 0.5, sift.sigmas, sift.orientations]
    ).astype(np.float32)
    found = Keypoints(places, sift.descriptors.astype(np.uint8))
    if known is None or known.all():
        return found
    distance = ndimage.distance_transform_edt(known)
    x, y = (places[:, i].astype(int) for i in (0, 1))
    whole = distance[y, x] > 3 * places[:, 2]
    return Keypoints(places[whole], found.descriptors[whole])


def describe_bands(read, height, width):
    """Describe a photograph band by band.

    Parameters
    ----------
    read : callable
        (top, bottom) -> pixels (h, w, 3) uint8 and where they are known (h, w) bool.
    height, width : int
        Of the photograph, in pixels.

    Returns
    -------
    keypoints : Keypoints
    """
    parts, rows = [], max(2 * MARGIN, BAND // width - 2 * MARGIN)
    for top in range(0, height, rows):
        first, last = max(0, top - MARGIN), min(height, top + rows + MARGIN)
        pixels, known = read(first, last)
        if not known.any():
            continue
        places, descriptors = describe(luma(pixels), known=known)
        places = places + np.array([0, first, 0, 0], np.float32)
        inside = (places[:, 1] >= top) & (places[:, 1] < top + rows)
        parts.append(Keypoints(places[inside], descriptors[inside]))
    return Keypoints.joined(parts)


def describe_candidate(image, known=None):
    """Describe what is searched for: (h, w, 3) uint8, (h, w) bool -> Keypoints."""
    small = min(image.shape[:2]) < 256
    found = describe(luma(image), 2 if small else 1, known)
    if len(found) <= _MOST:
        return found
    # The largest are the most certain, but all sizes are needed: zoomed out, the small
    # ones vanish.
    order = np.argsort(-found.places[:, 2], kind="stable")
    large, small = order[: _MOST // 2], order[_MOST // 2 :]
    order = np.concatenate([large, small[:: 2 * len(small) // _MOST + 1]])
    return Keypoints(found.places[order], found.descriptors[order])


def mirror(found, width):
    """The keypoints of a picture, `width` px wide, when it is mirrored left-right."""
    places = found.places.copy()
    places[:, 0] = width - places[:, 0]
    places[:, 3] = _BIN - places[:, 3]
    rows = found.descriptors.reshape(-1, 4, 4, 8)  # down, across, direction
    rows = rows[:, :, ::-1][..., -np.arange(8) % 8]
    return Keypoints(places, np.ascontiguousarray(rows.reshape(-1, _LENGTH)))


def _hellinger(descriptors):
    """Rows whose products are Hellinger kernels [2]_: (n, 128) -> (n, 128) float32."""
    rows = descriptors.astype(np.float32)
    total = rows.sum(axis=1, keepdims=True)
    return np.sqrt(rows / np.maximum(total, 1))


def _best(products, k):
    """Positions of the k largest of each row: (m, n) -> (m, k), −1 where n < k."""
    m, n = products.shape
    if n <= k:
        return np.pad(
            np.tile(np.arange(n), (m, 1)), ((0, 0), (0, k - n)), constant_values=-1
        )
    # Of groups of 32 those with the k largest maxima hold them: a fifteenth of the time.
    groups = -(-n // _GROUP)
    even = products
    if n % _GROUP:
        even = np.pad(
            products, ((0, 0), (0, groups * _GROUP - n)), constant_values=-np.inf
        )
    even = even.reshape(m, _GROUP, groups)
    most = even.max(axis=1)
    if groups > k:
        chosen = np.argpartition(-most, k - 1, axis=1)[:, :k]
    else:
        chosen = np.tile(np.arange(groups), (m, 1))
    places = (chosen[:, None] + groups * np.arange(_GROUP)[:, None]).reshape(m, -1)
    values = np.take_along_axis(even.reshape(m, -1), places, axis=1)
    order = np.argpartition(-values, k - 1, axis=1)[:, :k]
    return np.take_along_axis(places, order, axis=1)


def match(candidate, stored, k=_NEIGHBORS):
    """Match descriptors: -> positions among the stored ones (m, k) and products.

    Among many, the nearest of `_NEAR` times as many in the plane of the largest
    variances are compared in full.
    """
    mine, many = _hellinger(candidate.descriptors), len(stored) > _MANY
    axes, wanted = None, k
    if many:
        sample = _hellinger(stored.descriptors[:: len(stored) // 20_000 + 1])
        # Not centered: products, not distances, are compared.
        axes = np.linalg.eigh(sample.T @ sample)[1][:, -_AXES:]
        wanted = _NEAR * k
    asked = mine @ axes if many else mine
    best = np.full((len(mine), wanted), -1, np.int64)
    value = np.full((len(mine), wanted), -np.inf, np.float32)
    step = max(_GROUP * wanted, _BLOCK // max(1, len(mine)) // _GROUP * _GROUP)
    for start in range(0, len(stored), step):
        theirs = _hellinger(stored.descriptors[start : start + step])
        part = asked @ (theirs @ axes if many else theirs).T
        chosen = _best(part, wanted)
        values = np.where(chosen < 0, -np.inf, np.take_along_axis(part, chosen, axis=1))
        places = np.hstack([best, np.where(chosen < 0, -1, chosen + start)])
        values = np.hstack([value, values])
        order = np.argsort(-values, axis=1, kind="stable")[:, :wanted]
        value = np.take_along_axis(values, order, axis=1)
        best = np.take_along_axis(places, order, axis=1)
    if many:
        value = np.stack(
            [
                np.einsum("ij,ij->i", mine, _hellinger(stored.descriptors[column]))
                for column in best.T
            ],
            axis=1,
        )
        order = np.argsort(-value, axis=1, kind="stable")[:, :k]
        value = np.take_along_axis(value, order, axis=1)
        best = np.take_along_axis(best, order, axis=1)
    return best, value


class Pose(NamedTuple):
    """Where a candidate lies on a photograph.

    `x` and `y` are the photograph's pixel at the candidate's center, `zoom` how many of
    the candidate's pixels one of the photograph takes, and `angle` (radians) turns the
    candidate, mirrored or not, onto the photograph.
    """

    x: float
    y: float
    zoom: float
    angle: float
    votes: int


def vote(candidate, shape, stored, matches, zooms, most=20):
    """Let matches vote for poses on one photograph [3]_.

    Parameters
    ----------
    candidate, stored : Keypoints
    shape : tuple of int
        (height, width) of the candidate.
    matches : ndarray of shape (m, k), int
        For each keypoint of the candidate stored ones of this photograph, or −1.
    zooms : tuple of float
        Smallest and largest zoom.
    most : int, default=20
        Number of poses returned.

    Returns
    -------
    poses : list of Pose
        By falling number of votes; none has votes that a better one has.
    """
    own, k = np.nonzero(matches >= 0)
    other = matches[own, k]
    mine, theirs = (
        candidate.places[own].astype(float),
        stored.places[other].astype(float),
    )
    zoom = mine[:, 2] / theirs[:, 2]
    fits = (zoom > zooms[0]) & (zoom < zooms[1])
    own, mine, theirs, zoom = own[fits], mine[fits], theirs[fits], zoom[fits]
    if not len(own):
        return []
    # scikit-image measures angles from the rows to the columns.
    angle = mine[:, 3] - theirs[:, 3]
    arm = (np.array(shape[::-1]) / 2 - mine[:, :2]) / zoom[:, None]
    cosine, sine = np.cos(angle), np.sin(angle)
    x = theirs[:, 0] + cosine * arm[:, 0] - sine * arm[:, 1]
    y = theirs[:, 1] + sine * arm[:, 0] + cosine * arm[:, 1]
    reach = _SHIFT * max(shape) / zoom
    poses, free = [], np.ones(len(own), bool)
    order = np.argsort(x)
    xs = x[order]
    votes = np.zeros(len(own), int)

    def agreeing(i):
        low, high = np.searchsorted(xs, [x[i] - reach[i], x[i] + reach[i]])
        near = order[low:high]
        near = near[free[near]]
        turn = abs((angle[near] - angle[i] + np.pi) % (2 * np.pi) - np.pi)
        return near[
            (np.hypot(x[near] - x[i], y[near] - y[i]) < reach[i])
            & (abs(np.log(zoom[near] / zoom[i])) < _ZOOM)
            & (turn < _TURN)
        ]

    for i in range(len(own)):
        votes[i] = len(np.unique(own[agreeing(i)]))
    for i in np.argsort(-votes, kind="stable"):
        if len(poses) == most:
            break
        if not free[i]:
            continue
        near = agreeing(i)
        count = len(np.unique(own[near]))
        poses.append(
            Pose(
                float(np.median(x[near])),
                float(np.median(y[near])),
                float(np.exp(np.median(np.log(zoom[near])))),
                float(np.angle(np.exp(1j * angle[near]).sum())),
                count,
            )
        )
        free[near] = False
        free[i] = False
    return sorted(poses, key=lambda pose: -pose.votes)
