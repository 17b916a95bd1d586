"""The one door every picture comes through: a file becomes uint8 pixels or a reason.

Whatever reads a picture in this package reads it here, so that every picture is
turned upright, converted and refused in one way.
"""

import contextlib
import hashlib
import os
import threading
import warnings
from io import BytesIO, TextIOBase
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from . import jpegs
from .scaling import on_white

REASONS = {
    "missing": "no such file",
    "empty-file": "the file holds no bytes",
    "not-a-picture": "no known picture format",
    "truncated": "the file ends before the picture does",
    "undecodable": "the picture's data are damaged",
    "too-large": "more pixels, or scans of them, than the reader accepts",
    "bit-depth": "values that are neither 8-bit, 16-bit nor in [0, 1]",
    "empty-mask": "every pixel is transparent, so no rock is left",
}

PICTURE_SUFFIXES = frozenset(
    [
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
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

_EXIF_ORIENTATION = 0x0112
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}  # Pillow's, by channels
_BIT_DEPTH = {"1": 1, "I": 32, "F": 32}
_SETTINGS = threading.Lock()  # warnings and Pillow's leniency are the whole process's


class ImageReadError(ValueError):
    """A picture that cannot be read, and why.

    Parameters
    ----------
    reason : str
        A code from `geoimages.pictures.reading.REASONS`.
    source : str
        What was read: a path, or a name for bytes.
    detail : str, default=""
        What the decoder said.
    info : dict, optional
        What was learned of the file before it was refused, as returned by
        `read_image` under ``return_info=True``.

    Attributes
    ----------
    reason, source, detail, info
        As given.
    """

    def __init__(self, reason, source, detail="", info=None):
        self.reason = reason
        self.source = source
        self.detail = detail
        self.info = dict(info or {})
        text = f"{source}: {REASONS[reason]} ({reason})"
        super().__init__(f"{text}: {detail}" if detail else f"{text}.")

    def __reduce__(self):
        return type(self), (self.reason, self.source, self.detail, self.info)


def _turn_upright(array, orientation):
    """Undo EXIF orientation 1..8: (h, w, c) -> (h, w, c) or (w, h, c)."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def _deep_to_rgba(image, source, info):
    """Turn a 16-bit, 32-bit or float grey picture into (h, w, 4) uint8."""
    values = np.asarray(image)
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ImageReadError("bit-depth", source, "float values beyond 0–1", info)
        grey = np.rint(values * 255).astype(np.uint8)
    else:
        if values.min() < 0 or values.max() > 65535:
            raise ImageReadError("bit-depth", source, "integers beyond 0–65535", info)
        # 65535 / 257 = 255: every 8-bit level stands for 257 16-bit ones.
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    rgba = np.empty((*grey.shape, 4), np.uint8)
    rgba[..., :3] = grey[..., None]
    rgba[..., 3] = 255
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        rgba[values == transparent, 3] = 0
    return rgba


def _to_uint8(image, source, info):
    """Turn a loaded Pillow image into (h, w, 3) or, if it has alpha, (h, w, 4)."""
    if image.mode.startswith(("I", "F")):
        rgba = _deep_to_rgba(image, source, info)
        return rgba if "transparency" in image.info else rgba[..., :3]
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _ends_early(data, kind):
    """Whether a JPEG or PNG lacks its end marker; Pillow forgives a lost tail."""
    if kind in ("JPEG", "MPO"):
        return jpegs.ends_early(data)
    return kind == "PNG" and b"IEND\xaeB`\x82" not in data[-65536:]


def _bit_depth(image, data):
    """Bits a channel as stored in the file."""
    if image.format == "PNG" and len(data) > 24:
        return data[24]
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, 1)
        return int(max(bits)) if isinstance(bits, tuple) else int(bits)
    if image.format == "PPM" and image.mode == "I":
        return 16
    return 16 if image.mode.startswith("I;16") else _BIT_DEPTH.get(image.mode, 8)


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


@contextlib.contextmanager
def _strict_and_quiet():
    """Refuse truncated files, and mute Pillow's remarks on sizes and damaged EXIF."""
    with _SETTINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        lenient = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def _orientation(image):
    """EXIF orientation of an open Pillow image, 1 to 8."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, ValueError, KeyError, SyntaxError, TypeError):
        return 1  # damaged EXIF says nothing about the pixels
    return orientation if orientation in range(1, 9) else 1


def _decode_any(data, name, info):
    """Decode whatever Pillow opens into an upright array, filling `info`."""
    try:
        with _strict_and_quiet(), Image.open(BytesIO(data)) as image:
            info.update(
                mode=image.mode,
                bit_depth=_bit_depth(image, data),
                width=image.width,
                height=image.height,
            )
            if _ends_early(data, image.format):
                raise ImageReadError("truncated", name, "no end marker", info)
            image.load()
            info["exif_orientation"] = _orientation(image)
            pixels = _to_uint8(image, name, info)
    except ImageReadError:
        raise
    except UnidentifiedImageError:
        raise ImageReadError("not-a-picture", name, info=info) from None
    except Image.DecompressionBombError as error:
        raise ImageReadError("too-large", name, str(error), info) from None
    except Exception as error:  # decoders raise nearly anything on damaged data
        text = str(error)
        reason = "truncated" if "truncated" in text.lower() else "undecodable"
        raise ImageReadError(reason, name, text, info) from None
    return _turn_upright(pixels, info["exif_orientation"])


def _is_allowed(n_pixels):
    """Whether Pillow would decode so many pixels without a remark."""
    return 0 < n_pixels <= (Image.MAX_IMAGE_PIXELS or 0)


def _read_tags(data):
    """EXIF orientation of a JPEG whose pixels are known."""
    try:
        with _strict_and_quiet(), Image.open(BytesIO(data), formats=["JPEG"]) as image:
            return _orientation(image)
    except Exception:  # tags that cannot be read say nothing about the pixels
        return 1


def _decode_jpeg(data, name, info):
    """Decode a JPEG into an upright array, filling `info`; None leaves it to Pillow.

    Pillow converts CMYK, once the scan is known to be sound, and says what is wrong
    with a header.
    """
    header = jpegs.read_header(data)
    if (
        header is None
        or header.bits != 8
        or header.channels not in _JPEG_MODES
        or not _is_allowed(header.width * header.height)
    ):
        return None
    found = {
        "mode": _JPEG_MODES[header.channels],
        "bit_depth": 8,
        "width": header.width,
        "height": header.height,
        "exif_orientation": 1,
    }
    if jpegs.has_too_many_scans(data):
        detail = f"more than {jpegs.MOST_SCANS} scans"
        raise ImageReadError("too-large", name, detail, info | found)
    try:
        pixels = jpegs.decode(data, header.channels)
    except ValueError as error:
        reason, detail = "undecodable", str(error)
        if detail.startswith("Premature end"):
            reason, detail = "truncated", "no end marker"
        raise ImageReadError(reason, name, detail, info | found) from None
    if pixels is None or header.channels == 4:
        return None
    if header.tagged:
        found["exif_orientation"] = _read_tags(data)
    info.update(found)
    return _turn_upright(pixels, info["exif_orientation"])


def _decode(data, name, info):
    """Decode bytes into an upright uint8 array (h, w, 3 or 4), filling `info`."""
    if not data:
        raise ImageReadError("empty-file", name, info=info)
    pixels = _decode_jpeg(data, name, info)
    return _decode_any(data, name, info) if pixels is None else pixels


def _read(data, name, alpha):
    """Read one picture's bytes: (image, info)."""
    info = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    pixels = _decode(data, name, info)
    masked = pixels.shape[2] == 4
    if alpha and masked and not (pixels[..., 3] > 127).any():
        raise ImageReadError("empty-mask", name, info=info)
    if alpha and not masked:
        opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
        pixels = np.concatenate([pixels, opaque], axis=2)
    elif masked and not alpha:
        pixels = on_white(pixels)
    return pixels, info


def read_image(source, *, alpha=False, return_info=False, name=None):
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
    name = source_name if name is None else name
    pixels, info = _read(data, name, alpha)
    image = pixels if pixels.flags.carray else pixels.copy()
    return (image, info) if return_info else image
