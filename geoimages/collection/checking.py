"""Validation of an .h5 file before use: layout, lengths, checksums."""

import json
import zlib

import h5py
import numpy as np

# gzip, shuffle, Fletcher's checksum and lzf: filters that come with h5py.
_FILTERS = {1, 2, 3, 32000}
_MOST_OBJECTS = 10_000
_DEEPEST = 4  # nesting of groups


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
    if images.ndim != 4 or images.shape[3] not in (3, 4) or 0 in images.shape:
        raise ValueError(f"its pictures have the shape {images.shape}")
    n = len(images)
    columns = {name: file[name] for name in ("keys", "labels")}
    for group in ("pictures", "metadata", "checksums"):
        columns |= {f"{group}/{name}": c for name, c in file.get(group, {}).items()}
    ledger = dict(file.get("ledger", {}))
    n_files = len(next(iter(ledger.values()))) if ledger else 0
    for group, length in ((columns, n), (ledger, n_files)):
        for name, column in group.items():
            if column.shape != (length,):
                raise ValueError(
                    f"{name} has the shape {column.shape} beside {n} pictures"
                )


def crc_of(values, name=""):
    """CRC-32 of a column and its name."""
    data = b"\0".join(values) if values.dtype.kind == "O" else values.tobytes()
    return np.uint32(zlib.crc32(data, zlib.crc32(name.encode())))


def crc_of_pictures(images):
    """CRC-32 of each picture: (n, h, w, c) uint8 -> (n,) uint32."""
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    return np.array([zlib.crc32(row) for row in rows], np.uint32)


def crc_of_attributes(attributes):
    """CRC-32 of a dict of texts and numbers."""
    return np.uint32(zlib.crc32(json.dumps(attributes, sort_keys=True).encode()))
