"""Large photographs, read in bands of rows so that memory does not grow with them."""

import hashlib
import struct
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from ..pictures.decoding import strict_and_quiet
from ..pictures.reading import MAX_PIXELS, ImageReadError, read_image

_WHOLE = 16_000_000  # pixels; smaller TIFFs are decoded at once
_LARGEST_SEGMENT = 1 << 24  # pixels of one strip or tile
_LARGEST_ROW = 1 << 29  # bytes of a row of tiles
# TIFF tags that a segment shares with the file it is from.
_SHARED = (258, 259, 262, 266, 277, 284, 317, 320, 338, 339, 347, 530, 531, 532)
_WIDTH, _HEIGHT, _ORIENTATION, _PLANES = 256, 257, 274, 284
_STRIPS, _STRIP_ROWS, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325


class _Whole:
    """A photograph in memory."""

    def __init__(self, path, max_pixels):
        try:
            self.pixels, self.info = read_image(
                path, return_info=True, max_pixels=max_pixels
            )
        except ImageReadError as error:
            if error.reason == "too-large":
                error.detail += (
                    "; save it as a tiled TIFF, which is read part by part "
                    "(gdal_translate -co TILED=YES, or vips tiffsave --tile)"
                )
                raise ImageReadError(
                    error.reason, str(path), error.detail, error.info
                ) from None
            raise
        self.height, self.width = self.pixels.shape[:2]

    def rows(self, top, bottom):
        """Pixels of some rows: (bottom - top, width, 3) uint8."""
        return self.pixels[top:bottom]

    def close(self):
        pass


class _Segments:
    """A TIFF of strips or tiles, decoded one row of segments at a time.

    Each segment is wrapped in a TIFF of its own and read by `read_image`, so that all
    that holds for whole pictures holds here.
    """

    def __init__(self, path, tags):
        self.path, self.tags = path, tags
        self.width, self.height = int(tags[_WIDTH]), int(tags[_HEIGHT])
        tiled = _TILES in tags
        self.segment = (
            (int(tags[_TILE_HEIGHT]), int(tags[_TILE_WIDTH]))
            if tiled
            else (int(tags.get(_STRIP_ROWS, self.height)), self.width)
        )
        self.tiled = tiled
        self.starts = tags[_TILES if tiled else _STRIPS]
        self.sizes = tags[_TILE_BYTES if tiled else _STRIP_BYTES]
        self.across = -(-self.width // self.segment[1])
        if len(self.starts) < self.across * -(-self.height // self.segment[0]):
            raise ImageReadError("truncated", str(path), "strips or tiles are missing")
        self.file = open(path, "rb")  # noqa: SIM115 (closed with the photograph)
        self.info = {
            "sha256": hashlib.file_digest(self.file, "sha256").hexdigest(),
            "size": Path(path).stat().st_size,
            "width": self.width,
            "height": self.height,
            "exif_orientation": 1,
        }
        self.first, self.kept = 0, np.empty((0, self.width, 3), np.uint8)

    def _decode(self, number, height):
        """Decode one segment: (height, its width, 3)."""
        tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=self.tags.prefix)
        for tag in _SHARED:
            if tag in self.tags:
                tags.tagtype[tag] = self.tags.tagtype[tag]
                tags[tag] = self.tags[tag]
        size = int(self.sizes[number])
        for tag, value in (
            (_WIDTH, self.segment[1]),
            (_HEIGHT, height),
            (_STRIP_ROWS, height),
            (_STRIPS, 0),  # from the end of the directory
            (_STRIP_BYTES, size),
        ):
            tags.tagtype[tag] = 4
            tags[tag] = value
        self.file.seek(int(self.starts[number]))
        order = "little" if tags.prefix == b"II" else "big"
        header = (42).to_bytes(2, order) + (8).to_bytes(4, order)
        try:
            data = tags.prefix + header + tags.tobytes(8) + self.file.read(size)
        except (struct.error, TypeError, ValueError, OverflowError) as error:
            raise ImageReadError("undecodable", str(self.path), str(error)) from None
        part = read_image(data, name=str(self.path))
        if part.shape[:2] != (height, self.segment[1]):
            raise ImageReadError("undecodable", str(self.path), "a part is too small")
        return part

    def _decode_row(self, row):
        """Decode a row of segments: (rows, width, 3)."""
        top = row * self.segment[0]
        inside = min(self.segment[0], self.height - top)
        height = self.segment[0] if self.tiled else inside
        out = np.empty((inside, self.width, 3), np.uint8)
        for column in range(self.across):
            left = column * self.segment[1]
            part = self._decode(row * self.across + column, height)
            right = min(left + self.segment[1], self.width)
            out[:, left:right] = part[:inside, : right - left]
        return out

    def rows(self, top, bottom):
        """Pixels of some rows, not before those asked for last: uint8."""
        high = self.segment[0]
        first, last = top // high, -(-bottom // high)
        have = self.first + -(-len(self.kept) // high)
        kept = self.kept[max(0, first - self.first) * high :]
        if first >= have or first < self.first:
            kept, have = kept[:0], first
        new = [self._decode_row(row) for row in range(have, last)]
        self.kept, self.first = np.concatenate([kept, *new]), first
        return self.kept[top - first * high : bottom - first * high]

    def close(self):
        self.file.close()


def _segmented(path):
    """The tags of a large TIFF that can be read part by part, or None."""
    with open(path, "rb") as file:
        if file.read(2) not in (b"II", b"MM"):
            return None
    try:
        with strict_and_quiet(), Image.open(path, formats=["TIFF"]) as image:
            tags = image.tag_v2
            n_pixels = image.width * image.height
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, KeyError):
        return None
    if _TILES in tags:
        segment = tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0)
        alike = len(tags[_TILES]) == len(tags.get(_TILE_BYTES, ()))
    else:
        segment = tags.get(_STRIP_ROWS, 1 << 32) * tags.get(_WIDTH, 0)
        alike = len(tags.get(_STRIPS, ())) == len(tags.get(_STRIP_BYTES, ()))
    if (
        n_pixels <= _WHOLE
        or not 0 < segment <= _LARGEST_SEGMENT
        or 3 * tags[_WIDTH] * tags.get(_TILE_HEIGHT, 1) > _LARGEST_ROW
        or not alike
        or tags.get(_PLANES, 1) != 1
        or tags.get(_ORIENTATION, 1) != 1
    ):
        return None
    return tags


def open_photograph(path, max_pixels=MAX_PIXELS):
    """Open a photograph to be read in bands.

    Parameters
    ----------
    path : str or path-like
        A picture file. A TIFF of strips or tiles of more than 16 megapixels is read
        part by part, whatever its size; every other file whole.
    max_pixels : int, default=178_956_970
        Limit for files that are read whole.

    Returns
    -------
    photograph : object
        With ``height``, ``width``, ``info`` (as of `read_image`), ``rows(top, bottom)``,
        to be called with ascending tops, and ``close()``.

    Raises
    ------
    ImageReadError
        If it cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageReadError("missing", str(path))
    tags = _segmented(path)
    return _Whole(path, max_pixels) if tags is None else _Segments(path, tags)


def read_box(path, box, max_pixels=MAX_PIXELS):
    """Read a part of a photograph.

    Parameters
    ----------
    path : str or path-like
        A picture file.
    box : tuple of int
        (x, y, width, height) in pixels of the upright photograph.
    max_pixels : int, default=178_956_970
        Limit for files that are read whole.

    Returns
    -------
    image : ndarray of shape (height, width, 3), uint8
    place : tuple
        (SHA-256 of the file, box): what `locate` leaves out of its answers.

    Raises
    ------
    ImageReadError
        If it cannot be read.
    ValueError
        If the box does not lie on the photograph.
    """
    try:
        x, y, width, height = (int(value) for value in box)
    except (TypeError, ValueError):
        raise ValueError(
            f"A box is (x, y, width, height) in pixels, got {box!r}."
        ) from None
    photograph = open_photograph(path, max_pixels)
    try:
        right, bottom = x + width, y + height
        if (
            min(x, y) < 0
            or min(width, height) < 1
            or right > photograph.width
            or bottom > photograph.height
        ):
            raise ValueError(
                f"The box x={x}, y={y}, width={width}, height={height} does not lie on "
                f"{Path(path).name}, which is {photograph.width} × {photograph.height} "
                "pixels."
            )
        image = np.ascontiguousarray(photograph.rows(y, bottom)[:, x:right])
        return image, (photograph.info["sha256"], (x, y, width, height))
    finally:
        photograph.close()
