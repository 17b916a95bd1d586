"""Writing folders of shards: from a collection, and back into one file."""

import contextlib
import functools
import hashlib
import os
import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ..files import QuietFile, atomic_path, locked, progress
from .cache import KEPT
from .copying import copy_metadata, copy_rows, tables_of
from .file import PictureFile
from .manifest import (
    NAME,
    Manifest,
    Shard,
    digest_of,
    read_manifest,
    sha256_of,
    shard_name,
)
from .maps import Tasks, map_shards
from .sealing import seal_of
from .shards import OF_SHARDS
from .writer import Writer

MEGABYTES = 250
_MOST_MEGABYTES = 1e9
_UNFINISHED = re.compile(r"\.shard-\d{5,9}\.h5\.[0-9a-f]{8}\.part")
_OF_FILES = {"format", "format_version", "created_by", "columns", "crc32", *OF_SHARDS}


def rows_per_shard(image_shape, rows=None, megabytes=MEGABYTES):
    """Number of pictures in a shard.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels).
    rows : int, optional
        The number itself.
    megabytes : float, default=250
        Otherwise the size of their pixels.

    Raises
    ------
    ValueError
        If it is less than one picture.
    """
    if rows is None:
        if not megabytes > 0:
            raise ValueError(f"megabytes={megabytes} must be more than 0.")
        megabytes = min(megabytes, _MOST_MEGABYTES)
        rows = max(1, int(megabytes * 1e6 // np.prod(image_shape)))
    if rows != int(rows) or rows < 1:
        raise ValueError(f"rows={rows} must be a whole number of 1 or more.")
    return int(rows)


@contextlib.contextmanager
def held_folder(folder):
    """Hold a folder of shards for writing, and create it where there is none.

    Raises
    ------
    ValueError
        If it holds something else.
    BlockingIOError
        If another process is writing it; the message says which one.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder, new or empty.")
    if not folder.parent.is_dir():
        raise FileNotFoundError(
            f"{folder} cannot be created: {folder.parent} does not exist; create it "
            "first."
        )
    new = not folder.exists()
    if not new and not (folder / NAME).exists():
        others = [name for name in os.listdir(folder) if not name.startswith(".")]
        if any(not name.startswith("shard-") for name in others):
            raise ValueError(
                f"The folder {folder} holds other files, such as {others[0]!r}; name a "
                "new folder, or an empty one."
            )
    folder.mkdir(exist_ok=True)
    try:
        with locked(folder / NAME) as held:
            try:
                _remove_unfinished(folder, held)
                yield folder
            finally:
                _remove_unfinished(folder, held)
    finally:
        if new and not os.listdir(folder):
            folder.rmdir()


def _remove_unfinished(folder, held):
    """Delete what killed workers have left: a full disk needs its room.

    Where nothing can be held, another run may still write it.
    """
    for path in folder.iterdir() if held else ():
        if _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def finished(path, plan, known=None):
    """The entry of a shard that was written by an earlier run of the same plan, or None.

    Parameters
    ----------
    path : Path
    plan : str
        SHA-256 of what it is to be made of.
    known : Shard, optional
        Its entry in an earlier manifest.
    """
    try:
        size = path.stat().st_size
        if known is not None and (known.plan, known.n_bytes) == (plan, size):
            return known if seal_of(path) == known.seal else None
        seal = seal_of(path)
        file = PictureFile(path, checked=True)
    except (OSError, ValueError):
        return None
    try:
        if file.attributes.get("plan") != plan or file.verify():
            return None
        return entry_of(path, plan, len(file), seal)
    finally:
        file.close()


def entry_of(path, plan, count, seal):
    """The entry of a shard that is whole."""
    about = {"count": count, "n_bytes": path.stat().st_size, "seal": seal}
    return Shard(path.name, {}, plan, sha256=sha256_of(path), **about)


def plan_of(members, made):
    """What tells a shard from one of other members, parameters or versions."""
    return digest_of([members, made])


def write_shards(folder, manifest, write, n_shards, plan, *, before, desc):
    """Write the shards of a folder that are not finished, and the manifest.

    Parameters
    ----------
    folder : Path
        Held by `held_folder`.
    manifest : Manifest
        Of no shards yet.
    write : callable
        Writes a shard on a worker, or finds it finished, and returns its entry. Called
        with the path, the plan and the entry of an earlier manifest, or None, and those
        of the shard's task.
    n_shards : int
    plan : callable
        Plans the shard of a number: returns its entry (name, members and plan) and its
        task, a tuple. Workers write the first ones while others are planned.
    before : dict of str to Shard
        Entries of the manifest that was there, by their names.
    desc : str
        Description for the progress bar.

    Returns
    -------
    manifest : Manifest
        As written. Shards that failed say why.
    """
    plan, pending = functools.cache(plan), "not written yet"
    names = [shard_name(i) for i in range(n_shards)]
    shards, same = [Shard(name, {}, missing=pending) for name in names], {}
    if before:  # all is planned at once, to see what of it is there
        for i, name in enumerate(names):
            planned, known = plan(i)[0], before.get(name)
            shards[i] = replace(planned, missing=pending)
            if known is not None and (known.missing, known.plan) == ("", planned.plan):
                shards[i] = same[i] = known
    if len(same) < n_shards or len(before) != n_shards:
        # Who opens the folder meanwhile gets what is finished, and is told so.
        replace(manifest, shards=shards).write(folder)
    at = Path(os.path.abspath(folder))  # workers may be elsewhere

    def task_of(i):
        planned, task = plan(i)
        return at / planned.name, planned.plan, same.get(i), *task

    tasks = Tasks(n_shards, task_of)
    found, failed = map_shards(write, tasks, desc=desc, names=names)
    for i in range(n_shards):
        planned, _ = plan(i)
        if i in failed:
            shards[i] = replace(planned, missing=failed[i])
        else:
            shards[i] = replace(found[i], members=planned.members)
    manifest = replace(manifest, shards=shards)
    manifest.write(folder)
    for name in before.keys() - set(names):
        (folder / name).unlink(missing_ok=True)
    remove_kept(folder, before, shards)
    if not sum(shard.count for shard in manifest.present):
        why = next(iter(failed.values()), "none of the files is a picture")
        raise ValueError(f"No shard of {folder} holds a picture: {why}.")
    return manifest


def remove_kept(folder, before, shards):
    """Delete what is kept of shards that are others now, or gone.

    Rows, lists and features lie beside the shards, under names that only this package
    gives; they cost time only.

    Parameters
    ----------
    folder : Path
    before, shards : dict of str to Shard, list of Shard
        Entries of the earlier manifest by their names, and of the present one.
    """
    now = {shard.name: shard.sha256 for shard in shards}
    others = {name for name, shard in before.items() if shard.sha256 != now.get(name)}
    if not others and len(before) == len(now):
        return
    for path in folder.iterdir():
        kept = KEPT.fullmatch(path.name)
        if kept and (kept["shard"] is None or kept["shard"] in others):
            path.unlink(missing_ok=True)


def earlier(folder):
    """The entries of the manifest of a folder by their names; empty if it has none."""
    try:
        return {shard.name: shard for shard in read_manifest(folder).shards}
    except (FileNotFoundError, ValueError):
        return {}


def _parts(table, n_files, rows):
    """Divide pictures and rows of the ledger: list of (slice, slice, continued)."""
    n, row_of = len(table), table["ledger_row"].to_numpy()
    if (np.diff(row_of) < 0).any():
        raise ValueError("Its pictures are not in the order of its ledger.")
    parts, begin = [], 0
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        continued = int(start > 0 and row_of[start] == row_of[start - 1])
        end = n_files if stop == n else int(row_of[stop - 1]) + 1
        parts.append((slice(start, stop), slice(begin - continued, end), continued))
        begin = end
    return parts


def _attributes_of(collection):
    attributes = collection.attributes.items()
    return {name: value for name, value in attributes if name not in _OF_FILES}


def _write_part(path, known=None, *, plan, collection, tables, part, last):
    """Write a shard of a collection, or find it finished: its entry."""
    found = finished(path, plan, known)
    if found is not None:
        return found
    pictures, files, continued = part
    more = {"continued": continued} if continued else {}
    with atomic_path(path) as temporary, QuietFile(temporary) as disk:
        writer = Writer(disk, collection.image_shape)
        copy_rows(writer, collection, *tables, pictures, files)
        writer.finish(
            copy_metadata(collection, tables[0], pictures, last),
            **_attributes_of(collection),
            plan=plan,
            **more,
        )
    return entry_of(path, plan, pictures.stop - pictures.start, seal_of(path))


def shard_collection(collection, folder, rows=None, megabytes=MEGABYTES):
    """Write a collection as a folder of shards; `Collection.shard` has the parameters."""
    rows = rows_per_shard(collection.image_shape, rows, megabytes)
    _refuse_itself(collection, folder)
    made = {"how": "shard", "geoimages": version("geoimages")}
    parameters = {"rows": rows, **_attributes_of(collection)}
    with held_folder(folder) as folder:
        before, entries = earlier(folder), []
        # One reader of one file: more would only wait for the disk.
        planned = list(planned_shards(collection, made, rows))
        for shard, write in progress(planned, desc="writing shards", unit="shard"):
            entry = write(folder / shard.name, before.get(shard.name))
            entries.append(replace(entry, members=shard.members))
        made |= {"parameters": parameters}
        Manifest(collection.image_shape, made, entries).write(folder)
        for name in before.keys() - {shard.name for shard in entries}:
            (folder / name).unlink(missing_ok=True)
        remove_kept(folder, before, entries)


def planned_shards(collection, made, rows):
    """Plan the shards of a collection.

    Parameters
    ----------
    collection : Collection
    made : dict
        What makes them.
    rows : int
        Pictures of each.

    Yields
    ------
    shard : Shard
        Its name, members and plan.
    write : callable
        Writes it to a path, or finds it finished, and returns its entry.
    """
    tables = tables_of(collection)
    parts = _parts(tables[0], len(tables[1]), rows)
    for i, part in enumerate(parts):
        pictures, files, _ = part
        members = _members(tables[0][pictures], pictures, tables[1][files])
        plan = plan_of(members, [made, _attributes_of(collection)])
        write = functools.partial(
            _write_part,
            plan=plan,
            collection=collection,
            tables=tables,
            part=part,
            last=i == len(parts) - 1,
        )
        yield Shard(shard_name(i), members, plan), write


def _members(table, pictures, ledger):
    """What a shard is made of, in short."""
    total = hashlib.sha256()
    for frame in (table.drop(columns="lineage").reset_index(), ledger):
        total.update(frame.to_json(orient="values", double_precision=15).encode())
    return {
        "start": pictures.start,
        "stop": pictures.stop,
        "first": str(table.index[0]),
        "last": str(table.index[-1]),
        "sha256": total.hexdigest(),
    }


def _refuse_itself(collection, path):
    """Raise a ValueError where a collection would be written over itself."""
    if Path(path).exists() and Path(path).samefile(collection.path):
        raise ValueError(
            f"{path} is the collection itself and would be lost; write to another place."
        )


def merge_collection(collection, path):
    """Write a collection as one file; `Collection.merge` has the parameters."""
    _refuse_itself(collection, path)
    if collection.missing:
        name, why = next(iter(collection.missing.items()))
        raise ValueError(
            f"{len(collection.missing):,} shards of {collection.path} are missing, such "
            f"as {name} ({why}); run the command that made it again."
        )
    table, ledger = tables_of(collection)
    everything = slice(0, len(collection)), slice(0, len(ledger))
    with (
        locked(path),
        atomic_path(path) as temporary,
        QuietFile(temporary) as disk,
    ):
        writer = Writer(disk, collection.image_shape)
        copy_rows(writer, collection, table, ledger, *everything)
        writer.finish(
            copy_metadata(collection, table, everything[0]),
            **_attributes_of(collection),
        )
