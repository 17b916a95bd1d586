"""Collections of tiles: square windows of large photographs."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from ..files import QuietFile, atomic_path, locked, progress
from ..pictures.reading import ImageReadError
from .ground import rock_mask
from .lineage import tile_key
from .photographs import open_photograph
from .shards import check_is_file
from .sources import _files_below, is_picture_name, picture_key
from .tables import Metadata, write_metadata
from .writer import Writer
from .writing import refuse_to_overwrite

ROCK_SHARE = 0.5  # of a tile, that keeps it
OVERVIEW = 24  # pixels of an overview for the side of the smallest tile
_BAND = 1 << 20  # pixels read at once for an overview
_LONGEST = 4096  # pixels of a tile's side
_LARGEST_TILE = 224  # pixels, of a tile whose size is a length
_LENGTH = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(px|mm|cm|m)?\s*", re.IGNORECASE)
_MILLIMETERS = {"mm": 1.0, "cm": 10.0, "m": 1000.0}


class Window(NamedTuple):
    """A square window of a photograph, in its pixels."""

    top: int
    left: int
    side: int
    scale: float


def parse_length(size):
    """Return (number, millimeters per unit or None for pixels) of 96 or "5cm".

    Raises
    ------
    ValueError
        If it is neither.
    """
    match = _LENGTH.fullmatch(str(size))
    if match is None or not float(match[1]) > 0:
        raise ValueError(
            f"size={size!r} is neither a number of pixels nor a length such as 5cm."
        )
    unit = (match[2] or "px").lower()
    return float(match[1]), _MILLIMETERS.get(unit)


def scale_of_bar(length, pixels):
    """Return the millimeters per pixel that a scale bar tells: "10cm", 412 -> 0.2427.

    Raises
    ------
    ValueError
        If the length has no unit, or the pixels are no number above 0.
    """
    number, unit = parse_length(length)
    count, other = parse_length(pixels)
    if unit is None or other is not None:
        raise ValueError(
            f"A scale bar is a length and its pixels, such as 10cm 412; got {length} "
            f"{pixels}."
        )
    return number * unit / count


def windows_of(height, width, side, stride, scales):
    """Windows that cover a photograph, from top to bottom: list of `Window`.

    The last of each row and column ends at the edge of the photograph. A scale that is
    larger than the photograph is left out.
    """
    windows = []
    for scale in scales:
        large = round(side * scale)
        if large > min(height, width):
            continue
        step = max(1, round(large * stride))
        tops = _starts(height, large, step)
        lefts = _starts(width, large, step)
        windows += [Window(top, left, large, scale) for top in tops for left in lefts]
    return sorted(windows, key=lambda w: (w.top, w.scale, w.left))


def _starts(length, side, step):
    """Starts of windows along a side; the last ends where it ends."""
    starts = list(range(0, length - side + 1, step))
    return starts if starts[-1] == length - side else [*starts, length - side]


def read_windows(photograph, windows, side):
    """Read windows in bands of rows: yields a (side, side, 3) uint8 for each.

    Windows of other sizes are cut from the photograph as if it were resized as a whole,
    so that neighbors show the same pixels.
    """
    # Rows that bicubic interpolation reaches beyond a window, the same for all scales:
    # rows are read with ascending tops.
    reach = int(max((2 * window.side / side for window in windows), default=0)) + 2
    for top, left, large, _ in windows:
        first, low = max(0, top - reach), max(0, left - reach)
        last = min(photograph.height, top + large + reach)
        rows = photograph.rows(first, last)
        if large == side:
            yield rows[top - first :][:side, left : left + side]
            continue
        part = np.ascontiguousarray(rows[:, low : left + large + reach])
        box = left - low, top - first, left - low + large, top - first + large
        image = Image.fromarray(part).resize(
            (side, side), Image.Resampling.BICUBIC, box
        )
        yield np.asarray(image)


def overview(photograph, factor):
    """Average a photograph down by a whole factor: (h // factor, w // factor, 3)."""
    rows = max(factor, _BAND // photograph.width // factor * factor)
    parts = []
    for top in range(0, photograph.height // factor * factor, rows):
        band = photograph.rows(top, min(top + rows, photograph.height))
        band = band[: len(band) // factor * factor]
        parts.append(np.asarray(Image.fromarray(band).reduce(factor)))
    width = photograph.width // factor
    return np.concatenate([part[:, :width] for part in parts])


def rock_shares(mask, factor, windows):
    """Share of each window that a mask of an overview calls rock: (n,)."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    np.cumsum(mask, axis=0, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    boxes = np.array(
        [(w.top, w.left, w.top + w.side, w.left + w.side) for w in windows]
    )
    edges = np.rint(boxes / factor).astype(int)
    top, left = (np.minimum(edges[:, i], mask.shape[i] - 1) for i in (0, 1))
    bottom = np.clip(edges[:, 2], top + 1, mask.shape[0])
    right = np.clip(edges[:, 3], left + 1, mask.shape[1])
    inside = (
        sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    )
    return inside / ((bottom - top) * (right - left))


def list_photographs(photos):
    """List files and the pictures of folders: list of (path, key, label).

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If there is no picture, or two have the same name.
    """
    if isinstance(photos, str | Path):
        photos = [photos]
    found, unlisted = [], []
    for photo in map(Path, photos):
        if photo.is_dir():
            names = sorted(filter(is_picture_name, _files_below(photo, unlisted)))
            found += [(photo / name, *picture_key(name)) for name in names]
        elif photo.exists():
            found.append((photo, photo.stem, ""))
        else:
            raise FileNotFoundError(f"No photograph at {photo}; give a file or folder.")
    for name, reason, why in unlisted:
        if reason == "unreadable":
            raise ValueError(f"The folder {name or '.'} cannot be read: {why}.")
    if not found:
        raise ValueError("There is no photograph among what was given; give files.")
    taken = {}
    for path, key, _ in found:
        if key in taken:
            raise ValueError(
                f"{taken[key]} and {path} would share the key {key!r}; rename one."
            )
        taken[key] = path
    return found


class _Photo(NamedTuple):
    """What the table of `photos` needs to match rows of the metadata."""

    path: str
    key: str
    label: str
    is_picture: bool = True


def _given_scale(table, row, mm_per_px):
    """Millimeters per pixel of a photograph: of its row, else of all, or None."""
    if table is not None and row is not None and "mm_per_px" in table.columns:
        value = pd.to_numeric(table["mm_per_px"].iloc[row], errors="coerce")
        if value > 0:
            return float(value)
    return mm_per_px


def _side_of(size, unit, scale, name):
    """Side in pixels of a photograph that a size stands for."""
    if unit is None:
        return size
    if scale is None:
        raise ValueError(
            f"The scale of {name} is not known, so a size cannot be a length; give "
            "mm_per_px, in the metadata or for all photographs."
        )
    return size * unit / scale


def write_tiles(
    path,
    photos,
    *,
    size,
    stride,
    scales,
    keep_all,
    metadata,
    label,
    mm_per_px,
    max_pixels,
    open_photo=open_photograph,
):
    """Write tiles of photographs; `Collection.from_tiles` has the parameters.

    `mm_per_px` may be a dict with the scale of each photograph, or None.
    What `open_photo` returns may have ``windows(side, stride, scales)``, instead of those
    of the whole photograph, and ``places(windows)``, more columns and others.
    """
    check_is_file(path)
    refuse_to_overwrite(path, metadata=metadata)
    number, unit = parse_length(size)
    scales = sorted({float(scale) for scale in np.atleast_1d(scales)})
    if not 0 < stride <= 1:
        raise ValueError(
            f"stride={stride} must be a share of the tile's side, over 0 and up to 1."
        )
    if not scales or not all(1 / 16 <= scale <= 64 for scale in scales):
        raise ValueError(f"scales={scales} must be 1/16 to 64, one or more.")
    found = list_photographs(photos)
    if not isinstance(mm_per_px, dict):
        if mm_per_px is not None and not 0 < mm_per_px < np.inf:
            raise ValueError(f"mm_per_px={mm_per_px} must be a positive number.")
        mm_per_px = dict.fromkeys([photo for photo, _, _ in found], mm_per_px)
    for photo, _, _ in found:
        refuse_to_overwrite(path, photograph=photo)
    table, rows, labels = None, {}, [label_ for _, _, label_ in found]
    if metadata is not None:
        metadata = Metadata(metadata, label)
        metadata.match([_Photo(str(p), k, la) for p, k, la in found])
        labels, _ = metadata.replace_labels(labels)
        table, rows = metadata.table, metadata.row_of
    sides = [
        _side_of(
            number, unit, _given_scale(table, rows.get(i), mm_per_px[photo]), photo.name
        )
        for i, (photo, _, _) in enumerate(found)
    ]
    side = (
        round(number) if unit is None else min(round(np.median(sides)), _LARGEST_TILE)
    )
    if not 8 <= side <= _LONGEST:
        raise ValueError(f"Tiles would be {side} px; a tile has 8 to {_LONGEST:,} px.")
    columns = {name: [] for name in _COLUMNS}
    owners = []
    with (
        locked(path),
        atomic_path(path) as temporary,
        QuietFile(temporary) as disk,
    ):
        writer = Writer(disk, (side, side, 3))
        bar = progress(found, desc="cutting tiles", unit="photo")
        for i, (photo, key, _) in enumerate(bar):
            writer.ledger.append(
                _cut(
                    writer,
                    columns,
                    photo,
                    key,
                    labels[i],
                    (sides[i], side, stride, scales),
                    keep_all,
                    lambda path: open_photo(path, max_pixels),
                    i,
                )
            )
            owners += [i] * (len(columns["photo"]) - len(owners))
        if not owners:
            reasons = "; ".join(
                f"{Path(row['path']).name}: {row['reason']} {row['detail']}".rstrip()
                for row in writer.ledger.rows[-3:]
                if row["status"] == "refused"
            )
            raise ValueError(
                f"None of the {len(found)} photographs gave a tile"
                + (f" ({reasons})" if reasons else "")
                + "; give larger photographs, smaller tiles or --keep-all."
            )
        frame = _frame(columns, metadata, owners)
        unmatched = [] if metadata is None else metadata.unmatched
        writer.finish(
            lambda file: write_metadata(file, frame, unmatched),
            source="tiles",
            fit="crop",
            sized=True,
            tile_side=float(number if unit is None else number * unit),
            tile_unit="px" if unit is None else "mm",
            stride=float(stride),
            scales=",".join(f"{scale:g}" for scale in scales),
        )


def _frame(columns, metadata, owners):
    """What is known of tiles: of their photographs, and their own: DataFrame."""
    own = pd.DataFrame(columns)
    if metadata is None:
        return own
    known = metadata.frame(owners, taken=own.columns).reset_index(drop=True)
    return pd.concat([known, own], axis=1)


_COLUMNS = (
    *("photo", "x", "y", "width", "height", "scale"),
    *("photo_width", "photo_height", "rock"),
)


_WHY = ("reason", "detail")


def _cut(writer, columns, photo, key, label, sizes, keep_all, open_photo, number):
    """Cut one photograph and return its row of the ledger."""
    given, side, stride, scales = sizes
    row = {"path": str(photo), "status": "kept"}
    try:
        photograph = open_photo(photo)
    except ImageReadError as error:
        why = {"reason": error.reason, "detail": error.detail, "status": "refused"}
        return row | error.info | why
    try:
        row |= photograph.info
        height, width = photograph.height, photograph.width
        if hasattr(photograph, "windows"):
            windows = photograph.windows(given, stride, scales)
        else:
            windows = windows_of(height, width, given, stride, scales)
        if not windows:
            why = getattr(
                photograph, "why", ("too-small", f"{width} × {height} pixels")
            )
            return row | {"status": "refused"} | dict(zip(_WHY, why, strict=True))
        shares = np.ones(len(windows))
        if not (keep_all and hasattr(photograph, "pixels")):
            # What is read in parts is read twice: a damaged part refuses all of it.
            factor = max(1, int(windows[0].side // OVERVIEW))
            seen = overview(photograph, factor)
            if not keep_all:
                shares = rock_shares(
                    rock_mask(seen, OVERVIEW, getattr(photograph, "tray", None)),
                    factor,
                    windows,
                )
            photograph = _again(photograph, photo, open_photo)
        chosen = np.flatnonzero(shares >= ROCK_SHARE)
        kept = [windows[i] for i in chosen]
        if not kept:
            detail = f"none of {len(windows):,} tiles is rock; --keep-all keeps them"
            return row | {"status": "refused", "reason": "no-rock", "detail": detail}
        tiles = read_windows(photograph, kept, side)
        places = {
            "photo": [photo.name] * len(kept),
            "x": [window.left for window in kept],
            "y": [window.top for window in kept],
            "width": [window.side for window in kept],
            "height": [window.side for window in kept],
            "scale": [window.side / side for window in kept],
            "photo_width": [width] * len(kept),
            "photo_height": [height] * len(kept),
            "rock": shares[chosen].tolist(),
        }
        if hasattr(photograph, "places"):
            places |= photograph.places(kept)
        own = places.pop("label", [label] * len(kept))
        for window, tile, label_ in zip(kept, tiles, own, strict=True):
            writer.add(
                tile,
                keys=tile_key(key, window.left, window.top, window.side),
                labels=label_,
                source=str(photo),
                sha256=row["sha256"],
                ledger_row=number,
                turn=0,
            )
        for name, values in places.items():
            columns.setdefault(name, []).extend(values)
    except ImageReadError as error:  # a part of it is damaged
        why = {"reason": error.reason, "detail": error.detail, "status": "refused"}
        return row | why
    finally:
        photograph.close()
    return row


def _again(photograph, photo, open_photo):
    """The photograph from its first row on, once more."""
    if hasattr(photograph, "pixels"):
        return photograph
    photograph.close()
    return open_photo(photo)
