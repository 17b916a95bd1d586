"""Ranges of the rows in several files, for workers, however files share the rows."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..collection.maps import map_shards
from ..search.clustering import hashes_of
from ..search.exact import ExactSearch
from ..search.storage import load_index, made_of, map_rows
from .sharded import ShardedRows

_RANGE_BYTES = 1 << 26  # of rows


class Range(NamedTuple):
    """Rows of all, and where they lie."""

    paths: tuple
    begin: int  # in the first of these files
    n_rows: int
    dtype: str  # of all rows

    def open(self):
        """The rows, memory-mapped where they lie in one file: (n, d)."""
        rows = ShardedRows([map_rows(path) for path in self.paths])
        rows.dtype = np.dtype(self.dtype)
        return rows[self.begin : self.begin + self.n_rows]


def kept(path, kind, n_rows, of):
    """The engine in a file, if it is whole and what was asked for, or None.

    Another file is deleted, at once: what is there when the rows are made, another
    process may have written.

    Parameters
    ----------
    path : path-like
    kind : type
        Of the engine.
    n_rows : int
    of : str
        What its rows were made of: a file of that name may be a copy of another.
    """
    try:
        engine = load_index(path)
        if (type(engine), len(engine), made_of(path)) == (kind, n_rows, of):
            return engine
    except FileNotFoundError:
        return None
    except ValueError:  # damaged
        pass
    Path(path).unlink(missing_ok=True)
    return None


def is_kept(path, n_rows, of):
    """Whether a file holds the rows that were asked for; see `kept`."""
    return kept(path, ExactSearch, n_rows, of) is not None


def all_rows(paths):
    """The rows in several files as one: `ShardedRows`."""
    return ShardedRows([map_rows(path) for path in paths])


def ranges_of(paths, rows, step=1):
    """Divide the rows in several files by multiples of `step`: list of Range."""
    n, starts = len(rows), rows.starts
    each = _RANGE_BYTES // max(1, rows.itemsize * rows.shape[1])
    each = max(1, -(-each // step)) * step
    out, names = [], [os.path.abspath(path) for path in paths]
    for start in range(0, n, each):
        stop = min(start + each, n)
        first = int(np.searchsorted(starts, start, "right")) - 1
        last = int(np.searchsorted(starts, stop, "left"))
        at = start - int(starts[first])
        out.append(Range(tuple(names[first:last]), at, stop - start, rows.dtype.str))
    return out


def map_ranges(function, tasks, desc):
    """Map over ranges, the first of each task: their results, or a ValueError."""
    names = [Path(task[0].paths[0]).name for task in tasks]
    return map_files(function, tasks, desc, names)


def map_files(function, tasks, desc, names=None):
    """Map over files, the first of each task: their results, or a ValueError."""
    names = names or [Path(task[0]).name for task in tasks]
    results, failed = map_shards(function, tasks, desc=desc, names=names)
    if failed:
        i, why = next(iter(failed.items()))
        raise ValueError(
            f"{len(failed):,} shards failed, such as {names[i]} ({why}); repeat the "
            "command: what the others have made is kept."
        )
    return results


def draw_rows(paths, most, rng):
    """Positions of rows among all, drawn by a hash of their bytes, as `draw` does.

    They do not depend on how rows are shared among files.
    """
    rows = all_rows(paths)
    ranges = ranges_of(paths, rows)
    starts = np.cumsum([0, *(some.n_rows for some in ranges)])
    n = len(rows)
    state, share = rng.get_state(), 2 * most / max(n, 1)
    while True:
        limit = min(int(share * 2**64), 2**64 - 1)
        tasks = [(some, state, limit) for some in ranges]
        found = map_ranges(_hash_rows, tasks, "drawing rows")
        hashed = np.concatenate([hashes for hashes, _ in found])
        if len(hashed) >= min(most, n) or share >= 1:
            break
        share *= 4  # many rows are the same
    hashes_of(rows[:1], rng)  # which leaves it as `draw` does
    at = [at + start for (_, at), start in zip(found, starts, strict=False)]
    return np.concatenate(at)[np.argsort(hashed, kind="stable")[:most]]


def _hash_rows(some, state, limit):
    rng = np.random.RandomState()
    rng.set_state(state)
    hashed = hashes_of(some.open(), rng)
    at = np.flatnonzero(hashed <= limit)
    return hashed[at], at


def key_of(*about):
    """A short hash of values and arrays, for names of files."""
    total = hashlib.sha256()
    for value in about:
        if isinstance(value, np.ndarray):
            total.update(repr((value.dtype.str, value.shape)).encode())
            total.update(np.ascontiguousarray(value))
        else:
            total.update(repr(value).encode())
    return total.hexdigest()[:16]
