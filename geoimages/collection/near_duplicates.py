"""Search for near-duplicates: what only rotation, light or compression changed."""

from io import BytesIO
from itertools import pairwise

import numpy as np
import pandas as pd
from PIL import Image
from scipy.fft import dct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from ..pictures.color import srgb_to_lab
from ..pictures.orientation import rotate
from ..pictures.scaling import on_white

_SIDE = 32  # pixels that larger pictures are averaged down to
_FREQUENCIES = 8  # a side, of the cosine transform
_LIGHT = 1.2  # most that a copy may be brighter, in sRGB or CIELAB
_QUALITY = 40  # of the JPEG whose harm is the measure of what a copy may suffer
_ROUNDING = 1e-5  # of float32 sums
_FLOOR = 0.35  # CIELAB units that rounding may cost
_COLOR = 2.5  # CIELAB units that the mean color may move
_BLACK = 16  # added to the lightness, so that other light scales all of CIELAB
_CELL = 512  # rows at most
_CHUNK = 1024  # rows that a cell is compared with at a time
_BLOCK = 1 << 14  # candidate pairs that are looked at together
_CROWDED = 16  # pairs of a product of matrices that take as long as one pair
_PAIRS = 2048  # verified at a time
_HELD = 8192  # pictures that are kept for the next pairs


def components(n, a, b):
    """Connected components of n nodes with edges a–b: ids in order of occurrence."""
    ends = np.asarray([a, b], np.int32)  # SciPy before 1.16 takes no wider ones here
    edges = coo_array((np.ones(len(a), bool), ends), shape=(n, n))
    ids = connected_components(edges, directed=False)[1]
    return pd.factorize(ids)[0]


def _rgb(images):
    """Put masked pictures on white, and give grey ones three channels."""
    if images.shape[3] == 4:
        return on_white(images)
    return np.broadcast_to(images, (*images.shape[:3], 3))


def _thumbnails(images):
    """Average down to 32 px a side: (n, h, w, 1, 3 or 4) -> (n, ≤ 32, ≤ 32, 3) uint8."""
    images = _rgb(images)
    height, width = images.shape[1:3]
    if max(height, width) <= _SIDE:
        return images
    size = (min(width, _SIDE), min(height, _SIDE))
    out = np.empty((len(images), *size[::-1], 3), np.uint8)
    for i, image in enumerate(images):
        picture = Image.fromarray(np.ascontiguousarray(image))
        out[i] = picture.resize(size, Image.Resampling.BOX)
    return out


def _spectra(thumbnails):
    """Low frequencies of the lightness: (n, h, w, 3) -> (n, k, k) of norm 1.

    The mean is left out. A picture of one color has norm 0.
    """
    luma = thumbnails @ np.array([0.299, 0.587, 0.114], np.float32)
    luma -= luma.mean(axis=(1, 2), keepdims=True)
    spectra = dct(luma, axis=1, norm="ortho")[:, :_FREQUENCIES]
    spectra = dct(spectra, axis=2, norm="ortho")[:, :, :_FREQUENCIES]
    spectra[:, 0, 0] = 0
    norms = np.sqrt(np.square(spectra).sum(axis=(1, 2), keepdims=True))
    spectra = np.where(norms > 0.1, spectra / np.maximum(norms, 0.1), 0)
    return spectra.astype(np.float32)


def _turn_spectra(spectra, degrees, mirrored):
    """The spectra of the rotated and mirrored pictures: (n, k, k) -> (n, k, k)."""

    def flip(spectra, axis):
        signs = (-1.0) ** np.arange(spectra.shape[axis], dtype=np.float32)
        return spectra * (signs[:, None] if axis == 1 else signs)

    if mirrored:
        spectra = flip(spectra, 2)
    for _ in range(degrees // 90):
        spectra = flip(spectra.swapaxes(1, 2), 1)
    return spectra


def _invariants(spectra):
    """What no turn or mirror changes: (n, k, l) -> (n, d).

    A frequency (u, v) and its transposed are taken together. The distance of two rows
    is never more than that of the spectra, in any orientation.
    """
    side = max(spectra.shape[1:])
    pads = ((0, 0), *((0, side - k) for k in spectra.shape[1:]))
    spectra = np.pad(spectra, pads)
    parity = np.arange(side) % 2
    i, j = np.triu_indices(side, 1)
    a, b = spectra[:, i, j], spectra[:, j, i]
    u, v = parity[i], parity[j]
    total, gap = (a + b) / np.sqrt(2), np.abs(a - b) / np.sqrt(2)
    first = np.where(u != v, np.maximum(np.abs(a), np.abs(b)), total)
    second = np.where(u != v, np.minimum(np.abs(a), np.abs(b)), gap)
    first = np.where(u * v == 1, np.abs(first), first)
    diagonal = spectra.diagonal(axis1=1, axis2=2)
    diagonal = np.where(parity == 1, np.abs(diagonal), diagonal)
    return np.concatenate([first, second, diagonal], axis=1).astype(np.float32)


def _harm(images, lab):
    """What JPEG at quality 40 does to texture: CIELAB units, (n, h, w, c) -> (n,).

    Their thumbnails in CIELAB are given.
    """
    again = np.empty((*images.shape[:3], 3), np.uint8)
    for i, image in enumerate(_rgb(images)):
        file = BytesIO()
        Image.fromarray(np.ascontiguousarray(image)).save(
            file, "JPEG", quality=_QUALITY
        )
        again[i] = Image.open(file)
    lost = lab - srgb_to_lab(_thumbnails(again))
    lost -= lost.mean(axis=(1, 2), keepdims=True)
    texture = np.sqrt(np.square(lost).sum(axis=3).mean(axis=(1, 2)))
    return np.maximum(texture, _FLOOR)


def fingerprints(images):
    """Spectra and mean colors of pictures: (n, h, w, c) -> (n, k, l) and (n, 3)."""
    thumbnails = _thumbnails(images)
    lab = srgb_to_lab(thumbnails).reshape(len(images), -1, 3)
    n_pixels = lab.shape[1]
    colors = np.full(n_pixels, 1 / n_pixels, np.float32) @ lab  # quicker than a mean
    colors[:, 0] += _BLACK
    return _spectra(thumbnails), colors


def sorted_rows(positions, spectra, colors):
    """What is known of some pictures, sorted so that each cell is a slice.

    Parameters
    ----------
    positions : ndarray of shape (n,)
    spectra, colors : ndarray
        `fingerprints` of all pictures.

    Returns
    -------
    rows : structured ndarray of shape (n,)
        ``position`` of the picture, ``size`` and ``hue`` (direction) of its mean color,
        ``reach`` (most that hues of copies are apart), ``spectrum``, ``invariants`` and
        ``harm`` (NaN where it is not known).
    """
    # A copy's color m is within _COLOR of a multiple g of the other's, g <= _LIGHT: the
    # sine of their angle is at most _COLOR _LIGHT / |m|, for either. As |m| >= _BLACK,
    # the chord is longer by less than 1 %.
    colors, side = colors[positions], max(spectra.shape[1:])
    sizes = np.linalg.norm(colors, axis=1)
    hues, reach = colors / sizes[:, None], 1.02 * _COLOR * _LIGHT / sizes
    scaled = np.log(sizes) / np.log(_LIGHT), *(hues / np.median(reach)).T
    order = _by_cell(np.stack(scaled, axis=1))
    rows = np.empty(
        len(order),
        [
            ("position", np.int64),
            ("size", np.float32),
            ("hue", np.float32, 3),
            ("reach", np.float32),
            ("harm", np.float32),
            ("spectrum", np.float32, spectra.shape[1:]),
            ("invariants", np.float32, side**2),
        ],
    )
    rows["position"], rows["size"], rows["hue"], rows["reach"] = (
        values[order] for values in (positions, sizes, hues, reach)
    )
    rows["harm"] = np.nan
    for start in range(0, len(rows), _BLOCK):
        some = rows[start : start + _BLOCK]
        some["spectrum"] = spectra[some["position"]]
        some["invariants"] = _invariants(some["spectrum"])
    return rows


def _brightest(size):
    """The most that the mean color of a copy may be, with some for rounding."""
    return (size + _COLOR) * _LIGHT + 0.1


def _halves(starts):
    """Halve all cells: where they start, and the last one ends."""
    middles = (starts[:-1] + starts[1:]) // 2
    return np.sort(np.concatenate([starts, middles]))


def _cells(n):
    """Where the cells of n rows start, and the last one ends: a power of 2 of cells."""
    starts = np.array([0, n])
    while starts[-1] - starts[-2] > _CELL:
        starts = _halves(starts)
    return starts


def _by_cell(points):
    """Sort points by cells, each half of a larger one, across its widest side."""
    order, starts = np.arange(len(points)), np.array([0, len(points)])
    while len(starts) < len(_cells(len(points))):
        for start, stop in pairwise(starts.tolist()):
            here = order[start:stop]
            column = points[here, points[here].std(axis=0).argmax()]
            order[start:stop] = here[np.argsort(column, kind="stable")]
        starts = _halves(starts)
    return order


def rounds(n):
    """The search among n rows, in rounds of tasks that know the groups of the last.

    First each range of cells with itself, then with that beside it, and so on twice as
    far: each task is ``(first, stop, first_other, stop_other)``. They do not depend on
    who computes them.
    """
    n_cells = len(_cells(n)) - 1
    depth = n_cells.bit_length() - 1
    width = each = 1 << depth // 2  # about as many ranges as cells in each
    yield [(i, i + each, i, i + each) for i in range(0, n_cells, each)]
    while width < n_cells:
        yield [
            (i, i + each, left + width, left + 2 * width)
            for left in range(0, n_cells, 2 * width)
            for i in range(left, left + width, each)
        ]
        width *= 2


class NearSearch:
    """Search for near-duplicates among rows.

    No pair that is one is passed over: cells, and rows, are only skipped where their
    brightness or color is too different, or their invariants.

    Parameters
    ----------
    rows : ndarray
        Of `sorted_rows`; ``harm`` is noted in it.
    pictures : sequence of pictures
        With ``image_shape``, ``turns`` and ``block``, how many are read at a time.
    similarity, residual : float
        See `find_duplicates`.
    """

    def __init__(self, rows, pictures, similarity, residual):
        self.rows, self.starts, self.similarity = rows, _cells(len(rows)), similarity
        self.verifier = _Verifier(rows, pictures, similarity, residual)
        # Beside each other, as all rows of the nearer cells are looked at.
        self.colors = [np.array(rows[name]) for name in ("size", "hue", "reach")]
        self.boxes = [
            [extreme.reduceat(values, self.starts[:-1]) for values in self.colors]
            for extreme in (np.minimum, np.maximum)
        ]

    def links(self, task, parents):
        """Search a task of `rounds`: links, (m, 5) as of `_Verifier.verify`."""
        first, stop, other, stop_other = task
        groups, found = Groups(parents), []
        for cell in range(first, stop):
            for a, b in self._candidates(cell, max(cell, other), stop_other, groups):
                for start in range(0, len(a), _PAIRS):
                    some = slice(start, start + _PAIRS)
                    apart = groups.apart(a[some], b[some])
                    if apart.any():
                        new = self.verifier.verify(a[some][apart], b[some][apart])
                        groups.join(new)
                        found.append(new)
        return forest(np.concatenate(found)) if found else np.empty((0, 5))

    def _near(self, cell, low, high):
        """Which boxes of colors may hold a copy of a picture in a cell."""
        (size, hue, _), (top_size, top_hue, reach) = (
            [values[cell] for values in box] for box in self.boxes
        )
        gaps = np.maximum(np.maximum(low[1] - top_hue, hue - high[1]), 0)
        return (
            (low[0] <= _brightest(top_size))
            & (size <= _brightest(high[0]))
            & (np.linalg.norm(gaps, axis=1) <= np.minimum(reach, high[2]))
        )

    def _candidates(self, cell, first, stop, groups):
        """Yield pairs of a row of a cell and one of other cells, most alike first."""
        boxes = [[values[first:stop] for values in box] for box in self.boxes]
        near = first + np.flatnonzero(self._near(cell, *boxes))
        if not len(near):
            return
        b = np.concatenate([np.arange(*self.starts[i : i + 2]) for i in near])
        here = [values[b] for values in self.colors]
        b = b[self._near(cell, here, here)]
        a = np.arange(*self.starts[cell : cell + 2])
        own = self.rows["invariants"][a]
        for start in range(0, len(b), _CHUNK):
            chunk, of = b[start : start + _CHUNK], groups.find(a)
            if (of == of[0]).all():
                chunk = chunk[groups.find(chunk) != of[0]]
            bounds = own @ self.rows["invariants"][chunk].T
            flat = np.flatnonzero(bounds >= self.similarity - 2 * _ROUNDING)
            for begin in range(0, len(flat), _BLOCK):
                i, j = np.divmod(flat[begin : begin + _BLOCK], len(chunk))
                yield self._ranked(a[i], chunk[j], groups)

    def _ranked(self, a, b, groups):
        """The pairs that may be copies and are not in one group, most alike first."""
        kept = (a < b) & groups.apart(a, b)
        a, b = a[kept], b[kept]
        sizes, hues, reach = ((values[a], values[b]) for values in self.colors)
        kept = np.linalg.norm(hues[0] - hues[1], axis=1) <= np.minimum(*reach)
        kept &= np.maximum(*sizes) <= _brightest(np.minimum(*sizes))
        a, b = a[kept], b[kept]
        alike = self.verifier.likeness(a, b)
        best = np.argsort(-alike, kind="stable")
        best = best[alike[best] >= self.similarity - 2 * _ROUNDING]
        return a[best], b[best]


class _Verifier:
    """Tell copies among candidate pairs."""

    def __init__(self, rows, pictures, similarity, residual):
        self.rows, self.pictures = rows, pictures
        self.similarity, self.residual = similarity, residual
        height, width = pictures.image_shape[:2]
        self.size = min(height, _SIDE), min(width, _SIDE)
        self.place = np.full(len(rows), -1)  # in the arrays below
        self.lab = np.empty((_HELD, *self.size, 3), np.float32)
        self.power, self.mean = np.empty(_HELD), np.empty((_HELD, 3))
        self.n_held = 0
        self.turns_over = any(degrees % 180 for degrees, _ in pictures.turns)
        u, v = np.indices(rows["spectrum"].shape[1:]) % 2
        parity = (2 * u + v).reshape(-1)
        # Each flip changes the sign of the odd frequencies of an axis.
        signs = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
        self.flips = signs[:, parity].T.astype(np.float32)

    def likeness(self, a, b):
        """The greatest correlation of rows a with rows b in any orientation: (n,)."""
        of_a, of_b = self.rows["spectrum"][a], self.rows["spectrum"][b]
        alike = ((of_a * of_b).reshape(-1, len(self.flips)) @ self.flips).max(
            axis=1, initial=-1
        )
        if self.turns_over:
            products = (of_a * of_b.swapaxes(1, 2)).reshape(-1, len(self.flips))
            alike = np.maximum(alike, (products @ self.flips).max(axis=1, initial=-1))
        return alike

    def _read(self, rows):
        """Hold the pictures of rows, and know their harm: their places."""
        rows = np.unique(rows)
        new = rows[self.place[rows] < 0]
        if self.n_held + len(new) > _HELD:
            self.place[:] = -1
            self.n_held, new = 0, rows
        new = new[np.argsort(self.rows["position"][new])]
        for start in range(0, len(new), self.pictures.block):
            some = new[start : start + self.pictures.block]
            images = self.pictures[self.rows["position"][some]]
            lab = srgb_to_lab(_thumbnails(images))
            unknown = np.isnan(self.rows["harm"][some])
            self.rows["harm"][some[unknown]] = _harm(images[unknown], lab[unknown])
            lab[..., 0] += _BLACK
            to = np.arange(self.n_held, self.n_held + len(some))
            self.lab[to] = lab
            power = np.square(lab).mean(axis=(1, 2), dtype=np.float64)
            self.power[to] = power.sum(axis=1)
            self.mean[to] = lab.mean(axis=(1, 2), dtype=np.float64)
            self.place[some] = to
            self.n_held += len(some)

    def oriented(self, a, b):
        """The turns of b that are like a: (pair, turn, correlation) of each."""
        of_a, of_b = self.rows["spectrum"][a], self.rows["spectrum"][b]
        alike = np.stack(
            [
                np.einsum("nij,nij->n", of_a, _turn_spectra(of_b, *how))
                for how in self.pictures.turns
            ],
            axis=1,
        )
        pair, how = np.nonzero(alike >= self.similarity - _ROUNDING)
        return pair, how, alike[pair, how]

    def verify(self, a, b):
        """Return (a, b, turn, similarity, residual) of the pairs that are copies.

        The first of them is the later picture.
        """
        swapped = self.rows["position"][a] < self.rows["position"][b]
        a, b = np.where(swapped, b, a), np.where(swapped, a, b)
        pair, how, alike = self.oriented(a, b)
        if not len(pair):
            return np.empty((0, 5))
        a, b = a[pair], b[pair]
        ratio = self._ratios(a, b, how)
        found = np.stack([a, b, how, alike, ratio], axis=1)[ratio <= self.residual]
        found = found[np.lexsort((found[:, 4], found[:, 1], found[:, 0]))]
        return found[np.unique(found[:, :2], axis=0, return_index=True)[1]]

    def _ratios(self, a, b, how):
        """Residual of each pair, in units of what re-compression does to it."""
        self._read(np.concatenate([a, b]))
        ratios = np.full(len(a), np.inf)
        some = self._maybe(a, b, how)
        a, b, how = a[some], b[some], how[some]
        i, j = self.place[a], self.place[b]
        dots = np.empty(len(a))
        for t, turn in enumerate(self.pictures.turns):
            here = how == t
            # Not a view: einsum would add in an order that depends on its strides.
            turned = np.ascontiguousarray(rotate(self.lab[j[here]], *turn))
            dots[here] = np.einsum("nhwc,nhwc->n", self.lab[i[here]], turned)
        gain, color, texture = self._differences(i, j, dots)
        harm = np.maximum(self.rows["harm"][a], self.rows["harm"][b])
        alike = (gain <= _LIGHT) & (gain >= 1 / _LIGHT) & (color <= _COLOR**2)
        ratios[some] = np.where(alike, np.sqrt(texture) / harm, np.inf)
        return ratios

    def _maybe(self, a, b, how):
        """The pairs to look at one by one.

        Where most of some pictures meet most of others, such as frames of calm water, a
        product of matrices tells sooner which of them differ too much, but for rounding.
        """
        some = np.ones(len(a), bool)
        for t, turn in enumerate(self.pictures.turns):
            here = np.flatnonzero(how == t)
            i, at = np.unique(self.place[a[here]], return_inverse=True)
            j, to = np.unique(self.place[b[here]], return_inverse=True)
            if not 0 < len(i) * len(j) <= _CROWDED * len(here):
                continue
            turned = rotate(self.lab[j], *turn).reshape(len(j), -1)
            dots = (self.lab[i].reshape(len(i), -1) @ turned.T)[at, to]
            _, _, texture = self._differences(i[at], j[to], dots.astype(float))
            harm = np.maximum(self.rows["harm"][a[here]], self.rows["harm"][b[here]])
            rounding = _ROUNDING * self.power[i[at]]
            some[here] = texture <= np.square(self.residual * harm) + rounding
        return np.flatnonzero(some)

    def _differences(self, i, j, dots):
        """Gain, and squares of what differs in color and in texture, by place."""
        dots = dots / np.prod(self.size)
        gain = np.maximum(dots, 0) / self.power[j]
        color = np.square(self.mean[i] - gain[:, None] * self.mean[j]).sum(axis=1)
        return gain, color, np.maximum(self.power[i] - gain * dots - color, 0)


class Groups:
    """Groups of copies, joined by links.

    Parameters
    ----------
    parents : ndarray of shape (n,)
        Of each row, one of its group; its own position in the row that stands for it.
    """

    def __init__(self, parents):
        self.parents = np.array(parents)

    def find(self, rows):
        """The row that stands for the group of each."""
        found = self.parents[rows]
        while not np.array_equal(further := self.parents[found], found):
            found = further
        self.parents[rows] = found
        return found

    def apart(self, a, b):
        """Whether rows are in two groups: those in one need no further link."""
        return self.find(a) != self.find(b)

    def join(self, links):
        """Join the groups of linked rows, (m, 5) as of `_Verifier.verify`."""
        ends = self.find(links[:, :2].astype(int))
        names, ends = np.unique(ends, return_inverse=True)
        into = components(len(names), *ends.reshape(-1, 2).T)
        first = np.full(len(names), len(self.parents))
        np.minimum.at(first, into, names)
        self.parents[names] = first[into]


def forest(links):
    """The strongest links that join as many: (m, 5) -> (at most m, 5)."""
    nodes, ends = np.unique(links[:, :2].astype(int), return_inverse=True)
    a, b = ends.reshape(-1, 2).T.astype(np.int32)
    # Zero would be no link at all, and two floats of one value are settled by order.
    n = len(nodes)
    weights = coo_array((2 - links[:, 3], (a, b)), shape=(n, n))
    tree = minimum_spanning_tree(weights.tocsr()).tocoo()
    kept = np.isin(a * np.int64(n) + b, tree.row * np.int64(n) + tree.col)
    return links[kept]
