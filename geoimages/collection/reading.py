"""Reading a source into shards, on workers, each by a plan in a file of its own."""

import hashlib
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import PIL

from ..files import QuietFile, atomic_path
from .lineage import ROTATIONS
from .manifest import Manifest, Shard, shard_name
from .sealing import seal_of
from .sharding import (
    earlier,
    entry_of,
    finished,
    held_folder,
    rows_per_shard,
    write_shards,
)
from .sources import Entry, listing, open_source, reopen
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


def _cut(job, entries, rows):
    """Divide the files of a source, so many pictures each: list of (start, stop)."""
    taken = np.array([entry.is_picture for entry in entries], bool) & job.chosen
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


def _plan(job, opened, start, stop, last):
    """What a shard is to be made of: its members and the rest, as lines of JSON.

    Members are lists of one length, which JSON writes and reads several times as fast as
    a list for each of them.
    """
    entries, here = opened.entries[start:stop], range(start, stop)
    copies = [job.copies(e.key) if e.is_picture else [] for e in entries]
    members = {
        "path": [entry.path for entry in entries],
        "key": [entry.key for entry in entries],
        "label": job.labels[start:stop],
        "is_picture": _unless_all((entry.is_picture for entry in entries), True),
        "chosen": _unless_all(job.chosen[start:stop].tolist(), True),
        "copies": _unless_all(copies, []),
        "stamp": [_stamp(opened, entry) for entry in entries],
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
        "unlisted": [list(row) for row in opened.unlisted] if last else [],
        "size": list(map(int, job.size)),
        "fit": job.fit,
        "options": job.options,
        "image_shape": list(map(int, job.image_shape)),
        "attributes": job.attributes,
    }
    return json.dumps(members).encode(), json.dumps(rest).encode()


def _sha256(*lines):
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def _write_planned(path, plan, known, plan_path):
    """Write the shard of a plan, or find it finished: its entry."""
    found = finished(path, plan, known)
    if found is not None:
        return found
    *lines, source = Path(plan_path).read_bytes().split(b"\n")
    if _sha256(*lines) != plan:
        raise ValueError(f"{plan_path} is not the plan of {path.name}.")
    with listing():
        members, planned, _ = map(json.loads, lines)
        source = json.loads(source)
        n = len(members["path"])
        opened = reopen(source["address"], members["path"], source["places"])
    is_picture, chosen = (
        members[name] or [True] * n for name in ("is_picture", "chosen")
    )
    columns = (members["path"], members["key"], members["label"], is_picture)
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
                image, row = read_to_size(
                    opened, entry, size, fit, **planned["options"]
                )
                writer.ledger.append(row)
                if image is None:
                    continue
                rows += [i] * add_picture(
                    writer, image, entry.key, entry.label, row, i, copies[i]
                )
            add_unlisted(writer, planned["unlisted"])
            write_more = _metadata_writer(planned, rows)
            writer.finish(write_more, plan=plan, **planned["attributes"])
    finally:
        opened.close()
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
        plans, parts = folder / _PLANS, _cut(job, opened.entries, rows)
        plans.mkdir(exist_ok=True)

        def plan(i):
            """Plan a shard, in a file: its entry, and the path of that file."""
            start, stop = parts[i]
            with listing():
                lines = _plan(job, opened, start, stop, i == len(parts) - 1)
                lines += (json.dumps(made).encode(),)
                places = opened.places(opened.entries[start:stop])
                where = {"address": opened.address(), "places": places}
                path = Path(os.path.abspath(plans / f"{shard_name(i)}.json"))
                path.write_bytes(b"\n".join([*lines, json.dumps(where).encode()]))
            members = _members(opened.entries, start, stop, lines[0])
            return Shard(shard_name(i), members, _sha256(*lines)), (path,)

        try:
            write_shards(
                *(folder, manifest, _write_planned, len(parts), plan),
                before=before,
                desc="reading pictures",
            )
        finally:
            shutil.rmtree(plans, ignore_errors=True)
