"""The rows in several files sorted by cluster, into other files: the lists of an IVF."""

import secrets
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from ..collection.maps import SharedArray
from ..files import atomic_path
from ..search.clustering import (
    PER_CLUSTER,
    directions,
    fit_partition,
    nearest_centers,
    rows_at_once,
)
from ..search.exact import ExactSearch
from ..search.ivf import ClusterLabels
from ..search.prepared import PRODUCT_METRICS
from ..search.storage import load_index, write_engine
from .sharded_ranges import (
    all_rows,
    draw_rows,
    is_kept,
    kept,
    key_of,
    map_files,
    map_ranges,
    ranges_of,
)


class Lists(NamedTuple):
    """Rows sorted by cluster, for `ShardedInvertedFile`.

    Parameters
    ----------
    paths : list of Path
        Files of an `ExactSearch` each: together, the rows of cluster after cluster.
    labels : ndarray of shape (n,), int
        The cluster of each row, in the order that rows had.
    centers : ndarray of shape (n_clusters, d)
    directions_of : str or None
        As `InvertedFile` takes it.
    sources : list of Path
        The files of the rows in the order that they had.
    """

    paths: list
    labels: np.ndarray
    centers: np.ndarray
    directions_of: str | None
    sources: list


def partition_files(paths, metric, n_clusters=None, random_state=None):
    """Partition the rows in several files into clusters, as `partition` does.

    Parameters
    ----------
    paths : list of Path
        Files of an `ExactSearch` each.
    metric, n_clusters, random_state
        As `partition` takes them.

    Returns
    -------
    lists : Lists
        Of files beside those, whose names end in ``.ivf``.
    """
    rng = check_random_state(random_state)
    rows = all_rows(paths)
    n = len(rows)
    if n_clusters is None:
        n_clusters = round(2 * n**0.5)
    n_clusters = min(max(n_clusters, 1), n)
    drawn = draw_rows(paths, PER_CLUSTER * n_clusters, rng)
    centers = fit_partition(directions(rows[drawn], metric), n_clusters, rng)
    lists = write_lists(paths, centers, metric, metric)
    used = np.bincount(lists.labels, minlength=len(centers)) > 0
    labels = (np.cumsum(used) - 1)[lists.labels]
    return lists._replace(labels=labels, centers=centers[used])


def write_lists(paths, centers, directions_of, metric):
    """Sort the rows in several files by their nearest centers, into other files.

    Each worker sorts a range of the rows; each then merges what of all ranges belongs
    into one file. Where a cluster lies in one piece, a query reads few, long slices.

    Parameters
    ----------
    paths : list of Path
        Files of an `ExactSearch` each.
    centers : ndarray of shape (n_clusters, d)
    directions_of : str or None
        The distance among whose `directions` they lie.
    metric : str
        The distance to prepare for.

    Returns
    -------
    lists : Lists
    """
    folder, rows = Path(paths[0]).parent, all_rows(paths)
    ranges = ranges_of(paths, rows, rows_at_once(centers))
    names = [Path(path).name for path in paths]
    sizes = [some.n_rows for some in ranges]
    key = key_of(centers, directions_of, metric, names, sizes)
    out = [folder / f"lists-{i:05d}.{key}.ivf" for i in range(len(ranges))]
    known = [path.with_suffix(".labels") for path in out]
    # What a killed process leaves of runs is swept like any unfinished file.
    token = secrets.token_hex(4)
    runs = [_run(folder, key, token, i) for i in range(len(out))]
    try:
        with SharedArray(centers, folder) as shared:
            tasks = [
                (some, str(path), shared, directions_of, path.name)
                for some, path in zip(ranges, known, strict=True)
            ]
            labels = map_ranges(_label, tasks, "finding clusters")
        labels = np.concatenate(labels)
        tasks = [
            (str(path), size, path.name) for path, size in zip(out, sizes, strict=True)
        ]
        whole = map_files(is_kept, tasks, "checking rows")
        if not all(whole):
            tasks = [
                (some, str(path), str(run))
                for some, path, run in zip(ranges, known, runs, strict=True)
            ]
            map_ranges(_sort, tasks, "sorting rows")
            merges = _merges(labels, sizes, len(centers))
            tasks = [
                (str(path), str(folder), key, token, *merge, metric)
                for path, merge, is_ in zip(out, merges, whole, strict=True)
                if not is_
            ]
            map_files(_merge, tasks, "merging rows")
    finally:
        for run in runs:
            run.unlink(missing_ok=True)
    return Lists(out, labels, centers, directions_of, list(paths))


def _run(folder, key, token, i):
    """The file of what is sorted of a range, until it is merged."""
    return Path(folder) / f".lists-{i:05d}.{key}.ivf.{token}.part"


def _label(some, known, shared, directions_of, of):
    """The nearest center of each row of a range, kept in a file: (n,) int32."""
    found = kept(known, ClusterLabels, some.n_rows, of)
    if found is not None:
        return found.labels
    centers = np.load(shared, allow_pickle=False)
    labels = ClusterLabels(nearest_centers(some.open(), directions_of, centers))
    write_engine(labels, known, of=of)
    return labels.labels


def _sort(some, known, run):
    """Write the rows of a range by cluster."""
    order = np.argsort(load_index(known).labels, kind="stable")
    with atomic_path(run) as temporary, open(temporary, "wb") as file:
        np.save(file, some.open()[order], allow_pickle=False)


def _merges(labels, sizes, n_clusters):
    """What of each run belongs into each file: list of (starts (r,), counts (r, c)).

    A file takes as many rows as a range has, whatever their clusters.
    """
    ends = np.cumsum(np.bincount(labels, minlength=n_clusters))
    counts = np.zeros((len(sizes), n_clusters), np.int32)  # left of each run
    for i, part in enumerate(np.split(labels, np.cumsum(sizes)[:-1])):
        counts[i] = np.bincount(part, minlength=n_clusters)
    starts, begin, out = np.zeros(len(sizes), np.int64), 0, []
    for size in sizes:
        first = int(np.searchsorted(ends, begin, "right"))
        last = int(np.searchsorted(ends, begin + size, "left"))
        taken = counts[:, first : last + 1].copy()
        # Of the last cluster, what is too much; rows of later runs come later.
        beyond = int(taken.sum()) - size
        for i in range(len(sizes) - 1, -1, -1):
            less = min(beyond, taken[i, -1])
            taken[i, -1] -= less
            beyond -= less
        counts[:, first : last + 1] -= taken
        out.append((starts.copy(), taken))
        starts += taken.sum(axis=1)
        begin += size
    return out


def _merge(path, folder, key, token, starts, counts, metric):
    """Write a file of the rows of some clusters, run after run in each cluster."""
    # Where the rows of a run go: to the place of their cluster, behind earlier runs.
    before = np.cumsum(counts, axis=0) - counts
    total = counts.sum(axis=0)
    before += np.cumsum(total) - total
    out = None
    for i in np.flatnonzero(counts.any(axis=1)):
        start, count, place = starts[i], counts[i], before[i]
        n = int(count.sum())
        run = np.load(_run(folder, key, token, i), mmap_mode="r", allow_pickle=False)
        rows = run[start : start + n]
        if out is None:
            out = np.empty((int(total.sum()), rows.shape[1]), rows.dtype)
        within = np.arange(n) - np.repeat(np.cumsum(count) - count, count)
        out[np.repeat(place, count) + within] = rows
    metric = metric if metric in PRODUCT_METRICS else None  # others store nothing
    engine = ExactSearch(out, np.arange(len(out)), metric=metric, quantize=False)
    write_engine(engine, path, of=Path(path).name)
