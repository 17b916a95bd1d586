"""Tables of a collection: what is known of pictures and files, as columns in the file."""

import csv
import json
import re
from io import BytesIO
from os import PathLike
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import pandas as pd

from ..files import read_regular
from .checking import crc_of
from .text import originals

TEXT = h5py.string_dtype("utf-8")
LEDGER = {
    "path": TEXT,
    "status": h5py.string_dtype("ascii", 8),
    "reason": h5py.string_dtype("ascii", 16),
    "detail": TEXT,
    "sha256": h5py.string_dtype("ascii", 64),
    "size": np.int64,
    "width": np.int32,
    "height": np.int32,
    "mode": h5py.string_dtype("ascii", 8),
    "bit_depth": np.int16,
    "exif_orientation": np.int8,
    "fit": h5py.string_dtype("ascii", 8),
    "scaling": h5py.string_dtype("ascii", 16),
}
PICTURES = {
    "source": TEXT,
    "sha256": h5py.string_dtype("ascii", 64),
    "ledger_row": np.int64,
    "turn": np.int16,
}
_CHUNK = 4096  # rows
_MOST_COLUMNS = 1000  # of a metadata table, each a dataset of its own
LONGEST_NAME = 1024  # characters of a key or label
_SEPARATORS = ",", ";", "\t", "|"
_FILE_COLUMNS = ("file", "file_name", "filename", "path", "key", "name")
_TAKEN = {*PICTURES, "key", "query", "lineage", "similarity"}
# 007 is a name, and so is what has more digits than a float64 keeps.
_NUMBER = re.compile(r"[+-]?(?!0\d)\d{0,15}(?:\.\d*)?(?:[eE][+-]?\d+)?")


def _encoded(texts):
    """Encode texts as UTF-8 of one width, or leave them if few are far longer: (n,)."""
    encoded = [text.encode("utf-8", "backslashreplace") for text in texts]
    width = max([1, *map(len, encoded)])
    if width * max(len(encoded), _CHUNK) > 4 * (sum(map(len, encoded)) + (1 << 18)):
        return np.array(encoded, TEXT)
    return np.array(encoded, h5py.string_dtype("utf-8", width))


class Columns:
    """Columns that grow row by row in memory, to be written together."""

    def __init__(self, dtypes):
        self.dtypes, self.rows = dtypes, []
        self.packed = {name: [] for name in dtypes}

    def append(self, row):
        self.rows.append(row)
        if len(self.rows) == _CHUNK:
            self._pack()

    def _pack(self):
        for name, dtype in self.dtypes.items():
            empty = 0 if np.dtype(dtype).kind == "i" else ""
            values = [row.get(name, empty) for row in self.rows]
            if np.dtype(dtype).kind == "i":  # headers claim sizes beyond any integer
                info = np.iinfo(dtype)
                values = [min(max(value, info.min), info.max) for value in values]
            self.packed[name].append(np.array(values, dtype))
        self.rows = []

    def write(self, group, names):
        self._pack()
        for name in names:
            column = np.concatenate(self.packed[name])
            is_text = column.dtype.kind == "O"
            write_column(
                group,
                name,
                _encoded(column) if is_text else column,
                maxshape=(None,),
                chunks=(_CHUNK,),
                # A hash hardly shrinks, and a text is short.
                compression=None if is_text or name == "sha256" else "gzip",
            )


def write_column(group, name, values, named=None, **options):
    """Write a column with its checksum; `named` is its name, where that is no path.

    Texts of very different lengths become one piece, a list in JSON: HDF5's own way of
    storing them has addresses that damage can turn into circles.
    """
    n_texts = None
    if values.dtype.kind == "O":
        n_texts, texts = len(values), [value.decode() for value in values]
        piece = json.dumps(texts, ensure_ascii=False).encode()
        values, options = np.frombuffer(piece, np.uint8), {}
    column = group.create_dataset(name, data=values, **options)
    if n_texts is not None:
        column.attrs["texts"] = n_texts
    if named is not None:
        column.attrs["name"] = np.bytes_(named.encode())
    column.attrs["crc32"] = crc_of(values, named or name)
    # Space is allotted here, not when the last reference to it goes, which is not ours
    # where another thread (the profiler of Dask) looks at the stack.
    column.flush()


def as_text(value):
    """Decode what may be bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def name_of(column):
    """The name of a column, which a slash in it keeps from being that of the dataset."""
    return as_text(column.attrs.get("name", column.name.rpartition("/")[2]))


def length_of(column):
    """Number of values of a column, which may be in one piece."""
    return int(column.attrs.get("texts", column.shape[0]))


def read_column(column):
    """Read a column of text or numbers, and hold it against its checksum.

    Raises
    ------
    ValueError
        If it has another.
    """
    try:
        values, name = column[:], name_of(column)
        crc = column.attrs.get("crc32")
    except (OSError, RuntimeError, LookupError, TypeError) as error:
        raise ValueError(f"{column.name} is damaged: {error}") from None
    if crc is not None and crc != crc_of(values, name):
        raise ValueError(f"{name!r} is damaged: it has another checksum")
    if "texts" in column.attrs:
        texts = json.loads(values.tobytes())
        if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
            raise ValueError(f"{name!r} is damaged: it holds no list of texts")
        if len(texts) != column.attrs["texts"]:
            raise ValueError(f"{name!r} is damaged: it holds {len(texts)} texts")
        return np.array([*texts, None], object)[:-1]
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8")
    if values.dtype.kind == "O":
        return np.array([value.decode() for value in values], str)
    return values


def read_names(column):
    """Read a column of text as an array of str, of which each takes the longest's room.

    Raises
    ------
    ValueError
        If it is damaged, or holds numbers or very long texts.
    """
    names = read_column(column)
    longest = max(map(len, names.tolist()), default=0) if names.dtype == object else 0
    if names.dtype.kind not in "OU" or longest > LONGEST_NAME:
        raise ValueError(f"{column.name} holds no names, or very long ones")
    return names.astype(str)


def _as_numbers(texts, decimal):
    """Turn a column of text into numbers where every value reads as one."""
    told = texts.dropna()
    plain = told.str.strip().str.replace(decimal, ".")
    if not all(map(_NUMBER.fullmatch, plain)):
        return texts
    numbers = pd.to_numeric(plain, errors="coerce")
    return numbers.reindex(texts.index) if numbers.count() == len(told) else texts


def _sniff(data):
    """The separator that parts the first line of a table into most columns."""
    line = data.partition(b"\n")[0].decode("utf-8-sig").rstrip("\r")
    return max(
        _SEPARATORS, key=lambda mark: len(next(csv.reader([line], delimiter=mark)))
    )


def read_table(path, what="metadata"):
    """Read a table; names of files and such as 007 stay text, as do True and False."""
    try:
        data = read_regular(path)
        separator = _sniff(data)
        table = pd.read_csv(
            BytesIO(data), dtype=str, sep=separator, encoding="utf-8-sig"
        )
    except FileNotFoundError:
        raise FileNotFoundError(f"No {what} at {path}; give a CSV file.") from None
    except (ValueError, OSError, csv.Error, StopIteration) as error:
        why = " ".join(str(error).split())  # empty, no text, ragged
        raise ValueError(f"The {what} {path} cannot be read ({why}).") from None
    if len(table.columns) > _MOST_COLUMNS:
        return table  # which `Metadata` refuses
    table = table.apply(originals)
    for name in table.columns:
        if name not in (*_FILE_COLUMNS, "label"):
            table[name] = _as_numbers(table[name], "," if separator == ";" else ".")
    return table


def _metadata_names(columns, taken=()):
    """Name columns so that none hides one of the collection's own."""
    names = {*_TAKEN, *taken}
    for name in map(str, columns):
        while name in names:
            name += "_metadata"
        names.add(name)
        yield name


class Metadata:
    """A table with a row for each picture, read and matched to the files of a source.

    Parameters
    ----------
    metadata : DataFrame or path of a CSV
        One of its columns names the files.
    label : str, optional
        The column that holds the classes, by default ``label``.
    """

    def __init__(self, metadata, label=None):
        self.table = (
            metadata.reset_index(drop=metadata.index.name is None)
            if isinstance(metadata, pd.DataFrame)
            else read_table(metadata)
        )
        names = list(map(str, self.table.columns))
        longest = max(map(len, names), default=0)
        if len(names) > _MOST_COLUMNS or longest > LONGEST_NAME:
            raise ValueError(
                f"The metadata has {len(names):,} columns, the longest name has "
                f"{longest:,} characters; at most {_MOST_COLUMNS:,} columns and "
                f"{LONGEST_NAME:,} characters are kept."
            )
        named = [name for name in _FILE_COLUMNS if name in self.table.columns]
        if not named:
            raise ValueError(
                f"The metadata has the columns {', '.join(map(str, self.table.columns))}"
                "; one named 'file' must name each row's picture (by path, file name or "
                "key)."
            )
        self.file_column = named[0]
        if label is not None and label not in self.table.columns:
            raise ValueError(
                f"label={label!r} is no column of the metadata; it has "
                f"{', '.join(map(str, self.table.columns))}."
            )
        self.label_column = label or "label"
        self.holds_labels = self.label_column in self.table.columns

    def match(self, entries):
        """Find the row of each file, by its path, name or key.

        Raises
        ------
        ValueError
            If the table holds the classes, and no row is that of a picture.
        """
        known = {}
        for i, entry in enumerate(entries):
            path = PurePosixPath(entry.path)
            if not entry.is_picture:
                continue
            for name in {entry.path, entry.key, path.name, path.stem}:
                # A name that two pictures share points at neither.
                known[name] = i if known.get(name, i) == i else None
        self.row_of, self.unmatched = {}, []
        for row, name in enumerate(self.table[self.file_column].astype(str)):
            entry = known.get(name)
            if entry is None or entry in self.row_of:  # a picture takes its first row
                self.unmatched.append(name)
            else:
                self.row_of[entry] = row
        shown = next((entry for entry in entries if entry.is_picture), None)
        if self.holds_labels and shown and not self.row_of:
            example = f", such as {self.unmatched[0]!r}" if self.unmatched else ""
            raise ValueError(
                f"None of the {len(self.table):,} rows of the metadata names one picture "
                f"by its column {self.file_column!r}{example}; expected a path, file "
                f"name or key, such as {shown.path!r} or {shown.key!r}."
            )

    def replace_labels(self, labels):
        """Put the table's labels in place of others: (labels, whether it gives each)."""
        labels, given = list(labels), [False] * len(labels)
        if not self.holds_labels:
            return labels, given
        named = self.table[self.label_column].fillna("").astype(str).tolist()
        for i, row in self.row_of.items():
            labels[i], given[i] = named[row] or labels[i], bool(named[row])
        return labels, given

    def frame(self, entries, taken=()):
        """The columns for pictures that stem from those files, by position.

        Names in `taken` are those of other columns.
        """
        own = [self.label_column, *(["key"] if self.file_column == "key" else [])]
        rows = [self.row_of.get(i, -1) for i in entries]
        table = self.table.drop(columns=own, errors="ignore").reindex(rows)
        return table.set_axis([*_metadata_names(table.columns, taken)], axis=1)


def plain_column(column):
    """A column of metadata as it is kept: (n,) float64, or texts."""
    is_number = pd.api.types.is_numeric_dtype(column)
    if is_number and not pd.api.types.is_bool_dtype(column):
        return column.to_numpy(np.float64, na_value=np.nan)
    return column.astype(object).where(column.notna(), "").astype(str).tolist()


def write_metadata(file, frame, unmatched):
    """Write the columns of metadata, and the names of rows that fit no picture."""
    group = file.create_group("metadata")
    for i, name in enumerate(frame.columns):
        values = plain_column(frame.iloc[:, i])
        values = _encoded(values) if isinstance(values, list) else values
        write_column(group, str(i), values, named=name)
    write_column(file, "unmatched", _encoded(unmatched))


def labels_by_key(labels):
    """Read labels by key from a dict, a Series, a table or a CSV: dict of str."""
    if isinstance(labels, str | PathLike):
        path = Path(labels)
        if not path.is_file():
            raise FileNotFoundError(
                f"No labels at {path}; pass a CSV with the columns file and label, such "
                "as the page writes ('geoimages serve')."
            )
        data = BytesIO(read_regular(path))
        labels = pd.read_csv(data, dtype=str, keep_default_na=False)
        labels = labels.apply(originals)
    if isinstance(labels, pd.DataFrame):
        names = [name for name in ("key", "file") if name in labels]
        if not names or "label" not in labels:
            raise ValueError(
                "Labels need the columns 'key' (or 'file') and 'label', got "
                f"{', '.join(map(str, labels.columns))}."
            )
        labels = zip(labels[names[0]], labels["label"], strict=True)
    return {str(key): str(label) for key, label in dict(labels).items()}
