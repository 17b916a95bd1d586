"""Detection of duplicate and near-duplicate pictures."""

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_consistent_length

from ..files import progress
from ..pictures.orientation import check_orientation, rotate
from ..pictures.scaling import check_scale, to_uint8
from ..pictures.validation import infer_image_shape, is_collection
from .manifest import digest_of
from .maps import Parcel, SharedArray, map_shards
from .near_duplicates import (
    Groups,
    NearSearch,
    components,
    fingerprints,
    forest,
    rounds,
    sorted_rows,
)
from .shards import check_shard
from .store import Collection

_BLOCK_BYTES = 1 << 25
_COMPARING = "comparing pictures"
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


class _Pictures:
    """Pictures from any source, read in blocks as uint8."""

    def __init__(self, X, image_shape=None):
        # `is_collection` looks for keys, which a folder reads from all of its files.
        if isinstance(X, Collection) or is_collection(X):
            self._images, self._keys, shape = X, None, X.image_shape
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
            self._keys = np.arange(len(X)) if keys is None else keys.to_numpy()
            if keys is not None and keys.has_duplicates:
                raise ValueError(
                    f"Each picture has a key of its own, but "
                    f"{keys[keys.duplicated()][0]!r} stands twice in the index."
                )
            self._images, shape = X, X.shape[1:]
        self.image_shape = shape
        self.turns = check_orientation("any", shape)
        self.block = max(1, _BLOCK_BYTES // int(np.prod(shape)) // 4)

    @property
    def keys(self):
        """Name of each picture."""
        return self._images.keys if self._keys is None else self._keys

    def __len__(self):
        return len(self._images)

    def __getitem__(self, positions):
        return to_uint8(self._images[positions])

    def blocks(self, desc):
        bar = progress(total=len(self), desc=desc, unit="picture")
        with bar:
            for start in range(0, len(self), self.block):
                images = self[start : start + self.block]
                yield images
                bar.update(len(images))


def _moments(images):
    """Sums that no turn changes, exact: (n, h, w, c) uint8 -> list of n bytes."""
    rows = images.reshape(len(images), -1, images.shape[3]).astype(np.float64)
    products = rows.swapaxes(1, 2) @ rows
    sums = rows.sum(axis=1, keepdims=True)
    table = np.concatenate([products, sums], axis=1).reshape(len(rows), -1)
    return [row.tobytes() for row in table]


def _fingerprints(pictures, near):
    """Yield the moments, spectra and colors of pictures, a block at a time."""
    for images in pictures.blocks("reading pictures"):
        yield _moments(images), *(fingerprints(images) if near else (0, 0))


def _of_shard(named, near):
    """Moments, spectra and colors of a shard, on a worker."""
    check_shard(*named)
    with Collection(named[0]) as shard:
        found = list(zip(*_fingerprints(_Pictures(shard), near), strict=True))
    moments = [moment for of_block in found[0] for moment in of_block]
    return moments, *(np.concatenate(part) if near else 0 for part in found[1:])


def _is_folder(X):
    return is_collection(X) and X.path.is_dir()


def _fingerprints_of(X, pictures, near):
    """The `_fingerprints` of pictures, or of the shards of a folder by workers."""
    if not _is_folder(X):
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


def _near(X, pictures, rows, similarity, residual):
    """Find near-duplicates among rows of `sorted_rows`.

    Returns
    -------
    links : ndarray of shape (m, 5)
        Positions of the later and the earlier picture, turn, similarity, residual.
    """
    groups, links = Groups(np.arange(len(rows))), []
    with _searching(X, pictures, rows, similarity, residual) as search:
        for tasks in rounds(len(rows)):
            for new in search(tasks, groups.parents.copy()):
                groups.join(new)
                links.append(new)
    links = np.concatenate(links)
    links[:, :2] = rows["position"][links[:, :2].astype(int)]
    return forest(links)


@contextmanager
def _searching(X, pictures, rows, similarity, residual):
    """A search of tasks among rows: here, or if they are of a folder, on workers."""
    if not _is_folder(X):
        n_tasks = sum(len(tasks) for tasks in rounds(len(rows)))
        with progress(total=n_tasks, desc=_COMPARING, unit="range") as bar:
            here = NearSearch(rows, pictures, similarity, residual)

            def search(tasks, parents):
                for task in tasks:
                    yield here.links(task, parents)
                    bar.update()

            yield search
        return
    with TemporaryDirectory() as elsewhere:
        folder = X.path if os.access(X.path, os.W_OK) else elsewhere
        about = os.path.abspath(X.path), _seal(X), similarity, residual
        with SharedArray(rows, folder) as path:

            def search(tasks, parents):
                parcel = Parcel(parents, folder)
                calls = [(task, parcel, path, *about) for task in tasks]
                try:
                    found, failed = map_shards(
                        _links, calls, desc=_COMPARING, unit="range"
                    )
                finally:
                    parcel.remove()
                if failed:
                    why = next(iter(failed.values()))
                    raise ValueError(f"{X.path} could not be compared: {why}.")
                return found

            yield search


def _links(task, parents, path, folder, seal, similarity, residual):
    """Links of a task of `rounds`, on a worker."""
    with Collection(folder) as rocks:
        if _seal(rocks) != seal:
            raise ValueError(f"{folder} was changed meanwhile; repeat the command")
        rows = np.load(path, mmap_mode="r+")  # to note the harm for other tasks
        search = NearSearch(rows, _Pictures(rocks), similarity, residual)
        return search.links(task, parents.open())


def _seal(folder):
    """What tells a folder of shards from a later one of that name."""
    return digest_of([shard.seal for shard in folder.files.shards])


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

    No pair is missed: pictures are only left uncompared where their mean colors differ
    by more than the second test allows in any light, or where a bound on the first one
    in all orientations rules it out, or where they are in one group already. Time still
    grows with the number of pairs of similar color; the shards of a folder share it
    among workers, with the same result for any number of either. Memory is linear:
    about 1 kB per picture plus blocks of fixed size.

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
    found = [
        (a, b, "turned" if any(turned) else "exact", *turned, 1.0, 0.0)
        for a, b, turned in exact
    ]
    if near and n:
        spectra, colors = map(np.concatenate, zip(*parts, strict=True))
        searched = spectra.any(axis=(1, 2))  # not of a single color
        searched[[a for a, *_ in exact]] = False
        links = []
        if searched.any():
            rows = sorted_rows(np.flatnonzero(searched), spectra, colors)
            del parts, spectra
            links = _near(X, pictures, rows, similarity, residual).tolist()
        for a, b, how, alike, ratio in links:
            turned = pictures.turns[int(how)]
            found.append((int(a), int(b), "near", *turned, min(alike, 1.0), ratio))
    pairs = pd.DataFrame(found, columns=[*_COLUMNS, "residual"])
    pairs = pairs.sort_values(["key", "duplicate_of"], ignore_index=True)
    a, b = (pairs[name].to_numpy(int) for name in ("key", "duplicate_of"))
    if labels is not None:
        labels = np.asarray(labels)
        pairs["label"], pairs["label_of_duplicate"] = labels[a], labels[b]
    pairs["key"], pairs["duplicate_of"] = pictures.keys[a], pictures.keys[b]
    return Duplicates(pairs, pictures.keys)
