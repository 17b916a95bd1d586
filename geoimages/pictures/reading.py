"""The one door every picture comes through: a file becomes uint8 pixels or a reason.

Whatever reads a picture in this package reads it here, so that every picture is
brought upright, converted and refused in one way.
"""

import hashlib
import os
from io import TextIOBase
from pathlib import Path

from .decoding import MAX_PIXELS, Refused, decode
from .refusals import REASONS, ImageReadError

__all__ = [
    "MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "REASONS",
    "ImageReadError",
    "read_image",
]

PICTURE_SUFFIXES = frozenset(
    [
        ".bmp",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".mpo",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""How the names of picture files end."""


def _get_bytes(source):
    """Return (bytes, name) of a path, bytes or an open binary file."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "<bytes>"
    if hasattr(source, "read"):
        name = str(getattr(source, "name", "<file>"))
        data = None if isinstance(source, TextIOBase) else source.read()
        if not isinstance(data, bytes):
            raise TypeError(f"{name} is open as text; open it with mode 'rb'.")
        return data, name
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            return path.read_bytes(), str(path)
        except FileNotFoundError:
            raise ImageReadError("missing", str(path)) from None
        except IsADirectoryError:
            raise ImageReadError("not-a-picture", str(path), "a folder") from None
    raise TypeError(
        "A picture is read from a path, bytes or an open binary file, "
        f"got {type(source).__name__}."
    )


def read_image(
    source, *, alpha=False, return_info=False, name=None, max_pixels=MAX_PIXELS
):
    """Read one picture as uint8 RGB, upright, or say why it cannot be read.

    EXIF orientation is applied. Grey, palette, CMYK and 16-bit pictures become
    8-bit RGB (16-bit values are divided by 257 and rounded, so a full ramp keeps
    its 256 levels; float pictures must lie in [0, 1]). Of a file with several
    frames the first is read. Truncated and damaged files are refused whole; what
    libjpeg only warns of in a JPEG is damage, too.

    Parameters
    ----------
    source : str, path-like, bytes or binary file object
        The file, or its content.
    alpha : bool, default=False
        Whether to keep transparency as a fourth channel, the picture's mask: alpha
        over 127 is rock. A picture without transparency gets 255. Otherwise what is
        transparent is put on white.
    return_info : bool, default=False
        Whether to return what is known of the file, too.
    name : str, optional
        What to call the source in messages; by default its path.
    max_pixels : int, default=178_956_970
        Pictures of more pixels are refused before they are decoded: a small file can
        stand for more than the memory holds.

    Returns
    -------
    image : ndarray of shape (height, width, 3) or (height, width, 4), uint8
        The pixels, C-contiguous.
    info : dict
        Only with ``return_info=True``: ``sha256`` (of the file), ``size`` (bytes),
        ``mode`` (Pillow's), ``bit_depth`` (bits a channel in the file),
        ``width`` and ``height`` (pixels, before turning upright) and
        ``exif_orientation`` (1 to 8).

    Raises
    ------
    ImageReadError
        If there is no whole picture; its ``reason`` is a key of
        `geoimages.pictures.reading.REASONS`, its ``info`` what was learned before.
    TypeError
        If `source` is none of the kinds above.

    Examples
    --------
    >>> from io import BytesIO
    >>> from PIL import Image
    >>> from geoimages import read_image
    >>> file = BytesIO()
    >>> Image.new("L", (4, 2), 128).save(file, "PNG")
    >>> read_image(file.getvalue()).shape
    (2, 4, 3)
    """
    data, source_name = _get_bytes(source)
    info = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    try:
        image = decode(data, info, alpha=alpha, max_pixels=max_pixels)
        if alpha and not (image[..., 3] > 127).any():
            raise Refused("empty-mask", "")
    except Refused as refused:
        reason, detail = refused.args
        name = source_name if name is None else name
        raise ImageReadError(reason, name, detail, info) from None
    return (image, info) if return_info else image
