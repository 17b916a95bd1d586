"""Locate a picture inside large photographs that were cut into tiles."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage, optimize
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from ..features import keypoints
from ..features.base import PictureFeatures, spread
from ..features.keypoints import Keypoints, Pose
from ..pictures import averages
from ..pictures.color import srgb_to_lab
from ..pictures.perspective import mapped, to_front
from ..pictures.resizing import resize_image
from ..pictures.scaling import on_white
from ..pictures.validation import check_picture
from .base import check_count

ZOOMS = (0.4, 2.5)  # pixels of the candidate per pixel of the photograph
FOUND = 0.35  # verification up to which it is the same place
_GRID = 32  # points along the longer side, at which colors are compared
_SAMPLES = 2  # along each side of a point
_NOISE = 0.5  # (L* units)^2: what rounding leaves on a flat picture
_LOCAL = 2.0  # points, of the Gaussian of a local mean
_FILL = 12  # levels from black and white, of what fills the corners of turned pictures
_COVER = 0.5  # of the candidate that must lie on known pixels
_LEARNED = 1000  # tiles that the features of a model not fitted learn from
_SHORTLIST = 40  # tiles whose pose is tried
_TRIED, _REFINED = 40, 12  # places, beyond those asked for
_APART = 0.4  # of the smaller of two boxes, from which they are one answer
_LEFT_OUT = 0.05  # of the smaller box: what an answer may share with one left out
_COLUMNS = [
    *("photo", "x", "y", "width", "height", "scale", "orientation", "mirrored"),
    *("depth_from", "depth_to", "verification", "similarity", "found"),
]


def _rows_of(table):
    """The straightened rows of core that tiles show: a line for each."""
    return table.drop_duplicates("row").sort_values("strip_top")


def _corners_of(row):
    """Corners of a row on its photograph: (4, 2)."""
    return np.array(row["corners"].split(), float).reshape(4, 2)


def _as_seen(table):
    """Places of tiles in what they show: the photograph, or its straightened rows."""
    if "strip_x" not in table:
        return table.assign(
            seen_width=table["photo_width"], seen_height=table["photo_height"]
        )
    height = (table["strip_top"] + table["row_height"]).groupby(table["lineage"])
    width = table["row_width"].groupby(table["lineage"])
    return table.assign(
        x=table["strip_x"],
        y=table["strip_y"],
        width=table["strip_side"],
        height=table["strip_side"],
        seen_width=width.transform("max"),
        seen_height=height.transform("max"),
    )


class Mosaic:
    """A photograph put together again from its tiles.

    Parameters
    ----------
    tiles : Collection
        Made by `Collection.from_tiles`.
    positions : ndarray of shape (n,), int
        Tiles of one photograph.
    table : DataFrame
        Their rows.
    """

    def __init__(self, tiles, positions, table):
        # The finest scale has the most to show.
        finest = table["scale"].to_numpy() == table["scale"].min()
        self.tiles, self.positions = tiles, positions[finest]
        self.factor = float(table["scale"].min())
        first = table.iloc[0]
        self.photo, self.name = first["photo"], first["lineage"]
        self.sha256 = first["sha256"]
        self.width, self.height = int(first["photo_width"]), int(first["photo_height"])
        width, height = int(first["seen_width"]), int(first["seen_height"])
        side = tiles.image_shape[0]
        self.side = side
        self.rows = _rows_of(table) if "strip_x" in table else None
        corners = table.loc[finest, ["x", "y"]].to_numpy(float) / self.factor
        self.corners = np.rint(corners).astype(int)
        self.shape = (
            max(round(height / self.factor), int(self.corners[:, 1].max()) + side),
            max(round(width / self.factor), int(self.corners[:, 0].max()) + side),
        )

    def on_photo(self, x, y):
        """Where a point (in pixels of the photograph, as tiles show it) lies on it.

        Returns x, y, pixels of the photograph per pixel, and angle (clockwise, radians)
        by which the photograph is turned there. Tiles of core show straightened rows.
        """
        if self.rows is None:
            return x, y, 1.0, 0.0
        tops = self.rows["strip_top"].to_numpy()
        row = self.rows.iloc[max(0, int(np.searchsorted(tops, y, side="right")) - 1)]
        size = np.array([row["row_width"], row["row_height"]])
        points = np.array([[0, 0], [1, 0], [0, 1]], float)
        points += np.array([x, y - row["strip_top"]])
        back = np.linalg.inv(to_front(_corners_of(row)))
        here, right, down = mapped(back, points / size)
        size = (np.linalg.norm(right - here) + np.linalg.norm(down - here)) / 2
        return *here, float(size), float(np.arctan2(*(right - here)[::-1]))

    def depth(self, x, y, width):
        """Depth interval of a box, where rows are known to have one, or NaN."""
        tops = self.rows["strip_top"].to_numpy()
        row = self.rows.iloc[max(0, int(np.searchsorted(tops, y, side="right")) - 1)]
        per_pixel = (row["row_to"] - row["row_from"]) / row["row_width"]
        ends = np.clip([x, x + width], 0, row["row_width"])
        return tuple(np.round(row["row_from"] + ends * per_pixel, 3))

    def part(self, x, y, width, height, most):
        """A part of the photograph, in its own pixels: (h, w, 3), known (h, w).

        The longer side has `most` pixels at most.
        """
        shrink = min(1.0, most / max(width, height))
        size = max(1, round(height * shrink)), max(1, round(width * shrink))
        pixels = np.full((*size, 3), 255, np.uint8)
        known = np.zeros(size, bool)
        at = np.stack(
            np.meshgrid(
                x + (np.arange(size[1]) + 0.5) * width / size[1],
                y + (np.arange(size[0]) + 0.5) * height / size[0],
            ),
            axis=-1,
        )
        for _, row in self.rows.iterrows():
            place = mapped(to_front(_corners_of(row)), at)
            inside = ((place > 0) & (place < 1)).all(axis=-1)
            if not inside.any():
                continue
            high, wide = (row[n] / self.factor for n in ("row_height", "row_width"))
            top = round(row["strip_top"] / self.factor)
            strip, there = self.read(top, top + round(high), 0, round(wide))
            shrunk = tuple(max(1, round(n * shrink)) for n in strip.shape[:2])
            strip = resize_image(strip, shrunk, "stretch")
            there = resize_image(
                np.repeat(there[..., None] * np.uint8(255), 3, 2), shrunk, "stretch"
            )
            column, line = (place[inside] * [shrunk[1], shrunk[0]]).astype(int).T
            known[inside] = there[line, column, 0] > 127
            pixels[inside] = strip[line, column]
        pixels[~known] = 255
        return pixels, known

    def read(self, top, bottom, left=0, right=None):
        """Pixels of the finest scale and where they are known: (h, w, 3), (h, w)."""
        right = self.shape[1] if right is None else right
        pixels = np.zeros((bottom - top, right - left, 3), np.uint8)
        known = np.zeros(pixels.shape[:2], bool)
        x, y = self.corners.T
        near = np.flatnonzero(
            (y < bottom) & (y + self.side > top) & (x < right) & (x + self.side > left)
        )
        needed, parts = [], []
        for i in near:
            rows = slice(max(y[i] - top, 0), min(y[i] + self.side, bottom) - top)
            columns = slice(max(x[i] - left, 0), min(x[i] + self.side, right) - left)
            if not known[rows, columns].all():
                known[rows, columns] = True
                needed.append(i)
                parts.append((rows, columns))
        for start in range(0, len(needed), 512):
            some = needed[start : start + 512]
            images = self.tiles[self.positions[some]][..., :3]
            for i, image, (rows, columns) in zip(
                some, images, parts[start : start + 512], strict=True
            ):
                pixels[rows, columns] = image[
                    rows.start + top - y[i] : rows.stop + top - y[i],
                    columns.start + left - x[i] : columns.stop + left - x[i],
                ]
        return pixels, known


def mosaics_of(tiles):
    """The photographs of a collection of tiles: list of `Mosaic`.

    Raises
    ------
    ValueError
        If it was not made of photographs.
    """
    table = tiles.table
    if not {"photo", "x", "y", "scale", "photo_width"} <= set(table.columns):
        raise ValueError(
            f"{tiles.path.name} holds no tiles of photographs; make a collection of "
            "them with 'geoimages tile PHOTOS -o tiles.h5'."
        )
    table = _as_seen(table)
    photos = pd.factorize(table["lineage"])[0]
    order = np.argsort(photos, kind="stable")
    ends = np.searchsorted(photos[order], np.arange(photos.max() + 2))
    parts = [order[a:b] for a, b in itertools.pairwise(ends)]
    return [Mosaic(tiles, part, table.iloc[part]) for part in parts]


class _Stored:
    """What the features' cache is named after."""

    def _identity(self):
        return "keypoints", keypoints.CONTRAST, keypoints.BAND


def stored_keypoints(tiles, mosaics):
    """Keypoints of all photographs, kept beside the collection: (Keypoints, owner).

    `owner` is the position of each one's photograph, (n,) int.
    """
    digest = tiles.digest(_Stored())
    kept = tiles.cache.read(digest)
    if kept is None or kept.dtype != np.uint8 or kept.shape[1] != 4 + 16 + 128:
        parts = [
            keypoints.describe_bands(mosaic.read, *mosaic.shape) for mosaic in mosaics
        ]
        owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        rows = Keypoints.joined(parts).packed()
        number = owner.astype("<u4").view(np.uint8).reshape(-1, 4)
        kept = np.hstack([number, rows])
        if tiles.keeps:
            tiles.cache.write(digest, kept, "keypoints of the photographs")
    owner = np.ascontiguousarray(kept[:, :4]).view("<u4").ravel().astype(int)
    return Keypoints.unpacked(kept[:, 4:]), owner


@dataclass
class _Answer:
    """A place on a photograph, in pixels of its finest scale."""

    mosaic: Mosaic
    pose: Pose
    mirrored: bool
    distance: float = 2.0
    box: tuple = (0.0, 0.0, 0.0, 0.0)  # x, y, width, height in the photograph's pixels

    @property
    def found(self):
        """Whether it counts as the same place."""
        return bool(self.distance <= FOUND)

    def on_photo(self):
        """Box, scale and orientation in pixels of the photograph."""
        x, y, width, height = self.box
        x, y, size, turn = self.mosaic.on_photo(x + width / 2, y + height / 2)
        width, height = width * size, height * size
        box = (x - width / 2, y - height / 2, width, height)
        scale = self.pose.zoom / self.mosaic.factor / size
        return box, scale, -np.rad2deg(self.pose.angle + turn) % 360

    def with_box(self, shape):
        """Set the box: x, y, width, height in what tiles show."""
        factor = self.mosaic.factor
        height, width = (side / self.pose.zoom * factor for side in shape[:2])
        x, y = self.pose.x * factor, self.pose.y * factor
        self.box = (x - width / 2, y - height / 2, width, height)
        return self


def _detail(values, weight):
    """Values less their local mean, divided by their local deviation: (h, w) twice."""

    def local(image):
        return ndimage.gaussian_filter(image, _LOCAL) / share

    share = np.maximum(ndimage.gaussian_filter(weight, _LOCAL), 1e-6)
    left = (values - local(values * weight)) * weight
    return left / np.sqrt(local(left**2) + _NOISE)


class _Probe:
    """A candidate at the resolution at which it is compared, and its comparison."""

    def __init__(self, image, shown=None):
        self.shape = image.shape[:2]
        self.reduction = max(1.0, max(self.shape) / _GRID)
        high, wide = (max(1, round(side / self.reduction)) for side in self.shape)
        self.size = high, wide
        small = averages.average_to(image[None], high, wide)[0]
        self.lab = srgb_to_lab(small)[0].reshape(-1, 3).astype(float)
        self.shown = np.ones(high * wide, bool)
        if shown is not None:
            share = averages.average_to(shown[None, ..., None] * 1.0, high, wide)[0]
            self.shown = share.ravel() > 0.99
        # The samples of a point lie in a row, so that they are averaged at once.
        y, x, down, right = np.mgrid[:high, :wide, :_SAMPLES, :_SAMPLES].reshape(4, -1)
        x = (x + (right + 0.5) / _SAMPLES) * self.shape[1] / wide - self.shape[1] / 2
        y = (y + (down + 0.5) / _SAMPLES) * self.shape[0] / high - self.shape[0] / 2
        self.points = x, y

    def _patch(self, mosaic, pose):
        """The photograph around a pose, reduced like the candidate: colors in CIELAB,
        known share, place of its corner, and its own reduction.
        """
        reach = np.hypot(*self.shape) / 2 / pose.zoom * 1.1 + 4
        left, top = (max(0, int(at - reach)) for at in (pose.x, pose.y))
        right = min(mosaic.shape[1], int(pose.x + reach) + 1)
        bottom = min(mosaic.shape[0], int(pose.y + reach) + 1)
        if right - left < 4 or bottom - top < 4:
            return None
        pixels, known = mosaic.read(top, bottom, left, right)
        if not known.any():
            return None
        reduction = max(1.0, self.reduction / pose.zoom / _SAMPLES)
        high, wide = (max(1, round(n / reduction)) for n in known.shape)
        colors, _ = averages.average_to(pixels[None], high, wide)
        share, _ = averages.average_to(
            known[None, ..., None].astype(np.float32), high, wide
        )
        lab = srgb_to_lab(colors / np.maximum(share, 1e-3))[0].astype(float)
        scale = np.array([wide / known.shape[1], high / known.shape[0]])
        share = None if known.all() else share[0, ..., 0]
        return lab, share, np.array([left, top]), scale

    def _sample(self, patch, pose, channels=3):
        """Colors of the photograph at the candidate's points, and which are known."""
        lab, share, corner, scale = patch
        x, y = self.points
        cosine, sine = np.cos(pose.angle) / pose.zoom, np.sin(pose.angle) / pose.zoom
        across = (pose.x + cosine * x - sine * y - corner[0]) * scale[0] - 0.5
        down = (pose.y + sine * x + cosine * y - corner[1]) * scale[1] - 0.5
        inside = (across > -0.5) & (across < lab.shape[1] - 0.5)
        inside &= (down > -0.5) & (down < lab.shape[0] - 0.5)
        at = [down, across]
        if share is not None:
            covered = ndimage.map_coordinates(share, at, order=1, mode="nearest")
            inside &= covered > 0.9
        colors = [
            ndimage.map_coordinates(lab[..., i], at, order=1, mode="nearest")
            for i in range(channels)
        ]
        shape = -1, _SAMPLES**2
        colors = [values.reshape(shape).mean(axis=1) for values in colors]
        inside = inside.reshape(shape).all(axis=1) & self.shown
        return np.stack(colors, axis=1), inside

    def distance(self, patch, pose):
        """1 less the correlation of what is left of lightness without its local mean,
        in units of its local deviation: an edge alone is like any other edge.
        """
        colors, known = self._sample(patch, pose, 1)
        if known.sum() < max(16, _COVER * self.shown.sum()):
            return 2.0
        weight = known.reshape(self.size).astype(float)
        own, other = (
            _detail(values.reshape(self.size), weight)
            for values in (self.lab[:, 0], colors[:, 0])
        )
        return 1 - (own * other).sum() / np.sqrt(
            (own**2).sum() * (other**2).sum() + 1e-9
        )

    def score(self, mosaic, pose):
        """Distance at a pose as it is."""
        patch = self._patch(mosaic, pose)
        return 2.0 if patch is None else self.distance(patch, pose)

    def refine(self, mosaic, pose):
        """Refine a pose to the least difference of lightness: -> pose, distance."""
        patch = self._patch(mosaic, pose)
        if patch is None:
            return pose, 2.0
        size = max(self.shape) / pose.zoom

        def moved(step):
            return pose._replace(
                x=pose.x + step[0] * size,
                y=pose.y + step[1] * size,
                zoom=pose.zoom * np.exp(step[2]),
                angle=pose.angle + step[3],
            )

        def residual(step):
            colors, known = self._sample(patch, moved(step), 1)
            own, other = self.lab[:, 0], colors[:, 0]
            if known.sum() < 16:
                return np.full(len(own), 2.0)
            own, other = own - own[known].mean(), other - other[known].mean()
            spread = np.sqrt(
                (own[known] ** 2).mean() + (other[known] ** 2).mean() + 2 * _NOISE
            )
            return np.where(known, (own - other) / spread, 0)

        before = self.distance(patch, pose)
        found = optimize.least_squares(
            residual,
            np.zeros(4),
            bounds=([-0.2, -0.2, -0.25, -0.4], [0.2, 0.2, 0.25, 0.4]),
            diff_step=2e-3,
            max_nfev=8,
        )
        better = moved(found.x)
        after = self.distance(patch, better)
        return (better, after) if after < before else (pose, before)


def _scored(answers, probes, k):
    """Score places, refine the best of them, and sort them by their distance."""
    answers = sorted(answers, key=lambda answer: -answer.pose.votes)[: _TRIED + 4 * k]
    for answer in answers:
        probe = probes[answer.mirrored]
        answer.distance = probe.score(answer.mosaic, answer.pose)
    # Many votes outweigh colors that do not lie on each other yet.
    answers.sort(key=lambda a: a.distance / (1 + a.pose.votes))
    for answer in answers[: _REFINED + k]:
        probe = probes[answer.mirrored]
        answer.pose, answer.distance = probe.refine(answer.mosaic, answer.pose)
    return sorted(answers, key=lambda a: (a.distance, -a.pose.votes))


def _shared(a, b):
    """Share of the smaller of two boxes (x, y, width, height) that the other covers."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0.0, wide) * max(0.0, high) / min(a[2] * a[3], b[2] * b[3])


def _shown(picture):
    """Where a candidate is picture: not where a corner is filled with black or white, as
    turning a picture leaves it: (h, w) bool, or None where it is everywhere.
    """
    filled = np.zeros(picture.shape[:2], bool)
    for full in ((picture <= _FILL).all(axis=2), (picture >= 255 - _FILL).all(axis=2)):
        parts, _ = ndimage.label(full)
        corners = np.unique(parts[[0, 0, -1, -1], [0, -1, 0, -1]])
        filled |= np.isin(parts, corners[corners > 0])
    if not 0.01 < filled.mean() < 0.75:
        return None
    # Compression and resampling soften the edge.
    return ~ndimage.binary_dilation(filled, iterations=3)


def _by_keypoints(picture, shown, mosaics, stored, owner):
    """Places that keypoints vote for: list of `_Answer`."""
    shape = picture.shape[:2]
    plain = keypoints.describe_candidate(picture, shown)
    if not len(plain) or not len(stored):
        return []
    both = plain, keypoints.mirror(plain, shape[1])
    nearest, _ = keypoints.match(Keypoints.joined(both), stored)
    answers = []
    for mirrored, (candidate, near) in enumerate(
        zip(both, np.split(nearest, 2), strict=True)
    ):
        known = near >= 0
        photo = np.where(known, owner[np.maximum(near, 0)], -1)
        for i in np.unique(photo[known]):
            mosaic = mosaics[i]
            zooms = [zoom * mosaic.factor for zoom in ZOOMS]
            own = np.where(photo == i, near, -1)
            poses = keypoints.vote(candidate, shape, stored, own, zooms)
            answers += [_Answer(mosaic, pose, bool(mirrored)) for pose in poses]
    return answers


def _by_tiles(model, tiles, picture, mosaics, k):
    """Places of the tiles that the model ranks first: list of `_Answer`."""
    side = tiles.image_shape[:2]
    asked = resize_image(picture, side)
    if tiles.image_shape[2] == 4:
        asked = np.dstack([asked, np.full(side, 255, np.uint8)])
    matches = model.predict(asked, k_candidates=min(len(tiles), max(k, _SHORTLIST)))
    table = _as_seen(tiles.table)
    number = {mosaic.name: mosaic for mosaic in mosaics}
    answers = []
    for key, row in matches.iterrows():
        place = table.loc[key]
        mosaic = number[place["lineage"]]
        zoom = min(picture.shape[:2]) / place["width"] * mosaic.factor
        x = (place["x"] + place["width"] / 2) / mosaic.factor
        y = (place["y"] + place["height"] / 2) / mosaic.factor
        # The candidate was turned counter-clockwise; y points down.
        angle = -np.deg2rad(row.get("orientation", 0.0))
        mirrored = bool(row.get("mirrored", False))
        answers.append(_Answer(mosaic, Pose(x, y, zoom, angle, 0), mirrored))
    return answers


def _merged(answers, k, left_out):
    """The best k answers of those that are not the same place (greedily)."""
    chosen = []
    for answer in sorted(answers, key=lambda a: (a.distance, -a.pose.votes)):
        if len(chosen) == k:
            break
        same = [
            other.mosaic is answer.mosaic and _shared(other.box, answer.box) > _APART
            for other in chosen
        ]
        if not any(same) and not left_out(answer):
            chosen.append(answer)
    return chosen


def _depth_of(answer, tiles, table):
    """Depth interval of a box, from the tiles whose centers lie in it, or NaN."""
    if not {"depth_from", "depth_to"} <= set(table.columns):
        return np.nan, np.nan
    if answer.mosaic.rows is not None:
        x, y, width, height = answer.box
        return answer.mosaic.depth(x, y + height / 2, width)
    part = table.loc[table["lineage"] == answer.mosaic.name]
    x, y, width, height = answer.box
    across = (part["x"] + part["width"] / 2 - x - width / 2).abs() / width
    down = (part["y"] + part["height"] / 2 - y - height / 2).abs() / height
    away = np.maximum(across, down)
    inside = part.loc[away <= max(0.5, away.min())]
    return float(inside["depth_from"].min()), float(inside["depth_to"].max())


def locate(model, tiles, picture, k=5, *, left_out=None):
    """Find where a picture, or a part of one, occurs in large photographs.

    Keypoints of the photographs vote for places, angles and scales; the tiles that
    `model` ranks first are tried, too. Each place is then refined, laid over the
    photograph, and scored by the fine detail of both. The candidate may be turned by any
    angle, mirrored, and half to twice as large as in the photograph.

    Parameters
    ----------
    model : PairwiseModel or KMeansModel
        Ranks the tiles; fitted on `tiles`, or else fitted here.
    tiles : Collection
        Made by `Collection.from_tiles`. If it was opened with ``"r+"``, keypoints and
        features are kept beside it, and the next search takes seconds.
    picture : ndarray of shape (height, width, 3), uint8
        What to search for.
    k : int, default=5
        Number of answers.
    left_out : (str, (x, y, width, height)), optional
        SHA-256 of a photograph and a box in its pixels, as `read_box` returns them:
        answers that overlap the box are left out.

    Returns
    -------
    matches : DataFrame
        Its `k` rows, the best first: ``photo``, ``x``, ``y``, ``width``, ``height`` (the
        upright rectangle around the center found, in pixels of the upright photograph,
        whose size is the candidate's divided by ``scale``), ``scale``,
        ``orientation`` (degrees counter-clockwise by which the candidate is turned onto
        the photograph, once mirrored), ``mirrored``, ``depth_from``, ``depth_to``,
        ``verification`` (0 is the same, ascending), ``similarity`` (1 less it) and
        ``found``: whether it counts as the same place. Fewer rows only where the
        photographs hold no more places.

    Raises
    ------
    ValueError
        If `tiles` holds no tiles, or the picture has less than 16 px.
    """
    k = check_count("k", k)
    picture, shown = check_picture(picture), None
    if picture.shape[2] == 4:
        shown, picture = picture[..., 3] > 127, on_white(picture)
        shown = None if shown.all() else shown
    mosaics = mosaics_of(tiles)
    stored, owner = stored_keypoints(tiles, mosaics)
    shown = _shown(picture) if shown is None else shown
    probes = {}
    for mirrored in (False, True):
        part = slice(None, None, -1 if mirrored else 1)
        inside = None if shown is None else shown[:, part]
        probes[mirrored] = _Probe(np.ascontiguousarray(picture[:, part]), inside)
    answers = _by_keypoints(picture, shown, mosaics, stored, owner)
    answers = _scored(answers, probes, k)
    if not answers or not answers[0].found:
        others = _by_tiles(_fitted(model, tiles), tiles, picture, mosaics, k)
        answers += _scored(others, probes, k)
    for answer in answers:
        answer.with_box(picture.shape)
    answers = [
        a for a in answers if ZOOMS[0] < a.pose.zoom / a.mosaic.factor < ZOOMS[1]
    ]

    def hidden(answer):
        if left_out is None or answer.mosaic.sha256 != left_out[0]:
            return False
        return _shared(answer.on_photo()[0], left_out[1]) > _LEFT_OUT

    table = tiles.table
    rows = []
    for answer in _merged(answers, k, hidden):
        distance = round(answer.distance, 6)
        box, scale, orientation = answer.on_photo()
        depths = _depth_of(answer, tiles, table)
        rows.append(
            (
                answer.mosaic.photo,
                *np.round(box, 1),
                round(scale, 4),
                round(orientation, 1) % 360,
                answer.mirrored,
                *np.round(depths, 4),
                distance,
                round(1 - distance, 6),
                answer.found,
            )
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


def _fitted(model, tiles):
    """The model, fitted on the tiles if it is not."""
    try:
        check_is_fitted(model)
        if np.array_equal(model.keys_.astype(str), tiles.keys):
            return model
    except NotFittedError:
        pass
    model = clone(model).set_params(image_shape=tiles.image_shape)
    if isinstance(model.features, PictureFeatures) and len(tiles) > _LEARNED:
        # What the features learn is learned again by every process: from a part.
        features = clone(model.features).set_params(image_shape=tiles.image_shape)
        features.fit(tiles[spread(len(tiles), _LEARNED)])
        model.set_params(features=FrozenEstimator(features))
    return model.fit(tiles)
