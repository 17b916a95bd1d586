"""One .h5 file of pictures: its layout, its checksums, and reading from it."""

import os
from pathlib import Path

import h5py
import numpy as np

from ..files import NewerVersionError, check_version
from .checking import (
    check_layout,
    check_lengths,
    crc_of_attributes,
    crc_of_names,
    crc_of_pictures,
)
from .sealing import check_file
from .tables import LEDGER, as_text, length_of, name_of, read_column, read_names
from .writer import FORMAT, FORMAT_VERSION

_BLOCK_BYTES = 1 << 24
# What h5py raises for a damaged file.
_DAMAGED = (
    *(ValueError, LookupError, TypeError, AttributeError, OverflowError),
    *(OSError, RuntimeError, MemoryError),
)


def block_length(image_shape):
    """Number of pictures that are read together."""
    return max(1, _BLOCK_BYTES // int(np.prod(image_shape)))


class PictureFile:
    """An open .h5 file of pictures; a collection is one of them, or several.

    Parameters
    ----------
    path : path-like
        The file.
    checked : bool, default=False
        Whether its seal has been checked before.

    Attributes
    ----------
    attributes : dict
        What is known of the file as a whole.
    image_shape : tuple of int
        (height, width, channels).

    Raises
    ------
    ValueError
        If it is not a collection, or damaged.
    """

    def __init__(self, path, checked=False):
        self.path = Path(path)
        try:
            if not checked:
                check_file(self.path)
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(
                f"{self.path} cannot be opened as an .h5 file ({error}); pictures "
                "become one by 'geoimages etl'."
            ) from None
        except ValueError as error:
            raise self.invalid(error) from None
        self._opened = self.path.stat()
        try:
            self._open()
        except _DAMAGED as error:
            self._file.close()
            if isinstance(error, NewerVersionError):
                raise
            raise self.invalid(error) from None

    def invalid(self, error):
        """The error that says that the file is not a collection, and why."""
        why = " ".join(str(error.args[0]).split()) if error.args else ""
        return ValueError(
            f"{self.path} is not a valid collection of geoimages "
            f"({why or type(error).__name__}); make one with 'geoimages etl'."
        )

    def _open(self):
        """Read everything but the pictures and their tables."""
        check_layout(self._file)
        self.attributes = {
            name: as_text(value) if isinstance(value, bytes | str) else value.item()
            for name, value in self._file.attrs.items()
            if isinstance(value, bytes | str | np.generic)
        }
        self._checksums = self.split = None
        if self.attributes.get("format") == FORMAT:
            self._open_own()
        else:
            self._open_original()
        self._scales = [_in_255(dataset) for dataset in self.datasets]
        self.image_shape = tuple(int(side) for side in self.datasets[0].shape[1:])
        self._starts = np.cumsum([0, *map(len, self.datasets)])
        self._unchecked = np.full(len(self), self._checksums is not None)

    def _open_own(self):
        """Open the layout that `writing` writes."""
        check_version(self.path, self.attributes["format_version"], FORMAT_VERSION)
        check_lengths(self._file)
        if self.attributes["format_version"] > 1:
            crc = self.attributes.pop("crc32")
            if crc != crc_of_attributes(self.attributes):
                raise ValueError("its attributes are damaged")
            if self.attributes.get("columns", 0) not in (0, crc_of_names(self._file)):
                raise ValueError("some of its columns are missing, or others")
            self._checksums = read_column(self._file["checksums/images"])
        self.datasets = [self._file["images"]]

    def _open_original(self):
        """Open the layout of the proof of concept: X_Train_Orig, Y_Train_Orig, …"""
        names = {name.lower(): name for name in self._file}
        self.datasets, self.split, keys, labels = [], [], [], []
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
            self.datasets.append(x)
            if x.shape[1:] != self.datasets[0].shape[1:]:
                raise ValueError(f"{x.name} holds pictures of another shape")
            keys += [f"{part}.{i}" for i in range(len(x))]
            self.split += [part] * len(x)
            y = names.get(f"y_{part}_orig")
            labels += (
                _original_labels(self._file[y][:], classes, len(x))
                if y
                else [""] * len(x)
            )
        if not self.datasets:
            raise ValueError("it has neither its mark nor X_Train_Orig")
        if len(labels) != len(keys):
            raise ValueError(f"{len(labels)} labels stand beside {len(keys)} pictures")
        self._names = np.array(keys, str), np.array(labels, str)

    def __len__(self):
        return int(self._starts[-1])

    def close(self):
        """Close the file."""
        self._file.close()

    @property
    def is_open(self):
        """Whether the file can be read from."""
        return bool(self._file)

    @property
    def n_bytes(self):
        """Size of the file."""
        return self._opened.st_size

    def keys(self):
        """Read the names of the pictures: (n,) str."""
        if self.attributes.get("format") == FORMAT:
            return self._damaged(lambda: read_names(self._file["keys"]))
        return self._names[0]

    def labels(self):
        """Read their classes: (n,) str."""
        if self.attributes.get("format") == FORMAT:
            return self._damaged(lambda: read_names(self._file["labels"]))
        return self._names[1]

    def _damaged(self, read):
        """Read, and say which file is damaged where it is."""
        try:
            return read()
        except _DAMAGED as error:
            raise self.invalid(error) from None

    def columns(self, group):
        """Read the columns of pictures (``"pictures"``): dict of (n,) arrays."""
        items = self._file.get(group, {}).items()
        return {name: read_column(column) for name, column in items}

    def metadata(self):
        """Read the columns of the metadata table, in order: dict of (n,) arrays."""
        columns = sorted(
            self._file.get("metadata", {}).values(),
            key=lambda column: int(column.name.split("/")[-1]),
        )
        return {name_of(column): read_column(column) for column in columns}

    @property
    def n_ledger(self):
        """Number of rows of the ledger."""
        group = self._file.get("ledger", {})
        return next((length_of(column) for column in group.values()), 0)

    def ledger(self, names=tuple(LEDGER)):
        """Read columns of the ledger: dict of arrays."""
        group = self._file.get("ledger", {})
        return {name: read_column(group[name]) for name in names if name in group}

    def unmatched(self):
        """Read the rows of the metadata that match no picture: list of str, or None."""
        if "unmatched" not in self._file:
            return None
        return read_column(self._file["unmatched"]).tolist()

    def hashes(self):
        """Read the SHA-256 of the pictures' files as stored: (n,) bytes, or None."""
        if "pictures" not in self._file:
            return None
        return self._file["pictures/sha256"][:]

    def read(self, positions):
        """Read pictures at ascending positions, and verify their checksums.

        Returns
        -------
        images : ndarray of shape (len(positions), height, width, channels), uint8
        """
        out = np.empty((len(positions), *self.image_shape), np.uint8)
        block = block_length(self.image_shape)
        for i, dataset in enumerate(self.datasets):
            first, stop = np.searchsorted(positions, self._starts[i : i + 2])
            for start in range(first, stop, block):
                # HDF5 takes kilobytes for each chunk of what it reads at once.
                these = slice(start, min(start + block, stop))
                inside = positions[these] - self._starts[i]
                try:
                    out[these] = _read_rows(dataset, inside, self._scales[i])
                except (OSError, RuntimeError) as error:  # a packed chunk is damaged
                    raise ValueError(
                        f"Pictures of {self.path} cannot be read ({error}); make the "
                        "collection again with 'geoimages etl'."
                    ) from None
                self._check(out[these], positions[these])
        return out

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
                f"{self.path} is damaged: the picture {str(self.keys()[wrong[0]])!r} "
                f"has another checksum ({len(wrong)} of {len(positions)} read "
                "together); make the collection again with 'geoimages etl'."
            )
        self._unchecked[positions] = False

    def verify(self):
        """Read everything and verify the checksums: list of str, one per problem."""
        problems = []
        block = block_length(self.image_shape)
        for start in range(0, len(self), block):
            try:
                positions = np.arange(start, min(start + block, len(self)))
                self._unchecked[positions] = self._checksums is not None
                self.read(positions)
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
        """Memory-map the pictures: (n, h, w, c) uint8, or None where that cannot be."""
        start = _start_in_file(self.datasets[0]) if len(self.datasets) == 1 else None
        if start is None:
            return None
        try:
            with open(self.path, "rb") as file:
                if not os.path.samestat(os.fstat(file.fileno()), self._opened):
                    return None
                shape = len(self), *self.image_shape
                images = np.memmap(file, np.uint8, "r", start, shape)
        except OSError:  # for example, the file was deleted
            return None
        block = block_length(self.image_shape)
        for first in range(0, len(self), block):
            positions = np.arange(first, min(first + block, len(self)))
            self._check(images[positions[0] : positions[-1] + 1], positions)
        return images


def _original_labels(y, classes, n):
    """Labels of n pictures of the proof of concept, one-hot, numbers or text, as text."""
    y = np.asarray(y)
    y = y.argmax(axis=1) if y.ndim == 2 and y.size != n else y.ravel()
    if y.dtype.kind in "SO":
        return [v.decode() if isinstance(v, bytes) else str(v) for v in y]
    y = y.astype(int)
    return [classes[v] if v < len(classes) else str(v) for v in y.tolist()]


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
