"""Reading a source into shards, on workers, each by a plan in a file of its own."""

import contextlib
import functools
import hashlib
import json
import os
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import PIL

from ..files import QuietFile, atomic_path, held_by
from .lineage import ROTATIONS
from .manifest import NAME, Manifest, Shard, shard_name
from .maps import Tasks, map_shards
from .sealing import seal_of
from .sharding import (
    earlier,
    entry_of,
    finished,
    held_folder,
    rows_per_shard,
    write_shards,
)
from .sources import Entry, Sources, listing, open_source, reopen
from .tables import plain_column, write_metadata
from .writer import Writer
from .writing import (
    SKIPPED,
    add_picture,
    add_unlisted,
    check_request,
    make_job,
    read_to_size,
)

_PLANS = ".plans"  # a folder in that of the shards, while they are written


def _cut(job, entries, rows, known=None):
    """Divide the files of a source, so many pictures each: list of (start, stop)."""
    taken = np.array([entry.is_picture for entry in entries], bool) & job.chosen
    if known is not None:
        taken &= np.array([sha256 is None for sha256 in known], bool)
    each = max(1, rows // (1 + len(ROTATIONS) if job.rotate else 1))
    positions = np.flatnonzero(taken)
    starts = [0, *positions[each::each].tolist()]
    return list(zip(starts, [*starts[1:], len(entries)], strict=True))


def _stamp(source, entry):
    try:
        return source.stamp(entry)
    except OSError:  # it is gone, which is found again when it is read
        return None


def _unless_all(values, usual):
    """A list, or None where all of it is as usual."""
    values = list(values)
    return None if all(value == usual for value in values) else values


def _plan(job, sources, start, stop, last, known=(), rivals=()):
    """What a shard is to be made of: its members and the rest, as lines of JSON.

    Members are lists of one length, which JSON writes and reads several times as fast as
    a list for each of them.
    """
    entries, here = sources.entries[start:stop], range(start, stop)
    of = sources.of[start:stop]
    copies = [job.copies(e.key) if e.is_picture else [] for e in entries]
    members = {
        "path": [entry.path for entry in entries],
        "key": [entry.key for entry in entries],
        "label": job.labels[start:stop],
        "is_picture": _unless_all((entry.is_picture for entry in entries), True),
        "chosen": _unless_all(job.chosen[start:stop].tolist(), True),
        "copies": _unless_all(copies, []),
        "stamp": [
            _stamp(sources.opened[i], entry)
            for i, entry in zip(of, entries, strict=True)
        ],
        "of": _unless_all(of, 0),
        "known": _unless_all(known[start:stop], None),
        "rivals": _unless_all(rivals[start:stop], []),
    }
    metadata = None
    if job.table is not None:
        frame = job.table.frame(here)
        metadata = []
        for i, name in enumerate(frame.columns):
            values = plain_column(frame.iloc[:, i])
            is_text = isinstance(values, list)
            metadata.append(
                [name, is_text, values if is_text else values.tolist()],
            )
    rest = {
        "metadata": metadata,
        "unmatched": job.table.unmatched if job.table is not None and last else [],
        "unlisted": [list(row) for row in sources.unlisted] if last else [],
        "size": list(map(int, job.size)),
        "fit": job.fit,
        "options": job.options,
        "image_shape": list(map(int, job.image_shape)),
        "attributes": job.attributes,
    }
    return json.dumps(members).encode(), json.dumps(rest).encode()


def _names_in(i, paths, of, rivals):
    """The members of a shard that are in a source of that number, and their rivals."""
    own = [path for path, other in zip(paths, of, strict=True) if other == i]
    return own + [path for some in rivals for other, path in some if other == i]


def _where(sources, start, stop, rivals=()):
    """What `reopen` needs of each source to read a shard's members: list of dict."""
    entries, of = sources.entries[start:stop], sources.of[start:stop]
    paths, out = [entry.path for entry in entries], []
    for i, source in enumerate(sources.opened):
        names = _names_in(i, paths, of, rivals[start:stop])
        asked = [Entry(name, "", "", True) for name in names]
        places = source.places(asked) if names else None
        out.append({"address": source.address() if names else None, "places": places})
    return out


def why_known(source, entry, sha256):
    """The row of a file whose key is in the collection already."""
    row = {"path": entry.path, "status": "refused", "reason": "duplicate-key"}
    try:
        data = source.read(entry)
    except (OSError, MemoryError) as error:
        return row | {"detail": f"{entry.key}: {error}"}
    row |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    same = "the same file" if row["sha256"] == sha256 else "another file"
    return row | {"detail": f"{entry.key} is in the collection already: {same}"}


def _read_new(opened, of, entry, known, rivals, *how, **options):
    """Read a file, unless its key is known, or that of a picture listed before it."""
    for other, path in rivals:
        if known is None:
            rival = Entry(path, entry.key, "", True)
            image, row = read_to_size(opened[other], rival, *how, **options)
            known = None if image is None else row["sha256"]
    if known is not None:
        return None, why_known(opened[of], entry, known)
    return read_to_size(opened[of], entry, *how, **options)


def _sha256(*lines):
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def _check_held(folder, holder):
    """Raise an error where who asked for a shard no longer holds its folder.

    A worker may outlive a run that was killed, and must not write over the next one.
    """
    if holder != held_by(folder / NAME):
        raise BlockingIOError(
            f"{folder} is not written by the run any more that asked for this shard."
        )


def _write_planned(path, plan, known, plan_path, holder):
    """Write the shard of a plan, or find it finished: its entry."""
    found = finished(path, plan, known)
    if found is not None:
        return found
    *lines, where = Path(plan_path).read_bytes().split(b"\n")
    if _sha256(*lines) != plan:
        raise ValueError(f"{plan_path} is not the plan of {path.name}.")
    with listing():
        members, planned, _ = map(json.loads, lines)
        paths = members["path"]
        n = len(paths)
        of, rivals = members["of"] or [0] * n, members["rivals"] or [()] * n
        opened = [
            source["address"]
            and reopen(
                source["address"], _names_in(i, paths, of, rivals), source["places"]
            )
            for i, source in enumerate(json.loads(where))
        ]
    is_picture, chosen = (
        members[name] or [True] * n for name in ("is_picture", "chosen")
    )
    before = members["known"] or [None] * n
    columns = (paths, members["key"], members["label"], is_picture)
    entries = [Entry(*entry) for entry in zip(*columns, strict=True)]
    copies = members["copies"] or [()] * n
    size, fit = tuple(planned["size"]), planned["fit"]
    rows = []
    try:
        with atomic_path(path) as temporary, QuietFile(temporary) as disk:
            writer = Writer(disk, planned["image_shape"])
            for i, entry in enumerate(entries):
                if not chosen[i]:
                    writer.ledger.append({"path": entry.path} | SKIPPED)
                    continue
                about = of[i], entry, before[i], rivals[i]
                image, row = _read_new(opened, *about, size, fit, **planned["options"])
                writer.ledger.append(row)
                if image is None:
                    continue
                rows += [i] * add_picture(
                    writer, image, entry.key, entry.label, row, i, copies[i]
                )
            add_unlisted(writer, planned["unlisted"])
            write_more = _metadata_writer(planned, rows)
            writer.finish(write_more, plan=plan, **planned["attributes"])
            _check_held(path.parent, holder)
    finally:
        for source in filter(None, opened):
            source.close()
    return entry_of(path, plan, len(rows), seal_of(path))


def _metadata_writer(planned, rows):
    """What writes the metadata of pictures that stem from some members, or None."""
    if planned["metadata"] is None:
        return None
    columns = {
        name: pd.Series(
            [values[i] for i in rows], dtype=object if is_text else np.float64
        )
        for name, is_text, values in planned["metadata"]
    }
    frame = pd.DataFrame(columns, index=range(len(rows)))
    return lambda file: write_metadata(file, frame, planned["unmatched"])


def _members(entries, start, stop, line):
    """What a shard is made of, in short."""
    return {
        "start": start,
        "stop": stop,
        "first": entries[start].path if stop > start else "",
        "last": entries[stop - 1].path if stop > start else "",
        "sha256": _sha256(line),
    }


def write_source_shards(folder, source, *, rows, megabytes, **request):
    """Read a source into a folder; `Collection.create` has the parameters."""
    check_request(folder, source, request)
    with open_source(source) as opened, held_folder(folder) as folder:
        before = earlier(folder)
        job = make_job(opened, source, **request)
        rows = rows_per_shard(job.image_shape, rows, megabytes)
        made = {
            "how": "etl",
            "geoimages": version("geoimages"),
            "pillow": PIL.__version__,
            "simplejpeg": version("simplejpeg"),
        }
        parameters = {
            "rows": rows,
            "size": list(map(int, job.size)),
            "resized": job.fit,
            "rotate": job.rotate,
            "sample": request["sample"],
            "random_state": request["sample"] < 1 and str(request["random_state"]),
            **job.options,
            **job.attributes,
        }
        manifest = Manifest(job.image_shape, made | {"parameters": parameters})
        parts = _cut(job, opened.entries, rows)
        with _planning(folder, job, Sources([opened]), parts, made) as plan:
            write_shards(
                *(folder, manifest, _write_planned, len(parts), plan),
                before=before,
                desc="reading pictures",
            )


@contextlib.contextmanager
def _planning(folder, job, sources, parts, made, number=0, known=(), rivals=()):
    """Yield what plans a shard, in a file: returns its entry, and that file."""
    plans, holder = folder / _PLANS, held_by(folder / NAME)
    plans.mkdir(exist_ok=True)

    def plan(i):
        (start, stop), name = parts[i], shard_name(number + i)
        with listing():
            lines = _plan(
                *(job, sources, start, stop, i == len(parts) - 1, known, rivals)
            )
            lines += (json.dumps(made).encode(),)
            where = json.dumps(_where(sources, start, stop, rivals)).encode()
            path = Path(os.path.abspath(plans / f"{name}.json"))
            path.write_bytes(b"\n".join([*lines, where]))
        members = _members(sources.entries, start, stop, lines[0])
        return Shard(name, members, _sha256(*lines)), (path, holder)

    try:
        yield plan
    finally:
        shutil.rmtree(plans, ignore_errors=True)


def write_more_shards(folder, job, sources, rows, number, known):
    """Read sources into further shards of a folder, on workers.

    Parameters
    ----------
    folder : Path
        Held by `held_folder`.
    job : Job
    sources : Sources
    rows : int
        Pictures of a shard.
    number : int
        That of the first shard.
    known : list of str or None
        SHA-256 of the picture of its key, of each file whose key is there already.

    Returns
    -------
    shards : list of Shard
        Some may hold no picture.

    Raises
    ------
    ValueError
        If a shard failed three times. What is finished is kept, and not written again
        when the call is repeated.
    """
    made = {"how": "add", "geoimages": version("geoimages"), "pillow": PIL.__version__}
    made["simplejpeg"] = version("simplejpeg")
    parts, earlier_of, rivals = _cut(job, sources.entries, rows, known), {}, []
    for of, entry, sha256 in zip(sources.of, sources.entries, known, strict=True):
        others = earlier_of.setdefault(entry.key, [])
        rivals.append(list(others) if entry.is_picture and sha256 is None else [])
        if entry.is_picture:
            others.append([of, entry.path])
    at = Path(os.path.abspath(folder))
    with _planning(folder, job, sources, parts, made, number, known, rivals) as plan:
        planned = functools.cache(plan)

        def task_of(i):
            shard, task = planned(i)
            return at / shard.name, shard.plan, None, *task

        names = [shard_name(number + i) for i in range(len(parts))]
        found, failed = map_shards(
            *(_write_planned, Tasks(len(parts), task_of)),
            desc="reading pictures",
            names=names,
        )
        if failed:
            i, why = next(iter(failed.items()))
            raise ValueError(
                f"{len(failed):,} of {len(parts):,} new shards failed, such as "
                f"{names[i]} ({why}); {folder} is unchanged. Repeat the command: what is "
                "finished is kept."
            )
        return [
            replace(entry, members=planned(i)[0].members)
            for i, entry in enumerate(found)
        ]
