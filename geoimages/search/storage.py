"""A search engine as a folder of plain arrays that can be memory-mapped."""

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path

import numpy as np

from .exact import ExactSearch
from .faiss_index import FaissSearch
from .ivf import InvertedFile

_FORMAT, _VERSION = "geoimages.index", 1
_ABOUT = "index.json"
_BLOCK_BYTES = 1 << 26
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, OSError, EOFError)


def save_index(engine, path):
    """Write a search engine as a folder of ``.npy`` files.

    Parameters
    ----------
    engine : ExactSearch, InvertedFile or FaissSearch
        For example ``model.search_``.
    path : str or path-like
        The folder; it appears when it is whole, and takes the place of an older index.

    Raises
    ------
    FileNotFoundError
        If the folder that it belongs in does not exist.
    FileExistsError
        If `path` is there and is no index.

    See Also
    --------
    load_index : Read it again.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoimages import PairwiseModel, make_rocks
    >>> images, _ = make_rocks(60, random_state=0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks"
    >>> save_index(PairwiseModel(algorithm="partitioned").fit(images).search_, path)
    >>> load_index(path).search(images[7].reshape(1, -1), 1, "correlation")[0][1]
    array([7])
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{path} cannot be written: its folder does not exist; create it first."
        )
    if path.exists() and not (path / _ABOUT).is_file():
        raise FileExistsError(
            f"{path} is there and is no index; choose another name, or remove it."
        )
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")
    try:
        temporary.mkdir()
        _write(engine, temporary)
        if path.exists():  # a folder cannot take the place of a full one
            os.rename(path, aside)
        os.rename(temporary, path)
    finally:
        if aside.exists() and not path.exists():
            os.rename(aside, path)
        for left in (temporary, aside):
            shutil.rmtree(left, ignore_errors=True)


def _write(engine, folder):
    """Write the arrays of an engine, and last what is in them."""
    exact = engine if isinstance(engine, ExactSearch) else engine._exact
    arrays = {"rows": exact.rows, "rank": exact.rank}
    for centered, measures in exact._known.items():
        arrays["centered" if centered else "measured"] = np.stack(measures)
    params = {}
    for name, value in (exact.metric_params or {}).items():
        if np.ndim(value):
            arrays[f"param_{name}"] = np.asarray(value)
        else:
            params[name] = float(value)
    about = {
        "format": _FORMAT,
        "version": _VERSION,
        "metric_params": params,
        "image_shape": exact.image_shape and list(map(int, exact.image_shape)),
    }
    if isinstance(engine, FaissSearch):
        state = engine.__getstate__()
        del state["_exact"]
        about["faiss"] = {}
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                arrays[f"faiss_{name.lstrip('_')}"] = value
            else:
                about["faiss"][name] = value
    if isinstance(engine, InvertedFile):
        arrays |= {
            "labels": engine.labels,
            "centers": engine.centers,
            "order": engine._order,
        }
        about["metric"] = engine.metric
        about["nprobe"] = int(engine.nprobe)
    about["arrays"] = {}
    for name, array in arrays.items():
        array = np.ascontiguousarray(array)
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
        with open(folder / f"{name}.npy", "rb") as file:
            os.fsync(file.fileno())
        about["arrays"][name] = {
            "shape": list(array.shape),
            "dtype": array.dtype.str,
            "sha256": _checksum(array),
        }
    with open(folder / _ABOUT, "w", encoding="utf-8") as file:
        json.dump(about, file, indent=2)
        file.flush()
        os.fsync(file.fileno())


def _checksum(array):
    """SHA-256 of the bytes of an array, block by block."""
    total = hashlib.sha256()
    flat = array.reshape(-1).view(np.uint8)
    for start in range(0, len(flat), _BLOCK_BYTES):
        total.update(flat[start : start + _BLOCK_BYTES])
    return total.hexdigest()


def load_index(path, *, memory_map=True, verify=False):
    """Read an engine that `save_index` wrote.

    Parameters
    ----------
    path : str or path-like
        The folder.
    memory_map : bool, default=True
        Whether the rows stay on disk: only what a search looks at is read.
    verify : bool, default=False
        Whether the checksum of the rows is compared, too, which reads all of them;
        those of the other arrays always are.

    Returns
    -------
    engine : ExactSearch, InvertedFile or FaissSearch
        It answers as the one that was saved.

    Raises
    ------
    FileNotFoundError
        If there is no index.
    ValueError
        If it is damaged, or written by a later version.
    """
    path = Path(path)
    if not (path / _ABOUT).is_file():
        raise FileNotFoundError(f"No index at {path}; save_index writes one.")
    try:
        about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
        if about["format"] != _FORMAT or about["version"] != _VERSION:
            raise ValueError(f"version {about['version']} of {about['format']}")
        arrays = {
            name: _read(path, name, told, memory_map, verify)
            for name, told in about["arrays"].items()
        }
        return _engine(about, arrays)
    except _DAMAGED as error:
        raise ValueError(
            f"{path} is not a whole index of geoimages ({error}); save it again."
        ) from None


def _read(path, name, told, memory_map, verify):
    """Read one array and compare it with what the index says of it."""
    if not name.replace("_", "").isalpha():
        raise ValueError(f"an array called {name!r}")
    mode = "r" if memory_map and name == "rows" else None
    array = np.load(path / f"{name}.npy", mmap_mode=mode, allow_pickle=False)
    if list(array.shape) != told["shape"] or array.dtype.str != told["dtype"]:
        raise ValueError(
            f"{name} is {array.dtype.str} {array.shape}, not {told['dtype']} "
            f"{tuple(told['shape'])}"
        )
    if (name != "rows" or verify) and _checksum(array) != told["sha256"]:
        raise ValueError(f"{name} has another checksum")
    return array


def _engine(about, arrays):
    """Make the engine of the arrays."""
    params = dict(about["metric_params"])
    for name in arrays:
        if name.startswith("param_"):
            params[name.removeprefix("param_")] = arrays[name]
    shape = about["image_shape"] and tuple(about["image_shape"])
    exact = ExactSearch(arrays["rows"], arrays["rank"], params or None, shape)
    n = len(exact)
    for name, centered in (("centered", True), ("measured", False)):
        if name in arrays:
            exact._known[centered] = list(arrays[name])
    if "faiss" in about:
        state = {
            "_exact": exact,
            "_center": arrays.get("faiss_center"),
            "_ids": arrays["faiss_ids"],
            "index": arrays["faiss_index"],
        }
        engine = FaissSearch.__new__(FaissSearch)
        engine.__setstate__(about["faiss"] | state)
        return engine
    if "order" not in arrays:
        return exact
    order, labels, centers = arrays["order"], arrays["labels"], arrays["centers"]
    sorted_labels = labels[order] if len(order) == len(labels) == n else None
    if sorted_labels is None or (np.diff(sorted_labels) < 0).any():
        raise ValueError("the order of the rows is not that of the clusters")
    return InvertedFile.from_sorted(
        exact, order, labels, centers, about["metric"], about["nprobe"]
    )
