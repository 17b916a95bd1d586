"""Collection: pictures, labels and the ledger of every file seen, in one .h5 file."""

import contextlib
import hashlib
import os
import re
import zipfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import h5py
import joblib
import numpy as np
import pandas as pd

from ..files import atomic_path, progress
from ..pictures.reading import ImageReadError, read_image, read_images
from ..pictures.resizing import FITS, check_size, resize_image
from ..pictures.validation import input_for
from .html import collection_html
from .lineage import TURNS, lineage_of
from .sampling import sample_groups
from .sources import open_source

_FORMAT = "geoimages.collection"
_FORMAT_VERSION = 1
_BLOCK_BYTES = 1 << 24
_WRITE_BYTES = 1 << 21
_BATCH_BYTES, _BATCH_FILES = 1 << 22, 1024  # of the files that are read ahead
_INDEX_BYTES = 72  # that the .h5 file takes to find one picture, at most
_TEXT = h5py.string_dtype("utf-8")
_LEDGER = {
    "path": _TEXT,
    "status": h5py.string_dtype("ascii", 8),
    "reason": h5py.string_dtype("ascii", 16),
    "detail": _TEXT,
    "sha256": h5py.string_dtype("ascii", 64),
    "size": np.int64,
    "width": np.int32,
    "height": np.int32,
    "mode": h5py.string_dtype("ascii", 8),
    "bit_depth": np.int16,
    "exif_orientation": np.int8,
    "fit": h5py.string_dtype("ascii", 8),
}
_PICTURES = {
    "source": _TEXT,
    "sha256": h5py.string_dtype("ascii", 64),
    "ledger_row": np.int64,
    "turn": np.int16,
}
_FILE_COLUMNS = ("file", "file_name", "filename", "path", "key", "name")
_TAKEN = {*_PICTURES, "key", "query", "lineage", "similarity"}
# 007 is a name, and so is what has more digits than a float64 keeps.
_NUMBER = re.compile(r"[+-]?(?!0\d)\d{0,15}(?:\.\d*)?(?:[eE][+-]?\d+)?")


def _encoded(texts):
    """Encode texts as UTF-8 of one width, or leave them if few are far longer: (n,)."""
    encoded = [text.encode("utf-8", "backslashreplace") for text in texts]
    width = max([1, *map(len, encoded)])
    if width * len(encoded) > 4 * (sum(map(len, encoded)) + (1 << 16)):
        return np.array(encoded, _TEXT)
    return np.array(encoded, h5py.string_dtype("utf-8", width))


class _Columns:
    """Columns that grow row by row in memory, to be written together."""

    def __init__(self, dtypes):
        self.dtypes, self.rows = dtypes, []
        self.packed = {name: [] for name in dtypes}

    def append(self, row):
        self.rows.append(row)
        if len(self.rows) == 4096:
            self._pack()

    def _pack(self):
        for name, dtype in self.dtypes.items():
            empty = 0 if np.dtype(dtype).kind == "i" else ""
            values = [row.get(name, empty) for row in self.rows]
            self.packed[name].append(np.array(values, dtype))
        self.rows = []

    def write(self, group, names):
        self._pack()
        for name in names:
            column = np.concatenate(self.packed[name])
            is_text = column.dtype.kind == "O"
            group.create_dataset(
                name,
                data=_encoded(column) if is_text else column,
                maxshape=(None,),
                chunks=(4096,),
                # A hash hardly shrinks, and a text is short.
                compression=None if is_text or name == "sha256" else "gzip",
            )


class _Writer:
    """A collection in the making: pictures go in one by one.

    What is known of them follows them at the end, so that nothing lies between them.
    """

    def __init__(self, file, image_shape):
        self.file = file
        self.images = file.create_dataset(
            "images",
            (0, *image_shape),
            np.uint8,
            maxshape=(None, *image_shape),
            chunks=(1, *image_shape),
        )
        self.pictures = _Columns({"keys": _TEXT, "labels": _TEXT} | _PICTURES)
        self.ledger = _Columns(_LEDGER)
        capacity = max(1, _WRITE_BYTES // int(np.prod(image_shape)))
        self.block = np.empty((capacity, *image_shape), np.uint8)
        self.filled = 0

    def add(self, image, **row):
        self.block[self.filled] = image
        self.filled += 1
        self.pictures.append(row)
        if self.filled == len(self.block):
            self._flush()

    def _flush(self):
        start = len(self.images)
        self.images.resize(start + self.filled, axis=0)
        if self.filled:
            self.images[start:] = self.block[: self.filled]
            self.filled = 0

    def finish(self, **attributes):
        self._flush()
        self.pictures.write(self.file, ("keys", "labels"))
        self.pictures.write(self.file.create_group("pictures"), _PICTURES)
        self.ledger.write(self.file.create_group("ledger"), _LEDGER)
        self.file.attrs.update(
            format=_FORMAT,
            format_version=_FORMAT_VERSION,
            created_by=f"geoimages {version('geoimages')}",
            **attributes,
        )


@contextlib.contextmanager
def _writer(path, image_shape, most):
    """Open a file for a number of pictures at most: a `_Writer`.

    They can be mapped in one piece, as where each one lies has its room before them.
    """
    room = (1 << 14) + _INDEX_BYTES * most
    with h5py.File(path, "w", rdcc_nbytes=0, meta_block_size=room) as file:
        yield _Writer(file, image_shape)


def _majority_shape(source, alpha):
    """The most common (height, width) among up to 100 files spread over a source."""
    entries = [entry for entry in source.entries if entry.is_picture]
    shapes = Counter()
    for entry in entries[:: max(1, len(entries) // 100)]:
        try:
            shapes[read_image(source.read(entry), alpha=alpha).shape[:2]] += 1
        except (ImageReadError, *_UNREADABLE):
            continue
    if not shapes:
        for entry in entries:
            try:
                return read_image(source.read(entry), alpha=alpha).shape[:2]
            except (ImageReadError, *_UNREADABLE):
                continue
        raise ValueError(
            f"None of the {len(source.entries)} files is a picture that can be read; "
            "give a folder or zip that holds pictures."
        )
    return shapes.most_common(1)[0][0]


# What reading a member of a damaged, encrypted or vanished file raises.
_UNREADABLE = (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError)


_SKIPPED = {"status": "skipped", "reason": "not-sampled"}
_REFUSED = {"status": "refused"}
_NO_PICTURE = _REFUSED | {"reason": "not-a-picture", "detail": "by its name"}


def _batches(source, entries, chosen):
    """Read files, some megabytes at a time: lists of (path, bytes or why not)."""
    batch, held = [], 0
    for entry, is_chosen in zip(entries, chosen, strict=True):
        if not is_chosen:
            data = _SKIPPED
        elif not entry.is_picture:
            data = _NO_PICTURE
        else:
            try:
                data = source.read(entry)
                held += len(data)
            except _UNREADABLE as error:
                data = _REFUSED | {"reason": "unreadable", "detail": str(error)}
        batch.append((entry.path, data))
        if len(batch) == _BATCH_FILES or held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    yield batch


def _account(path, result, size, fit):
    """What became of a file: (image or None, its row of the ledger)."""
    if isinstance(result, dict):
        return None, {"path": path} | result
    if isinstance(result, ImageReadError):
        why = {"path": path, "reason": result.reason, "detail": result.detail}
        return None, _REFUSED | result.info | why
    image, row = result
    row["path"], row["status"] = path, "kept"
    if image.shape[:2] == size and fit != "pad":
        return image, row
    if fit is None:
        detail = f"expected {size[0]} × {size[1]}; give a size to fit it"
        return None, row | _REFUSED | {"reason": "other-size", "detail": detail}
    row["fit"] = fit if image.shape[:2] != size else ""
    image = resize_image(image, size, fit)
    if image.shape[2] == 4 and not (image[..., 3] > 127).any():
        why = {"reason": "empty-mask", "detail": "once resized"}
        return None, row | _REFUSED | why
    return image, row


def _read_entries(source, entries, chosen, alpha, size, fit):
    """Read files: (image or None, its row of the ledger) of each, in order."""
    for batch in _batches(source, entries, chosen):
        files = {path: data for path, data in batch if isinstance(data, bytes)}
        read = read_images(list(files.values()), list(files), alpha=alpha)
        for path, data in batch:
            result = next(read) if isinstance(data, bytes) else data
            yield _account(path, result, size, fit)


def _refuse_to_overwrite(path, **inputs):
    """Raise a ValueError where the file to write is one of those to read."""
    for name, given in inputs.items():
        if not isinstance(given, str | os.PathLike) or not Path(path).exists():
            continue
        if Path(given).exists() and Path(path).samefile(given):
            raise ValueError(
                f"{path} is the {name} itself and would be lost; write to another file."
            )


def _as_numbers(texts):
    """Turn a column of text into numbers where every value reads as one."""
    told = texts.dropna()
    if not all(_NUMBER.fullmatch(text.strip()) for text in told):
        return texts
    numbers = pd.to_numeric(texts, errors="coerce")
    return numbers if numbers.count() == len(told) else texts


def _read_csv(path):
    """Read a table; names of files and such as 007 stay text, as do True and False."""
    try:
        table = pd.read_csv(path, dtype=str)
    except FileNotFoundError:
        raise FileNotFoundError(f"No metadata at {path}; give a CSV file.") from None
    except ValueError as error:  # empty, not text or ragged
        raise ValueError(f"The metadata {path} cannot be read ({error}).") from None
    for name in table.columns:
        if name not in (*_FILE_COLUMNS, "label"):
            table[name] = _as_numbers(table[name])
    return table


def _read_metadata(metadata):
    """Return (table, name of the column that names the files)."""
    table = (
        metadata.reset_index(drop=metadata.index.name is None)
        if isinstance(metadata, pd.DataFrame)
        else _read_csv(metadata)
    )
    for name in _FILE_COLUMNS:
        if name in table.columns:
            return table, name
    raise ValueError(
        f"The metadata has the columns {', '.join(map(str, table.columns))}; one named "
        f"'file' must name each row's picture (by path, file name or key)."
    )


def _match_metadata(table, column, entries):
    """Match rows to entries by path, file name or key: (row of entry, unmatched)."""
    known = {}
    for i, entry in enumerate(entries):
        path = PurePosixPath(entry.path)
        if not entry.is_picture:
            continue
        for name in {entry.path, entry.key, path.name, path.stem}:
            # A name that two pictures share points at neither.
            known[name] = i if known.get(name, i) == i else None
    row_of, unmatched = {}, []
    for row, name in enumerate(table[column].astype(str)):
        entry = known.get(name)
        if entry is None or entry in row_of:  # a picture takes its first row
            unmatched.append(name)
        else:
            row_of[entry] = row
    return row_of, unmatched


def _metadata_names(columns):
    """Name columns so that none hides one of the collection's own."""
    names = set(_TAKEN)
    for name in map(str, columns):
        while name in names:
            name += "_metadata"
        names.add(name)
        yield name


def _write_metadata(file, table, rows):
    """Write the columns of a metadata table for the pictures kept."""
    group = file.create_group("metadata")
    taken = table.iloc[[max(row, 0) for row in rows]]
    absent = np.array([row < 0 for row in rows], dtype=bool)
    for i, name in enumerate(_metadata_names(taken.columns)):
        column = taken.iloc[:, i]
        is_number = pd.api.types.is_numeric_dtype(column)
        if is_number and not pd.api.types.is_bool_dtype(column):
            values = np.where(
                absent, np.nan, column.to_numpy(np.float64, na_value=np.nan)
            )
            dataset = group.create_dataset(str(i), data=values)
        else:
            texts = column.astype(object).where(column.notna(), "").astype(str)
            texts = np.where(absent, "", texts.to_numpy(object))
            dataset = group.create_dataset(str(i), data=texts, dtype=_TEXT)
        dataset.attrs["name"] = name  # a slash would be a path in the file


class Collection:
    """Pictures of one size with keys, labels and where each came from, in one file.

    Parameters
    ----------
    path : str or path-like
        An ``.h5`` file written by `Collection.create` or `Collection.from_arrays`,
        or one in the layout of the proof of concept (``X_Train_Orig``,
        ``Y_Train_Orig`` and the same of ``Dev`` and ``Test``).
    mode : {"r", "r+"}, default="r"
        Only a collection opened with ``"r+"`` is written to, when features are
        cached.

    Attributes
    ----------
    path : Path
        The file.
    keys : ndarray of shape (n,), str
        Name of each picture, ``<folder>.<file name>``.
    labels : ndarray of shape (n,), str
        Class of each picture, empty where it has none.
    image_shape : tuple of int
        (height, width, channels).
    table : DataFrame
        Index ``key``; ``label``, ``source``, ``sha256``, ``ledger_row``, ``turn``
        (degrees counter-clockwise), ``lineage`` (key of the original) and the columns
        of the metadata table.
    ledger : DataFrame
        One row for every file seen: ``path``, ``status`` (kept, refused or skipped),
        ``reason``, ``detail``, ``sha256``, ``size`` (bytes), ``width`` and ``height``
        (pixels), ``mode``, ``bit_depth``, ``exif_orientation`` and ``fit``.
    unmatched : list of str
        Rows of the metadata table that fit no picture.

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

    def __init__(self, path, mode="r"):
        self.path = Path(path)
        if mode not in ("r", "r+"):
            raise ValueError(f"mode is 'r' or 'r+', got {mode!r}.")
        if not self.path.is_file():
            raise FileNotFoundError(
                f"No collection at {self.path}; make one with "
                f"'geoimages etl SOURCE -o {self.path.name}'."
            )
        try:
            self._file = h5py.File(self.path, mode)
        except OSError as error:
            raise ValueError(
                f"{self.path} cannot be opened as an .h5 file ({error}); pictures "
                "become one by 'geoimages etl'."
            ) from None
        self._opened = self.path.stat()
        try:
            self._open()
        except (KeyError, ValueError) as error:
            self._file.close()
            raise ValueError(
                f"{self.path} is not a collection of geoimages ({error.args[0]}); make "
                "one with 'geoimages etl'."
            ) from None

    def _open(self):
        """Read everything but the pictures."""
        if self._file.attrs.get("format") == _FORMAT:
            if self._file.attrs["format_version"] > _FORMAT_VERSION:
                raise ValueError("it was written by a newer version")
            self._parts, self._split = [self._file["images"]], None
            self.keys = self._file["keys"].asstr()[:].astype(str)
            self.labels = self._file["labels"].asstr()[:].astype(str)
        else:
            self._open_original()
        self._scales = [_in_255(part) for part in self._parts]
        self.image_shape = tuple(int(side) for side in self._parts[0].shape[1:])
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])
        self._position = {key: i for i, key in enumerate(self.keys.tolist())}

    def _open_original(self):
        """Open the layout of the proof of concept: X_Train_Orig, Y_Train_Orig, …"""
        names = {name.lower(): name for name in self._file}
        self._parts, self._split, keys, labels = [], [], [], []
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
            self._parts.append(x)
            keys += [f"{part}.{i}" for i in range(len(x))]
            self._split += [part] * len(x)
            y = names.get(f"y_{part}_orig")
            labels += (
                _original_labels(self._file[y][:], classes, len(x))
                if y
                else [""] * len(x)
            )
        if not self._parts:
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
    ):
        """Read a folder or zip of pictures into a collection, in one pass.

        A picture's folder is its class. Of the files that have been read only names
        and rows of the ledger stay in memory. A file that cannot be read is refused
        with a reason, and the rest goes on.

        Parameters
        ----------
        path : str or path-like
            The ``.h5`` file to write. It appears when it is whole.
        source : str or path-like
            Folder or zip.
        size : tuple of int, optional
            (height, width) in pixels that all pictures are brought to. By default
            the most common size of the source (among 100 files spread over it), and
            pictures of another are refused as ``other-size``.
        fit : {"crop", "pad", "stretch"}, default="crop"
            How pictures of another aspect ratio are brought to `size`; see
            `resize_image`. Padding is masked, so ``"pad"`` stores four channels.
        alpha : bool, default=False
            Whether to keep transparency as a fourth channel, the picture's mask.
        rotate : bool, default=False
            Whether to store copies turned by 90, 180 and 270 degrees, keys ending in
            ``.90`` and so on. Models find turned pictures without them.
        sample : float, default=1.0
            Share of each class to take.
        random_state : int, RandomState or None, default=None
            Seed of the sample.
        metadata : DataFrame or path of a CSV, optional
            A column ``file`` names the pictures by path, file name or key; ``label``
            replaces the folder's name; every other column (``hole``, ``depth_from``,
            ``depth_to``, ``mm_per_px``, …) is kept, as numbers where all its values
            are (``007`` is text). One named as a column of the collection's own is
            kept as ``source_metadata`` and so on. Of several rows for one picture the
            first counts.

        Returns
        -------
        collection : Collection
            Opened for reading.

        Raises
        ------
        FileNotFoundError
            If there is no source.
        ValueError
            If no picture can be read, an option is unknown, or `path` is what is read.
        """
        _refuse_to_overwrite(path, source=source, metadata=metadata)
        if fit not in FITS:
            raise ValueError(f"fit={fit!r} is not known; expected one of {FITS}.")
        alpha = alpha or fit == "pad"
        table = None if metadata is None else _read_metadata(metadata)
        with open_source(source) as opened, atomic_path(path) as temporary:
            entries = opened.entries
            given = size is not None
            size = check_size(size) if given else _majority_shape(opened, alpha)
            if rotate and size[0] != size[1]:
                raise ValueError(
                    f"Turned copies of {size[0]} × {size[1]} pictures have another "
                    "shape; give a square size."
                )
            row_of, unmatched = (
                ({}, []) if table is None else _match_metadata(*table, entries)
            )
            labels = [entry.label for entry in entries]
            if table is not None and "label" in table[0].columns:
                named = table[0]["label"].fillna("").astype(str).tolist()
                for i, row in row_of.items():
                    labels[i] = named[row] or labels[i]
            chosen = np.ones(len(entries), bool)  # what is no picture is refused below
            pictures = [i for i, e in enumerate(entries) if e.is_picture]
            keys = [entries[i].key for i in pictures]
            lineage = lineage_of(keys)
            chosen[pictures] = sample_groups(
                [labels[i] for i in pictures], lineage, sample, random_state
            )
            original = dict(zip(keys, lineage, strict=True))
            most = int(chosen.sum()) * (1 + len(TURNS) if rotate else 1)
            shape = (*size, 4 if alpha else 3)
            with _writer(temporary, shape, most) as writer:
                metadata_rows = []
                read = _read_entries(
                    opened, entries, chosen, alpha, size, fit if given else None
                )
                bar = progress(
                    read, desc="reading pictures", total=len(entries), unit="file"
                )
                for i, (image, row) in enumerate(bar):
                    writer.ledger.append(row)
                    if image is None:
                        continue
                    original_key = entries[i].key
                    turned = rotate and original[original_key] == original_key
                    for turn in (0, *TURNS) if turned else (0,):
                        key = f"{original_key}.{turn}" if turn else original_key
                        if turn and key in original:  # the source holds this copy
                            continue
                        writer.add(
                            np.rot90(image, turn // 90) if turn else image,
                            keys=key,
                            labels=labels[i],
                            source=row["path"],
                            sha256=row["sha256"],
                            ledger_row=i,
                            turn=turn,
                        )
                        metadata_rows.append(row_of.get(i, -1))
                if not metadata_rows:
                    raise ValueError(
                        f"None of the {len(entries)} files of {source} is a picture "
                        "that can be read; nothing was written."
                    )
                writer.finish(source=Path(source).name, fit=fit, sized=given)
                if table is not None:
                    own = ["label", *(["key"] if table[1] == "key" else [])]
                    kept = table[0].drop(columns=own, errors="ignore")
                    _write_metadata(writer.file, kept, metadata_rows)
                    writer.file["unmatched"] = np.array(unmatched, dtype=_TEXT)
        return cls(path)

    @classmethod
    def from_arrays(cls, path, images, labels=None, keys=None):
        """Write pictures that are in memory.

        Parameters
        ----------
        path : str or path-like
            The ``.h5`` file to write. It appears when it is whole.
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
        images = np.asarray(images)
        if (
            images.ndim != 4
            or images.shape[3] not in (3, 4)
            or images.dtype != np.uint8
        ):
            raise ValueError(
                "images must be uint8 of shape (n, height, width, 3 or 4), got "
                f"{images.dtype} of shape {images.shape}."
            )
        labels = [""] * len(images) if labels is None else [str(y) for y in labels]
        if keys is None:
            keys = [f"{y}.{i}".lstrip(".") for i, y in enumerate(labels)]
        keys = [str(key) for key in keys]
        if not len(images) == len(labels) == len(keys):
            raise ValueError(
                f"{len(images)} pictures need as many labels and keys, got "
                f"{len(labels)} and {len(keys)}."
            )
        if not len(images):
            raise ValueError("images holds no pictures; a collection needs one.")
        if len(set(keys)) < len(keys):
            raise ValueError("keys must be unique, but some stand twice.")
        if images.shape[3] == 4:
            rock = (images[..., 3] > 127).any(axis=(1, 2))
            if not rock.all():
                raise ValueError(
                    f"The mask of {keys[int(np.argmin(rock))]!r} is empty: no pixel "
                    "has an alpha over 127; leave the picture out."
                )
        turned = {key: int(key.rsplit(".", 1)[1]) for key in _turned_keys(keys)}
        with (
            atomic_path(path) as temporary,
            _writer(temporary, images.shape[1:], len(images)) as writer,
        ):
            for i, (image, key, label) in enumerate(
                zip(images, keys, labels, strict=True)
            ):
                sha256 = hashlib.sha256(np.ascontiguousarray(image)).hexdigest()
                row = {"path": "", "status": "kept", "sha256": sha256}
                writer.ledger.append(row)
                writer.add(
                    image,
                    keys=key,
                    labels=label,
                    sha256=sha256,
                    ledger_row=i,
                    turn=turned.get(key, 0),
                )
            writer.finish(source="arrays", fit="crop", sized=False)
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
        return self._parts[0] if len(self._parts) == 1 else self

    @property
    def classes(self):
        """The labels that occur, sorted: ndarray of str."""
        return np.unique(self.labels[self.labels != ""])

    @property
    def fit(self):
        """How pictures of another shape were brought to this one."""
        return str(self._file.attrs.get("fit", "crop"))

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
        """Return the position of a key, or raise a KeyError that names it."""
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
        for i, part in enumerate(self._parts):
            first, stop = np.searchsorted(wanted, self._starts[i : i + 2])
            for start in range(first, stop, self._block):
                # HDF5 takes kilobytes for each chunk of what it reads at once.
                these = slice(start, min(start + self._block, stop))
                inside = wanted[these] - self._starts[i]
                out[these] = _read_rows(part, inside, self._scales[i])
        if len(wanted) != positions.size or not np.array_equal(
            back.ravel(), np.arange(positions.size)
        ):
            out = out[back.ravel()]
        return out[0] if single else out

    def mapped(self):
        """Map the pictures from the file instead of reading them.

        Returns
        -------
        images : numpy.memmap of shape (n, height, width, channels), uint8, or None
            The pictures, read-only; the operating system reads what is used. They
            outlive `close`, and where the system allows that (not on Windows) the
            removal of the file. None where the pictures do not lie in one piece, as
            this version writes them (scattered, compressed, not uint8, the layout of
            the proof of concept), or another file has taken the place of this one.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from geoimages import Collection, make_rocks
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.h5"
        >>> rocks = Collection.from_arrays(path, *make_rocks(12, random_state=0))
        >>> bool((rocks.mapped()[7] == rocks[7]).all())
        True
        """
        start = _start_in_file(self._parts[0]) if len(self._parts) == 1 else None
        if start is None:
            return None
        shape = len(self), *self.image_shape
        try:
            with open(self.path, "rb") as file:
                if not os.path.samestat(os.fstat(file.fileno()), self._opened):
                    return None
                return np.memmap(file, np.uint8, "r", start, shape)
        except OSError:  # it has been removed, say
            return None

    def __iter__(self):
        for start in range(0, len(self), self._block):
            yield from self[start : start + self._block]

    @property
    def _block(self):
        return max(1, _BLOCK_BYTES // int(np.prod(self.image_shape)))

    @property
    def table(self):
        """What is known of each picture."""
        columns = {"label": self.labels}
        for name, column in self._file.get("pictures", {}).items():
            columns[name] = _read_column(column)
        metadata = self._file.get("metadata", {})
        for column in sorted(
            metadata.values(), key=lambda c: int(c.name.split("/")[-1])
        ):
            columns[column.attrs["name"]] = _read_column(column)
        if self._split:
            columns["split"] = np.array(self._split)
        columns["lineage"] = lineage_of(self.keys.tolist())
        return pd.DataFrame(columns, index=pd.Index(self.keys, name="key"))

    @property
    def ledger(self):
        """What became of every file."""
        return self._read_ledger(*_LEDGER)

    def _read_ledger(self, *names):
        group = self._file.get("ledger", {})
        return pd.DataFrame(
            {name: _read_column(group[name]) for name in names if name in group}
        )

    @property
    def unmatched(self):
        """Rows of the metadata table that fit no picture."""
        if "unmatched" not in self._file:
            return []
        return self._file["unmatched"].asstr()[:].tolist()

    def where(self, **columns):
        """Return the positions of the pictures with the given values.

        Parameters
        ----------
        **columns : str, number or list of them
            Columns of `table` and the value each must have; of a list, any will do.

        Returns
        -------
        positions : ndarray of shape (n_found,), int

        Raises
        ------
        KeyError
            If there is no such column.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from geoimages import Collection, make_rocks
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.h5"
        >>> rocks = Collection.from_arrays(path, *make_rocks(12, random_state=0))
        >>> len(rocks.where(label="marble"))
        2
        """
        table = self.table
        kept = np.ones(len(self), bool)
        for name, value in columns.items():
            if name not in table:
                raise KeyError(
                    f"No column {name!r}; {self.path.name} has "
                    f"{', '.join(map(str, table.columns))}."
                )
            column = table[name]
            values = value if isinstance(value, list | tuple) else [value]
            if pd.api.types.is_numeric_dtype(column):
                try:
                    values = [float(value) for value in values]
                except ValueError:
                    raise ValueError(
                        f"Column {name!r} holds numbers, got {value!r}."
                    ) from None
            else:
                column, values = column.astype(str), [str(value) for value in values]
            kept &= column.isin(values).to_numpy()
        return np.flatnonzero(kept)

    def to_frame(self, dtype="float32", positions=None):
        """Return the pictures as flat rows.

        Parameters
        ----------
        dtype : {"float32", "uint8"}, default="float32"
            float32 is in [0, 1]; uint8 takes a quarter of the memory.
        positions : array-like of int, optional
            Which pictures, for example what `where` returns. By default all.

        Returns
        -------
        vectors_df : DataFrame of shape (n, height * width * channels)
            Index ``key``.
        """
        chosen = slice(None) if positions is None else np.asarray(positions, int)
        return vectors_frame(self[chosen], self.keys[chosen], dtype)

    def read(self, source):
        """Read a picture from outside as the collection's own were read.

        Parameters
        ----------
        source : str, path-like, bytes or binary file object
            The picture's file.

        Returns
        -------
        image : ndarray of shape (height, width, channels), uint8
            The picture at the collection's size; another size is brought to it in
            the way the collection was made (crop, pad or stretch).

        Raises
        ------
        ImageReadError
            If it cannot be read, with the reason.
        """
        image = read_image(source, alpha=self.image_shape[2] == 4)
        return resize_image(image, self.image_shape[:2], self.fit)

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
        """Say what the collection holds and what became of every file.

        Parameters
        ----------
        as_dict : bool, default=False
            Whether to return the figures rather than text.

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
            lines.append(f"{resized:,} brought to this size by {self.fit}")
        if self.unmatched:
            shown = ", ".join(self.unmatched[:3])
            more = "" if len(self.unmatched) < 4 else ", …"
            lines.append(
                f"{len(self.unmatched):,} rows of the metadata fit no picture: "
                f"{shown}{more}"
            )
        return "\n".join(lines)

    def features(self, transformer):
        """Transform all pictures in blocks, or return what was cached of that.

        The result is cached in the file if it is open for writing. It is found again
        by the transformer's class, parameters and fitted state, the package's version
        and the pictures.

        Parameters
        ----------
        transformer : transformer
            A fitted transformer of flat rows or pictures.

        Returns
        -------
        rows : ndarray of shape (n, n_features_out)
        """
        digest = self._digest(transformer)
        name = f"features/{digest}"
        if digest and name in self._file:
            return self._file[name][:]
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
        if digest and self._file.mode == "r+":
            part = f"{name}.part"
            if part in self._file:
                del self._file[part]
            cached = self._file.create_dataset(part, data=rows)
            cached.attrs["transformer"] = repr(transformer)
            self._file.move(part, name)
            self._file.flush()
        return rows

    def _digest(self, transformer):
        """Name a transformer's result on these pictures, or None if nothing can."""
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


def _turned_keys(keys):
    """Keys of turned copies."""
    return [
        key for key, base in zip(keys, lineage_of(keys), strict=True) if key != base
    ]


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


def _read_column(column):
    """Read a column of text or numbers."""
    if h5py.check_string_dtype(column.dtype):
        return column.asstr()[:].astype(str)
    return column[:]


def _in_255(part):
    """Whether float pictures lie in 0–1, told by the first of them: 255 or 1."""
    return 255 if part.dtype.kind == "f" and part[:256].max(initial=0) <= 1 else 1


def _start_in_file(part):
    """The byte at which the pictures of a dataset begin in one piece, or None."""
    filters = part.id.get_create_plist().get_nfilters()
    if part.dtype != np.uint8 or filters or part.file.userblock_size:
        return None
    if part.chunks is None:
        return part.id.get_offset()
    if part.chunks != (1, *part.shape[1:]):
        return None
    starts = np.full(len(part), -1)

    def note(chunk):
        starts[chunk.chunk_offset[0]] = chunk.byte_offset

    part.id.chunk_iter(note)
    in_one_piece = (np.diff(starts) == np.prod(part.shape[1:])).all()
    return int(starts[0]) if in_one_piece and starts[0] >= 0 else None


def _read_rows(part, positions, scale):
    """Read pictures at ascending positions of a dataset as uint8, in few reads."""
    span = positions[-1] - positions[0] + 1
    if span <= 8 * len(positions):
        rows = part[positions[0] : positions[-1] + 1]
        rows = rows if span == len(positions) else rows[positions - positions[0]]
    else:
        rows = np.stack([part[i] for i in positions])
    if rows.dtype == np.uint8:
        return rows
    return np.clip(np.rint(rows * scale), 0, 255).astype(np.uint8)
