"""Collection: pictures, labels and the ledger of every file seen, in one .h5 file."""

import hashlib
from collections import Counter
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator

from ..files import atomic_path, locked
from ..pictures.reading import MAX_PIXELS, read_image
from ..pictures.resizing import resize_image
from .adding import check_sources, write_added, write_added_shards
from .cache import FeatureCache
from .describing import features_of_file, features_of_shards
from .file import block_length
from .html import collection_html
from .lineage import lineage_of
from .reading import write_source_shards
from .selection import matching
from .sharding import MEGABYTES, merge_collection, shard_collection
from .shards import is_folder, open_files
from .tables import LEDGER, labels_by_key
from .tiles import write_tiles
from .writing import write_arrays, write_source


class Collection:
    """Pictures of one size with keys, labels and sources, in one file or in shards.

    Parameters
    ----------
    path : str or path-like
        An ``.h5`` file written by `Collection.create` or `Collection.from_arrays`,
        or one in the layout of the proof of concept (``X_Train_Orig``,
        ``Y_Train_Orig`` and likewise ``Dev`` and ``Test``). Or a folder of shards, each
        such a file, and their ``manifest.json``.
    mode : {"r", "r+"}, default="r"
        With ``"r+"`` computed features are cached in files beside it
        (``rocks.h5.<key>.cache``), which may be deleted at any time. The collection
        itself is never modified.
    cache_size : int, default=2**30
        Maximum total size of those files in bytes; the least recently used are deleted
        first.

    Attributes
    ----------
    path : Path
        The file or folder.
    keys : ndarray of shape (n,), str
        Name of each picture, ``<folder>.<file name>``.
    labels : ndarray of shape (n,), str
        Class of each picture, or empty.
    image_shape : tuple of int
        (height, width, channels).
    table : DataFrame
        Index ``key``; ``label``, ``source``, ``sha256``, ``ledger_row``, ``turn``
        (degrees counter-clockwise), ``lineage`` (key of the original, or of the
        photograph of a tile) and the columns of the metadata table.
    ledger : DataFrame
        One row for every file seen: ``path``, ``status`` (kept, refused or skipped),
        ``reason``, ``detail``, ``sha256``, ``size`` (bytes), ``width`` and ``height``
        (pixels), ``mode``, ``bit_depth``, ``exif_orientation``, ``fit`` and
        ``scaling`` (of values that are not of 8 bits, such as 0-65535 to 0-255).
    unmatched : list of str
        Rows of the metadata table that match no picture.
    files : SingleFile or ShardFiles
        The files it consists of: ``paths``, ``starts`` (position of the first picture
        of each, and their number), and each, opened, by its number.
    missing : dict of str
        Shards that were not written, and why; empty if the collection is complete.
    cache : FeatureCache
        The feature cache: ``files()``, ``clear()`` and ``notes``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a collection.

    Examples
    --------
    >>> from geoimages import Collection, make_rocks
    >>> images, labels = make_rocks(12, random_state=0)
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.h5"
    >>> rocks = Collection.from_arrays(path, images, labels)
    >>> len(rocks), rocks.image_shape
    (12, (28, 28, 3))
    >>> rocks[:5].shape
    (5, 28, 28, 3)
    >>> rocks.to_frame().shape
    (12, 2352)
    """

    def __init__(self, path, mode="r", cache_size=1 << 30):
        self.path = Path(path)
        if mode not in ("r", "r+"):
            raise ValueError(f"mode must be 'r' or 'r+', got {mode!r}.")
        if not self.path.is_file() and not self.path.is_dir():
            raise FileNotFoundError(
                f"No collection at {self.path}; create one with "
                f"'geoimages etl SOURCE -o {self.path.name}'."
            )
        self.files = open_files(self.path)
        self.image_shape, self._starts = self.files.image_shape, self.files.starts
        self._attributes = self.files.attributes
        self.cache = FeatureCache(self.path, cache_size)
        self._keeps = mode == "r+"
        for name in ("keys", "labels", "_position"):  # after `add`
            vars(self).pop(name, None)
        if len(self.files) == 1:  # else when they are asked for
            try:
                self._position, self.labels  # noqa: B018
            except ValueError:
                self.close()
                raise

    @cached_property
    def keys(self):
        """Name of each picture."""
        return self._joined(lambda file: file.keys())

    @cached_property
    def labels(self):
        """Class of each picture, or empty."""
        return self._joined(lambda file: file.labels())

    @cached_property
    def _position(self):
        """Position of each key."""
        position = {key: i for i, key in enumerate(self.keys.tolist())}
        if len(position) < len(self.keys):
            twice = next(
                key for i, key in enumerate(self.keys.tolist()) if position[key] != i
            )
            if len(self.files) == 1:
                raise self.files[0].invalid(ValueError("a key stands twice"))
            raise ValueError(
                f"The key {twice!r} stands in two shards of {self.path}; run the "
                "command that made it again."
            )
        return position

    def _joined(self, read):
        """Join what is read of each file: (n,)."""
        return np.concatenate([read(file) for file in self._each_file()])

    def _each_file(self):
        """The files in order, each opened when its turn comes."""
        return (self.files[i] for i in range(len(self.files)))

    @classmethod
    def create(
        cls,
        path,
        source,
        *,
        size=None,
        fit="crop",
        alpha=False,
        rotate=False,
        sample=1.0,
        random_state=None,
        metadata=None,
        label=None,
        label_from=None,
        max_pixels=MAX_PIXELS,
        resume=False,
        rows=None,
        megabytes=MEGABYTES,
    ):
        """Read a folder or zip of pictures into a collection, in one pass.

        A picture's folder is its class. Only names and ledger rows stay in memory. An
        unreadable file is refused with a reason, and the run continues.

        Parameters
        ----------
        path : str or path-like
            The ``.h5`` file to write, atomically; or, where it ends with a slash or is a
            folder, the folder to write shards to, on the workers that joblib is
            configured for (``joblib.parallel_config``).
        source : str or path-like
            Folder or zip; a text file (``.txt``) with the path of a picture on each
            line; or the address of a folder or zip for fsspec, such as
            ``s3://bucket/rocks``.
        size : tuple of int, optional
            (height, width) in pixels to resize all pictures to. By default, the size
            of more than half of 100 files sampled from the source, and pictures of
            another size are refused as ``other-size``; if no size is that common, or a
            class would be lost whole, all are resized to a square of their median
            shorter side, at most 224 px.
        fit : {"crop", "pad", "stretch"}, default="crop"
            How to resize pictures of another aspect ratio; see `resize_image`. Padding
            is masked, so ``"pad"`` stores four channels.
        alpha : bool, default=False
            Whether to keep transparency as a fourth channel, the picture's mask.
        rotate : bool, default=False
            Whether to store copies rotated by 90, 180 and 270 degrees, keys ending in
            ``.90`` and so on. Models find rotated pictures without them.
        sample : float, default=1.0
            Share of each class to take.
        random_state : int, RandomState or None, default=None
            Seed of the sample.
        metadata : DataFrame or path of a CSV, optional
            A column ``file`` names the pictures by path, file name or key; ``label``
            replaces the folder's name; all other columns (``hole``, ``depth_from``,
            ``depth_to``, ``mm_per_px``, …) are kept, as numbers if all values are
            numbers (``007`` is text). A column with the name of one of the collection's
            own is kept as ``source_metadata`` and so on. Of several rows for one
            picture the first counts. The separator is detected from the first line.
        label : str, optional
            The column of `metadata` with the classes, instead of ``label``.
        label_from : str, optional
            A pattern for the class in file names: a template of the name without its
            suffix, such as ``"{kind}_{number}"``, where the field ``label``, ``class``
            or ``kind`` is the class; or a regular expression whose first group is the
            class.
        max_pixels : int, default=178_956_970
            Larger pictures are refused before they are decoded, as by `read_image`.
        resume : bool, default=False
            Whether to continue a run that was killed: files that it has read, and that
            have not changed since, are not read again. The result is the same, byte for
            byte. Without such a run, reading starts at the first file. An interrupted
            run with ``resume=True`` can be continued, too.
        rows, megabytes : int, optional
            Where `path` is a folder: pictures of a shard, or megabytes of its pixels, by
            default 250, as in `shard`.

        Returns
        -------
        collection : Collection
            Opened for reading.

        Raises
        ------
        FileNotFoundError
            If there is no source.
        ValueError
            If no picture can be read, an option is unknown, `path` is the source,
            `metadata` with classes name none of the pictures, or the run to resume was
            given something else.
        BlockingIOError
            If another process is writing `path`; the message says which one.
        """
        request = {
            "size": size,
            "fit": fit,
            "alpha": alpha,
            "rotate": rotate,
            "sample": sample,
            "random_state": random_state,
            "metadata": metadata,
            "label": label,
            "label_from": label_from,
            "max_pixels": max_pixels,
        }
        if is_folder(path):
            size_of = {"rows": rows, "megabytes": megabytes}
            write_source_shards(path, source, **size_of, **request)
        else:
            write_source(path, source, resume=resume, **request)
        return cls(path)

    @classmethod
    def from_arrays(cls, path, images, labels=None, keys=None):
        """Create a collection from arrays.

        Parameters
        ----------
        path : str or path-like
            The ``.h5`` file to write, atomically.
        images : ndarray of shape (n, height, width, 3) or (..., 4), uint8
            The pictures.
        labels : array-like of shape (n,), optional
            Their classes.
        keys : array-like of shape (n,), optional
            Their names, unique; by default ``<label>.<position>``.

        Returns
        -------
        collection : Collection
            Opened for reading.

        Raises
        ------
        ValueError
            If the pictures are not uint8 with 3 or 4 channels, a mask is empty, there
            are no pictures, or the lengths differ.
        """
        write_arrays(path, images, labels, keys)
        return cls(path)

    def add(
        self,
        *sources,
        metadata=None,
        label=None,
        label_from=None,
        fit=None,
        max_pixels=MAX_PIXELS,
    ):
        """Add pictures: write a new file with all, and put it in place of the old one.

        Pictures, labels, metadata and ledger of the collection are kept, and the new
        ones follow. A picture whose key is in the collection already is refused
        (``duplicate-key`` in the ledger). Rotated copies are added where the collection
        has some. Whoever has the old file open goes on reading it. Cached features are
        deleted: they are those of fewer pictures. To a folder of shards the new pictures
        are added as further shards of its size, by the workers that joblib is configured
        for, and nothing is written again.

        Parameters
        ----------
        *sources : str or path-like
            Folders, zips and picture files. A picture's folder is its class.
        metadata : DataFrame or path of a CSV, optional
            About the new pictures, as in `create`. Columns that only one table has are
            empty for the pictures of the other.
        label, label_from : str, optional
            Where the classes of the new pictures are, as in `create`.
        fit : {"crop", "pad", "stretch"}, optional
            How to resize new pictures of another size. By default, as the pictures of
            the collection were; if none was, those of another size are refused.
        max_pixels : int, default=178_956_970
            Larger pictures are refused before they are decoded.

        Returns
        -------
        self : Collection
            With the new pictures.

        Raises
        ------
        FileNotFoundError
            If there is no such source.
        ValueError
            If none of the files is a new picture; nothing is changed.
        BlockingIOError
            If another process is writing the collection; the message says which one.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from geoimages import Collection, write_rocks
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> for i in (0, 1):
        ...     path = write_rocks(folder / f"{i}.zip", 12, random_state=i)
        >>> rocks = Collection.create(folder / "rocks.h5", folder / "0.zip")
        >>> len(rocks.add(folder / "1.zip")), rocks.ledger["status"].tolist()[-1]
        (24, 'kept')
        """
        check_sources(self.path, sources)
        request = {
            "metadata": metadata,
            "label": label,
            "label_from": label_from,
            "fit": fit,
            "max_pixels": max_pixels,
        }
        try:
            if self.path.is_dir():
                write_added_shards(self.path, type(self), sources, **request)
                self.close()
            else:
                self._add_to_file(sources, request)
        finally:
            if not self.files.is_open:
                mode = "r+" if self._keeps else "r"
                self.__init__(self.path, mode, self.cache.most_bytes)
        return self

    def _add_to_file(self, sources, request):
        """Write a new file with all pictures in place of the old one."""
        with locked(self.path):
            with atomic_path(self.path) as temporary:
                with type(self)(self.path) as old:
                    write_added(old, temporary, sources, **request)
                self.close()  # Windows replaces no open file
            self.cache.clear()

    @classmethod
    def from_tiles(
        cls,
        path,
        photos,
        *,
        size=96,
        stride=0.5,
        scales=(1, 2),
        keep_all=False,
        metadata=None,
        label=None,
        mm_per_px=None,
        max_pixels=MAX_PIXELS,
    ):
        """Cut large photographs into square tiles, to search inside them.

        A photograph is read in bands of rows: one of a TIFF of strips or tiles may have
        any size, others are decoded whole. Tiles of gaps, tray, paper and labels are
        left out (`geoimages.collection.ground.rock_mask` has the rule).

        Parameters
        ----------
        path : str or path-like
            The ``.h5`` file to write, atomically.
        photos : str, path-like or list of them
            Photographs, and folders of them, whose folder is their class.
        size : int or str, default=96
            Side of a tile in pixels of the photograph, or a length, such as ``"5cm"``,
            where the scale is known; then tiles are stored with the pixels that the
            median photograph has for it, at most 224.
        stride : float, default=0.5
            Distance of neighboring tiles, as a share of their side.
        scales : float or tuple of float, default=(1, 2)
            Sizes of the windows, as multiples of `size`; all are stored with the same
            number of pixels.
        keep_all : bool, default=False
            Whether to keep tiles that show no rock, too.
        metadata : DataFrame or path of a CSV, optional
            A row per photograph, as in `create`: ``hole``, ``mm_per_px``, ….
        label : str, optional
            The column of `metadata` with the classes, instead of ``label``.
        mm_per_px : float, optional
            Scale of photographs whose row does not give it, in millimeters per pixel.
        max_pixels : int, default=178_956_970
            Larger photographs are refused, except TIFFs read in parts.

        Returns
        -------
        collection : Collection
            Opened for reading. Keys are ``<photo>@<x>,<y>,<side>``; `table` has
            ``photo`` (file name), ``x``, ``y``, ``width`` and ``height`` (the tile's,
            in pixels of the upright photograph), ``scale`` (pixels of the photograph
            per pixel of the tile), ``photo_width``, ``photo_height`` and ``rock`` (the
            share that is rock). Tiles of one photograph are one lineage: a split keeps
            them together, and a model excludes those that overlap a tile from its own
            matches.

        Raises
        ------
        FileNotFoundError
            If a photograph does not exist.
        ValueError
            If an option is unknown, two photographs share a name, a length is given
            without a scale, or no tile is left.
        """
        write_tiles(
            path,
            photos,
            size=size,
            stride=stride,
            scales=scales,
            keep_all=keep_all,
            metadata=metadata,
            label=label,
            mm_per_px=mm_per_px,
            max_pixels=max_pixels,
        )
        return cls(path)

    def shard(self, folder, *, rows=None, megabytes=MEGABYTES):
        """Write the collection as a folder of shards.

        A shard is a collection itself. It is written under its name when it is whole; a
        second run goes on where a killed one stopped, and two runs write the same bytes.

        Parameters
        ----------
        folder : str or path-like
            A new folder, an empty one, or one of shards: those that this collection
            does not have are deleted.
        rows : int, optional
            Pictures of a shard.
        megabytes : float, default=250
            Otherwise the size of the pixels of a shard.

        Returns
        -------
        collection : Collection
            The folder, opened for reading.

        Raises
        ------
        ValueError
            If the folder holds something else.
        BlockingIOError
            If another process is writing it; the message says which one.

        See Also
        --------
        merge : Writes one file.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from geoimages import Collection, make_rocks
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> images, labels = make_rocks(30, random_state=0)
        >>> rocks = Collection.from_arrays(folder / "rocks.h5", images, labels)
        >>> shards = rocks.shard(folder / "rocks", rows=12)
        >>> len(shards), [path.name for path in shards.files.paths][-1]
        (30, 'shard-00002.h5')
        >>> bool((shards[11:14] == rocks[11:14]).all())
        True
        """
        shard_collection(self, folder, rows, megabytes)
        return type(self)(folder)

    def merge(self, path):
        """Write the collection, such as a folder of shards, as one file.

        Parameters
        ----------
        path : str or path-like
            The ``.h5`` file to write, atomically.

        Returns
        -------
        collection : Collection
            The file, opened for reading.

        Raises
        ------
        ValueError
            If shards are missing.
        """
        merge_collection(self, path)
        return type(self)(path)

    def close(self):
        """Close the file, or those of the shards."""
        self.files.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __len__(self):
        return int(self._starts[-1])

    def __repr__(self):
        classes = Counter(label for label in self.labels.tolist() if label)
        counts = ", ".join(f"{name} {n}" for name, n in sorted(classes.items()))
        shape = " × ".join(map(str, self.image_shape))
        return (
            f"Collection({str(self.path)!r}: {len(self)} pictures, {shape}; {counts})"
        )

    def _repr_html_(self):
        if not self.files.is_open:
            return None
        files, refused = _accounts(self._read_ledger(("status", "reason")))
        return collection_html(self, self.files.n_bytes, files, refused)

    @property
    def images(self):
        """The pictures as stored, (n, height, width, channels); slice to read them."""
        datasets = self.files[0].datasets if len(self.files) == 1 else ()
        return datasets[0] if len(datasets) == 1 else self

    @property
    def classes(self):
        """The labels that occur, sorted: ndarray of str."""
        return np.unique(self.labels[self.labels != ""])

    @property
    def keeps(self):
        """Whether computed features are kept in files beside the collection."""
        return self._keeps

    @property
    def attributes(self):
        """What is known of the collection as a whole: a dict."""
        return dict(self._attributes)

    @property
    def fit(self):
        """How pictures of another shape were resized: crop, pad or stretch."""
        return self._attributes.get("fit", "crop")

    def _positions(self, item):
        """Turn what stands in brackets into positions."""
        if isinstance(item, slice):
            return np.arange(*item.indices(len(self)))
        item = [item] if isinstance(item, str) else item
        array = np.asarray(item)
        if array.dtype.kind in "UOT":
            return np.array([self.position(key) for key in array.ravel()], int)
        return np.arange(len(self))[array if array.size else array.astype(int)]

    def position(self, key):
        """Return the position of a key.

        Parameters
        ----------
        key : str
            A key of the collection.

        Returns
        -------
        position : int

        Raises
        ------
        KeyError
            If the collection has no such key.
        """
        try:
            return self._position[str(key)]
        except KeyError:
            raise KeyError(
                f"{str(key)!r} is not a key of {self.path.name}; keys look like "
                f"{str(self.keys[0])!r}."
            ) from None

    def __getitem__(self, item):
        """Read pictures by position, slice, mask, key or a list of them.

        Returns
        -------
        images : ndarray of shape (n, height, width, channels), uint8
            Or (height, width, channels) for one position or key.
        """
        positions = self._positions(item)
        single = positions.ndim == 0 or isinstance(item, str)
        wanted, back = np.unique(positions, return_inverse=True)
        bounds = np.searchsorted(wanted, self._starts)
        some = [
            self.files[i].read(wanted[bounds[i] : bounds[i + 1]] - self._starts[i])
            for i in np.flatnonzero(np.diff(bounds))
        ]
        if len(some) == 1:
            out = some[0]
        else:
            out = np.concatenate([np.empty((0, *self.image_shape), np.uint8), *some])
        if len(wanted) != positions.size or not np.array_equal(
            back.ravel(), np.arange(positions.size)
        ):
            out = out[back.ravel()]
        return out[0] if single else out

    def verify(self):
        """Read everything and verify the checksums.

        Returns
        -------
        problems : list of str
            One line per problem; empty if there is none, or if the file has no
            checksums (version 1, and the layout of the proof of concept).
        """
        return self.files.verify()

    def mapped(self):
        """Memory-map the pictures instead of reading them.

        Returns
        -------
        images : numpy.memmap of shape (n, height, width, channels), uint8, or None
            The pictures, read-only. They remain valid after `close` and, except on
            Windows, after the file is deleted. None if the pictures are not stored
            contiguously as uint8 (chunked or compressed files, the layout of the proof
            of concept), or if the file was replaced by another.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from geoimages import Collection, make_rocks
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.h5"
        >>> rocks = Collection.from_arrays(path, *make_rocks(12, random_state=0))
        >>> bool((rocks.mapped()[7] == rocks[7]).all())
        True
        """
        return self.files[0].mapped() if len(self.files) == 1 else None

    def __iter__(self):
        for start in range(0, len(self), self._block):
            yield from self[start : start + self._block]

    @property
    def _block(self):
        return block_length(self.image_shape)

    @property
    def table(self):
        """One row per picture."""
        frames, n_files = [], 0
        for i, file in enumerate(self._each_file()):
            own = file.columns("pictures")
            if "ledger_row" in own:
                n_files -= self.files.n_repeated(i)
                own["ledger_row"] = own["ledger_row"] + n_files
                n_files += file.n_ledger
            start = self._starts[i : i + 2]
            columns = {"label": self.labels[slice(*start)], **own, **file.metadata()}
            if file.split:
                columns["split"] = np.array(file.split)
            frames.append(pd.DataFrame(columns))
        table = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
        for name in set(table).difference(set.intersection(*map(set, frames))):
            if table[name].dtype.kind not in "fiu":  # added with other metadata
                table[name] = table[name].fillna("")
        table["lineage"] = lineage_of(self.keys.tolist())
        return table.set_index(pd.Index(self.keys, name="key"))

    @property
    def ledger(self):
        """One row per file seen."""
        return self._read_ledger(tuple(LEDGER))

    def _read_ledger(self, names):
        """Read columns of the ledger, of which shards may share a row."""
        frames = [
            pd.DataFrame(file.ledger(names))[self.files.n_repeated(i) :]
            for i, file in enumerate(self._each_file())
        ]
        return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)

    @property
    def unmatched(self):
        """Rows of the metadata table that match no picture."""
        found = [file.unmatched() for file in self._each_file()]
        return [row for rows in found if rows for row in rows]

    @property
    def missing(self):
        """Shards that are missing, and why: dict of str, empty if there are none."""
        return {shard.name: shard.missing for shard in self.files.missing}

    def where(self, **columns):
        """Return the positions of the pictures with the given values.

        Parameters
        ----------
        **columns : str, number or list of them
            Columns of `table` and the required value, or a list of alternatives.
            Numeric columns also take a range, ``"10..14"`` or ``">12"``. If the table
            has ``depth_from`` and ``depth_to``, ``depth`` means these intervals, which
            match if they overlap the range.

        Returns
        -------
        positions : ndarray of shape (n_found,), int

        Raises
        ------
        KeyError
            If there is no such column.
        ValueError
            If the value is not a number for a numeric column.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from geoimages import Collection, make_rocks
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.h5"
        >>> rocks = Collection.from_arrays(path, *make_rocks(12, random_state=0))
        >>> len(rocks.where(label="marble"))
        2
        >>> rocks.where(label="marble", ledger_row="3..11").tolist()
        [5, 10]
        """
        table = self.table
        kept = np.ones(len(self), bool)
        for name, value in columns.items():
            kept &= matching(table, name, value)
        return np.flatnonzero(kept)

    def to_frame(self, dtype="float32", positions=None):
        """Return the pictures as flat rows.

        Parameters
        ----------
        dtype : {"float32", "uint8"}, default="float32"
            float32 is in [0, 1]; uint8 takes a quarter of the memory.
        positions : array-like of int, optional
            Positions of the pictures, for example from `where`. By default all.

        Returns
        -------
        vectors_df : DataFrame of shape (n, height * width * channels)
            Index ``key``.
        """
        chosen = slice(None) if positions is None else np.asarray(positions, int)
        return vectors_frame(self[chosen], self.keys[chosen], dtype)

    def read(self, source):
        """Read and resize a picture file like those of the collection.

        Parameters
        ----------
        source : str, path-like, bytes or binary file object
            The picture's file.

        Returns
        -------
        image : ndarray of shape (height, width, channels), uint8
            The picture in the collection's size, resized in the same way (crop, pad or
            stretch) if necessary.

        Raises
        ------
        ImageReadError
            If it cannot be read, with the reason.
        """
        image = read_image(source, alpha=self.image_shape[2] == 4)
        return resize_image(image, self.image_shape[:2], self.fit)

    def explorer(self, model, *, votes=None, voter="notebook", color="label"):
        """Explore the collection in a notebook: matches, a map with a lasso, votes.

        Parameters
        ----------
        model : PairwiseModel or KMeansModel
            Fitted on this collection, or unfitted: then a clone is fitted.
        votes : path-like, optional
            A file of blind votes (`record_votes`) for trials.
        voter : str, default="notebook"
            Whose votes they are.
        color : str, default="label"
            Column of `table` to color the map by.

        Returns
        -------
        explorer : anywidget.AnyWidget
            ``selected`` holds the keys of the pictures in the lasso, or of the one that
            was asked about; ``query`` is that one's key, and setting it asks;
            ``matches`` is the ranked table.

        Raises
        ------
        ImportError
            If anywidget is missing (`pip install 'geoimages[notebooks]'`).
        ValueError
            If the model was fitted on other pictures.
        """
        try:
            # By its name, and when it is asked for: the faces import the collection.
            faces = import_module("geoimages.web.widget")
        except ModuleNotFoundError as error:
            raise ImportError(
                f"The explorer needs {error.name}; pip install 'geoimages[notebooks]'."
            ) from None
        return faces.Explorer(self, model, votes=votes, voter=voter, color=color)

    def x_y(self):
        """Return the pictures and their labels.

        Returns
        -------
        images : ndarray of shape (n, height, width, channels), uint8
        labels : ndarray of shape (n,), str
        """
        return self[:], self.labels.copy()

    def __contains__(self, key):
        return key in self._position

    def summary(self, as_dict=False):
        """Summarize the pictures and the files that were read.

        Parameters
        ----------
        as_dict : bool, default=False
            Whether to return a dict instead of text.

        Returns
        -------
        summary : str or dict
        """
        ledger = self.ledger
        status, refused = _accounts(ledger)
        about = {
            "path": str(self.path),
            "pictures": len(self),
            "image_shape": list(self.image_shape),
            "bytes": self.files.n_bytes,
            "classes": dict(Counter(label for label in self.labels.tolist() if label)),
            "columns": list(self.table.columns),
            "files": dict(status),
            "refused": dict(refused),
            "unmatched": self.unmatched,
        }
        if self.path.is_dir():
            about |= {"shards": len(self.files), "missing": self.missing}
        if as_dict:
            return about
        height, width, channels = self.image_shape
        masked = " with masks" if channels == 4 else ""
        lines = [
            f"{len(self):,} pictures of {height} × {width}{masked} in {self.path} "
            f"({about['bytes'] / 1e6:.1f} MB)"
        ]
        lines += [f"missing: {name} ({why})" for name, why in self.missing.items()]
        lines += [f"  {name}: {n:,}" for name, n in sorted(about["classes"].items())]
        if "labels_from" in self._attributes:
            lines.append(f"  classes {self._attributes['labels_from']}")
        if status:
            lines.append(
                f"{len(ledger):,} files seen: "
                + ", ".join(f"{n:,} {name}" for name, n in sorted(status.items()))
            )
        lines += [
            f"  refused as {name}: {n:,}"
            + (" (--size H W brings all to one size)" if name == "other-size" else "")
            for name, n in sorted(refused.items())
        ]
        resized = int((ledger["fit"] != "").sum()) if status else 0
        if resized:
            lines.append(
                f"{resized:,} brought to this size by {self.fit}"
                + self._attributes.get("size_because", "")
            )
        lines += self._describe_metadata()
        if self.unmatched:
            shown = ", ".join(self.unmatched[:3])
            more = "" if len(self.unmatched) < 4 else ", …"
            lines.append(
                f"{len(self.unmatched):,} rows of the metadata fit no picture: "
                f"{shown}{more}"
            )
        return "\n".join(lines)

    def _describe_metadata(self):
        """One line per column of the metadata."""
        columns, lines = {}, []
        for file in self._each_file():
            for name, values in file.metadata().items():
                columns.setdefault(name, []).append(values)
        for name, parts in columns.items():
            values = pd.Series(np.concatenate(parts))
            if values.dtype.kind == "f" and values.notna().any():
                told = f"numbers, {values.min():g} to {values.max():g}"
            else:
                told = f"{values[values != ''].nunique():,} values"
            lines.append(f"  {name}: {told}")
        return ["metadata:", *lines] if lines else []

    def with_labels(self, labels):
        """Open the collection with other labels; the file stays as it is.

        Parameters
        ----------
        labels : dict, Series, DataFrame or path of a CSV
            Labels by key. A table names the pictures in a column ``key`` or ``file``
            and has a column ``label``, as the page writes it. Pictures that it does not
            name keep their labels.

        Returns
        -------
        collection : Collection

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If a table lacks its columns, or names no picture of the collection.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from geoimages import Collection, make_rocks
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.h5"
        >>> rocks = Collection.from_arrays(path, *make_rocks(12, random_state=0))
        >>> rocks.with_labels({rocks.keys[0]: "granite"}).labels[0].item()
        'granite'
        """
        given = labels_by_key(labels)
        known = {key: label for key, label in given.items() if key in self}
        if not known:
            raise ValueError(
                f"None of the {len(given)} labels names a picture of {self.path.name}; "
                f"keys look like {str(self.keys[0])!r}."
            )
        mode = "r+" if self._keeps else "r"
        other = type(self)(self.path, mode, self.cache.most_bytes)
        told = [
            known.get(key, label)
            for key, label in zip(self.keys.tolist(), self.labels.tolist(), strict=True)
        ]
        other.labels = np.array(told, str)
        return other

    def features(self, transformer):
        """Transform all pictures in blocks, or return the cached result.

        The shards of a folder are described on the workers that joblib is configured
        for, and each result is cached beside its shard.

        Overlapping tiles of photographs are described together where the transformer
        can do so (``shares_tiles``); others one by one.

        The result is cached in a file beside the collection if it was opened with
        ``"r+"``; if the folder is not writable or the disk is full, ``cache.notes``
        says so. The cache key is derived from the transformer's class, parameters and
        fitted state, the package's version and the pictures.

        Parameters
        ----------
        transformer : transformer
            A fitted transformer of flat rows or pictures.

        Returns
        -------
        rows : ndarray of shape (n, n_features_out)
        """
        if self.path.is_dir():
            return features_of_shards(self, transformer)
        digest = self.digest(transformer)
        rows = self.cache.read(digest, len(self)) if digest else None
        if rows is not None:
            return rows
        rows = features_of_file(self, transformer)
        if digest and self._keeps:
            self.cache.write(digest, rows, repr(transformer))
        return rows

    def digest(self, transformer=None):
        """Return a digest of the pictures, or of a transformer's result on them.

        Parameters
        ----------
        transformer : transformer, optional
            Fitted or not.

        Returns
        -------
        digest : str or None
            64 hexadecimal digits; other pictures, keys, parameters, another fitted
            state or version of the package give others. None for a transformer that
            cannot be hashed, such as one with a function of a notebook.
        """
        if isinstance(transformer, FrozenEstimator):
            transformer = transformer.estimator
        try:
            # A transformer may say what its result depends on, where not on all of it.
            state = joblib.hash(
                getattr(transformer, "_identity", lambda: transformer)()
            )
        except Exception:  # a class or function defined in a cell, say
            return None
        digest = hashlib.sha256(version("geoimages").encode())
        digest.update(state.encode())
        digest.update(repr((self.image_shape, self.fit)).encode())
        digest.update("\0".join(self.keys.tolist()).encode())
        for i, file in enumerate(self._each_file()):
            hashes = file.hashes()
            if hashes is not None:
                digest.update(hashes.tobytes())
                continue
            start, stop = self._starts[i : i + 2]
            for first in range(start, stop, self._block):
                digest.update(self[first : min(first + self._block, stop)].tobytes())
        return digest.hexdigest()


def vectors_frame(images, keys, dtype="float32"):
    """Flatten pictures to the rows of a DataFrame: (n, h, w, c) uint8 -> (n, h*w*c)."""
    if str(np.dtype(dtype)) not in ("float32", "uint8"):
        raise ValueError(f"dtype is 'float32' or 'uint8', got {dtype!r}.")
    rows = images.reshape(len(images), -1)
    if np.dtype(dtype) == np.float32:
        rows = rows / np.float32(255)
    return pd.DataFrame(rows, index=pd.Index(keys, name="key"))


def _accounts(ledger):
    """Count the files by status, and those refused by reason."""
    if not len(ledger):
        return Counter(), Counter()
    refused = ledger["reason"][ledger["status"] == "refused"]
    return Counter(ledger["status"]), Counter(refused)
