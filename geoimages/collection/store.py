"""Collection: pictures, labels and the ledger of every file seen, in one .h5 file."""

import hashlib
import os
from collections import Counter
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import h5py
import joblib
import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator

from ..files import (
    NewerVersionError,
    atomic_path,
    check_version,
    locked,
    progress,
)
from ..pictures.reading import MAX_PIXELS, read_image
from ..pictures.resizing import resize_image
from ..pictures.validation import input_for
from .adding import check_sources, write_added
from .cache import FeatureCache
from .checking import (
    check_layout,
    check_lengths,
    crc_of_attributes,
    crc_of_names,
    crc_of_pictures,
)
from .html import collection_html
from .lineage import lineage_of
from .sealing import check_file
from .selection import matching
from .tables import LEDGER, as_text, labels_by_key, name_of, read_column, read_names
from .tiles import write_tiles
from .writer import FORMAT, FORMAT_VERSION
from .writing import write_arrays, write_source

_BLOCK_BYTES = 1 << 24
# What h5py raises for a damaged file.
_DAMAGED = (
    *(ValueError, LookupError, TypeError, AttributeError, OverflowError),
    *(OSError, RuntimeError, MemoryError),
)


class Collection:
    """Pictures of one size with keys, labels and sources, in one file.

    Parameters
    ----------
    path : str or path-like
        An ``.h5`` file written by `Collection.create` or `Collection.from_arrays`,
        or one in the layout of the proof of concept (``X_Train_Orig``,
        ``Y_Train_Orig`` and likewise ``Dev`` and ``Test``).
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
        The file.
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
        if not self.path.is_file():
            raise FileNotFoundError(
                f"No collection at {self.path}; create one with "
                f"'geoimages etl SOURCE -o {self.path.name}'."
            )
        try:
            check_file(self.path)
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(
                f"{self.path} cannot be opened as an .h5 file ({error}); pictures "
                "become one by 'geoimages etl'."
            ) from None
        except ValueError as error:
            raise self._invalid(error) from None
        self._opened = self.path.stat()
        self.cache, self._keeps = FeatureCache(self.path, cache_size), mode == "r+"
        try:
            self._open()
        except _DAMAGED as error:
            self._file.close()
            if isinstance(error, NewerVersionError):
                raise
            raise self._invalid(error) from None

    def _invalid(self, error):
        why = " ".join(str(error.args[0]).split()) if error.args else ""
        return ValueError(
            f"{self.path} is not a valid collection of geoimages "
            f"({why or type(error).__name__}); make one with 'geoimages etl'."
        )

    def _open(self):
        """Read everything but the pictures."""
        check_layout(self._file)
        self._attributes = {
            name: as_text(value) if isinstance(value, bytes | str) else value.item()
            for name, value in self._file.attrs.items()
            if isinstance(value, bytes | str | np.generic)
        }
        self._checksums = None
        if self._attributes.get("format") == FORMAT:
            self._open_own()
        else:
            self._open_original()
        self._scales = [_in_255(dataset) for dataset in self._datasets]
        self.image_shape = tuple(int(side) for side in self._datasets[0].shape[1:])
        self._starts = np.cumsum([0, *map(len, self._datasets)])
        self._position = {key: i for i, key in enumerate(self.keys.tolist())}
        if len(self._position) < len(self.keys):
            raise ValueError("a key stands twice")
        self._unchecked = np.full(len(self), self._checksums is not None)

    def _open_own(self):
        """Open the layout that `writing` writes."""
        check_version(self.path, self._attributes["format_version"], FORMAT_VERSION)
        check_lengths(self._file)
        if self._attributes["format_version"] > 1:
            crc = self._attributes.pop("crc32")
            if crc != crc_of_attributes(self._attributes):
                raise ValueError("its attributes are damaged")
            if self._attributes.get("columns", 0) not in (0, crc_of_names(self._file)):
                raise ValueError("some of its columns are missing, or others")
            self._checksums = read_column(self._file["checksums/images"])
        self._datasets, self._split = [self._file["images"]], None
        self.keys = read_names(self._file["keys"])
        self.labels = read_names(self._file["labels"])

    def _open_original(self):
        """Open the layout of the proof of concept: X_Train_Orig, Y_Train_Orig, …"""
        names = {name.lower(): name for name in self._file}
        self._datasets, self._split, keys, labels = [], [], [], []
        classes = [
            str(name.decode() if isinstance(name, bytes) else name)
            for name in np.ravel(self._file.get("classes", []))
        ]
        for part in ("train", "dev", "test"):
            if f"x_{part}_orig" not in names:
                continue
            x = self._file[names[f"x_{part}_orig"]]
            if x.ndim != 4:
                raise ValueError(f"{x.name} has {x.ndim} axes instead of 4")
            if x.shape[3] not in (3, 4) or 0 in x.shape:
                raise ValueError(f"{x.name} has the shape {x.shape}")
            self._datasets.append(x)
            if x.shape[1:] != self._datasets[0].shape[1:]:
                raise ValueError(f"{x.name} holds pictures of another shape")
            keys += [f"{part}.{i}" for i in range(len(x))]
            self._split += [part] * len(x)
            y = names.get(f"y_{part}_orig")
            labels += (
                _original_labels(self._file[y][:], classes, len(x))
                if y
                else [""] * len(x)
            )
        if not self._datasets:
            raise ValueError("it has neither its mark nor X_Train_Orig")
        if len(labels) != len(keys):
            raise ValueError(f"{len(labels)} labels stand beside {len(keys)} pictures")
        self.keys, self.labels = np.array(keys, str), np.array(labels, str)

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
    ):
        """Read a folder or zip of pictures into a collection, in one pass.

        A picture's folder is its class. Only names and ledger rows stay in memory. An
        unreadable file is refused with a reason, and the run continues.

        Parameters
        ----------
        path : str or path-like
            The ``.h5`` file to write, atomically.
        source : str or path-like
            Folder or zip.
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
        write_source(
            path,
            source,
            size=size,
            fit=fit,
            alpha=alpha,
            rotate=rotate,
            sample=sample,
            random_state=random_state,
            metadata=metadata,
            label=label,
            label_from=label_from,
            max_pixels=max_pixels,
            resume=resume,
        )
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
        deleted: they are those of fewer pictures.

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
        try:
            with locked(self.path):
                with atomic_path(self.path) as temporary:
                    with type(self)(self.path) as old:
                        write_added(
                            old,
                            temporary,
                            sources,
                            metadata=metadata,
                            label=label,
                            label_from=label_from,
                            fit=fit,
                            max_pixels=max_pixels,
                        )
                    self.close()  # Windows replaces no open file
                self.cache.clear()
        finally:
            if not self._file:
                mode = "r+" if self._keeps else "r"
                self.__init__(self.path, mode, self.cache.most_bytes)
        return self

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

    def close(self):
        """Close the file."""
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __len__(self):
        return len(self.keys)

    def __repr__(self):
        classes = Counter(label for label in self.labels.tolist() if label)
        counts = ", ".join(f"{name} {n}" for name, n in sorted(classes.items()))
        shape = " × ".join(map(str, self.image_shape))
        return (
            f"Collection({str(self.path)!r}: {len(self)} pictures, {shape}; {counts})"
        )

    def _repr_html_(self):
        if not self._file:  # closed
            return None
        n_bytes = self._file.id.get_filesize()
        files, refused = _accounts(self._read_ledger("status", "reason"))
        return collection_html(self, n_bytes, files, refused)

    @property
    def images(self):
        """The pictures as stored, (n, height, width, channels); slice to read them."""
        return self._datasets[0] if len(self._datasets) == 1 else self

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
            return np.arange(len(self))[item]
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
        out = np.empty((len(wanted), *self.image_shape), np.uint8)
        for i, dataset in enumerate(self._datasets):
            first, stop = np.searchsorted(wanted, self._starts[i : i + 2])
            for start in range(first, stop, self._block):
                # HDF5 takes kilobytes for each chunk of what it reads at once.
                these = slice(start, min(start + self._block, stop))
                inside = wanted[these] - self._starts[i]
                try:
                    out[these] = _read_rows(dataset, inside, self._scales[i])
                except (OSError, RuntimeError) as error:  # a packed chunk is damaged
                    raise ValueError(
                        f"Pictures of {self.path} cannot be read ({error}); make the "
                        "collection again with 'geoimages etl'."
                    ) from None
                self._check(out[these], wanted[these])
        if len(wanted) != positions.size or not np.array_equal(
            back.ravel(), np.arange(positions.size)
        ):
            out = out[back.ravel()]
        return out[0] if single else out

    def _check(self, images, positions):
        """Verify the checksums of pictures that have not been checked yet."""
        new = self._unchecked[positions]
        if not new.any():
            return
        if not new.all():  # else they need no copy
            images, positions = images[new], positions[new]
        wrong = positions[crc_of_pictures(images) != self._checksums[positions]]
        if len(wrong):
            raise ValueError(
                f"{self.path} is damaged: the picture {str(self.keys[wrong[0]])!r} has "
                f"another checksum ({len(wrong)} of {len(positions)} read together); "
                "make the collection again with 'geoimages etl'."
            )
        self._unchecked[positions] = False

    def verify(self):
        """Read everything and verify the checksums.

        Returns
        -------
        problems : list of str
            One line per problem; empty if there is none, or if the file has no
            checksums (version 1, and the layout of the proof of concept).
        """
        problems = []
        for start in range(0, len(self), self._block):
            try:
                positions = np.arange(start, min(start + self._block, len(self)))
                self._unchecked[positions] = self._checksums is not None
                self[positions]
            except ValueError as error:
                problems.append(str(error))
        for group in ("pictures", "metadata", "ledger"):
            for name, column in self._file.get(group, {}).items():
                try:
                    read_column(column)
                except ValueError as error:
                    problems.append(f"{group}/{name}: {error}")
        return problems

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
        start = _start_in_file(self._datasets[0]) if len(self._datasets) == 1 else None
        if start is None:
            return None
        shape = len(self), *self.image_shape
        try:
            with open(self.path, "rb") as file:
                if not os.path.samestat(os.fstat(file.fileno()), self._opened):
                    return None
                images = np.memmap(file, np.uint8, "r", start, shape)
        except OSError:  # for example, the file was deleted
            return None
        for first in range(0, len(self), self._block):
            positions = np.arange(first, min(first + self._block, len(self)))
            self._check(images[positions[0] : positions[-1] + 1], positions)
        return images

    def __iter__(self):
        for start in range(0, len(self), self._block):
            yield from self[start : start + self._block]

    @property
    def _block(self):
        return max(1, _BLOCK_BYTES // int(np.prod(self.image_shape)))

    @property
    def table(self):
        """One row per picture."""
        columns = {"label": self.labels}
        for name, column in self._file.get("pictures", {}).items():
            columns[name] = read_column(column)
        for column in self._metadata_columns():
            columns[name_of(column)] = read_column(column)
        if self._split:
            columns["split"] = np.array(self._split)
        columns["lineage"] = lineage_of(self.keys.tolist())
        return pd.DataFrame(columns, index=pd.Index(self.keys, name="key"))

    def _metadata_columns(self):
        """The columns of the metadata table as they lie in the file, in order."""
        columns = self._file.get("metadata", {}).values()
        return sorted(columns, key=lambda c: int(c.name.split("/")[-1]))

    @property
    def ledger(self):
        """One row per file seen."""
        return self._read_ledger(*LEDGER)

    def _read_ledger(self, *names):
        group = self._file.get("ledger", {})
        return pd.DataFrame(
            {name: read_column(group[name]) for name in names if name in group}
        )

    @property
    def unmatched(self):
        """Rows of the metadata table that match no picture."""
        if "unmatched" not in self._file:
            return []
        return read_column(self._file["unmatched"]).tolist()

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
            "bytes": self.path.stat().st_size,
            "classes": dict(Counter(label for label in self.labels.tolist() if label)),
            "columns": list(self.table.columns),
            "files": dict(status),
            "refused": dict(refused),
            "unmatched": self.unmatched,
        }
        if as_dict:
            return about
        height, width, channels = self.image_shape
        masked = " with masks" if channels == 4 else ""
        lines = [
            f"{len(self):,} pictures of {height} × {width}{masked} in {self.path} "
            f"({about['bytes'] / 1e6:.1f} MB)"
        ]
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
        lines = []
        for column in self._metadata_columns():
            name, values = name_of(column), pd.Series(read_column(column))
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
        digest = self.digest(transformer)
        rows = self.cache.read(digest, len(self)) if digest else None
        if rows is not None:
            return rows
        bar = progress(
            range(0, len(self), self._block), desc="computing features", unit="block"
        )
        rows = np.concatenate(
            [
                np.asarray(
                    transformer.transform(
                        input_for(transformer, self[start : start + self._block])
                    )
                )
                for start in bar
            ]
        )
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
        if "pictures" in self._file:
            digest.update(self._file["pictures/sha256"][:].tobytes())
        else:
            for start in range(0, len(self), self._block):
                digest.update(self[start : start + self._block].tobytes())
        return digest.hexdigest()


def vectors_frame(images, keys, dtype="float32"):
    """Flatten pictures to the rows of a DataFrame: (n, h, w, c) uint8 -> (n, h*w*c)."""
    if str(np.dtype(dtype)) not in ("float32", "uint8"):
        raise ValueError(f"dtype is 'float32' or 'uint8', got {dtype!r}.")
    rows = images.reshape(len(images), -1)
    if np.dtype(dtype) == np.float32:
        rows = rows / np.float32(255)
    return pd.DataFrame(rows, index=pd.Index(keys, name="key"))


def _original_labels(y, classes, n):
    """Labels of n pictures of the proof of concept, one-hot, numbers or text, as text."""
    y = np.asarray(y)
    y = y.argmax(axis=1) if y.ndim == 2 and y.size != n else y.ravel()
    if y.dtype.kind in "SO":
        return [v.decode() if isinstance(v, bytes) else str(v) for v in y]
    y = y.astype(int)
    return [classes[v] if v < len(classes) else str(v) for v in y.tolist()]


def _accounts(ledger):
    """Count the files by status, and those refused by reason."""
    if not len(ledger):
        return Counter(), Counter()
    refused = ledger["reason"][ledger["status"] == "refused"]
    return Counter(ledger["status"]), Counter(refused)


def _in_255(dataset):
    """Factor to 0–255, 255 or 1, inferred from the first pictures."""
    return 255 if dataset.dtype.kind == "f" and dataset[:256].max(initial=0) <= 1 else 1


def _start_in_file(dataset):
    """The byte at which the pictures of a dataset begin in one piece, or None."""
    filters = dataset.id.get_create_plist().get_nfilters()
    if dataset.dtype != np.uint8 or filters or dataset.file.userblock_size:
        return None
    if dataset.chunks is None:
        return dataset.id.get_offset()
    if dataset.chunks != (1, *dataset.shape[1:]):
        return None
    starts = np.full(len(dataset), -1)

    def note(chunk):
        starts[chunk.chunk_offset[0]] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    in_one_piece = (np.diff(starts) == np.prod(dataset.shape[1:])).all()
    return int(starts[0]) if in_one_piece and starts[0] >= 0 else None


def _read_rows(dataset, positions, scale):
    """Read pictures at ascending positions of a dataset as uint8, in few reads."""
    span = positions[-1] - positions[0] + 1
    if span <= 8 * len(positions):
        rows = dataset[positions[0] : positions[-1] + 1]
        rows = rows if span == len(positions) else rows[positions - positions[0]]
    else:
        rows = np.stack([dataset[i] for i in positions])
    if rows.dtype == np.uint8:
        return rows
    return np.clip(np.rint(rows * scale), 0, 255).astype(np.uint8)
