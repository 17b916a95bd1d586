"""Adding pictures to a collection, by writing a new file that replaces it."""

import contextlib
import hashlib
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from ..files import QuietFile, atomic_path, progress
from ..pictures.resizing import FITS
from .copying import OWN, copy_rows, tables_of
from .lineage import lineage_of
from .sharding import held_folder, planned_shards, remove_kept, rows_per_shard
from .sources import Files, is_picture_name, open_source
from .tables import Metadata, write_metadata
from .writer import Writer
from .writing import (
    add_picture,
    add_unlisted,
    find_labels,
    read_to_size,
    refuse_to_overwrite,
    rotated_copies,
)

_REFUSED = {"status": "refused"}
_ADDED = ".added.h5"  # in a folder, while it is made into shards; see `held_folder`


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


def _why_known(source, entry, sha256):
    """The row of a file whose key is in the collection already."""
    row = {"path": entry.path, "reason": "duplicate-key"} | _REFUSED
    try:
        data = source.read(entry)
    except (OSError, MemoryError) as error:
        return row | {"detail": f"{entry.key}: {error}"}
    row |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    same = "the same file" if row["sha256"] == sha256 else "another file"
    return row | {"detail": f"{entry.key} is in the collection already: {same}"}


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


def write_added(
    old, temporary, sources, *, alone, metadata, label, label_from, fit, max_pixels
):
    """Write a collection and more pictures; `Collection.add` has the parameters.

    With `alone`, the new ones only.
    """
    rotated = "turn" in old.table and (old.table["turn"] > 0).any()
    rotated = rotated and (old.ledger["path"] != "").any()  # not of arrays
    options = {"alpha": old.image_shape[2] == 4, "max_pixels": max_pixels}
    size, to_fit = old.image_shape[:2], _fit_of(old, fit)
    with (
        _open_sources(sources) as opened,
        QuietFile(temporary) as disk,
    ):
        writer = Writer(disk, old.image_shape)
        known = _known_of(old)
        n_before = 0 if alone else _copy_pictures(old, writer)
        listed = [(source, entry) for source in opened for entry in source.entries]
        entries = [entry for _, entry in listed]
        table = None if metadata is None else Metadata(metadata, label)
        labels, _ = find_labels(entries, table, label_from)
        keys = [entry.key for entry in entries if entry.is_picture]
        keys = [*known, *dict.fromkeys(key for key in keys if key not in known)]
        original = dict(zip(keys, lineage_of(keys), strict=True)) if rotated else None
        rows, reasons = [], Counter()
        bar = progress(listed, desc="reading pictures", unit="file")
        for i, (source, entry) in enumerate(bar):
            if entry.is_picture and entry.key in known:
                image, row = None, _why_known(source, entry, known[entry.key])
            else:
                image, row = read_to_size(source, entry, size, to_fit, **options)
            if row.get("reason") == "other-size":
                shape = f"{size[0]} × {size[1]}"
                row["detail"] = f"expected {shape}; give a fit to resize it"
            writer.ledger.append(row)
            if image is None:
                reasons[row["reason"]] += 1
                continue
            known[entry.key] = row["sha256"]
            copies = rotated_copies(entry.key, original) if rotated else ()
            rows += [i] * add_picture(
                writer, image, entry.key, labels[i], row, n_before + i, copies
            )
        for source in opened:
            add_unlisted(writer, source.unlisted)
        if not rows:
            why = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
            raise ValueError(
                f"None of the {len(entries)} files is a new picture"
                + (f" ({why})" if why else "")
                + f"; {old.path} is unchanged."
            )
        before, unmatched = _metadata_of(old), old.unmatched
        if alone:
            before, unmatched = pd.DataFrame(), []
        new = pd.DataFrame(index=range(len(rows)))
        if table is not None:
            new = table.frame(rows).reset_index(drop=True)
            unmatched = [*unmatched, *table.unmatched]
        frame = pd.concat([before, new], ignore_index=True)
        more = None
        if len(frame.columns) or unmatched:
            more = partial(write_metadata, frame=frame, unmatched=unmatched)
        names = [Path(source).name for source in sources]
        about = {
            name: old.attributes[name]
            for name in ("size_because", "labels_from")
            if name in old.attributes
        }
        source = ", ".join(filter(None, [old.attributes.get("source", ""), *names]))
        writer.finish(
            more,
            source=source[:1000],
            fit=to_fit or old.fit,
            sized=to_fit is not None,
            **about,
        )


def write_added_shard(folder, opened, sources, **request):
    """Add pictures to a folder as shards of their own, and name them in the manifest.

    Parameters
    ----------
    folder : Path
    opened : callable
        Opens the collection.
    sources, **request
        As in `Collection.add`.
    """
    with held_folder(folder), opened(folder) as old:
        if old.missing:
            raise ValueError(
                f"{len(old.missing):,} shards of {folder} are missing; run the command "
                "that made it again before adding to it."
            )
        manifest = old.files.manifest
        before = {shard.name: shard for shard in manifest.shards}
        number = 1 + max(int(name[6:-3]) for name in before)
        added = folder / _ADDED
        try:
            with atomic_path(added) as temporary:
                write_added(old, temporary, sources, alone=True, **request)
            with opened(added) as new:
                new_shards = list(_write_shards(folder, new, number, _rows_of(old)))
        finally:
            added.unlink(missing_ok=True)
        for entry in new_shards:
            members = entry.members
            members["start"] += len(old)
            members["stop"] += len(old)
        manifest.shards += new_shards
        manifest.write(folder)
        remove_kept(folder, before, manifest.shards)


def _rows_of(old):
    """Number of pictures that a shard of a folder has."""
    parameters = old.files.manifest.made.get("parameters")
    rows = parameters.get("rows") if isinstance(parameters, dict) else None
    known = type(rows) is int and rows > 0
    return rows if known else rows_per_shard(old.image_shape)


def _write_shards(folder, new, number, rows):
    """Write a collection as shards numbered from a number: yield their entries."""
    made = {"how": "add", "geoimages": version("geoimages")}
    for shard, write in planned_shards(new, made, rows, number):
        yield replace(write(folder / shard.name), members=shard.members)


def check_sources(path, sources):
    """Raise an error unless there is something to add, and none is the collection."""
    if not sources:
        raise ValueError("Nothing to add; give folders, zips or picture files.")
    for source in sources:
        refuse_to_overwrite(path, source=source)
