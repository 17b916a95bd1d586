"""Reading a source into shards, on workers, each by a plan in a file of its own."""

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
from .manifest import Manifest, Shard, digest_of, shard_name
from .sealing import seal_of
from .sharding import (
    earlier,
    entry_of,
    finished,
    held_folder,
    rows_per_shard,
    write_shards,
)
from .sources import Entry, open_source, reopen
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


def _plan(job, opened, start, stop, last):
    """What a shard is to be made of, in values of JSON, but not where it lies."""
    entries, here = opened.entries[start:stop], range(start, stop)
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
    return {
        "members": {
            "entry": [list(entry) for entry in entries],
            "label": job.labels[start:stop],
            "chosen": job.chosen[start:stop].astype(int).tolist(),
            "copies": [job.copies(e.key) if e.is_picture else [] for e in entries],
            "stamp": [_stamp(opened, entry) for entry in entries],
        },
        "metadata": metadata,
        "unmatched": job.table.unmatched if job.table is not None and last else [],
        "unlisted": [list(row) for row in opened.unlisted] if last else [],
        "size": list(map(int, job.size)),
        "fit": job.fit,
        "options": job.options,
        "image_shape": list(map(int, job.image_shape)),
        "attributes": job.attributes,
    }


def _write_planned(path, plan, known, plan_path):
    """Write the shard of a plan, or find it finished: its entry."""
    found = finished(path, plan, known)
    if found is not None:
        return found
    about = json.loads(Path(plan_path).read_bytes())
    if digest_of([about["plan"], about["made"]]) != plan:
        raise ValueError(f"{plan_path} is not the plan of {path.name}.")
    planned, source = about["plan"], about["source"]
    members = planned["members"]
    entries = [Entry(*entry) for entry in members["entry"]]
    size, fit = tuple(planned["size"]), planned["fit"]
    places = {}
    if source["places"] is not None:
        places = {e.path: p for e, p in zip(entries, source["places"], strict=True)}
    opened = reopen(source["address"], places)
    rows = []
    try:
        with atomic_path(path) as temporary, QuietFile(temporary) as disk:
            writer = Writer(disk, planned["image_shape"])
            for i, entry in enumerate(entries):
                if not members["chosen"][i]:
                    writer.ledger.append({"path": entry.path} | SKIPPED)
                    continue
                image, row = read_to_size(
                    opened, entry, size, fit, **planned["options"]
                )
                writer.ledger.append(row)
                if image is None:
                    continue
                label, copies = members["label"][i], members["copies"][i]
                rows += [i] * add_picture(
                    writer, image, entry.key, label, row, i, copies
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


def _members(planned, start, stop):
    """What a shard is made of, in short."""
    members = planned["members"]
    return {
        "start": start,
        "stop": stop,
        "first": members["entry"][0][0] if members["entry"] else "",
        "last": members["entry"][-1][0] if members["entry"] else "",
        "sha256": digest_of(members),
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
        plans = folder / _PLANS
        plans.mkdir(exist_ok=True)
        tasks, parts = [], _cut(job, opened.entries, rows)
        try:
            for i, (start, stop) in enumerate(parts):
                planned = _plan(job, opened, start, stop, i == len(parts) - 1)
                members = _members(planned, start, stop)
                places = [opened.place(e) for e in opened.entries[start:stop]]
                where = {
                    "address": opened.address(),
                    "places": places if any(p is not None for p in places) else None,
                }
                path = plans / f"{shard_name(i)}.json"
                about = {"plan": planned, "made": made, "source": where}
                path.write_text(json.dumps(about))
                plan = digest_of([json.loads(json.dumps(planned)), made])
                manifest.shards.append(Shard(shard_name(i), members, plan))
                tasks.append((Path(os.path.abspath(path)),))
            desc = "reading pictures"
            write_shards(
                folder, manifest, _write_planned, tasks, before=before, desc=desc
            )
        finally:
            shutil.rmtree(plans, ignore_errors=True)
