"""Large photographs of a collection of tiles, and the places found on them."""

import numpy as np

from ..collection.text import printable
from ..pictures.resizing import resize_image
from ..similarity.locating import locate, mosaics_of, stored_keypoints
from .pictures import encode

_BAND = 512  # rows read at once


def photos_of(rocks, table):
    """The photographs of a collection of tiles; none of another collection: list."""
    if "photo" not in table:  # so that the table is not read again
        return []
    try:
        return mosaics_of(rocks)
    except ValueError:
        return []


def describe(photos):
    """What the page shows of photographs: list of dict."""
    return [
        {"name": printable(str(p.photo)), "width": p.width, "height": p.height}
        for p in photos
    ]


def region(photo, box, size):
    """A part of a photograph, at most `size` pixels a side: (bytes, media type).

    `box` is left, top, right and bottom in pixels of the photograph.
    """
    if photo.rows is not None:
        left, top, right, bottom = box
        return encode(photo.part(left, top, right - left, bottom - top, size)[0], size)
    height, width = photo.shape
    left, top, right, bottom = (round(side / photo.factor) for side in box)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    right, bottom = min(max(right, left + 1), width), min(max(bottom, top + 1), height)
    shrink = max(1, -(-max(right - left, bottom - top) // size))
    rows = max(shrink, _BAND // shrink * shrink)
    parts = []
    for start in range(top, bottom, rows):
        pixels, known = photo.read(start, min(start + rows, bottom), left, right)
        pixels[~known] = 255
        smaller = max(1, len(pixels) // shrink), max(1, (right - left) // shrink)
        parts.append(resize_image(pixels, smaller, "stretch"))
    return encode(np.concatenate(parts), size)


def keypoints_of(rocks, photos):
    """Compute the keypoints of all photographs, which are kept beside the collection."""
    stored_keypoints(rocks, photos)
    return True


def places(model, rocks, photos, picture, left_out=None):
    """Where a picture occurs in the photographs, the best first: list of dict."""
    table = locate(model, rocks, picture, 5, left_out=left_out)
    numbers = {photo.photo: i for i, photo in enumerate(photos)}
    columns = ["x", "y", "width", "height", "orientation", "similarity"]
    columns += ["depth_from", "depth_to"]
    return [
        {
            "photo": numbers[row["photo"]],
            "name": printable(str(row["photo"])),
            "found": bool(row["found"]),
            "mirrored": bool(row["mirrored"]),
            **{name: None if row[name] != row[name] else row[name] for name in columns},
        }
        for row in table.to_dict("records")
    ]
