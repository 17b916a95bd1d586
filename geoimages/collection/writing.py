"""Writing a collection: from a folder or zip of pictures, or from arrays."""

import hashlib
import os
from collections import Counter
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np

from ..files import QuietFile, atomic_path, locked, progress
from ..pictures.reading import ImageReadError, read_image
from ..pictures.resizing import FITS, check_size, resize_image
from .checking import crc_of_attributes, crc_of_pictures
from .lineage import ROTATIONS, lineage_of
from .sampling import sample_groups
from .sealing import seal
from .sources import labels_in_names, open_source
from .tables import (
    LEDGER,
    LONGEST_NAME,
    PICTURES,
    TEXT,
    Columns,
    Metadata,
    write_column,
)

FORMAT = "geoimages.collection"
FORMAT_VERSION = 2  # 1 had no checksums
_WRITE_BYTES = 1 << 21
_LOOKED_AT = 100  # files, to choose a size
_MOST_ALIKE = 0.5  # a size of more than this share makes the others exceptions
_LARGEST_SIDE = 224  # pixels; what features and pretrained networks work at
_SKIPPED = {"status": "skipped", "reason": "not-sampled"}
_REFUSED = {"status": "refused"}
_HIDDEN = _REFUSED | {
    "reason": "duplicate-name",
    "detail": "a later member of the zip has the same name",
}
_NO_PICTURE = _REFUSED | {"reason": "not-a-picture", "detail": "by its name"}


class _SeemsNew:
    """A file that seems empty until it is written to, as HDF5 expects of a new one."""

    def __init__(self, disk):
        self._disk, self._is_new = disk, True

    def __getattr__(self, name):
        return getattr(self._disk, name)

    def seek(self, offset, whence=os.SEEK_SET):
        if self._is_new and whence == os.SEEK_END:
            whence = os.SEEK_SET
        return self._disk.seek(offset, whence)

    def write(self, data):
        self._is_new = False
        return self._disk.write(data)


def _create_images(disk, shape):
    """Begin an .h5 file with a dataset whose values are, or will be, written apart.

    Returns
    -------
    file : h5py.File
    start : int
        The byte at which the values begin, whatever their number.
    """
    file = h5py.File(_SeemsNew(disk), "w")
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)  # the same pictures give the same bytes
    space = h5py.h5s.create_simple(shape)
    images = h5py.h5d.create(file.id, b"images", h5py.h5t.STD_U8LE, space, layout)
    return file, images.get_offset()


class Writer:
    """A collection in the making: pictures go in one by one.

    They are written where HDF5 will look for them, in one piece, as plain bytes; at the
    end HDF5 writes what stands before and after them. So a killed run leaves pictures
    that can be found again, and HDF5, which goes on after a failed write, sees none.

    Parameters
    ----------
    disk : QuietFile
        The file.
    image_shape : tuple of int
        (height, width, channels).
    """

    def __init__(self, disk, image_shape):
        self.disk, self.image_shape = disk, tuple(image_shape)
        file, self.start = _create_images(BytesIO(), (1, *self.image_shape))
        file.close()
        disk.seek(self.start)
        self.pictures = Columns({"keys": TEXT, "labels": TEXT} | PICTURES)
        self.ledger = Columns(LEDGER)
        self.n_bytes = int(np.prod(self.image_shape))  # of a picture
        self.block = np.empty(
            (max(1, _WRITE_BYTES // self.n_bytes), *self.image_shape), np.uint8
        )
        self.filled, self.checksums, self.n = 0, [], 0

    def add(self, image, **row):
        """Append a picture and what is known of it."""
        self.block[self.filled] = image
        self.filled, self.n = self.filled + 1, self.n + 1
        self.pictures.append(row)
        if self.filled == len(self.block):
            self.flush()

    def flush(self):
        """Write the pictures held back."""
        if self.filled:
            images = self.block[: self.filled]
            self.disk.write(images.data)
            self.disk.check()
            self.checksums.append(crc_of_pictures(images))
            self.filled = 0

    def finish(self, write_more=None, **attributes):
        """Write everything else; `write_more` is called with the .h5 file."""
        self.flush()
        file, start = _create_images(self.disk, (self.n, *self.image_shape))
        with file:
            if start != self.start:
                raise RuntimeError(f"pictures at byte {self.start} instead of {start}")
            self.pictures.write(file, ("keys", "labels"))
            self.pictures.write(file.create_group("pictures"), PICTURES)
            self.ledger.write(file.create_group("ledger"), LEDGER)
            checksums = np.concatenate([np.empty(0, np.uint32), *self.checksums])
            write_column(file.create_group("checksums"), "images", checksums)
            attributes |= {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "created_by": f"geoimages {version('geoimages')}",
            }
            attributes = {name: v for name, v in attributes.items() if v != ""}
            for name, value in attributes.items():
                is_text = isinstance(value, str)
                file.attrs[name] = np.bytes_(value.encode()) if is_text else value
            file.attrs["crc32"] = crc_of_attributes(attributes)
            if write_more is not None:
                write_more(file)
        seal(self.disk, [[start, start + self.n * self.n_bytes]])


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
        return None, _NO_PICTURE
    if len(entry.key) > LONGEST_NAME:
        detail = f"its name has {len(entry.key):,} characters, at most {LONGEST_NAME:,}"
        return None, _REFUSED | {"reason": "unreadable", "detail": detail}
    try:
        data = source.read(entry)
    except Exception as error:  # zipfile raises nearly anything on damaged data
        detail = f"{type(error).__name__}: {error}"
        return None, _REFUSED | {"reason": "unreadable", "detail": detail}
    try:
        image, info = read_image(data, return_info=True, name=entry.path, **options)
    except ImageReadError as error:
        why = {"reason": error.reason, "detail": error.detail}
        return None, _REFUSED | error.info | why
    return image, info | {"status": "kept"}


def _bring_to_size(image, row, size, fit):
    """Resize a picture that was read, or refuse it: (image or None, its row)."""
    if image.shape[:2] == size and fit != "pad":
        return image, row
    if fit is None:
        detail = f"expected {size[0]} × {size[1]}; give a size to fit it"
        return None, row | _REFUSED | {"reason": "other-size", "detail": detail}
    row["fit"] = fit if image.shape[:2] != size else ""
    image = resize_image(image, size, fit)
    if image.shape[2] == 4 and not (image[..., 3] > 127).any():
        why = {"reason": "empty-mask", "detail": "once resized"}
        return None, row | _REFUSED | why
    return image, row


def _read_entries(source, entries, chosen, size, fit, **options):
    """Read files: (image or None, its row of the ledger) of each, in order."""
    for entry, is_chosen in zip(entries, chosen, strict=True):
        if is_chosen:
            image, row = _read_entry(source, entry, **options)
        else:
            image, row = None, _SKIPPED
        if image is not None:
            image, row = _bring_to_size(image, row, size, fit)
        yield image, row | {"path": entry.path}


def _refuse_to_overwrite(path, **inputs):
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


def _rotated_copies(key, original):
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


def _find_labels(entries, table, label_from):
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


def write_source(
    path,
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
    """Write the pictures of a folder or zip; `Collection.create` has the parameters."""
    _refuse_to_overwrite(path, source=source, metadata=metadata)
    if fit not in FITS:
        raise ValueError(f"fit={fit!r} is not known; expected one of {FITS}.")
    alpha = alpha or fit == "pad"
    options = {"alpha": alpha, "max_pixels": max_pixels}
    if label is not None and metadata is None:
        raise ValueError(
            f"label={label!r} names a column of the metadata; give the table "
            "(--metadata CSV)."
        )
    table = None if metadata is None else Metadata(metadata, label)
    with open_source(source) as opened, locked(path), atomic_path(path) as temporary:
        entries = opened.entries
        labels, labels_from = _find_labels(entries, table, label_from)
        chosen, original = _choose(entries, labels, sample, random_state)
        because, given = "", size is not None
        if given:
            size = check_size(size)
        else:
            size, because = _choose_size(opened, labels, chosen, **options)
        if because and alpha and fit == "crop":
            because += "; --fit pad keeps the whole of each, and masks what is added"
        if rotate and size[0] != size[1]:
            raise ValueError(
                f"Rotated copies of {size[0]} × {size[1]} pictures have another "
                "shape; give a square size."
            )
        read = _read_entries(
            opened, entries, chosen, size, fit if given or because else None, **options
        )
        bar = progress(read, desc="reading pictures", total=len(entries), unit="file")
        with QuietFile(temporary) as disk:
            writer = Writer(disk, (*size, 4 if alpha else 3))
            rows = []  # of the ledger, one for each picture written
            for i, (image, row) in enumerate(bar):
                writer.ledger.append(row)
                if image is None:
                    continue
                key = entries[i].key
                copies = _rotated_copies(key, original) if rotate else ()
                for turn, name in ((0, key), *copies):
                    writer.add(
                        np.rot90(image, turn // 90) if turn else image,
                        keys=name,
                        labels=labels[i],
                        source=row["path"],
                        sha256=row["sha256"],
                        ledger_row=i,
                        turn=turn,
                    )
                    rows.append(i)
            for hidden in opened.hidden:
                writer.ledger.append({"path": hidden} | _HIDDEN)
            if not rows:
                raise ValueError(
                    f"None of the {len(entries)} files of {source} is a picture "
                    "that can be read; nothing was written."
                )
            writer.finish(
                None if table is None else lambda file: table.write(file, rows),
                source=Path(source).name,
                fit=fit,
                sized=given or bool(because),
                size_because=because,
                labels_from=labels_from,
            )


def write_arrays(path, images, labels, keys):
    """Write pictures in memory; `Collection.from_arrays` has the parameters."""
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
        int(key.rsplit(".", 1)[1]) if key != original else 0
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
