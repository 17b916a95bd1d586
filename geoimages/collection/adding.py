"""Adding pictures to a collection, by writing a new file that replaces it."""

import contextlib
import os
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ..files import QuietFile, progress
from ..pictures.resizing import FITS
from .copying import OWN, copy_rows, tables_of
from .file import PictureFile
from .lineage import lineage_of
from .reading import why_known, write_more_shards
from .sharding import held_folder, remove_kept, rows_per_shard
from .sources import Files, Sources, is_picture_name, open_source
from .tables import Metadata, write_metadata
from .writer import Writer
from .writing import (
    Job,
    add_picture,
    add_unlisted,
    find_labels,
    read_to_size,
    refuse_to_overwrite,
)


@contextlib.contextmanager
def _open_sources(sources):
    """Open folders and zips, and single pictures together: a list of sources."""
    single = [path for path in sources if is_picture_name(os.fspath(path))]
    single = [path for path in single if not Path(path).is_dir()]
    for path in single:
        if not Path(path).is_file():
            raise FileNotFoundError(f"No picture at {path}; give a file that exists.")
    with contextlib.ExitStack() as stack:
        others = [path for path in sources if path not in single]
        opened = [stack.enter_context(open_source(path)) for path in others]
        yield opened + ([Files(single)] if single else [])


def _copy_pictures(old, writer):
    """Copy the pictures and the ledger of a collection."""
    table, ledger = tables_of(old)
    copy_rows(writer, old, table, ledger, slice(0, len(old)), slice(0, len(ledger)))
    return len(ledger)


def _known_of(old):
    """SHA-256 of the file of each picture, by its key."""
    return dict(zip(map(str, old.keys), tables_of(old)[0]["sha256"], strict=True))


def _metadata_of(old):
    """The columns of a collection's metadata, in order."""
    return old.table.drop(columns=list(OWN), errors="ignore").reset_index(drop=True)


def _fit_of(old, fit):
    """How pictures of another size are brought to that of a collection, or None."""
    used = old.fit if old.attributes.get("sized") else None
    if fit is not None and fit not in FITS:
        raise ValueError(f"fit={fit!r} is not known; expected one of {FITS}.")
    if fit is not None and used not in (None, fit):
        raise ValueError(
            f"fit={fit!r} is not how the pictures of {old.path} were brought to one "
            f"size, {used!r}; leave it out."
        )
    if fit == "pad" and old.image_shape[2] == 3:
        raise ValueError(
            f"fit='pad' adds a mask, which the pictures of {old.path} do not have; "
            "crop or stretch."
        )
    return fit or used


def _job_of(old, listed, sources, *, metadata, label, label_from, fit, max_pixels):
    """Decide what to make of the files of some sources: (Job, {key: SHA-256})."""
    rotated = "turn" in old.table and (old.table["turn"] > 0).any()
    rotated = bool(rotated and (old.ledger["path"] != "").any())  # not of arrays
    size, to_fit = old.image_shape[:2], _fit_of(old, fit)
    entries, known = listed.entries, _known_of(old)
    table = None if metadata is None else Metadata(metadata, label)
    labels, _ = find_labels(entries, table, label_from)
    keys = [entry.key for entry in entries if entry.is_picture]
    keys = [*known, *dict.fromkeys(key for key in keys if key not in known)]
    about = {
        name: old.attributes[name]
        for name in ("size_because", "labels_from")
        if name in old.attributes
    }
    names = [old.attributes.get("source", ""), *(Path(path).name for path in sources)]
    job = Job(
        labels,
        chosen=np.ones(len(entries), bool),
        original=dict(zip(keys, lineage_of(keys), strict=True)) if rotated else {},
        rotate=rotated,
        table=table,
        size=size,
        fit=to_fit,
        options={"alpha": old.image_shape[2] == 4, "max_pixels": max_pixels},
        image_shape=old.image_shape,
        attributes={
            "source": ", ".join(filter(None, names))[:1000],
            "fit": to_fit or old.fit,
            "sized": to_fit is not None,
            **about,
        },
    )
    return job, known


def _none_is_new(old, entries, reasons):
    """The error where nothing was added."""
    why = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
    return ValueError(
        f"None of the {len(entries)} files is a new picture"
        + (f" ({why})" if why else "")
        + f"; {old.path} is unchanged."
    )


def write_added(old, temporary, sources, **request):
    """Write a collection and more pictures; `Collection.add` has the parameters."""
    with (
        _open_sources(sources) as opened,
        QuietFile(temporary) as disk,
    ):
        listed = Sources(opened)
        job, known = _job_of(old, listed, sources, **request)
        writer = Writer(disk, old.image_shape)
        n_before = _copy_pictures(old, writer)
        rows, reasons = [], Counter()
        bar = progress(listed.entries, desc="reading pictures", unit="file")
        for i, entry in enumerate(bar):
            source = opened[listed.of[i]]
            if entry.is_picture and entry.key in known:
                image, row = None, why_known(source, entry, known[entry.key])
            else:
                image, row = read_to_size(
                    source, entry, job.size, job.fit, **job.options
                )
            writer.ledger.append(row)
            if image is None:
                reasons[row["reason"]] += 1
                continue
            known[entry.key] = row["sha256"]
            rows += [i] * add_picture(
                *(writer, image, entry.key, job.labels[i], row, n_before + i),
                job.copies(entry.key),
            )
        add_unlisted(writer, listed.unlisted)
        if not rows:
            raise _none_is_new(old, listed.entries, reasons)
        before, unmatched = _metadata_of(old), old.unmatched
        new = pd.DataFrame(index=range(len(rows)))
        if job.table is not None:
            new = job.table.frame(rows).reset_index(drop=True)
            unmatched = [*unmatched, *job.table.unmatched]
        frame = pd.concat([before, new], ignore_index=True)
        more = None
        if len(frame.columns) or unmatched:
            more = partial(write_metadata, frame=frame, unmatched=unmatched)
        writer.finish(more, **job.attributes)


def write_added_shards(folder, opened, sources, **request):
    """Add pictures to a folder as shards of their own, and name them in the manifest.

    Workers read them, as they read the source of a new folder.

    Parameters
    ----------
    folder : Path
    opened : callable
        Opens the collection.
    sources, **request
        As in `Collection.add`.
    """
    with (
        held_folder(folder),
        opened(folder) as old,
        _open_sources(sources) as found,
    ):
        if old.missing:
            raise ValueError(
                f"{len(old.missing):,} shards of {folder} are missing; run the command "
                "that made it again before adding to it."
            )
        manifest, listed = old.files.manifest, Sources(found)
        before = {shard.name: shard for shard in manifest.shards}
        number = 1 + max(int(name[6:-3]) for name in before)
        job, known = _job_of(old, listed, sources, **request)
        known = [known.get(e.key) if e.is_picture else None for e in listed.entries]
        shards = write_more_shards(folder, job, listed, _rows_of(old), number, known)
        if not any(shard.count for shard in shards):
            paths = [folder / shard.name for shard in shards]
            reasons = sum(map(_reasons_in, paths), Counter())
            for path in paths:
                path.unlink(missing_ok=True)
            raise _none_is_new(old, listed.entries, reasons)
        manifest.shards += shards
        manifest.write(folder)
        remove_kept(folder, before, manifest.shards)


def _reasons_in(path):
    """Count why files of a shard were refused: Counter."""
    file = PictureFile(path, checked=True)
    try:
        return Counter(filter(None, file.ledger(["reason"])["reason"].tolist()))
    finally:
        file.close()


def _rows_of(old):
    """Number of pictures that a shard of a folder has."""
    parameters = old.files.manifest.made.get("parameters")
    rows = parameters.get("rows") if isinstance(parameters, dict) else None
    known = type(rows) is int and rows > 0
    return rows if known else rows_per_shard(old.image_shape)


def check_sources(path, sources):
    """Raise an error unless there is something to add, and none is the collection."""
    if not sources:
        raise ValueError("Nothing to add; give folders, zips or picture files.")
    for source in sources:
        refuse_to_overwrite(path, source=source)
