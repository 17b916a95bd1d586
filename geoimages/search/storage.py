"""Storage of a search engine as one file of plain arrays, which can be memory-mapped."""

import contextlib
import hashlib
import json
import math
from pathlib import Path

import numpy as np

from ..files import NewerVersionError, atomic_path, check_version, let_go
from .exact import ExactSearch
from .faiss_index import FaissSearch
from .ivf import ClusterLabels, InvertedFile

_FORMAT, _VERSION = "geoimages.index", "3"  # 2 had no checksum of the header
_ENGINES = {
    engine.__name__: engine
    for engine in (ExactSearch, InvertedFile, FaissSearch, ClusterLabels)
}
_DTYPES = {
    "U8": "|u1",
    "I8": "|i1",
    "I32": "<i4",
    "I64": "<i8",
    "F32": "<f4",
    "F64": "<f8",
}
_BLOCK_BYTES = 1 << 26
_MOST_HEADER = 1 << 20  # bytes
_ALIGNMENT = 64  # bytes, so that mapped rows begin where vector instructions like it
_DAMAGED = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
)


def save_index(engine, path):
    """Write a search engine as one file.

    The file has the layout of safetensors: a header in JSON, then the arrays. Its
    metadata hold the parameters of the engine and a SHA-256 of each array.

    Parameters
    ----------
    engine : ExactSearch, InvertedFile or FaissSearch
        For example ``model.search_``.
    path : str or path-like
        The file, written atomically; an older index is replaced.

    Raises
    ------
    FileNotFoundError
        If its folder does not exist.
    FileExistsError
        If `path` exists and is not an index.

    See Also
    --------
    load_index : Read it again.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoimages import PairwiseModel, make_rocks
    >>> images, _ = make_rocks(60, random_state=0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.index"
    >>> save_index(PairwiseModel(algorithm="partitioned").fit(images).search_, path)
    >>> load_index(path).search(images[7].reshape(1, -1), 1, "correlation")[0][1]
    array([7])
    """
    path = Path(path)
    if path.exists() and not _is_index(path):
        raise FileExistsError(
            f"{path} exists and is not an index; choose another name, or remove it."
        )
    write_engine(engine, path)


def write_engine(engine, path, **made):
    """Write a search engine as `save_index` does, and what it was made of.

    Parameters
    ----------
    engine : object
        As `save_index` takes it, or `ClusterLabels`.
    path : Path
        The file; whatever it was is replaced.
    **made : str
        ``of``, what tells it from an engine of other rows, for `made_of`; and
        ``features``, what the rows are, in words.
    """
    engine = engine.gathered()
    values, arrays = engine.arrays()
    names = {dtype: name for name, dtype in _DTYPES.items()}
    header, sums, stop = {}, {}, 0
    for name, array in arrays.items():
        arrays[name] = array = np.ascontiguousarray(array)
        start = -(-stop // _ALIGNMENT) * _ALIGNMENT  # rounded up
        stop = start + array.nbytes
        header[name] = {
            "dtype": names[array.dtype.str],
            "shape": list(array.shape),
            "data_offsets": [start, stop],
        }
        sums[name] = _checksum(array)
    header["__metadata__"] = {
        "format": _FORMAT,
        "version": _VERSION,
        "engine": type(engine).__name__,
        "values": json.dumps(values),
        "sha256": json.dumps(sums),
        **made,
    }
    header["__metadata__"]["header"] = _checksum_of(header)
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, array in arrays.items():
            file.seek(8 + len(text) + header[name]["data_offsets"][0])
            for block in _blocks(array):
                file.write(block.data)  # tofile does not say what went wrong


def _checksum_of(header):
    """SHA-256 of a header but for this checksum."""
    about = {k: v for k, v in header["__metadata__"].items() if k != "header"}
    text = json.dumps(header | {"__metadata__": about}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(array):
    """SHA-256 of the bytes of an array, block by block."""
    total = hashlib.sha256()
    for block in _blocks(array):
        total.update(block)
    return total.hexdigest()


def _blocks(array):
    """Yield the bytes of an array block by block; of a mapped one no more is held."""
    flat = array.reshape(-1).view(np.uint8)
    for start in range(0, len(flat), _BLOCK_BYTES):
        yield flat[start : start + _BLOCK_BYTES]
        let_go(array)


def _read_header(path):
    """The header of a file and where its arrays begin, or a ValueError."""
    with open(path, "rb") as file:
        n_bytes = int.from_bytes(file.read(8), "little")
        # Bytes of another format read as a length are nearly always far too large.
        if not 2 <= n_bytes <= _MOST_HEADER:
            raise ValueError("it has no header")
        header = json.loads(file.read(n_bytes))
    if header["__metadata__"]["format"] != _FORMAT:
        raise ValueError("it has another format")
    return header, 8 + n_bytes


def _is_index(path):
    try:
        return bool(_read_header(path))
    except (*_DAMAGED, OSError):
        return False


def load_index(path, *, memory_map=True, verify=True):
    """Read an engine that `save_index` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.
    memory_map : bool, default=True
        Whether the rows stay in the file: only what a search looks at is read.
    verify : bool, default=True
        Whether the checksum of mapped rows is compared, too, which reads all of them
        once; those of other arrays always are.

    Returns
    -------
    engine : ExactSearch, InvertedFile or FaissSearch
        It answers as the one that was saved.

    Raises
    ------
    FileNotFoundError
        If there is no index.
    ValueError
        If it is damaged, or written by another version.
    """
    path = Path(path)
    with _valid(path):
        header, begin = _checked_header(path)
        about = header.pop("__metadata__")
        sums, arrays = json.loads(about["sha256"]), {}
        for name, entry in header.items():
            mapped = memory_map and name == "rows"
            arrays[name] = array = _read(path, name, entry, begin, mapped)
            if (verify or not mapped) and _checksum(array) != sums[name]:
                raise ValueError(f"{name} has another checksum")
        engine = _ENGINES[about["engine"]]
        return engine.from_arrays(json.loads(about["values"]), arrays)


def made_of(path):
    """What `write_engine` was told that an engine was made of: str."""
    path = Path(path)
    with _valid(path):
        return str(_checked_header(path)[0]["__metadata__"].get("of", ""))


def map_rows(path):
    """Map the rows of an index, and read nothing else of it: (n, d)."""
    path = Path(path)
    with _valid(path):
        header, begin = _checked_header(path)
        rows = _read(path, "rows", header["rows"], begin, True)
        if rows.ndim != 2:
            raise ValueError(f"rows of the shape {rows.shape}")
        return rows


@contextlib.contextmanager
def _valid(path):
    """Raise a FileNotFoundError or a ValueError that says what is wrong with a file."""
    if not path.is_file():
        if path.is_dir() and (path / "index.json").is_file():
            raise ValueError(
                f"{path} is an index of version 1, a folder, which is not read any "
                "more; save it again."
            )
        raise FileNotFoundError(f"No index at {path}; save_index writes one.")
    try:
        yield
    except NewerVersionError:
        raise
    except _DAMAGED as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path} is not a valid index of geoimages ({reason}); save it again."
        ) from None


def _checked_header(path):
    """The header of a file of a version that is read, and where its arrays begin."""
    header, begin = _read_header(path)
    checksum, about = _checksum_of(header), header["__metadata__"]
    if not about["version"].isascii() or not about["version"].isdecimal():
        raise ValueError(f"version {about['version']!r}")
    check_version(path, int(about["version"]), int(_VERSION))
    if about["version"] == "1":
        raise ValueError("version '1'")
    if about["version"] != "2" and about["header"] != checksum:
        raise ValueError("its header has another checksum")
    return header, begin


def _read(path, name, entry, begin, mapped):
    """Read or map an array, where the file holds all of what the header says."""
    dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"]
    start, stop = entry["data_offsets"]
    counts = all(type(count) is int and count >= 0 for count in (*shape, start, stop))
    # Compared before anything is allocated: a header may claim any size.
    n_values = math.prod(shape)
    whole = counts and stop - start == n_values * dtype.itemsize
    if not whole or begin + stop > path.stat().st_size:
        raise ValueError(f"{name} is not whole")
    if mapped and n_values:
        return np.memmap(path, dtype, "r", begin + start, tuple(shape))
    return np.fromfile(path, dtype, n_values, offset=begin + start).reshape(shape)
