"""Rows of a tray in a file beside its photograph: written, checked, read again."""

import json
from pathlib import Path

import numpy as np

from ..collection.photographs import open_photograph
from ..files import atomic_path, read_regular
from ..pictures.reading import MAX_PIXELS
from .finding import find_rows

VERSION = 1
_MOST_ROWS = 100
_LARGEST_FILE = 1 << 20  # bytes
_SHORTEST = 4.0  # pixels of a side
_BEYOND = 0.05  # of the photograph's side, by which a corner may lie outside


class NoRowsError(ValueError):
    """No rows of core were found on a photograph."""


def path_of_rows(photo):
    """The file with the rows of a photograph: ``TRAY.rows.json`` of ``TRAY.jpg``."""
    photo = Path(photo)
    return photo.with_name(f"{photo.stem}.rows.json")


def write_rows(photo, rows, info):
    """Write the rows of a photograph beside it, atomically, and return the path."""
    path = path_of_rows(photo)
    corners = [
        [[round(float(x), 1), round(float(y), 1)] for x, y in row] for row in rows
    ]
    lines = ",\n".join(f"    {json.dumps(row)}" for row in corners)
    about = {
        "version": VERSION,
        "photo": Path(photo).name,
        "sha256": info["sha256"],
        "width": info["width"],
        "height": info["height"],
    }
    head = json.dumps(about, indent=2, ensure_ascii=False)[:-2]
    with atomic_path(path) as temporary:
        text = f'{head},\n  "rows": [\n{lines}\n  ]\n}}\n'
        temporary.write_text(text, encoding="utf-8")
    return path


def _refusal(path, why):
    return ValueError(
        f"{path} {why}; correct it, or delete it and find the rows again with "
        "'geoimages rows'."
    )


def check_rows(rows, width, height, path="rows"):
    """Check rows given by hand: (n, 4, 2) float.

    Raises
    ------
    ValueError
        If they are not quadrilaterals on a photograph of that size, with corners that
        run clockwise.
    """
    if not isinstance(rows, list | tuple | np.ndarray) or not len(rows):
        raise _refusal(path, "holds no list of rows")
    if len(rows) > _MOST_ROWS:
        raise _refusal(path, f"holds {len(rows):,} rows, at most {_MOST_ROWS}")
    checked = []
    for number, row in enumerate(rows, 1):
        try:
            corners = np.array(row)
            numeric = corners.dtype.kind in "if"
        except (ValueError, OverflowError):
            corners, numeric = np.empty(0), False
        if corners.shape != (4, 2) or not numeric:
            raise _refusal(path, f"has a row {number} that is not four corners [x, y]")
        corners = corners.astype(float)
        if not np.isfinite(corners).all():
            raise _refusal(path, f"has a row {number} with a corner that is no number")
        reach = np.array([width, height])
        if (corners < -_BEYOND * reach).any() or (
            corners > (1 + _BEYOND) * reach
        ).any():
            raise _refusal(
                path,
                f"has a row {number} that does not lie on the photograph of {width} × "
                f"{height} pixels",
            )
        sides = np.roll(corners, -1, axis=0) - corners
        following = np.roll(sides, -1, axis=0)
        turns = sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0]
        if np.linalg.norm(sides, axis=1).min() < _SHORTEST or not (
            (turns > 0).all() or (turns < 0).all()
        ):
            raise _refusal(
                path, f"has a row {number} that is no quadrilateral of four corners"
            )
        if (turns < 0).all():
            raise _refusal(
                path,
                f"has a row {number} whose corners run counterclockwise, which would "
                "mirror the core",
            )
        checked.append(corners)
    return np.array(checked)


def read_rows(photo, info):
    """Read and check the rows beside a photograph: (n, 4, 2), or None without a file.

    Raises
    ------
    ValueError
        If the file cannot be used, or the photograph has changed since.
    """
    path = path_of_rows(photo)
    try:
        text = read_regular(path, _LARGEST_FILE).decode("utf-8-sig")
        about = json.loads(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise _refusal(path, f"cannot be read ({why})") from None
    if not isinstance(about, dict):
        raise _refusal(path, 'must hold an object with "rows"')
    version = about.get("version", VERSION)
    if version != VERSION:
        raise _refusal(
            path, f"is of version {version!r}, this geoimages reads {VERSION}"
        )
    known = about.get("sha256")
    if known is not None and known != info["sha256"]:
        raise ValueError(
            f"{Path(photo).name} has changed since its rows were written to {path}; "
            "delete that file and find the rows again with 'geoimages rows'."
        )
    return check_rows(about.get("rows"), info["width"], info["height"], path)


def tray_rows(photo, *, again=False, save=True, max_pixels=MAX_PIXELS):
    """Rows of core on the photograph of a tray: as its file has them, or found.

    Parameters
    ----------
    photo : str or path-like
        The photograph.
    again : bool, default=False
        Whether to find them even if there is a file.
    save : bool, default=True
        Whether to write what was found beside the photograph, as ``TRAY.rows.json``,
        where it can be corrected.
    max_pixels : int, default=178_956_970
        Larger photographs are refused unread.

    Returns
    -------
    rows : ndarray of shape (n, 4, 2), float
        Corners (x, y) in pixels of the upright photograph, in reading order; of each
        row, the first two lead down the hole along one side, the others back along the
        other.

    Raises
    ------
    ImageReadError
        If the photograph cannot be read.
    ValueError
        If no rows are found, or the file cannot be used.
    """
    photograph = open_photograph(photo, max_pixels)
    try:
        image, info = photograph.rows(0, photograph.height), photograph.info
    finally:
        photograph.close()
    about = dict(info) | {"width": image.shape[1], "height": image.shape[0]}
    return rows_of(photo, image, about, again, save)[0]


def rows_of(photo, image, info, again=False, save=True):
    """Rows of a photograph that was read, and whether they were found now."""
    rows = None if again else read_rows(photo, info)
    if rows is not None:
        return rows, False
    rows = find_rows(image)
    if not len(rows):
        raise NoRowsError(
            f"No rows of core were found on {Path(photo).name}; give their corners by "
            f"hand in {path_of_rows(photo).name}."
        )
    if save:
        write_rows(photo, rows, info)
    return rows, True
