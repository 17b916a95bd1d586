"""Writing a collection: from a folder or zip of pictures, or from arrays."""

import contextlib
import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import PIL

from ..files import QuietFile, atomic_path, locked, progress, read_regular
from ..pictures.decoding import scaling
from ..pictures.reading import ImageReadError, read_image
from ..pictures.resizing import FITS, check_size, resize_image
from .journal import (
    Journal,
    Recovered,
    absolute,
    is_repeatable,
    journals_of,
    remove_journals,
    stamp_of,
)
from .lineage import ROTATIONS, lineage_of, split_tile
from .sampling import sample_groups
from .shards import check_is_file
from .sources import (
    UnreadableError,
    is_address,
    is_archive_name,
    labels_in_names,
    open_source,
)
from .tables import LONGEST_NAME, Metadata, write_metadata
from .writer import Writer

_LOOKED_AT = 100  # files, to choose a size
_MOST_ALIKE = 0.5  # a size of more than this share makes the others exceptions
_LARGEST_SIDE = 224  # pixels; what features and pretrained networks work at
SKIPPED = {"status": "skipped", "reason": "not-sampled"}
_REFUSED = {"status": "refused"}
_NO_PICTURE = _REFUSED | {"reason": "not-a-picture", "detail": "by its name"}
_ARCHIVE = _REFUSED | {
    "reason": "nested-archive",
    "detail": "an archive inside the source is not opened; unpack it first",
}


def _why_none(reasons, row):
    """Say why pictures could not be read: by reason, and the last one in full."""
    if not reasons:
        return ""
    counts = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
    detail = row.get("detail")
    return f" ({counts}{f'; the last: {detail}' if detail else ''})"


def _choose_size(source, labels, chosen, **options):
    """Choose one size by up to 100 files spread over a source.

    Returns
    -------
    size : tuple of int
        (height, width).
    because : str
        Why pictures of other sizes are brought to it; empty where they are not.
    """
    entries = source.entries
    pictures = [i for i, entry in enumerate(entries) if entry.is_picture]
    step = max(1, len(pictures) // _LOOKED_AT)
    shapes, reasons, row = {}, Counter(), {}
    for some in (pictures[::step], pictures if step > 1 else []):
        for i in some:
            image, row = _read_entry(source, entries[i], **options)
            reasons[row.get("reason", "")] += 1
            if image is not None:
                shapes[i] = image.shape[:2]
            if shapes and some is pictures:
                break
        if shapes:
            break
    if not shapes:
        raise ValueError(
            f"None of the {len(entries)} files is a picture that can be read"
            + _why_none(reasons, row)
            + "; give a folder or zip that holds pictures."
        )
    size, n_alike = Counter(shapes.values()).most_common(1)[0]
    why = f"{len(set(shapes.values()))} sizes among {len(shapes)} looked at"
    if n_alike > _MOST_ALIKE * len(shapes):
        classes = {}
        for i in pictures:
            if labels[i] and chosen[i]:
                classes.setdefault(labels[i], []).append(i)
        lost = _lost_class(source, classes, size, shapes, **options)
        if lost is None:
            return size, ""
        why = f"no picture looked at of {lost} is {size[0]} × {size[1]}, the commonest"
    side = int(min(np.median([min(shape) for shape in shapes.values()]), _LARGEST_SIDE))
    because = (
        f": {why}, so a square of their median shorter side, {_LARGEST_SIDE} px at most "
        "(--size H W takes another)"
    )
    return (side, side), because


def _lost_class(source, classes, size, shapes, **options):
    """Find a class without pictures of a size, by up to 100 of each: it, or None.

    `shapes` holds what was looked at before, by position, and takes in the rest.
    """
    for label, positions in classes.items():
        if any(shapes.get(i) == size for i in positions):
            continue
        for i in positions[:: max(1, len(positions) // _LOOKED_AT)]:
            if i in shapes:
                continue
            image, _ = _read_entry(source, source.entries[i], **options)
            if image is not None:
                shapes[i] = image.shape[:2]
                if shapes[i] == size:
                    break
        else:
            if any(i in shapes for i in positions):
                return label
    return None


def _read_entry(source, entry, **options):
    """Read a file: (image or None, its row of the ledger)."""
    if not entry.is_picture:
        return None, _ARCHIVE if is_archive_name(entry.path) else _NO_PICTURE
    if len(entry.key) > LONGEST_NAME:
        detail = f"its name has {len(entry.key):,} characters, at most {LONGEST_NAME:,}"
        return None, _REFUSED | {"reason": "unreadable", "detail": detail}
    try:
        data = source.read(entry)
    except UnreadableError as error:
        return None, _REFUSED | {"reason": error.reason, "detail": str(error)}
    except (OSError, MemoryError) as error:
        detail = " ".join(f"{type(error).__name__}: {error}".split())
        return None, _REFUSED | {"reason": "unreadable", "detail": detail}
    try:
        image, info = read_image(data, return_info=True, name=entry.path, **options)
    except ImageReadError as error:
        why = {"reason": error.reason, "detail": error.detail}
        return None, _REFUSED | error.info | why
    scaled = scaling(info["mode"], info["bit_depth"])
    return image, info | {"status": "kept", "scaling": scaled}


def _bring_to_size(image, row, size, fit):
    """Resize a picture that was read, or refuse it: (image or None, its row)."""
    if image.shape[:2] == size and fit != "pad":
        return image, row
    if fit is None:
        detail = (
            f"expected {size[0]} × {size[1]}; give a size (add: a fit) to resize it"
        )
        return None, row | _REFUSED | {"reason": "other-size", "detail": detail}
    row["fit"] = fit if image.shape[:2] != size else ""
    image = resize_image(image, size, fit)
    if image.shape[2] == 4 and not (image[..., 3] > 127).any():
        why = {"reason": "empty-mask", "detail": "once resized"}
        return None, row | _REFUSED | why
    return image, row


def read_to_size(source, entry, size, fit, **options):
    """Read a file and resize its picture: (image or None, its row of the ledger)."""
    image, row = _read_entry(source, entry, **options)
    if image is not None:
        image, row = _bring_to_size(image, row, size, fit)
    return image, row | {"path": entry.path}


def _read_or_find(source, entry, recovered, size, fit, **options):
    """Read a file, or take what an earlier run has read: image, row and its stamp."""
    stamp = stamp_of(source, entry)
    found = None
    if recovered is not None and stamp is not None:
        found = recovered.find(entry.path, stamp)
    return *(found or read_to_size(source, entry, size, fit, **options)), stamp


def refuse_to_overwrite(path, **inputs):
    """Raise a ValueError where the file to write is one of those to read."""
    for name, given in inputs.items():
        if not isinstance(given, str | os.PathLike) or not Path(path).exists():
            continue
        if Path(given).exists() and Path(path).samefile(given):
            raise ValueError(
                f"{path} is the {name} itself and would be lost; write to another file."
            )


def _choose(entries, labels, sample, random_state):
    """Sample the files: (n,) bool, and {key: key of its original} of all pictures."""
    chosen = np.ones(len(entries), bool)  # what is no picture is refused when read
    pictures = [i for i, entry in enumerate(entries) if entry.is_picture]
    keys = [entries[i].key for i in pictures]
    lineage = lineage_of(keys)
    chosen[pictures] = sample_groups(
        [labels[i] for i in pictures], lineage, sample, random_state
    )
    return chosen, dict(zip(keys, lineage, strict=True))


def rotated_copies(key, original):
    """Yield the (turn, key) of copies that a picture lacks: none of a copy itself."""
    for turn in ROTATIONS if original[key] == key else ():
        if f"{key}.{turn}" not in original:
            yield turn, f"{key}.{turn}"


def _check_names(names):
    """Raise a ValueError where the name of a class or picture is far too long."""
    longest = max(names, key=len, default="")
    if len(longest) > LONGEST_NAME:
        raise ValueError(
            f"A name of {len(longest):,} characters ({longest[:20]!r}…) is too long; "
            f"classes and keys have at most {LONGEST_NAME:,}."
        )


def find_labels(entries, table, label_from):
    """The class of each file, and a line that says where it is from if not folders."""
    labels, said = [entry.label[:LONGEST_NAME] for entry in entries], ""
    flat = [e for e in entries if e.is_picture and e.label and "/" not in e.path]
    if flat:
        said = f"as the files are named: {flat[0].path} is {flat[0].label}"
    if label_from is not None:
        labels = labels_in_names(entries, label_from)
        said = f"as the files are named, by {label_from}"
        n_pictures = sum(entry.is_picture for entry in entries)
        n_named = sum(map(bool, labels))
        if n_named < n_pictures:
            said += f"; {n_pictures - n_named:,} of {n_pictures:,} names do not fit"
    if table is not None:
        table.match(entries)
        labels, given = table.replace_labels(labels)
        if table.holds_labels:
            others = [
                label
                for label, entry, own in zip(labels, entries, given, strict=True)
                if entry.is_picture and not own
            ]
            by = "folder" if label_from is None and not flat else "file"
            _check_names(labels)
            said = f"by the column {table.label_column!r} of the metadata"
            if others:
                n_none = others.count("")
                said += (
                    f"; of pictures without a value there, {len(others) - n_none:,} "
                )
                said += f"keep the name of their {by}"
                said += f", {n_none:,} have no class" if n_none else ""
        elif label_from is None:
            said = (
                f"{said or 'by their folders'}: the metadata hold no column 'label' "
                "(--label names another)"
            )
    return labels, said


def add_picture(writer, image, key, label, row, ledger_row, copies=()):
    """Add a picture and rotated copies of it, (degrees, key) each: how many."""
    copies = [(0, key), *copies]
    for turn, name in copies:
        writer.add(
            np.rot90(image, turn // 90) if turn else image,
            keys=name,
            labels=label,
            source=row["path"],
            sha256=row["sha256"],
            ledger_row=ledger_row,
            turn=turn,
        )
    return len(copies)


def add_unlisted(writer, unlisted):
    """Add a row of the ledger for each file that a source does not list."""
    for path, reason, detail in unlisted:
        why = {"reason": reason, "detail": detail}
        writer.ledger.append({"path": path} | _REFUSED | why)


def _hash_of(metadata):
    """What tells one metadata table from another."""
    if metadata is None or isinstance(metadata, pd.DataFrame):
        return None if metadata is None else joblib.hash(metadata)
    try:
        return hashlib.sha256(read_regular(metadata)).hexdigest()
    except OSError:
        return None  # `Metadata` says what is wrong


def _request(source, metadata, sample, random_state, **options):
    """What a run is asked for, as a dict: a run asked for the same writes the same."""
    return {
        "source": source if is_address(source) else absolute(source),
        "metadata": _hash_of(metadata),
        "sample": sample,
        "random_state": None if sample == 1 else random_state,
        **options,
        "geoimages": version("geoimages"),
        "pillow": PIL.__version__,
        "simplejpeg": version("simplejpeg"),
    }


def check_request(path, source, request):
    """Refuse options that are not known or contradict each other."""
    metadata, label = request["metadata"], request["label"]
    refuse_to_overwrite(path, source=source, metadata=metadata)
    if request["fit"] not in FITS:
        raise ValueError(
            f"fit={request['fit']!r} is not known; expected one of {FITS}."
        )
    if label is not None and metadata is None:
        raise ValueError(
            f"label={label!r} names a column of the metadata; give the table "
            "(--metadata CSV)."
        )
    if request["size"] is not None:
        request["size"] = check_size(request["size"])


def write_source(path, source, *, resume, **request):
    """Write a source to one file; `Collection.create` has the parameters."""
    check_request(path, source, request)
    repeatable = is_repeatable(request["sample"], request["random_state"])
    if resume and not repeatable:
        raise ValueError(
            f"random_state={request['random_state']!r} takes other files each time; a "
            "run that can be resumed needs an int."
        )
    with open_source(source) as opened, locked(path) as held:
        left = journals_of(path) if held else []
        with atomic_path(path) as temporary:
            asked = _request(source, **request) if repeatable else None
            _write_opened(path, temporary, opened, source, resume, asked, **request)
        remove_journals(left)


@dataclass
class Job:
    """What a run is to make of the files of a source."""

    labels: list
    chosen: np.ndarray
    original: dict
    rotate: bool
    table: Metadata | None
    size: tuple
    fit: str | None
    options: dict
    image_shape: tuple
    attributes: dict

    def copies(self, key):
        """The rotated copies to add to a picture: list of (degrees, key)."""
        return list(rotated_copies(key, self.original)) if self.rotate else []


def make_job(
    opened,
    source,
    *,
    size,
    fit,
    alpha,
    rotate,
    sample,
    random_state,
    metadata,
    label,
    label_from,
    max_pixels,
):
    """Decide what to make of the files of an open source; at most some are read."""
    alpha = alpha or fit == "pad"
    options = {"alpha": alpha, "max_pixels": max_pixels}
    table = None if metadata is None else Metadata(metadata, label)
    entries = opened.entries
    labels, labels_from = find_labels(entries, table, label_from)
    chosen, original = _choose(entries, labels, sample, random_state)
    because, given = "", size is not None
    if not given:
        size, because = _choose_size(opened, labels, chosen, **options)
    if because and alpha and fit == "crop":
        because += "; --fit pad keeps the whole of each, and masks what is added"
    if rotate and size[0] != size[1]:
        raise ValueError(
            f"Rotated copies of {size[0]} × {size[1]} pictures have another "
            "shape; give a square size."
        )
    attributes = {
        "source": Path(source).name,
        "fit": fit,
        "sized": given or bool(because),
        "size_because": because,
        "labels_from": labels_from,
    }
    return Job(
        labels,
        chosen,
        original,
        rotate,
        table,
        size,
        fit if given or because else None,
        options,
        (*size, 4 if alpha else 3),
        attributes,
    )


def _write_opened(path, temporary, opened, source, resume, request, **asked):
    """Write the pictures of an open source to an unfinished file."""
    job, entries = make_job(opened, source, **asked), opened.entries
    if request is not None:
        request |= {"image_shape": job.image_shape, "resized": job.fit}
    with contextlib.ExitStack() as stack:
        recovered = None
        if resume:
            recovered = stack.enter_context(Recovered(path, request, job.image_shape))
        writer = Writer(stack.enter_context(QuietFile(temporary)), job.image_shape)
        journal = None
        if request is not None:
            stack.callback(temporary.with_suffix(".journal").unlink, missing_ok=True)
            journal = Journal(temporary, request, writer)
        rows = []  # of the ledger, one for each picture written
        bar = progress(entries, desc="reading pictures", unit="file")
        try:
            for i, entry in enumerate(bar):
                if not job.chosen[i]:
                    writer.ledger.append({"path": entry.path} | SKIPPED)
                    continue
                image, row, stamp = _read_or_find(
                    opened, entry, recovered, job.size, job.fit, **job.options
                )
                writer.ledger.append(row)
                number = writer.n
                if image is not None:
                    copies = job.copies(entry.key)
                    rows += [i] * add_picture(
                        writer, image, entry.key, job.labels[i], row, i, copies
                    )
                if journal is not None:
                    journal.note(row, stamp, image, number)
        except KeyboardInterrupt:
            if resume:
                journal.keep()
            raise
        add_unlisted(writer, opened.unlisted)
        if not rows:
            raise ValueError(
                f"None of the {len(entries)} files of {source} is a picture "
                "that can be read; nothing was written."
            )

        def write_table(file):
            write_metadata(file, job.table.frame(rows), job.table.unmatched)

        writer.finish(None if job.table is None else write_table, **job.attributes)


def write_arrays(path, images, labels, keys):
    """Write pictures in memory; `Collection.from_arrays` has the parameters."""
    check_is_file(path)
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] not in (3, 4) or images.dtype != np.uint8:
        raise ValueError(
            "images must be uint8 of shape (n, height, width, 3 or 4), got "
            f"{images.dtype} of shape {images.shape}."
        )
    labels = [""] * len(images) if labels is None else [str(y) for y in labels]
    if keys is None:
        keys = [f"{y}.{i}".lstrip(".") for i, y in enumerate(labels)]
    keys = [str(key) for key in keys]
    _check_names(keys + labels)
    if not len(images) == len(labels) == len(keys):
        raise ValueError(
            f"{len(images)} pictures need as many labels and keys, got "
            f"{len(labels)} and {len(keys)}."
        )
    if not len(images):
        raise ValueError("images holds no pictures; a collection needs one.")
    if len(set(keys)) < len(keys):
        raise ValueError("keys must be unique, but some stand twice.")
    if images.shape[3] == 4:
        rock = (images[..., 3] > 127).any(axis=(1, 2))
        if not rock.all():
            raise ValueError(
                f"The mask of {keys[int(np.argmin(rock))]!r} is empty: no pixel "
                "has an alpha over 127; leave the picture out."
            )
    turns = [
        int(key.rsplit(".", 1)[1]) if key != original and not split_tile(key) else 0
        for key, original in zip(keys, lineage_of(keys), strict=True)
    ]
    with (
        locked(path),
        atomic_path(path) as temporary,
        QuietFile(temporary) as disk,
    ):
        writer = Writer(disk, images.shape[1:])
        for i, (image, key, label) in enumerate(zip(images, keys, labels, strict=True)):
            sha256 = hashlib.sha256(np.ascontiguousarray(image)).hexdigest()
            row = {"path": "", "status": "kept", "sha256": sha256}
            writer.ledger.append(row)
            writer.add(
                image,
                keys=key,
                labels=label,
                sha256=sha256,
                ledger_row=i,
                turn=turns[i],
            )
        writer.finish(source="arrays", fit="crop", sized=False)
