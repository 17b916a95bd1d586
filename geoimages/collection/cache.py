"""Cache of the computed features of a collection, one file per matrix."""

import contextlib
import glob
import hashlib
import json
import math
import os
import re
from pathlib import Path

import numpy as np

from ..files import NewerVersionError, atomic_path, check_version

_FORMAT, _VERSION = "geoimages.features", 1
_OF_ALL = "collection"
_HEADER_BYTES = 1 << 16  # maximum, including the newline
_INDEX_HEADER = 1 << 20
KEPT = re.compile(
    rf"(?:(?P<shard>shard-\d{{5,9}}\.h5)|{_OF_ALL}|lists-\d{{5,9}})"
    r"\.[0-9a-f]{16}\.(?P<kind>index|cache|ivf|labels)"
)
"""Names of the files that are kept beside the shards of a folder."""
_KINDS = {"index": "rows", "ivf": "rows by cluster", "labels": "clusters of rows"}


def _title_of(file):
    """What a file holds, in words: a matrix of features, or the rows of an index."""
    kind = _KINDS.get(file.suffix[1:])
    with open(file, "rb") as opened:
        if kind is None:
            return json.loads(opened.readline(_HEADER_BYTES))["title"]
        n_bytes = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(min(n_bytes, _INDEX_HEADER)))
    features = header["__metadata__"].get("features", "")
    return f"{kind}: {features}" if features else kind


def _digest(about, rows):
    """SHA-256 of the rows, and of the header that says how to read them."""
    about = {name: value for name, value in about.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(rows)
    return digest.hexdigest()


class FeatureCache:
    """Feature matrices in files beside a collection, which may be deleted at any time.

    A file is a line of JSON that describes the data, followed by the rows. A file that
    does not match its header, key or checksum counts as missing.

    Parameters
    ----------
    path : path-like
        The collection; ``rocks.h5`` has ``rocks.h5.<key>.cache`` beside it, a folder has
        those of its shards, and ``collection.<key>.cache`` of what is about all.
    most_bytes : int
        Bytes that the files take together; what was used longest ago goes first.

    Attributes
    ----------
    notes : list of str
        What was kept, and what could not be.
    """

    def __init__(self, path, most_bytes):
        self.path, self.most_bytes = Path(path), most_bytes
        self.notes = []

    def path_of(self, key):
        """Path of what is kept under a key."""
        if self.path.is_dir():
            return self.path / f"{_OF_ALL}.{key[:16]}.cache"
        return self.path.with_name(f"{self.path.name}.{key[:16]}.cache")

    def files(self):
        """List the files, least recently used first: list of Path."""
        of_all = self.path.is_dir()
        name = "*" if of_all else glob.escape(self.path.name)
        pattern = f"{name}.{'[0-9a-f]' * 16}.cache"
        found = []
        for file in (self.path if of_all else self.path.parent).glob(pattern):
            with contextlib.suppress(OSError):  # another process may have removed it
                found.append((file.stat().st_mtime, file))
        return [file for _, file in sorted(found)]

    def indexes(self):
        """List the rows that models keep beside shards, and their clusters."""
        if not self.path.is_dir():
            return []
        found = ((KEPT.fullmatch(file.name), file) for file in self.path.iterdir())
        return sorted(file for name, file in found if name and name["kind"] in _KINDS)

    def describe(self):
        """Describe what is kept: list of dict (file, features, bytes)."""
        out = []
        for file in self.files() + self.indexes():
            with contextlib.suppress(
                *(OSError, ValueError, LookupError, TypeError),
                *(AttributeError, RecursionError),
            ):
                title, n_bytes = _title_of(file), file.stat().st_size
                out.append({"file": file.name, "features": title, "bytes": n_bytes})
        return out

    def clear(self):
        """Delete all files, and return how many there were."""
        files = self.files() + self.indexes()
        for file in files:
            file.unlink(missing_ok=True)
        return len(files)

    def read(self, key, n_rows=None):
        """Return the rows cached under a key, `n_rows` of them or any number, or None."""
        file = self.path_of(key)
        try:
            with open(file, "rb") as opened:
                about = json.loads(opened.readline(_HEADER_BYTES))
                check_version(file.name, about.get("version", 1), _VERSION)
                dtype, shape = np.dtype(about["dtype"]), tuple(about["shape"])
                n_bytes = file.stat().st_size - opened.tell()
                if (
                    (about["format"], about["key"]) != (_FORMAT, key)
                    or dtype.kind not in "fiu"
                    or len(shape) != 2
                    or n_rows not in (None, shape[0])
                    or math.prod(shape) * dtype.itemsize != n_bytes
                ):
                    return None
                rows = np.fromfile(opened, dtype, math.prod(shape)).reshape(shape)
            if _digest(about, rows) != about["sha256"]:
                return None
        except NewerVersionError as error:
            self.notes.append(str(error))
            return None
        except (
            *(OSError, ValueError, LookupError, TypeError, AttributeError),
            *(OverflowError, RecursionError, MemoryError),
        ):
            return None
        with contextlib.suppress(OSError):
            os.utime(file)  # mark as used
        return rows

    def write(self, key, rows, title):
        """Cache rows under a key if there is space, and record a note."""
        size = f"{rows.nbytes / 1e6:.1f} MB"
        if rows.ndim != 2 or rows.dtype.kind not in "fiu":
            return
        if rows.nbytes > self.most_bytes:
            self.notes.append(f"The features ({size}) are too large to be kept.")
            return
        rows = np.ascontiguousarray(rows)
        about = {
            "format": _FORMAT,
            "version": _VERSION,
            "key": key,
            "title": title[:1000],
            "shape": rows.shape,
            "dtype": rows.dtype.str,
        }
        about["sha256"] = _digest(about, rows)
        file = self.path_of(key)
        try:
            with atomic_path(file) as temporary, open(temporary, "wb") as opened:
                opened.write(json.dumps(about).encode() + b"\n")
                opened.write(rows.data)  # tofile does not say what went wrong
        except OSError as error:  # a read-only folder, a full disk
            why = os.strerror(error.errno) if error.errno else str(error).rstrip(".")
            self.notes.append(f"The features ({size}) could not be kept: {why}.")
            return
        self.notes.append(f"Kept the features in {file.name} ({size}).")
        kept = [(other, other.stat().st_size) for other in self.files()]
        total = sum(n_bytes for _, n_bytes in kept)
        for other, n_bytes in kept:
            if total > self.most_bytes and other != file:
                other.unlink(missing_ok=True)
                total -= n_bytes
