"""Reading of picture files: uint8 pixels, or a reason for refusal.

All pictures in this package are read here, so that orientation, conversion and refusal
are consistent.
"""

import errno
import hashlib
import os
from io import TextIOBase
from pathlib import Path

from ..files import read_regular
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
"""Suffixes of picture files."""


# What `read_regular` refuses: large files, sockets, and (without a number) the rest.
_UNREADABLE = {
    errno.EFBIG: "too-large",
    errno.ENXIO: "not-a-picture",
    None: "not-a-picture",
}


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
            return read_regular(path), str(path)
        except FileNotFoundError:
            raise ImageReadError("missing", str(path)) from None
        except IsADirectoryError:
            raise ImageReadError("not-a-picture", str(path), "a folder") from None
        except OSError as error:
            reason = _UNREADABLE.get(error.errno)
            if reason is None:
                raise
            why = str(error) if error.errno != errno.ENXIO else "a socket"
            raise ImageReadError(reason, str(path), why) from None
    raise TypeError(
        "A picture must be a path, bytes or an open binary file, "
        f"got {type(source).__name__}."
    )


def read_image(
    source, *, alpha=False, return_info=False, name=None, max_pixels=MAX_PIXELS
):
    """Read a picture as upright uint8 RGB.

    EXIF orientation is applied. Grey, palette, CMYK and 16-bit pictures are converted
    to 8-bit RGB (16-bit values are divided by 257 and rounded, so a full ramp keeps its
    256 levels; float pictures must lie in [0, 1]). Only the first frame of a
    multi-frame file is read. Truncated and damaged files are refused; in a JPEG, any
    warning of libjpeg counts as damage.

    Parameters
    ----------
    source : str, path-like, bytes or binary file object
        The file, or its content.
    alpha : bool, default=False
        Whether to keep transparency as a fourth channel, the picture's mask: alpha
        over 127 is rock. A picture without transparency gets 255. Otherwise transparent
        pictures are composited on white.
    return_info : bool, default=False
        Whether to return information on the file, too.
    name : str, optional
        Name of the source in messages; by default its path.
    max_pixels : int, default=178_956_970
        Larger pictures are refused before decoding: a small file can decompress to more
        than the available memory.

    Returns
    -------
    image : ndarray of shape (height, width, 3) or (height, width, 4), uint8
        The pixels, C-contiguous.
    info : dict
        Only with ``return_info=True``: ``sha256`` (of the file), ``size`` (bytes),
        ``mode`` (Pillow's), ``bit_depth`` (bits per channel in the file),
        ``width`` and ``height`` (pixels, before applying the orientation) and
        ``exif_orientation`` (1 to 8).

    Raises
    ------
    ImageReadError
        If the picture cannot be read; its ``reason`` is a key of
        `geoimages.pictures.reading.REASONS`, its ``info`` the information so far.
    TypeError
        If `source` has another type.

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
