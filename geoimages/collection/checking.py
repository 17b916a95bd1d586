"""Validation of an .h5 file before use: layout, lengths, checksums.

As a program, it reads a file and says what is wrong with it: `sealing.check_apart`.
"""

import contextlib
import json
import math
import os
import signal
import sys
import zlib

import h5py
import numpy as np

# gzip, shuffle, Fletcher's checksum and lzf: filters that come with h5py.
_FILTERS = {1, 2, 3, 32000}
_MOST_OBJECTS = 10_000
_DEEPEST = 4  # nesting of groups
_MOST_CHUNK = 1 << 28  # bytes, which HDF5 unpacks as a whole
_MOST_PACKED = 1100  # times that gzip makes zeros smaller, and a little
_MOST_COLUMN = 64  # times the size of the file that a column may take
_SMALL = 1 << 24  # bytes of a column that are allowed to any file
REFUSED = 3  # exit code of this file as a program
SECONDS = 5  # of the processor, which no file that is whole needs
_MEMORY_BYTES = 1 << 32


def check_layout(file):
    """Refuse links out of the file and unusual datasets before reading any data.

    Parameters
    ----------
    file : h5py.File

    Raises
    ------
    ValueError
        If the file holds a soft or external link, data in other files, types other
        than numbers and text, or a filter that is not built into h5py.
    """
    groups, n_objects = [(file, 0)], 0
    while groups:
        group, depth = groups.pop()
        for name in group:
            n_objects += 1
            if n_objects > _MOST_OBJECTS or depth > _DEEPEST:
                raise ValueError("it holds too many objects, or too deeply nested ones")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{name!r} is a link to elsewhere")
            item = group[name]
            if isinstance(item, h5py.Group):
                groups.append((item, depth + 1))
            else:
                _check_dataset(item)


def _check_dataset(dataset):
    """Refuse a dataset that is not a plain array in this file."""
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{dataset.name} is neither group nor array")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{dataset.name} lies in another file")
    text = h5py.check_string_dtype(dataset.dtype)
    if dataset.dtype.kind not in "iuf" and text is None:
        raise ValueError(f"{dataset.name} holds {dataset.dtype}, no numbers or text")
    plist = dataset.id.get_create_plist()
    for i in range(plist.get_nfilters()):
        if plist.get_filter(i)[0] not in _FILTERS:
            raise ValueError(f"{dataset.name} is packed by a filter that is not known")
    _check_storage(dataset)


def _check_storage(dataset):
    """Refuse a dataset that claims more than the file holds."""
    if not dataset.shape:
        return
    n_bytes = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    packed, chunk = _MOST_PACKED, 0
    if dataset.chunks is not None:
        chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if not dataset.id.get_create_plist().get_nfilters():
        packed = 1
    size = dataset.file.id.get_filesize()
    if stored > size or n_bytes > packed * stored or chunk > _MOST_CHUNK:
        raise ValueError(
            f"{dataset.name} claims {n_bytes:,} bytes, of which it holds {stored:,}"
        )
    if dataset.ndim == 1 and n_bytes > _MOST_COLUMN * size + _SMALL:
        raise ValueError(f"{dataset.name} claims {n_bytes:,} bytes in a small file")


def check_lengths(file):
    """Check the shapes and types of the arrays of a collection.

    Raises
    ------
    ValueError
        If one is missing, or has the wrong length, shape or type.
    """
    images = file["images"]
    if not isinstance(images, h5py.Dataset) or images.dtype != np.uint8:
        raise ValueError("its pictures are not uint8")
    if images.ndim != 4 or images.shape[3] not in (3, 4) or 0 in images.shape[1:]:
        raise ValueError(f"its pictures have the shape {images.shape}")
    n = len(images)
    columns = {name: file[name] for name in ("keys", "labels")}
    for group in ("pictures", "metadata", "checksums"):
        columns |= {f"{group}/{name}": c for name, c in file.get(group, {}).items()}
    ledger = dict(file.get("ledger", {}))
    n_files = len(next(iter(ledger.values()))) if ledger else 0
    for group, length in ((columns, n), (ledger, n_files)):
        for name, column in group.items():
            shape = column.shape
            if shape and "texts" in column.attrs:  # in one piece, see `tables`
                shape = (int(column.attrs["texts"]),)
            if shape != (length,):
                raise ValueError(f"{name} has the shape {shape} beside {n} pictures")


def crc_of(values, name=""):
    """CRC-32 of a column and its name."""
    data = b"\0".join(values) if values.dtype.kind == "O" else values.tobytes()
    return np.uint32(zlib.crc32(data, zlib.crc32(name.encode())))


def crc_of_pictures(images):
    """CRC-32 of each picture: (n, h, w, c) uint8 -> (n,) uint32."""
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    return np.array([zlib.crc32(row) for row in rows], np.uint32)


def crc_of_names(file):
    """CRC-32 of the names of all columns of a collection, in order."""
    names = sorted(
        ("keys", "labels", *(name for name in ("unmatched",) if name in file))
    )
    for group in ("checksums", "ledger", "metadata", "pictures"):
        for name, column in sorted(file.get(group, {}).items()):
            names.append(f"{group}/{name} {column.attrs.get('name', '')!r}")
    return int(zlib.crc32("\0".join(names).encode()))


def crc_of_attributes(attributes):
    """CRC-32 of a dict of texts and numbers."""
    return np.uint32(zlib.crc32(json.dumps(attributes, sort_keys=True).encode()))


def _read_everything(path):
    """Read all that opening a collection reads, and where its pictures lie."""
    with h5py.File(path, "r") as file:
        check_layout(file)
        list(file.attrs.items())
        items = []
        file.visititems(lambda name, item: items.append(item))
        for item in items:
            list(item.attrs.items())
            if not isinstance(item, h5py.Dataset):
                continue
            if item.chunks is not None:
                item.id.chunk_iter(lambda chunk: None)
            if item.ndim < 3:
                item[()]


def _main(path):
    """Read a file within limits; print what is wrong with it, and return a code."""
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        _read_everything(path)
    except Exception as error:
        print(" ".join((str(error) or type(error).__name__).split()), flush=True)
        return REFUSED
    return 0


if __name__ == "__main__":
    os._exit(_main(sys.argv[1]))
