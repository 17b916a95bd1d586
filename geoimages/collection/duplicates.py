"""Detection of duplicate and near-duplicate pictures."""

from dataclasses import dataclass, field
from hashlib import blake2b
from io import BytesIO

import numpy as np
import pandas as pd
from PIL import Image
from scipy.fft import dct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from sklearn.utils.validation import check_consistent_length

from ..files import progress
from ..pictures.color import srgb_to_lab
from ..pictures.orientation import check_orientation, rotate
from ..pictures.scaling import check_scale, on_white, to_uint8
from ..pictures.validation import infer_image_shape, is_collection
from .maps import map_shards
from .shards import check_shard
from .store import Collection

_SIDE = 32  # pixels that larger pictures are averaged down to
_FREQUENCIES = 8  # a side, of the cosine transform
_LIGHT = 1.2  # most that a copy may be brighter, in sRGB or CIELAB
_QUALITY = 40  # of the JPEG whose harm is the measure of what a copy may suffer
_ROUNDING = 1e-5  # of float32 sums
_FLOOR = 0.35  # CIELAB units that rounding may cost
_COLOR = 2.5  # CIELAB units that the mean color may move
_BLOCK_BYTES = 1 << 25
_TILE = 1024, 4096  # rows and columns that are compared at a time
_PAIRS = 2048  # verified at a time
_COLUMNS = ["key", "duplicate_of", "kind", "orientation", "mirrored", "similarity"]


@dataclass
class Duplicates:
    """Result of `find_duplicates`.

    Parameters
    ----------
    pairs : DataFrame
        The links of a spanning forest of the groups: ``key``, ``duplicate_of`` (the
        earlier of the two), ``kind`` (``exact``, ``turned`` or ``near``),
        ``orientation`` (degrees counter-clockwise) and ``mirrored`` (left-right,
        applied first), which transform ``duplicate_of`` into ``key``, ``similarity``
        (correlation of the lightness thumbnails), ``residual`` (see `find_duplicates`),
        and with labels ``label`` and ``label_of_duplicate``.
    keys : ndarray of shape (n,)
        Keys of all pictures examined.
    """

    pairs: pd.DataFrame
    keys: np.ndarray = field(repr=False)

    def __repr__(self):
        return f"Duplicates({self.summary()})"

    @property
    def groups(self):
        """Group of each picture that has a duplicate: Series of int, index ``key``."""
        position = pd.Index(self.keys).get_indexer
        ids = components(
            len(self.keys),
            position(self.pairs["key"]),
            position(self.pairs["duplicate_of"]),
        )
        several = np.bincount(ids)[ids] > 1
        return pd.Series(
            np.unique(ids[several], return_inverse=True)[1],
            pd.Index(self.keys[several], name="key"),
            name="group",
        )

    @property
    def contradictions(self):
        """The pairs whose labels differ; a missing label is not a contradiction."""
        if "label" not in self.pairs:
            return self.pairs.iloc[:0]
        a, b = (self.pairs[name] for name in ("label", "label_of_duplicate"))
        told = a.notna() & b.notna() & (a != "") & (b != "")
        return self.pairs[told & (a != b)]

    def summary(self):
        """Summarize the duplicates in one line."""
        groups = self.groups
        kinds = self.pairs["kind"].value_counts()
        counts = ", ".join(f"{kinds.get(k, 0):,} {k}" for k in _KINDS)
        return (
            f"{len(groups):,} of {len(self.keys):,} pictures have a copy, in "
            f"{groups.nunique():,} groups; links: {counts}; "
            f"{len(self.contradictions):,} with contradicting labels"
        )


_KINDS = ("exact", "turned", "near")


def components(n, a, b):
    """Connected components of n nodes with edges a–b: ids in order of occurrence."""
    ends = np.asarray([a, b], np.int32)  # SciPy before 1.16 takes no wider ones here
    edges = coo_array((np.ones(len(a), bool), ends), shape=(n, n))
    ids = connected_components(edges, directed=False)[1]
    return pd.factorize(ids)[0]


class _Pictures:
    """Pictures from any source, read in blocks as uint8."""

    def __init__(self, X, image_shape=None):
        if is_collection(X):
            self._images, self.keys, shape = X, X.keys, X.image_shape
        else:
            framed = isinstance(X, pd.DataFrame)
            keys, X = X.index if framed else None, np.asarray(X)
            if X.ndim == 2:
                X = X.reshape(len(X), *infer_image_shape(X.shape[1], image_shape))
            if X.ndim != 4 or X.shape[3] not in (1, 3, 4):
                raise ValueError(
                    "Pictures are (n, height, width, 1, 3 or 4) or flat rows of one "
                    f"size, got an array of shape {X.shape}."
                )
            if X.dtype.kind not in "biuf" or (
                X.dtype.kind == "f" and np.isnan(X).any()
            ):
                raise ValueError(
                    f"Pictures hold numbers, got {X.dtype} with values that are none."
                )
            if 0 in X.shape[1:]:
                raise ValueError(
                    f"Pictures of shape {X.shape[1:]} hold no pixels, expected (height, "
                    "width, channels) of 1 or more."
                )
            X = check_scale(X)
            self.keys = np.arange(len(X)) if keys is None else keys.to_numpy()
            if keys is not None and keys.has_duplicates:
                raise ValueError(
                    f"Each picture has a key of its own, but "
                    f"{keys[keys.duplicated()][0]!r} stands twice in the index."
                )
            self._images, shape = X, X.shape[1:]
        self.image_shape = shape
        self.turns = check_orientation("any", shape)
        self.block = max(1, _BLOCK_BYTES // int(np.prod(shape)) // 4)

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, positions):
        return to_uint8(self._images[positions])

    def blocks(self, desc):
        bar = progress(total=len(self), desc=desc, unit="picture")
        with bar:
            for start in range(0, len(self), self.block):
                images = self[start : start + self.block]
                yield images
                bar.update(len(images))


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
    """Low frequencies of the lightness: (n, h, w, 3) -> (n, k, k) of norm 1, and means.

    The mean itself is left out. A picture of one color has norm 0.
    """
    luma = thumbnails @ np.array([0.299, 0.587, 0.114], np.float32)
    levels = luma.mean(axis=(1, 2))
    luma -= levels[:, None, None]
    spectra = dct(luma, axis=1, norm="ortho")[:, :_FREQUENCIES]
    spectra = dct(spectra, axis=2, norm="ortho")[:, :, :_FREQUENCIES]
    spectra[:, 0, 0] = 0
    norms = np.sqrt(np.square(spectra).sum(axis=(1, 2), keepdims=True))
    spectra = np.where(norms > 0.1, spectra / np.maximum(norms, 0.1), 0)
    return spectra.astype(np.float32), levels


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


def _moments(images):
    """Sums that no turn changes, exact: (n, h, w, c) uint8 -> list of n bytes."""
    rows = images.reshape(len(images), -1, images.shape[3]).astype(np.float64)
    products = rows.swapaxes(1, 2) @ rows
    sums = rows.sum(axis=1, keepdims=True)
    table = np.concatenate([products, sums], axis=1).reshape(len(rows), -1)
    return [row.tobytes() for row in table]


def _fingerprints(pictures, near):
    """Yield the moments, spectra and levels of pictures, a block at a time."""
    for images in pictures.blocks("reading pictures"):
        yield _moments(images), *(_spectra(_thumbnails(images)) if near else (0, 0))


def _of_shard(named, near):
    """Moments, spectra and levels of a shard, on a worker."""
    check_shard(*named)
    with Collection(named[0]) as shard:
        found = list(zip(*_fingerprints(_Pictures(shard), near), strict=True))
    moments = [moment for of_block in found[0] for moment in of_block]
    return moments, *(np.concatenate(part) if near else 0 for part in found[1:])


def _fingerprints_of(X, pictures, near):
    """The `_fingerprints` of pictures, or of the shards of a folder by workers."""
    if not is_collection(X) or not X.path.is_dir():
        return _fingerprints(pictures, near)
    chosen = np.flatnonzero(np.diff(X.files.starts))
    files = [X.files.paths[i] for i in chosen]
    found, failed = map_shards(
        _of_shard,
        [(X.files.named(i), near) for i in chosen],
        desc="reading pictures",
        names=[path.name for path in files],
    )
    if failed:
        i, why = next(iter(failed.items()))
        raise ValueError(f"{files[i]} could not be read: {why}.")
    return found


def _identical(pictures, moments):
    """Find identical pictures: (position, first like it, turn) of each copy."""
    codes = pd.factorize(pd.Series(moments))[0]
    alike = np.flatnonzero(np.bincount(codes)[codes] > 1)
    first, found = {}, []
    for start in range(0, len(alike), pictures.block):
        here = alike[start : start + pictures.block]
        for position, image in zip(here.tolist(), pictures[here], strict=True):
            digests = {}
            for degrees, mirrored in pictures.turns:
                turned = np.ascontiguousarray(rotate(image[None], degrees, mirrored))
                digest = blake2b(turned.tobytes(), digest_size=16).digest()
                digests.setdefault(digest, (degrees, mirrored))
            as_it_is = next(iter(digests))
            original, digest = first.setdefault(min(digests), (position, as_it_is))
            if original != position:
                found.append((position, original, _undo(*digests[digest])))
    return found


def _undo(degrees, mirrored):
    """The inverse of a rotation and reflection."""
    return (degrees, True) if mirrored else (-degrees % 360, False)


def _scalable(thumbnails):
    """CIELAB with 16 added to the lightness: other light scales all three."""
    lab = srgb_to_lab(thumbnails)
    lab[..., 0] += 16
    return lab


def _harm(images):
    """What JPEG at quality 40 does to texture: CIELAB units, (n, h, w, c) -> (n,)."""
    again = np.empty((*images.shape[:3], 3), np.uint8)
    for i, image in enumerate(_rgb(images)):
        file = BytesIO()
        Image.fromarray(np.ascontiguousarray(image)).save(
            file, "JPEG", quality=_QUALITY
        )
        again[i] = Image.open(file)
    lost = srgb_to_lab(_thumbnails(images)) - srgb_to_lab(_thumbnails(again))
    lost -= lost.mean(axis=(1, 2), keepdims=True)
    texture = np.sqrt(np.square(lost).sum(axis=3).mean(axis=(1, 2)))
    return np.maximum(texture, _FLOOR)


class _Verifier:
    """Tell copies among candidate pairs."""

    def __init__(self, pictures, spectra, similarity, residual):
        self.pictures, self.spectra = pictures, spectra
        self.similarity, self.residual = similarity, residual
        self.harm = np.full(len(pictures), np.nan, np.float32)

    def begin(self, positions):
        """Make room for the pictures that the next pairs are made of."""
        height, width = self.pictures.image_shape[:2]
        n, size = len(positions), (min(height, _SIDE), min(width, _SIDE))
        self.positions, self._is_read = positions, np.zeros(n, bool)
        self.lab = np.empty((n, *size, 3), np.float32)  # of which few may be needed
        self.power, self.mean = np.empty(n), np.empty((n, 3))

    def _read(self, places):
        """Read pictures that were not read yet."""
        places = np.unique(places[~self._is_read[places]])
        for start in range(0, len(places), self.pictures.block):
            here = places[start : start + self.pictures.block]
            at = self.positions[here]
            images = self.pictures[at]
            new = np.isnan(self.harm[at])
            self.harm[at[new]] = _harm(images[new])
            lab = self.lab[here] = _scalable(_thumbnails(images))
            power = np.square(lab).mean(axis=(1, 2), dtype=np.float64)
            self.power[here] = power.sum(axis=1)
            self.mean[here] = lab.mean(axis=(1, 2), dtype=np.float64)
            self._is_read[here] = True

    def oriented(self, a, b):
        """The turns of b that are like a: (pair, turn, correlation) of each."""
        of_a, of_b = self.spectra[a], self.spectra[b]
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
        """Return (a, b, turn, similarity, residual) of the pairs that are copies."""
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
        i, j = (np.searchsorted(self.positions, p) for p in (a, b))
        self._read(np.concatenate([i, j]))
        dots = np.empty(len(a))
        for t, (degrees, mirrored) in enumerate(self.pictures.turns):
            here = how == t
            turned = rotate(self.lab[j[here]], degrees, mirrored)
            dots[here] = np.einsum("nhwc,nhwc->n", self.lab[i[here]], turned)
        dots /= np.prod(self.lab.shape[1:3])
        gain = np.maximum(dots, 0) / self.power[j]
        color = np.square(self.mean[i] - gain[:, None] * self.mean[j]).sum(axis=1)
        texture = np.maximum(self.power[i] - gain * dots - color, 0)
        ratio = np.sqrt(texture) / np.maximum(self.harm[a], self.harm[b])
        alike = (gain <= _LIGHT) & (gain >= 1 / _LIGHT) & (color <= _COLOR**2)
        return np.where(alike, ratio, np.inf)


def _candidates(invariants, levels, similarity):
    """Yield candidate pairs (a, b) of positions, best first, one tile at a time.

    Rows are in order of brightness, so that only a window of them can be a copy.
    """
    order = np.argsort(levels, kind="stable")
    rows, levels = invariants[order], levels[order] + 1
    ends = np.searchsorted(levels, levels * _LIGHT, side="right")
    bar = progress(total=len(rows), desc="comparing pictures", unit="picture")
    with bar:
        for top in range(0, len(rows), _TILE[0]):
            block = rows[top : top + _TILE[0]]
            stop = ends[min(top + _TILE[0], len(rows)) - 1]
            for left in range(top, stop, _TILE[1]):
                alike = block @ rows[left : min(left + _TILE[1], stop)].T
                a, b = np.nonzero(alike >= similarity - _ROUNDING)
                kept = b + left > a + top
                a, b = a[kept], b[kept]
                best = np.argsort(-alike[a, b], kind="stable")
                yield order[a[best] + top], order[b[best] + left]
            bar.update(len(block))


class _Groups:
    """Groups of copies, and the strongest links that hold each together.

    Parameters
    ----------
    n : int
        Number of pictures.
    """

    def __init__(self, n):
        self.links, self.of = np.empty((0, 5)), np.arange(n)

    def apart(self, a, b):
        """Whether pictures are in two groups: those in one need no further link."""
        return self.of[a] != self.of[b]

    def join(self, new):
        """Take links, (m, 5) as of `_Verifier.verify`, and keep a spanning forest."""
        ends = self.of[new[:, :2].astype(int)]
        names, ends = np.unique(ends, return_inverse=True)
        a, b = ends.reshape(-1, 2).T
        first = np.full(len(names), len(self.of))
        into = components(len(names), a, b)
        np.minimum.at(first, into, names)
        table = np.arange(len(self.of))
        table[names] = first[into]
        self.of = table[self.of]
        # Links elsewhere stay as they are.
        touched = np.isin(self.of[self.links[:, 0].astype(int)], first[into])
        tree = _forest(np.concatenate([self.links[touched], new]))
        self.links = np.concatenate([self.links[~touched], tree])


def _forest(links):
    """The strongest links that join as many: (m, 5) -> (at most m, 5)."""
    nodes, ends = np.unique(links[:, :2].astype(int), return_inverse=True)
    a, b = ends.reshape(-1, 2).T.astype(np.int32)
    # Zero would be no link at all, and two floats of one value are settled by order.
    n = len(nodes)
    weights = coo_array((2 - links[:, 3], (a, b)), shape=(n, n))
    tree = minimum_spanning_tree(weights.tocsr()).tocoo()
    kept = np.isin(a * np.int64(n) + b, tree.row * np.int64(n) + tree.col)
    return links[kept]


def _near(pictures, spectra, levels, distinct, similarity, residual):
    """Find near copies among distinct pictures: (m, 5), see `_Verifier.verify`."""
    verifier = _Verifier(pictures, spectra, similarity, residual)
    textured = distinct[np.abs(spectra[distinct]).max(axis=(1, 2), initial=0) > 0]
    groups = _Groups(len(pictures))
    invariants = _invariants(spectra[textured])
    for a, b in _candidates(invariants, levels[textured], similarity):
        a, b = textured[a], textured[b]
        a, b = np.maximum(a, b), np.minimum(a, b)
        verifier.begin(np.union1d(a, b))
        for start in range(0, len(a), _PAIRS):
            some = slice(start, start + _PAIRS)
            apart = groups.apart(a[some], b[some])
            if apart.any():
                new = verifier.verify(a[some][apart], b[some][apart])
                if len(new):
                    groups.join(new)
    return groups.links


def find_duplicates(
    X, *, labels=None, similarity=0.9, residual=1.1, near=True, image_shape=None
):
    """Find duplicate pictures: identical, rotated, recompressed or relit.

    Pictures with identical pixels, also after rotation by multiples of 90° or
    mirroring, are always found. A near-duplicate has, in one of the eight orientations
    and after matching its brightness (CIELAB with 16 added to L*, scaled by at most
    1.2),

    - a lightness thumbnail (the 8 × 8 lowest frequencies of the cosine transform,
      without the mean) that correlates by `similarity` or more, and
    - pixels whose texture (CIELAB minus its mean, root mean square) differs by no more
      than `residual` times the larger of the two pictures' own JPEG errors at quality
      40, or 0.35 units, the rounding error; and whose mean color is within 2.5 units,
      about the effect of JPEG.

    The second test adapts to the picture's texture: two stretches of calm water differ
    by more than recompression would change either, and are not duplicates although they
    look similar. If they differ by less, they are false positives: see `residual`. A
    picture of a single color only has identical duplicates.

    Every pair that passes the first test is verified. Time grows with the square of the
    number of pictures of similar brightness, memory linearly: about 1 kB per picture
    plus blocks of fixed size.

    Parameters
    ----------
    X : Collection, ndarray of shape (n, height, width, 1, 3 or 4) or DataFrame
        Pictures of one size, or flat rows of them; uint8 in 0–255 or float in 0–1.
        Larger pictures are downsampled to 32 pixels per side, except for identity.
        Rotations by 90° and 270° are skipped if pictures are not square.
    labels : array-like of shape (n,), optional
        Classes, to find contradictions; by default those of the collection.
    similarity : float, default=0.9
        Minimum correlation, in (0, 1].
    residual : float, default=1.1
        Maximum difference, in units of the recompression error. 1.0 finds fewer rotated
        and recompressed copies, 1.2 more tiles that overlap or are merely similar.
    near : bool, default=True
        Whether to find near-duplicates, too.
    image_shape : tuple of int, optional
        Shape of flat rows that are not square RGB.

    Returns
    -------
    duplicates : Duplicates
        With ``pairs`` and ``contradictions`` (DataFrames) and ``groups`` (Series).

    Raises
    ------
    ValueError
        If X is invalid, the number of `labels` differs, or a threshold is out of range.

    References
    ----------
    Zauner (2010). Implementation and benchmarking of perceptual image hash functions.
    Upper Austria University of Applied Sciences. (The thumbnail of low frequencies.)

    Examples
    --------
    >>> import numpy as np
    >>> from geoimages import find_duplicates, make_rocks
    >>> images, labels = make_rocks(20, random_state=0)
    >>> images = np.concatenate([images, np.rot90(images[3:4], axes=(1, 2))])
    >>> find_duplicates(images).pairs[["key", "duplicate_of", "kind", "orientation"]]
       key  duplicate_of    kind  orientation
    0   20             3  turned           90
    """
    if not 0 < similarity <= 1:
        raise ValueError(
            f"similarity must be a correlation above 0 and up to 1, got {similarity!r}."
        )
    if not residual >= 0:
        raise ValueError(f"residual must be 0 or more, got {residual!r}.")
    pictures = _Pictures(X, image_shape)
    if labels is None and is_collection(X):
        labels = X.labels
    n, moments, parts = len(pictures), [], []
    if labels is not None:
        check_consistent_length(pictures, labels)
    for moment, *of_block in _fingerprints_of(X, pictures, near):
        moments += moment
        parts.append(of_block)
    exact = _identical(pictures, moments)
    del moments
    rows = [
        (a, b, "turned" if any(turned) else "exact", *turned, 1.0, 0.0)
        for a, b, turned in exact
    ]
    if near and n:
        distinct = np.setdiff1d(np.arange(n), [a for a, *_ in exact])
        links = _near(
            pictures,
            *(np.concatenate(part) for part in zip(*parts, strict=True)),
            distinct,
            similarity,
            residual,
        )
        for a, b, how, alike, ratio in links.tolist():
            turned = pictures.turns[int(how)]
            rows.append((int(a), int(b), "near", *turned, min(alike, 1.0), ratio))
    pairs = pd.DataFrame(rows, columns=[*_COLUMNS, "residual"])
    pairs = pairs.sort_values(["key", "duplicate_of"], ignore_index=True)
    a, b = (pairs[name].to_numpy(int) for name in ("key", "duplicate_of"))
    if labels is not None:
        labels = np.asarray(labels)
        pairs["label"], pairs["label_of_duplicate"] = labels[a], labels[b]
    pairs["key"], pairs["duplicate_of"] = pictures.keys[a], pictures.keys[b]
    return Duplicates(pairs, pictures.keys)
